"""``Reading``: the axes of every tensor of a graph, and which places still reach the score.

After the last attention of a transformer that reads its class token, the tokens of the
image are still computed, but nobody looks at them: a map taken there says nothing.
"""

from __future__ import annotations

from resnet_viz.core.graph import Edge, ModelGraph, OpId
from resnet_viz.measuring.layers.axes import Axes, plain, settled, unknown, whole
from resnet_viz.measuring.layers.axis_rules import flows_of
from resnet_viz.measuring.layers.flows import BESIDE, Flow
from resnet_viz.measuring.layers.layouts import Layout, layout_of

MOST_IMAGE_CHANNELS = 4
"""As in ``maps.is_image``: more are no picture, and only a convolution tells what they are."""


class Reading:
    """What a trace says of the axes.

    Args:
        graph: Any graph.
    """

    def __init__(self, graph: ModelGraph) -> None:
        self.graph = graph
        self._flows: dict[tuple[OpId, int], Flow] = {}
        images = [i.shape[0] for i in graph.inputs if len(i.shape) == 4]
        self.batch = images[0] if images else 1
        for given in graph.inputs:
            self._flows[given.id, 0] = Flow(_given(given.shape))
        for op in graph.ops:
            operands = {e.in_slot: self.axes(e.src, e.out_slot) for e in graph.edges_in(op.id)}
            for slot, flow in enumerate(flows_of(op, operands)):
                self._flows[op.id, slot] = Flow(settled(flow.axes), flow.links)

    def axes(self, op: OpId, slot: int = 0) -> Axes:
        """What the axes of an output stand for."""
        found = self._flows.get((op, slot))
        if found is not None:
            return found.axes
        outputs = self.graph[op].outputs
        return unknown(outputs[slot].shape) if slot < len(outputs) else ()

    def layout(self, op: OpId, slot: int = 0) -> Layout | None:
        """How an output holds a map of each sample; ``None`` where it does not."""
        return layout_of(self.axes(op, slot), self.batch)

    def live_edges(self, end: OpId, slot: int = 0) -> frozenset[Edge]:
        """Edges through which the places of a map reach an output.

        Args:
            end: The op whose output is looked at.
            slot: Which of its outputs.
        """
        # Per tensor the axes of which only tokens beside the places are read.
        spared: dict[tuple[OpId, int], set[int]] = {(end, slot): set()}
        live: set[Edge] = set()
        for op in reversed([*self.graph.nodes()]):
            for k in range(len(op.outputs)):
                wanted = spared.get((op.id, k))
                flow = self._flows.get((op.id, k))
                if wanted is None or flow is None:
                    continue
                for edge in self.graph.edges_in(op.id):
                    axes = self.axes(edge.src, edge.out_slot)
                    free = {
                        j
                        for j in range(len(axes))
                        if (i := flow.links.get((edge.in_slot, j))) is not None
                        and (i == BESIDE or i in wanted)
                    }
                    before = spared.get((edge.src, edge.out_slot))
                    spared[edge.src, edge.out_slot] = free if before is None else before & free
                    if not any(axes[j].spatial for j in free):
                        live.add(edge)
        return frozenset(live)


def _given(shape: tuple[int, ...]) -> Axes:
    if len(shape) == 4 and shape[1] <= MOST_IMAGE_CHANNELS and shape[2] * shape[3] > 1:
        return plain(shape[0]), plain(shape[1]), whole("h", shape[2]), whole("w", shape[3])
    return unknown(shape)
