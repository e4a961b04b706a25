"""``find_map``: where Grad-CAM looks if nobody says where.

It wants the last map whose places still reach the score (Selvaraju et al. 2017: the last
convolution); of a transformer that reads its class token that is what enters its last
attention.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from resnet_viz.core.graph import Edge, ModelGraph, Op, OpId
from resnet_viz.core.message import say
from resnet_viz.measuring.layers.layouts import Layout
from resnet_viz.measuring.layers.outputs import before, is_float, main_output
from resnet_viz.measuring.layers.places import outputs_of_modules
from resnet_viz.measuring.layers.reading import Reading

_POOLS = frozenset({"avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"})
# After these the places are as before or fewer: the map that goes in says more.
_NOT_A_MAP = _POOLS | {"dropout", "dropout2d", "feature_dropout"}
_VIEWS = frozenset(
    {"permute", "transpose", "contiguous", "movedim", "view", "reshape", "flatten", "unflatten"}
)
_TAKEN_APART = frozenset({"split", "chunk", "unbind", "tensor_split"})
_HEADS = frozenset({"conv2d", "conv_transpose2d", "linear"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MapChoice:
    """Where Grad-CAM could look.

    Attributes:
        op: The op that makes the map; ``None`` where there is none.
        modules: Paths whose output is that map, outermost first.
        layout: How that output holds the map.
        note: What goes past the map, in a sentence; empty where nothing does.
        reason: Why there is no map; empty where there is one.
    """

    op: OpId | None = None
    modules: tuple[str, ...] = ()
    layout: Layout | None = None
    note: str = ""
    reason: str = ""

    @property
    def bypassed(self) -> bool:
        """Whether part of the model goes past the map."""
        return bool(self.note)


def find_map(graph: ModelGraph, reading: Reading | None = None) -> MapChoice:
    """The last map before its places are pooled, flattened or left behind.

    Of a model that gives out a map (a segmenter) it is what enters the last layer with
    weights: that layer's own output is the score itself. Pooling and dropout at the end
    are passed over, and so are queries, keys and values: what they are made from is taken.

    Args:
        graph: Any graph.
        reading: Its axes, where they are at hand.
    """
    output = main_output(graph)
    if output is None:
        return MapChoice(reason="no output is a floating tensor")
    reading = reading or Reading(graph)
    end, slot = output.src, output.out_slot
    if reading.layout(end, slot) is not None:
        inside = before(graph, end)
        heads = [op for op in graph.ops if op.id in inside and op.kind in _HEADS and op.parameters]
        if heads and graph.edges_in(heads[-1].id):
            first = graph.edges_in(heads[-1].id)[0]
            end, slot = first.src, first.out_slot
    flow = _Flow(graph, reading, end, slot)
    maps = [op for op in graph.ops if flow.carries(op)]
    if not maps:
        return MapChoice(reason="no layer gives a map of channels × height × width")
    known = outputs_of_modules(graph)
    placed = [op for op in maps if op.id in known and not _only_views(graph, known[op.id])]
    if not placed:
        return MapChoice(reason="no module that runs once gives a map of channels × height × width")
    chosen = placed[-1]
    return MapChoice(
        op=chosen.id,
        modules=known[chosen.id],
        layout=reading.layout(chosen.id),
        note=flow.note(chosen),
    )


class _Flow:
    """How the places of an image get from op to op, up to ``end``."""

    def __init__(self, graph: ModelGraph, reading: Reading, end: OpId, slot: int) -> None:
        self._graph, self._reading, self._end = graph, reading, end
        self._inside = before(graph, end)
        self._live = reading.live_edges(end, slot)
        starts = {i.id for i in graph.inputs if is_float(i) and i.id in self._inside}
        self._all = self._from(starts, None)
        self._reached = self._from(starts, self._live)

    def _from(self, starts: set[OpId], edges: frozenset[Edge] | None) -> set[OpId]:
        reached = set(starts)
        for op in self._graph.ops:
            ways = self._graph.edges_in(op.id)
            if op.id in self._inside and any(
                e.src in reached and (edges is None or e in edges) for e in ways
            ):
                reached.add(op.id)
        return reached

    def carries(self, op: Op) -> bool:
        """Whether an op gives a map whose places reach the end, and its channels stay together."""
        if op.id not in self._reached or op.kind in _NOT_A_MAP or not is_float(op):
            return False
        layout = self._reading.layout(op.id)
        if layout is None:
            return False
        ways = [e for e in self._graph.edges_out(op.id) if e in self._live]
        if not ways:
            return op.id == self._end
        return not all(self._takes_apart(op, self._graph[e.dst]) for e in ways)

    def _takes_apart(self, op: Op, taker: Op) -> bool:
        """Whether channels become heads, or queries, keys and values."""
        if taker.kind in _TAKEN_APART:
            return self._channels(taker)[0] < self._channels(op)[0]
        return taker.kind in _VIEWS and self._channels(taker)[1] > self._channels(op)[1]

    def _channels(self, op: Op) -> tuple[int, int]:
        """The size of all axes together that are no direction of the image, and how many."""
        sizes = [a.size for a in self._reading.axes(op.id) if not a.spatial]
        return math.prod(sizes), len(sizes)

    def _passing(self, op: Op, reached: set[OpId], edges: frozenset[Edge] | None) -> bool:
        """Whether something reaches the end in another way than through this op."""
        at = self._graph.position(op.id)
        return any(
            edge.dst in self._inside
            and (edges is None or edge in edges)
            and self._graph.position(edge.dst) > at
            for node in reached
            if self._graph.position(node) < at and self._graph[node].kind != "input"
            for edge in self._graph.edges_out(node)
        )

    def note(self, op: Op) -> str:
        """What goes past a map, in a sentence."""
        if self._passing(op, self._reached, self._live):
            return say("Part of the model goes past this layer.")
        if not self._passing(op, self._all, None):
            return ""
        layout = self._reading.layout(op.id)
        if layout is not None and (layout.front or layout.behind):
            return say("Only tokens that are no places of the image go past this layer.")
        return say("Part of the model goes past this layer.")


def _only_views(graph: ModelGraph, paths: tuple[str, ...]) -> bool:
    """Whether nothing is computed in the outermost of these modules."""
    home = paths[0]
    return all(
        op.kind in _VIEWS
        for op in graph.ops
        if op.module == home or op.module.startswith(f"{home}.")
    )
