"""The points of figures and the diagram light each other up, by the id of the op."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting import render
from tests.browser.conftest import Opened
from tests.reporting import laboratory, synthetic

pytestmark = pytest.mark.browser

POINT = """([selector, op]) => [...document.querySelectorAll(selector)]
.find(node => node.dataset.op === op)
.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}))"""


def test_a_point_of_the_chain_lights_its_op_and_the_other_way(
    open_page: Callable[..., Opened],
) -> None:
    report = laboratory.equipped(synthetic.resnet())
    flow = report.gradient_flow
    assert flow is not None
    assert flow.chain
    hostile = replace(flow.chain[0], end=type(flow.chain[0].end)('"><b>x'))
    links = (hostile, *flow.chain[1:])
    others = tuple(m for m in report.measurements if m is not flow)
    report = replace(report, measurements=(replace(flow, chain=links), *others))
    opened = open_page(render(report, "html", RenderOptions(collapse="none")))
    page = opened.page
    points = "#figure-chain svg.wide g[data-op]"
    ops = page.eval_on_selector_all(points, "found => found.map(g => g.dataset.op)")
    assert sorted(ops) == sorted(link.end for link in links)
    assert page.locator("#figure-chain b").count() == 0
    drawn = [op for op in ops if page.locator("#graph [data-op]").evaluate_all(
        "(found, op) => found.some(g => g.dataset.op === op)", op)]  # fmt: skip
    assert drawn
    wanted = drawn[0]
    page.evaluate(POINT, ["#figure-chain svg.wide g[data-op]", wanted])
    lit = page.eval_on_selector_all("#graph .item.hl", "found => found.map(g => g.dataset.op)")
    assert lit == [wanted]
    page.evaluate(POINT, ["#graph [data-op]", wanted])
    marked = page.eval_on_selector_all(f"{points}.hl", "found => found.map(g => g.dataset.op)")
    assert marked == [wanted]
    assert opened.complaints == []
