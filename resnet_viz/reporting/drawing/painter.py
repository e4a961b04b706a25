"""Paints a layout of the diagram as SVG markup: the twin of ``paint.js``.

Both write the same elements with the same classes and data attributes in the same
order, and a test in a browser compares them. What only a live page needs (focus,
buttons, places to hit) is in ``paint.js`` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnet_viz.core import units
from resnet_viz.core.message import say
from resnet_viz.reporting.drawing.edge_marks import Fork, edge_marks, forks_of
from resnet_viz.reporting.drawing.legend import bar, ink, shade, sign_mark, stream_name
from resnet_viz.reporting.drawing.river import width_of
from resnet_viz.reporting.drawing.strokes import (
    ARROW,
    arrow_head,
    attributes,
    head_size,
    number,
    way,
)
from resnet_viz.reporting.drawing.tips import block_tip, group_tip, node_tip, skip_tip
from resnet_viz.reporting.escaping import drawn, escaped
from resnet_viz.reporting.folding.boxes import inset
from resnet_viz.reporting.layout.coordinates import Layout, Placed, Point, Route

_ALL = 0.999  # of the gradient: what carries as much is no branch


def painted(data: dict[str, Any], layout: Layout) -> str:
    """The markup of the drawing, from back to front, in the layout's coordinates."""
    return _Painter(data, layout).markup()


class _Painter:
    """Writes one drawing; ``lines`` grows from back to front."""

    def __init__(self, data: dict[str, Any], layout: Layout) -> None:
        self.data, self.layout, self.forks = data, layout, forks_of(data, layout)
        self.lines: list[str] = []

    def markup(self) -> str:
        groups, layout = self.data["groups"], self.layout
        for group, box in zip(groups, layout.groups, strict=True):
            if box is not None and box.open:
                self._open_group(group, box)
        for fork in self.forks.values():
            self._stem(fork)
        marked = []
        for route in layout.routes:
            edge = self.data["plans"][route.plan]["edges"][route.edge]
            if edge[4]:
                marked.append((route, edge))
            else:
                self._edge(route, edge)
        for route, edge in marked:
            for k in edge[4]:
                self._skip_edge(route, k)
        for group, box in zip(groups, layout.groups, strict=True):
            if box is not None and not box.open:
                self._closed_group(group, box)
        for node, box in zip(self.data["nodes"], layout.nodes, strict=True):
            if box is not None:
                self._node(node, box)
        for shape in edge_marks(self.data, layout, self.forks):
            self._shape(shape)
        return "\n".join(self.lines)

    def _open_group(self, group: dict[str, Any], box: Placed) -> None:
        unfilled = " unfilled" if "c" in group else ""
        self.lines.append(
            f"<g{_item('group', 'g', group['id'])}{attributes(data_group=group['id'])}>"
            f"{_title(group_tip(group))}{self._card_lines(group, box)}"
            f'<rect class="box open face {self._face(group)}{unfilled}"{self._block_marks(group)} '
            f'x="{number(box.x)}" y="{number(box.y)}" width="{number(box.w - inset(group))}" '
            f'height="{number(box.h - inset(group))}" rx="12"/>'
        )
        x, y = box.x + 12, box.y + 12.5
        self.lines.append(f'<path class="caret" d="M{number(x)},{number(y)}h8l-4,5.5Z"/>')
        self._text("group-title", box.x + 25, box.y + 19, group["title"])
        if "badge" in group:
            self.lines.append(f'<g transform="translate({number(box.x)} {number(box.y)})">')
            for shape in group["badge"]:
                self._shape(shape)
            self.lines.append("</g>")
        self.lines.append("</g>")

    def _closed_group(self, group: dict[str, Any], box: Placed) -> None:
        kind = "group toned" if "c" in group else "group"
        self.lines.append(
            f"<g{_item(kind, 'g', group['id'])}{attributes(data_group=group['id'])} "
            f'transform="translate({number(box.x)} {number(box.y)})">'
            f"{_title(group_tip(group))}{self._cards(group, box)}"
            f'<rect class="box face {self._face(group)}{shade(group, "relbox")}"'
            f'{self._block_marks(group)} width="{number(box.w - inset(group))}" '
            f'height="{number(box.h - inset(group))}" rx="10"/>'
        )
        self._bar(bar(group, self.data, boxed=True), box.h - inset(group), 10)
        self.lines.append('<path class="caret" d="M13,10.5v9l6,-4.5Z"/>')
        for shape in group["glyph"]:
            self._shape(shape)
        self._sign(group)
        self.lines.append("</g>")

    def _cards(self, group: dict[str, Any], box: Placed) -> str:
        """The cards behind a closed box that stands for several, the lowest first."""
        room = inset(group)
        size = f'width="{number(box.w - room)}" height="{number(box.h - room)}" rx="10"'
        return "".join(
            f'<rect class="{self._card_face(group)}" x="{number(at)}" y="{number(at)}" {size}/>'
            for at in ((room, room / 2) if room else ())
        )

    def _card_lines(self, group: dict[str, Any], box: Placed) -> str:
        """Like ``_cards`` for an open box: one sees through it, so only what stands out."""
        room = inset(group)
        return "".join(
            f'<path class="{self._card_face(group)} card-line" d="M{number(box.x + at + 6)},'
            f"{number(box.y + box.h - room + at)}H{number(box.x + box.w - room + at - 12)}"
            f'a12,12 0 0 0 12,-12V{number(box.y + at + 6)}"/>'
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
        return attributes(
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
            attributes(
                data_skip_kind=skip["kind"], data_fork=skip["fork"], data_join=skip["join"], **share
            )
            + f' stroke-width="{number(skip["width"] * scale)}"'
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
                f'd="{shape[2]}">{_title(skip_tip(skip))}</path>'
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
                f'd="{shape[2]}">{_title(block_tip(block))}</path>'
            )

    def _node(self, node: dict[str, Any], box: Placed) -> None:
        self.lines.append(
            f"<g{_item('node', 'n', node['id'])}{attributes(data_op=node['id'])} "
            f'transform="translate({number(box.x)} {number(box.y)})">{_title(node_tip(node))}'
        )
        if "block" in node:
            family = self.data["blocks"][node["block"]]["family"]
            self.lines.append(
                f'<rect class="block ring f-{family}"{self._block_data(node["block"])} x="-4" '
                f'y="-4" width="{number(box.w + 8)}" height="{number(box.h + 8)}" rx="11"/>'
            )
        self.lines.append(
            f'<rect class="op face {node["kind"]}{shade(node, "rel")}" width="{number(box.w)}" '
            f'height="{number(box.h)}" rx="7"/>'
        )
        self._bar(bar(node, self.data, boxed=False), box.h, 7)
        if "note" in node:
            self.lines.append(
                f'<rect class="raised-ring" x="3" y="3" width="{number(box.w - 6)}" '
                f'height="{number(box.h - 6)}" rx="5"/>'
            )
            self._text("op-text raised-text", box.w / 2, box.h / 2 - 3.5, node["label"])
            self._text("op-note", box.w / 2, box.h / 2 + 13, node["note"])
        else:
            written = "formula" in node and self.data["look"]["formulas"]
            text = node["formula"] if written else node["label"]
            self._text(f"op-text{ink(node)}", box.w / 2, box.h / 2 + 4.2, text)
        if "join" in node:
            at = f"translate({number(box.w - 15)} {number(box.h / 2)})"
            sign = self.data["joints"][node["join"]]
            self.lines.append(f'<path class="joint k-{node["join"]}" transform="{at}" d="{sign}"/>')
        self._sign(node)
        self.lines.append("</g>")

    def _sign(self, item: dict[str, Any]) -> None:
        """A plus or minus on the box's corner."""
        if "sign" in item:
            self.lines += [f'<path class="{css}" d="{d}"/>' for css, d in sign_mark(item["sign"])]

    def _bar(self, colour: str, h: float, r: float) -> None:
        """What was measured, as a bar at the left of a box."""
        if colour:
            q = number(r - 0.5)
            d = f"M6,0.5H{number(r)}a{q},{q} 0 0 0 -{q},{q}V{number(h - r)}"
            d += f"a{q},{q} 0 0 0 {q},{q}H6Z"
            self.lines.append(f'<path class="grad {colour}" d="{d}"/>')

    def _edge(self, route: Route, edge: Sequence[Any]) -> None:
        part, plain, *carried = edge[5:]
        kind = self.data["skips"][part]["kind"] if part >= 0 and not plain else ""
        head, size = f"arrow-{kind}" if kind else "arrow", ARROW
        if carried:
            amount, branch = carried
            width = width_of(amount)
            size = head_size(width)
            name = "branch" if branch else "trunk"
            shortcut = kind and branch
            head = head if shortcut else f"arrow-{name}"
            d = way(self._own_way(route), size - 1 if route.arrow else 0)
            self._stream(f"k-{kind}" if shortcut else name, width, d, amount < 0, amount)
        else:
            css = f"skip-part k-{kind}" if kind else "edge"
            d = way(self._own_way(route), size - 1 if route.arrow else 0)
            self.lines.append(f'<path class="{css}" d="{d}"/>')
        if route.arrow:
            self.lines.append(f'<path class="{head}" d="{arrow_head(route.points, size)}"/>')

    def _stream(
        self, css: str, width: float, d: str, against: object, amount: float | None = None
    ) -> None:
        """A line as wide as the gradient it carries."""
        more = " against" if against else ""
        share = "" if amount is None else units.percent(amount)
        tip = _title(say("{share} of {whole}", share=share, whole=stream_name(self.data)))
        self.lines.append(
            f'<path class="river {css}{more}" stroke-width="{number(width)}" d="{d}">'
            f"{tip if share else ''}</path>"
        )
        self._core(against, width, d)

    def _core(self, against: object, width: float, d: str) -> None:
        """What pulls against the whole is an outline."""
        if against:
            inner = number(max(0.4, width - 2.4))
            self.lines.append(f'<path class="hollow" stroke-width="{inner}" d="{d}"/>')

    def _stem(self, fork: Fork) -> None:
        """What the ways share before they part, once for all of them."""
        edges = [self.data["plans"][r.plan]["edges"][r.edge] for r in fork.routes]
        d = way(fork.stem)
        if all(len(edge) > 7 for edge in edges):
            whole = sum(edge[7] for edge in edges)
            css = "trunk" if whole > _ALL else "branch"
            self._stream(css, width_of(whole), d, whole < 0, whole)
        else:
            self.lines.append(f'<path class="edge" d="{d}"/>')

    def _own_way(self, route: Route) -> list[Point]:
        """The way from its fork on, where it has one."""
        source = self.data["plans"][route.plan]["edges"][route.edge][0]
        fork = self.forks.get((route.plan, source))
        if fork is None:
            return route.points
        return [fork.at, *route.points[2 if route.points[1] == fork.at else 1 :]]

    def _skip_edge(self, route: Route, k: int) -> None:
        skip = self.data["skips"][k]
        size = ARROW + skip["width"]
        d = way(self._own_way(route), size - 1 if route.arrow else 0)
        self.lines.append(
            f'<path class="{_skip_css(skip)}"{self._skip_data(k)} d="{d}">'
            f"{_title(skip_tip(skip))}</path>"
        )
        self._core(skip.get("against"), skip["width"], d)
        if route.arrow:
            head = arrow_head(route.points, size)
            self.lines.append(f'<path class="arrow-{skip["kind"]}" d="{head}"/>')

    def _text(self, css: str, x: float, y: float, text: str) -> None:
        self.lines.append(
            f'<text class="{css}" x="{number(x)}" y="{number(y)}">{drawn(text)}</text>'
        )


def _item(kind: str, letter: str, name: str) -> str:
    return attributes(class_=f"item {kind}", data_key=f"{letter}:{name}")


def _title(text: str) -> str:
    return f"<title>{escaped(text)}</title>"


def _skip_css(skip: dict[str, Any]) -> str:
    return f"skip k-{skip['kind']}" + (" against" if "against" in skip else "")
