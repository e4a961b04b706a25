"""How long each piece of memory lives in one forward.

From the op that allocates it to the last op that reads it or a view of it; and as long
as a module call into which it was handed, because the caller's frame holds arguments.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TypeAlias

from resnet_viz.analysis.allocation import Allocations
from resnet_viz.core.graph import Edge, ModelGraph, OpId

Slot: TypeAlias = tuple[OpId, int]


class Lifetimes:
    """Pieces of memory, each with the op that allocates it and the last that needs it.

    Attributes:
        nbytes: Of each piece.
        of: The piece that each output shows; none for inputs and parameters.
        born: Pieces by the position of the op that allocates them.
    """

    def __init__(self, graph: ModelGraph, allocations: Allocations) -> None:
        self.nbytes: list[int] = []
        self.of: dict[Slot, int] = {}
        self.born: dict[int, list[int]] = defaultdict(list)
        last: list[int] = []
        for position, op in enumerate(graph.ops):
            shown = allocations.source.get(op.id, op.id)
            for slot, out in enumerate(op.outputs):
                if shown == op.id:
                    self.born[position].append(len(self.nbytes))
                    self.of[op.id, slot] = len(self.nbytes)
                    self.nbytes.append(out.nbytes)
                    last.append(position)
                elif isinstance(shown, tuple) and shown in self.of:
                    self.of[op.id, slot] = self.of[shown]
        ends = _call_ends(graph)
        for edge in graph.edges:
            group = self.of.get((edge.src, edge.out_slot))
            if group is not None:
                last[group] = max(last[group], _held_until(graph, ends, edge))
        for output in graph.outputs:
            group = self.of.get((output.src, output.out_slot))
            if group is not None:
                last[group] = len(graph.ops)
        self._dying: dict[int, list[int]] = defaultdict(list)
        for group, position in enumerate(last):
            self._dying[position].append(group)

    def dying(self, position: int) -> list[int]:
        """Pieces that nothing needs after the op at this position."""
        return self._dying[position]


def _call_ends(graph: ModelGraph) -> list[tuple[int, ...]]:
    """For each op and each module around it, outermost first: where that call ends."""
    found: list[tuple[int, ...]] = []
    after: list[str] = []
    ends: tuple[int, ...] = ()
    for position in range(len(graph.ops) - 1, -1, -1):
        parts = _parts(graph.ops[position].module)
        depth = _common(parts, after)
        ends = (*ends[:depth], *([position] * (len(parts) - depth)))
        after = parts
        found.append(ends)
    found.reverse()
    return found


def _held_until(graph: ModelGraph, ends: list[tuple[int, ...]], edge: Edge) -> int:
    """How long the reader's side holds the tensor: to the end of the call it went into."""
    position = graph.position(edge.dst) - len(graph.inputs)
    depth = _common(_parts(graph[edge.dst].module), _parts(graph[edge.src].module))
    return ends[position][depth] if depth < len(ends[position]) else position


def _parts(path: str) -> list[str]:
    return path.split(".") if path else []


def _common(left: list[str], right: list[str]) -> int:
    depth = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        depth += 1
    return depth
