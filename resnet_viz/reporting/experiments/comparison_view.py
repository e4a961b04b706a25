"""Two models side by side: numbers, parts, gradients, chains and findings of both on one page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from resnet_viz.core.comparison import Comparison, Pair
from resnet_viz.core.gradient_flow import combine
from resnet_viz.core.graph import OpId
from resnet_viz.core.report import Report
from resnet_viz.core.units import count, nbytes, percent, scientific, si
from resnet_viz.reporting.cost_wording import macs_text
from resnet_viz.reporting.experiments.chain_figures import chain_words, power
from resnet_viz.reporting.experiments.figure import Axis, Figure, Hue, Panel, Rule, Series
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
from resnet_viz.reporting.tables import Facts

_NOTHING = "–"
_FEW_DOTS = 60

Points = tuple[tuple[float, float], ...]


def _hues(a: Report, b: Report) -> tuple[Hue, Hue]:
    """A plain net has the plain net's colour on either side; two alike have one each."""
    swapped = bool(a.structure.skips) and not b.structure.skips
    return ("residual", "plain") if swapped else ("plain", "residual")


def comparison_view(value: Comparison, title: str) -> ExperimentView:
    """The page of both models."""
    names = labels(value)
    sides = (Facts(value.a), Facts(value.b))
    figures = (_gradients(sides, names), _chains(value, names))
    sections = [
        Section(
            key="gradient-flow",
            title="Gradient flow",
            lead="Both nets in one chart, by depth: weighted layers from the input.",
            figures=tuple(f for f in figures if f is not None),
            said=_chain_said(value, names),
        ),
        Section(key="numbers", title="Numbers", tables=(_numbers(sides, names),)),
        Section(
            key="parts",
            title="Part by part",
            lead="Every block and every weighted layer outside of one, matched in order.",
            tables=(_parts(value, sides, names),),
        ),
        Section(key="findings", title="Findings", cards=_findings(value, names)),
    ]
    return ExperimentView(
        title=title or " and ".join(names),
        verdict=_verdict(value),
        tone="good" if value.alignment.equal else "",
        lead=f"{count(len(value.alignment.pairs), 'pair')} of parts. A is {names[0]}, B is "
        f"{names[1]}.",
        facts=_facts(sides, names),
        seen=(),
        sections=tuple(s for s in sections if s.figures or s.tables or s.cards),
        caveats=(
            "Parts are matched in order, by what they compute; another matching may be as good. "
            "One run of one batch each: gradients of nets with random weights differ by seed.",
        ),
        provenance=provenance_rows(value.provenance),
    )


def labels(value: Comparison) -> tuple[str, str]:
    """Names of both; told apart where they are the same."""
    a, b = value.a.graph.name, value.b.graph.name
    return (a, b) if a != b else (f"{a} (A)", f"{b} (B)")


def _verdict(value: Comparison) -> str:
    pairs = value.alignment.pairs
    if value.alignment.equal:
        return f"All {count(len(pairs), 'part')} are equal"
    kinds = Counter(pair.same for pair in pairs)
    only = Counter("A" if pair.a else "B" for pair in pairs if pair.same == "only")
    parts = [f"{kinds['equal']} equal", f"{kinds['changed']} changed"]
    parts += [f"{n} only in {side}" for side, n in sorted(only.items())]
    return f"Of {count(len(pairs), 'pair')}: {', '.join(parts)}"


def _facts(sides: tuple[Facts, Facts], names: tuple[str, str]) -> tuple[Fact, ...]:
    wanted: tuple[tuple[str, Callable[[Facts], str]], ...] = (
        ("Parameters", lambda f: si(f.graph.total_params)),
        ("MACs", _macs),
        ("Weighted layers", lambda f: f"{len(f.weighted):,}"),
        ("Product of the chain", _left),
        ("Findings", lambda f: f"{len(f.report.findings):,}"),
    )
    found = []
    for label, read in wanted:
        a, b = (read(side) for side in sides)
        if a == b == _NOTHING:
            continue
        # A number stays with its unit where the line is broken.
        a, b = (text.replace(" ", "\u00a0") for text in (a, b))
        found.append(Fact(label=label, value=f"{a} · {b}" if a != b else a,
                          detail=f"{names[0]} · {names[1]}" if a != b else "both"))  # fmt: skip
    return tuple(found)


def _macs(facts: Facts) -> str:
    return macs_text(facts.graph.total_macs, len(facts.graph.uncounted))


def _left(facts: Facts) -> str:
    chain = facts.flow.chain if facts.flow else ()
    return power(chain[0].product) if chain else _NOTHING


def _numbers(sides: tuple[Facts, Facts], names: tuple[str, str]) -> Table:
    rows: list[tuple[str, Callable[[Facts], str]]] = [
        ("Parameters", lambda f: f"{f.graph.total_params:,}"),
        ("MACs", _macs),
        ("Activations", lambda f: nbytes(f.structure.costs.total.activation_bytes)),
        ("Operations", lambda f: f"{len(f.graph.ops):,}"),
        ("Weighted layers", lambda f: f"{len(f.weighted):,}"),
        ("Blocks", lambda f: _kinds(b.title for b in f.structure.blocks)),
        ("Skips", lambda f: _kinds(s.kind for s in f.structure.skips)),
        ("Stages", lambda f: f"{len(f.structure.stages):,}"),
        ("Loss", lambda f: scientific(f.flow.loss.value) if f.flow else _NOTHING),
        ("Gradient", lambda f: received(f.flow) if f.flow else _NOTHING),
        ("Per layer, backward", lambda f: f"× {f.slope.factor:.3f}" if f.slope else _NOTHING),
        ("Per block, backward", _per_block),
        ("Product of the chain", _left),
        ("Shortcut’s share, mean", _share),
        ("Mean path, by gradient", _path),
        ("Findings", lambda f: f"{len(f.report.findings):,}"),
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
    return ", ".join(f"{n} {kind}" for kind, n in counts.most_common()) or "none"


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
    return f"{paths.mean_length:.1f} of {paths.lengths.mean:.1f}" if paths else _NOTHING


def _parts(value: Comparison, sides: tuple[Facts, Facts], names: tuple[str, str]) -> Table:
    measured = any(side.flow for side in sides)
    rows = []
    for pair in value.alignment.pairs:
        same = {"equal": "= equal", "changed": "≠ changed"}
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
        alone = f"only in {'A' if pair.a else 'B'}"
        told = "; ".join(pair.changes) or _kind(pair)
        rows.append(
            (pair.a or _NOTHING, pair.b or _NOTHING, same.get(pair.same, alone), told, *numbers)
        )
    head = ["A", "B", "", "What", "Params", "MACs"]
    return Table(
        title=f"A: {names[0]}, B: {names[1]}",
        head=tuple(head + (["‖∂L/∂W‖₂"] if measured else [])),
        rows=tuple(rows),
        words=4,
        note="Numbers: A → B where the two differ.",
        tall=len(rows) > 60,
    )


def _both(a: str, b: str) -> str:
    a, b = (text.replace(" ", "\u00a0") for text in (a, b))
    known = [text for text in dict.fromkeys((a, b)) if text != _NOTHING]
    return " → ".join(known) or _NOTHING


def _kind(pair: Pair) -> str:
    if not pair.a_kind or not pair.b_kind or pair.a_kind == pair.b_kind:
        return pair.a_kind or pair.b_kind
    return f"{pair.a_kind} → {pair.b_kind}"


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


def _gradients(sides: tuple[Facts, Facts], names: tuple[str, str]) -> Figure | None:
    x = Axis(label="weighted layer, from the input", whole=True)
    panels = []
    for title, label, read in (
        ("Weights", "‖∂L/∂W‖₂", Facts.weight_gradient),
        ("Activations", "‖∂L/∂y‖₂", Facts.call_gradient),
    ):
        series = []
        for facts, name, hue in zip(
            sides, names, _hues(sides[0].report, sides[1].report), strict=True
        ):
            points = tuple(
                (i, stats.l2)
                for i, op in enumerate(facts.weighted, start=1)
                if (stats := read(facts, op)) is not None
            )
            if points:
                series.append(_series(name, hue, points))
        if series:
            panels.append(
                Panel(title=title, x=x, y=Axis(label=label, log=True), series=tuple(series))
            )
    if not panels:
        return None
    return Figure(
        key="gradients",
        title="Gradient of every weighted layer",
        caption="Norms of the loss’s gradient: at the weights, and at the outputs. Falling to the "
        "left is vanishing, rising to the left exploding.",
        panels=tuple(panels),
        shared="none",
        height=0.6,
        main=True,
    )


def _chains(value: Comparison, names: tuple[str, str]) -> Figure | None:
    gains, products = [], []
    for report, name, hue in zip((value.a, value.b), names, _hues(value.a, value.b), strict=True):
        chain = report.gradient_flow.chain if report.gradient_flow else ()
        if chain:
            gains.append(
                Series(name=name, hue=hue, line=False, dots=True,
                       points=tuple((link.depth, link.gain) for link in chain))
            )  # fmt: skip
            products.append(_series(name, hue, tuple((link.depth, link.product) for link in chain)))
    if not gains:
        return None
    x = Axis(label="depth: weighted layers from the input", whole=True)
    one = (Rule(at=1.0, label="1"),)
    return Figure(
        key="chains",
        title="The chain of both",
        caption="Left: the factor of every piece that all of the gradient passes. Right: their "
        "product from the loss back to there.",
        panels=(
            Panel(title="Factors", x=x, y=Axis(label="factor", log=True), series=tuple(gains),
                  rules=one),
            Panel(title="Product", x=x, y=Axis(label="product", log=True), series=tuple(products),
                  rules=one),
        ),
        shared="none",
        height=0.6,
        main=True,
    )  # fmt: skip


def _series(name: str, hue: Hue, points: Points) -> Series:
    return Series(name=name, hue=hue, points=points, dots=len(points) <= _FEW_DOTS)


def _chain_said(value: Comparison, names: tuple[str, str]) -> tuple[str, ...]:
    said = []
    for report, name in zip((value.a, value.b), names, strict=True):
        words = chain_words(report.gradient_flow.chain) if report.gradient_flow else ()
        if words:
            said.append(f"{name}: {' '.join(words)}")
    return tuple(said)


def _findings(value: Comparison, names: tuple[str, str]) -> tuple[Cards, ...]:
    sides = tuple(zip((value.a, value.b), names, strict=True))
    if not any(report.findings or report.gradient_flow for report, _ in sides):
        return ()
    return tuple(
        Cards(
            title=name,
            findings=report.findings,
            none="No rule fired." if report.gradient_flow else "No gradient was measured.",
        )
        for report, name in sides
    )
