"""Laws of a drawing, as lists of what breaks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from resnet_viz.reporting.layout import IN, OUT, Layout, Placed

_EPSILON = 1e-6


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
        return Placed(0.0, 0.0, layout.w, layout.h, True)
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


def backward(data: dict[str, Any], layout: Layout) -> Iterator[str]:
    """Edges whose end lies neither below their start nor in a column further right."""
    for route in layout.routes:
        s, t, *_ = data["plans"][route.plan]["edges"][route.edge]
        if s == IN or t == OUT:
            continue
        (x0, y0), (x1, y1) = route.points[0], route.points[-1]
        column_right = len(route.points) == 6 and route.points[2][0] > x0 and x1 > x0
        if y1 <= y0 and not column_right:
            yield f"edge {route.edge} of plan {route.plan}"


def through_boxes(data: dict[str, Any], layout: Layout) -> Iterator[str]:
    """Edges that run through a box which is neither their start nor their end."""
    for route in layout.routes:
        plan = data["plans"][route.plan]
        s, t, *_ = plan["edges"][route.edge]
        for i, (name, b) in enumerate(boxes(data, layout, route.plan)):
            if i in (s, t):
                continue
            for (x0, y0), (x1, y1) in zip(route.points, route.points[1:], strict=False):
                if (
                    max(x0, x1) > b.x + 0.5
                    and min(x0, x1) < b.x + b.w - 0.5
                    and max(y0, y1) > b.y + 0.5
                    and min(y0, y1) < b.y + b.h - 0.5
                ):
                    yield f"edge {route.edge} of plan {route.plan} through {name}"
                    break
