"""Mermaid flowcharts, for README files, issues and wikis that draw them in place.

GitHub refuses more than 500 edges or 50,000 characters, so labels are short here
and blocks are closed unless every op is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.units import percent, si
from resnet_viz.reporting.dot_labels import shortened
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.folded_boxes import in_copies, times_of, title_of
from resnet_viz.reporting.palette import DARK, LIGHT
from resnet_viz.reporting.raised import KIND
from resnet_viz.reporting.scene import Scene, SceneEdge, SceneNode, scene
from resnet_viz.reporting.wording import block_widths

_MOST_EDGES = 500
_PLAIN = frozenset(" .,_-+×·:/▷◁→…")
_SIGN = {"add": "+", "mul": "×", "cat": "∥"}
_DASHES = {"projection": "8 4", "scaled": "2 4", "gate": "6 3", "identity": "", "concat": ""}


def render_mermaid(report: Report, options: RenderOptions) -> bytes:
    """The diagram as a Mermaid flowchart, UTF-8.

    Every skip is one thick arrow (``==>``) that says its kind; bottlenecks have the
    class ``bottleneck``.

    Raises:
        UserError: If ``options.focus`` is no module that ran.
    """
    drawn = scene(report, options)
    title = " ".join((options.title or report.graph.name).split())
    # A JSON string is a YAML string, if all that YAML takes for a line break is gone.
    title = "".join(c if c.isprintable() else "\ufffd" for c in title)
    lines = ["---", f"title: {json.dumps(title, ensure_ascii=False)}", "---", "flowchart TB"]
    if len(drawn.edges) > _MOST_EDGES:
        lines.append(f"  %% {len(drawn.edges)} edges: GitHub draws at most {_MOST_EDGES}")
    lines += _box(drawn.report, drawn, -1, 1)
    lines += [f"  {_edge(drawn.report, drawn, edge)}" for edge in drawn.edges]
    lines += [f"  {line}" for line in _styles(drawn.report, drawn, options)]
    return ("\n".join(lines) + "\n").encode()


def _box(report: Report, drawn: Scene, box: int, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for node in drawn.nodes:
        if node.box == box:
            yield indent + _node(report, node)
    for child in drawn.children(box):
        group = drawn.data["groups"][child]
        block = group.get("block", -1)
        kind = report.structure.blocks[block].title if block >= 0 else group["type_name"]
        name = shortened(title_of(group, group["module"] if block >= 0 else group["label"]))
        label = f"{name} · {kind}{times_of(group)}"
        yield f'{indent}subgraph b{child}["{_escaped(label)}"]'
        yield from _box(report, drawn, child, depth + 1)
        yield f"{indent}end"


def _node(report: Report, node: SceneNode) -> str:
    fact = node.fact
    if node.kind == "join":
        return f'{node.key}(("{_escaped(_SIGN.get(fact["kind"], "+"))}"))'
    if node.kind == "body":
        block = report.structure.blocks[node.block]
        name = shortened(title_of(fact, block.module))
        rows = [f"{name} · {block.title}{times_of(fact)}", block_widths(block)]
    elif node.kind == "module":
        rows = [shortened(title_of(fact, fact["label"])), f"{fact['type_name']}{times_of(fact)}"]
    else:
        rows = [fact["label"], fact.get("note") or fact.get("shape", "")]
    if fact.get("params"):
        rows.append(f"{si(fact['params'])} params{in_copies(fact)}")
    return f'{node.key}["{"<br/>".join(_escaped(row) for row in rows if row)}"]'


def _edge(report: Report, drawn: Scene, edge: SceneEdge) -> str:
    if edge.kind != "skip":
        return f"{edge.src} --> {edge.dst}"
    fact = drawn.data["skips"][edge.skip]
    words: str = report.structure.skips[edge.skip].kind
    if "share" in fact:
        words += f" {percent(fact['share'])}"
    return f'{edge.src} ==>|"{_escaped(words)}"| {edge.dst}'


def _styles(report: Report, drawn: Scene, options: RenderOptions) -> Iterator[str]:
    colours = DARK if options.theme == "dark" else LIGHT
    for number, edge in enumerate(drawn.edges):
        if edge.skip < 0:
            continue
        kind: str = report.structure.skips[edge.skip].kind
        dashes = f",stroke-dasharray:{_DASHES[kind]}" if _DASHES[kind] else ""
        width = 3 if edge.kind == "skip" else 2
        colour = colours[f"skip-{kind}"]
        yield f"linkStyle {number} stroke:{colour},stroke-width:{width}px{dashes}"
    members: dict[str, list[str]] = {}
    boxes = [(f"b{i}", drawn.data["groups"][i].get("block", -1)) for i in drawn.boxes]
    for key, block in [*boxes, *((node.key, node.block) for node in drawn.nodes)]:
        if block >= 0:
            name = report.structure.blocks[block].kind.replace(" ", "-")
            family = drawn.data["blocks"][block]["family"]
            if name not in members:
                yield (
                    f"classDef {name} fill:{colours[family]},stroke:{colours[f'{family}-line']},"
                    f"stroke-width:2px,color:{colours[f'{family}-fg']}"
                )
            members.setdefault(name, []).append(key)
    raised = [node.key for node in drawn.nodes if node.fact.get("kind") == KIND]
    if raised:
        members[KIND] = raised
        fill, ink = colours[KIND], colours[f"on-{KIND}"]
        yield f"classDef {KIND} fill:{fill},stroke:{fill},stroke-width:4px,color:{ink}"
    for name, keys in members.items():
        yield f"class {','.join(keys)} {name}"


def _escaped(text: str) -> str:
    """The text inside a Mermaid string: anything that is no letter or digit by its number."""
    return "".join(
        c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in xml_safe(" ".join(text.split()))
    )
