"""What a person may name as a layer, and the near misses where that is none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from torch import nn

from resnet_viz.core.errors import UserError
from resnet_viz.core.graph import ModelGraph


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean layer4?"``, or nothing where nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def check_layer(model: nn.Module, graph: ModelGraph, path: str) -> None:
    """Refuses a layer that a person named and that cannot be looked at.

    Raises:
        UserError: If there is no such module, or it runs never or more than once.
    """
    known = [name for name, _ in model.named_modules() if name]
    if path not in known:
        raise UserError(
            f"no module is called {path!r}{did_you_mean(path, known)} "
            "(give a dotted module path, or auto; list shows them)"
        )
    calls = {p: n.calls for n in graph.modules for p in (n.path, *n.aliases)}.get(path, 0)
    if calls != 1:
        times = "never runs" if not calls else f"runs {calls} times"
        around = path.rpartition(".")[0]
        raise UserError(
            f"module {path!r} {times} in one forward, so its output is not one map: "
            f"give a module that runs once{f', such as {around}' if around else ''}, or auto"
        )
