"""Laws of a drawing, as lists of what breaks them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from resnet_viz.reporting.fonts import text_width
from resnet_viz.reporting.layout.coordinates import Layout, Placed, Route
from resnet_viz.reporting.layout.pieces import LANE, OUT, PORT

_EPSILON = 1e-6
_TEXT = 12.0


def broken_laws(data: dict[str, Any], layout: Layout) -> list[str]:
    """Every law that the drawing breaks, and where."""
    laws = (
        overlaps,
        outside,
        backward,
        through_boxes,
        through_titles,
        not_from_the_side,
        too_small,
        confused,
    )
    return [f"{law.__name__}: {case}" for law in laws for case in law(data, layout)]


def boxes(data: dict[str, Any], layout: Layout, plan: int) -> list[tuple[str, Placed]]:
    """Name and place of what is drawn right inside one box."""
    found = []
    for item in data["plans"][plan]["items"]:
        place = layout.nodes[item] if item >= 0 else layout.groups[-item - 1]
        assert place is not None
        name = data["nodes"][item]["id"] if item >= 0 else data["groups"][-item - 1]["id"]
        found.append((name, place))
    return found


def drawn_plans(layout: Layout) -> list[int]:
    """The drawing itself and every open box."""
    return [0, *(i + 1 for i, g in enumerate(layout.groups) if g is not None and g.open)]


def flow(data: dict[str, Any], route: Route) -> list[tuple[float, float]]:
    """The points of a route as (across, along the flow)."""
    turned = data.get("direction") == "LR"
    return [(y, x) if turned else (x, y) for x, y in route.points]


def overlaps(data: dict[str, Any], layout: Layout) -> Iterator[str]:
    """Pairs of neighbours that share some of their area."""
    for plan in drawn_plans(layout):
        inside = boxes(data, layout, plan)
        for i, (name, a) in enumerate(inside):
            for other, b in inside[i + 1 :]:
                apart = (
                    a.x + a.w <= b.x + _EPSILON
                    or b.x + b.w <= a.x + _EPSILON
                    or a.y + a.h <= b.y + _EPSILON
                    or b.y + b.h <= a.y + _EPSILON
                )
                if not apart:
                    yield f"{name} and {other}"


def _frame(layout: Layout, plan: int) -> Placed:
    if plan == 0:
        return Placed(layout.x, layout.y, layout.w, layout.h, True)
    frame = layout.groups[plan - 1]
    assert frame is not None
    return frame


def outside(data: dict[str, Any], layout: Layout) -> Iterator[str]:
    """Boxes and lanes that leave the box around them."""
    for plan in drawn_plans(layout):
        frame = _frame(layout, plan)
        for name, b in boxes(data, layout, plan):
            if (
                b.x < frame.x
                or b.y < frame.y
                or b.x + b.w > frame.x + frame.w
                or b.y + b.h > frame.y + frame.h
            ):
                yield name
    for route in layout.routes:
        frame = _frame(layout, route.plan)
        for x, y in route.points:
            if not (
                frame.x - _EPSILON <= x <= frame.x + frame.w + _EPSILON
                and frame.y - _EPSILON <= y <= frame.y + frame.h + _EPSILON
            ):
                yield f"edge {route.edge} of plan {route.plan} at {x:.0f},{y:.0f}"


def hops(data: dict[str, Any], layout: Layout, route: Route) -> bool:
    """Whether the edge leads from one broken column to the next."""
    s, t, code, *_ = data["plans"][route.plan]["edges"][route.edge]
    if code or s < 0 or t < 0 or len(route.points) != 6:
        return False
    starts = layout.kept[route.plan].starts
    return any(s < start <= t for start in starts)


def backward(data: dict[str, Any], layout: Layout) -> Iterator[str]:
    """Stretches against the flow, but for the way to the next broken column."""
    for route in layout.routes:
        points = flow(data, route)
        for k, ((x0, y0), (x1, y1)) in enumerate(pairwise(points)):
            if abs(x0 - x1) > _EPSILON and abs(y0 - y1) > _EPSILON:
                yield f"edge {route.edge} of plan {route.plan} is aslant"
            if y1 < y0 - _EPSILON and not (k == 2 and hops(data, layout, route)):
                yield f"edge {route.edge} of plan {route.plan} runs back"


def _crosses(
    a: tuple[float, float], b: tuple[float, float], x: float, y: float, w: float, h: float
) -> bool:
    return (
        max(a[0], b[0]) > x + 0.5
        and min(a[0], b[0]) < x + w - 0.5
        and max(a[1], b[1]) > y + 0.5
        and min(a[1], b[1]) < y + h - 0.5
    )


def _stretches(route: Route) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    yield from pairwise(route.points)


def through_boxes(data: dict[str, Any], layout: Layout) -> Iterator[str]:
    """Edges that run through any box, their own ends too."""
    inside = {plan: boxes(data, layout, plan) for plan in drawn_plans(layout)}
    for route in layout.routes:
        for name, b in inside[route.plan]:
            if any(_crosses(p, q, b.x, b.y, b.w, b.h) for p, q in _stretches(route)):
                yield f"edge {route.edge} of plan {route.plan} through {name}"


def through_titles(data: dict[str, Any], layout: Layout) -> Iterator[str]:
    """Edges that run through the title of an open box."""
    ways: dict[int, list[Route]] = {}
    for route in layout.routes:
        ways.setdefault(route.plan, []).append(route)
    for i, (group, box) in enumerate(zip(data["groups"], layout.groups, strict=True)):
        if box is None or not box.open:
            continue
        x, y, w, h = box.x + 12, box.y + 6, group["tw"] - 5, 17.0
        for route in ways.get(i + 1, []):
            if any(_crosses(p, q, x, y, w, h) for p, q in _stretches(route)):
                yield f"edge {route.edge} through the title of {group['id']}"
        for name, b in boxes(data, layout, i + 1):
            if b.x < x + w and b.x + b.w > x and b.y < y + h and b.y + b.h > y:
                yield f"{name} on the title of {group['id']}"


def not_from_the_side(data: dict[str, Any], layout: Layout) -> Iterator[str]:
    """Skips that go around something and do not enter what they end at from its side."""
    for route in layout.routes:
        _, t, code, _, skips, *_ = data["plans"][route.plan]["edges"][route.edge]
        if code % PORT != LANE or not skips or t == OUT:
            continue
        (_, y0), (_, y1) = flow(data, route)[-2:]
        if abs(y0 - y1) > _EPSILON and (route.arrow or code >= PORT):
            yield f"skip {skips} by edge {route.edge} of plan {route.plan}"


def too_small(data: dict[str, Any], layout: Layout) -> Iterator[str]:
    """Boxes whose label or title does not fit into them."""
    for node, box in zip(data["nodes"], layout.nodes, strict=True):
        if box is not None and text_width(node["label"], _TEXT) > box.w - 4:
            yield node["id"]
    for group, box in zip(data["groups"], layout.groups, strict=True):
        if box is not None and box.open and group["tw"] + 7 > box.w:
            yield f"title of {group['id']}"


def confused(data: dict[str, Any], layout: Layout) -> Iterator[str]:
    """Stretches that two edges share which have neither source, end nor bus in common."""
    along: dict[tuple[int, int, float], list[tuple[float, float, int]]] = {}
    for route in layout.routes:
        points = flow(data, route)
        for k, (a, b) in enumerate(pairwise(points)):
            axis = int(abs(a[0] - b[0]) < _EPSILON)
            low, high = sorted((a[axis], b[axis]))
            if high - low > 0.5 and not (k == 2 and hops(data, layout, route)):
                key = route.plan, axis, round(a[1 - axis], 1)
                along.setdefault(key, []).append((low, high, route.edge))
    for (plan, _, _), runs in along.items():
        runs.sort()
        edges = data["plans"][plan]["edges"]
        for i, (_, high, one) in enumerate(runs):
            for low, end, other in runs[i + 1 :]:
                if low >= high - 0.5:
                    break
                a, b = edges[one], edges[other]
                bus = a[3] == b[3] != 0
                if min(end, high) - low > 0.5 and a[0] != b[0] and a[1] != b[1] and not bus:
                    yield f"edges {one} and {other} of plan {plan}"
