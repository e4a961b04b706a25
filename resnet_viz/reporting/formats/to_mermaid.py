"""Mermaid flowcharts, for README files, issues and wikis that draw them in place.

GitHub refuses more than 500 edges or 50,000 characters (Mermaid's ``maxEdges`` and
``maxTextSize``, which a text cannot raise), so labels are short here, and what is too large
is folded and closed until it fits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from resnet_viz.core.message import join, say
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.terms import word
from resnet_viz.core.units import percent, si
from resnet_viz.reporting.colouring.palette import palette_of
from resnet_viz.reporting.drawing.formulas import formula_of
from resnet_viz.reporting.drawing.labels import JOIN_SIGNS
from resnet_viz.reporting.drawing.scene import Scene, SceneEdge, SceneNode, scene
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.folding.boxes import in_copies, times_of, title_of
from resnet_viz.reporting.formats.dot_labels import shortened
from resnet_viz.reporting.language import spoken
from resnet_viz.reporting.raised import KIND
from resnet_viz.reporting.remarks import remark
from resnet_viz.reporting.wording import block_widths

_MOST_EDGES, _MOST_LETTERS = 500, 50_000
_PLAIN = frozenset(" ,×·:/▷◁→…")
_DASHES = {"projection": "8 4", "scaled": "2 4", "gate": "6 3", "identity": "", "concat": ""}
_THEMES = {"light": "default", "dark": "dark", "paper": "neutral"}


def render_mermaid(report: Report, options: RenderOptions) -> bytes:
    """The diagram as a Mermaid flowchart, UTF-8.

    Every skip is one thick arrow (``==>``) that says its kind; bottlenecks have the
    class ``bottleneck``. What is more than GitHub draws is folded, then closed; a comment
    and a ``RenderWarning`` say so.

    Raises:
        UserError: If ``options.focus`` is no module that ran.
    """
    for wish in _wishes(options):
        drawn = scene(report, wish.options, marked=wish.marked)
        if not wish.marked:
            drawn = _merged(drawn)
        text = _Writer(drawn, wish).text()
        if len(drawn.edges) <= _MOST_EDGES and len(text) <= _MOST_LETTERS:
            if wish.told:
                remark(f"the whole is more than GitHub draws: {wish.told}")
            break
    else:
        remark(
            f"{len(drawn.edges)} edges are more than the {_MOST_EDGES} that GitHub draws: "
            "draw a part with --focus, or write SVG"
        )
    return text.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """A way to draw it, the next smaller than the one before.

    Attributes:
        options: What to draw.
        marked: Whether every skip must be seen.
        told: What it does unasked.
    """

    options: RenderOptions
    marked: bool = True
    told: str = ""


def _wishes(options: RenderOptions) -> Iterator[_Wish]:
    yield _Wish(options=options)
    once = replace(options, fold_repeats=True)
    told = "equal parts are drawn once"
    if options.fold_repeats is not True:
        yield _Wish(options=once, told=told)
    closed = replace(once, depth=None, expand=())
    for collapse in ("blocks", "all"):
        shut = f"{told}, blocks are closed"
        yield _Wish(options=replace(closed, collapse=collapse), told=shut)
    for depth in (3, 2, 1, 0):
        left = replace(closed, depth=depth)
        shut = f"{told}, boxes deeper than {depth} are closed with the skips inside them"
        yield _Wish(options=left, marked=False, told=shut)


def _merged(drawn: Scene) -> Scene:
    """The scene with one edge for all skips of a kind that run between the same two boxes."""
    kinds = [skip.kind for skip in drawn.report.structure.skips]
    edges: dict[tuple[str, str, str, str], SceneEdge] = {}
    for edge in drawn.edges:
        kind = kinds[edge.skip] if edge.skip >= 0 else ""
        edges.setdefault((edge.src, edge.dst, edge.kind, kind), edge)
    return replace(drawn, edges=tuple(edges.values()))


class _Writer:
    """Writes one flowchart; holds what its parts share."""

    def __init__(self, drawn: Scene, wish: _Wish) -> None:
        self.drawn, self.report, self.data = drawn, drawn.report, drawn.data
        self.options, self.told = wish.options, wish.told
        graph, skips = self.report.graph, self.report.structure.skips
        self.formulas = {
            str(skip.join): formula_of(graph, skip) for skip in skips if self.options.formulas
        }
        self.nodes = {node.key: node for node in drawn.nodes}

    def text(self) -> str:
        """The whole file."""
        title = " ".join((self.options.title or self.report.graph.name).split())
        # A JSON string is a YAML string, if all that YAML takes for a line break is gone.
        title = "".join(c if c.isprintable() else "\ufffd" for c in title)
        lines = ["---", f"title: {json.dumps(title, ensure_ascii=False)}"]
        if theme := _THEMES.get(self.options.theme):
            lines += ["config:", f"  theme: {theme}"]
        lines += ["---", f"flowchart {self.options.direction}"]
        if self.told:
            lines.append(f"  %% The whole is more than GitHub draws: {self.told}.")
        lines += self._box(-1, 1)
        lines += [f"  {self._edge(edge)}" for edge in self.drawn.edges]
        lines += [f"  {line}" for line in _styles(self.report, self.drawn, self.options)]
        return "\n".join(lines) + "\n"

    def _box(self, box: int, depth: int) -> Iterator[str]:
        indent = "  " * depth
        for node in self.drawn.inside(box):
            yield indent + self._node(node)
        for child in self.drawn.children(box):
            group = self.data["groups"][child]
            block = group.get("block", -1)
            kind = word(self.report.structure.blocks[block].title) if block >= 0 else ""
            kind = kind or group["type_name"]
            name = shortened(title_of(group, group["module"] if block >= 0 else group["label"]))
            label = join("", (join(" · ", (name, kind)), times_of(group)))
            yield f'{indent}subgraph b{child}["{_escaped(label)}"]'
            yield from self._box(child, depth + 1)
            yield f"{indent}end"

    def _node(self, node: SceneNode) -> str:
        fact = node.fact
        formula = self.formulas.get(fact.get("id", ""))
        if node.kind == "join" and formula:
            return f'{node.key}(["{_escaped(formula.join)}"])'
        if node.kind == "join":
            return f'{node.key}(("{_escaped(JOIN_SIGNS.get(fact["kind"], "+"))}"))'
        if node.kind == "body":
            block = self.report.structure.blocks[node.block]
            name = shortened(title_of(fact, block.module))
            kind: str = join("", (word(block.title), times_of(fact)))
            rows = [join(" · ", (name, kind)), block_widths(block)]
        elif node.kind == "module":
            kind = f"{fact['type_name']}{times_of(fact)}"
            rows = [shortened(title_of(fact, fact["label"])), kind]
        else:
            rows = [fact["label"], fact.get("note") or fact.get("shape", "")]
            rows += [formula.join] if formula else []
        if fact.get("params"):
            params = say("{n} params", n=si(fact["params"]))
            rows.append(join("", (params, in_copies(fact))))
        return f'{node.key}["{"<br/>".join(_escaped(row) for row in rows if row)}"]'

    def _edge(self, edge: SceneEdge) -> str:
        end = self.nodes[edge.dst].fact.get("id", "")
        if edge.kind != "skip":
            branch = self.formulas[end].branch if end in self.formulas else ""
            words = [branch if edge.kind == "plain" else "", edge.shape]
            arrow = "-->"
        else:
            fact = self.data["skips"][edge.skip]
            skip = self.report.structure.skips[edge.skip]
            words = [word(skip.kind), percent(fact["share"]) if "share" in fact else ""]
            words += [self.formulas[skip.join].shortcut if skip.join in self.formulas else ""]
            words += [edge.shape]
            arrow = "==>"
        label = _escaped(join(" ", [text for text in words if text]))
        return f"{edge.src} {arrow}{f'|{chr(34)}{label}{chr(34)}|' if label else ''} {edge.dst}"


def _styles(report: Report, drawn: Scene, options: RenderOptions) -> Iterator[str]:
    colours = palette_of(options.theme)
    strokes: dict[str, list[str]] = {}
    for number, edge in enumerate(drawn.edges):
        if edge.skip < 0:
            continue
        kind: str = report.structure.skips[edge.skip].kind
        dashes = f",stroke-dasharray:{_DASHES[kind]}" if _DASHES[kind] else ""
        width = 3 if edge.kind == "skip" else 2
        stroke = f"stroke:{colours[f'skip-{kind}']},stroke-width:{width}px{dashes}"
        strokes.setdefault(stroke, []).append(str(number))
    for stroke, numbers in strokes.items():
        yield f"linkStyle {','.join(numbers)} {stroke}"
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
    """The text inside a Mermaid string: anything that is no letter or digit by its number.

    Mermaid reads Markdown in labels: ``1. x`` would be a list and ``_x_`` slanted.
    """
    line = xml_safe(" ".join(spoken(text).split()))
    found = "".join(c if c.isalnum() or c in _PLAIN or c in ".-+" else f"#{ord(c)};" for c in line)
    return re.sub(r"[.+-](?=\s|$)", lambda m: f"#{ord(m[0])};", found)
