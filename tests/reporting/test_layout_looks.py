"""What makes a drawing good to look at, and what an early one did wrong: each once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.layout.coordinates import Layout, Placed, coordinates
from resnet_viz.reporting.layout.pieces import IN, LANE, LEFT, PORT, RIGHT
from tests.reporting import geometry, synthetic
from tests.reporting.layout_nets import CORPUS, flat, inception, llm, two_inputs
from tests.reporting.synthetic import Net

ENDLESS = 1e9


def drawn(report: Any, *, limit: float = ENDLESS, **more: Any) -> tuple[dict[str, Any], Layout]:
    """A drawing with everything open."""
    data = diagram(report, RenderOptions()) | more
    return data, coordinates(data, [True] * len(data["groups"]), limit=limit)


def plan_of(data: dict[str, Any], group: str) -> tuple[int, dict[str, Any]]:
    p = next(i for i, g in enumerate(data["groups"], 1) if g["id"] == group)
    return p, data["plans"][p]


def names(data: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    return [
        data["nodes"][i]["id"] if i >= 0 else data["groups"][-i - 1]["id"] for i in plan["items"]
    ]


def column(data: dict[str, Any], layout: Layout, p: int, col: int) -> list[Placed]:
    plan = data["plans"][p]
    inside = geometry.boxes(data, layout, p)
    return [inside[i][1] for i in plan["order"] if i < len(inside) and plan["col"][i] == col]


@pytest.mark.parametrize("direction", ["TB", "LR"])
def test_a_tall_branch_beside_the_main_path_does_not_stretch_it(direction: str) -> None:
    data, layout = drawn(synthetic.resnet50(), direction=direction)
    p, plan = plan_of(data, "layer2.0")
    assert set(plan["col"]) == {0, 1}
    main = column(data, layout, p, 0)
    assert len(main) == 10
    for a, b in pairwise(main):
        gap = b.x - a.x - a.w if direction == "LR" else b.y - a.y - a.h
        assert gap == pytest.approx(data["metrics"]["gapY"])


def test_a_wide_thing_far_away_does_not_push_a_branch_aside() -> None:
    net = Net("far", (1, 8, 4, 4))
    left, right = (net.relu("box.a", net.x), net.conv("box.b", net.x, 8, 1))
    y = net.op("add", "box", net.relu("box", left), right)
    for _ in range(3):
        y = net.relu("box", y)
    wide = [net.op("a_constant_with_a_long_name", "box", shape=(1, 8, 4, 4)) for _ in "ab"]
    y = net.op("mul", "box", y, *wide)
    data, layout = drawn(net.report(net.relu("", y), measured=False))
    plan = data["plans"][1]
    assert names(data, plan)[2].startswith("box")
    main, side = column(data, layout, 1, 0), column(data, layout, 1, 1)
    near = min(side, key=lambda b: b.y)
    edge = max(b.x + b.w for b in main)
    assert near.x - edge == pytest.approx(data["metrics"]["gapX"])
    # In one column with it, this would have pushed the branch farther out.
    far = max(side, key=lambda b: b.w)
    assert far.w > near.w + 20
    assert far.x < near.x + near.w / 2 < far.x + far.w / 2


def test_a_constant_stands_beside_its_first_use() -> None:
    data, layout = drawn(two_inputs())
    for box in ("box0", "box1"):
        p, plan = plan_of(data, box)
        places = dict(geometry.boxes(data, layout, p))
        constant, use = (places[f"{box}/{kind}#0"] for kind in ("ones", "mul"))
        assert abs(constant.y - use.y) <= use.h + 2 * data["metrics"]["gapY"]
        assert plan["col"][names(data, plan).index(f"{box}/ones#0")] != 0


def test_broken_columns_are_about_equally_long() -> None:
    """No dead space under a short one, as far as the parts allow."""
    data, layout = drawn(flat(60), limit=700)
    starts = layout.kept[0].starts
    places = [b for _, b in geometry.boxes(data, layout, 0)]
    assert len(starts) > 3
    ends = [
        max(b.y + b.h for b in places[a:z])
        for a, z in zip(starts, [*starts[1:], len(places)], strict=True)
    ]
    step = places[1].y - places[0].y
    assert max(ends[:-1]) - min(ends[:-1]) <= step
    assert max(ends) - ends[-1] <= len(ends) * step


def test_beside_what_cannot_be_broken_nothing_short_gets_a_column_of_its_own() -> None:
    data = diagram(synthetic.densenet((12,)), RenderOptions())
    opened = [g["kind"] != "block" for g in data["groups"]]
    layout = coordinates(data, opened, aspect=3.0)
    for p in geometry.drawn_plans(layout):
        places, starts = [b for _, b in geometry.boxes(data, layout, p)], layout.kept[p].starts
        for a, z in zip(starts, [*starts[1:], len(places)], strict=True):
            length = max(b.y + b.h for b in places[a:z]) - min(b.y for b in places[a:z])
            assert len(starts) == 1 or length > 0.12 * layout.h


@pytest.mark.parametrize("name", ["resnet50", "se_resnet50", "vit", "densenet"])
def test_skips_stay_inside_their_block(name: str) -> None:
    data, layout = drawn(CORPUS[name]())
    homes = {b["join"]: b["group"] for b in data["blocks"] if b["group"] >= 0}
    seen = 0
    for route in layout.routes:
        for k in data["plans"][route.plan]["edges"][route.edge][4]:
            skip = data["skips"][k]
            home = homes.get(skip["join"])
            if home is None or skip["kind"] == "concat":
                continue
            seen += 1
            box = layout.groups[home]
            assert box is not None
            for x, y in route.points:
                assert box.x <= x <= box.x + box.w
                assert box.y <= y <= box.y + box.h
    assert seen or name == "densenet"


def test_the_heaviest_path_is_column_0_and_the_others_stand_beside_it() -> None:
    data, _ = drawn(inception())
    _, plan = plan_of(data, "cell0")
    columns = dict(zip(names(data, plan), plan["col"], strict=True))
    assert columns["cell0.branch3"] == 0
    assert len({columns[f"cell0.{b}"] for b in ("branch2", "branch3", "branch4")}) == 3
    assert columns["cell0/cat#0"] == 0


def test_masks_and_rotary_tables_are_one_bus_that_enters_from_the_side() -> None:
    """The main input alone comes in at the top; who reads what can be followed."""
    data, layout = drawn(llm(layers=5))
    _, layers = plan_of(data, "model.layers")
    bus = [e for e in layers["edges"] if e[0] in (LEFT, RIGHT)]
    assert {e[1] for e in bus} == set(range(5))
    assert {e[2] for e in bus} == {LANE + PORT}
    assert len({e[3] for e in bus}) == 1
    for i in range(5):
        p, plan = plan_of(data, f"model.layers.{i}")
        walls = [e[0] for e in plan["edges"] if e[0] < 0 and e[0] != -2]
        assert walls.count(IN) >= 1
        assert set(walls) - {IN} <= {LEFT, RIGHT}
        assert len(set(walls)) == 2
        box = layout.groups[p - 1]
        assert box is not None
        for route in layout.routes:
            if route.plan == p and plan["edges"][route.edge][0] in (LEFT, RIGHT):
                x, y = route.points[0]
                assert x in (pytest.approx(box.x), pytest.approx(box.x + box.w))
                assert box.y + 20 < y < box.y + 40


def test_a_dense_block_has_one_trunk() -> None:
    data, _ = drawn(synthetic.densenet((6,)))
    _, plan = plan_of(data, "features.denseblock1")
    trunk = [e for e in plan["edges"] if e[2] % PORT == LANE]
    assert len(trunk) > 10
    assert {e[3] for e in trunk} == {-1}
    # A layer that is open gets the newest part at its top and the others at its side.
    _, layer = plan_of(data, "features.denseblock1.denselayer4")
    assert {e[0] for e in layer["edges"] if e[0] < 0} >= {IN, LEFT}


def test_a_box_without_a_second_input_has_no_entrance_at_its_side() -> None:
    data, _ = drawn(synthetic.resnet50())
    assert not any(plan["ports"] for plan in data["plans"])
    assert not any(e[2] >= PORT or e[0] < IN - 1 for p in data["plans"] for e in p["edges"])
