"""Which operands of a join are a shortcut: the walk from the operand back to the fork.

One step goes back over one op, as long as that op leaves the fork's value
recognisable: it moves it (identity), multiplies it (scaled), or is the one linear
layer, norm or pooling of a projection (He et al. 2015, options A, B and C). A depthwise
convolution mixes no channels and is the other half of a factored layer: one of it may
stand beside that layer (Han et al. 2020, GhostNet). A norm with frozen statistics is
written as ``x * scale + shift`` and is a norm too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resnet_viz.analysis.dominators import ROOT
from resnet_viz.analysis.kinds import IDENTITIES, LINEAR, NORMS, POOLINGS, SQUASHING
from resnet_viz.core.graph import Op, Ref
from resnet_viz.core.structure import SkipKind

if TYPE_CHECKING:
    from resnet_viz.analysis.flow_graph import FlowGraph

_DROP_MASKS = frozenset({"bernoulli", "rand", "rand_like", "dropout"})
_NESTED_WAYS = 4
_GATE_STEPS = 8
# Longer than any shortcut anybody wrote. Without an end, a stream to which every layer
# adds something from the side would be walked back to the first layer from each.
_LONGEST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A walk that stands at ``at``, having passed ``passed`` (last op first).

    Attributes:
        at: Where the walk stands; a possible fork.
        passed: Ops between ``at`` and the join, ``at`` left out.
        layers: Linear parameterised ops passed, depthwise convolutions left out.
        filters: Depthwise convolutions passed.
        linear: Whether a layer, norm or pooling was passed.
        scaled: Whether the value was multiplied.
    """

    at: int
    passed: tuple[int, ...] = ()
    layers: int = 0
    filters: int = 0
    linear: bool = False
    scaled: bool = False

    @property
    def weighted(self) -> bool:
        """Whether the walk passed weights."""
        return self.layers + self.filters > 0

    @property
    def kind(self) -> SkipKind:
        """What the walk so far makes of the fork's value."""
        if self.linear:
            return "projection"
        return "scaled" if self.scaled else "identity"

    def steps(self, join: int) -> tuple[int, ...]:
        """All ops from the join back to where the walk stands, both included."""
        return (join, *self.passed, self.at)

    def over(
        self,
        node: int,
        to: int,
        *,
        layers: int = 0,
        filters: int = 0,
        linear: bool = False,
        scaled: bool = False,
    ) -> Way:
        """The walk after the op ``node``, whose operand is ``to``."""
        return replace(
            self,
            at=to,
            passed=(*self.passed, node),
            layers=self.layers + layers,
            filters=self.filters + filters,
            linear=self.linear or linear or layers + filters > 0,
            scaled=self.scaled or scaled,
        )


def walk(flow: FlowGraph, operand: int, residuals: Mapping[int, Way]) -> Iterator[Way]:
    """Every place a shortcut that ends in ``operand`` may have forked from, nearest first.

    Args:
        flow: The activations.
        operand: The operand of a join.
        residuals: Joins already found to close a residual skip, each with the way
            its shortcut took: a sum that holds the fork once is still the fork
            plus something (``x + attention(x) + mlp(x)``).
    """
    return _steps(flow, Way(at=operand), residuals)


def _steps(flow: FlowGraph, way: Way | None, residuals: Mapping[int, Way]) -> Iterator[Way]:
    while way is not None and len(way.passed) < _LONGEST:
        yield way
        way = _step(flow, way, residuals)


def trace(
    flow: FlowGraph, operand: int, fork: int, residuals: Mapping[int, Way], deep: int = _NESTED_WAYS
) -> Way | None:
    """The walk from ``operand`` to ``fork``, or ``None`` where there is none.

    ``fork`` has to dominate the operand, so that a gate met on the way is known to
    be computed from the fork.
    """
    way = Way(at=operand)
    for _ in range(deep + 1):
        last = way
        for last in _steps(flow, way, residuals):
            if last.at == fork:
                return last
            if last.at < fork:
                return None
        beyond = _over_parallel(flow, last, residuals, deep)
        if beyond is None:
            break
        way = beyond
    return None


def _over_parallel(
    flow: FlowGraph, way: Way, residuals: Mapping[int, Way], deep: int
) -> Way | None:
    """The walk after a gate, or after a concatenation of parts of one value."""
    kind, preds, fork = flow.nodes[way.at].kind, flow.preds[way.at], flow.idom[way.at]
    if len(preds) < 2 or not deep or fork == ROOT or kind not in ("mul", "cat"):
        return None
    inner = [trace(flow, p, fork, residuals, deep - 1) for p in preds]
    pure = [w for w in inner if w is not None and w.kind == "identity"]
    if not pure:
        return None
    if kind == "mul":
        gated = any(
            _is_gate(flow, p) for p, w in zip(preds, inner, strict=True) if w is not pure[0]
        )
        return _joined(way, pure[0], scaled=True) if gated else None
    # Zeros made from the fork itself, as in cat([x, 0 * x]), are padding (option A); a
    # class token beside pooled patches (MViT) makes the whole a pooling.
    if any(w is None or w.weighted for w in inner):
        return None
    return _joined(way, pure[0], linear=any(w is not None and w.linear for w in inner))


def _joined(outer: Way, inner: Way, *, scaled: bool = False, linear: bool = False) -> Way:
    return replace(
        outer,
        at=inner.at,
        passed=(*outer.passed, outer.at, *inner.passed),
        scaled=outer.scaled or scaled,
        linear=outer.linear or linear,
    )


def _step(flow: FlowGraph, way: Way, residuals: Mapping[int, Way]) -> Way | None:
    node = way.at
    if node in residuals and way.passed.count(node) == 0:
        return _over_residual(way, residuals[node])
    preds = flow.preds[node]
    if len(preds) != 1:
        return None
    op, to = flow.nodes[node], preds[0]
    if op.kind in LINEAR and flow.weights[node]:
        if flow.is_depthwise(node):
            return way.over(node, to, filters=1) if way.filters == 0 else None
        return way.over(node, to, layers=1) if way.layers == 0 else None
    if op.kind in IDENTITIES or _pads_zeros(flow, node) or _subsamples(op):
        return way.over(node, to)
    if op.kind in NORMS or op.kind in POOLINGS:
        return way.over(node, to, linear=True)
    if op.kind == "mul" or (op.kind == "div" and _is_activation(op, 0)):
        return way.over(node, to, scaled=not _drops(flow, node))
    if op.kind == "add":
        return way.over(node, to, linear=0 not in op.args)
    return None


def _over_residual(way: Way, inner: Way) -> Way | None:
    # A layer over a whole residual stream (TNT, RWKV) is no layer over its first value.
    if way.linear:
        return None
    return replace(
        inner,
        passed=(*way.passed, way.at, *inner.passed),
        scaled=way.scaled or inner.scaled,
    )


def _is_activation(op: Op, index: int) -> bool:
    value = op.argument(index, "input")
    return isinstance(value, Ref) and value.kind == "in"


def _pads_zeros(flow: FlowGraph, node: int) -> bool:
    op = flow.nodes[node]
    if op.kind == "pad":
        value = op.argument(3, "value", 0)
        return op.argument(2, "mode", "constant") == "constant" and value in (None, 0)
    # A concatenation with something that only parameters reach adds tokens instead.
    return op.kind == "cat" and not flow.weights[node]


def _subsamples(op: Op) -> bool:
    return op.kind in POOLINGS and op.argument(1, "kernel_size") in (1, (1,), (1, 1), (1, 1, 1))


def _is_gate(flow: FlowGraph, node: int) -> bool:
    # A gate is squashed. Without this every product of two functions of the fork
    # (a state-space scan, focal modulation) would pass for the fork times a gate.
    for _ in range(_GATE_STEPS):
        kind, preds = flow.nodes[node].kind, flow.preds[node]
        if kind in SQUASHING:
            return True
        if len(preds) != 1 or not (kind in IDENTITIES or kind in ("add", "sub", "mul", "div")):
            return False
        node = preds[0]
    return False


def _drops(flow: FlowGraph, node: int) -> bool:
    seen = {s for s in flow.sources[node] if not flow.active[s]}
    for _ in range(_NESTED_WAYS):
        if any(flow.nodes[s].kind in _DROP_MASKS for s in seen):
            return True
        seen = {s for node in seen for s in flow.sources[node] if not flow.active[s]}
    return False
