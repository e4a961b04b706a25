"""Marks on the ways of open boxes: where a skip parts, what runs on it, which shape.

Pure geometry on a finished layout, as shapes like those of a glyph; ``marks.js`` is the
twin. At a fork stands a dot in the skip's colour; the sign of the join stands in the
join's own box.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from resnet_viz.reporting.drawing.strokes import number
from resnet_viz.reporting.layout.coordinates import Layout, Placed, Point, Route
from resnet_viz.reporting.layout.pieces import IN, OUT

Shape = list[Any]

_DOT = 3.0
_ASIDE = 8.0  # from a corner or a line to the words beside it
_TAG = 12.0  # height of the tag that holds a shape


Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fork:
    """Where skips leave others behind.

    Attributes:
        at: The point where the ways part.
        stem: What they share: from where they all start to ``at``.
        routes: All that leaves, the skips among them first met first.
        skips: Those of the skips that part here, one per way.
    """

    at: Point
    stem: tuple[Point, Point]
    routes: tuple[Route, ...]
    skips: tuple[int, ...]


def forks_of(data: dict[str, Any], layout: Layout) -> dict[Key, Fork]:
    """Per plan and source the fork behind it, where skips part from something else."""
    leaving: dict[Key, list[Route]] = {}
    for route in layout.routes if data["skips"] else ():
        edge = _edge(data, route)
        if edge[0] >= IN:
            leaving.setdefault((route.plan, edge[0]), []).append(route)
    found = {}
    for key, routes in leaving.items():
        edges = [_edge(data, route) for route in routes]
        own = [_own(edge) for edge in edges]
        skips = [mine[0] for mine in own if mine and any(_another(e, mine) for e in edges)]
        if skips:
            start = routes[0].points[0]
            at = next((r.points[1] for r in routes if len(r.points) > 3), start)
            found[key] = Fork(at, (start, at), tuple(routes), tuple(skips))
    return found


def edge_marks(data: dict[str, Any], layout: Layout, forks: dict[Key, Fork]) -> Iterator[Shape]:
    """The marks of everything that is open, in the layout's coordinates.

    Args:
        data: What ``diagram.diagram`` returns.
        layout: Its layout.
        forks: What ``forks_of`` says of them.
    """
    joined = {skip["join"]: skip for skip in reversed(data["skips"])}
    texts = [{k: told for k, *told in plan["shapes"]} for plan in data["plans"]]
    for fork in forks.values():
        widest = max(data["skips"][k]["width"] for k in fork.skips)
        kind = data["skips"][fork.skips[0]]["kind"]
        yield ["p", f"dot k-{kind}", _circle(*fork.at, max(_DOT, widest / 2 + 0.8))]
    seen: set[str] = set()
    for route in layout.routes:
        edge = _edge(data, route)
        if data["look"]["formulas"]:
            yield from _formulas(data, route, edge, joined, seen)
        if data["look"]["shapes"] and route.edge in texts[route.plan]:
            source = data["plans"][route.plan]["items"][edge[0]]
            box = layout.groups[-source - 1] if source < 0 else layout.nodes[source]
            if box is not None and not box.open:
                text, wide = texts[route.plan][route.edge]
                x, y = _behind(route.points, box, wide, leaves=edge[1] == OUT)
                d = f"M{number(x - wide / 2 + 6)},{number(y - 6)}h{number(wide - 12)}"
                d += f"a6,6 0 0 1 0,12h{number(12 - wide)}a6,6 0 0 1 0,-12Z"
                yield ["p", "shape-tag", d]
                yield ["t", "shape-text", x, y + 3.4, text]


def _formulas(
    data: dict[str, Any],
    route: Route,
    edge: Sequence[Any],
    joined: dict[str, Any],
    seen: set[str],
) -> Iterator[Shape]:
    if edge[4]:
        yield _on_shortcut(route.points, data["skips"][edge[4][0]])
    elif (
        not _own(edge)
        and edge[1] >= 0
        and (item := data["plans"][route.plan]["items"][edge[1]]) >= 0
    ):
        join = data["nodes"][item]["id"]
        if join in joined and join not in seen:
            seen.add(join)
            yield _on_branch(route.points, joined[join])


def _edge(data: dict[str, Any], route: Route) -> Sequence[Any]:
    found: Sequence[Any] = data["plans"][route.plan]["edges"][route.edge]
    return found


def _own(edge: Sequence[Any]) -> Sequence[int]:
    """The skips that an edge belongs to; none where anything else runs on it, too."""
    _, _, _, _, marks, part, plain, *_ = edge
    return marks or ([part] if part >= 0 and not plain else [])


def _another(edge: Sequence[Any], own: Sequence[int]) -> bool:
    """Whether something else than these skips runs on the edge."""
    _, _, _, _, marks, part, plain, *_ = edge
    return not any(k in own for k in marks) and not (part in own and not plain)


def _on_shortcut(points: Sequence[Point], skip: dict[str, Any]) -> Shape:
    """Over the longest level stretch of the way: at its end, but in the middle of the last."""
    words, off = skip["formula"][0], 3 + skip["width"] / 2
    spans = [abs(b[0] - a[0]) for a, b in pairwise(points)]
    k = spans.index(max(spans))
    (ax, ay), (bx, by) = points[k], points[k + 1]
    if spans[k] < 1:
        return ["t", "formula", ax + off + 2, (ay + by) / 2 + 4, words]
    if k == len(spans) - 1:
        return ["t", "formula mid", (ax + bx) / 2, by - off, words]
    right = bx > ax
    return ["t", f"formula{' end' if right else ''}", bx + (-_ASIDE if right else _ASIDE),
            by - off, words]  # fmt: skip


def _on_branch(points: Sequence[Point], skip: dict[str, Any]) -> Shape:
    """Beside the last stretch into the join."""
    (ax, ay), (bx, by) = points[-2], points[-1]
    words, off = skip["formula"][1], 5 + skip.get("branch", 1.3) / 2
    if abs(bx - ax) > abs(by - ay):
        right = bx > ax
        return ["t", f"formula{' end' if right else ''}", bx + (-11 if right else 11),
                by - off, words]  # fmt: skip
    return ["t", "formula end", bx - off - 3, by - _ASIDE if by > ay else by + 16, words]


def _behind(points: Sequence[Point], box: Placed, wide: float, *, leaves: bool) -> Point:
    """The middle of a tag right behind the source."""
    (x, y), (_, below) = points[0], points[1]
    if below > y + 0.5:
        return x, y + 1 + _TAG / 2
    if back := [(a, b) for a, b in pairwise(points) if b[0] < a[0]]:
        # Into the next row: there is no room behind the last box of one.
        (x, y), (left, _) = max(back, key=lambda ends: ends[0][0] - ends[1][0])
        return (x + left) / 2, y
    if leaves:
        # Nor is there before the wall.
        return x - wide / 2, box.y + box.h + 1 + _TAG / 2
    return x + 2 + wide / 2, y


def _circle(x: float, y: float, r: float) -> str:
    q, d = number(r), number(2 * r)
    return f"M{number(x - r)},{number(y)}a{q},{q} 0 1 0 {d},0a{q},{q} 0 1 0 -{d},0Z"
