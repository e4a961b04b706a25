"""The measured sections of the text report: gradient flow as tables, and its parts.

Apart from ``to_text`` because they change with what is measured, not with how the
module tree is shown. Every number is the one the HTML report prints.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from resnet_viz.core.chain import Link
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.graph import Op, OpId
from resnet_viz.core.report import Report
from resnet_viz.core.units import percent, scientific
from resnet_viz.reporting.drawing.labels import op_label
from resnet_viz.reporting.experiments.flow_tables import how_measured, received
from resnet_viz.reporting.page.charts import slope_sentence
from resnet_viz.reporting.page.tables import NOTHING, Facts
from resnet_viz.reporting.raised import MARK, banner

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != 10}
_WORD = re.compile(r"\s*\S+(?: %\S*)?\s*")
_EIGHTHS = " ▏▎▍▌▋▊▉"
_BAR = 8
_NAME = 36


def plain(text: str, style: str = "") -> Text:
    """Text whose control characters are spelled out: a name must not drive a terminal."""
    return Text(text.translate(_CONTROL).replace("\n", "\\n"), style=style)


@dataclass(frozen=True, slots=True)
class Whole:
    """A text that is never broken between a number and its percent sign.

    Rich takes every kind of space for a place to break at, the no-break space included.
    """

    text: Text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self.text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        breaks, used = [], 0
        for word in _WORD.finditer(self.text.plain):
            size = cell_len(word[0].rstrip())
            if used and used + size > options.max_width:
                breaks.append(word.start())
                used = 0
            used += cell_len(word[0])
        for line in self.text.divide(breaks):
            line.rstrip()
            yield line


def section(title: str, lines: Iterable[str]) -> RenderableType:
    """A heading with its lines indented under it."""
    body = [Padding(Whole(plain(line)), (0, 0, 0, 2)) for line in lines]
    return Group(Text(f"\n{title}", style="bold"), *body)


def raised_section(report: Report) -> list[RenderableType]:
    """What happened where ``forward`` raised; nothing where it did not."""
    told = banner(report.graph)
    if told is None:
        return []
    rows = [
        (name if not i else "", text)
        for name, texts in told["rows"]
        for i, text in enumerate(texts)
    ]
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, text in rows:
        table.add_row(plain(f"  {name.lower()}"), plain(text))
    head = plain(f"forward {MARK}: {told['error']}", "bold red")
    return [Group(head, table, plain(f"  {told['ran']}"), Text())]


def missing(report: Report, name: str) -> list[RenderableType]:
    """Why a section that was asked for is not there; nothing where nobody asked."""
    reasons = [m.reason for m in report.missing if m.section == name]
    return [section(name, reasons)] if reasons else []


def traced_section(report: Report) -> list[RenderableType]:
    """Which input was traced, where it came from, and whether on meta, fake or real tensors."""
    how = report.graph.how
    run = ": ".join(filter(None, (f"{how.mode} run", how.why)))
    return [section("traced", [f"input {report.provenance.input}", run])]


def proof_section(report: Report) -> list[RenderableType]:
    """Whether the trace was verified; nothing where nobody asked."""
    return [section("proof", [report.proof.sentence])] if report.proof is not None else []


def gradient_section(
    report: Report, chain: Callable[[Sequence[Link]], list[str]] | None = None
) -> list[RenderableType]:
    """Gradient flow: what was run, the slope over depth, and one row per weighted layer.

    Args:
        report: Where it is from.
        chain: Says what the chain shows, in lines.
    """
    flow = report.gradient_flow
    if flow is None:
        return missing(report, "gradient flow")
    facts = Facts(report)
    known = dict(how_measured(flow))
    more = [f"{known[key]} {key}" for key in ("batches", "ranks") if key in known]
    settings = ("statistics", "autocast", "optimizer")
    more += [f"{key} {known[key]}" for key in settings if key in known]
    lines = [
        f"loss {known['loss']}, {flow.mode} mode, batch "
        f"{flow.batch_size}, {flow.data}, on {flow.device}",
        *([", ".join(more)] if more else []),
        f"{received(flow)}",
        *flow.notes,
    ]
    lines += [f"no gradient at {p.name}: {p.reason}" for p in flow.parameters if p.stats is None]
    lines += [f"shares at {n.fork} not separable: {n.reason}" for n in flow.not_separable]
    lines += [*filter(None, [slope_sentence(facts)]), *(chain(flow.chain) if chain else [])]
    parts = [section("gradient flow", lines)]
    return [*parts, Text(), _layers(facts, flow)] if facts.weighted else parts


def _layers(facts: Facts, flow: GradientFlow) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = [plain(facts.name(op.id)) for op in facts.weighted]
    longest = max(name.cell_len for name in names)
    table.add_column("layer", overflow="fold", min_width=min(longest, _NAME))
    # A long name says what the operation is; a cut one would say nothing.
    wide = longest <= _NAME // 2 + 4
    if wide:
        table.add_column("operation", overflow="ellipsis", no_wrap=True)
    table.add_column("‖∂L/∂W‖₂", justify="right", no_wrap=True)
    table.add_column("log", no_wrap=True, min_width=_BAR)
    stepped = any(p.update_ratio is not None for p in flow.parameters)
    for heading in ("‖Δw‖/‖w‖" if stepped else "‖∂L/∂W‖/‖W‖", "‖∂L/∂y‖₂"):
        table.add_column(heading, justify="right", no_wrap=True)
    shares = _shares(facts, flow)
    if shares:
        table.add_column("skip share", justify="right", no_wrap=True)
    stats = {op.id: facts.weight_gradient(op) for op in facts.weighted}
    norms = [s.l2 for s in stats.values() if s and s.l2 > 0 and math.isfinite(s.l2)]
    span = (min(norms), max(norms)) if norms else (1.0, 1.0)
    for op, name in zip(facts.weighted, names, strict=True):
        weight, call = stats[op.id], facts.call_gradient(op)
        ratio = facts.step_ratio(op) if stepped else facts.update_ratio(op)
        cells = [
            scientific(weight.l2) if weight else NOTHING,
            _bar(weight.l2, *span) if weight else "",
            scientific(ratio) if ratio is not None else NOTHING,
            scientific(call.l2) if call else NOTHING,
        ]
        what = [plain(op_label(facts.graph, op))] if wide else []
        table.add_row(name, *what, *cells, *([shares.get(op.id, "")] if shares else []))
    return table


def _shares(facts: Facts, flow: GradientFlow) -> dict[OpId, str]:
    """Shares of the skips, each beside the last weighted layer of the branch it spans."""
    weighted: dict[OpId, Op] = {op.id: op for op in facts.weighted}
    found: dict[OpId, str] = {}
    for skip in facts.structure.skips:
        last = max(
            (op for op in skip.branch if op in weighted), key=facts.graph.position, default=None
        )
        share = flow.share_of(skip)
        if last is None or share is None:
            continue
        text = f"{skip.kind} {percent(share)}"
        found[last] = f"{found[last]}, {text}" if last in found else text
    return found


def _bar(value: float, low: float, high: float) -> str:
    """A bar on the log scale from the smallest norm to the largest; never empty."""
    if not value > 0 or not math.isfinite(value):
        return ""
    part = math.log(value / low) / math.log(high / low) if high > low else 1.0
    eighths = max(1, round(part * _BAR * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
