"""What must stand above what, so that no edge runs through a box.

Items and bars are taken from top to bottom. Each takes a stretch of columns, ends
below whatever stood there last, and is what stands there from now on: two that share
a column can never stand beside each other, whatever their sizes. A bar has no height;
it keeps the columns free that an edge crosses on its way to a lane or another column.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection

from resnet_viz.reporting.layout.pieces import FORK, JOIN, LANE, LINE, LocalEdge

BELOW, ABOVE, WALL = 0, 1, 2
"""Kinds of bars: under an item, over it; under all before a cut."""

Bar = tuple[int, int]
"""The item it belongs to, and its kind."""

Span = tuple[int, int]


def sweep(
    edges: list[LocalEdge],
    order: list[int],
    col: list[int],
    rank: list[int],
    boxes: Collection[int],
    cuts: list[int],
    entered: Collection[int],
) -> tuple[list[int], list[list[int]], list[Bar]]:
    """Events from top to bottom, per event those that must end above it, and the bars.

    Args:
        edges: With their routes and lanes.
        order: Items from top to bottom.
        col: Column per item.
        rank: Rank per item.
        boxes: Items that are boxes.
        cuts: Items before which all before them must have ended.
        entered: Items that the main input reaches.
    """
    n = len(order)
    under, over, reach = _spans(edges, col, boxes)
    if not (over or min(col, default=0) < max(col, default=0)):
        under, over = {}, {}
    fed = {e.t for e in edges if e.s >= 0} | set(entered)
    events: list[int] = []
    after: list[list[int]] = [[] for _ in range(n)]
    bars: list[Bar] = []
    front = _Front()
    spine: list[int] = []
    begun = 0
    for x in order:
        if begun < len(cuts) and x >= cuts[begun]:
            begun += 1
            if len(ended := front.all()) > 1:
                after.append(ended)
                bars.append((events[-1] if events[-1] < n else bars[events[-1] - n][0], WALL))
                events.append(n + len(bars) - 1)
                front.reset(events[-1])
            elif ended:
                front.reset(ended[0])
            spine.clear()
        if x in over:
            after.append(front.take(*over[x], n + len(bars)))
            events.append(n + len(bars))
            bars.append((x, ABOVE))
        low, high = reach.get(x, (col[x], col[x]))
        after[x] = front.take(low, high, x)
        if x not in fed and col[x] and spine:
            # A constant stands beside its first use.
            after[x] = sorted({*after[x], spine[-1] if rank[spine[-1]] < rank[x] else spine[0]})
        events.append(x)
        if x in under:
            after.append(front.take(*under[x], n + len(bars)))
            events.append(n + len(bars))
            bars.append((x, BELOW))
        if col[x] == 0:
            spine[:] = [spine[-1] if spine and rank[spine[-1]] < rank[x] else x, x]
    return events, after, bars


def _spans(
    edges: list[LocalEdge], col: list[int], boxes: Collection[int]
) -> tuple[dict[int, Span], dict[int, Span], dict[int, Span]]:
    """Columns crossed under each item and over it, and those it is entered across."""
    under: dict[int, Span] = {}
    over: dict[int, Span] = {}
    reach: dict[int, Span] = {}
    leftmost, rightmost = min(col, default=0), max(col, default=0)

    def widen(spans: dict[int, Span], x: int, other: int) -> None:
        low, high = spans.get(x, (col[x], col[x]))
        spans[x] = min(low, other), max(high, other)

    for e in edges:
        if e.route == LINE:
            continue
        extreme = leftmost if e.lane < 0 else rightmost
        if e.s >= 0 and e.route != JOIN:
            widen(under, e.s, col[e.t] if e.route == FORK else extreme)
        if e.t >= 0 and e.route != FORK:
            aside = extreme if e.route == LANE else col[e.s]
            widen(reach, e.t, aside)
            if e.t in boxes and not e.port:
                widen(over, e.t, aside)
    return under, over, reach


class _Front:
    """What stands lowest in each column, as stretches of columns."""

    def __init__(self) -> None:
        # From each start to the next one, the same event; -1 where there is none yet.
        self.reset(-1)

    def take(self, low: int, high: int, event: int) -> list[int]:
        """Puts the event on these columns; gives what stood there."""
        a = bisect_right(self.starts, low) - 1
        b = bisect_left(self.starts, high + 1)
        found = sorted({e for e in self.events[a:b] if e >= 0})
        rest = self.events[b - 1]
        begin = a if self.starts[a] == low else a + 1
        starts: list[float] = [low]
        events = [event]
        if b == len(self.starts) or self.starts[b] != high + 1:
            starts.append(high + 1)
            events.append(rest)
        self.starts[begin:b] = starts
        self.events[begin:b] = events
        return found

    def all(self) -> list[int]:
        """All that stands lowest somewhere, but for what is above everything."""
        return sorted({e for e in self.events if e != self.base})

    def reset(self, event: int) -> None:
        """From now on this one is above everything."""
        self.base = event
        self.starts: list[float] = [float("-inf")]
        self.events = [event]
