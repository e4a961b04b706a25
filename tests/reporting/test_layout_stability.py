"""Opening or closing one box moves nothing that stands before it."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import pytest

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.layout.coordinates import Layout, Placed, coordinates
from tests.reporting import geometry
from tests.reporting.layout_nets import CORPUS

DIRECTIONS = ("TB", "LR")
NAMES = ("resnet18", "vit", "densenet", "llm", "inception")


def placed(layout: Layout, item: int) -> Placed:
    found = layout.nodes[item] if item >= 0 else layout.groups[-item - 1]
    assert found is not None
    return found


def moves(
    data: dict[str, Any], one: Layout, two: Layout, group: int
) -> list[tuple[int, int, float, float]]:
    """What stands before a box, there and around the boxes around it.

    Returns:
        Of each the plan, the broken columns away from the box's own (0: above it), and
        the moves along and across the flow.
    """
    found = []
    item = -1 - group
    while True:
        p = data["groups"][-1 - item]["parent"] + 1
        plan, starts = data["plans"][p], one.kept[p].starts
        i = plan["items"].index(item)
        begins = [0, *plan["cuts"]]
        own = bisect_right(starts, i)
        for j in range(begins[bisect_right(begins, i) - 1]):
            a, b = (placed(x, plan["items"][j]) for x in (one, two))
            away = own - bisect_right(starts, j)
            dx, dy = b.x - a.x, b.y - a.y
            along, across = (dx, dy) if data["direction"] == "LR" else (dy, dx)
            found.append((p, away, along, across))
        if not p:
            return found
        item = -p


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_what_stands_before_an_opened_box_keeps_its_coordinates(name: str, direction: str) -> None:
    """Exactly so in one column; where a later one needs room at its left, it moves whole."""
    data = diagram(CORPUS[name](), RenderOptions()) | {"direction": direction}
    opened = [bool(x) for x in data["open"]["blocks"]]
    seen = 0
    for limit, exact in ((1e9, True), (0.0, False)):
        one = coordinates(data, opened, limit=limit)
        closed = [g for g, box in enumerate(one.groups) if box is not None and not box.open]
        for group in closed[:: max(1, len(closed) // 5)]:
            after = list(opened)
            after[group] = True
            two = coordinates(data, after, keep=one)
            assert two.groups[group] != one.groups[group]
            assert geometry.broken_laws(data, two) == []
            before = moves(data, one, two, group)
            seen += len(before)
            for plan, away, along, across in before:
                assert along == 0
                assert across == (0 if exact or not (plan or away == 0) else max(across, 0))
            # And closing it again gives the drawing that was there.
            back = coordinates(data, opened, keep=two)
            for a, b in zip([*one.nodes, *one.groups], [*back.nodes, *back.groups], strict=True):
                assert (a is None) == (b is None)
                if a is not None and b is not None and exact:
                    assert (b.x, b.y) == pytest.approx((a.x, a.y), abs=1e-9)
    assert seen > 10 or name == "inception"


def test_breaks_stay_where_they_are_until_somebody_asks_anew() -> None:
    data = diagram(CORPUS["resnet50"](), RenderOptions())
    opened = [bool(x) for x in data["open"]["blocks"]]
    one = coordinates(data, opened)
    assert len(one.kept[0].starts) > 1
    for group in range(len(opened)):
        if data["groups"][group]["kind"] == "block":
            opened[group] = True
    kept, anew = coordinates(data, opened, keep=one), coordinates(data, opened)
    assert kept.limit == one.limit
    for plan, how in one.kept.items():
        assert kept.kept[plan].starts == how.starts
    assert anew.kept[0].starts != one.kept[0].starts or anew.limit != one.limit
    # Far from the shape of the page, as nobody asked for it.
    assert kept.h > anew.h


def test_a_drawing_that_grows_to_the_left_says_where_it_begins() -> None:
    data = diagram(CORPUS["inception"](), RenderOptions())
    closed = [False] * len(data["groups"])
    one = coordinates(data, closed)
    assert (one.x, one.y) == (0, 0)
    two = coordinates(data, [True] * len(closed), keep=one)
    assert two.x < 0
    assert two.nodes[0] == one.nodes[0]
    assert geometry.broken_laws(data, two) == []
    assert coordinates(data, closed, keep=two).x == pytest.approx(0)
