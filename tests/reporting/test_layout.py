"""Laws of the layout: on every known shape of network, and on graphs nobody would build."""

from __future__ import annotations

import random
import sys
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.layout.coordinates import Layout, coordinates
from tests.reporting import geometry, synthetic
from tests.reporting.layout_nets import CORPUS, at_random, inception, llm

DIRECTIONS = ("TB", "LR")


@cache
def drawing(name: str) -> dict[str, Any]:
    return diagram(CORPUS[name](), RenderOptions())


def openings(data: dict[str, Any], seed: int, count: int) -> list[list[bool]]:
    """The three collapse modes, then boxes opened at random."""
    chance = random.Random(seed)
    known = [[bool(x) for x in mode] for mode in data["open"].values()]
    return known + [[chance.random() < 0.6 for _ in data["groups"]] for _ in range(count)]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", CORPUS)
def test_a_drawing_keeps_the_laws_whatever_is_open(name: str, direction: str) -> None:
    data = drawing(name) | {"direction": direction}
    for opened in openings(data, seed=7, count=2):
        assert geometry.broken_laws(data, coordinates(data, opened)) == []


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), aspect=st.sampled_from([0.3, 1.0, 3.0]))
def test_any_graph_is_drawn_by_the_laws(seed: int, aspect: float) -> None:
    data = diagram(at_random(seed), RenderOptions())
    data["direction"] = DIRECTIONS[seed % 2]
    # Whatever the distances are.
    data["metrics"] = data["metrics"] | {"gapY": (20.0, 34.0)[seed // 2 % 2]}
    for opened in openings(data, seed, count=1):
        assert geometry.broken_laws(data, coordinates(data, opened, aspect=aspect)) == []


def test_the_laws_see_what_breaks_them() -> None:
    """Each law complains of a drawing that was right until somebody moved something."""
    data = drawing("resnet18") | {"direction": "TB"}
    opened = [True] * len(data["groups"])

    def complaints(spoil: Any) -> set[str]:
        layout = coordinates(data, opened, limit=1e9)
        spoil(layout)
        return {case.partition(":")[0] for case in geometry.broken_laws(data, layout)}

    def shifted(dx: float, dy: float) -> Any:
        def spoil(layout: Layout) -> None:
            node = layout.nodes[3]
            assert node is not None
            node.x, node.y = node.x + dx, node.y + dy

        return spoil

    def lane(move: float) -> Any:
        def spoil(layout: Layout) -> None:
            route = next(r for r in layout.routes if len(r.points) == 5)
            route.points[2:4] = [(x + move, y) for x, y in route.points[2:4]]

        return spoil

    def shrink(layout: Layout) -> None:
        node = layout.nodes[3]
        assert node is not None
        node.w = 10.0

    def back(layout: Layout) -> None:
        layout.routes[0].points.reverse()

    def above(layout: Layout) -> None:
        route = next(r for r in layout.routes if len(r.points) == 5)
        (x, y), end = route.points[-2], route.points[-1]
        route.points[-2:] = [(x, y - 12), (end[0] - 20, y - 12), (end[0] - 20, y)]

    assert complaints(lambda layout: None) == set()
    assert "overlaps" in complaints(shifted(0, 30))
    assert "outside" in complaints(shifted(-900, 0))
    assert "outside" in complaints(lane(300))
    assert "through_boxes" in complaints(lane(-80))
    assert "too_small" in complaints(shrink)
    assert "backward" in complaints(back)
    assert "not_from_the_side" in complaints(above)


def test_every_edge_of_the_graph_is_drawn_as_an_unbroken_way() -> None:
    """Following the pieces from any op leads to exactly the ops that read it."""
    for report in (synthetic.se_resnet50(), llm(), inception()):
        data = diagram(report, RenderOptions())
        ends: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        for p, plan in enumerate(data["plans"]):
            for s, t, code, lane, *_ in plan["edges"]:
                ends.setdefault((p, s), []).append((p, t, _wall(plan, s, t, code, lane)))
        place = {node["id"]: i for i, node in enumerate(data["nodes"])}
        for p, plan in enumerate(data["plans"]):
            for i, item in enumerate(plan["items"]):
                if item >= 0 and data["nodes"][item]["id"] in report.graph:
                    edges = report.graph.edges_out(data["nodes"][item]["id"])
                    readers = {place[e.dst] for e in edges}
                    found = _followed(data, ends, p, i)
                    reached = {n for n in found if not data["nodes"][n]["id"].startswith("output")}
                    assert readers <= reached


def _wall(plan: dict[str, Any], s: int, t: int, code: int, lane: int) -> int:
    """The end inside a box at which an edge into it goes on."""
    if code < 4:
        return -1
    right = lane > 0 or (not lane and s >= 0 and plan["col"][s] > plan["col"][t])
    return -4 if right else -3


def _followed(
    data: dict[str, Any], ends: dict[tuple[int, int], list[tuple[int, int, int]]], p: int, s: int
) -> set[int]:
    found: set[int] = set()
    for plan, t, wall in ends.get((p, s), []):
        if t == -2:
            parent = data["groups"][plan - 1]["parent"] + 1
            found |= _followed(data, ends, parent, data["plans"][parent]["items"].index(-plan))
        elif (inner := data["plans"][plan]["items"][t]) >= 0:
            found.add(inner)
        else:
            found |= _followed(data, ends, -inner, wall)
    return found


def test_the_same_input_gives_the_same_numbers_whatever_the_ops_are_called() -> None:
    report = CORPUS["llm"]()
    data = diagram(report, RenderOptions())
    again = diagram(CORPUS["llm"](), RenderOptions())
    assert data == again
    for node in again["nodes"]:
        node["id"] = f"zz{hash(node['id'])}"
    for group in again["groups"]:
        group["id"] = f"yy{hash(group['id'])}"
    for opened in openings(data, seed=5, count=1):
        assert coordinates(data, opened) == coordinates(again, opened)


def test_very_deep_networks_need_no_recursion() -> None:
    report = synthetic.resnet(
        (200, 200, 200), bottleneck=False, widths=(16, 32, 64), measured=False
    )
    limit = sys.getrecursionlimit()
    try:
        # Enough for the test runner; far below the depth or the length of the network.
        sys.setrecursionlimit(300)
        data = diagram(report, RenderOptions())
        for mode in data["open"].values():
            layout = coordinates(data, [bool(x) for x in mode])
            assert layout.w > 0
    finally:
        sys.setrecursionlimit(limit)
    assert sum(g["kind"] == "block" for g in data["groups"]) == 600


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_wide_page_gets_a_wider_drawing_than_a_tall_one(direction: str) -> None:
    data = drawing("resnet50") | {"direction": direction}
    opened = [bool(x) for x in data["open"]["blocks"]]
    wide, tall = (coordinates(data, opened, aspect=a) for a in (2.5, 0.4))
    assert wide.w / wide.h > 1.4
    assert tall.w / tall.h < 0.9


def test_from_left_to_right_boxes_keep_their_size_and_titles_their_place() -> None:
    data = drawing("resnet18")
    opened = [bool(x) for x in data["open"]["blocks"]]
    down = coordinates(data | {"direction": "TB"}, opened, limit=1e9)
    right = coordinates(data | {"direction": "LR"}, opened, limit=1e9)
    assert right.w > 4 * right.h
    assert down.h > 2 * down.w
    for a, b in zip([*down.nodes, *down.groups], [*right.nodes, *right.groups], strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None and not a.open:
            assert (a.w, a.h) == (b.w, b.h)
    straight = [r for r in right.routes if len(r.points) == 2]
    assert len(straight) > 10
    for route in straight:
        (x0, y0), (x1, y1) = route.points
        assert (y0, x0 < x1) == (pytest.approx(y1), True)
    for plan, placed in enumerate(right.groups, 1):
        if placed is not None and placed.open:
            inside = geometry.boxes(data, right, plan)
            assert min(b.y for _, b in inside) >= placed.y + data["metrics"]["head"]
