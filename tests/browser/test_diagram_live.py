"""The live diagram: the same marks as the analysis at every level, by mouse and by keyboard."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.drawing.painter import painted
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.layout.coordinates import coordinates
from resnet_viz.reporting.page.to_html import render_html
from tests.browser.conftest import Opened
from tests.reporting import synthetic

pytestmark = pytest.mark.browser

Open = Callable[..., Opened]

SKIPS = """() => [...document.querySelectorAll('#graph .skip')].map(
    e => [e.dataset.skipKind, e.dataset.fork, e.dataset.join])"""
BLOCKS = """() => [...document.querySelectorAll('#graph .block')].map(
    e => [e.dataset.blockKind, e.dataset.module, e.dataset.join])"""


def check_marks(page: Any, report: Report) -> None:
    """Each skip and each block of the analysis is on the page exactly once."""
    structure = report.structure
    skips = Counter((s.kind, s.fork, s.join) for s in structure.skips)
    assert Counter(map(tuple, page.evaluate(SKIPS))) == skips
    blocks = Counter((b.title, b.module, b.skip.join) for b in structure.blocks)
    assert Counter(map(tuple, page.evaluate(BLOCKS))) == blocks


@pytest.mark.parametrize("name", sorted(synthetic.ALL))
def test_marks_equal_the_analysis_at_every_level(open_page: Open, name: str) -> None:
    report = synthetic.ALL[name]()
    page = open_page(render_html(report, RenderOptions())).page
    for level in ("all", "blocks", "none"):
        page.locator(f'[data-level="{level}"]').click()
        check_marks(page, report)
    assert page.locator("#graph [style]").count() == 0


def test_mouse_and_keyboard_open_and_close(open_page: Open) -> None:
    report = synthetic.resnet50()
    opened = open_page(render_html(report, RenderOptions()))
    page = opened.page
    block = page.locator('#graph [data-key="g:layer2.1"]')
    op = page.locator('#graph [data-op="layer2.1.conv2/conv2d#0"]')
    assert block.get_attribute("role") == "button"
    assert "layer2.1" in (block.get_attribute("data-group") or "")
    block.focus()
    page.keyboard.press("Enter")
    assert block.get_attribute("aria-expanded") == "true"
    assert op.count() == 1
    check_marks(page, report)
    # Whoever opened it by the keyboard is still there to close it.
    page.keyboard.press("Enter")
    assert op.count() == 0
    block.locator(".title").dblclick()
    assert op.count() == 1
    page.locator('#graph [data-toggle="layer2.1"]').click()
    assert op.count() == 0
    check_marks(page, report)
    assert opened.complaints == []


def test_keys_name_what_can_be_seen(open_page: Open) -> None:
    report = synthetic.resnet50()
    page = open_page(render_html(report, RenderOptions())).page
    data = json.dumps(diagram(report, RenderOptions()))
    facts = page.evaluate(
        """text => {
          const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
          document.body.append(svg);
          const d = RV.diagram(svg, JSON.parse(text)), op = 'layer1.0.conv1/conv2d#0';
          const out = {};
          for (const at of ['all', 'blocks', 'none']) { d.setLevel(at); out[at] = d.keyOf(op); }
          d.collapse('layer1.0'); out.closed = d.keyOf(op);
          d.expand('g:layer1.0'); out.open = d.keyOf(op);
          out.ops = d.opsOf('g:layer1.0'); out.one = d.opsOf('n:' + op);
          out.found = d.search('Conv 7×7'); out.dim = svg.querySelectorAll('.item.dim').length;
          d.search(''); out.undim = svg.querySelectorAll('.item.dim').length;
          d.highlight([op]);
          out.lit = [...svg.querySelectorAll('.item.hl')].map(e => e.dataset.key);
          return out;
        }""",
        data,
    )
    assert facts["all"] == "g:layer1"
    assert facts["blocks"] == facts["closed"] == "g:layer1.0"
    assert facts["none"] == facts["open"] == "n:layer1.0.conv1/conv2d#0"
    assert facts["one"] == ["layer1.0.conv1/conv2d#0"]
    block = next(b for b in report.structure.blocks if b.module == "layer1.0")
    assert facts["ops"] == list(block.ops)
    assert facts["found"] == 1
    assert facts["dim"] > 100
    assert facts["undim"] == 0
    assert facts["lit"] == ["n:layer1.0.conv1/conv2d#0"]


def test_the_page_computes_the_layout_that_python_does(open_page: Open) -> None:
    data = diagram(synthetic.vit(3), RenderOptions())
    page = open_page(render_html(synthetic.resnet18(), RenderOptions())).page
    for opened in data["open"].values():
        theirs = page.evaluate(
            "([text, opened]) => RV.layout(JSON.parse(text), opened)", [json.dumps(data), opened]
        )
        ours = coordinates(data, [bool(x) for x in opened])
        assert (theirs["w"], theirs["h"]) == pytest.approx((ours.w, ours.h), abs=1e-6)
        for mine, other in zip(ours.nodes, theirs["nodes"], strict=True):
            assert (mine is None) == (other is None)
            if mine is not None:
                assert (other["x"], other["y"]) == pytest.approx((mine.x, mine.y), abs=1e-6)


MARKS = """() => [...document.querySelectorAll('#graph .view *')]
    .filter(e => !e.matches('.toggle, .hit'))
    .map(e => [e.localName, Object.fromEntries([...e.attributes].map(a => [a.name, a.value])),
               e.children.length ? '' : e.textContent])"""
LIVE = {"role", "tabindex", "aria-label", "aria-expanded"}
NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


def static_marks(data: dict[str, Any], opened: list[bool], aspect: float) -> list[Any]:
    """What ``painted`` writes, as ``MARKS`` tells what the page paints."""
    markup = xml_safe(painted(data, coordinates(data, opened, aspect=aspect)))
    return [
        (e.tag, dict(e.attrib), "" if len(e) else e.text or "")
        for e in ET.fromstring(f"<svg>{markup}</svg>").iter()
        if e.tag != "svg"
    ]


def same(mine: str, theirs: str) -> bool:
    """Whether two attributes are equal but for the last digits of their numbers."""
    if NUMBER.sub("#", mine) != NUMBER.sub("#", theirs):
        return False
    pairs = zip(NUMBER.findall(mine), NUMBER.findall(theirs), strict=True)
    return all(abs(float(a) - float(b)) < 0.011 for a, b in pairs)


@pytest.mark.parametrize(
    ("name", "direction"), [("se_resnet50", "TB"), ("vit", "LR"), ("resnet50", "LR")]
)
def test_the_page_paints_what_the_static_picture_does(
    open_page: Open, name: str, direction: str
) -> None:
    report = synthetic.ALL[name]()
    options = RenderOptions(direction=direction)  # type: ignore[arg-type]
    page = open_page(render_html(report, options)).page
    written = {"formulas": False, "edge_shapes": False}
    for level, toggled in (("none", ""), ("blocks", "formulas"), ("none", "edge_shapes")):
        if toggled:
            button = {"formulas": "#show-formulas", "edge_shapes": "#show-shapes"}[toggled]
            page.locator(button).click()
            written[toggled] = True
        page.locator(f'[data-level="{level}"]').click()
        page.evaluate("() => document.querySelectorAll('#graph .sel').forEach("
                      "e => e.classList.remove('sel'))")  # fmt: skip
        text = json.dumps(diagram(report, replace(options, **written)))  # type: ignore[arg-type]
        # The page's numbers have six digits.
        data = json.loads(text, parse_float=lambda digits: float(f"{float(digits):.6g}"))
        box = page.locator("#graph").bounding_box()
        assert box is not None
        opened = [bool(x) for x in data["open"][level]]
        ours = static_marks(data, opened, box["width"] / box["height"])
        theirs = page.evaluate(MARKS)
        assert [m[0] for m in ours] == [t[0] for t in theirs]
        for (tag, mine, words), (_, other, told) in zip(ours, theirs, strict=True):
            assert words == told
            other = {key: value for key, value in other.items() if key not in LIVE}
            assert set(mine) == set(other), (tag, mine, other)
            for key, value in mine.items():
                assert same(value, other[key]), (tag, key, value, other[key])


def test_moving_zooming_and_fitting(open_page: Open) -> None:
    page = open_page(render_html(synthetic.resnet18(), RenderOptions())).page
    view = page.locator("#graph .view")
    start = view.get_attribute("transform")
    page.keyboard.press("Escape")
    page.locator("#graph").focus()
    for key in ("+", "ArrowLeft", "ArrowDown"):
        before = view.get_attribute("transform")
        page.keyboard.press(key)
        assert view.get_attribute("transform") != before
    page.keyboard.press("0")
    assert view.get_attribute("transform") == start
    box = page.locator("#graph").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] - 40, box["y"] + 20
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    zoomed = view.get_attribute("transform")
    assert zoomed != start
    page.mouse.down()
    page.mouse.move(x - 120, y + 60, steps=4)
    page.mouse.up()
    assert view.get_attribute("transform") != zoomed
