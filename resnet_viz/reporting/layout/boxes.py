"""How large each box gets, what stands where inside, and where its column is broken.

Half of ``coordinates``, and of its twin ``layout.js``: a change here is a change there.
``x`` is across the flow and ``y`` along it, whichever way the drawing runs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from resnet_viz.reporting.layout.pieces import LANE, LINE, OUT, PORT
from resnet_viz.reporting.layout.sweep import ABOVE, BELOW, WALL


@dataclass(slots=True)
class Kept:
    """How a box was broken: where its columns begin, and how far off their middles are."""

    starts: list[int]
    middles: list[float]


@dataclass(slots=True)
class Stack:
    """What stands in one box before it is broken; column 0 is at x = 0."""

    w: list[float]  # of its items, like the next four
    h: list[float]
    enter: list[float]
    leave: list[float]
    at: list[float]  # x of the middle
    y: list[float]
    under: dict[int, float]  # y of the way under an item, where it is no matter of course
    over: dict[int, float]  # likewise above it
    begins: list[int]  # first item of each segment that cannot be broken
    first: list[float]  # where each of them begins and ends
    last: list[float]
    low: list[float]  # its left and its right end
    high: list[float]
    lanes_left: list[int]
    lanes_right: list[int]
    last_item: int = -1  # the one from which the main path leaves straight


@dataclass(slots=True)
class Box:
    """Sizes along and across the flow, and what stands where inside."""

    w: float
    h: float
    enter: float  # x where the main path comes in
    leave: float  # x where it goes out
    stack: Stack
    column: list[int] = field(default_factory=list)  # broken column per item
    starts: list[int] = field(default_factory=list)  # first segment per column
    shift: list[float] = field(default_factory=list)  # how far up each column moved
    centre: list[float] = field(default_factory=list)  # x of column 0, per broken column
    low: list[float] = field(default_factory=list)  # left end of its items
    high: list[float] = field(default_factory=list)  # right end of its items
    hop: list[float] = field(default_factory=list)  # x of the way from the column before
    bottom: list[float] = field(default_factory=list)  # where its items end

    def x_of(self, i: int) -> float:
        """The left end of an item."""
        return self.centre[self.column[i]] + self.stack.at[i] - self.stack.enter[i]

    def y_of(self, i: int) -> float:
        """The upper end of an item."""
        return self.stack.y[i] - self.shift[self.column[i]]


def is_turned(data: dict[str, Any]) -> bool:
    """Whether the drawing runs from left to right."""
    return data.get("direction") == "LR"


def _visible(data: dict[str, Any], opened: Sequence[bool]) -> list[bool]:
    seen: list[bool] = []
    for group in data["groups"]:
        parent = group["parent"]
        seen.append(parent < 0 or (seen[parent] and bool(opened[parent])))
    return seen


def box_sizes(
    data: dict[str, Any],
    opened: Sequence[bool],
    limit: float,
    natural: list[Box],
    kept: dict[int, Kept],
) -> list[Box]:
    """Box 0 is the drawing, box ``i + 1`` is group ``i``.

    ``natural`` are the boxes without any break: where nothing inside is broken, what
    stands in a box needs not be worked out again.
    """
    groups = data["groups"]
    seen = _visible(data, opened)
    turned = is_turned(data)
    nothing = Stack([], [], [], [], [], [], {}, {}, [], [], [], [], [], [], [])
    boxes: list[Box] = [Box(0.0, 0.0, 0.0, 0.0, nothing)] * (len(groups) + 1)
    changed = [not natural] * (len(groups) + 1)
    for i in range(len(groups), -1, -1):
        group = groups[i - 1] if i else {}
        if not i or (seen[i - 1] and opened[i - 1]):
            room = max(limit * 0.86 - 60, 560 if turned else 240) if i else limit
            if changed[i]:
                stack = _stack(data, i, boxes)
            elif natural[i].h <= room:
                boxes[i] = natural[i]
                continue
            else:
                stack = natural[i].stack
            boxes[i] = _broken(data, i, stack, room, kept.get(i))
            if i and natural and (len(boxes[i].starts) > 1 or changed[i]):
                changed[group["parent"] + 1] = True
        elif seen[i - 1]:
            w, h = (group["h"], group["w"]) if turned else (group["w"], group["h"])
            boxes[i] = Box(w, h, w / 2, w / 2, nothing)
    return boxes


def begin_of(data: dict[str, Any], p: int) -> tuple[float, float, float]:
    """Where a box's content begins: along the flow, likewise its first ways; and across."""
    m = data["metrics"]
    if not p:
        return m["pad"], m["pad"] - 9, m["pad"]
    ports = 6 if data["plans"][p].get("ports") else 0
    if is_turned(data):
        return m["pad"] + 4 + ports, m["pad"] - 1 + ports, m["head"] + 4
    return m["head"] + 4 + ports, m["head"] - 1 + ports, m["pad"]


def _stack(data: dict[str, Any], p: int, boxes: list[Box]) -> Stack:
    m, plan, turned = data["metrics"], data["plans"][p], is_turned(data)
    gap = m["gapY"]
    items, col, after, bars = plan["items"], plan["col"], plan["after"], plan["bars"]
    n = len(items)
    w, h, enter, leave = [0.0] * n, [0.0] * n, [0.0] * n, [0.0] * n
    for i in range(n):
        if items[i] >= 0:
            node = data["nodes"][items[i]]
            w[i], h[i] = (node["h"], node["w"]) if turned else (node["w"], node["h"])
            enter[i] = leave[i] = w[i] / 2
        else:
            box = boxes[-items[i]]
            w[i], h[i], enter[i], leave[i] = box.w, box.h, box.enter, box.leave
    begins = [0, *plan["cuts"]]
    ends = [*plan["cuts"], n]
    count = len(begins)
    at, low, high = [0.0] * n, [0.0] * count, [0.0] * count
    for k in range(count):
        low[k], high[k] = _spread(at, col, w, enter, begins[k], ends[k], m["gapX"])
    top = begin_of(data, p)[0]
    y = [top] * len(after)
    under: dict[int, float] = {}
    over: dict[int, float] = {}
    for i in plan["order"]:
        begin = top
        kind = bars[i - n][1] if i >= n else -1
        for j in after[i]:
            if j < n:
                end = y[j] + h[j]
                end += gap if kind < 0 else 0 if kind == WALL else gap * 0.45
            elif kind < 0:
                end = y[j] + (gap if bars[j - n][1] == WALL else gap * 0.55)
            else:
                end = y[j] + (0 if kind == WALL else gap * 0.4)
            if end > begin:
                begin = end
        y[i] = begin
        if kind == BELOW:
            under[bars[i - n][0]] = begin
        elif kind == ABOVE:
            over[bars[i - n][0]] = begin
    first, last = [0.0] * count, [0.0] * count
    for k in range(count):
        a, b = begins[k], ends[k]
        first[k] = min((over.get(i, y[i]) for i in range(a, b)), default=top)
        last[k] = max((y[i] + h[i] for i in range(a, b)), default=top)
    lanes_left, lanes_right = [0] * count, [0] * count
    last_item = -1
    for s, t, route, lane, *_ in plan["edges"]:
        if t == OUT and route == LINE:
            last_item = s
        elif route % PORT == LANE:
            k = bisect_right(begins, t if t >= 0 else max(s, 0)) - 1
            lanes_left[k] = max(lanes_left[k], -lane)
            lanes_right[k] = max(lanes_right[k], lane)
    return Stack(
        w, h, enter, leave, at, y, under, over, begins, first, last, low, high,
        lanes_left, lanes_right, last_item,
    )  # fmt: skip


def _spread(
    at: list[float],
    col: Sequence[int],
    w: list[float],
    enter: list[float],
    first: int,
    last: int,
    gap: float,
) -> tuple[float, float]:
    """Sets the x of the columns between two serial points; gives their ends."""
    if last - first == 1 and col[first] == 0:
        return -enter[first], w[first] - enter[first]
    left: dict[int, float] = {}
    right: dict[int, float] = {}
    for i in range(first, last):
        left[col[i]] = max(left.get(col[i], 0.0), enter[i])
        right[col[i]] = max(right.get(col[i], 0.0), w[i] - enter[i])
    x = {0: 0.0}
    high = right.get(0, 0.0)
    for k in sorted(k for k in left if k > 0):
        x[k] = high + gap + left[k]
        high = x[k] + right[k]
    low = -left.get(0, 0.0)
    for k in sorted((k for k in left if k < 0), reverse=True):
        x[k] = low - gap - right[k]
        low = x[k] - left[k]
    for i in range(first, last):
        at[i] = x[col[i]]
    return low, high


def _broken(data: dict[str, Any], p: int, stack: Stack, limit: float, kept: Kept | None) -> Box:
    m, plan, turned = data["metrics"], data["plans"][p], is_turned(data)
    n, segments = len(plan["items"]), len(stack.begins)
    starts = _starts(plan, stack, limit, kept)
    top, _, x0 = begin_of(data, p)
    title = data["groups"][p - 1]["tw"] + 10 if p else 0.0
    count = len(starts)
    column = [0] * n
    centre, low, high = [0.0] * count, [0.0] * count, [0.0] * count
    hop, bottom, shift = [0.0] * count, [0.0] * count, [0.0] * count
    height = top
    right = x0
    for c in range(count):
        a, b = starts[c], starts[c + 1] if c + 1 < count else segments
        begin, end = stack.begins[a], stack.begins[b] if b < segments else n
        column[begin:end] = [c] * (end - begin)
        low[c], high[c] = min(stack.low[a:b]), max(stack.high[a:b])
        left, beside = max(stack.lanes_left[a:b]), max(stack.lanes_right[a:b])
        reach = -low[c] + (left * m["lane"] + 6 if left else 0)
        if c:
            hop[c] = right + m["gutter"] / 2
            centre[c] = right + m["gutter"] + reach
            if kept is not None and c < len(kept.middles):
                centre[c] = max(hop[c] + 6 + reach, centre[0] + kept.middles[c])
        else:
            centre[c] = x0 + (reach if turned else max(reach, title))
        low[c] += centre[c]
        high[c] += centre[c]
        right = high[c] + (beside * m["lane"] + 6 if beside else 0)
        shift[c] = stack.first[a] - top
        bottom[c] = stack.last[b - 1] - shift[c]
        height = max(height, bottom[c])
    w, h = right + m["pad"], height + m["pad"]
    if p:
        if turned:
            h = max(h, title + m["pad"])
        if "times" in data["groups"][p - 1]:
            w, h = w + m["cards"], h + m["cards"]
    leave, i = centre[count - 1], stack.last_item
    if i >= 0:
        leave = centre[column[i]] + stack.at[i] - stack.enter[i] + stack.leave[i]
    return Box(
        w, h, centre[0], leave, stack, column, starts, shift, centre, low, high,
        hop, bottom,
    )  # fmt: skip


def _starts(plan: dict[str, Any], stack: Stack, limit: float, kept: Kept | None) -> list[int]:
    """The segments with which columns begin."""
    if kept is not None:
        place = {begin: k for k, begin in enumerate(stack.begins)}
        return [place[begin] for begin in kept.starts]
    total = stack.last[-1] - stack.first[0]
    if total <= limit:
        return [0]
    free = set(plan["breaks"])
    whole = [0] + [k for k in range(1, len(stack.begins)) if stack.begins[k] in free]
    first = [stack.first[k] for k in whole]
    last = [stack.last[k - 1] for k in whole[1:]] + [stack.last[-1]]
    # Beside what cannot be broken, a column for a little of the rest saves nothing.
    limit = max(limit, 1.15 * max(b - a for a, b in zip(first, last, strict=True)))
    if total <= limit:
        return [0]
    starts = _pack(first, last, limit)
    fewest = len(starts)
    for step in range(21):
        tried = _pack(first, last, total / fewest * (1 + 0.05 * step))
        if len(tried) <= fewest:
            starts = tried
            break
    return [whole[k] for k in starts]


def _pack(first: list[float], last: list[float], limit: float) -> list[int]:
    starts = [0]
    while True:
        begin = starts[-1]
        k = max(bisect_right(last, first[begin] + limit), begin + 1)
        if k >= len(last):
            return starts
        starts.append(k)


def port_of(data: dict[str, Any]) -> float:
    """How far down a box's side it is entered, below its title or before it."""
    return 8.0 if is_turned(data) else data["metrics"]["head"] - 1
