"""Attributions for a terminal: verdicts by method, agreement, relevance, what depths see."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table

from resnet_viz.core.attribution import Attribution, Attributions
from resnet_viz.core.depth_views import DepthView, ReceptiveField
from resnet_viz.core.relevance import Relevance
from resnet_viz.core.report import Report
from resnet_viz.core.trust import Agreement
from resnet_viz.core.units import percent, scientific
from resnet_viz.core.units import shape as shape_text
from resnet_viz.reporting.attributions.amounts import amount_text
from resnet_viz.reporting.attributions.colours import numbers
from resnet_viz.reporting.attributions.relevance import joins_of, relevance_words
from resnet_viz.reporting.attributions.words import (
    facts_of,
    figures_of,
    input_name,
    meanings_of,
    resolution_of,
    score_of,
    verdict_of,
)
from resnet_viz.reporting.page.tables import NOTHING, Facts
from resnet_viz.reporting.text.sections import Whole, missing, plain, section

WIDTH = 80
"""Columns: a verdict is read, not scanned."""

_MOST_BARS = 12


def attribution_section(report: Report) -> list[RenderableType]:
    """The attributions of a report, or why there are none; nothing where nobody asked."""
    found = report.attributions
    if found is None:
        return missing(report, "attributions")
    return attribution_parts(found, Facts(report))


def attribution_parts(found: Attributions, facts: Facts | None) -> list[RenderableType]:
    """Per input and method what was explained and how far to trust it, then the rest.

    Args:
        found: What to tell.
        facts: Names the blocks of the relevance.
    """
    ran = ", ".join(f"{label} {text}" for label, text in facts_of(found))
    parts: list[RenderableType] = [section("attributions", filter(None, (found.note, ran)))]
    parts += _meanings(found)
    for index, rank in sorted({(m.input, m.rank) for m in found.maps}):
        maps = [m for m in found.maps if (m.input, m.rank) == (index, rank)]
        head = f"{input_name(found, index)}, {_explained(maps[0])}"
        parts.append(Padding(Whole(plain(head, "bold")), (1, 0, 0, 2)))
        for item in maps:
            parts += _map(item)
    parts += _agreement(found)
    if found.relevance is not None:
        parts += _relevance(found.relevance, facts)
    parts += _depths(found)
    return [Constrain(part, WIDTH) for part in parts]


def _meanings(found: Attributions) -> Iterator[RenderableType]:
    """What the values of each method mean: once, as all its maps mean the same."""
    rows = [(title, says) for title, says, _ in meanings_of(found) if says]
    if not rows:
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, says in rows:
        table.add_row(plain(title), plain(says, "dim"))
    yield Padding(table, (1, 0, 0, 2))


def _explained(item: Attribution) -> str:
    return ", ".join(filter(None, (item.target or "the output", score_of(item))))


def _map(item: Attribution) -> Iterator[RenderableType]:
    head = item.method + (f" at {item.layer}" if item.layer else "")
    if places := resolution_of(item):
        head += f" ({places})"
    yield _line(head, 4)
    if item.forced:
        yield _line(f"FORCED, do not believe this: {item.forced}", 6, "bold red")
    for said, style in zip(verdict_of(item), ("", "dim"), strict=True):
        if said:
            yield _line(said, 6, style)
    told = [f"{label[:1].lower()}{label[1:]} {text}" for label, text in figures_of(item)]
    if item.heatmap is not None:
        told.append(_peak(item))
    if told:
        yield _line("; ".join(told), 6, "dim")
    if item.bars:
        yield Padding(_bars(item), (0, 0, 0, 6))


def _line(text: str, indent: int, style: str = "") -> RenderableType:
    return Padding(Whole(plain(text, style)), (0, 0, 0, indent))


def _peak(item: Attribution) -> str:
    """Where a map is strongest: a picture has no rows to print."""
    heat = item.heatmap
    assert heat is not None
    values = numbers(heat).ravel()
    at = int(abs(values).argmax())
    row, column = divmod(at, heat.width)
    return (
        f"values {scientific(heat.low)} to {scientific(heat.high)}, strongest "
        f"{scientific(float(values[at]))} at row {row + 1} of {heat.height}, "
        f"column {column + 1} of {heat.width}"
    )


def _bars(item: Attribution) -> RenderableType:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    strongest = sorted(item.bars, key=lambda bar: -abs(bar.value))[:_MOST_BARS]
    for bar in strongest:
        table.add_row(plain(bar.label), scientific(bar.value))
    if len(item.bars) > len(strongest):
        table.add_row(f"and {len(item.bars) - len(strongest):,} weaker", "")
    return table


def _agreement(found: Attributions) -> Iterator[RenderableType]:
    """Every two methods once, from the least to the largest over inputs and targets."""
    pairs: dict[tuple[str, str], list[Agreement]] = {}
    for agreement in found.agreements:
        pairs.setdefault((agreement.a, agreement.b), []).append(agreement)
    if pairs:
        words = "agreement: rank correlation, part of the strongest tenth in both"
        yield Padding(Whole(plain(words, "bold")), (1, 0, 0, 2))
    for (a, b), several in pairs.items():
        ranks = _ends([scientific(p.rank_correlation) for p in sorted(several, key=_by_rank)])
        overlaps = sorted(p.overlap for p in several if p.overlap is not None)
        parts = f", {_ends(list(map(percent, overlaps)))}" if overlaps else ""
        yield _line(f"{ranks}{parts}: {a} and {b}", 4, "dim")


def _by_rank(agreement: Agreement) -> float:
    return agreement.rank_correlation


def _ends(texts: list[str]) -> str:
    """The first and the last, or the one that is both."""
    return " to ".join(dict.fromkeys((texts[0], texts[-1])))


def _relevance(relevance: Relevance, facts: Facts | None) -> Iterator[RenderableType]:
    yield section("relevance of blocks", [relevance_words(relevance), *relevance.notes])
    joins = joins_of(relevance, facts)
    if not joins:
        return
    split = any(j.shortcut or j.branch for j in joins)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("block", overflow="fold")
    heads = (("shortcut", "branch", "sum") if split else ("signed",)) + ("absolute",)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for j in joins:
        ways = (amount_text(j.shortcut), amount_text(j.branch)) if split else ()
        cells = (*ways, amount_text(j.whole), amount_text(j.whole, absolute=True))
        table.add_row(plain(j.name), *cells)
    yield Padding(table, (1, 0, 0, 2))


def _depths(found: Attributions) -> Iterator[RenderableType]:
    """Stages by rows, once for all inputs that went through the same ones."""
    groups: dict[tuple[str, ...], list[DepthView]] = {}
    for depth in found.depths:
        groups.setdefault(tuple(s.op for s in depth.stages), []).append(depth)
    for depths in groups.values():
        yield from _depth(found, depths)


def _depth(found: Attributions, depths: list[DepthView]) -> Iterator[RenderableType]:
    several = len(depths) > 1
    names = "; ".join(f"{input_name(found, d.input)}, {d.target}" for d in depths)
    yield section("what each depth sees", [names])
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage", overflow="fold")
    last = "strongest channel of each" if several else "strongest channels"
    for head in ("output", "receptive field", "effective", last):
        table.add_column(head, justify="right", no_wrap=head != last)
    for stages in zip(*(d.stages for d in depths), strict=True):
        stage = stages[0]
        shown = [f for s in stages for f in s.features[:1]] if several else stage.features[:4]
        table.add_row(
            plain(stage.name),
            shape_text(stage.shape),
            _field(stage.field),
            _effective([s.field for s in stages]),
            ", ".join(str(f.channel) for f in shown) or NOTHING,
        )
    yield Padding(table, (1, 0, 0, 2))


def _field(field: ReceptiveField | None) -> str:
    if field is not None and field.whole:
        return "whole input"
    if field is None or field.height is None or field.width is None:
        return NOTHING
    return shape_text((field.height, field.width))


def _effective(fields: list[ReceptiveField | None]) -> str:
    """The side of the square, or the least and the largest of several inputs."""
    sides = [f.effective for f in fields if f is not None and f.effective is not None]
    if not sides:
        return NOTHING
    return _ends([scientific(side) for side in (min(sides), max(sides))])
