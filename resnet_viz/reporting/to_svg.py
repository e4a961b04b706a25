"""The diagram as a static SVG, written by our own hand: no ``dot``, no browser.

Every skip is one element of class ``skip`` and every block one of class ``block``,
whatever is open or closed; their ``data-`` attributes are read back by tests and
may be by other programs. ``diagram.js`` paints the same marks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from resnet_viz.core import units
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.cost_wording import total_text
from resnet_viz.reporting.diagram import diagram
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.folded_boxes import inset
from resnet_viz.reporting.fonts import font_face_css, text_width, wrap
from resnet_viz.reporting.layout import IN, Layout, Placed, Point, Route, coordinates
from resnet_viz.reporting.legend import Row, legend, shade, sign_mark, stream_name
from resnet_viz.reporting.palette import static_css
from resnet_viz.reporting.raised import STOP, lines
from resnet_viz.reporting.river import width_of
from resnet_viz.reporting.tips import block_tip, group_tip, node_tip, skip_tip

_MARGIN, _TOP, _FOOT = 28.0, 74.0, 64.0
_ARROW = 7.0
_ASPECT = 1.6


def render_svg(report: Report, options: RenderOptions) -> bytes:
    """The report's diagram as UTF-8 SVG with its fonts embedded.

    ``options``: ``theme`` (``auto`` is light), ``collapse``, ``focus``, ``title``.

    Raises:
        UserError: If ``options.focus`` is no module that ran.
    """
    return svg_text(report, options, embed_fonts=True).encode()


def svg_text(report: Report, options: RenderOptions, *, embed_fonts: bool) -> str:
    """The drawing; without fonts for a renderer that is given the font files."""
    data = diagram(report, options)
    layout = coordinates(data, [bool(x) for x in data["open"][options.collapse]], aspect=_ASPECT)
    css = static_css(options, river="river" in data, coloured="colouring" in data)
    return _Painter(report, data, layout).document(css, embed_fonts)


def way(points: Sequence[Point], shorten: float = 0.0, radius: float = 8.0) -> str:
    """A path along the points with rounded corners; its end drawn back by ``shorten``."""
    pts = list(points)
    (x0, y0), (x1, y1) = pts[-2], pts[-1]
    length = abs(x1 - x0) + abs(y1 - y0)
    if shorten and length > shorten:
        pts[-1] = (x1 - (x1 - x0) / length * shorten, y1 - (y1 - y0) / length * shorten)
    d = [f"M{_n(pts[0][0])},{_n(pts[0][1])}"]
    for (ax, ay), (bx, by), (cx, cy) in zip(pts, pts[1:], pts[2:], strict=False):
        before, behind = abs(ax - bx) + abs(ay - by), abs(cx - bx) + abs(cy - by)
        k = min(radius, before / 2, behind / 2)
        if k < 0.5:
            d.append(f"L{_n(bx)},{_n(by)}")
            continue
        px, py = bx + (ax - bx) / before * k, by + (ay - by) / before * k
        qx, qy = bx + (cx - bx) / behind * k, by + (cy - by) / behind * k
        d.append(f"L{_n(px)},{_n(py)}Q{_n(bx)},{_n(by)} {_n(qx)},{_n(qy)}")
    return "".join(d) + f"L{_n(pts[-1][0])},{_n(pts[-1][1])}"


def arrow_head(points: Sequence[Point], size: float = _ARROW) -> str:
    """A filled head at the last point, in the direction of the last stretch."""
    (x0, y0), (x, y) = points[-2], points[-1]
    length = abs(x - x0) + abs(y - y0) or 1.0
    ux, uy = (x - x0) / length, (y - y0) / length
    bx, by, half = x - ux * size, y - uy * size, size * 0.48
    return (
        f"M{_n(x)},{_n(y)}L{_n(bx - uy * half)},{_n(by + ux * half)}"
        f"L{_n(bx + uy * half)},{_n(by - ux * half)}Z"
    )


def head_size(width: float) -> float:
    """Size of the arrow head of a line of this width."""
    return _ARROW + 0.8 * max(0.0, width - 1.3)


def _n(value: float) -> str:
    return f"{round(value, 2):g}" if abs(value) < 9e5 else f"{value:.1f}"


def _attributes(**values: object) -> str:
    return "".join(
        f" {name.replace('_', '-').strip('-')}={quoteattr(str(value))}"
        for name, value in values.items()
    )


class _Painter:
    """Writes one drawing; ``lines`` grows from back to front."""

    def __init__(self, report: Report, data: dict[str, Any], layout: Layout) -> None:
        self.report, self.data, self.layout = report, data, layout
        self.lines: list[str] = []

    def document(self, css: str, embed_fonts: bool) -> str:
        """The whole file."""
        data, layout = self.data, self.layout
        facts = self._facts()
        entries = legend(data)
        least = max(text_width(facts, 12), text_width(data["name"], 19, bold=True)) + 2 * _MARGIN
        width = max(layout.w + 2 * _MARGIN - 28, least, 520.0)
        rows = self._legend_rows(entries, width - 2 * _MARGIN)
        room = width - 2 * _MARGIN
        told = [x for line in lines(self.report.graph) for x in wrap(line, 12, room, bold=True)]
        top = _TOP + 18 * len(told)
        height = top + layout.h + 26 + 22 * len(rows) + 12
        css = f"{font_face_css()}\n{css}" if embed_fonts else css
        shift = (width - layout.w) / 2
        head = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="rv-diagram" width="{_n(width)}" '
            f'height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}" role="img">',
            f"<title>{escape(data['name'])}</title>",
            f"<desc>{escape(facts)}</desc>",
            f"<style>{escape(css)}</style>",
            f'<rect class="paper" width="{_n(width)}" height="{_n(height)}"/>',
        ]
        self._text("heading", _MARGIN, 38, data["name"])
        self._text("facts", _MARGIN, 58, facts)
        for i, line in enumerate(told):
            self._text("raised-line", _MARGIN, 80 + 18 * i, line)
        self.lines.append(f'<g transform="translate({_n(shift)} {_n(top)})">')
        self._drawing()
        self.lines.append("</g>")
        self._legend(rows, top + layout.h + 26)
        return xml_safe("\n".join([*head, *self.lines, "</svg>"])) + "\n"

    def _facts(self) -> str:
        """Totals of what is drawn: of the whole model unless a module is in focus."""
        data, graph = self.data, self.report.graph
        ops = [n for n in data["nodes"] if n["kind"] != "io" and n["id"] != STOP]
        drawn = {n["id"] for n in ops}
        params = sum(n.get("params", 0) for n in ops) if data["focus"] else graph.total_params
        macs = sum(n.get("macs", 0) for n in ops)
        unknown = sum(n.get("uncounted", 0) for n in ops)
        parts = [f"{units.si(params)} parameters", total_text(macs, unknown)]
        parts.append(units.count(sum(n.get("times", 1) for n in ops), "op"))
        for things, noun in ((data["blocks"], "block"), (data["skips"], "skip")):
            kinds = Counter[str]()
            for x in things:
                if x["join"] in drawn:
                    kinds[x["kind"]] += x.get("times", 1)
            parts += [units.count(n, f"{kind} {noun}") for kind, n in kinds.items()]
        if self.report.findings:
            parts.append(units.count(len(self.report.findings), "finding"))
        return " · ".join(parts)

    def _drawing(self) -> None:
        groups, layout = self.data["groups"], self.layout
        for group, box in zip(groups, layout.groups, strict=True):
            if box is not None and box.open:
                self._open_group(group, box)
        marked = []
        for route in layout.routes:
            edge = self.data["plans"][route.plan]["edges"][route.edge]
            if edge[4]:
                marked.append((route, edge[4]))
            else:
                self._edge(route, edge)
        for route, skips in marked:
            for k in skips:
                self._skip_edge(route, k)
        for group, box in zip(groups, layout.groups, strict=True):
            if box is not None and not box.open:
                self._closed_group(group, box)
        for node, box in zip(self.data["nodes"], layout.nodes, strict=True):
            if box is not None:
                self._node(node, box)

    def _open_group(self, group: dict[str, Any], box: Placed) -> None:
        tip = escape(group_tip(group))
        self.lines.append(
            f"<g{_attributes(class_='group', data_group=group['id'])}><title>{tip}</title>"
            f"{self._card_lines(group, box)}"
            f'<rect class="box open {self._face(group)}"{self._block_marks(group)} x="{_n(box.x)}" '
            f'y="{_n(box.y)}" width="{_n(box.w - inset(group))}" '
            f'height="{_n(box.h - inset(group))}" rx="12"/>'
        )
        x, y = box.x + 12, box.y + 12.5
        self.lines.append(f'<path class="caret" d="M{_n(x)},{_n(y)}h8l-4,5.5Z"/>')
        self._text("group-title", box.x + 25, box.y + 19, group["title"])
        if "badge" in group:
            self.lines.append(f'<g transform="translate({_n(box.x)} {_n(box.y)})">')
            for shape in group["badge"]:
                self._shape(shape)
            self.lines.append("</g>")
        self.lines.append("</g>")

    def _closed_group(self, group: dict[str, Any], box: Placed) -> None:
        self.lines.append(
            f"<g{_attributes(class_='group', data_group=group['id'])} "
            f'transform="translate({_n(box.x)} {_n(box.y)})"><title>{escape(group_tip(group))}'
            f"</title>{self._cards(group, box)}"
            f'<rect class="box {self._face(group)}{shade(group, "relbox")}"'
            f"{self._block_marks(group)} "
            f'width="{_n(box.w - inset(group))}" height="{_n(box.h - inset(group))}" rx="10"/>'
        )
        self._gradient_bar(group, box.h - inset(group), 10)
        self.lines.append('<path class="caret" d="M13,10.5v9l6,-4.5Z"/>')
        for shape in group["glyph"]:
            self._shape(shape)
        self._sign(group)
        self.lines.append("</g>")

    def _cards(self, group: dict[str, Any], box: Placed) -> str:
        """The cards behind a closed box that stands for several, the lowest first."""
        room = inset(group)
        size = f'width="{_n(box.w - room)}" height="{_n(box.h - room)}" rx="10"'
        return "".join(
            f'<rect class="{self._card_face(group)}" x="{_n(at)}" y="{_n(at)}" {size}/>'
            for at in ((room, room / 2) if room else ())
        )

    def _card_lines(self, group: dict[str, Any], box: Placed) -> str:
        """Like ``_cards`` for an open box: one sees through it, so only what stands out."""
        room = inset(group)
        return "".join(
            f'<path class="{self._card_face(group)} card-line" d="M{_n(box.x + at + 6)},'
            f"{_n(box.y + box.h - room + at)}H{_n(box.x + box.w - room + at - 12)}"
            f'a12,12 0 0 0 12,-12V{_n(box.y + at + 6)}"/>'
            for at in ((room, room / 2) if room else ())
        )

    def _card_face(self, group: dict[str, Any]) -> str:
        return f"card {self._face(group).removeprefix('block ')}".strip()

    def _face(self, group: dict[str, Any]) -> str:
        if "block" in group:
            return f"block f-{self.data['blocks'][group['block']]['family']}"
        return f"stage tint-{group['tint']}" if "tint" in group else ""

    def _block_marks(self, group: dict[str, Any]) -> str:
        return self._block_data(group["block"]) if "block" in group else ""

    def _block_data(self, index: int) -> str:
        block = self.data["blocks"][index]
        return _attributes(
            data_block_kind=block["kind"],
            data_module=block["module"],
            data_join=block["join"],
            data_squeeze=f"{block['squeeze']:.6g}",
        )

    def _skip_data(self, index: int, scale: float = 1.0) -> str:
        """Attributes of a skip's mark; its share is that at its own fork."""
        skip = self.data["skips"][index]
        share = {"data_share": f"{skip['share']:.6g}"} if "share" in skip else {}
        return (
            _attributes(
                data_skip_kind=skip["kind"], data_fork=skip["fork"], data_join=skip["join"], **share
            )
            + f' stroke-width="{_n(skip["width"] * scale)}"'
        )

    def _shape(self, shape: list[Any]) -> None:
        kind = shape[0]
        if kind == "p":
            self.lines.append(f'<path class="{shape[1]}" d="{shape[2]}"/>')
        elif kind == "t":
            self._text(shape[1], shape[2], shape[3], shape[4])
        elif kind == "s":
            skip = self.data["skips"][shape[1]]
            self.lines.append(
                f'<path class="{_skip_css(skip)}"{self._skip_data(shape[1], shape[4])} '
                f'd="{shape[2]}">'
                f"<title>{escape(skip_tip(skip))}</title></path>"
            )
            self._core(skip.get("against"), skip["width"] * shape[4], shape[2])
            self.lines.append(f'<path class="arrow-{skip["kind"]}" d="{shape[3]}"/>')
        elif kind == "w":
            skip = self.data["skips"][shape[1]]
            self._stream("branch", skip["branch"], shape[2], skip.get("drains"))
        else:
            block = self.data["blocks"][shape[1]]
            self.lines.append(
                f'<path class="block mini f-{block["family"]}"{self._block_data(shape[1])} '
                f'd="{shape[2]}"><title>{escape(block_tip(block))}</title></path>'
            )

    def _node(self, node: dict[str, Any], box: Placed) -> None:
        self.lines.append(
            f"<g{_attributes(class_='node', data_op=node['id'])} "
            f'transform="translate({_n(box.x)} {_n(box.y)})"><title>{escape(node_tip(node))}'
            "</title>"
        )
        if "block" in node:
            family = self.data["blocks"][node["block"]]["family"]
            self.lines.append(
                f'<rect class="block ring f-{family}"{self._block_data(node["block"])} x="-4" '
                f'y="-4" width="{_n(box.w + 8)}" height="{_n(box.h + 8)}" rx="11"/>'
            )
        self.lines.append(
            f'<rect class="op {node["kind"]}{shade(node, "rel")}" width="{_n(box.w)}" '
            f'height="{_n(box.h)}" rx="7"/>'
        )
        self._gradient_bar(node, box.h, 7)
        if "note" in node:
            self.lines.append(
                f'<rect class="raised-ring" x="3" y="3" width="{_n(box.w - 6)}" '
                f'height="{_n(box.h - 6)}" rx="5"/>'
            )
            self._text("op-text raised-text", box.w / 2, box.h / 2 - 3.5, node["label"])
            self._text("op-note", box.w / 2, box.h / 2 + 13, node["note"])
        else:
            self._text("op-text", box.w / 2, box.h / 2 + 4.2, node["label"])
        self._sign(node)
        self.lines.append("</g>")

    def _sign(self, item: dict[str, Any]) -> None:
        """A plus or minus on the box's corner."""
        if "sign" in item:
            self.lines += [f'<path class="{css}" d="{d}"/>' for css, d in sign_mark(item["sign"])]

    def _gradient_bar(self, item: dict[str, Any], h: float, r: float) -> None:
        if "g" in item:
            d = f"M6,0.5H{r}a{r - 0.5},{r - 0.5} 0 0 0 {0.5 - r},{r - 0.5}V{_n(h - r)}"
            d += f"a{r - 0.5},{r - 0.5} 0 0 0 {r - 0.5},{r - 0.5}H6Z"
            self.lines.append(f'<path class="grad grad-{item["g"]}" d="{d}"/>')

    def _edge(self, route: Route, edge: Sequence[Any]) -> None:
        part, plain, *carried = edge[5:]
        kind = self.data["skips"][part]["kind"] if part >= 0 and not plain else ""
        head, size = f"arrow-{kind}" if kind else "arrow", _ARROW
        if carried:
            amount, branch = carried
            width = width_of(amount)
            size = head_size(width)
            name = "branch" if branch else "trunk"
            shortcut = kind and branch
            head = head if shortcut else f"arrow-{name}"
            # It leaves the trunk at its side, and does not cover it.
            bent = shortcut and edge[0] == IN and len(route.points) > 3
            d = way(route.points[1:] if bent else route.points, size - 1 if route.arrow else 0)
            self._stream(f"k-{kind}" if shortcut else name, width, d, amount < 0, amount)
        else:
            css = f"skip-part k-{kind}" if kind else "edge"
            d = way(route.points, size - 1 if route.arrow else 0)
            self.lines.append(f'<path class="{css}" d="{d}"/>')
        if route.arrow:
            self.lines.append(f'<path class="{head}" d="{arrow_head(route.points, size)}"/>')

    def _stream(
        self, css: str, width: float, d: str, against: object, amount: float | None = None
    ) -> None:
        """A line as wide as the gradient it carries."""
        more = " against" if against else ""
        of = escape(stream_name(self.data))
        tip = "" if amount is None else f"<title>{units.percent(amount)} of {of}</title>"
        self.lines.append(
            f'<path class="river {css}{more}" stroke-width="{_n(width)}" d="{d}">{tip}</path>'
        )
        self._core(against, width, d)

    def _core(self, against: object, width: float, d: str) -> None:
        """What pulls against the whole is an outline."""
        if against:
            inner = _n(max(0.4, width - 2.4))
            self.lines.append(f'<path class="hollow" stroke-width="{inner}" d="{d}"/>')

    def _skip_edge(self, route: Route, k: int) -> None:
        skip = self.data["skips"][k]
        size = _ARROW + skip["width"]
        points = route.points[1:] if len(route.points) > 3 else route.points
        d = way(points, size - 1 if route.arrow else 0)
        self.lines.append(
            f'<path class="{_skip_css(skip)}"{self._skip_data(k)} d="{d}">'
            f"<title>{escape(skip_tip(skip))}</title></path>"
        )
        self._core(skip.get("against"), skip["width"], d)
        if route.arrow:
            head = arrow_head(route.points, size)
            self.lines.append(f'<path class="arrow-{skip["kind"]}" d="{head}"/>')

    def _text(self, css: str, x: float, y: float, text: str) -> None:
        self.lines.append(f'<text class="{css}" x="{_n(x)}" y="{_n(y)}">{escape(text)}</text>')

    @staticmethod
    def _legend_rows(entries: list[Row], room: float) -> list[list[Row]]:
        rows: list[list[Row]] = [[]]
        used = 0.0
        for entry in entries:
            width = entry[2]
            if rows[-1] and used + width > room:
                rows.append([])
                used = 0.0
            rows[-1].append(entry)
            used += width
        return rows

    def _legend(self, rows: list[list[Row]], top: float) -> None:
        for r, row in enumerate(rows):
            x = _MARGIN
            for shapes, text, width, swatch in row:
                y = top + 22 * r
                self.lines.append(f'<g transform="translate({_n(x)} {_n(y)})">')
                self.lines += [f'<path class="{css}" d="{d}"/>' for css, d in shapes]
                self._text("legend", swatch + 7, 11, text)
                self.lines.append("</g>")
                x += width


def _skip_css(skip: dict[str, Any]) -> str:
    return f"skip k-{skip['kind']}" + (" against" if "against" in skip else "")
