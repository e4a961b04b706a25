"""The report for a terminal: a tree of modules with shapes, costs, skips and blocks.

Also the form that text goldens compare, so nothing here depends on the terminal:
``render_text`` is always 100 columns wide and without colours.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from resnet_viz.core.errors import listed
from resnet_viz.core.graph import ModelGraph, ModuleNode
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.structure import Block, Skip
from resnet_viz.core.units import nbytes, percent, shape
from resnet_viz.reporting.attributions.text import attribution_section
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.folding.fold import Folded, fold
from resnet_viz.reporting.folding.rows import NOTE, FoldedRows, above
from resnet_viz.reporting.page.cost_wording import (
    ESTIMATE,
    macs_text,
    memory_rows,
    uncounted_text,
)
from resnet_viz.reporting.raised import MARK
from resnet_viz.reporting.text.measured import (
    chain_lines,
    path_text,
    propagation_text,
    times_text,
)
from resnet_viz.reporting.text.sections import (
    Whole,
    gradient_section,
    plain,
    raised_section,
    section,
)
from resnet_viz.reporting.wording import block_widths, proof_text

WIDTH = 100
_SEVERITY_STYLE = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def render_text(report: Report, options: RenderOptions) -> bytes:
    """The report as UTF-8 text, 100 columns, no colours.

    Where one measurement is all that was asked for, the text is that measurement;
    otherwise the module tree and the skips come first.
    """
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=WIDTH, force_terminal=False, color_system=None, legacy_windows=False
    )
    for part in _parts(report, options):
        console.print(part)
    # Rich pads cells to their column; trailing blanks would only trouble diffs.
    lines = [xml_safe(line).rstrip() for line in buffer.getvalue().split("\n")]
    return ("\n".join(lines).rstrip() + "\n").encode()


def _parts(report: Report, options: RenderOptions) -> Iterator[RenderableType]:
    asked = {m.section for m in report.missing}
    asked |= {"gradient flow"} if report.gradient_flow else set()
    asked |= {"path gradients"} if report.path_gradients else set()
    asked |= {"signal propagation"} if report.signal_propagation else set()
    asked |= {"attributions"} if report.attributions else set()
    asked |= {"op times"} if report.op_times else set()
    yield from raised_section(report)
    if len(asked) == 1 and not options.focus:
        yield plain(options.title or report.graph.name, "bold")
        yield _totals(report)
    else:
        yield summary_table(
            report,
            focus=options.focus,
            title=options.title,
            fold_repeats=options.fold_repeats,
        )
        yield skip_table(report, options)
    yield from gradient_section(report, chain_lines)
    yield from path_text(report)
    yield from propagation_text(report)
    yield from attribution_section(report)
    yield from times_text(report)
    if report.findings or report.gradient_flow:
        yield _findings(report)
    yield _provenance(report)


def summary_table(
    report: Report,
    depth: int | None = None,
    *,
    focus: str = "",
    title: str = "",
    memory: bool = False,
    fold_repeats: bool | None = None,
) -> RenderableType:
    """The module tree as a rich renderable, with totals under it.

    Args:
        report: What to show.
        depth: Deepest level of modules to list; ``None`` lists all. What lies deeper
            counts in its parent's row.
        focus: Path of the module to start from.
        title: Heading; the model's name where empty.
        memory: Whether to list the bytes of activations, and what the backward keeps.
        fold_repeats: Whether equal modules that follow each other share a row; ``None``
            for large graphs only.
    """
    graph = report.graph
    table = Table(
        title=plain(title or graph.name),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    folded = fold(report, RenderOptions(focus=focus, fold_repeats=fold_repeats))
    rows = [row for row in _rows(folded, focus) if depth is None or row.depth <= depth]
    table.add_column("module", overflow="ellipsis", no_wrap=True, min_width=12)
    # Only the tree and the words may shrink: a cut number would be a wrong number.
    numbers = [
        ("output", [row.output for row in rows]),
        ("params", [row.params for row in rows]),
        ("MACs", [row.macs for row in rows]),
    ]
    if memory:
        costs = {cost.key: cost for cost in report.structure.costs.modules}
        found = [[costs[path] for path in row.members if path in costs] for row in rows]
        sizes = [_bytes(sum(c.activation_bytes for c in cs)) for cs in found]
        numbers.append(("activations", sizes))
        if report.structure.costs.total.saved_bytes is not None:
            sizes = [_bytes(sum(c.saved_bytes or 0 for c in cs)) for cs in found]
            numbers.append(("saved", sizes))
    for name, cells in numbers:
        table.add_column(
            name,
            justify="left" if name == "output" else "right",
            no_wrap=True,
            min_width=max(map(len, cells), default=0),
        )
    table.add_column("structure", overflow="fold", max_width=44)
    for i, row in enumerate(rows):
        table.add_row(
            plain("  " * row.depth + row.name)
            .append_text(plain(f" {row.type_name}", "dim"))
            .append(f" {row.times}".rstrip(), "bold"),
            *(cells[i] for _, cells in numbers),
            Whole(Text(row.structure, style="magenta")),
        )
    note = [Text(f"\n{NOTE}", style="dim")] if any(len(row.members) > 1 for row in rows) else []
    return Group(table, *note, Text(), _totals(report))


def _bytes(size: int) -> str:
    return nbytes(size) if size else "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    members: tuple[str, ...]
    name: str
    times: str
    type_name: str
    depth: int
    output: str
    params: str
    macs: str
    structure: str


def _rows(folded: Folded, focus: str) -> Iterator[_Row]:
    report = folded.whole
    graph = report.graph
    params, macs, output = Counter[str](), Counter[str](), dict[str, tuple[int, ...]]()
    uncounted = Counter[str]()
    for module in graph.modules:
        own = sum(parameter.spec.numel for parameter in module.parameters)
        for path in above(module.path):
            params[path] += own
    for op in graph.ops:
        for path in above(op.module):
            macs[path] += op.macs or 0
            output[path] = op.shape
            uncounted[path] += op.macs is None
    if graph.failure is not None:
        # These did not return: the last op in them is not their output.
        for path in above(graph.failure.module):
            output.pop(path, None)
    runs = FoldedRows(graph, folded.repeats, params)
    texts = _structure_texts(folded)
    for node, depth in _tree(graph, focus, runs.hidden):
        members = runs.members(node.path)
        own, products = (sum(column[path] for path in members) for column in (params, macs))
        found = texts.get(node.path, [])
        yield _Row(
            members=tuple(members),
            name=runs.name(node.path) or graph.name,
            times=runs.times(node.path),
            type_name=node.type_name,
            depth=depth,
            output=shape(output[node.path]) if node.path in output else "–",
            params=f"{own:,}",
            macs=macs_text(products, sum(uncounted[path] for path in members)),
            structure="; ".join(
                filter(None, (_joined(found, report), runs.each(node.path, own, products)))
            ),
        )


def _tree(
    graph: ModelGraph, focus: str, hidden: Collection[str]
) -> Iterator[tuple[ModuleNode, int]]:
    """Modules below ``focus`` in registration order; strays follow their nearest parent."""
    nodes = {module.path: module for module in graph.modules}
    children: dict[str, list[str]] = {
        path: [child for child in node.children if child in nodes] for path, node in nodes.items()
    }
    listed = {child for below in children.values() for child in below}
    for path in nodes:
        if path and path not in listed:
            parent = next(p for p in (*above(path)[1:], "") if p in nodes)
            children[parent].append(path)
    stack = [(focus if focus in nodes else "", 0)]
    while stack:
        path, depth = stack.pop()
        if path in nodes:
            yield nodes[path], depth
            below = [child for child in children[path] if child not in hidden]
            stack += [(child, depth + 1) for child in reversed(below)]


def _structure_texts(folded: Folded) -> dict[str, list[str]]:
    """What there is to say of the blocks and skips of each module, by its path."""
    report, failure = folded.whole, folded.whole.graph.failure
    texts: dict[str, list[str]] = {failure.module: [MARK]} if failure is not None else {}
    shares = {skips[0]: folded.shares(k) for k, skips in enumerate(folded.skips)}
    around = set()
    for block in report.structure.blocks:
        around.add(block.skip)
        text = f"{_block_text(block)}, {_skip_text(block.skip, shares.get(block.skip, []))}"
        texts.setdefault(block.module, []).append(text)
    for skip in report.structure.skips:
        if skip not in around:
            owner = report.graph[skip.join].module
            texts.setdefault(owner, []).append(_skip_text(skip, shares.get(skip, [])))
    return texts


def _joined(texts: list[str], report: Report) -> str:
    if report.gradient_flow is None and len(set(texts)) == 1 and len(texts) > 1:
        return f"{len(texts)} × {texts[0]}"
    return "; ".join(texts)


def _block_text(block: Block) -> str:
    widths = block_widths(block)
    return f"{block.title} {widths}" if widths else block.title


def _skip_text(skip: Skip, shares: list[float]) -> str:
    return f"{skip.kind} skip {_range(shares)}".strip()


def _range(shares: list[float]) -> str:
    ends = [percent(f(shares)) for f in (min, max)] if shares else []
    return " … ".join(dict.fromkeys(ends))


def _totals(report: Report) -> RenderableType:
    graph, structure = report.graph, report.structure
    kinds = Counter[str](skip.kind for skip in structure.skips)
    blocks = Counter(block.title for block in structure.blocks)
    memory = {
        name: f"{size} ({what})" if what else size
        for name, size, what in memory_rows(graph, structure.costs)
    }
    unknown = len(graph.uncounted)
    rows = [
        (
            "params",
            f"{graph.total_params:,} ({graph.trainable_params:,} trainable), "
            f"{nbytes(graph.param_bytes)}",
        ),
        ("buffers", f"{sum(b.spec.numel for b in graph.buffers):,}, {nbytes(graph.buffer_bytes)}"),
        (
            "MACs",
            f"{macs_text(graph.total_macs, unknown)} ({macs_text(graph.total_flops, unknown)} "
            "FLOPs), one forward at the traced batch size; 1 MAC = 2 FLOPs",
        ),
        ("", uncounted_text(graph)),
        ("ops", f"{len(graph):,}"),
        ("skips", _tally(kinds)),
        ("blocks", _tally(blocks)),
        ("input", memory["Input"]),
        ("activations", memory["Activations"]),
        ("saved", f"for the backward {memory['Saved for backward']}"),
        ("peak", f"inference {memory['Peak of inference']}"),
        ("", f"training {memory['Peak of training']}"),
        ("", ESTIMATE),
    ]
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        if text:
            table.add_row(name, plain(text))
    return table


def _tally(counts: Counter[str]) -> str:
    if not counts:
        return "none"
    total = sum(counts.values())
    return f"{total:,} ({', '.join(f'{n:,} {kind}' for kind, n in counts.most_common())})"


def skip_table(report: Report, options: RenderOptions | None = None) -> RenderableType:
    """Every skip with fork, join, block and, where measured, its share of the gradient.

    Where repeats are folded, the skips of the first copy stand for those of all.
    """
    if not report.structure.skips:
        return Text("\nno skip paths")
    folded = fold(report, options or RenderOptions())
    block_of = {block.skip.id: block for block in report.structure.blocks}
    table = Table(
        title=Text("\nskip paths"),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    table.add_column("fork", overflow="fold")
    table.add_column("join", overflow="fold")
    table.add_column("kind", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("around", overflow="fold")
    for k, (skip, *others) in enumerate(folded.skips):
        block = block_of.get(skip.id)
        times = f"{len(others) + 1:,} × " if others else ""
        table.add_row(
            plain(skip.fork),
            plain(skip.join),
            skip.kind,
            _range(folded.shares(k)) or "–",
            Text(times + (_block_text(block) if block else "–" if not others else skip.kind)),
        )
    return table


def _findings(report: Report) -> RenderableType:
    if not report.findings:
        return section("findings", ["none"])
    parts: list[RenderableType] = [Text("\nfindings", style="bold")]
    for finding in report.findings:
        head = Text(f"{finding.severity}: ", style=_SEVERITY_STYLE[finding.severity])
        head.append_text(plain(f"{finding.what} at {listed(finding.where, 3)}"))
        parts.append(Padding(head, (0, 0, 0, 2)))
        why = (finding.evidence, f"rule: {finding.threshold} ({finding.source})", finding.remedy)
        parts += [Padding(plain(text), (0, 0, 0, 4)) for text in why if text]
    return Group(*parts)


def _provenance(report: Report) -> RenderableType:
    facts, how = report.provenance, report.graph.how
    lines = [
        f"{name:<11} {value}"
        for name, value in (
            ("model", facts.model),
            ("weights", facts.weights),
            ("input", facts.input),
            ("trace", ": ".join(filter(None, (f"{how.mode} run", how.why)))),
            ("proof", proof_text(report)),
            ("made by", ", ".join(filter(None, (facts.tool, facts.created)))),
        )
        if value
    ]
    return section("provenance", [*lines, *report.graph.warnings])
