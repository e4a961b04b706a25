"""How a cause silences its symptoms: what it explains is gone before the next rule looks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.graph import OpId, module_of
from resnet_viz.core.report import Measurement


def unexplained(
    measurements: Sequence[Measurement], explained: Collection[str]
) -> tuple[Measurement, ...]:
    """The measurements without calls, parameters, edges and activations that are explained.

    A module (``""`` for the root) stands for all that was measured inside it. That a
    parameter has no gradient at all is another fact than a strange gradient, and so is the
    mode of a normalisation layer: only their own names explain them.

    Args:
        measurements: What was measured.
        explained: Ops, parameters and modules, as ``Finding.explains`` lists them.
    """
    if not explained:
        return tuple(measurements)
    names = frozenset(explained)
    return tuple(_rest(m, names) if isinstance(m, GradientFlow) else m for m in measurements)


def _rest(flow: GradientFlow, names: frozenset[str]) -> GradientFlow:
    def op_left(op: str) -> bool:
        return op not in names and not _within(module_of(OpId(op)), names)

    return replace(
        flow,
        calls=tuple(c for c in flow.calls if op_left(c.op)),
        parameters=tuple(
            p
            for p in flow.parameters
            if p.name not in names
            and (p.stats is None or not _within(p.name.rpartition(".")[0], names))
        ),
        shares=tuple(s for s in flow.shares if op_left(s.src)),
        activities=tuple(a for a in flow.activities if op_left(a.op)),
        norms=tuple(n for n in flow.norms if n.module not in names or not n.module),
        chain=tuple(link for link in flow.chain if op_left(link.start)),
    )


def _within(path: str, names: frozenset[str]) -> bool:
    return any(home in names for home in _homes(path))


def _homes(path: str) -> Iterable[str]:
    """The module itself and every one it lies in, the root last."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""
