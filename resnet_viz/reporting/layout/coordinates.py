"""From a plan and a set of open boxes to coordinates. ``layout.js`` is its twin.

Both passes do the same arithmetic in the same order; a test runs them on the same
data and requires equal numbers. A change here is a change there.

The drawing runs from top to bottom, or with ``direction`` ``LR`` in the data from left
to right. Inside, ``x`` is across the flow and ``y`` along it; what comes out is turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from resnet_viz.core.collector import uncollected
from resnet_viz.reporting.layout.boxes import Box, Kept, begin_of, box_sizes, is_turned, port_of
from resnet_viz.reporting.layout.pieces import FORK, IN, JOIN, LINE, OUT, PORT, RIGHT

METRICS = {
    "pad": 14.0,  # inside a box, on every side
    "head": 28.0,  # height of an open box's title
    "gapX": 24.0,  # between columns
    "gapY": 20.0,  # between rows
    "lane": 11.0,  # between lanes
    "gutter": 56.0,  # between broken columns
    "cards": 6.0,  # how far the cards behind a folded box stand out, right and below
}
"""Distances in pixels; shipped with the data, so that there is one copy."""

_ENDLESS = 1e9

Point = tuple[float, float]


@dataclass(slots=True)
class Placed:
    """Where an item came to stand; ``open`` for a box whose content is drawn."""

    x: float
    y: float
    w: float
    h: float
    open: bool = False


@dataclass(slots=True)
class Route:
    """The way of edge ``edge`` of plan ``plan`` (0 is the drawing, then the boxes)."""

    plan: int
    edge: int
    points: list[Point]
    arrow: bool


@dataclass(slots=True)
class Layout:
    """A finished layout; ``nodes`` and ``groups`` hold ``None`` for what is not drawn.

    It covers ``w`` by ``h`` from ``x``, ``y`` on: these are 0 unless an earlier layout
    was kept. ``kept`` is what a later one needs to move nothing without need.
    """

    w: float
    h: float
    limit: float
    nodes: list[Placed | None]
    groups: list[Placed | None]
    routes: list[Route]
    x: float = 0.0
    y: float = 0.0
    kept: dict[int, Kept] = field(default_factory=dict)


@uncollected()
def coordinates(
    data: dict[str, Any],
    opened: Sequence[bool],
    *,
    aspect: float = 1.6,
    limit: float = 0.0,
    keep: Layout | None = None,
) -> Layout:
    """The layout with these boxes open.

    Args:
        data: What ``diagram.diagram`` returns.
        opened: Per group, whether its content is drawn (if the ones around it are open).
        aspect: Width over height of the place to fill; columns are broken to suit it.
        limit: Length of a column; 0 to find the one that shows everything largest.
        keep: An earlier layout of the same data: what it broke stays broken as it was,
            and what stands before a box that was opened or closed stays where it was.
    """
    if keep is not None and limit <= 0:
        limit = keep.limit
    if limit <= 0:
        limit = _best_limit(data, opened, aspect)
    boxes = box_sizes(data, opened, limit, [], keep.kept if keep else {})
    return _place(data, opened, boxes, limit, keep)


def _best_limit(data: dict[str, Any], opened: Sequence[bool], aspect: float) -> float:
    natural = box_sizes(data, opened, _ENDLESS, [], {})
    whole = natural[0]
    if is_turned(data):
        aspect = 1 / aspect
    best, found = min(aspect / whole.w, 1 / whole.h), _ENDLESS
    # A long chain needs many columns: about as many as make the right shape.
    step = 0.5 * max(1.0, (aspect * whole.h / whole.w) ** 0.5 / 8)
    for k in range(2, 25):
        limit = whole.h / (1 + k * step)
        if limit < (640 if is_turned(data) else 260):
            break
        box = box_sizes(data, opened, limit, natural, {})[0]
        scale = min(aspect / box.w, 1 / box.h)
        # A further break must earn its keep, or the picture only gets restless.
        if scale > best * 1.04:
            best, found = scale, limit
    return found


def _place(
    data: dict[str, Any],
    opened: Sequence[bool],
    boxes: list[Box],
    limit: float,
    keep: Layout | None,
) -> Layout:
    groups, root = data["groups"], boxes[0]
    out = Layout(root.w, root.h, limit, [None] * len(data["nodes"]), [None] * len(groups), [])
    out.x = keep.kept[0].middles[0] - root.centre[0] if keep else 0.0
    for p in range(len(groups) + 1):
        mine = out.groups[p - 1] if p else None
        if p and not (mine and mine.open):
            continue
        box, plan = boxes[p], data["plans"][p]
        stack = box.stack
        ox, oy = (mine.x, mine.y) if mine else (out.x, 0.0)
        for i, item in enumerate(plan["items"]):
            place = Placed(ox + box.x_of(i), oy + box.y_of(i), stack.w[i], stack.h[i])
            if item >= 0:
                out.nodes[item] = place
            else:
                place.open = bool(opened[-item - 1])
                out.groups[-item - 1] = place
        router = _Router(data, opened, box, p)
        for k in range(len(plan["edges"])):
            points, arrow = router.way(k)
            out.routes.append(Route(p, k, [(ox + x, oy + y) for x, y in points], arrow))
        out.kept[p] = Kept(
            [stack.begins[k] for k in box.starts],
            [0.0 if p else ox + box.centre[0], *(x - box.centre[0] for x in box.centre[1:])],
        )
    if is_turned(data):
        _turn(out)
    return out


def _turn(out: Layout) -> None:
    """From top to bottom becomes from left to right."""
    out.x, out.y, out.w, out.h = out.y, out.x, out.h, out.w
    for placed in (*out.nodes, *out.groups):
        if placed is not None:
            placed.x, placed.y, placed.w, placed.h = placed.y, placed.x, placed.h, placed.w
    for route in out.routes:
        route.points = [(y, x) for x, y in route.points]


class _Router:
    """The ways of the edges of one open box, from the box's own corner."""

    def __init__(self, data: dict[str, Any], opened: Sequence[bool], box: Box, p: int) -> None:
        self.m, self.plan, self.box = data["metrics"], data["plans"][p], box
        self.opened = opened
        self.top, self.under, _ = begin_of(data, p)
        self.port = port_of(data)

    def way(self, k: int) -> tuple[list[Point], bool]:
        """The points of an edge, and whether it ends in an arrow head."""
        box, stack, gap = self.box, self.box.stack, self.m["gapY"]
        s, t, code, lane, *_ = self.plan["edges"][k]
        route = code % PORT
        if s >= 0:
            c = box.column[s]
            sx, sy = box.x_of(s) + stack.leave[s], box.y_of(s) + stack.h[s]
            low = stack.under[s] - box.shift[c] if s in stack.under else sy + gap * 0.45
        elif s == IN:
            sx, sy, low = box.enter, 0.0, self.under
        else:
            sx, sy, low = box.w if s == RIGHT else 0.0, self.port, self.port
        if t == OUT:
            c = box.column[s] if s >= 0 else len(box.centre) - 1
            left, tx, ty, tw, inside = 0.0, box.leave, box.h, 0.0, True
            side, high = 0.0, box.h - 8
        else:
            c, item = box.column[t], self.plan["items"][t]
            left, ty, tw = box.x_of(t), box.y_of(t), stack.w[t]
            tx = left + stack.enter[t]
            inside = item < 0 and bool(self.opened[-item - 1])
            side = ty + (self.port if inside else stack.h[t] / 2)
            high = stack.over[t] - box.shift[c] if t in stack.over else ty - gap * 0.5
        arrow = not inside
        aside = code >= PORT or not inside
        if route == LINE:
            if s >= 0 and t >= 0 and box.column[s] != c:
                end, begin = box.bottom[box.column[s]] + self.m["pad"] - 6, self.top - 11
                gx = box.hop[c]
                return [(sx, sy), (sx, end), (gx, end), (gx, begin), (tx, begin), (tx, ty)], arrow
            if abs(sx - tx) < 0.01:
                return [(sx, sy), (tx, ty)], arrow
            bend = high if t == OUT else sy + gap * 0.25 if s >= 0 else low
            return [(sx, sy), (sx, bend), (tx, bend), (tx, ty)], arrow
        if route == FORK:
            return [(sx, sy), (sx, low), (tx, low), (tx, ty)], arrow
        if route == JOIN:
            if not aside:
                return [(sx, sy), (sx, high), (tx, high), (tx, ty)], arrow
            return [(sx, sy), (sx, side), (left + tw if sx > tx else left, side)], arrow
        out = 4 + abs(lane) * self.m["lane"]
        lx = box.high[c] + out if lane > 0 else box.low[c] - out
        start = [(sx, sy), (lx, low)] if s < OUT else [(sx, sy), (sx, low), (lx, low)]
        if not aside:
            return [*start, (lx, high), (tx, high), (tx, ty)], arrow
        return [*start, (lx, side), (left + tw if lane > 0 else left, side)], arrow
