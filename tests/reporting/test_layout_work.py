"""How much the layout works: in proportion to what is drawn, counted in lines that run."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.drawing.diagram import drawn
from resnet_viz.reporting.folding.fold import fold
from resnet_viz.reporting.layout.coordinates import coordinates
from resnet_viz.reporting.layout.grouping import Group, group_ops
from resnet_viz.reporting.layout.homes import Homes
from resnet_viz.reporting.layout.lifting import lift
from resnet_viz.reporting.layout.plan import plan_box
from tests.analysis.work import at_most, lines_of
from tests.reporting import synthetic
from tests.reporting.layout_nets import at_random, flat, inception, llm, unet

GROWING: dict[str, tuple[Callable[[int], Report], int]] = {
    "a chain": (lambda n: flat(n, every=9), 300),
    "a residual network": (lambda n: synthetic.resnet((n, n, n, n), measured=False), 6),
    "many layers with masks": (llm, 8),
    "many experts in a row": (lambda n: llm(n, experts=8), 4),
    "many experts side by side": (lambda n: llm(1, experts=n), 50),
    "parallel branches": (inception, 20),
    "long skips": (unet, 15),
    "anything": (lambda n: at_random(11, most=n), 300),
}


def planned(report: Report) -> None:
    """Boxes, pieces and plans, as ``diagram`` makes them."""
    graph, structure = report.graph, report.structure
    ops = list(graph.nodes())
    position = {str(op.id): i for i, op in enumerate(ops)}
    edges = [(position[e.src], position[e.dst]) for e in graph.edges]
    grouping = group_ops([op.module for op in ops], position, structure, edges=edges)
    groups = grouping.groups
    home = [-1] * len(ops)
    for i, box in enumerate(groups):
        for item in box.items:
            if item >= 0:
                home[item] = i
    lifted = lift(groups, grouping.root, home, edges, structure.skips, position)
    for items, local in zip([grouping.root, *(g.items for g in groups)], lifted.local, strict=True):
        boxes = {i for i, x in enumerate(items) if x < 0}
        plan_box([1.0] * len(items), local, boxes=boxes, breakable=lambda i: True)


@pytest.mark.parametrize("name", GROWING)
def test_twice_the_network_is_twice_the_work(name: str) -> None:
    make, size = GROWING[name]
    options = RenderOptions(fold_repeats=False)
    spent = []
    for n in (size, 2 * size):
        report = make(n)
        data = drawn(fold(report, options), options)
        every = [True] * len(data["groups"])
        closed = [False] * len(data["groups"])
        things = len(data["nodes"]) + len(data["groups"]) + len(report.graph.edges)
        spent.append(
            (
                things,
                lines_of(lambda r=report: planned(r)),  # type: ignore[misc]
                lines_of(lambda d=data, o=every: coordinates(d, o, limit=800)),  # type: ignore[misc]
                lines_of(lambda d=data, o=closed: coordinates(d, o, limit=800)),  # type: ignore[misc]
            )
        )
    (few, *before), (many, *then) = spent
    growth = many / few
    assert growth > 1.8
    for a, b in zip(before, then, strict=True):
        assert b <= 1.2 * growth * a + 1000
    # To find how long a column should be, so many lengths are tried, however many ops.
    with at_most(15 * then[1]):
        coordinates(data, every)


def test_what_is_closed_costs_next_to_nothing() -> None:
    options = RenderOptions(fold_repeats=False)
    data = drawn(fold(llm(12), options), options)
    closed = [False] * len(data["groups"])
    with at_most(12 * len(data["groups"]) + 3 * len(data["nodes"]) + 4000):
        coordinates(data, closed)


def boxes_of(seed: int) -> tuple[list[Group], int]:
    """Random boxes, any two nested or apart, in random order."""
    chance, count = random.Random(seed), 40
    found: list[Group] = []

    def split(low: int, high: int, depth: int) -> None:
        for _ in range(chance.choice([1, 1, 1, 2])):
            path = chance.choice(["a", "a.b", "c"])
            found.append(Group(path=path, low=low, high=high, items=[]))
        while depth and high - low > 2 and chance.random() < 0.8:
            begin = chance.randrange(low, high - 1)
            end = chance.randrange(begin + 1, high) + 1
            split(begin, end, depth - 1)
            low = end

    split(0, count, 4)
    chance.shuffle(found)
    return found, count


@given(seed=st.integers(0, 10**6))
def test_homes_are_found_as_if_all_boxes_were_looked_at(seed: int) -> None:
    groups, count = boxes_of(seed)
    chance = random.Random(seed)
    late = len(groups) // 2
    homes = Homes(groups[:late], count)
    for group in groups[late:]:
        homes.add(group)
    for group in groups:
        group.block = chance.choice([-1, -1, 0])
    for _ in range(30):
        low = chance.randrange(count - 1)
        high = chance.randrange(low + 1, count) + 1
        free = [g for g in groups if g.block < 0]
        assert homes.same(low, high) is _first(g for g in free if (g.low, g.high) == (low, high))
        cut = [g for g in groups if g.low < low < g.high < high or low < g.low < high < g.high]
        assert homes.fits(low, high) == (high - low > 1 and not cut)
        own = _first(g for g in free if g.path == "a" and g.low <= low and high <= g.high)
        enough = own is not None and high - low >= 0.6 * (own.high - own.low)
        assert homes.nearly("a", low, high) is (own if enough else None)
        inside = [g for g in free if low <= g.low and g.high <= high]
        last = max(inside, key=lambda g: (g.high, g.high - g.low), default=None)
        assert homes.last_inside([low, high - 1]) is last


def _first(found: Any) -> Group | None:
    return next(iter(found), None)
