"""The experiment for a terminal: what came out first, then why, then the numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from resnet_viz.core.display import Savable
from resnet_viz.core.errors import listed
from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.experiments.page import (
    FEW,
    Cards,
    ExperimentView,
    Table,
    check_table,
    first_checks,
    view_of,
)
from resnet_viz.reporting.text.sections import Whole, plain

WIDTH = 100
_UNBROKEN = 11
"""Cells of up to so many letters keep on one line while the table fits."""

_TONES = {"good": "bold green", "warning": "bold yellow", "error": "bold red", "": "bold"}


def render_text(value: Savable, options: RenderOptions) -> bytes:
    """The result as UTF-8 text, 100 columns, no colours."""
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=WIDTH, force_terminal=False, color_system=None, legacy_windows=False
    )
    console.print(renderable(view_of(value, options)))
    # Rich pads cells to their column; trailing blanks would only trouble diffs.
    lines = [xml_safe(line).rstrip() for line in buffer.getvalue().split("\n")]
    return ("\n".join(lines).rstrip() + "\n").encode("utf-8", "backslashreplace")


def renderable(view: ExperimentView) -> RenderableType:
    """The whole of it for any rich console."""
    return Group(*_parts(view))


def _parts(view: ExperimentView) -> Iterator[RenderableType]:
    yield plain(view.title, "bold")
    yield plain(view.verdict, _TONES[view.tone])
    yield Text()
    yield plain(view.lead)
    for said in view.seen:
        yield Padding(Whole(plain(said)), (1, 0, 0, 0))
    for section in view.sections:
        yield from (Padding(Whole(plain(said)), (1, 0, 0, 0)) for said in section.said)
        for cards in section.cards:
            yield from _cards(cards, section.title)
        for table in section.tables:
            yield from table_parts(table, f"{section.title}: {table.title}".removesuffix(": "))
    if view.checks:
        yield Text("\nChecks", style="bold")
        yield _checks(view)
    if view.caveats:
        yield Text("\nWhat this does not prove", style="bold")
        yield from (_item(caveat) for caveat in view.caveats)
    if view.provenance:
        yield Text("\nprovenance", style="bold")
        yield _pairs(view.provenance)


def table_parts(table: Table, title: str) -> Iterator[RenderableType]:
    """A table under its title, cut where it is tall."""
    yield Padding(plain(title, "bold"), (1, 0, 0, 0))
    table = _turned(table) if len(table.head) > max(7, len(table.rows) + 1) else table
    yield _Columns(table)
    left = len(table.rows) - _most(table)
    if left > 0:
        yield plain(f"and {left:,} more rows (the HTML page and JSON have all)", "dim")
    if table.note:
        yield plain(table.note, "dim")


def _cards(cards: Cards, title: str) -> Iterator[RenderableType]:
    """Findings as in the text of a report: what and where, and why under it."""
    heading = f"{title}: {cards.title}".removesuffix(": ")
    yield Padding(plain(heading, "bold"), (1, 0, 0, 0))
    if not cards.findings:
        yield Padding(plain(cards.none), (0, 0, 0, 2))
    for found, facts in cards.facts:
        at = f" at {listed(found.where, 3)}" if found.where else ""
        head = f"{found.severity}: {found.what}{at}"
        yield Padding(plain(head, _TONES.get(found.severity, "bold")), (0, 0, 0, 2))
        lines = [found.evidence, *(f"{label.lower()}: {text}" for label, text in facts)]
        yield from (Padding(Whole(plain(line)), (0, 0, 0, 4)) for line in lines if line)


def _most(table: Table) -> int:
    return FEW if table.tall else len(table.rows)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The rows of a table; where there is room, no number and no short word is broken."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        head, rows = self.table.head, self.table.rows[: _most(self.table)]
        widths = _widths(head, rows, options.max_width, self.table.words)
        drawn = RichTable(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for i, name in enumerate(head):
            drawn.add_column(
                plain(name),
                justify="left" if i < self.table.words else "right",
                overflow="fold",
                no_wrap=i == 0 and not widths,
                width=widths[i] if widths else None,
            )
        for row in rows:
            drawn.add_row(*(plain(cell) for cell in row))
        yield drawn


def _widths(
    head: Sequence[str], rows: Sequence[Sequence[str]], most: int, texts: int
) -> list[int] | None:
    """A width for each column that breaks no number and no word; ``None`` without the room.

    Args:
        head: Titles.
        rows: Cells.
        most: Characters of a line.
        texts: How many columns, from the left, hold words: these may break between them.
    """
    cells = [max((len(row[i]) for row in rows), default=0) for i in range(len(head))]
    words = [max(map(len, name.split()), default=0) for name in head]
    whole = [max(cell, len(name)) for cell, name in zip(cells, head, strict=True)]
    widths = [
        max(cell if i == 0 else min(cell, _UNBROKEN), word)
        for i, (cell, word) in enumerate(zip(cells, words, strict=True))
    ]
    room = most - sum(widths) - 2 * len(head)
    for i in range(texts):
        longest = max((len(word) for row in rows for word in row[i].split()), default=0)
        given = min(max(-room, 0), widths[i] - max(longest, words[i]))
        widths[i] -= given
        room += given
    while room > 0 and widths != whole:
        # To cells before titles: a title reads well on two lines, a name or a number does not.
        wants = [max(3 * (cell - w), 0) + max(n - w, 0)
                 for w, cell, n in zip(widths, cells, whole, strict=True)]  # fmt: skip
        widths[wants.index(max(wants))] += 1
        room -= 1
    return widths if room >= 0 else None


def _turned(table: Table) -> Table:
    """Rows as columns: what is wider than high does not fit a terminal."""
    columns = zip(table.head, *table.rows, strict=True)
    head, *rows = columns
    return replace(table, head=("", *head[1:]), rows=tuple(rows), words=1)


def _checks(view: ExperimentView) -> RenderableType:
    """One check, two lines: a table of six columns of words has no room in a terminal."""
    items: list[RenderableType] = []
    shown, rest = first_checks(view.checks)
    for check, row in zip(shown, check_table(shown).rows, strict=True):
        what, said, measured, expected, allowed, source = row
        numbers = f"measured {measured}"
        numbers += "" if check.expected is None else f", expected {expected}"
        head = plain(f"{said}: {what}", "green" if check.holds else "bold yellow")
        items.append(Padding(head, (0, 0, 0, 2)))
        items.append(Padding(plain(f"{numbers}, allowed {allowed}. {source}"), (0, 0, 0, 4)))
    if rest:
        items.append(
            plain(f"  and {len(rest):,} more hold (the HTML page and JSON have all)", "dim")
        )
    return Group(*items)


def _item(text: str) -> RenderableType:
    table = RichTable(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_row(Text("  •"), plain(text))
    return table


def _pairs(rows: tuple[tuple[str, str], ...]) -> RenderableType:
    table = RichTable(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for label, text in rows:
        table.add_row(plain(f"  {label.lower()}"), plain(text))
    return table
