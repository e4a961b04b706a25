"""The river of gradient: how much of it comes back over every edge, and how wide that is drawn.

At a fork the gradient parts as ``EdgeShare.share`` says; at the join it meets again. An edge
carries its share of what the fork carries, so that a branch inside a branch is a stream of
a stream; where all of the gradient passes, that is 1. Signed: what pulls against the
whole is below zero, and what meets again is still 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from resnet_viz.analysis.dominators import ROOT
from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.core.gradient_flow import EdgeShare
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.report import Report
from resnet_viz.core.structure import Skip

Pair = tuple[str, str]

FULL, LEAST, MOST = 8.0, 1.0, 12.0
"""Width in pixels of all of the gradient, of next to nothing, and of more than all of it."""

TRUNK, BRANCH = 0, 1
OUTPUT = ""
"""Stands for the model's output as the end of an edge."""


@dataclass(frozen=True, slots=True)
class River:
    """What every edge carries.

    Attributes:
        amounts: Per edge (both ops) its part of the gradient, signed; edges that carry none
            or whose fork could not be separated are not in it.
        whole: Per op on every way, all edges that leave it.
        at: Per op what it carries itself.
    """

    amounts: dict[Pair, float]
    whole: dict[str, frozenset[Pair]]
    at: dict[str, float]

    def piece(self, pairs: Iterable[Pair]) -> tuple[float, int] | None:
        """What a drawn line carries that stands for these edges, and whether it is a trunk.

        A line is trunk where all that leaves its sources runs in it, and those lie on every
        way; everything else is a branch. ``None`` where any of it is not known.
        """
        found = set(pairs)
        carried = [self.amounts.get(pair) for pair in found]
        known = [amount for amount in carried if amount is not None]
        if not known or len(known) < len(carried):
            return None
        sources = {src for src, _ in found}
        trunk = all(src in self.whole and self.whole[src] <= found for src in sources)
        return math.fsum(known), TRUNK if trunk else BRANCH


def river(report: Report) -> River | None:
    """The river of a report; ``None`` where no share was measured."""
    flow = report.gradient_flow
    if flow is None or not any(math.isfinite(s.share) for s in flow.shares):
        return None
    return _parted(report.graph, flow.shares)


def width_of(amount: float) -> float:
    """Width in pixels of a line that carries this part of the gradient."""
    return round(min(MOST, max(LEAST, FULL * abs(amount))), 2)


def skip_fact(found: River, skip: Skip, share: float | None) -> dict[str, Any]:
    """What a skip's arc needs: its width, that of its branch, and which pull against the rest.

    Args:
        found: The river it lies in.
        skip: The skip.
        share: What the shortcut carries of its fork's gradient, as it is told.
    """
    whole = found.at.get(skip.fork, 1.0)
    branch = [found.amounts[e] for op in skip.branch if (e := (skip.fork, op)) in found.amounts]
    fact: dict[str, Any] = {}
    if share is not None:
        fact |= {"width": width_of(share * whole)} | ({"against": 1} if share < 0 else {})
    if branch:
        fact |= {"branch": width_of(sum(branch))} | ({"drains": 1} if sum(branch) < 0 else {})
    return fact


def _parted(graph: ModelGraph, shares: Sequence[EdgeShare]) -> River:
    shape = flow_of(graph)
    spine = spine_of(shape)
    ends = {output.src for output in graph.outputs}
    parts: dict[str, dict[str, float]] = {}
    for s in shares:
        leaving = parts.setdefault(s.src, {})
        leaving[s.dst] = leaving.get(s.dst, 0.0) + s.share
    names = [str(op.id) for op in shape.nodes]
    amounts: dict[Pair, float] = {}
    at: dict[str, float] = {}
    whole: dict[str, frozenset[Pair]] = {}
    for node, name in enumerate(names):
        if not shape.active[node]:
            continue
        pairs = [(name, names[s]) for s in shape.succs[node]]
        if not pairs and name in ends:
            pairs = [(name, OUTPUT)]
        entering = [amounts.get((names[p], name), math.nan) for p in shape.preds[node]]
        # On the spine all of it passes, whatever could not be told apart above.
        here = 1.0 if node in spine or node < len(graph.inputs) else sum(entering)
        if not entering and node not in spine and node >= len(graph.inputs):
            continue
        if not math.isfinite(here):
            continue
        at[name] = here
        if node in spine:
            whole[name] = frozenset(pairs)
        for pair in pairs:
            share = parts.get(name, {}).get(pair[1], math.nan) if len(pairs) > 1 else 1.0
            if math.isfinite(share):
                amounts[pair] = here * share
    return River(amounts, whole, at)


def spine_of(shape: FlowGraph) -> set[int]:
    """Nodes on every way to the last output."""
    ends = [shape.graph.position(output.src) for output in shape.graph.outputs]
    node = max((end for end in ends if shape.active[end]), default=ROOT)
    found = set()
    while node != ROOT:
        found.add(node)
        node = shape.idom[node]
    return found
