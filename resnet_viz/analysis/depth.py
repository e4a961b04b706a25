"""How the gradient norm changes along the depth of a network.

Norms are comparable only where all of the gradient passes: at every weighted layer of
a plain net, at the joins of a residual one. A layer inside a branch gets its part of
the gradient, and the norm of a weight's gradient depends on its shape as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from resnet_viz.analysis.dominators import ROOT
from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.measurement import Finding, GradientFlow
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import scientific

_LARGEST_LOG = 700.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthSlope:
    """A fit of log gradient norm on depth.

    Attributes:
        ops: The places every path passes, input side first.
        depths: Weighted layers on the longest way to each.
        norms: L2 norm of the gradient there.
        factor: Fitted growth of the norm per layer towards the input.
        span: ``factor`` to the power of the layers between first and last place.
    """

    ops: tuple[OpId, ...]
    depths: tuple[int, ...]
    norms: tuple[float, ...]
    factor: float
    span: float


def depth_slope(
    graph: ModelGraph, structure: Structure, flow: GradientFlow, fewest: int = 4
) -> DepthSlope | None:
    """The least-squares slope along the main chain.

    The last layer is left out, as its gradient is the loss's own; so are places where
    the gradient underflowed to zero, which has no logarithm. ``None`` where fewer than
    ``fewest`` places remain or one is not finite.
    """
    shape = flow_of(graph)
    depth = _depths(shape, structure)
    chain = [(graph.position(op), flow.get(op)) for op in main_chain(shape, structure)[:-1]]
    measured = [(node, stats) for node, stats in chain if stats is not None]
    points = [(depth[node], math.log(s.l2)) for node, s in measured if s.finite and s.l2 > 0]
    if len(points) < fewest or any(not stats.finite for _, stats in measured):
        return None
    depths = tuple(depth[node] for node, _ in measured)
    middle = sum(d for d, _ in points) / len(points)
    mean = sum(y for _, y in points) / len(points)
    spread = sum((d - middle) ** 2 for d, _ in points)
    if not spread:
        return None
    slope = sum((d - middle) * (y - mean) for d, y in points) / spread
    total = -slope * (depths[-1] - depths[0])
    return DepthSlope(
        ops=tuple(shape.nodes[node].id for node, _ in measured),
        depths=depths,
        norms=tuple(stats.l2 for _, stats in measured),
        factor=math.exp(-slope),
        span=math.exp(max(-_LARGEST_LOG, min(total, _LARGEST_LOG))),
    )


def main_chain(flow: FlowGraph, structure: Structure) -> list[OpId]:
    """Weighted layers and residual joins that every path to the last output passes."""
    ends = [flow.graph.position(output.src) for output in flow.graph.outputs]
    node = max((end for end in ends if flow.active[end]), default=ROOT)
    joins = {flow.graph.position(s.join) for s in structure.skips if s.kind != "gate"}
    chain = []
    while node != ROOT:
        if flow.is_weighted(node) or node in joins:
            chain.append(flow.nodes[node].id)
        node = flow.idom[node]
    return chain[::-1]


def _depths(flow: FlowGraph, structure: Structure) -> list[int]:
    gates = {flow.graph.position(op) for s in structure.skips_of("gate") for op in s.branch}
    depths: list[int] = []
    for node, preds in enumerate(flow.preds):
        counts = flow.is_weighted(node) and node not in gates
        depths.append(max((depths[p] for p in preds), default=0) + int(counts))
    return depths


def find_depth_slope(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """Exploding or vanishing gradient along the depth."""
    flow = flow_in(measurements)
    slope = flow and depth_slope(graph, structure, flow, thresholds.depth_layers)
    if not slope:
        return ()
    grows = slope.factor > 1
    factor = slope.factor if grows else 1 / slope.factor
    span = slope.span if grows else 1 / slope.span
    if factor < thresholds.depth_factor or span < thresholds.depth_range:
        return ()
    return (
        Finding(
            severity="warning",
            what="exploding gradient" if grows else "vanishing gradient",
            where=(slope.ops[0], slope.ops[-1]),
            evidence=(
                f"on the way back through {slope.depths[-1] - slope.depths[0]} layers the gradient "
                f"norm {'grows' if grows else 'shrinks'} by a factor of {factor:.3g} per layer: "
                f"{scientific(slope.norms[-1])} at {slope.ops[-1]}, "
                f"{scientific(slope.norms[0])} at {slope.ops[0]}"
            ),
            threshold=(
                f"a fitted factor of at least {thresholds.depth_factor:g} per layer and "
                f"{thresholds.depth_range:g} over the whole depth"
            ),
            source=_GROWS_SOURCE if grows else _SHRINKS_SOURCE,
            remedy=(
                "add skip paths around every two or three layers; without them use warm-up and "
                "a smaller learning rate, or an initialisation that makes up for batch norm"
                if grows
                else "use ReLU with He initialisation, normalisation or skip paths"
            ),
        ),
    )


_GROWS_SOURCE = (
    "Yang et al. 2019 (A Mean Field Theory of Batch Normalization): batch norm and ReLU "
    "multiply the squared norm by π/(π−1) = 1.467 per layer, the norm by 1.211; a step that "
    "is right for one end (update 1e-3 of the weights, cs231n) is as large as the weights "
    "themselves where the gradient is 1e3 times larger"
)
_SHRINKS_SOURCE = (
    "Glorot & Bengio 2010; Schoenholz et al. 2017 (Deep Information Propagation): below "
    "χ = 1 the gradient shrinks exponentially with depth; the sigmoid's slope is at most 1/4; "
    "a step that is right for one end (update 1e-3 of the weights, cs231n) leaves the other "
    "where it is if its gradient is 1e3 times smaller"
)
