"""Which lane beside the columns each long edge takes."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter

from resnet_viz.reporting.layout.pieces import LANE, LEFT, OUT, RIGHT, LocalEdge

_HUB = 4  # so many long edges from one source run on the left, as a bus
_TRUNK = "trunk"

Key = tuple[object, ...]


def number_lanes(edges: list[LocalEdge], order: list[int], col: list[int]) -> None:
    """Gives lanes; long edges of one source, of one trunk, or of one bus share one.

    A concatenation with one source and one end of its own (a U-Net's) is no part of a
    trunk: in one lane with another it could not be told which leads where.
    """
    place = {x: i for i, x in enumerate(order)}
    sides = [[i for i, x in enumerate(order) if col[x] * side > 0] for side in (-1, 1)]
    spans = []
    for key, bus in _buses([e for e in edges if e.route == LANE]).items():
        low = min(place.get(e.s, -1) for e in bus)
        high = max(len(order) if e.t == OUT else place[e.t] for e in bus)
        left = _is_left(key, bus, sides, low, high)
        spans.append((high - low, low, high, left, bus))
    spans.sort(key=lambda span: span[:4])
    used: dict[bool, list[list[tuple[int, int]]]] = {True: [], False: []}
    for _, low, high, left, bus in spans:
        lanes = used[left]
        number = next((i for i, lane in enumerate(lanes) if _fits(lane, low, high)), len(lanes))
        if number == len(lanes):
            lanes.append([])
        insort(lanes[number], (low, high))
        for e in bus:
            e.lane = -(number + 1) if left else number + 1
            if e.beside:
                e.port = -1 if left else 1


def _buses(long: list[LocalEdge]) -> dict[Key, list[LocalEdge]]:
    gathered = [e for e in long if e.trunk]
    leaving, arriving = Counter(e.s for e in gathered), Counter(e.t for e in gathered)
    single: dict[Key, list[LocalEdge]] = {}
    for e in long:
        key: Key = (e.s, e.beside)
        if e.s in (LEFT, RIGHT):
            key = (e.s,)
        elif e.trunk and (leaving[e.s] > 1 or arriving[e.t] > 1):
            key = (_TRUNK,)
        single.setdefault(key, []).append(e)
    # Hubs that feed the same boxes (a mask, the rotary tables) are one bus.
    buses: dict[Key, list[LocalEdge]] = {}
    for key, bus in single.items():
        hub = len(bus) > 1 and bus[0].s >= 0 and all(e.beside and not e.skips for e in bus)
        shared = ("hub", *(e.t for e in bus)) if hub and key != (_TRUNK,) else key
        buses.setdefault(shared, []).extend(bus)
    return buses


def _is_left(key: Key, bus: list[LocalEdge], sides: list[list[int]], low: int, high: int) -> bool:
    if bus[0].s in (LEFT, RIGHT):
        return bus[0].s == LEFT
    if key == (_TRUNK,):
        return True
    is_skip = any(e.skips or (e.part >= 0 and not e.plain) for e in bus)
    if not is_skip and (len(bus) >= _HUB or any(e.beside for e in bus)):
        return True
    # To the right, unless there it would run across what the left is free of.
    left, right = (bisect_left(at, high) - bisect_left(at, low) for at in sides)
    return right > 0 and left == 0


def _fits(lane: list[tuple[int, int]], low: int, high: int) -> bool:
    """Whether nothing in the lane runs beside the stretch; its ends may touch."""
    i = bisect_left(lane, (high, -1))
    return i == 0 or lane[i - 1][1] <= low
