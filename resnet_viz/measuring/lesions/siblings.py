"""Modules that stand beside each other in a container: they can change places or be left out.

A container (``nn.Sequential``, ``nn.ModuleList``, ``nn.ModuleDict``) hands on what one
child returns to the next, so children of equal shapes can be exchanged, and one that
keeps its input's shape can be replaced by the identity.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from resnet_viz.core.graph import is_inside
from resnet_viz.tracing.module_tree import ModuleTree

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(slots=True, eq=False)
class Sibling:
    """A child of a container, as one run showed it.

    Attributes:
        path: Its first name.
        module: Itself.
        container: What holds it.
        key: Its key there.
        calls: How often it ran.
        turn: How many siblings had run before; meaningless where it did not run.
        given: Shape of its first argument; ``None`` where that is no tensor.
        returned: Shape of its result, likewise.
    """

    path: str
    module: nn.Module
    container: nn.Module
    key: str
    calls: int = 0
    turn: int = 0
    given: tuple[int, ...] | None = None
    returned: tuple[int, ...] | None = None

    @property
    def keeps_shape(self) -> bool:
        """Whether it ran once, on a tensor, and gave a tensor of the same shape."""
        return self.calls == 1 and self.given is not None and self.given == self.returned


def find_siblings(tree: ModuleTree) -> dict[str, Sibling]:
    """Every child of a container by its path, parents first; a shared one by its first."""
    modules = dict(tree.entries)
    found: dict[str, Sibling] = {}
    seen: set[nn.Module] = set()
    for path, module in tree.entries:
        above, _, key = path.rpartition(".")
        if path and isinstance(modules[above], _CONTAINERS) and module not in seen:
            found[path] = Sibling(path, module, modules[above], key)
        seen.add(module)
    return found


@contextmanager
def observing(siblings: Iterable[Sibling]) -> Iterator[None]:
    """Within it each sibling counts its calls and notes the shapes of the last one."""
    known = {sibling.module: sibling for sibling in siblings}
    turns = itertools.count()

    def note(module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        sibling = known.get(module)
        if sibling is not None:
            sibling.calls += 1
            sibling.turn = next(turns)
            sibling.given = _shape(args[0]) if args else None
            sibling.returned = _shape(result)

    handle = register_module_forward_hook(note)
    try:
        yield
    finally:
        handle.remove()


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None


def layers_of(siblings: Mapping[str, Sibling]) -> list[Sibling]:
    """The siblings that are one layer or block of a plain net, in the order of registration.

    Those with weights of two axes or more; a container that holds several such modules is
    a stage, and its children are taken instead.
    """
    found: list[Sibling] = []
    for path, sibling in siblings.items():
        weighted = sum(
            any(p.ndim > 1 for p in module.parameters(recurse=False))
            for module in sibling.module.modules()
        )
        is_stage = isinstance(sibling.module, _CONTAINERS) and weighted > 1
        if weighted and not is_stage and not any(is_inside(path, f.path) for f in found):
            found.append(sibling)
    return found


@contextmanager
def left_out(siblings: Iterable[Sibling]) -> Iterator[None]:
    """Within it each of them returns its first argument and computes nothing."""
    modules = [sibling.module for sibling in siblings]
    before = [vars(module).get("forward") for module in modules]
    try:
        for module in modules:
            vars(module)["forward"] = _identity
        yield
    finally:
        for module, forward in zip(modules, before, strict=True):
            if forward is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = forward


def _identity(x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    # A copy: what follows may write in place where the layer itself made something new.
    return x.clone()


@contextmanager
def exchanged(pairs: Iterable[tuple[Sibling, Sibling]]) -> Iterator[None]:
    """Within it the second of each pair stands where the first belongs.

    The firsts are the seconds in another order, so every module stands in one place.
    """
    pairs = list(pairs)
    try:
        for place, module in pairs:
            place.container._modules[place.key] = module.module
        yield
    finally:
        for place, _ in pairs:
            place.container._modules[place.key] = place.module
