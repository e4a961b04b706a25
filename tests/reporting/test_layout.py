"""Laws of the layout: on every known shape of network, and on graphs nobody would build."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.diagram import diagram
from resnet_viz.reporting.layout import coordinates
from tests.reporting import geometry, synthetic

LAYOUT_JS = Path(__file__).parents[2] / "templates" / "assets" / "layout.js"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no node; the browser test covers it")


def openings(data: dict[str, Any], seed: int, count: int) -> list[list[bool]]:
    """The three collapse modes, then boxes opened at random."""
    chance = random.Random(seed)
    known = [[bool(x) for x in mode] for mode in data["open"].values()]
    return known + [[chance.random() < 0.6 for _ in data["groups"]] for _ in range(count)]


@pytest.mark.parametrize("name", synthetic.ALL)
def test_a_drawing_keeps_the_laws_whatever_is_open(name: str) -> None:
    data = diagram(synthetic.ALL[name](), RenderOptions())
    for opened in openings(data, seed=7, count=5):
        layout = coordinates(data, opened)
        assert not list(geometry.overlaps(data, layout))
        assert not list(geometry.outside(data, layout))
        assert not list(geometry.backward(data, layout))
        assert not list(geometry.through_boxes(data, layout))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), aspect=st.sampled_from([0.3, 1.0, 3.0]))
def test_any_graph_is_drawn_without_overlap_and_forward(seed: int, aspect: float) -> None:
    data = diagram(random_report(seed), RenderOptions())
    for opened in openings(data, seed, count=2):
        layout = coordinates(data, opened, aspect=aspect)
        assert not list(geometry.overlaps(data, layout))
        assert not list(geometry.outside(data, layout))
        assert not list(geometry.backward(data, layout))


def random_report(seed: int) -> Any:
    """Ops with random sources in modules that are entered and left at random."""
    chance = random.Random(seed)
    net = synthetic.Net("random", (1, 8, 4, 4))
    ids, module = [net.x], ""
    for _ in range(chance.randint(1, 40)):
        if chance.random() < 0.3:
            module = chance.choice(["", "a", "a.b", "a.c", "d", "d.e.f", "a.b.g"])
        near = [
            ids[-1 - min(len(ids) - 1, int(chance.expovariate(0.5)))]
            for _ in range(chance.choice([0, 1, 1, 1, 1, 2, 2, 3]))
        ]
        kind = chance.choice(["relu", "add", "cat", "conv2d"])
        ids.append(net.op(kind, module, *dict.fromkeys(near), shape=(1, 8, 4, 4)))
    return net.report(ids[-1], chance.choice(ids))


def test_every_edge_of_the_graph_is_drawn_as_an_unbroken_way() -> None:
    """Following the pieces from any op leads to exactly the ops that read it."""
    report = synthetic.se_resnet50()
    data = diagram(report, RenderOptions())
    ends: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for p, plan in enumerate(data["plans"]):
        for s, t, *_ in plan["edges"]:
            ends.setdefault((p, s), []).append((p, t))

    def follow(plan: int, item: int) -> set[int]:
        found: set[int] = set()
        for p, t in ends.get((plan, item), []):
            if t == -2:
                parent = data["groups"][p - 1]["parent"] + 1
                found |= follow(parent, data["plans"][parent]["items"].index(-p))
            elif (inner := data["plans"][p]["items"][t]) >= 0:
                found.add(inner)
            else:
                found |= follow(-inner, -1)
        return found

    place = {node["id"]: i for i, node in enumerate(data["nodes"])}
    for p, plan in enumerate(data["plans"]):
        for i, item in enumerate(plan["items"]):
            if item >= 0 and data["nodes"][item]["id"] in report.graph:
                readers = {place[e.dst] for e in report.graph.edges_out(data["nodes"][item]["id"])}
                reached = {
                    n for n in follow(p, i) if not data["nodes"][n]["id"].startswith("output")
                }
                assert readers <= reached


@needs_node
@pytest.mark.parametrize("name", synthetic.ALL)
def test_python_and_javascript_agree(name: str) -> None:
    data = diagram(synthetic.ALL[name](), RenderOptions())
    cases = [
        {"opened": opened, "aspect": aspect}
        for opened in openings(data, seed=3, count=2)
        for aspect in (0.6, 1.6)
    ]
    script = (
        f"require({json.dumps(str(LAYOUT_JS))});"
        "const {data, cases} = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        "const drawn = cases.map(c => RV.layout(data, c.opened, {aspect: c.aspect}));"
        "console.log(JSON.stringify(drawn));"
    )
    assert NODE is not None
    run = subprocess.run(
        [NODE, "-e", script],
        input=json.dumps({"data": data, "cases": cases}),
        capture_output=True,
        text=True,
        check=True,
    )
    for case, theirs in zip(cases, json.loads(run.stdout), strict=True):
        ours = coordinates(data, case["opened"], aspect=case["aspect"])
        assert theirs["w"] == pytest.approx(ours.w, abs=1e-6)
        assert theirs["h"] == pytest.approx(ours.h, abs=1e-6)
        for mine, other in zip(
            [*ours.nodes, *ours.groups], [*theirs["nodes"], *theirs["groups"]], strict=True
        ):
            assert (mine is None) == (other is None)
            if mine is not None:
                place = [mine.x, mine.y, mine.w, mine.h]
                assert [other[k] for k in "xywh"] == pytest.approx(place, abs=1e-6)
        assert len(ours.routes) == len(theirs["routes"])
        for route, other in zip(ours.routes, theirs["routes"], strict=True):
            assert (route.plan, route.edge, route.arrow) == (
                other["plan"], other["edge"], other["arrow"]
            )  # fmt: skip
            mine_flat = [v for point in route.points for v in point]
            assert [v for p in other["points"] for v in p] == pytest.approx(mine_flat, abs=1e-6)


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


def test_a_wide_page_gets_more_columns_than_a_tall_one() -> None:
    data = diagram(synthetic.resnet50(), RenderOptions())
    opened = [bool(x) for x in data["open"]["blocks"]]
    wide, tall = (coordinates(data, opened, aspect=a) for a in (2.5, 0.4))
    assert wide.w / wide.h > 1.5
    assert tall.w / tall.h < 0.8
