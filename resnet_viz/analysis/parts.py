"""Which part of a value its consumers take: a slice, one output of a split, or all of it.

``u * gate(v)`` and ``u + f(v)`` with ``u, v = x.chunk(2)`` go past nothing: the two
ways carry different halves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import pairwise

from resnet_viz.analysis.flow_graph import FlowGraph
from resnet_viz.analysis.kinds import CASTS, DROPOUTS

_SELECTORS = frozenset({"getitem", "narrow", "select"})
_WHOLE = DROPOUTS | CASTS


def parts(flow: FlowGraph, fork: int, node: int, branch: Collection[int] = ()) -> set[object]:
    """What ``node`` takes of ``fork``; ``None`` stands for everything.

    Args:
        flow: The activations.
        fork: The value.
        node: One of its consumers.
        branch: Where a dropout in front of two heads is looked through (VOLO).
    """
    op = flow.nodes[node]
    if len(flow.nodes[fork].outputs) > 1:
        edges = flow.graph.edges_in(op.id)
        return {edge.out_slot for edge in edges if edge.src == flow.nodes[fork].id}
    if op.kind in _SELECTORS:
        return {(op.args[1:], op.kwargs)}
    users = flow.succs[node]
    if op.kind in _WHOLE and users and node in branch and all(user in branch for user in users):
        return set().union(*(parts(flow, node, user, branch) for user in users))
    return {None}


def same_part(flow: FlowGraph, fork: int, entry: int, branch: Collection[int]) -> bool:
    """Whether the branch takes what the shortcut carries, not another slice of the fork.

    Args:
        flow: The activations.
        fork: Where both ways start.
        entry: The first op of the shortcut; the join where there is none.
        branch: The ops of the branch.
    """
    mine = parts(flow, fork, entry, branch)
    theirs = [parts(flow, fork, node, branch) for node in flow.succs[fork] if node in branch]
    return None in mine or any(None in part or mine & part for part in theirs)


class Partings:
    """Where a second way may leave a shortcut, without a look at where it leads.

    A recurrence slices one sequence at every step: nothing but the step itself uses its
    slice, and that is known before the whole history behind the other operand is walked.
    """

    __slots__ = ("_counts", "_flow")

    def __init__(self, flow: FlowGraph) -> None:
        self._flow = flow
        self._counts: dict[int, Counter[object]] = {}

    def leaves(self, steps: tuple[int, ...]) -> bool:
        """Whether another op takes what the next step takes, at any of these steps.

        Args:
            steps: From the join back to the fork.
        """
        return any(self._is_shared(node, source) for node, source in pairwise(steps))

    def _is_shared(self, node: int, source: int) -> bool:
        counts = self._counts.get(source)
        if counts is None:
            users = self._flow.succs[source]
            counts = Counter(p for user in users for p in parts(self._flow, source, user))
            self._counts[source] = counts
        mine = parts(self._flow, source, node)
        if None in mine or counts[None]:
            return len(self._flow.succs[source]) > 1
        return any(counts[part] > 1 for part in mine)
