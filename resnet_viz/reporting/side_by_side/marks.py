"""Glyphs, bands and signs as SVG elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnet_viz.core.message import say
from resnet_viz.core.terms import word
from resnet_viz.reporting.drawing.labels import block_family
from resnet_viz.reporting.drawing.strokes import attributes, number
from resnet_viz.reporting.escaping import escaped
from resnet_viz.reporting.side_by_side.sides import Card, Side

CARD = 5.0
"""How far a card stands out behind the next."""
_TITLE = 14.0


def card_lines(card: Card, side: Side, status: str) -> list[str]:
    """A card at the origin, with those behind it where it stands for several."""
    w, h = card.glyph.w, card.glyph.h
    size = f'width="{number(w)}" height="{number(h)}" rx="10"'
    behind = (CARD, CARD / 2) if card.times > 1 else ()
    family = " ".join(card.face.split()[1:])
    out = [f'<rect class="card {family}" x="{number(at)}" y="{number(at)}" {size}/>'
           for at in behind]  # fmt: skip
    out.append(f'<rect class="box {card.face}" {size}/>')
    out += [line for shape in card.glyph.shapes for line in _shape(shape, side)]
    if status in ("added", "removed"):
        out.append(f'<rect class="ring-{status}" x="-3" y="-3" width="{number(w + 6)}" '
                   f'height="{number(h + 6)}" rx="13"/>')  # fmt: skip
    if card.times > 1:
        out += _times(card.times, h)
    return out


def _times(times: int, h: float) -> list[str]:
    text = f"× {times:,}"
    width = 14 + 6.2 * len(text)
    x = 10.0
    return [
        f'<rect class="times" x="{number(x)}" y="{number(h - 6)}" width="{number(width)}" '
        'height="18" rx="9"/>',
        f'<text class="times-text" x="{number(x + width / 2)}" y="{number(h + 6.8)}">{text}</text>',
    ]


def _shape(shape: Sequence[Any], side: Side) -> list[str]:
    """One shape of a glyph (see ``glyphs``)."""
    kind = shape[0]
    if kind == "t":
        _, css, x, y, text = shape
        # There is no caret before a title: nothing opens here.
        x = _TITLE if css == "title" else x
        return [f'<text class="{css}" x="{number(x)}" y="{number(y)}">{escaped(text)}</text>']
    if kind == "s":
        _, index, d, head, scale = shape
        skip = side.skips[index]
        tip = escaped(say("{kind} skip", kind=word(skip.kind)))
        data = attributes(data_skip_kind=skip.kind, data_fork=skip.fork, data_join=skip.join)
        return [
            f'<path class="skip k-{skip.kind}"{data} stroke-width="{number(2.4 * scale)}" '
            f'd="{d}"><title>{tip}</title></path>',
            f'<path class="arrow-{skip.kind}" d="{head}"/>',
        ]
    if kind == "b":
        _, index, d = shape
        if index >= len(side.blocks):
            return [f'<path class="mini plain" d="{d}"/>']
        block = side.blocks[index]
        family = block_family(block.kind)
        return [f'<path class="block mini f-{family}" d="{d}"/>']
    return [f'<path class="{shape[1]}" d="{shape[2]}"/>']


def sign_lines(sign: str, x: float, y: float, css: str, r: float = 8.0) -> list[str]:
    """A sign in a disc."""
    a = r * 0.48
    ways = {
        "+": f"M{number(x - a)},{number(y)}h{number(2 * a)}M{number(x)},{number(y - a)}"
             f"v{number(2 * a)}",
        "−": f"M{number(x - a)},{number(y)}h{number(2 * a)}",
        "=": f"M{number(x - a)},{number(y - 2.2)}h{number(2 * a)}m{number(-2 * a)},4.4"
             f"h{number(2 * a)}",
        "≠": f"M{number(x - a)},{number(y - 2.2)}h{number(2 * a)}m{number(-2 * a)},4.4"
             f"h{number(2 * a)}M{number(x - 2.4)},{number(y + 4.6)}l4.8,-9.2",
    }  # fmt: skip
    return [
        f'<circle class="disc {css}" cx="{number(x)}" cy="{number(y)}" r="{number(r)}"/>',
        f'<path class="disc-line" d="{ways[sign]}"/>',
    ]


def band(left: tuple[float, float, float], right: tuple[float, float, float], css: str) -> str:
    """A band from one edge to the other; each edge is ``x``, top and bottom."""
    (x0, a0, b0), (x1, a1, b1) = left, right
    mid = (x0 + x1) / 2
    return (
        f'<path class="link {css}" d="M{number(x0)},{number(a0)}C{number(mid)},{number(a0)} '
        f"{number(mid)},{number(a1)} {number(x1)},{number(a1)}V{number(b1)}C{number(mid)},"
        f'{number(b1)} {number(mid)},{number(b0)} {number(x0)},{number(b0)}Z"/>'
    )
