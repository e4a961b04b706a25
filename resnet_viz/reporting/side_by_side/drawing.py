"""The drawing of two models: side by side where it is wide, one below the other on a phone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from resnet_viz.core.message import Message, join, say
from resnet_viz.core.units import scientific
from resnet_viz.reporting.drawing.strokes import attributes, number
from resnet_viz.reporting.escaping import escaped
from resnet_viz.reporting.experiments.plot import Drawing
from resnet_viz.reporting.fonts import fit, text_width, wrap
from resnet_viz.reporting.side_by_side.keys import key_rows
from resnet_viz.reporting.side_by_side.marks import CARD, band, card_lines, sign_lines
from resnet_viz.reporting.side_by_side.model import Drawn, Paired
from resnet_viz.reporting.side_by_side.sides import Card, Side
from resnet_viz.reporting.side_by_side.words import LINES, SIGNS, Line

TEXT, HEAD = 11.5, 15.0
_LINE, _GAP = 16.0, 20.0
_SCALE = 92.0  # width of a column of gradients
_BAR = 58.0  # longest bar
_CARD = 312.0  # widest card
_PAD = 10.0
_PILL = 54.0  # what ``× n`` takes of the line below a card
_DISCS = {sign: status for status, sign in SIGNS.items() if status != "mixed"}


def draw_pairs(model: Paired, width: float, *, narrow: bool = False) -> Drawing:
    """The drawing, ``width`` pixels wide, with its heading and legend."""
    sheet = _Narrow(model, width) if narrow else _Wide(model, width)
    sheet.draw()
    return sheet.out


class _Sheet(ABC):
    """What both forms share."""

    def __init__(self, model: Paired, width: float) -> None:
        self.model, self.out = model, Drawing(width)
        self.y = 0.0

    def draw(self) -> None:
        self.head()
        for drawn in self.model.rows:
            self.open_row(drawn)
            top, at = self.y, len(self.out.lines)
            self.row(drawn)
            # All of a row can be pointed at, between its marks, too.
            place = f'y="{number(top)}" width="{number(self.out.width)}"'
            height = number(self.y - top - _GAP / 2)
            self.out.lines.insert(at, f'<rect class="whole-row" x="0" {place} height="{height}"/>')
            self.out.lines.append("</g>")
        self.foot()

    @abstractmethod
    def head(self) -> None:
        """The names of both, and what one has more than the other."""

    @abstractmethod
    def row(self, drawn: Drawn) -> None:
        """What is matched in one row, and what differs."""

    def open_row(self, drawn: Drawn) -> None:
        pairs = [self.model.value.alignment.pairs[k] for k in drawn.row.pairs]
        first = next((op for pair in pairs for op in (*pair.a_ops, *pair.b_ops)), "")
        found = attributes(class_=f"pair is-{drawn.row.status}", data_op=first,
                           data_pairs=" ".join(map(str, drawn.row.pairs)))  # fmt: skip
        self.out.lines.append(f"<g{found}><title>{escaped(drawn.tip)}</title>")

    def card(self, card: Card, side: Side, status: str, x: float, y: float, room: float) -> None:
        """A card whose upper left corner is at ``x``, ``y``."""
        scale = min(1.0, room / card.glyph.w)
        by = f" scale({number(scale)})" if scale < 1 else ""
        self.out.lines.append(
            f'<g class="part" transform="translate({number(x)} {number(y)}){by}">'
        )
        self.out.lines += card_lines(card, side, status)
        self.out.lines.append("</g>")

    def bars(self, values: Sequence[float], x: float, y: float, h: float, sense: int) -> None:
        """Gradients as bars from ``x`` on, to the left where ``sense`` is -1."""
        if not values or self.model.scale is None:
            return
        each = min(12.0, (h - 14) / len(values))
        top = y + (h - each * len(values)) / 2 + 6
        d = "".join(
            f"M{number(x)},{number(top + i * each)}h{number(sense * self.length(v))}"
            f"v{number(max(each - 1.2, 0.8))}h{number(-sense * self.length(v))}Z"
            for i, v in enumerate(values)
        )
        self.out.lines.append(f'<path class="length" d="{d}"/>')
        low, high = min(values), max(values)
        text = scientific(low) if low == high else f"{scientific(low)} … {scientific(high)}"
        self.out.write("small", x, top - 5, text, size=10, anchor="start" if sense > 0 else "end")

    def length(self, value: float) -> float:
        """Of a bar, on the scale that all share."""
        assert self.model.scale is not None
        low, high = self.model.scale
        if not (value > 0 and math.isfinite(value)):
            return 1.0
        span = math.log(high / low)
        return 4 + (_BAR - 4) * (math.log(value / low) / span if span else 1.0)

    def told(self, lines: Sequence[Line], room: float) -> list[tuple[Line, str]]:
        """The lines as they fit: the first ones over two lines where there is room."""
        found: list[tuple[Line, str]] = []
        for line in lines:
            parts = wrap(line.text, TEXT, room)
            more = len(parts) > 2
            shown = [*parts[:1], fit(" ".join(parts[1:]), TEXT, room)] if more else parts
            found += [(line if i == 0 else Line("", text, line.quiet), text)
                      for i, text in enumerate(shown)]  # fmt: skip
        return found[: LINES + 2]

    def words(self, lines: Sequence[tuple[Line, str]], x: float, y: float, status: str) -> None:
        """Lines from ``y`` down, their signs left of ``x``."""
        for i, (line, text) in enumerate(lines):
            base = y + i * _LINE + 11.5
            if line.sign:
                disc = _DISCS[line.sign]
                self.out.lines += sign_lines(line.sign, x - 14, base - 4, disc, 7.5)
            css = "quiet" if line.quiet or status == "equal" else "said"
            self.out.write(css, x, base, text, size=TEXT)

    def foot(self) -> None:
        """The legend."""
        self.y += 10
        for entries in key_rows(self.model, self.out.width):
            x = 0.0
            for lines, text, width, swatch in entries:
                at = f'transform="translate({number(x)} {number(self.y)})"'
                self.out.lines.append(f"<g {at}>{''.join(lines)}</g>")
                self.out.write("legend", x + swatch + 7, self.y + 11, text, size=11)
                x += width
            self.y += 22
        self.out.height = self.y


class _Wide(_Sheet):
    """A left, B right, the words between them, gradients outside."""

    def __init__(self, model: Paired, width: float) -> None:
        super().__init__(model, width)
        edge = _SCALE if model.scale else 0.0
        self.left, self.right = edge + _CARD / 2, width - edge - _CARD / 2
        self.mid = width / 2
        self.room = width - 2 * (edge + _CARD) - 2 * _PAD - 44
        self.ends: dict[int, float] = {}

    def head(self) -> None:
        model = self.model
        for side, x in ((model.a, self.left), (model.b, self.right)):
            name = fit(side.name, HEAD, _CARD, bold=True)
            self.out.write("name", x, 16, name, size=HEAD, anchor="middle", bold=True)
            for i, text in enumerate(model.totals(side)):
                shown = fit(text, TEXT, _CARD + 20)
                self.out.write("quiet", x, 35 + 16 * i, shown, size=TEXT, anchor="middle")
        lines = [model.verdict, *model.deltas]
        for i, text in enumerate(lines):
            shown = fit(text, TEXT, self.room + 60)
            self.out.write("said" if i == 0 else "quiet", self.mid, 19 + 16 * i, shown, size=TEXT,
                           anchor="middle")  # fmt: skip
        self.y = 66.0
        if model.scale:
            for x, anchor in ((_SCALE - 4, "end"), (self.out.width - _SCALE + 4, "start")):
                self.out.write("small", x, self.y - 2, "‖∂L/∂W‖₂", size=10, anchor=anchor)
        self.y += 12

    def row(self, drawn: Drawn) -> None:
        status = drawn.row.status
        lines = self.told(drawn.lines, self.room)
        tall = [self.size(card)[1] for card in (drawn.a, drawn.b) if card is not None]
        h = max(*tall, _LINE * len(lines) + 8)
        centre = self.y + h / 2
        places = [self.place(card, x, centre)
                  for card, x in ((drawn.a, self.left), (drawn.b, self.right))]  # fmt: skip
        for k, (x, found) in enumerate(zip((self.left, self.right), places, strict=True)):
            if found is not None:
                self.wire(k, x, found[1])
                self.ends[k] = found[1] + found[3]
        self.link(places, status, centre)
        for card, found, side in ((drawn.a, places[0], self.model.a),
                                  (drawn.b, places[1], self.model.b)):  # fmt: skip
            if card is not None and found is not None:
                self.card(card, side, status, found[0], found[1], _CARD)
        wide = max((text_width(text, TEXT) for _, text in lines), default=0.0)
        self.words(lines, self.mid - wide / 2 + 11, centre - _LINE * len(lines) / 2, status)
        if self.model.scale:
            self.bars(drawn.a_gradients, _SCALE - 4, self.y, h, -1)
            self.bars(drawn.b_gradients, self.out.width - _SCALE + 4, self.y, h, 1)
        self.y += h + _GAP + (CARD if drawn.row.alike and len(drawn.row.pairs) > 1 else 0)

    def size(self, card: Card) -> tuple[float, float]:
        scale = min(1.0, _CARD / card.glyph.w)
        return card.glyph.w * scale, card.glyph.h * scale

    def place(
        self, card: Card | None, x: float, centre: float
    ) -> tuple[float, float, float, float] | None:
        """Left, top, width and height of a card around ``x``."""
        if card is None:
            return None
        w, h = self.size(card)
        return x - w / 2, centre - h / 2, w, h

    def wire(self, k: int, x: float, top: float) -> None:
        """The line from the card before to this one, on the same side."""
        if k in self.ends:
            start = self.ends[k]
            self.out.lines.append(
                f'<path class="edge" d="M{number(x)},{number(start)}V{number(top - 6)}"/>'
                f'<path class="arrow" d="M{number(x)},{number(top)}l-3.4,-7h6.8Z"/>'
            )

    def link(
        self,
        places: Sequence[tuple[float, float, float, float] | None],
        status: str,
        centre: float,
    ) -> None:
        """The band between two cards, or from one to the place where it would be."""
        a, b = places
        left = (a[0] + a[2], a[1] + 8, a[1] + a[3] - 8) if a else (self.left, centre, centre)
        right = (b[0], b[1] + 8, b[1] + b[3] - 8) if b else (self.right, centre, centre)
        self.out.lines.append(band(left, right, f"is-{status}"))
        if a is None or b is None:
            x = self.left if a is None else self.right
            dot = f'<circle class="gap is-{status}" cx="{number(x)}" cy="{number(centre)}" r="4"/>'
            self.out.lines.append(dot)


class _Narrow(_Sheet):
    """B below A, what differs between them; equal parts once."""

    def head(self) -> None:
        model, width = self.model, self.out.width
        for letter, side in (("A", model.a), ("B", model.b)):
            self.badge(letter, 8, self.y + 11)
            name = fit(side.name, 14, width - 26, bold=True)
            self.out.write("name", 24, self.y + 16, name, size=14, bold=True)
            self.y += 22
            for text in model.totals(side)[:1]:
                self.out.write("quiet", 24, self.y + 11, fit(text, TEXT, width - 26), size=TEXT)
                self.y += 20
        for i, text in enumerate((model.verdict, *model.deltas)):
            shown = fit(text, TEXT, width - 24)
            self.out.write("quiet" if i else "said", 24, self.y + 13, shown, size=TEXT)
            self.y += _LINE
        self.y += 14

    def row(self, drawn: Drawn) -> None:
        status = drawn.row.status
        left, room = 24.0, self.out.width - 26
        top, behind = self.y, len(self.out.lines)
        lines = self.told(drawn.lines, room - 26)
        cards: list[tuple[str, Card | None, Side, tuple[float, ...]]] = [
            ("A", drawn.a, self.model.a, drawn.a_gradients),
            ("B", drawn.b, self.model.b, drawn.b_gradients),
        ]
        shown = [entry for entry in cards if entry[1] is not None]
        if status == "equal":
            shown = shown[:1]
        for i, (letter, card, side, norms) in enumerate(shown):
            assert card is not None
            if i == 1 or len(shown) == 1:
                self.words(lines, left + 26, self.y, status)
                self.y += _LINE * len(lines) + 8
            scale = min(1.0, room / card.glyph.w)
            h = card.glyph.h * scale
            name = "=" if status == "equal" else letter
            self.badge(name, 8, self.y + h / 2)
            self.card(card, side, status, left, self.y, room)
            self.y += h + 5 + (CARD if card.times > 1 else 0)
            if self.model.scale and norms and status != "equal":
                self.norms(norms, left + (_PILL if card.times > 1 else 0), self.y)
                self.y += 17
            self.y += 3
        if len(shown) == 2:
            d = f"M8,{number(top + 18)}V{number(self.y - 18)}"
            self.out.lines.insert(behind, f'<path class="tie is-{status}" d="{d}"/>')
        self.y += 14

    def norms(self, values: Sequence[float], x: float, y: float) -> None:
        """Gradients in words and one bar as long as the largest."""
        low, high = min(values), max(values)
        ends = scientific(low) if low == high else f"{scientific(low)} … {scientific(high)}"
        text = f"‖∂L/∂W‖₂ {ends}"
        self.out.write("small", x, y + 9, text, size=10)
        wide = text_width(text, 10)
        bar = number(2 * self.length(high))
        d = f"M{number(x + wide + 8)},{number(y + 2)}h{bar}v7h-{bar}Z"
        self.out.lines.append(f'<path class="length" d="{d}"/>')

    def badge(self, letter: str, x: float, y: float) -> None:
        self.out.lines.append(f'<circle class="letter" cx="{number(x)}" cy="{number(y)}" r="8"/>')
        self.out.write("letter-text", x, y + 3.8, letter, size=10.5, anchor="middle", bold=True)


def described(model: Paired) -> Message:
    """The drawing in words, for those who cannot see it."""
    rows = join(". ", (drawn.tip for drawn in model.rows))
    return say("{n} rows, from the input down: {rows}", n=len(model.rows), rows=rows)
