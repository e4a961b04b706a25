"""DOT, a report of its own: module clusters, gradients as fill, skips and bottlenecks marked.

What it marks can be read back from the text by any program that knows DOT. Every
skip is one edge with ``class="skip <kind>"``, ``skip_kind``, ``fork``, ``join``
and, where measured, ``share``; every block is one cluster (open) or one node
(closed) with ``class="block <kind>"``, ``block_kind``, ``module``, ``join`` and
``squeeze``. Ids of ops stand in ``op``, because DOT's own names are plain ``n12``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import graphviz

from resnet_viz.core.message import join, say
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.structure import SKIP_KINDS
from resnet_viz.core.terms import word
from resnet_viz.core.units import percent, shape
from resnet_viz.reporting.colouring.palette import palette_of
from resnet_viz.reporting.drawing.formulas import Formula, formula_of
from resnet_viz.reporting.drawing.labels import JOIN_SIGNS
from resnet_viz.reporting.drawing.legend import stream_name
from resnet_viz.reporting.drawing.river import width_of
from resnet_viz.reporting.drawing.scene import Scene, SceneEdge, SceneNode, scene
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.folding.boxes import in_copies, times_of, title_of
from resnet_viz.reporting.formats.dot_engine import run_dot
from resnet_viz.reporting.formats.dot_labels import (
    STYLE_OF,
    block_label,
    legend_label,
    line_of,
    module_label,
    numbers_of,
    op_label,
    scaled,
    title_label,
)
from resnet_viz.reporting.language import spoken
from resnet_viz.reporting.raised import KIND

_FONT = "DejaVu Sans"
_NO_BLOCK = {"class": "", "block_kind": "", "module": "", "join": "", "squeeze": ""}
_ALONE = {"peripheries": "1", "times": ""}


def render_dot(report: Report, options: RenderOptions) -> bytes:
    """The report as DOT text, UTF-8.

    Raises:
        UserError: If ``options.focus`` is no module that ran.
    """
    return _Writer(report, options).source().encode()


def render_pdf(report: Report, options: RenderOptions) -> bytes:
    """The DOT report laid out by ``dot`` as PDF.

    Raises:
        UserError: If ``dot`` is not installed or does not finish.
    """
    # Its resolution is the printer's, and dot would take dpi for a scale.
    return _undated(run_dot(render_dot(report, replace(options, dpi=0)).decode(), "pdf"))


def _undated(pdf: bytes) -> bytes:
    """The PDF made at the epoch: the same drawing has the same bytes, whenever it is made."""
    *before, behind = re.split(rb"(/CreationDate \(D:\d{14}[^)]*\))", pdf)
    if before:
        # As long as it was: the places of all objects stand in the file.
        before[-1] = b"/CreationDate (D:19700101000000Z)".ljust(len(before[-1]))
    return b"".join((*before, behind))


class _Writer:
    """One drawing; holds what its parts share."""

    def __init__(self, report: Report, options: RenderOptions) -> None:
        self.options = options
        self.scene: Scene = scene(report, options)
        self.report, self.whole = self.scene.report, report
        self.data = self.scene.data
        self.colours = palette_of(options.theme)
        self.title = options.title or report.graph.name
        self.nodes = {node.key: node for node in self.scene.nodes}
        self.facts = {fact["id"]: fact for fact in self.data["nodes"]}
        self.formulas: Mapping[str, Formula] = {}
        if options.formulas:
            graph = self.report.graph
            self.formulas = {s.join: formula_of(graph, s) for s in self.report.structure.skips}

    def source(self) -> str:
        colours, asked = self.colours, self.options
        dot = graphviz.Digraph("resnet_viz")
        dot.attr(
            rankdir=asked.direction, newrank="true", splines="spline",
            nodesep="0.35", ranksep="0.32",
            bgcolor="transparent" if asked.transparent else colours["bg"],
            fontname=_FONT, fontsize=self._points(12), fontcolor=colours["fg"],
            label=self._larger(title_label(self.whole, self.title, colours)),
            labelloc="t", labeljust="l", tooltip=_text(self.title), pad="0.3",
        )  # fmt: skip
        if asked.width:
            # The exclamation mark scales up as well as down; height never binds.
            dot.attr(size=f"{asked.width / 96:g},10000!")
        if asked.dpi:
            dot.attr(dpi=f"{asked.dpi:g}")
        if len(self.scene.edges) > 2 * len(self.scene.nodes):
            # Dense concatenations: dot would polish their crossings for minutes.
            dot.attr(nslimit="1", nslimit1="1", mclimit="0.1")
        dot.attr(
            "node", shape="box", style="filled,rounded", fontname=_FONT, fontsize=self._points(11),
            margin="0.12,0.06", height="0.3", color=colours["op-line"],
        )  # fmt: skip
        dot.attr(
            "edge",
            color=colours["edge"],
            fontcolor=colours["mut"],
            arrowsize="0.6",
            fontname=_FONT,
            fontsize=self._points(9),
        )
        self._fill_box(dot, -1)
        self._legend(dot)
        for edge in self.scene.edges:
            self._edge(dot, edge)
        source: str = dot.source
        return source

    def _points(self, size: float) -> str:
        return f"{size * self._factor:g}"

    def _larger(self, label: str) -> str:
        return label if self._factor == 1 else scaled(label, self._factor)

    @property
    def _factor(self) -> float:
        return self.options.font_size / 12

    def _fill_box(self, dot: graphviz.Digraph, box: int) -> None:
        for node in self.scene.inside(box):
            self._node(dot, node)
        for child in self.scene.children(box):
            with dot.subgraph(name=f"cluster_{child}") as inner:
                inner.attr(**self._box(child))
                self._fill_box(inner, child)

    def _box(self, index: int) -> dict[str, str]:
        group, colours = self.data["groups"][index], self.colours
        fill, line, ink, words = "group", "group-line", "fg", group["type_name"]
        # A cluster inherits what the cluster around it sets: say everything each time.
        marks = dict(_NO_BLOCK)
        if "block" in group:
            block = self.data["blocks"][group["block"]]
            family = block["family"]
            fill, line, ink, words = family, f"{family}-line", f"{family}-fg", block["kind"]
            marks = self._marks(group["block"])
        elif group["kind"] == "stage":
            fill = f"stage-{group['tint']}"
            stage = self.report.structure.stages[group["stage"]] if "stage" in group else None
            words = shape(stage.resolution) if stage and stage.resolution else words
        name = title_of(group, group["module"] if "block" in group else group["label"])
        label = f"{name}  {words}{times_of(group)}".strip()
        numbers = numbers_of({key: group[key] for key in ("params", "macs", "uncounted")})
        more = join("", (numbers, in_copies(group)))
        return {
            "label": _text(f"{label}  {spoken(more)}".strip()),
            "labelloc": "t", "labeljust": "l", "style": "filled,rounded",
            "fillcolor": colours[fill], "color": colours[line],
            "penwidth": "2" if "block" in group else "1",
            "fontcolor": colours[ink], "fontname": _FONT, "fontsize": self._points(11),
            "tooltip": _text(f"{group['module']} {words}"),
        } | marks | self._times(group)  # fmt: skip

    def _times(self, fact: dict[str, Any]) -> dict[str, str]:
        """A double frame for what is drawn once and stands for several."""
        if "folds" not in self.data:
            return {}
        times = fact.get("times", 0)
        return {"peripheries": "2", "times": str(times)} if times else _ALONE

    def _marks(self, index: int) -> dict[str, str]:
        block = self.report.structure.blocks[index]
        return {
            "class": f"block {block.kind}",
            "block_kind": block.title,
            "module": _text(block.module),
            "join": _text(block.skip.join),
            "squeeze": f"{block.squeeze:g}",
        }

    def _node(self, dot: graphviz.Digraph, node: SceneNode) -> None:
        draw = {"op": self._op, "join": self._join, "body": self._body, "module": self._module}
        marks = self._marks(node.block) if node.block >= 0 else {}
        if node.kind in ("body", "module"):
            marks |= self._times(node.fact)
        looks = draw[node.kind](node)
        dot.node(node.key, **(looks | {"label": self._larger(looks["label"])} | marks))

    def _op(self, node: SceneNode) -> dict[str, str]:
        fact, colours = node.fact, self.colours
        kind = fact["kind"] if fact["kind"] in colours else "other"
        if kind == KIND:
            return {
                "label": op_label(fact, colours["on-raised"]), "class": KIND,
                "fillcolor": colours[KIND], "color": colours[KIND], "penwidth": "3",
                "peripheries": "2", "op": _text(fact["id"]), "tooltip": self._tooltip(fact),
            }  # fmt: skip
        painted = "g" in fact or "c" in fact
        fill = colours[f"grad-{fact['g']}"] if "g" in fact else colours[kind]
        fill = colours[f"rel-{fact['c']}"] if "c" in fact else fill
        return {
            "label": op_label(fact, _ink(fill), self._formula(fact)),
            "fillcolor": fill,
            # Where a number takes the fill, the frame still tells the kind of op.
            "color": colours[kind] if painted else colours["op-line"],
            "penwidth": "2.5" if painted else "1",
            "op": _text(fact["id"]),
            "tooltip": self._tooltip(fact),
        }

    def _join(self, node: SceneNode) -> dict[str, str]:
        colours = self.colours
        kind = node.fact["kind"] if node.fact["kind"] in JOIN_SIGNS else "add"
        fill = colours[f"rel-{node.fact['c']}"] if "c" in node.fact else colours[kind]
        looks = {
            "fillcolor": fill, "fontcolor": _ink(fill), "color": colours["op-line"],
            "op": _text(node.fact["id"]), "tooltip": self._tooltip(node.fact),
        }  # fmt: skip
        if formula := self._formula(node.fact):
            return looks | {"label": _text(formula)}
        return looks | {
            "label": JOIN_SIGNS[kind], "shape": "circle", "style": "filled",
            "width": f"{0.26 * self._factor:g}", "fixedsize": "true",
            "fontsize": self._points(13),
        }  # fmt: skip

    def _formula(self, fact: dict[str, Any]) -> str:
        """What a join computes, where that is asked for."""
        found = self.formulas.get(fact["id"])
        return found.join if found else ""

    def _body(self, node: SceneNode) -> dict[str, str]:
        colours, graph = self.colours, self.report.graph
        block = self.report.structure.blocks[node.block]
        family = self.data["blocks"][node.block]["family"]
        fork = graph[block.skip.fork].shape if block.skip.fork in graph else ()
        join = self.facts.get(block.skip.join, node.fact)
        entry = fork[1 if len(fork) == 4 else -1] if len(fork) > 1 else 0
        if block.kind == "dense":
            entry = 0
        return {
            "label": block_label(
                node.fact, block.title, entry, join, colours, colours[f"{family}-fg"]
            ),
            "fillcolor": colours[f"relbox-{node.fact['c']}"]
            if "c" in node.fact
            else colours[family],
            "color": colours[f"{family}-line"],
            "penwidth": "2",
            "tooltip": _text(f"{block.module}: {block.title}, squeeze {block.squeeze:g}"),
        }

    def _module(self, node: SceneNode) -> dict[str, str]:
        colours = self.colours
        return {
            "label": module_label(node.fact, colours["fg"]),
            "fillcolor": colours[f"relbox-{node.fact['c']}"]
            if "c" in node.fact
            else colours["group"],
            "color": colours["group-line"],
            "tooltip": _text(f"{node.fact['module']} {node.fact['type_name']}"),
        }

    def _tooltip(self, fact: dict[str, Any]) -> str:
        lines = [fact["id"], fact.get("note") or fact.get("shape", ""), numbers_of(fact)]
        lines.append(fact.get("told", ""))
        flow = self.report.gradient_flow
        if flow is not None and fact["id"] in self.report.graph:
            lines += [
                f"gradient of {name}: L2 {stats.l2:.3g}"
                for name in self.report.graph[fact["id"]].parameters
                if (stats := flow.get(name))
            ]
        return _text(" | ".join(filter(None, lines)))

    def _edge(self, dot: graphviz.Digraph, edge: SceneEdge) -> None:
        if edge.kind == "plain":
            label = _label(self._branch(edge), edge.shape)
            dot.edge(edge.src, edge.dst, weight="4", **(self._stream(edge) | label))
            return
        skip = self.report.structure.skips[edge.skip]
        fact = self.data["skips"][edge.skip]
        attributes = {
            "color": self.colours[f"skip-{skip.kind}"],
            "fontcolor": self.colours[f"skip-{skip.kind}"],
            "style": STYLE_OF[skip.kind],
            "penwidth": "2.5",
            "weight": "0",
        }
        if edge.kind == "shortcut":
            stream = {k: v for k, v in self._stream(edge).items() if k != "color"}
            attributes |= _label("", edge.shape)
            dot.edge(edge.src, edge.dst, **(attributes | stream | {"class": "shortcut"}))
            return
        words: list[str] = [
            say(
                "{kind} skip from {fork} to {join}",
                kind=word(skip.kind),
                fork=fact["fork"],
                join=fact["join"],
            )
        ]
        attributes |= {
            "class": f"skip {skip.kind}", "skip_kind": skip.kind, "fork": _text(fact["fork"]),
            "join": _text(fact["join"]),
        }  # fmt: skip
        if "told" in fact:
            words.append(fact["told"])
        if "share" in fact:
            part = percent(fact["share"])
            words.append(say("carries {part} of the fork's gradient", part=part))
            attributes |= {"share": f"{fact['share']:.6g}"}
        if "told" in fact or "share" in fact:
            attributes |= {"penwidth": f"{fact['width']:g}"}
            if "against" in fact:
                attributes["color"] = _outline(attributes["color"])
        told = _text(join(", ", words))
        attributes |= {"tooltip": told, "edgetooltip": told}
        attributes |= self._way(edge, fact)
        dot.edge(edge.src, edge.dst, **attributes)

    def _stream(self, edge: SceneEdge) -> dict[str, str]:
        """As wide as the gradient that comes back over it; nothing where that is not known."""
        if edge.carries is None:
            return {}
        amount, branch = edge.carries
        colour = self.colours["branch" if branch else "trunk"]
        told = _text(say("{part} of {stream}", part=percent(amount), stream=stream_name(self.data)))
        return {
            "penwidth": f"{width_of(amount):g}", "tooltip": told, "edgetooltip": told,
            "color": _outline(colour) if amount < 0 else colour,
        }  # fmt: skip

    def _branch(self, edge: SceneEdge) -> str:
        """What the branch brings to its join, where formulas are asked for."""
        end = self.nodes[edge.dst].fact.get("id", "")
        return self.formulas[end].branch if end in self.formulas else ""

    def _way(self, edge: SceneEdge, fact: dict[str, Any]) -> dict[str, str]:
        """Ports beside the stream, so that skips run past a block and never through it."""
        skip = self.report.structure.skips[edge.skip]
        formula = self.formulas[skip.join].shortcut if skip.join in self.formulas else ""
        if self.nodes[edge.dst].kind != "join" and edge.src != edge.dst:
            return _label(formula, edge.shape)
        share = percent(fact["share"]) if "share" in fact else ""
        kind = word(skip.kind) if skip.kind != "identity" else ""
        side = "e" if self.options.direction == "TB" else "n"
        return {"tailport": side, "headport": side} | (
            _label(kind, share, formula, edge.shape) or {"label": ""}
        )

    def _legend(self, dot: graphviz.Digraph) -> None:
        drawn = {edge.skip for edge in self.scene.edges if edge.kind == "skip"}
        skips = self.report.structure.skips
        kinds = [k for k in SKIP_KINDS if any(skips[i].kind == k for i in drawn)]
        with dot.subgraph(name="cluster_legend") as legend:
            legend.attr(
                label=_text(say("how to read this")), labeljust="l", style="rounded", penwidth="1",
                color=self.colours["group-line"], fontcolor=self.colours["mut"],
                fontname=_FONT, fontsize=self._points(10), tooltip="legend", **_NO_BLOCK,
            )  # fmt: skip
            legend.node(
                "legend", self._larger(legend_label(self.data, kinds, self.colours)),
                shape="plain", style="", tooltip="legend",
            )  # fmt: skip


def _text(text: str) -> str:
    """The text as DOT keeps it, in its language: never markup, never an escape sequence."""
    escaped: str = graphviz.escape(xml_safe(line_of(text)))
    return escaped


def _label(*texts: str) -> dict[str, str]:
    """An edge's label, away from its line; nothing where there is nothing to say."""
    said = " ".join(spoken(text) for text in texts if text)
    return {"label": _text(f" {said}")} if said else {}


def _outline(colour: str) -> str:
    """Two lines in place of one: what pulls against the whole."""
    return f"{colour}:invis:{colour}"


def _ink(fill: str) -> str:
    """Black or white, whichever stands out more from this colour (WCAG 2.1's contrast)."""
    parts = (int(fill[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return "#10151c" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.19 else "#ffffff"
