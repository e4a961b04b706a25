"""The series of one panel as SVG: bands, lines, stems, markers, and what is off the axes.

Infinite values and values beyond an axis become a triangle at that edge, NaN a cross
at the foot; the line has a gap only where there is no number at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from xml.sax.saxutils import quoteattr

from resnet_viz.reporting.escaping import escaped
from resnet_viz.reporting.experiments.figure import Hue, Key, Series
from resnet_viz.reporting.experiments.scales import Off, Scale

Point: TypeAlias = tuple[float, float]

RADIUS, _LARGER = 2.8, 1.3
_OFF_SIZE = 4.0
_OFF_APART = 10.0


@dataclass(frozen=True, slots=True)
class Frame:
    """The rectangle that data is drawn in, with the scales of its two axes."""

    left: float
    top: float
    width: float
    height: float
    x: Scale
    y: Scale

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.top + self.height

    def px(self, x: float) -> float:
        """Where this ``x`` is; at the nearer edge where it is off the axis."""
        return self.left + self.width * self.x.place(x)[0]

    def py(self, y: float) -> tuple[float, Off]:
        """Where this ``y`` is, likewise, and whether it is off."""
        part, off = self.y.place(y)
        return self.bottom - self.height * part, off


def n(value: float) -> str:
    """A coordinate with one digit behind the point."""
    return f"{round(value, 1):g}"


def series_lines(series: Series, frame: Frame) -> list[str]:
    """The elements of a series from back to front."""
    place = [(frame.px(x), *frame.py(y)) for x, y in series.points if not math.isnan(x)]
    css = style(series.hue, dashed=series.dashed, thick=series.thick)
    out = [f'<g class="series {css}"><title>{escaped(series.name)}</title>']
    out += _spread(series, frame)
    if series.stems is not None:
        foot, _ = frame.py(series.stems)
        out += [
            f'<path class="stem" d="M{n(x)},{n(foot)}V{n(y)}"/>' for x, y, off in place if not off
        ]
    if series.line:
        runs = list(_runs(place))
        d = "".join(_way(run) for run in runs if len(run) > 1)
        out += [f'<path class="curve" d="{d}"/>'] if d else []
        lone = [run[0] for run in runs if len(run) == 1 and not series.dots]
        out += [marker(series.hue, x, y) for x, y in lone]
    if series.dots:
        out += _dots(series, place)
    out += _off_marks(place, frame)
    return [*out, "</g>"]


def _dots(series: Series, place: list[tuple[float, float, Off]]) -> list[str]:
    """A marker per point that is drawn, with its name and the op it is about."""
    r = _LARGER * RADIUS if series.thick else RADIUS
    none = ("",) * len(series.points)
    about = zip(series.names or none, series.ops or none, series.points, strict=True)
    told = [(name, op) for name, op, (x, _) in about if not math.isnan(x)]
    out = []
    for (x, y, off), (name, op) in zip(place, told, strict=True):
        if off:
            continue
        dot = marker(series.hue, x, y, r)
        if name or op:
            address = f" data-op={quoteattr(op)}" if op else ""
            title = f"<title>{escaped(name)}</title>" if name else ""
            dot = f"<g{address}>{title}{dot}</g>"
        out.append(dot)
    return out


def style(hue: Hue, *, dashed: bool = False, thick: bool = False) -> str:
    """CSS classes: colour, and what ``figure.css`` makes of dashed and thick."""
    return f"h-{hue}" + (" dashed" if dashed else "") + (" thick" if thick else "")


def marker(hue: Hue, x: float, y: float, r: float = RADIUS) -> str:
    """The marker of a hue: colour is never the only difference."""
    if hue in _SHAPES:
        return f'<path class="dot" d="{_SHAPES[hue](x, y, r)}"/>'
    return f'<circle class="dot" cx="{n(x)}" cy="{n(y)}" r="{n(r)}"/>'


def key_lines(key: Key, x: float, y: float, width: float) -> list[str]:
    """The sample of a legend entry, ``width`` wide, level with ``y``."""
    css = style(key.hue, dashed=key.dashed, thick=key.thick)
    out = [f'<g class="series {css}">']
    if key.line:
        out.append(f'<path class="curve" d="M{n(x)},{n(y)}h{n(width)}"/>')
    if key.dots:
        r = _LARGER * RADIUS if key.thick else RADIUS
        out.append(marker(key.hue, x + width / 2, y, r))
    return [*out, "</g>"]


def off_mark(off: Off, x: float, y: float) -> str:
    """The mark of a value that is off: its tip (triangle) or centre (cross) at the place."""
    s = _OFF_SIZE
    if off == "nan":
        return f'<path class="off cross" d="M{n(x - 3)},{n(y - 3)}l6,6m0,-6l-6,6"/>'
    down = 1 if off == "above" else -1
    return f'<path class="off" d="M{n(x)},{n(y)}l{n(s)},{n(1.6 * s * down)}h{n(-2 * s)}Z"/>'


def _off_marks(place: Sequence[tuple[float, float, Off]], frame: Frame) -> Iterator[str]:
    last: dict[Off, float] = {}
    for x, y, off in place:
        if not off or abs(x - last.get(off, -math.inf)) < _OFF_APART:
            continue
        last[off] = x
        inside = min(max(x, frame.left + _OFF_SIZE), frame.right - _OFF_SIZE)
        yield off_mark(off, inside, frame.bottom - _OFF_SIZE if off == "nan" else y)


def _runs(place: Sequence[tuple[float, float, Off]]) -> Iterator[list[Point]]:
    run: list[Point] = []
    for x, y, off in place:
        if off != "nan":
            run.append((x, y))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _way(points: Sequence[Point]) -> str:
    (x, y), *rest = points
    return f"M{n(x)},{n(y)}L" + " ".join(f"{n(a)},{n(b)}" for a, b in rest)


def _spread(series: Series, frame: Frame) -> list[str]:
    found = [
        (frame.px(x), frame.py(low)[0], frame.py(high)[0])
        for x, low, high in series.spread
        if not any(map(math.isnan, (x, low, high)))
    ]
    if not series.line:
        return [f'<path class="whisker" d="M{n(x)},{n(a)}V{n(b)}"/>' for x, a, b in found]
    if len(found) < 2:
        return []
    there = [(x, high) for x, _, high in found]
    back = [(x, low) for x, low, _ in reversed(found)]
    return [f'<path class="spread" d="{_way([*there, *back])}Z"/>']


def _square(x: float, y: float, r: float) -> str:
    return f"M{n(x - r)},{n(y - r)}h{n(2 * r)}v{n(2 * r)}h{n(-2 * r)}Z"


def _diamond(x: float, y: float, r: float) -> str:
    r *= 1.35
    return f"M{n(x)},{n(y - r)}l{n(r)},{n(r)}l{n(-r)},{n(r)}l{n(-r)},{n(-r)}Z"


def _triangle(x: float, y: float, r: float) -> str:
    r *= 1.25
    return f"M{n(x)},{n(y - r)}l{n(r)},{n(1.8 * r)}h{n(-2 * r)}Z"


_SHAPES: dict[Hue, Callable[[float, float, float], str]] = {
    "residual": _square,
    "changing": _diamond,
    "momentum": _square,
    "adam": _triangle,
    "theory": _diamond,
}
