"""Which part of an image one place of a map depends on, by arithmetic over the graph.

A place is followed back op by op on a plane without borders, each direction for itself:
a convolution reads ``kernel`` places, ``dilation`` apart, from ``index · stride − padding``
on; where several ways meet, the hull of what they read counts (Araujo et al. 2019,
"Computing Receptive Fields of Convolutional Neural Networks"). A place that depends on
all others (attention, a gate made by global pooling, a norm over places) sees the whole.
"""

from __future__ import annotations

from collections.abc import Iterable

from resnet_viz.analysis.reach.following import Followed, follow
from resnet_viz.analysis.reach.values import EVERYTHING, Span
from resnet_viz.core.depth_views import ReceptiveField
from resnet_viz.core.graph import ModelGraph, OpId

_PERIOD = 96
"""Places after which an upsampling begins anew: a multiple of all usual factors."""


def receptive_fields(
    graph: ModelGraph, ops: Iterable[OpId], source: OpId
) -> dict[OpId, ReceptiveField | None]:
    """The theoretical receptive field of a place of each op's first output.

    Height and width are the most that any place sees by convolutions, pools and the like;
    they are the image's own where attention mixes all places. ``None`` where the op's output
    does not depend on the image, is no map of places, or was made by an op that is not
    understood (a partition into windows, an unknown function).

    Args:
        graph: Any graph.
        ops: Whose outputs are meant.
        source: The image that goes in, ``(N, C, H, W)``.
    """
    followed = follow(graph, source)
    return {op: _field(graph, followed, op, source) for op in ops}


def _field(graph: ModelGraph, followed: Followed, op: OpId, source: OpId) -> ReceptiveField | None:
    value = followed.values.get((op, 0))
    if value is None or not value.known or not value.spatial or value.grid is None:
        return None
    uneven = bool(_before(followed, op) & followed.uneven)
    axes = [
        _along(graph, followed, op, source, axis, value.grid[axis] if uneven else 1)
        for axis in (0, 1)
    ]
    if axes[0] is None or axes[1] is None:
        return None
    sides, strides, centres = zip(*axes, strict=True)
    return ReceptiveField(
        height=sides[0], width=sides[1], stride=strides, centre=centres, whole=value.whole
    )


def _along(
    graph: ModelGraph, followed: Followed, op: OpId, source: OpId, axis: int, phases: int
) -> tuple[int, float, float] | None:
    """Side, stride and centre in one direction; ``None`` where no place sees anything."""
    places = [*range(min(phases, _PERIOD)), _PERIOD if phases > 1 else 1]
    seen = {p: _seen(graph, followed, op, source, axis, p) for p in places}
    if EVERYTHING in seen.values():
        extent = graph[source].shape[2 + axis]
        value = followed.values[op, 0]
        stride = extent / (value.grid or (1, 1))[axis]
        return extent, stride, (stride - 1) / 2
    found = {p: span for p, span in seen.items() if span is not None}
    if len(found) < 2:
        return None
    (first, begin), (last, end) = next(iter(found.items())), [*found.items()][-1]
    stride = (sum(end) - sum(begin)) / 2 / (last - first)
    side = max(high - low + 1 for p, (low, high) in found.items() if p != places[-1])
    return side, stride, sum(begin) / 2 - first * stride


def _before(followed: Followed, op: OpId) -> set[OpId]:
    reached, ahead = {op}, [op]
    while ahead:
        for edge, _ in followed.reads.get(ahead.pop(), ()):
            if edge.src not in reached:
                reached.add(edge.src)
                ahead.append(edge.src)
    return reached


def _seen(
    graph: ModelGraph, followed: Followed, op: OpId, source: OpId, axis: int, place: int
) -> Span | None:
    """The input's places, first to last, that one place depends on; ``None`` for none."""
    wanted: dict[OpId, Span] = {op: (place, place)}
    at = graph.position(op)
    order = [node.id for node in graph.nodes()][: at + 1]
    for node in reversed(order):
        if node not in wanted or node == source:
            continue
        span = wanted.pop(node)
        for edge, reads in followed.reads.get(node, ()):
            if reads is None:
                return EVERYTHING
            low, high = reads[axis](*span)
            if low > high:
                continue  # between the taps of a transposed convolution
            mine = wanted.get(edge.src, (low, high))
            wanted[edge.src] = (min(low, mine[0]), max(high, mine[1]))
    return wanted.get(source)
