"""What a closed box shows: tapers for the widths, arcs for the skips.

A glyph is a list of shapes in the box's own coordinates, made here once; the page
and the static picture only paint it. Shapes are ``["p", class, d]`` (path),
``["t", class, x, y, text]``, ``["s", skip, d, head, scale]`` (the mark of a skip, its
arrow, the scale of its width), ``["w", skip, d]`` (the branch of a skip, as wide as
what it carries) and ``["b", block, d]`` (the mark of a block inside).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resnet_viz.core import units
from resnet_viz.core.structure import SKIP_KINDS, Skip
from resnet_viz.reporting.drawing.formulas import Formula
from resnet_viz.reporting.fonts import fit, text_width

Shape = list[Any]

TITLE, SMALL, CHIP = 12.0, 10.5, 10.0
_UNDER_ARC, _BARE = 43.0, 33.0  # y of the top of the chips, with and without an arc
_HALF = 13.0  # half the height of the widest chip
_LINE = 15.0  # height of a line of formulas
_UNIT, _ROW = 31.0, 36.0  # size of a small taper in a closed stage
_TIMES = 9.0  # height of what says how often it is there


@dataclass(frozen=True, slots=True)
class Chip:
    """One weighted layer of a block: kernel side and output channels."""

    kernel: int
    channels: int

    @property
    def text(self) -> str:
        """``3×3 64``; a linear layer shows its width alone."""
        return f"{self.kernel}×{self.kernel} {self.channels}" if self.kernel else f"{self.channels}"

    @property
    def css(self) -> str:
        """Colour class: the op's own."""
        return {0: "linear", 1: "conv1", 3: "conv3"}.get(self.kernel, "conv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A block, or a skip without one, inside a closed box; ``times`` where folded."""

    block: int = -1
    entry: int = 0
    chips: tuple[Chip, ...] = ()
    skips: tuple[int, ...] = ()
    times: int = 1


@dataclass(frozen=True, slots=True)
class Glyph:
    """A closed box's size and shapes."""

    w: float
    h: float
    shapes: list[Shape]


def block_glyph(
    entry: Entry,
    title: str,
    meta: str,
    skips: Sequence[Skip],
    labels: dict[int, str],
    chip_width: float,
    inner: Sequence[Entry] = (),
    carried: Sequence[dict[str, Any]] = (),
    half: float = _HALF,
    formula: Formula | None = None,
) -> Glyph:
    """A closed block: its chips narrowing and widening under the arc of its skip.

    Args:
        entry: The block itself.
        title: Its name.
        meta: What stands right of the name.
        skips: All skips of the report.
        labels: What stands on a skip's arc, by skip.
        chip_width: Width of a chip, the same in all blocks of a drawing.
        inner: Blocks and skips inside it; drawn small, before the join.
        carried: Facts of all skips of the drawing: how wide each way is; where measured.
        half: Half the height of the widest chip.
        formula: What to write on the ways of its skip, if anything.
    """
    shapes: list[Shape] = []
    axis = (_UNDER_ARC if entry.skips else _BARE) + half
    formula = formula if entry.skips else None
    chips = entry.chips[:6]
    scale = max([c.channels for c in entry.chips] + [entry.entry, 1])
    x = 30.0
    start = x
    before = entry.entry or (chips[0].channels if chips else 1)
    for chip in chips:
        a, b = _half(before, scale, half), _half(chip.channels, scale, half)
        d = f"M{_n(x)},{_n(axis - a)}L{_n(x + chip_width)},{_n(axis - b)}"
        d += f"V{_n(axis + b)}L{_n(x)},{_n(axis + a)}Z"
        shapes.append(["p", f"chip {chip.css}", d])
        shapes.append(["t", "chip-text", x + chip_width / 2, axis + 3.6, chip.text])
        x += chip_width + 5
        before = chip.channels
    if len(entry.chips) > 6:
        shapes.append(["t", "sub mid", x + 8, axis + 3.6, f"+{len(entry.chips) - 6}"])
        x += 24
    if not chips:
        x += chip_width
    for small in inner:
        x += 4
        shapes += _small(small, skips, x, axis - 20)
        x += _UNIT
    own = entry.skips
    end = x + (15 if own else 3)
    label = labels.get(own[-1], "") if own else ""
    if formula:
        label = " · ".join(filter(None, (formula.shortcut, label)))
        end = max(end, 18 + text_width(label, CHIP, bold=True) + 36)
    branch = own[-1] if own and carried and "branch" in carried[own[-1]] else -1
    if branch >= 0:
        # Through the chips, which lie upon it: a stream does not stop at every layer.
        shapes.insert(0, ["w", branch, f"M18,{_n(axis)}H{_n(end - 8)}"])
    else:
        d = f"M14,{_n(axis)}H{_n(start)}M{_n(x - 5)},{_n(axis)}H{_n(end - 8)}"
        shapes.insert(0, ["p", "wire", d])
    if own:
        shapes.append(_symbol(end, axis, skips[own[-1]].kind, 8))
    for depth, skip in enumerate(reversed(own)):
        top = 33.0 + 5 * depth
        left, right = 18.0 + 4 * depth, end - 4 * depth
        d = f"M{_n(left)},{_n(axis)}V{_n(top + 8)}Q{_n(left)},{_n(top)} {_n(left + 8)},{_n(top)}"
        d += f"H{_n(right - 8)}Q{_n(right)},{_n(top)} {_n(right)},{_n(top + 8)}V{_n(axis - 15)}"
        arm = max(4.5, carried[skip]["width"] / 2 + 2.2) if branch >= 0 else 4.5
        head = f"M{_n(right)},{_n(axis - 8.5)}l{_n(-arm)},-8h{_n(2 * arm)}Z"
        shapes.append(["s", skip, d, head, 1])
        if depth == 0:
            shapes.append(["p", f"dot k-{skips[skip].kind}", _circle(left, axis, 3)])
            if label:
                shapes += _tag((left + right) / 2, top, label, skips[skip].kind)
    wide = text_width(title, TITLE, bold=True) + text_width(meta, SMALL) + 56
    w = max(end + (8 if own else 0) + 16, min(wide, 330))
    h: float = axis + half + 11
    if formula:
        left_wide, right_wide = (text_width(t, SMALL) for t in (formula.branch, formula.join))
        w = max(w, 30 + left_wide + 16 + right_wide + 14)
        middle = (start + x - 5 - left_wide) / 2
        at = min(max(30.0, middle), w - 14 - right_wide - 16 - left_wide)
        shapes.append(["t", "formula", at, h + 4, formula.branch])
        shapes.append(["t", "formula end", w - 14, h + 4, formula.join])
        h += _LINE
    room = w - 50 - text_width(meta, SMALL)
    shapes.append(["t", "title", 27, 19, fit(title, TITLE, room, bold=True, tail=True)])
    shapes.append(["t", "meta", w - 12, 19, meta])
    return Glyph(w, h, shapes)


def box_glyph(
    title: str, meta: str, subtitle: str, entries: Sequence[Entry], skips: Sequence[Skip]
) -> Glyph:
    """A closed module or stage: its name, its costs, and one small taper per block."""
    shapes: list[Shape] = []
    per_row = 8 if len(entries) <= 24 else min(30, math.ceil(math.sqrt(len(entries) * 4)))
    height = _ROW + (_TIMES if any(e.times > 1 for e in entries) else 0)
    for i, entry in enumerate(entries):
        x, y = 14 + _UNIT * (i % per_row), 50 + height * (i // per_row)
        shapes += _small(entry, skips, x, y)
    rows = math.ceil(len(entries) / per_row)
    w = max(
        text_width(title, TITLE, bold=True) + text_width(meta, SMALL) + 60,
        text_width(subtitle, SMALL) + 28,
        28 + _UNIT * min(len(entries), per_row),
        132,
    )
    w = min(w, max(300.0, 28 + _UNIT * min(len(entries), per_row)))
    room = w - 52 - text_width(meta, SMALL)
    shapes.append(["t", "title", 27, 20, fit(title, TITLE, room, bold=True, tail=True)])
    shapes.append(["t", "meta", w - 12, 20, meta])
    shapes.append(["t", "sub", 14, 37, fit(subtitle, SMALL, w - 28)])
    return Glyph(w, 48 + (height * rows + 2 if rows else 0), shapes)


def _small(entry: Entry, skips: Sequence[Skip], x: float, y: float) -> list[Shape]:
    """A taper of 20 by 16 pixels with its arc above, in a place of 31 by 36."""
    shapes: list[Shape] = []
    axis = y + 20
    if entry.block >= 0:
        widths = [entry.entry or 1, *(c.channels for c in entry.chips)]
        if len(widths) == 1:
            widths *= 2
        widest = max(widths)
        halves = [_half(w, widest, 8) for w in widths]
        step = 20 / (len(halves) - 1)
        upper = [f"{_n(x + 2 + step * i)},{_n(axis - a)}" for i, a in enumerate(halves)]
        lower = [f"{_n(x + 2 + step * i)},{_n(axis + a)}" for i, a in enumerate(halves)]
        shapes.append(["b", entry.block, f"M{'L'.join(upper)}L{'L'.join(reversed(lower))}Z"])
    for depth, skip in enumerate(entry.skips):
        left, right = x - 1 + 3 * depth, x + 26 - 3 * depth
        top = y + 6 + 4 * depth if entry.block >= 0 else y + 4 + 3 * depth
        foot = axis - 5 if entry.block >= 0 else axis - 10
        d = f"M{_n(left)},{_n(axis)}V{_n(top + 5)}Q{_n(left)},{_n(top)} {_n(left + 5)},{_n(top)}"
        d += f"H{_n(right - 5)}Q{_n(right)},{_n(top)} {_n(right)},{_n(top + 5)}V{_n(foot)}"
        shapes.append(["s", skip, d, f"M{_n(right)},{_n(foot + 5)}l-3.2,-5.5h6.4Z", 0.6])
    if entry.times > 1:
        shapes.append(["t", "tag-text", x + 12, y + 38, f"× {entry.times}"])
    if entry.block < 0 and entry.skips:
        shapes.append(["p", "wire", f"M{_n(x - 4)},{_n(axis)}H{_n(x + 21)}"])
        shapes.append(_symbol(x + 26, axis, skips[entry.skips[0]].kind, 5))
    return shapes


def _half(channels: int, scale: int, tallest: float) -> float:
    """Half the height for a width: its square root, so that 64 of 2048 can be seen."""
    return tallest * max(0.3, math.sqrt(channels / scale))


def joints(r: float) -> dict[str, str]:
    """Per kind of skip the path of the sign where it joins, around the origin."""
    return {kind: str(_symbol(0, 0, kind, r)[2]) for kind in SKIP_KINDS}


def _symbol(x: float, y: float, kind: str, r: float) -> Shape:
    d = _circle(x, y, r)
    if kind == "gate":
        a = r * 0.42
        d += f"M{_n(x - a)},{_n(y - a)}L{_n(x + a)},{_n(y + a)}"
        d += f"M{_n(x + a)},{_n(y - a)}L{_n(x - a)},{_n(y + a)}"
    elif kind == "concat":
        a, b = r * 0.25, r * 0.5
        d += f"M{_n(x - a)},{_n(y - b)}V{_n(y + b)}M{_n(x + a)},{_n(y - b)}V{_n(y + b)}"
    else:
        a = r * 0.55
        d += f"M{_n(x - a)},{_n(y)}H{_n(x + a)}M{_n(x)},{_n(y - a)}V{_n(y + a)}"
    return ["p", f"joint k-{kind}", d]


def _tag(x: float, y: float, text: str, kind: str) -> list[Shape]:
    w = text_width(text, CHIP, bold=True) + 10
    d = f"M{_n(x - w / 2 + 6)},{_n(y - 7)}H{_n(x + w / 2 - 6)}a6,6 0 0 1 0,14H{_n(x - w / 2 + 6)}"
    return [
        ["p", f"tag k-{kind}", f"{d}a6,6 0 0 1 0,-14Z"],
        ["t", f"tag-text k-{kind}", x, y + 3.6, text],
    ]


def _circle(x: float, y: float, r: float) -> str:
    return f"M{_n(x - r)},{_n(y)}a{r},{r} 0 1 0 {2 * r},0a{r},{r} 0 1 0 {-2 * r},0Z"


def _n(value: float) -> str:
    return f"{round(value, 1):g}"


def chip_width(texts: Sequence[str]) -> float:
    """Width of a chip that holds each of the texts."""
    return max((text_width(t, CHIP, bold=True) for t in texts), default=30.0) + 12


def cost_text(params: int) -> str:
    """Parameters in short; empty for none."""
    return units.si(params) if params else ""
