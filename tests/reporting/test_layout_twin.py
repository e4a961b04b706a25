"""``layout/coordinates.py`` and ``layout.js`` give equal numbers."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.layout.coordinates import Layout, coordinates
from tests.reporting.layout_nets import CORPUS, at_random

LAYOUT_JS = Path(__file__).parents[2] / "templates" / "assets" / "layout.js"
NODE = shutil.which("node")
SCRIPT = f"""
require({json.dumps(str(LAYOUT_JS))});
const {{data, cases}} = JSON.parse(require('fs').readFileSync(0, 'utf8'));
console.log(JSON.stringify(cases.map(({{first, opened, aspect, direction}}) => {{
  const turned = {{...data, direction}};
  const one = RV.layout(turned, first, {{aspect}});
  return [one, RV.layout(turned, opened, {{aspect, keep: one}})];
}})));
"""

pytestmark = pytest.mark.skipif(NODE is None, reason="no node; the browser test covers it")


def run(data: dict[str, Any], cases: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    assert NODE is not None
    done = subprocess.run(
        [NODE, "-e", SCRIPT],
        input=json.dumps({"data": data, "cases": cases}),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[list[dict[str, Any]]] = json.loads(done.stdout)
    return found


def numbers(layout: Layout) -> list[float | int | None]:
    """All of a layout in a row."""
    found: list[float | int | None] = [layout.x, layout.y, layout.w, layout.h, layout.limit]
    for placed in (*layout.nodes, *layout.groups):
        found += [None] if placed is None else [placed.x, placed.y, placed.w, placed.h]
    for route in layout.routes:
        found += [route.plan, route.edge, int(route.arrow)]
        found += [v for point in route.points for v in point]
    for plan, kept in layout.kept.items():
        found += [plan, *kept.starts, *kept.middles]
    return found


def their_numbers(layout: dict[str, Any]) -> list[float | int | None]:
    found = [layout[k] for k in ("x", "y", "w", "h", "limit")]
    for placed in (*layout["nodes"], *layout["groups"]):
        found += [None] if placed is None else [placed[k] for k in "xywh"]
    for route in layout["routes"]:
        found += [route["plan"], route["edge"], int(route["arrow"])]
        found += [v for point in route["points"] for v in point]
    for plan, kept in sorted((int(p), kept) for p, kept in layout["kept"].items()):
        found += [plan, *kept["starts"], *kept["middles"]]
    return found


@pytest.mark.parametrize("name", [*CORPUS, "random"])
def test_python_and_javascript_agree(name: str) -> None:
    report = at_random(2, most=80) if name == "random" else CORPUS[name]()
    data = diagram(report, RenderOptions())
    chance = random.Random(3)
    modes = [[bool(x) for x in mode] for mode in data["open"].values()]
    modes.append([chance.random() < 0.6 for _ in data["groups"]])
    cases = [
        {"first": first, "opened": opened, "aspect": aspect, "direction": direction}
        for first, opened in zip(modes, modes[1:] + modes[:1], strict=True)
        for aspect, direction in ((1.6, "TB"), (0.6, "LR"))
    ]
    for case, theirs in zip(cases, run(data, cases), strict=True):
        turned = data | {"direction": case["direction"]}
        one = coordinates(turned, case["first"], aspect=case["aspect"])
        two = coordinates(turned, case["opened"], aspect=case["aspect"], keep=one)
        for ours, other in zip((one, two), theirs, strict=True):
            # JSON turns 1e9 and 1000000000.0 into the same.
            mine, yours = numbers(ours), their_numbers(other)
            assert len(mine) == len(yours)
            assert [v is None for v in mine] == [v is None for v in yours]
            assert [v or 0 for v in yours] == pytest.approx([v or 0 for v in mine], abs=1e-6)
