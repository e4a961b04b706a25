"""How the gradient norm changes along the depth of a network.

Norms are comparable only where all of the gradient passes: at every weighted layer of
a plain net, at the joins of a residual one. A layer inside a branch gets its part of
the gradient, and the norm of a weight's gradient depends on its shape as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from resnet_viz.analysis.dominators import ROOT
from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.structure import Structure

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
    depth = depths_of(shape, structure)
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


def depths_of(flow: FlowGraph, structure: Structure) -> list[int]:
    """Weighted layers on the longest way from an input to each node; gates do not count."""
    gates = {flow.graph.position(op) for s in structure.skips_of("gate") for op in s.branch}
    depths: list[int] = []
    for node, preds in enumerate(flow.preds):
        counts = flow.is_weighted(node) and node not in gates
        depths.append(max((depths[p] for p in preds), default=0) + int(counts))
    return depths
