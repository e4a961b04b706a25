"""The report for a terminal: a tree of modules with shapes, costs, skips and blocks.

Also the form that text goldens compare, so nothing here depends on the terminal:
``render_text`` is always 100 columns wide and without colours.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from resnet_viz.core.errors import listed
from resnet_viz.core.graph import ModelGraph, ModuleNode
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.structure import Block, Skip
from resnet_viz.core.units import count, percent, shape, si
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.text_sections import (
    attribution_section,
    gradient_section,
    plain,
    section,
)
from resnet_viz.reporting.wording import block_widths

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
    asked |= {"attributions"} if report.attributions else set()
    if len(asked) == 1 and not options.focus:
        yield plain(options.title or report.graph.name, "bold")
        yield _totals(report)
    else:
        yield summary_table(report, focus=options.focus, title=options.title)
        yield skip_table(report)
    yield from gradient_section(report)
    yield from attribution_section(report)
    if report.findings or report.gradient_flow:
        yield _findings(report)
    yield _provenance(report)


def summary_table(
    report: Report, depth: int | None = None, *, focus: str = "", title: str = ""
) -> RenderableType:
    """The module tree as a rich renderable, with totals under it.

    Args:
        report: What to show.
        depth: Deepest level of modules to list; ``None`` lists all. What lies deeper
            counts in its parent's row.
        focus: Path of the module to start from.
        title: Heading; the model's name where empty.
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
    rows = [row for row in _rows(report, focus) if depth is None or row.depth <= depth]
    table.add_column("module", overflow="ellipsis", no_wrap=True, min_width=12)
    # Only the tree and the words may shrink: a cut number would be a wrong number.
    for name, cells in (
        ("output", [row.output for row in rows]),
        ("params", [row.params for row in rows]),
        ("MACs", [row.macs for row in rows]),
    ):
        table.add_column(
            name,
            justify="left" if name == "output" else "right",
            no_wrap=True,
            min_width=max(map(len, cells), default=0),
        )
    table.add_column("structure", overflow="fold", max_width=44)
    for row in rows:
        table.add_row(
            plain("  " * row.depth + row.name).append_text(plain(f" {row.type_name}", "dim")),
            row.output,
            row.params,
            row.macs,
            Text(row.structure, style="magenta"),
        )
    return Group(table, Text(), _totals(report))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    name: str
    type_name: str
    depth: int
    output: str
    params: str
    macs: str
    structure: str


def _rows(report: Report, focus: str) -> Iterator[_Row]:
    graph = report.graph
    params, macs, output = Counter[str](), Counter[str](), dict[str, tuple[int, ...]]()
    uncounted: set[str] = set()
    for module in graph.modules:
        own = sum(parameter.spec.numel for parameter in module.parameters)
        for path in _ancestors(module.path):
            params[path] += own
    for op in graph.ops:
        for path in _ancestors(op.module):
            macs[path] += op.macs or 0
            output[path] = op.shape
            if op.macs is None:
                uncounted.add(path)
    for node, depth in _tree(graph, focus):
        yield _Row(
            name=node.path.rpartition(".")[2] or graph.name,
            type_name=node.type_name,
            depth=depth,
            output=shape(output[node.path]) if node.path in output else "–",
            params=f"{params[node.path]:,}",
            macs="?" if node.path in uncounted and not macs[node.path] else si(macs[node.path]),
            structure=_structure_of(report, node.path),
        )


def _ancestors(path: str) -> Iterator[str]:
    yield path
    while path:
        path = path.rpartition(".")[0]
        yield path


def _tree(graph: ModelGraph, focus: str) -> Iterator[tuple[ModuleNode, int]]:
    """Modules below ``focus`` in registration order; strays follow their nearest parent."""
    nodes = {module.path: module for module in graph.modules}
    children: dict[str, list[str]] = {
        path: [child for child in node.children if child in nodes] for path, node in nodes.items()
    }
    listed = {child for below in children.values() for child in below}
    for path in nodes:
        if path and path not in listed:
            parent = next(p for p in (*list(_ancestors(path))[1:], "") if p in nodes)
            children[parent].append(path)
    stack = [(focus if focus in nodes else "", 0)]
    while stack:
        path, depth = stack.pop()
        if path in nodes:
            yield nodes[path], depth
            stack += [(child, depth + 1) for child in reversed(children[path])]


def _structure_of(report: Report, path: str) -> str:
    flow = report.gradient_flow
    texts: list[str] = []
    inside: set[str] = set()
    for block in report.structure.blocks:
        if block.module == path:
            inside.add(block.skip.id)
            texts.append(f"{_block_text(block)}, {_skip_text(block.skip, report)}")
    for skip in report.structure.skips:
        owner = report.graph[skip.join].module
        if owner == path and skip.id not in inside and not _has_block(report, skip):
            texts.append(_skip_text(skip, report))
    if flow is None and len(set(texts)) == 1 and len(texts) > 1:
        return f"{len(texts)} × {texts[0]}"
    return "; ".join(texts)


def _has_block(report: Report, skip: Skip) -> bool:
    return any(block.skip == skip for block in report.structure.blocks)


def _block_text(block: Block) -> str:
    widths = block_widths(block)
    return f"{block.title} {widths}" if widths else block.title


def _skip_text(skip: Skip, report: Report) -> str:
    flow = report.gradient_flow
    share = flow.share_of(skip) if flow else None
    return f"{skip.kind} skip" + (f" {percent(share)}" if share is not None else "")


def _totals(report: Report) -> Text:
    graph, structure = report.graph, report.structure
    uncounted = f" ({count(len(graph.uncounted), 'op')} not counted)" if graph.uncounted else ""
    kinds = Counter[str](skip.kind for skip in structure.skips)
    blocks = Counter(block.title for block in structure.blocks)
    return Text(
        "\n".join(
            (
                f"params      {graph.total_params:,} ({graph.trainable_params:,} trainable)",
                f"MACs        {si(graph.total_macs)}{uncounted}, one forward at the traced batch"
                " size; 1 MAC = 2 FLOPs",
                f"ops         {len(graph):,}",
                f"skips       {_tally(kinds)}",
                f"blocks      {_tally(blocks)}",
            )
        )
    )


def _tally(counts: Counter[str]) -> str:
    if not counts:
        return "none"
    total = sum(counts.values())
    return f"{total:,} ({', '.join(f'{n:,} {kind}' for kind, n in counts.most_common())})"


def skip_table(report: Report) -> RenderableType:
    """Every skip with fork, join, block and, where measured, its share of the gradient."""
    skips = report.structure.skips
    if not skips:
        return Text("\nno skip paths")
    flow = report.gradient_flow
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
    for skip in skips:
        share = flow.share_of(skip) if flow else None
        block = block_of.get(skip.id)
        table.add_row(
            plain(skip.fork),
            plain(skip.join),
            skip.kind,
            percent(share) if share is not None else "–",
            Text(_block_text(block) if block else "–"),
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
            ("made by", ", ".join(filter(None, (facts.tool, facts.created)))),
        )
        if value
    ]
    return section("provenance", [*lines, *report.graph.warnings])
