"""A heat map: rows of names over steps, one colour per cell, of bounded size.

Thousands of steps and layers are taken together until a cell can be seen; the picture is
then a small image inside the figure, and its size does not grow with the training.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence

from resnet_viz.core.message import join, say
from resnet_viz.core.units import scientific
from resnet_viz.reporting.escaping import escaped
from resnet_viz.reporting.experiments.figure import Cell, Heat
from resnet_viz.reporting.experiments.marks import Frame, n
from resnet_viz.reporting.fonts import fit, text_width

MOST = 200
"""Columns and rows at most."""

Write = Callable[..., None]

COLOURS = (
    "#440154",
    "#482878",
    "#3e4989",
    "#31688e",
    "#26828e",
    "#1f9e89",
    "#35b779",
    "#6ece58",
    "#b5de2b",
    "#fde725",
)
"""Viridis: lightness grows evenly, every common kind of colour blindness can read it."""

BROKEN = "#c4243b"
_TICK = 11.5
_NAMES = 0.3  # of the width, at most


def heat_of(
    rows: Sequence[str],
    steps: Sequence[float],
    values: Sequence[Sequence[Cell]],
    unit: str,
    *,
    log: bool = True,
) -> Heat:
    """The map of a table, with neighbours taken together where there are too many.

    Args:
        rows: Names.
        steps: Where each column begins.
        values: Per row one cell per step.
        unit: What the colour means.
        log: Whether colours are on a log scale; cells are then joined by geometric mean.
    """
    columns, lines = _groups(len(steps)), _groups(len(rows))
    joined = tuple(
        tuple(_join([values[i][j] for i in line for j in column], log) for column in columns)
        for line in lines
    )
    names = tuple(
        rows[line[0]] if len(line) == 1 else f"{rows[line[0]]} … {rows[line[-1]]}" for line in lines
    )
    width = steps[-1] - steps[-2] if len(steps) > 1 else 1.0
    starts = (*(steps[column[0]] for column in columns), steps[-1] + width)
    told = []
    if len(columns) < len(steps):
        told.append(
            say("{steps} steps in {columns} columns", steps=f"{len(steps):,}", columns=len(columns))
        )
    if len(lines) < len(rows):
        told.append(say("{rows} rows in {lines}", rows=f"{len(rows):,}", lines=len(lines)))
    what = say("{one} and {other}", one=told[0], other=told[1]) if told[1:] else join("", told)
    note: str = ""
    if told and log:
        note = say("{what} (geometric mean of neighbours; broken where any is).", what=what)
    elif told:
        note = say("{what} (mean of neighbours; broken where any is).", what=what)
    return Heat(rows=names, starts=starts, values=joined, unit=unit, log=log, note=note)


def heat_height(heat: Heat) -> float:
    """Height of the map in pixels."""
    return min(max(13.0 * len(heat.rows), 120.0), 560.0)


def gutter(heat: Heat, width: float) -> float:
    """Room for the names at the left."""
    widest = max((text_width(name, _TICK) for name in heat.rows), default=0.0)
    return min(widest, _NAMES * width) + 12


def heat_lines(heat: Heat, frame: Frame) -> list[str]:
    """The map itself."""
    scale = max(1, round(3 * MOST / max(len(heat.values[0]) if heat.values else 1, 1)))
    tall = max(1, round(2 * MOST / max(len(heat.rows), 1)))
    out = [
        f'<rect class="band" x="{n(frame.left)}" y="{n(frame.top)}" width="{n(frame.width)}" '
        f'height="{n(frame.height)}"/>'
    ]
    if heat.values and heat.values[0]:
        uri = _image(heat, scale, tall)
        out.append(
            f'<image x="{n(frame.left)}" y="{n(frame.top)}" width="{n(frame.width)}" '
            f'height="{n(frame.height)}" preserveAspectRatio="none" href="{uri}">'
            f"<title>{escaped(heat.unit)}</title></image>"
        )
    return out


def heat_names(heat: Heat, frame: Frame, write: Write) -> None:
    """Names of the rows, as many as there is room for."""
    step = frame.height / max(len(heat.rows), 1)
    every = max(1, math.ceil(12.5 / step))
    room = _NAMES * (frame.left + frame.width) if frame.left > 0 else frame.left
    for i in range(0, len(heat.rows), every):
        text = fit(heat.rows[i], _TICK, min(room, frame.left - 12), tail=True)
        write("tick", frame.left - 7, frame.top + (i + 0.5) * step + 4, text, anchor="end")


def heat_key(heat: Heat, x: float, y: float, width: float, write: Write) -> tuple[list[str], float]:
    """The scale of colours with its ends, and where the next line may begin."""
    low, high = heat.ends
    size = min(16.0, max(width / 40, 7.0))
    lines = [
        f'<rect x="{n(x + i * size)}" y="{n(y - 8)}" width="{n(size + 0.3)}" height="11" '
        f'fill="{colour}"/>'
        for i, colour in enumerate(COLOURS)
    ]
    at = x + size * len(COLOURS) + 8
    ends = {"unit": heat.unit, "low": scientific(low), "high": scientific(high)}
    scale = (
        say("{unit}: {low} … {high}, log scale", **ends)
        if heat.log
        else say("{unit}: {low} … {high}", **ends)
    )
    text = fit(scale, 12, width - at)
    write("key", at, y + 2, text, size=12)
    y += 20
    words = {
        "broken": say("NaN or infinite"),
        "zero": say("exactly zero"),
        "nothing": say("no value"),
    }
    kinds = heat.kinds
    for kind, said in words.items():
        if kind not in kinds:
            continue
        if x + 20 + text_width(said, 12) > width:
            x, y = 0.0, y + 20
        fill = f'fill="{BROKEN}"' if kind == "broken" else 'fill="#000"' if kind == "zero" else ""
        css = ' class="band"' if kind == "nothing" else ""
        lines.append(f'<rect{css} x="{n(x)}" y="{n(y - 8)}" width="12" height="11" {fill}/>')
        write("key", x + 19, y + 2, said, size=12)
        x += 19 + text_width(said, 12) + 20
    return lines, y + (20 if kinds else 0)


def _groups(count: int) -> list[list[int]]:
    size = -(-count // MOST) if count else 1
    return [list(range(i, min(i + size, count))) for i in range(0, count, size)]


def _join(cells: Sequence[Cell], log: bool) -> Cell:
    known = [v for v in cells if v is not None]
    if not known:
        return None
    broken = next((v for v in known if not math.isfinite(v)), None)
    if broken is not None or len(known) == 1:
        return known[0] if broken is None else broken
    if not log:
        return sum(known) / len(known)
    above = [v for v in known if v > 0]
    return math.exp(sum(map(math.log, above)) / len(above)) if above else 0.0


def _image(heat: Heat, wide: int, tall: int) -> str:
    """The cells as a PNG of few colours, each cell several pixels large, as a ``data:`` URI."""
    from PIL import Image

    low, high = heat.ends
    nothing, zero, broken = (len(COLOURS) + i for i in range(3))
    special = {"nothing": nothing, "zero": zero, "broken": broken}

    step = _steps(low, high, heat.log)

    def index(value: Cell) -> int:
        kind = heat.kind(value)
        return special[kind] if kind else step(value or 0.0)

    data = b"".join(b"".join(bytes([index(v)]) * wide for v in row) * tall for row in heat.values)
    size = (len(heat.values[0]) * wide, len(heat.values) * tall)
    image = Image.frombytes("P", size, data)
    table = [*COLOURS, "#888888", "#000000", BROKEN]
    image.putpalette([int(c[i : i + 2], 16) for c in table for i in (1, 3, 5)])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True, transparency=nothing)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _steps(low: float, high: float, log: bool) -> Callable[[float], int]:
    """Which colour a value between the ends has."""
    top = len(COLOURS)
    if high <= low:
        return lambda value: top // 2 if log else 0
    if log:
        # Differences of logarithms: a quotient of two floats can overflow.
        start, scale = math.log(low), top / (math.log(high) - math.log(low))
        return lambda value: min(top - 1, max(0, int((math.log(value) - start) * scale)))
    half, span = low / 2, high / 2 - low / 2
    return lambda value: min(top - 1, max(0, int((value / 2 - half) / span * top)))
