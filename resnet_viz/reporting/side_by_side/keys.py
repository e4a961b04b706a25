"""What the signs, colours and lines of the drawing mean; only those that occur."""

from __future__ import annotations

from typing import TypeAlias

from resnet_viz.core.message import Message, say
from resnet_viz.core.structure import SKIP_KINDS
from resnet_viz.core.terms import word
from resnet_viz.core.units import scientific
from resnet_viz.reporting.fonts import text_width
from resnet_viz.reporting.side_by_side.marks import sign_lines
from resnet_viz.reporting.side_by_side.model import Paired
from resnet_viz.reporting.side_by_side.rows import Status, status_of
from resnet_viz.reporting.side_by_side.words import SIGNS

Entry: TypeAlias = tuple[list[str], str, float, float]
"""Elements, text, width with the gap behind it, width of the swatch."""

_GAP = 24.0


def key_rows(model: Paired, room: float) -> list[list[Entry]]:
    """The entries in rows of at most ``room`` pixels."""
    rows: list[list[Entry]] = [[]]
    used = 0.0
    for lines, text, swatch in _entries(model):
        width = swatch + 7 + text_width(text, 11) + _GAP
        if rows[-1] and used + width - _GAP > room:
            rows.append([])
            used = 0.0
        rows[-1].append((lines, text, width, swatch))
        used += width
    return rows


def _entries(model: Paired) -> list[tuple[list[str], str, float]]:
    found: list[tuple[list[str], str, float]] = []
    statuses = {status_of(pair) for pair in model.value.alignment.pairs}
    words: dict[Status, Message] = {
        "equal": say("equal"), "changed": say("changed"),
        "added": say("only in {model}", model=model.b.name),
        "removed": say("only in {model}", model=model.a.name),
    }  # fmt: skip
    found += [
        (sign_lines(SIGNS[status], 8, 7, status, 7.5), text, 16.0)
        for status, text in words.items()
        if status in statuses
    ]
    skips = {skip.kind for side in (model.a, model.b) for skip in side.skips}
    for kind in SKIP_KINDS:
        if kind in skips:
            shown = [f'<path class="skip-part k-{kind}" d="M0,12V8Q0,2 6,2H26Q32,2 32,8V9"/>',
                     f'<path class="arrow-{kind}" d="M32,15L28.5,8H35.5Z"/>']  # fmt: skip
            found.append((shown, say("{kind} skip", kind=word(kind)), 34.0))
    if any(len(drawn.row.pairs) > 1 and drawn.row.alike for drawn in model.rows):
        pill = ['<rect class="times" x="0" y="0" width="26" height="15" rx="7.5"/>',
                '<text class="times-text" x="13" y="11">× n</text>']  # fmt: skip
        found.append((pill, say("n such parts in a row"), 26.0))
    if model.scale:
        low, high = map(scientific, model.scale)
        text = say("gradient of the part’s parameters, {low} … {high}, log scale", low=low,
                   high=high)  # fmt: skip
        found.append((['<path class="length" d="M0,2h10v4h-10ZM0,8h26v4h-26Z"/>'], text, 26.0))
    return found
