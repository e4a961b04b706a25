"""The diagram as a static SVG, written by our own hand: no ``dot``, no browser.

Every skip is one element of class ``skip`` and every block one of class ``block``,
whatever is open or closed; their ``data-`` attributes are read back by tests and
may be by other programs. ``paint.js`` paints the same marks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

from resnet_viz.core import units
from resnet_viz.core.message import Message, join, say, say_n
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.colouring import scale_bar
from resnet_viz.reporting.colouring.palette import static_css
from resnet_viz.reporting.colouring.scale_bar import scale_cells, scale_ticks, scale_title
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.drawing.kind_words import blocks_of, skips_of
from resnet_viz.reporting.drawing.legend import Row, legend
from resnet_viz.reporting.drawing.painter import painted
from resnet_viz.reporting.drawing.strokes import number
from resnet_viz.reporting.escaping import drawn, xml_safe
from resnet_viz.reporting.fonts import fit, font_face_css, text_width, wrap
from resnet_viz.reporting.language import language, spoken
from resnet_viz.reporting.layout.coordinates import Layout, coordinates
from resnet_viz.reporting.page.cost_wording import total_text
from resnet_viz.reporting.raised import STOP, lines

_MARGIN, _TOP = 28.0, 74.0
_LEAST = 520.0
_ENDLESS, _SHORTEST, _TRIES = 1e9, 200.0, 9
_ASPECT = 1.6
_FONT = 12.0
_SCALE = 56.0  # height of the scale of a colouring, its title and the space below it
_SLACK = 28.0  # the layout's own padding left and right, which the margins stand for


def render_svg(report: Report, options: RenderOptions) -> bytes:
    """The report's diagram as UTF-8 SVG with its fonts embedded.

    ``options``: ``theme`` (``auto`` is light), ``collapse``, ``focus``, ``title``,
    ``direction``, ``formulas``, ``edge_shapes``, ``color_by``, ``transparent``, ``lang``;
    ``font_size`` scales the whole drawing, of which 12 pixels are the natural size;
    ``width`` breaks columns so that the text comes nearest to ``font_size`` and then scales
    the drawing to exactly so many pixels. The view box keeps natural sizes.

    Raises:
        UserError: If ``options.focus`` is no module that ran.
    """
    return svg_text(report, options, embed_fonts=True).encode()


def svg_text(report: Report, options: RenderOptions, *, embed_fonts: bool) -> str:
    """The drawing; without fonts for a renderer that is given the font files."""
    data = diagram(report, options)
    opened = [bool(x) for x in data["open"][options.collapse]]
    layout = _laid_out(data, opened, options)
    css = static_css(options, river="river" in data, coloured="colouring" in data)
    css = f"{font_face_css()}\n{css}" if embed_fonts else css
    return _Sheet(report, data, layout, options).document(css)


def _laid_out(data: dict[str, Any], opened: Sequence[bool], options: RenderOptions) -> Layout:
    """The layout, broken into columns for the width where one is asked for."""
    if not options.width:
        return coordinates(data, opened, aspect=_ASPECT)
    wanted = options.width * _FONT / options.font_size
    whole = coordinates(data, opened, limit=_ENDLESS)
    across = options.direction == "LR"
    low, high = math.log(_SHORTEST), math.log(max(_SHORTEST, whole.w if across else whole.h))
    best = whole
    for _ in range(_TRIES):
        layout = coordinates(data, opened, limit=math.exp((low + high) / 2))
        if _off(layout, wanted) < _off(best, wanted):
            best = layout
        # A longer row is wider; longer columns are fewer.
        if (_sheet_width(layout) > wanted) == across:
            high = (low + high) / 2
        else:
            low = (low + high) / 2
    return best


def _off(layout: Layout, wanted: float) -> float:
    """By which factor it misses the width, as a logarithm."""
    return abs(math.log(_sheet_width(layout) / wanted))


def _sheet_width(layout: Layout) -> float:
    return max(layout.w + 2 * _MARGIN - _SLACK, _LEAST)


class _Sheet:
    """The whole file: heading, facts, drawing, legend."""

    def __init__(
        self, report: Report, data: dict[str, Any], layout: Layout, options: RenderOptions
    ) -> None:
        self.report, self.data, self.layout, self.options = report, data, layout, options
        self.lines: list[str] = []
        self.width = _sheet_width(layout)
        self.room = self.width - 2 * _MARGIN
        self.back = language().direction == "rtl"

    def document(self, css: str) -> str:
        """The whole file."""
        data, layout, width = self.data, self.layout, self.width
        facts = self._facts()
        written = self._wrapped(facts)
        rows = self._legend_rows(legend(data, kinds=self._kinds()))
        told = [
            x for line in lines(self.report.graph) for x in wrap(line, 12, self.room, bold=True)
        ]
        top = _TOP + 17 * (len(written) - 1) + 18 * len(told)
        scaled = _SCALE if "colouring" in data else 0.0
        height = top + layout.h + 26 + scaled + 22 * len(rows) + 12
        scale = self.options.font_size / _FONT
        if self.options.width:
            scale = self.options.width / width
        head = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="rv-diagram" '
            f'width="{number(width * scale)}" height="{number(height * scale)}" '
            f'viewBox="0 0 {number(width)} {number(height)}" role="img">',
            f"<title>{escape(data['name'])}</title>",
            f"<desc>{escape(spoken(facts))}</desc>",
            f"<style>{escape(css)}</style>",
        ]
        if not self.options.transparent:
            ground = f'width="{number(width)}" height="{number(height)}"'
            head.append(f'<rect class="paper" {ground}/>')
        self._text("heading", 0, 38, fit(data["name"], 19, self.room, bold=True))
        for i, line in enumerate(written):
            self._text("facts", 0, 58 + 17 * i, line)
        for i, words in enumerate(told):
            self._text("raised-line", 0, 63 + 17 * len(written) + 18 * i, words)
        shift = (width - layout.w) / 2
        self.lines.append(f'<g transform="translate({number(shift)} {number(top)})">')
        self.lines.append(painted(data, layout))
        self.lines.append("</g>")
        if scaled:
            self._scale(data["colouring"], top + layout.h + 26)
        self._legend(rows, top + layout.h + 26 + scaled)
        return xml_safe("\n".join([*head, *self.lines, "</svg>"])) + "\n"

    def _facts(self) -> Message:
        """Totals of what is drawn: of the whole model unless a module is in focus."""
        data, graph = self.data, self.report.graph
        ops = [n for n in data["nodes"] if n["kind"] != "io" and n["id"] != STOP]
        drawn = {n["id"] for n in ops}
        params = sum(n.get("params", 0) for n in ops) if data["focus"] else graph.total_params
        macs = sum(n.get("macs", 0) for n in ops)
        unknown = sum(n.get("uncounted", 0) for n in ops)
        parts: list[str] = [
            say("{n} parameters", n=units.si(params)),
            total_text(macs, unknown),
            say_n("{n} op", "{n} ops", sum(n.get("times", 1) for n in ops)),
        ]
        blocks, skips = Counter[str](), Counter[str]()
        for things, kinds in ((data["blocks"], blocks), (data["skips"], skips)):
            for x in things:
                if x["join"] in drawn:
                    kinds[x["kind"]] += x.get("times", 1)
        parts += [blocks_of(kind, n) for kind, n in blocks.items()]
        parts += [skips_of(kind, n) for kind, n in skips.items()]
        if self.report.findings:
            parts.append(say_n("{n} finding", "{n} findings", len(self.report.findings)))
        return join(" · ", parts)

    def _kinds(self) -> set[str]:
        """Kinds of ops whose own colour can be seen, on boxes or on chips of closed blocks."""
        data, layout = self.data, self.layout
        nodes = zip(data["nodes"], layout.nodes, strict=True)
        found = {node["kind"] for node, box in nodes if box is not None and "c" not in node}
        for group, box in zip(data["groups"], layout.groups, strict=True):
            if box is not None and not box.open:
                shapes = (shape[1] for shape in group["glyph"] if shape[0] == "p")
                found |= {css.removeprefix("chip ") for css in shapes if css.startswith("chip ")}
        return found

    def _wrapped(self, facts: Message) -> list[Message]:
        """The facts in lines, broken between them."""
        found: list[list[object]] = [[]]
        for part in facts.values.values():
            longer = spoken(join(" · ", [*found[-1], part]))
            if found[-1] and text_width(longer, 12) > self.room:
                found.append([])
            found[-1].append(part)
        return [join(" · ", parts) for parts in found]

    def _text(self, css: str, x: float, y: float, text: str) -> None:
        """A line of ours that begins ``x`` from where lines begin in the report's language."""
        at = number(self.width - _MARGIN - x if self.back else _MARGIN + x)
        anchor = ' text-anchor="end"' if self.back else ""
        self.lines.append(
            f'<text class="{css}" x="{at}" y="{number(y)}"{anchor}>{drawn(text)}</text>'
        )

    def _scale(self, colouring: dict[str, Any], top: float) -> None:
        """What the colours mean: a bar of them with its numbers."""
        self._text("legend", 0, top + 9, scale_title(colouring))
        x = self.width - _MARGIN - scale_bar.WIDTH if self.back else _MARGIN
        self.lines.append(f'<g transform="translate({number(x)} {number(top + 15)})">')
        self.lines += [f'<path class="{css}" d="{d}"/>' for css, d in scale_cells()]
        self.lines += [
            f'<text class="tick" x="{number(at)}" y="{number(scale_bar.HEIGHT - 5)}">'
            f"{escape(text)}</text>"
            for at, text in scale_ticks(colouring)
        ]
        self.lines.append("</g>")

    def _legend_rows(self, entries: list[Row]) -> list[list[Row]]:
        rows: list[list[Row]] = [[]]
        used = 0.0
        for entry in entries:
            width = entry[2]
            if rows[-1] and used + width > self.room:
                rows.append([])
                used = 0.0
            rows[-1].append(entry)
            used += width
        return rows

    def _legend(self, rows: list[list[Row]], top: float) -> None:
        for r, row in enumerate(rows):
            x = 0.0
            for shapes, text, width, swatch in row:
                y = top + 22 * r
                at = self.width - _MARGIN - x - swatch if self.back else _MARGIN + x
                self.lines.append(f'<g transform="translate({number(at)} {number(y)})">')
                self.lines += [f'<path class="{css}" d="{d}"/>' for css, d in shapes]
                self.lines.append("</g>")
                self._text("legend", x + swatch + 7, y + 11, text)
                x += width
