"""A figure as SVG: panels in a grid, axes, ticks, direct labels and one legend.

No plotting library: the page needs CSS variables for its two themes, text measured
with the fonts it embeds, and paths that hold for any float. Everything written is
noted with its box, so that a test can prove that no two texts touch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from resnet_viz.core.message import Message, join, say
from resnet_viz.core.units import scientific
from resnet_viz.reporting.escaping import drawn
from resnet_viz.reporting.experiments.arranging import apart, spread
from resnet_viz.reporting.experiments.figure import Axis, Figure, Key, Panel
from resnet_viz.reporting.experiments.heat import (
    gutter,
    heat_height,
    heat_key,
    heat_lines,
    heat_names,
)
from resnet_viz.reporting.experiments.marks import (
    Frame,
    key_lines,
    n,
    off_mark,
    series_lines,
    style,
)
from resnet_viz.reporting.experiments.notes import beside, free, ink_of
from resnet_viz.reporting.experiments.scales import Off, Scale, scale_for
from resnet_viz.reporting.fonts import fit, text_width, wrap

TICK, LABEL, TITLE = 11.5, 12.0, 13.0
_LINE = 16.0
_COLUMN_GAP, _ROW_GAP = 22.0, 20.0
_SAMPLE = 26.0
_WIDEST, _LOW, _HIGH = 980.0, 90.0, 420.0  # of the part of a panel that data is in
_LABEL_GAP = 14.5
_HEIGHTS = (90.0, 120.0, 160.0, 200.0, 260.0, 340.0, 420.0)  # that a panel may get
_OFF_WORDS: dict[Off, str] = {
    "above": say("beyond the axis, infinity included"),
    "below": say("below the axis, zero included"),
    "nan": say("not a number"),
}


@dataclass(frozen=True, slots=True)
class Written:
    """A text that was drawn: what and where."""

    text: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass(slots=True)
class Drawing:
    """What was drawn: elements from back to front, texts with their boxes, frames."""

    width: float
    height: float = 0.0
    lines: list[str] = field(default_factory=list)
    texts: list[Written] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)

    def write(
        self,
        css: str,
        x: float,
        y: float,
        text: str,
        *,
        size: float = TICK,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        """Draws a text whose baseline is at ``y``."""
        w = text_width(text, size, bold=bold)
        left = x - {"start": 0.0, "middle": w / 2, "end": w}[anchor]
        self.texts.append(Written(text, left, y - 0.78 * size, left + w, y + 0.22 * size))
        to = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.lines.append(f'<text class="{css}" x="{n(x)}" y="{n(y)}"{to}>{drawn(text)}</text>')


@dataclass(frozen=True, slots=True)
class _Grid:
    """How panels lie: ``columns`` of them, with what all of them need around."""

    columns: int
    lefts: tuple[float, ...]
    right: float
    plot: float
    height: float


def draw(figure: Figure, width: float, *, narrow: bool = False) -> Drawing:
    """The figure ``width`` pixels wide, with its legend on top."""
    out = Drawing(width)
    columns = max(1, min(figure.narrow if narrow else figure.columns, len(figure.panels)))
    scales = _scales(figure)
    grid = _grid(figure, scales, width, columns)
    top = _legend(figure, _off(figure, scales), out)
    heat = next((panel.heat for panel in figure.panels if panel.heat), None)
    if heat is not None:
        lines, top = heat_key(heat, 0.0, top + 10, width, out.write)
        out.lines += lines
    for start in range(0, len(figure.panels), columns):
        row = figure.panels[start : start + columns]
        room = grid.plot + grid.right
        titles = [wrap(p.title, TITLE, room, bold=True)[:3] for p in row]
        top += _LINE * max(map(len, titles), default=0) + 8
        below = 0.0
        for i, (panel, title) in enumerate(zip(row, titles, strict=True)):
            at = start + i
            left = sum(grid.lefts[: i + 1]) + i * (grid.plot + grid.right + _COLUMN_GAP)
            frame = Frame(left, top, grid.plot, grid.height, *scales[at])
            for k, line in enumerate(title):
                y = top - 10 - _LINE * (len(title) - 1 - k)
                out.write("panel-title", left, y, line, size=TITLE, bold=True)
            is_last = at + columns >= len(figure.panels)
            _axes(panel, frame, out, y_text=i == 0 or figure.shared == "none", y_room=grid.lefts[i],
                  x_text=is_last or figure.shared == "none")  # fmt: skip
            _contents(panel, frame, out, grid.right)
            out.frames.append(frame)
            below = max(below, 38.0 if is_last or figure.shared == "none" else 4.0)
        top += grid.height + below + _ROW_GAP
    out.height = top - _ROW_GAP + 4
    return out


def describe(figure: Figure) -> Message:
    """The figure in words, for those who cannot see it: every series from end to end."""
    return join(" ", (_described(panel) for panel in figure.panels))


def _described(panel: Panel) -> Message:
    parts = []
    for s in panel.series:
        ends = [p for p in s.points if not math.isnan(p[1])]
        if ends:
            (x0, y0), (x1, y1) = ends[0], ends[-1]
            said = say("{y} at {x}", y=scientific(y0), x=scientific(x0))
            if len(ends) > 1:
                last = say("{y} at {x}", y=scientific(y1), x=scientific(x1))
                said = join(", ", (said, last))
            parts.append(join(": ", (s.name, said)))
    if panel.heat is not None:
        low, high = map(scientific, panel.heat.ends)
        return say(
            "{title}: {unit} of {n} rows over {x}, {low} to {high}.",
            title=panel.title,
            unit=panel.heat.unit,
            n=len(panel.heat.rows),
            x=panel.x.label,
            low=low,
            high=high,
        )
    axes = {"title": panel.title, "x": panel.x.label, "y": panel.y.label}
    series = join("; ", parts)
    if panel.y.log:
        return say("{title}: {y} against {x}, log scale. {series}.", **axes, series=series)
    return say("{title}: {y} against {x}. {series}.", **axes, series=series)


def _scales(figure: Figure) -> list[tuple[Scale, Scale]]:
    panels, n_row = figure.panels, max(1, figure.columns)
    found = []
    for i, panel in enumerate(panels):
        row = i // n_row * n_row
        alike = {"all": panels, "rows": panels[row : row + n_row], "none": (panel,)}[figure.shared]
        across = (panel,) if figure.shared == "none" else panels
        x = scale_for(_xs(across), panel.x, air=0.0 if panel.heat else 0.02)
        found.append((x, scale_for(_ys(alike), panel.y)))
    return found


def _xs(panels: Sequence[Panel]) -> Iterator[float]:
    for panel in panels:
        yield from panel.heat.starts if panel.heat else ()
        for s in panel.series:
            yield from (x for x, _ in s.points)
        for band in panel.bands:
            yield from (band.low, band.high)


def _ys(panels: Sequence[Panel]) -> Iterator[float]:
    for panel in panels:
        for s in panel.series:
            yield from (y for _, y in s.points)
            yield from (y for _, *ends in s.spread for y in ends)
            yield from () if s.stems is None else (s.stems,)
        yield from (rule.at for rule in panel.rules if rule.across == "level")


def _off(figure: Figure, scales: Sequence[tuple[Scale, Scale]]) -> list[Off]:
    found = {
        y.place(value)[1]
        for panel, (_, y) in zip(figure.panels, scales, strict=True)
        for s in panel.series
        for _, value in s.points
    }
    return [off for off in _OFF_WORDS if off in found]


def _grid(
    figure: Figure, scales: Sequence[tuple[Scale, Scale]], width: float, columns: int
) -> _Grid:
    ends = [s.label for p in figure.panels for s in p.series if s.label]
    ends += [r.label for p in figure.panels for r in p.rules if r.across == "level" and r.label]
    widest = max((text_width(text, LABEL) for text in ends), default=0.0)
    right = min(widest + 14, 0.34 * width / columns) if ends else 10.0
    names = [gutter(panel.heat, width) for panel in figure.panels if panel.heat]
    ticks = max(
        text_width(text, TICK)
        for panel, (_, y) in zip(figure.panels, scales, strict=True)
        # How high the panel gets is not known yet, and with it which ticks it has room for.
        for high in _HEIGHTS
        for _, text in (*_y_ticks(panel.y, y, high), (0, "0"))
    )
    room = max([ticks + 32, *names])
    lefts = tuple(room if i == 0 or figure.shared == "none" else 0.0 for i in range(columns))
    around = sum(lefts) + columns * right + (columns - 1) * _COLUMN_GAP
    plot = min(max((width - around) / columns, 12.0), _WIDEST)
    least = _LOW if columns > 1 else max(_LOW, min(plot * 0.55, 200))
    height = min(max((plot + right) * figure.height, least), _HIGH)
    height = max((heat_height(p.heat) for p in figure.panels if p.heat), default=height)
    return _Grid(columns, lefts, right, plot, height)


def _legend(figure: Figure, off: Sequence[Off], out: Drawing) -> float:
    """Draws the legend; returns where the panels may begin."""
    keys: list[tuple[str, Key | None, Off]] = [(key.name, key, "") for key in figure.keys]
    entries = keys if len(keys) > 1 or figure.legend else []
    entries += [(_OFF_WORDS[o], None, o) for o in off]
    if not entries:
        return 0.0
    x, y = 0.0, 10.0
    for full, key, mark in entries:
        sample = _SAMPLE if key else 12.0
        name = fit(full, LABEL, out.width - sample - 8)
        w = sample + 7 + text_width(name, LABEL)
        if x and x + w > out.width:
            x, y = 0.0, y + 20
        if key:
            out.lines += key_lines(key, x, y, sample)
        else:
            tip = {"above": -3.0, "below": 3.0}.get(mark, 0.0)
            out.lines.append(f'<g class="series h-muted">{off_mark(mark, x + 6, y + tip)}</g>')
        out.write("key", x + sample + 7, y + 4, name, size=LABEL)
        x += w + 20
    return y + 18


def _y_ticks(axis: Axis, scale: Scale, height: float) -> tuple[tuple[float, str], ...]:
    return _whole(scale.ticks(max(2, int(height / 38))), axis)


def _whole(ticks: tuple[tuple[float, str], ...], axis: Axis) -> tuple[tuple[float, str], ...]:
    if not axis.whole:
        return ticks
    return tuple((v, f"{v:,.0f}".replace("-", "−")) for v, _ in ticks if float(v).is_integer())


def _axes(
    panel: Panel, frame: Frame, out: Drawing, *, y_text: bool, x_text: bool, y_room: float
) -> None:
    right, bottom = n(frame.right), n(frame.bottom)
    if panel.heat is not None:
        out.lines += heat_lines(panel.heat, frame)
        heat_names(panel.heat, frame, out.write)
        y_text = False
    for band in panel.bands:
        if not band.tinted:
            continue
        a, b = frame.px(band.low), frame.px(band.high)
        out.lines.append(
            f'<rect class="band" x="{n(a)}" y="{n(frame.top)}" width="{n(b - a)}" '
            f'height="{n(frame.height)}"/>'
        )
    for value, text in () if panel.heat else _y_ticks(panel.y, frame.y, frame.height):
        y, _ = frame.py(value)
        out.lines.append(f'<path class="grid" d="M{n(frame.left)},{n(y)}H{right}"/>')
        if y_text:
            out.write("tick", frame.left - 7, y + 4, text, anchor="end")
    out.lines.append(f'<path class="axis" d="M{n(frame.left)},{bottom}H{right}"/>')
    ticks = _x_ticks(panel.x, frame, out.width)
    for x, text in ticks:
        out.lines.append(f'<path class="axis" d="M{n(x)},{bottom}v4"/>')
        if x_text:
            out.write("tick", x, frame.bottom + 17, text, anchor="middle")
    if x_text:
        label = fit(panel.x.label, LABEL, frame.width)
        middle = frame.left + frame.width / 2
        out.write("axis-title", middle, frame.bottom + 34, label, size=LABEL, anchor="middle")
    if y_text:
        label = fit(panel.y.label, LABEL, frame.height)
        x, y = frame.left - y_room + 11, frame.top + frame.height / 2
        half = text_width(label, LABEL) / 2
        out.texts.append(Written(label, x - 10, y - half, x + 3, y + half))
        out.lines.append(
            f'<text class="axis-title" text-anchor="middle" '
            f'transform="translate({n(x)} {n(y)}) rotate(-90)">{drawn(label)}</text>'
        )


def _x_ticks(axis: Axis, frame: Frame, paper: float) -> list[tuple[float, str]]:
    """Ticks with their place; those that would touch another or leave the paper are left out."""
    # Whole numbers are short: more of them where none has to be left out for it.
    for room in (36, 58) if axis.whole else (58,):
        placed = _placed(axis, frame, paper, room)
        spans = [(x - text_width(t, TICK) / 2, x + text_width(t, TICK) / 2) for x, t in placed]
        kept = apart(spans, 6.0)
        if len(kept) == len(placed):
            break
    return [placed[i] for i in kept]


def _placed(axis: Axis, frame: Frame, paper: float, room: float) -> list[tuple[float, str]]:
    found = _whole(frame.x.ticks(max(2, int(frame.width / room))), axis)
    placed = [(frame.px(v), text) for v, text in found if frame.x.low <= v <= frame.x.high]
    return [(x, t) for x, t in placed if text_width(t, TICK) / 2 <= min(x, paper - x)]


def _contents(panel: Panel, frame: Frame, out: Drawing, right: float) -> None:
    named = _rules(panel, frame, out)
    out.lines.append('<g class="plotted">')
    for s in panel.series:
        out.lines += series_lines(s, frame)
    out.lines.append("</g>")
    for x, name in named:
        out.write("band-name", x, frame.top + 12, name)
    _notes(panel, frame, out)
    _end_labels(panel, frame, out, right)


def _notes(panel: Panel, frame: Frame, out: Drawing) -> None:
    if not panel.notes:
        return
    ink = ink_of(panel, frame)
    for note in panel.notes:
        y, off = frame.py(note.y)
        text = fit(note.text, TICK, frame.width / 3, tail=True)
        texts = [(t.left, t.top, t.right, t.bottom) for t in out.texts]
        foot = None if note.stem is None else frame.py(note.stem)[0]
        boxes = () if off else beside(frame.px(note.x), y, text_width(text, TICK), TICK, foot)
        box = next((b for b in boxes if free(b, ink, texts, frame)), None)
        if box is not None:
            out.write("band-name", box[0], box[3] - 0.22 * TICK, text)


def _rules(panel: Panel, frame: Frame, out: Drawing) -> list[tuple[float, str]]:
    """Draws straight lines; returns the names along the upper edge that have room there."""
    uprights: list[tuple[float, str]] = []
    for rule in panel.rules:
        if rule.across == "level":
            y, off = frame.py(rule.at)
            if not off:
                d = f"M{n(frame.left)},{n(y)}H{n(frame.right)}"
                out.lines.append(f'<path class="rule" d="{d}"/>')
            continue
        if not frame.x.place(rule.at)[1]:
            x = frame.px(rule.at)
            out.lines.append(f'<path class="rule" d="M{n(x)},{n(frame.top)}V{n(frame.bottom)}"/>')
            uprights.append((x, rule.label))
    spans: list[tuple[float, float]] = []
    words: list[tuple[float, str]] = []
    for places, name in (*_beside(sorted(uprights), frame), *_within(panel, frame)):
        w = text_width(name, TICK)
        for at, least, most in places(w):
            free = all(at + w + 6 <= a or at >= b + 6 for a, b in spans)
            crossed = any(at - 3 < x < at + w + 3 for x, _ in uprights)
            if name and free and not crossed and least <= at and at + w <= most:
                spans.append((at, at + w))
                words.append((at, name))
                break
    return words


Places: TypeAlias = Callable[[float], tuple[tuple[float, float, float], ...]]
"""Width of a text -> where it may begin, best first, each with the ends of its room."""


def _beside(uprights: Sequence[tuple[float, str]], frame: Frame) -> Iterator[tuple[Places, str]]:
    """Right of its line; left of it where the next line is too near."""
    ends = [frame.left, *(x for x, _ in uprights), frame.right]
    for i, (x, label) in enumerate(uprights, start=1):
        low, high = ends[i - 1], ends[i + 1]

        def places(
            w: float, x: float = x, low: float = low, high: float = high
        ) -> tuple[tuple[float, float, float], ...]:
            return ((x + 5, low, high), (x - 5 - w, low, high))

        yield places, label


def _within(panel: Panel, frame: Frame) -> Iterator[tuple[Places, str]]:
    """In the middle of its band; at one of its ends where something else is there."""
    for band in panel.bands:
        low, high = frame.px(band.low) + 3, frame.px(band.high) - 3

        def places(
            w: float, low: float = low, high: float = high
        ) -> tuple[tuple[float, float, float], ...]:
            starts = ((low + high - w) / 2, low + 4, high - 4 - w)
            return tuple((at, low, high) for at in starts)

        yield places, band.name


def _end_labels(panel: Panel, frame: Frame, out: Drawing, right: float) -> None:
    """Names at the ends of lines, within the ``right`` margin of their own panel."""
    wanted: list[tuple[float, str, str]] = []
    for s in panel.series:
        last = next((y for _, y in reversed(s.points) if not math.isnan(y)), None)
        if s.label and last is not None:
            wanted.append((frame.py(last)[0], s.label, style(s.hue)))
    for rule in panel.rules:
        y, off = frame.py(rule.at)
        if rule.across == "level" and rule.label and not off:
            wanted.append((y, rule.label, "h-muted"))
    places = spread([y for y, _, _ in wanted], _LABEL_GAP, frame.top + 4, frame.bottom - 4)
    room = right - 10
    for (y, text, css), at in zip(wanted, places or (), strict=False):
        if abs(at - y) > 3:
            d = f"M{n(frame.right + 2)},{n(y)}L{n(frame.right + 8)},{n(at)}"
            out.lines.append(f'<path class="leader {css}" d="{d}"/>')
        out.write(f"end {css}", frame.right + 10, at + 4, fit(text, LABEL, room), size=LABEL)
