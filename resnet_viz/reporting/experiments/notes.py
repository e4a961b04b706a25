"""Names beside points of a panel: where nothing else is, or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from resnet_viz.reporting.experiments.figure import Panel
from resnet_viz.reporting.experiments.marks import Frame

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

_STEP = 3.0
_AWAY = 8.0


def beside(
    x: float, y: float, width: float, size: float, foot: float | None = None
) -> tuple[Box, ...]:
    """Boxes for a text around a point, best first: right, left, above, below, along its stem.

    Args:
        x: Where the point is.
        y: Where the point is.
        width: Of the text.
        size: Of its letters.
        foot: Where the stem of the point ends; ``None`` without one.
    """
    high, low = 0.78 * size, 0.22 * size
    starts = [
        (x + _AWAY, y + 4), (x - _AWAY - width, y + 4), (x + 4, y - _AWAY), (x + 4, y + 17),
        (x - 4 - width, y - _AWAY), (x - 4 - width, y + 17),
    ]  # fmt: skip
    for part in (0.25, 0.5, 0.75) if foot is not None and abs(foot - y) > 40 else ():
        base = y + part * ((foot or 0.0) - y) + 4
        starts += [(x + _AWAY, base), (x - _AWAY - width, base)]
    return tuple((left, base - high, left + width, base + low) for left, base in starts)


def free(box: Box, ink: Sequence[tuple[float, float]], texts: Sequence[Box], frame: Frame) -> bool:
    """Whether the box lies in the frame, on no ink and 3 pixels from every other text."""
    left, top, right, bottom = box
    inside = left >= frame.left and right <= frame.right
    if not inside or top < frame.top or bottom > frame.bottom:
        return False
    if any(left - 2 < x < right + 2 and top - 1 < y < bottom + 1 for x, y in ink):
        return False
    return all(
        right + 3 <= a or left >= c + 3 or bottom + 3 <= b or top >= d + 3 for a, b, c, d in texts
    )


def ink_of(panel: Panel, frame: Frame) -> list[tuple[float, float]]:
    """Points every few pixels along all that is drawn: lines, dots, stems, level rules."""
    found: list[tuple[float, float]] = []
    for series in panel.series:
        places = [(frame.px(x), frame.py(y)[0]) for x, y in series.points if not math.isnan(x + y)]
        found += places
        if series.line:
            for one, two in pairwise(places):
                found += _between(one, two)
        if series.stems is not None:
            foot, _ = frame.py(series.stems)
            for x, y in places:
                found += _between((x, y), (x, foot))
    for rule in panel.rules:
        if rule.across == "level":
            y, off = frame.py(rule.at)
            found += [] if off else _between((frame.left, y), (frame.right, y))
    return found


def _between(one: tuple[float, float], two: tuple[float, float]) -> Iterator[tuple[float, float]]:
    parts = max(1, math.ceil(math.dist(one, two) / _STEP))
    for i in range(parts + 1):
        part = i / parts
        yield one[0] + part * (two[0] - one[0]), one[1] + part * (two[1] - one[1])
