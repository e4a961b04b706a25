"""Two models side by side: numbers, parts, gradients, chains and findings of both on one page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from resnet_viz.core.comparison import Comparison, Difference, Pair
from resnet_viz.core.gradient_flow import combine
from resnet_viz.core.graph import OpId
from resnet_viz.core.message import Message, join, say
from resnet_viz.core.terms import word
from resnet_viz.core.units import count, nbytes, percent, scientific, si
from resnet_viz.reporting.experiments.chain_figures import power
from resnet_viz.reporting.experiments.comparison_figures import (
    chain_figure,
    chains_said,
    gradient_figure,
)
from resnet_viz.reporting.experiments.flow_tables import received
from resnet_viz.reporting.experiments.page import (
    Cards,
    ExperimentView,
    Fact,
    Section,
    Table,
    log_mean,
    provenance_rows,
)
from resnet_viz.reporting.page.cost_wording import macs_text
from resnet_viz.reporting.page.tables import Facts
from resnet_viz.reporting.side_by_side.model import paired
from resnet_viz.reporting.side_by_side.picture import Picture
from resnet_viz.reporting.side_by_side.rows import status_of
from resnet_viz.reporting.side_by_side.words import WHAT, counted, signed

_NOTHING = "–"
_MOST = 2_000  # rows of the table of differences


def comparison_view(value: Comparison, title: str) -> ExperimentView:
    """The page of both models."""
    names = labels(value)
    sides = (Facts(value.a), Facts(value.b))
    figures = (gradient_figure(sides, names), chain_figure(value, names))
    shown = value.differences[:_MOST]
    sections = [
        Section(
            key="side-by-side",
            title=say("Side by side"),
            lead=say(
                "Both networks from the input down, matched block by block: what is equal is "
                "pale, what differs says in which way."
            ),
            pairs=Picture(paired(value, names), tuple(d.pair for d in shown)),
        ),
        Section(
            key="gradient-flow",
            title=say("Gradient flow"),
            lead=say("Both nets in one chart, by depth: weighted layers from the input."),
            figures=tuple(f for f in figures if f is not None),
            said=chains_said(value, names),
        ),
        Section(key="numbers", title=say("Numbers"), tables=(_numbers(sides, names),)),
        Section(
            key="parts",
            title=say("Part by part"),
            lead=say(
                "Every block and every weighted layer outside of one, matched in order; ops "
                "without weights belong to the part they stand beside."
            ),
            tables=(_parts(value, sides, names),),
        ),
        Section(
            key="differences",
            title=say("Differences"),
            lead=say("Everything that is not the same, by path."),
            tables=(difference_table(shown, len(value.differences), names),) if shown else (),
        ),
        Section(key="findings", title=say("Findings"), cards=_findings(value, names)),
    ]
    return ExperimentView(
        title=title or say("{a} and {b}", a=names[0], b=names[1]),
        verdict=_verdict(value),
        tone="good" if value.equal else "",
        lead=say(
            "{pairs} of parts. A is {a}, B is {b}.",
            pairs=count(len(value.alignment.pairs), "pair"),
            a=names[0],
            b=names[1],
        ),
        facts=_facts(sides, names),
        seen=(),
        sections=tuple(s for s in sections if s.pairs or s.figures or s.tables or s.cards),
        caveats=(
            say(
                "Parts are matched in order, by what they compute; another matching may be as "
                "good. One run of one batch each: gradients of nets with random weights differ "
                "by seed."
            ),
        ),
        provenance=provenance_rows(value.provenance),
    )


def labels(value: Comparison) -> tuple[str, str]:
    """Names of both; told apart where they are the same."""
    a, b = value.a.graph.name, value.b.graph.name
    return (a, b) if a != b else (f"{a} (A)", f"{b} (B)")


def _verdict(value: Comparison) -> Message:
    pairs = value.alignment.pairs
    if value.equal:
        return say("All {parts} are equal", parts=count(len(pairs), "part"))
    if value.alignment.equal:
        return say("All {parts} are equal, and wired otherwise", parts=count(len(pairs), "part"))
    return say(
        "Of {pairs}: {counts}",
        pairs=count(len(pairs), "pair"),
        counts=counted(status_of(pair) for pair in pairs),
    )


def difference_table(found: Sequence[Difference], whole: int, names: tuple[str, str]) -> Table:
    """One row per difference: where, which, and what it is on either side.

    Args:
        found: Those that have a row.
        whole: How many there are.
        names: Of both models.
    """
    signs = {
        "added": say("+ added"),
        "removed": say("− removed"),
        "changed": say("≠ changed"),
    }
    rows = tuple(
        (
            d.path_a or _NOTHING,
            d.path_b or _NOTHING,
            signs[d.kind],
            WHAT[d.what],
            *(_amount(d, text) for text in (d.a, d.b)),
            signed(d.delta) if d.delta else _NOTHING,
        )
        for d in found
    )
    return Table(
        title=count(whole, "difference"),
        head=("A", "B", "", say("What"), say("In A"), say("In B"), "Δ"),
        rows=rows,
        words=6,
        note=""
        if whole == len(found)
        else say("The first {n}; JSON and CSV have all.", n=f"{len(found):,}"),
        tall=whole > 40,
    )


def _amount(d: Difference, text: str) -> str:
    if d.what in ("params", "macs") and text:
        return si(int(text))
    return word(text) or _NOTHING


def _facts(sides: tuple[Facts, Facts], names: tuple[str, str]) -> tuple[Fact, ...]:
    wanted: tuple[tuple[Message, Callable[[Facts], str]], ...] = (
        (say("Parameters"), lambda f: si(f.graph.total_params)),
        (say("MACs"), _macs),
        (say("Weighted layers"), lambda f: f"{len(f.weighted):,}"),
        (say("Product of the chain"), _left),
        (say("Findings"), lambda f: f"{len(f.report.findings):,}"),
    )
    found = []
    for label, read in wanted:
        a, b = (read(side) for side in sides)
        if a == b == _NOTHING:
            continue
        # A number stays with its unit where the line is broken.
        a, b = (text.replace(" ", "\u00a0") for text in (a, b))
        found.append(
            Fact(
                label=label,
                value=f"{a} · {b}" if a != b else a,
                detail=f"{names[0]} · {names[1]}" if a != b else say("both"),
            )
        )
    return tuple(found)


def _macs(facts: Facts) -> str:
    return macs_text(facts.graph.total_macs, len(facts.graph.uncounted))


def _left(facts: Facts) -> str:
    chain = facts.flow.chain if facts.flow else ()
    return power(chain[0].product) if chain else _NOTHING


def _numbers(sides: tuple[Facts, Facts], names: tuple[str, str]) -> Table:
    rows: list[tuple[Message, Callable[[Facts], str]]] = [
        (say("Parameters"), lambda f: f"{f.graph.total_params:,}"),
        (say("MACs"), _macs),
        (say("Activations"), lambda f: nbytes(f.structure.costs.total.activation_bytes)),
        (say("Operations"), lambda f: f"{len(f.graph.ops):,}"),
        (say("Weighted layers"), lambda f: f"{len(f.weighted):,}"),
        (say("Blocks"), lambda f: _kinds(b.title for b in f.structure.blocks)),
        (say("Skips"), lambda f: _kinds(s.kind for s in f.structure.skips)),
        (say("Stages"), lambda f: f"{len(f.structure.stages):,}"),
        (say("Loss"), lambda f: scientific(f.flow.loss.value) if f.flow else _NOTHING),
        (say("Gradient"), lambda f: received(f.flow) if f.flow else _NOTHING),
        (say("Per layer, backward"), lambda f: f"× {f.slope.factor:.3f}" if f.slope else _NOTHING),
        (say("Per block, backward"), _per_block),
        (say("Product of the chain"), _left),
        (say("Shortcut’s share, mean"), _share),
        (say("Mean path, by gradient"), _path),
        (say("Findings"), lambda f: f"{len(f.report.findings):,}"),
    ]
    cells = [(label, *(read(side) for side in sides)) for label, read in rows]
    return Table(
        title="",
        head=("", *names),
        rows=tuple(row for row in cells if row[1:] != (_NOTHING, _NOTHING)),
        words=1,
    )


def _kinds(titles: Iterable[str]) -> str:
    counts = Counter(titles)
    if not counts:
        return say("none")
    told = (say("{n} {kind}", n=n, kind=word(kind)) for kind, n in counts.most_common())
    return join(", ", told)


def _per_block(facts: Facts) -> str:
    chain = facts.flow.chain if facts.flow else ()
    gains = [link.gain for link in chain if link.kind == "block" and math.isfinite(link.gain)]
    return f"× {scientific(log_mean(gains))}" if gains else _NOTHING


def _share(facts: Facts) -> str:
    flow = facts.flow
    whole = next((s for s in flow.skip_shares if s.by == "network"), None) if flow else None
    if whole is not None:
        return percent(whole.shortcut)
    shares = [flow.share_of(s) for s in facts.structure.skips] if flow else []
    known = [s for s in shares if s is not None and math.isfinite(s)]
    return percent(sum(known) / len(known)) if known else _NOTHING


def _path(facts: Facts) -> str:
    paths = facts.report.path_gradients
    if not paths:
        return _NOTHING
    return say("{n} of {all}", n=f"{paths.mean_length:.1f}", all=f"{paths.lengths.mean:.1f}")


def _parts(value: Comparison, sides: tuple[Facts, Facts], names: tuple[str, str]) -> Table:
    measured = any(side.flow for side in sides)
    rows = []
    for pair in value.alignment.pairs:
        same = {"equal": say("= equal"), "changed": say("≠ changed")}
        reads = (_params, _part_macs, *([_gradient] if measured else []))
        numbers = [
            _both(
                *(
                    read(side, ops)
                    for side, ops in zip(sides, (pair.a_ops, pair.b_ops), strict=True)
                )
            )
            for read in reads
        ]
        alone = say("− only in A") if pair.a else say("+ only in B")
        told = "; ".join(pair.changes) or _kind(pair)
        rows.append(
            (pair.a or _NOTHING, pair.b or _NOTHING, same.get(pair.same, alone), told, *numbers)
        )
    head = ["A", "B", "", say("What"), say("Params"), say("MACs")]
    return Table(
        title=say("A: {a}, B: {b}", a=names[0], b=names[1]),
        head=tuple(head + (["‖∂L/∂W‖₂"] if measured else [])),
        rows=tuple(rows),
        words=4,
        note=say("Numbers: A → B where the two differ."),
        tall=len(rows) > 60,
    )


def _both(a: str, b: str) -> str:
    a, b = (text.replace(" ", "\u00a0") for text in (a, b))
    known = [text for text in dict.fromkeys((a, b)) if text != _NOTHING]
    return " → ".join(known) or _NOTHING


def _kind(pair: Pair) -> str:
    if not pair.a_kind or not pair.b_kind or pair.a_kind == pair.b_kind:
        return word(pair.a_kind or pair.b_kind)
    return join(" → ", (word(pair.a_kind), word(pair.b_kind)))


def _known(side: Facts, ops: Sequence[OpId]) -> list[OpId]:
    return [op for op in ops if op in side.graph]


def _params(side: Facts, ops: Sequence[OpId]) -> str:
    total = sum(side.graph[op].params for op in _known(side, ops))
    return si(total) if total else _NOTHING


def _part_macs(side: Facts, ops: Sequence[OpId]) -> str:
    total = sum(side.graph[op].macs or 0 for op in _known(side, ops))
    return si(total) if total else _NOTHING


def _gradient(side: Facts, ops: Sequence[OpId]) -> str:
    if side.flow is None:
        return _NOTHING
    names = dict.fromkeys(n for op in _known(side, ops) for n in side.graph[op].parameters)
    stats = [s for name in names if (s := side.flow.get(name)) is not None]
    return scientific(combine(stats).l2) if stats else _NOTHING


def _findings(value: Comparison, names: tuple[str, str]) -> tuple[Cards, ...]:
    sides = tuple(zip((value.a, value.b), names, strict=True))
    if not any(report.findings or report.gradient_flow for report, _ in sides):
        return ()
    return tuple(
        Cards(
            title=name,
            findings=report.findings,
            none=say("No rule fired.")
            if report.gradient_flow
            else say("No gradient was measured."),
        )
        for report, name in sides
    )
