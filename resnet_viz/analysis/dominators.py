"""Immediate dominators of a directed acyclic graph in one pass.

In topological order the immediate dominator of a node is the nearest common
ancestor, in the dominator tree built so far, of its predecessors (Cooper, Harvey
and Kennedy 2001, which needs no second pass without cycles). Jump pointers
(Myers 1983) make each ancestor query logarithmic, so that a thousand blocks or
fifty thousand ops stay fast however deep the tree is.
"""

from __future__ import annotations

from collections.abc import Sequence

ROOT = -1
"""The virtual source in front of every node without predecessors."""


class DominatorTree:
    """Grows by one node at a time; ``idom`` of a node without predecessors is ``ROOT``."""

    __slots__ = ("_depth", "_jump", "_parent")

    def __init__(self) -> None:
        self._parent: dict[int, int] = {ROOT: ROOT}
        self._jump: dict[int, int] = {ROOT: ROOT}
        self._depth: dict[int, int] = {ROOT: 0}

    def add(self, node: int, preds: Sequence[int]) -> int:
        """The immediate dominator of ``node``, whose predecessors are in the tree."""
        parent = preds[0] if preds else ROOT
        for pred in preds[1:]:
            parent = self.common(parent, pred)
        jump, depth = self._jump, self._depth
        far = jump[parent]
        even = depth[parent] - depth[far] == depth[far] - depth[jump[far]]
        self._parent[node] = parent
        jump[node] = jump[far] if even else parent
        depth[node] = depth[parent] + 1
        return parent

    def idom(self, node: int) -> int:
        """The immediate dominator of a node of the tree."""
        return self._parent[node]

    def common(self, left: int, right: int) -> int:
        """The nearest node that dominates both."""
        parent, jump, depth = self._parent, self._jump, self._depth
        if depth[left] < depth[right]:
            left, right = right, left
        while depth[left] > depth[right]:
            left = jump[left] if depth[jump[left]] >= depth[right] else parent[left]
        while left != right:
            if jump[left] != jump[right]:
                left, right = jump[left], jump[right]
            else:
                left, right = parent[left], parent[right]
        return left

    def chain(self, node: int, top: int) -> list[int]:
        """``node`` and its dominators up to ``top``, which is left out."""
        found = []
        while node not in (top, ROOT):
            found.append(node)
            node = self._parent[node]
        return found
