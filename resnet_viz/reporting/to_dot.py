"""DOT, a report of its own: module clusters, gradients as fill, skips and bottlenecks marked.

What it marks can be read back from the text by any program that knows DOT. Every
skip is one edge with ``class="skip <kind>"``, ``skip_kind``, ``fork``, ``join``
and, where measured, ``share``; every block is one cluster (open) or one node
(closed) with ``class="block <kind>"``, ``block_kind``, ``module``, ``join`` and
``squeeze``. Ids of ops stand in ``op``, because DOT's own names are plain ``n12``.
"""

from __future__ import annotations

from typing import Any

import graphviz

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.structure import SKIP_KINDS
from resnet_viz.core.units import percent, shape
from resnet_viz.reporting.dot_engine import run_dot
from resnet_viz.reporting.dot_labels import (
    STYLE_OF,
    block_label,
    legend_label,
    module_label,
    numbers_of,
    op_label,
    title_label,
)
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.folded_boxes import in_copies, times_of, title_of
from resnet_viz.reporting.legend import stream_name
from resnet_viz.reporting.palette import DARK, LIGHT
from resnet_viz.reporting.raised import KIND
from resnet_viz.reporting.river import width_of
from resnet_viz.reporting.scene import Scene, SceneEdge, SceneNode, scene

__all__ = ["render_dot", "render_pdf", "run_dot"]

_FONT = "DejaVu Sans"
_NO_BLOCK = {"class": "", "block_kind": "", "module": "", "join": "", "squeeze": ""}
_ALONE = {"peripheries": "1", "times": ""}
_JOIN_SIGN = {"add": "+", "mul": "×", "cat": "∥"}


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
    return run_dot(render_dot(report, options).decode(), "pdf")


class _Writer:
    """One drawing; holds what its parts share."""

    def __init__(self, report: Report, options: RenderOptions) -> None:
        self.scene: Scene = scene(report, options)
        self.report, self.whole = self.scene.report, report
        self.data = self.scene.data
        self.colours = DARK if options.theme == "dark" else LIGHT
        self.title = options.title or report.graph.name
        self.nodes = {node.key: node for node in self.scene.nodes}

    def source(self) -> str:
        colours = self.colours
        dot = graphviz.Digraph("resnet_viz")
        dot.attr(
            rankdir="TB", newrank="true", splines="spline", nodesep="0.35", ranksep="0.32",
            bgcolor=colours["bg"], fontname=_FONT, fontsize="12", fontcolor=colours["fg"],
            label=title_label(self.whole, self.title, colours), labelloc="t", labeljust="l",
            tooltip=_text(self.title), pad="0.3",
        )  # fmt: skip
        if len(self.scene.edges) > 2 * len(self.scene.nodes):
            # Dense concatenations: dot would polish their crossings for minutes.
            dot.attr(nslimit="1", nslimit1="1", mclimit="0.1")
        dot.attr(
            "node", shape="box", style="filled,rounded", fontname=_FONT, fontsize="11",
            margin="0.12,0.06", height="0.3", color=colours["op-line"],
        )  # fmt: skip
        dot.attr("edge", color=colours["edge"], arrowsize="0.6", fontname=_FONT, fontsize="9")
        self._fill_box(dot, -1)
        self._legend(dot)
        for edge in self.scene.edges:
            self._edge(dot, edge)
        source: str = dot.source
        return source

    def _fill_box(self, dot: graphviz.Digraph, box: int) -> None:
        for node in self.scene.nodes:
            if node.box == box:
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
        return {
            "label": _text(f"{label}  {numbers}{in_copies(group)}".strip()),
            "labelloc": "t", "labeljust": "l", "style": "filled,rounded",
            "fillcolor": colours[fill], "color": colours[line],
            "penwidth": "2" if "block" in group else "1",
            "fontcolor": colours[ink], "fontname": _FONT, "fontsize": "11",
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
        dot.node(node.key, **(draw[node.kind](node) | marks))

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
            "label": op_label(fact, _ink(fill)),
            "fillcolor": fill,
            # Where a number takes the fill, the frame still tells the kind of op.
            "color": colours[kind] if painted else colours["op-line"],
            "penwidth": "2.5" if painted else "1",
            "op": _text(fact["id"]),
            "tooltip": self._tooltip(fact),
        }

    def _join(self, node: SceneNode) -> dict[str, str]:
        colours = self.colours
        kind = node.fact["kind"] if node.fact["kind"] in _JOIN_SIGN else "add"
        return {
            "label": _JOIN_SIGN[kind], "shape": "circle", "style": "filled", "width": "0.26",
            "fixedsize": "true", "fontsize": "13",
            "fillcolor": colours[f"rel-{node.fact['c']}"] if "c" in node.fact else colours[kind],
            "fontcolor": colours["on-op"], "color": colours["op-line"],
            "op": _text(node.fact["id"]), "tooltip": self._tooltip(node.fact),
        }  # fmt: skip

    def _body(self, node: SceneNode) -> dict[str, str]:
        colours, graph = self.colours, self.report.graph
        block = self.report.structure.blocks[node.block]
        family = self.data["blocks"][node.block]["family"]
        fork = graph[block.skip.fork].shape if block.skip.fork in graph else ()
        join = next((n for n in self.data["nodes"] if n["id"] == block.skip.join), node.fact)
        entry = fork[1 if len(fork) == 4 else -1] if len(fork) > 1 else 0
        if block.kind == "dense":
            entry = 0
        return {
            "label": block_label(
                node.fact, block.title, entry, join, colours, colours[f"{family}-fg"]
            ),
            "fillcolor": colours[f"relbox-{join['c']}"] if "c" in join else colours[family],
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
            dot.edge(edge.src, edge.dst, weight="4", **self._stream(edge))
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
            dot.edge(edge.src, edge.dst, **(attributes | stream | {"class": "shortcut"}))
            return
        words = f"{skip.kind} skip from {fact['fork']} to {fact['join']}"
        attributes |= {
            "class": f"skip {skip.kind}", "skip_kind": skip.kind, "fork": _text(fact["fork"]),
            "join": _text(fact["join"]),
        }  # fmt: skip
        if "told" in fact:
            words += f", {fact['told']}"
            attributes |= {"penwidth": f"{fact['width']:g}"}
            if "against" in fact:
                attributes["color"] = _outline(attributes["color"])
        if "share" in fact:
            share = fact["share"]
            words += f", carries {percent(share)} of the fork's gradient"
            attributes |= {"share": f"{share:.6g}", "penwidth": f"{fact['width']:g}"}
            if "against" in fact:
                attributes["color"] = _outline(attributes["color"])
        attributes |= {"tooltip": _text(words), "edgetooltip": _text(words)}
        attributes |= self._way(edge, fact)
        dot.edge(edge.src, edge.dst, **attributes)

    def _stream(self, edge: SceneEdge) -> dict[str, str]:
        """As wide as the gradient that comes back over it; nothing where that is not known."""
        if edge.carries is None:
            return {}
        amount, branch = edge.carries
        colour = self.colours["branch" if branch else "trunk"]
        told = f"{percent(amount)} of {stream_name(self.data)}"
        return {
            "penwidth": f"{width_of(amount):g}", "tooltip": told, "edgetooltip": told,
            "color": _outline(colour) if amount < 0 else colour,
        }  # fmt: skip

    def _way(self, edge: SceneEdge, fact: dict[str, Any]) -> dict[str, str]:
        """Ports on the right, so that skips run past a block and never through it."""
        if self.nodes[edge.dst].kind != "join" and edge.src != edge.dst:
            return {}
        label = percent(fact["share"]) if "share" in fact else ""
        skip = self.report.structure.skips[edge.skip]
        if skip.kind != "identity":
            label = f"{skip.kind} {label}".strip()
        return {"tailport": "e", "headport": "e", "label": _text(f" {label}" if label else "")}

    def _legend(self, dot: graphviz.Digraph) -> None:
        drawn = {edge.skip for edge in self.scene.edges if edge.kind == "skip"}
        skips = self.report.structure.skips
        kinds = [k for k in SKIP_KINDS if any(skips[i].kind == k for i in drawn)]
        with dot.subgraph(name="cluster_legend") as legend:
            legend.attr(
                label="how to read this", labeljust="l", style="rounded", penwidth="1",
                color=self.colours["group-line"], fontcolor=self.colours["mut"],
                fontname=_FONT, fontsize="10", tooltip="legend", **_NO_BLOCK,
            )  # fmt: skip
            legend.node(
                "legend", legend_label(self.data, kinds, self.colours),
                shape="plain", style="", tooltip="legend",
            )  # fmt: skip


def _text(text: str) -> str:
    """The text as DOT keeps it: never markup, never an escape sequence."""
    escaped: str = graphviz.escape(xml_safe(text))
    return escaped


def _outline(colour: str) -> str:
    """Two lines in place of one: what pulls against the whole."""
    return f"{colour}:invis:{colour}"


def _ink(fill: str) -> str:
    """Black or white, whichever can be read on this colour."""
    red, green, blue = (int(fill[i : i + 2], 16) for i in (1, 3, 5))
    return "#10151c" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"
