"""The chain of a measured net: one gain per block, from the loss back to the input.

The places are those that all of the gradient passes: forks and joins of the outermost
residual blocks, and weighted layers outside of any block. A plain net is a chain of layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal

from resnet_viz.analysis.blocks import common_module
from resnet_viz.analysis.depth import depths_of
from resnet_viz.analysis.dominators import ROOT
from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.core.chain import Link
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Block, Structure


def chain_of(graph: ModelGraph, structure: Structure, flow: GradientFlow) -> tuple[Link, ...]:
    """Links in forward order; places without a measured gradient are passed over.

    Args:
        graph: What ran.
        structure: Its blocks.
        flow: The gradient at its calls.
    """
    shape = flow_of(graph)
    blocks: dict[int, list[Block]] = {}
    for block in sorted(structure.blocks, key=_end(graph)):
        blocks.setdefault(graph.position(block.skip.fork), []).append(block)
    places = [p for p in _places(shape, structure) if flow.get(shape.nodes[p].id) is not None]
    if len(places) < 2:
        return ()
    depths = depths_of(shape, structure)
    norms = [flow[shape.nodes[place].id].l2 for place in places]
    links = []
    for i, (start, end) in enumerate(pairwise(places)):
        name, kind = _called(shape, blocks, start, end)
        links.append(
            Link(
                name=name,
                kind=kind,
                start=shape.nodes[start].id,
                end=shape.nodes[end].id,
                depth=depths[end],
                gradient_in=norms[i],
                gradient_out=norms[i + 1],
                gain=_ratio(norms[i], norms[i + 1]),
                product=_ratio(norms[i], norms[-1]),
            )
        )
    return tuple(links)


def _end(graph: ModelGraph) -> Callable[[Block], int]:
    return lambda block: graph.position(block.skip.join)


def _places(shape: FlowGraph, structure: Structure) -> list[int]:
    """Inputs and ops on every path to the last output at which a piece begins or ends."""
    spine = set(_spine(shape))
    ends: set[int] = set()
    inside: set[int] = set()
    for block in structure.blocks:
        first = shape.graph.position(block.skip.fork)
        passed = [p for p in shape.positions(block.ops) if p in spine]
        if block.skip.kind == "gate" or first not in spine or not passed:
            continue
        last = max(passed)
        ends |= {first, last}
        inside.update(p for p in spine if first < p < last)
    inputs = len(shape.graph.inputs)
    kept = (p for p in spine if p in ends or p < inputs or shape.is_weighted(p))
    return sorted(p for p in kept if p not in inside)


def _spine(shape: FlowGraph) -> Iterator[int]:
    ends = [shape.graph.position(output.src) for output in shape.graph.outputs]
    node = max((end for end in ends if shape.active[end]), default=ROOT)
    while node != ROOT:
        yield node
        node = shape.idom[node]


def _called(
    shape: FlowGraph, blocks: dict[int, list[Block]], start: int, end: int
) -> tuple[str, Literal["block", "layer", "between"]]:
    # Several begin here where one holds the others, or where a dense block does.
    here = blocks.get(start, ())
    if here and end >= shape.graph.position(here[-1].skip.join):
        module = common_module(block.module for block in here)
        return module or here[-1].skip.join, "block"
    op = shape.nodes[end]
    if shape.is_weighted(end):
        return op.module or op.id, "layer"
    return op.id, "between"


def _ratio(above: float, below: float) -> float:
    return above / below if below and math.isfinite(below) else math.nan
