"""``Paired``: everything that the drawing of two models shows, before any pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from resnet_viz.core import units
from resnet_viz.core.comparison import Comparison
from resnet_viz.core.message import Message, join, say
from resnet_viz.reporting.drawing.glyphs import chip_width
from resnet_viz.reporting.page.cost_wording import total_text
from resnet_viz.reporting.side_by_side.rows import Row, rows_of, status_of
from resnet_viz.reporting.side_by_side.sides import Card, Part, Side
from resnet_viz.reporting.side_by_side.words import Line, counted, lines_of, signed

KEY = "side-by-side"
"""What ``focus`` calls the drawing."""

_BARS = 24


@dataclass(frozen=True, slots=True)
class Drawn:
    """A row: its cards, the words between them, and the gradient of each of its parts."""

    row: Row
    a: Card | None
    b: Card | None
    lines: tuple[Line, ...]
    a_gradients: tuple[float, ...]
    b_gradients: tuple[float, ...]

    @property
    def tip(self) -> Message:
        """All of it in words."""
        names = [card.names for card in (self.a, self.b) if card is not None]
        told = [join(" ", (line.sign, line.text)) if line.sign else line.text
                for line in self.lines]  # fmt: skip
        return join(": ", (join(" ↔ ", dict.fromkeys(names)), join("; ", told)))


@dataclass(frozen=True, slots=True)
class Paired:
    """Two models, row by row.

    Attributes:
        value: What is compared.
        a: The first model.
        b: The second.
        rows: What stands where.
        scale: Least and largest gradient; ``None`` where none was measured.
    """

    value: Comparison
    a: Side
    b: Side
    rows: tuple[Drawn, ...]
    scale: tuple[float, float] | None

    @property
    def title(self) -> Message:
        """Of the drawing."""
        return say("{a} beside {b}", a=self.a.name, b=self.b.name)

    @property
    def verdict(self) -> Message:
        """How many parts are equal, changed, and on one side only."""
        if self.value.equal:
            return say("all parts are equal")
        return counted(status_of(pair) for pair in self.value.alignment.pairs)

    @property
    def deltas(self) -> tuple[Message, ...]:
        """What B has more or less in all."""
        mine, other = self.a.graph, self.b.graph
        return tuple(
            text
            for text in (
                _delta(say("{n} parameters", n=signed(other.total_params - mine.total_params)),
                       mine.total_params, other.total_params),
                _delta(say("{n} MACs", n=signed(other.total_macs - mine.total_macs)),
                       mine.total_macs, other.total_macs),
            )
            if text is not None
        )  # fmt: skip

    def totals(self, side: Side) -> tuple[Message, Message]:
        """Two lines on one of the models."""
        graph, structure = side.graph, side.report.structure
        kinds: dict[str, int] = {}
        for skip in structure.skips:
            kinds[skip.kind] = kinds.get(skip.kind, 0) + 1
        costs = (say("{n} parameters", n=units.si(graph.total_params)),
                 total_text(graph.total_macs, len(graph.uncounted)))  # fmt: skip
        parts = (units.count(len(structure.blocks), "block"),
                 units.count(len(structure.skips), "skip"),
                 units.count(len(graph.ops), "op"))  # fmt: skip
        return join(" · ", costs), join(" · ", parts)


def paired(value: Comparison, names: tuple[str, str]) -> Paired:
    """What the drawing shows. Linear in the size of both models.

    Args:
        value: Two reports and their alignment.
        names: What the models are called.
    """
    a, b = Side(value.a, names[0]), Side(value.b, names[1])
    rows = rows_of(value, a, b)
    pairs = value.alignment.pairs
    sides: list[list[list[Part]]] = [
        [[(p.a, p.a_kind, p.a_ops) for k in row.pairs if (p := pairs[k]).a_ops] for row in rows],
        [[(p.b, p.b_kind, p.b_ops) for k in row.pairs if (p := pairs[k]).b_ops] for row in rows],
    ]
    texts = [
        chip.text
        for side, parts in zip((a, b), sides, strict=True)
        for row, found in zip(rows, parts, strict=True)
        if row.alike and found
        for chip in side.entry(found[0][2], found[0][1]).chips
    ]
    a.chip_width = b.chip_width = chip_width(texts)
    drawn = tuple(
        Drawn(
            row=row,
            a=a.card(mine, alike=row.alike) if mine else None,
            b=b.card(other, alike=row.alike) if other else None,
            lines=lines_of(row, value, a, b),
            a_gradients=_gradients(a, mine),
            b_gradients=_gradients(b, other),
        )
        for row, mine, other in zip(rows, *sides, strict=True)
    )
    known = [v for d in drawn for v in (*d.a_gradients, *d.b_gradients)
             if v > 0 and math.isfinite(v)]  # fmt: skip
    return Paired(value, a, b, drawn, (min(known), max(known)) if known else None)


def _gradients(side: Side, parts: Sequence[Part]) -> tuple[float, ...]:
    found = [norm for _, _, ops in parts if (norm := side.gradient(ops)) is not None]
    if len(found) <= _BARS:
        return tuple(found)
    # Of more than can be drawn, evenly spaced ones with both ends.
    step = (len(found) - 1) / (_BARS - 1)
    return tuple(found[round(i * step)] for i in range(_BARS))


def _delta(text: Message, before: int, after: int) -> Message | None:
    if before == after:
        return None
    if not before:
        return text
    share = signed((after - before) / before, lambda v: units.percent(v))
    return say("{amount} ({share})", amount=text, share=share)
