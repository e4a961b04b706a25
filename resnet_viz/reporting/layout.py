"""From a plan and a set of open boxes to coordinates. ``layout.js`` is its twin.

Both passes do the same arithmetic in the same order; a test runs them on the same
data and requires equal numbers. A change here is a change there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

IN, OUT = -1, -2
LINE, FORK, JOIN, LANE = 0, 1, 2, 3

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
    """A finished layout; ``nodes`` and ``groups`` hold ``None`` for what is not drawn."""

    w: float
    h: float
    limit: float
    nodes: list[Placed | None]
    groups: list[Placed | None]
    routes: list[Route]


@dataclass(slots=True)
class _Box:
    w: float
    h: float
    enter: float  # x where the main path comes in
    leave: float  # x where it goes out
    x: list[float]
    y: list[float]
    column: list[int]  # broken column per item
    centre: list[float]  # x of column 0, per broken column
    low: list[float]  # left end of the content, per broken column
    high: list[float]  # right end of the content, per broken column
    edge: list[float]  # left end with lanes, per broken column


def coordinates(
    data: dict[str, Any], opened: Sequence[bool], *, aspect: float = 1.6, limit: float = 0.0
) -> Layout:
    """The layout with these boxes open.

    Args:
        data: What ``diagram.diagram`` returns.
        opened: Per group, whether its content is drawn (if the ones around it are open).
        aspect: Width over height of the place to fill; columns are broken to suit it.
        limit: Height of a column; 0 to find the one that shows everything largest.
    """
    if limit <= 0:
        limit = _best_limit(data, opened, aspect)
    boxes = _sizes(data, opened, limit, [])
    return _place(data, opened, boxes, limit)


def _best_limit(data: dict[str, Any], opened: Sequence[bool], aspect: float) -> float:
    natural = _sizes(data, opened, 1e9, [])
    whole = natural[0]
    best, found = min(aspect / whole.w, 1 / whole.h), 1e9
    for k in range(2, 25):
        limit = whole.h / (1 + k * 0.5)
        if limit < 260:
            break
        box = _sizes(data, opened, limit, natural)[0]
        scale = min(aspect / box.w, 1 / box.h)
        # A further break must earn its keep, or the picture only gets restless.
        if scale > best * 1.04:
            best, found = scale, limit
    return found


def _visible(data: dict[str, Any], opened: Sequence[bool]) -> list[bool]:
    seen: list[bool] = []
    for group in data["groups"]:
        parent = group["parent"]
        seen.append(parent < 0 or (seen[parent] and opened[parent]))
    return seen


def _sizes(
    data: dict[str, Any], opened: Sequence[bool], limit: float, natural: list[_Box]
) -> list[_Box]:
    """Box 0 is the drawing, box ``i + 1`` is group ``i``.

    ``natural`` are the boxes without any break: what is low enough stays as it is.
    """
    groups = data["groups"]
    seen = _visible(data, opened)
    boxes: list[_Box] = [_closed(0, 0)] * (len(groups) + 1)
    inner = limit * 0.86 - 60
    for i in range(len(groups) - 1, -1, -1):
        if seen[i]:
            group = groups[i]
            if natural and natural[i + 1].h <= inner:
                boxes[i + 1] = natural[i + 1]
            elif opened[i]:
                box = _box(data, data["plans"][i + 1], boxes, group["tw"], inner)
                if "times" in group:
                    box.w += data["metrics"]["cards"]
                    box.h += data["metrics"]["cards"]
                boxes[i + 1] = box
            else:
                boxes[i + 1] = _closed(group["w"], group["h"])
    boxes[0] = _box(data, data["plans"][0], boxes, -1, limit)
    return boxes


def _closed(w: float, h: float) -> _Box:
    return _Box(w, h, w / 2, w / 2, [], [], [], [], [], [], [])


def _box(
    data: dict[str, Any], plan: dict[str, Any], boxes: list[_Box], title: float, limit: float
) -> _Box:
    m = data["metrics"]
    pad, gap_x, gap_y = m["pad"], m["gapX"], m["gapY"]
    items, col = plan["items"], plan["col"]
    n = len(items)
    w, h, enter = [0.0] * n, [0.0] * n, [0.0] * n
    for i in range(n):
        if items[i] >= 0:
            node = data["nodes"][items[i]]
            w[i], h[i], enter[i] = node["w"], node["h"], node["w"] / 2
        else:
            box = boxes[-items[i]]
            w[i], h[i], enter[i] = box.w, box.h, box.enter
    begins = [0, *plan["cuts"]]
    at = [0.0] * n
    for first, last in zip(begins, [*plan["cuts"], n], strict=True):
        _spread(at, col, w, enter, first, last, gap_x)
    top = m["head"] + 4 if title >= 0 else pad
    y = [0.0] * n
    for i in plan["order"]:
        y[i] = top
        for j in plan["after"][i]:
            y[i] = max(y[i], y[j] + h[j] + gap_y)
    column, starts = _break(plan["breaks"], y, h, limit)
    count = len(starts)
    low, high = [0.0] * count, [0.0] * count
    for i in range(n):
        c = column[i]
        low[c] = min(low[c], at[i] - enter[i])
        high[c] = max(high[c], at[i] - enter[i] + w[i])
    lanes_left, lanes_right = [0] * count, [0] * count
    for s, t, route, lane, *_ in plan["edges"]:
        if route == LANE:
            c = column[t] if t >= 0 else column[s]
            lanes_left[c] = max(lanes_left[c], -lane)
            lanes_right[c] = max(lanes_right[c], lane)
    centre, edge = [0.0] * count, [0.0] * count
    x0 = pad
    for c in range(count):
        reach = -low[c] + (lanes_left[c] * m["lane"] + 6 if lanes_left[c] else 0)
        if c == 0 and title >= 0:
            reach = max(reach, title + 10)
        edge[c] = x0
        centre[c] = x0 + reach
        low[c] += centre[c]
        high[c] += centre[c]
        x0 = high[c] + (lanes_right[c] * m["lane"] + 6 if lanes_right[c] else 0) + m["gutter"]
    width = x0 - m["gutter"] + pad
    height = top
    x = [0.0] * n
    for i in range(n):
        c = column[i]
        x[i] = centre[c] + at[i] - enter[i]
        y[i] = y[i] - starts[c] + top
        height = max(height, y[i] + h[i])
    return _Box(
        width, height + pad, centre[0], centre[count - 1], x, y, column, centre, low, high, edge
    )


def _spread(
    at: list[float],
    col: Sequence[int],
    w: list[float],
    enter: list[float],
    first: int,
    last: int,
    gap: float,
) -> None:
    """Sets the x of the columns between two serial points, column 0 at 0."""
    left: dict[int, float] = {}
    right: dict[int, float] = {}
    for i in range(first, last):
        left[col[i]] = max(left.get(col[i], 0.0), enter[i])
        right[col[i]] = max(right.get(col[i], 0.0), w[i] - enter[i])
    x = {0: 0.0}
    edge = right.get(0, 0.0)
    for k in sorted(k for k in left if k > 0):
        x[k] = edge + gap + left[k]
        edge = x[k] + right[k]
    edge = -left.get(0, 0.0)
    for k in sorted((k for k in left if k < 0), reverse=True):
        x[k] = edge - gap - right[k]
        edge = x[k] - left[k]
    for i in range(first, last):
        at[i] = x[col[i]]


def _break(
    cuts: Sequence[int], y: list[float], h: list[float], limit: float
) -> tuple[list[int], list[float]]:
    """Broken column per item, and the y at which each column starts."""
    n = len(y)
    begins = [0, *cuts]
    ends = [*cuts, n]
    spans: list[Point] = []
    for a, b in zip(begins, ends, strict=True):
        first, last = 1e18, 0.0
        for i in range(a, b):
            first, last = min(first, y[i]), max(last, y[i] + h[i])
        spans.append((first, last))
    total = spans[-1][1] - spans[0][0] if n else 0.0
    starts = [0]
    if total > limit:
        starts = _pack(spans, limit)
        fewest = len(starts)
        for step in range(21):
            tried = _pack(spans, total / fewest * (1 + 0.05 * step))
            if len(tried) <= fewest:
                starts = tried
                break
    column = [0] * n
    for c, seg in enumerate(starts):
        for i in range(begins[seg], n):
            column[i] = c
    return column, [spans[seg][0] for seg in starts]


def _pack(spans: list[Point], limit: float) -> list[int]:
    starts = [0]
    for k, (_, last) in enumerate(spans):
        if k > starts[-1] and last - spans[starts[-1]][0] > limit:
            starts.append(k)
    return starts


def _place(data: dict[str, Any], opened: Sequence[bool], boxes: list[_Box], limit: float) -> Layout:
    groups = data["groups"]
    seen = _visible(data, opened)
    root = boxes[0]
    out = Layout(root.w, root.h, limit, [None] * len(data["nodes"]), [None] * len(groups), [])
    for p in range(len(groups) + 1):
        if p and not (seen[p - 1] and opened[p - 1]):
            continue
        box, plan = boxes[p], data["plans"][p]
        ox = oy = 0.0
        if p and (mine := out.groups[p - 1]):
            ox, oy = mine.x, mine.y
        for i, item in enumerate(plan["items"]):
            x, y = ox + box.x[i], oy + box.y[i]
            if item >= 0:
                node = data["nodes"][item]
                out.nodes[item] = Placed(x, y, node["w"], node["h"])
            else:
                inner = boxes[-item]
                out.groups[-item - 1] = Placed(x, y, inner.w, inner.h, bool(opened[-item - 1]))
        for k in range(len(plan["edges"])):
            points, arrow = _way(data, opened, boxes, p, k)
            out.routes.append(Route(p, k, [(ox + x, oy + y) for x, y in points], arrow))
    return out


def _way(
    data: dict[str, Any], opened: Sequence[bool], boxes: list[_Box], p: int, k: int
) -> tuple[list[Point], bool]:
    m, plan, box = data["metrics"], data["plans"][p], boxes[p]
    gap = m["gapY"]
    s, t, route, lane, *_ = plan["edges"][k]
    items = plan["items"]

    def size(i: int) -> tuple[float, float, float, float]:
        item = items[i]
        if item >= 0:
            node = data["nodes"][item]
            return node["w"], node["h"], node["w"] / 2, node["w"] / 2
        inner = boxes[-item]
        return inner.w, inner.h, inner.enter, inner.leave

    under = m["head"] - 1 if p else m["pad"] - 9
    if s == IN:
        sx, sy, low = box.enter, 0.0, under
    else:
        _, sh, _, leave = size(s)
        sx, sy = box.x[s] + leave, box.y[s] + sh
        low = sy + gap * 0.45
    if t == OUT:
        tx, ty, high = box.leave, box.h, box.h - 8
        inside, tw, th = True, 0.0, 0.0
    else:
        tw, th, enter, _ = size(t)
        tx, ty = box.x[t] + enter, box.y[t]
        high = ty - gap * 0.5
        inside = items[t] < 0 and bool(opened[-items[t] - 1])
    arrow = not inside
    middle = ty + th / 2
    if route == LINE:
        c = box.column[t] if t >= 0 else (box.column[s] if s >= 0 else 0)
        if s >= 0 and t >= 0 and box.column[s] != c:
            gx = box.edge[c] - m["gutter"] / 2
            top = ty - 11
            return [(sx, sy), (sx, sy + 13), (gx, sy + 13), (gx, top), (tx, top), (tx, ty)], arrow
        if abs(sx - tx) < 0.01:
            return [(sx, sy), (tx, ty)], arrow
        return [(sx, sy), (sx, high), (tx, high), (tx, ty)], arrow
    if route == FORK:
        return [(sx, sy), (sx, low), (tx, low), (tx, ty)], arrow
    if route == JOIN:
        if not inside and not lane and sx > tx + tw / 2 + 6:
            return [(sx, sy), (sx, middle), (box.x[t] + tw, middle)], arrow
        if not inside and not lane and sx < tx - tw / 2 - 6:
            return [(sx, sy), (sx, middle), (box.x[t], middle)], arrow
        return [(sx, sy), (sx, high), (tx, high), (tx, ty)], arrow
    c = box.column[t] if t >= 0 else box.column[s]
    lx = box.high[c] + 4 + lane * m["lane"] if lane > 0 else box.low[c] - 4 + lane * m["lane"]
    if inside:
        return [(sx, sy), (sx, low), (lx, low), (lx, high), (tx, high), (tx, ty)], arrow
    side = box.x[t] + tw if lane > 0 else box.x[t]
    return [(sx, sy), (sx, low), (lx, low), (lx, middle), (side, middle)], arrow
