"""Folded repeats in a real page: whatever speaks of a copy that is not drawn leads to the stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.layout.coordinates import coordinates
from resnet_viz.reporting.page.to_html import render_html
from tests.browser.conftest import Opened
from tests.reporting.test_folding import REPORTS

pytestmark = pytest.mark.browser

Open = Callable[..., Opened]

FOLDED = RenderOptions(fold_repeats=True)
DRAWN, HIDDEN = "layer3.1.conv2/conv2d#0", "layer3.4.conv2/conv2d#0"


@pytest.fixture(scope="module")
def page_bytes() -> bytes:
    report = REPORTS["resnet50"]()
    finding = replace(report.findings[0], where=(HIDDEN,))
    return render_html(replace(report, findings=(finding,)), FOLDED)


def stack(page: Any) -> Any:
    return page.locator('#graph [data-key="g:layer3.1"]')


def test_a_finding_about_a_hidden_copy_opens_the_stack(open_page: Open, page_bytes: bytes) -> None:
    opened = open_page(page_bytes)
    page = opened.page
    assert stack(page).get_attribute("aria-expanded") == "false"
    page.locator(f'.findings .ref[data-op="{HIDDEN}"]').click()
    assert stack(page).get_attribute("aria-expanded") == "true"
    assert page.locator(f'#graph [data-op="{DRAWN}"].sel').count() == 1
    told = page.locator("#inspector").inner_text()
    assert "layer3.4.conv2" in told
    assert "4 of 5" in told
    assert DRAWN in told
    assert opened.complaints == []


def test_pointing_at_the_stack_marks_the_bars_of_all_copies(
    open_page: Open, page_bytes: bytes
) -> None:
    page = open_page(page_bytes).page
    stack(page).locator(".title").hover()
    bars = page.evaluate(
        "[...document.querySelectorAll('#flow-chart g.hl')].map(e => e.dataset.op)"
    )
    assert bars == [f"layer3.{i}.conv{j}/conv2d#0" for i in range(1, 6) for j in (1, 2, 3)]


def test_pointing_at_a_row_of_a_hidden_copy_marks_the_stack(
    open_page: Open, page_bytes: bytes
) -> None:
    page = open_page(page_bytes).page
    page.locator(f'#layer-list tr[data-op="{HIDDEN}"]').hover()
    assert "hl" in (stack(page).get_attribute("class") or "")


def test_the_stack_tells_what_one_and_all_cost(open_page: Open, page_bytes: bytes) -> None:
    page = open_page(page_bytes).page
    stack(page).locator(".title").click()
    told = page.locator("#inspector").inner_text()
    for wanted in ("layer3.1 … layer3.5", "1.12 M parameters · 218 M MACs", "5.59 M", "1.09 G"):
        assert wanted in told
    assert page.locator("#layer-list tr.sel").count() == 15


def test_search_counts_the_copies(open_page: Open, page_bytes: bytes) -> None:
    page = open_page(page_bytes).page
    page.keyboard.press("/")
    page.keyboard.type("layer3.4")
    assert page.locator("#matches").inner_text() == "10 matches"
    assert "dim" not in (stack(page).get_attribute("class") or "")
    page.keyboard.press("Enter")
    assert "layer3.4" in page.locator("#inspector").inner_text()


@pytest.mark.parametrize("name", ["vit", "pairs", "recurrent"])
@pytest.mark.parametrize("level", ["all", "blocks", "none"])
def test_it_draws_quietly_and_as_python_lays_it_out(open_page: Open, name: str, level: str) -> None:
    report = REPORTS[name]()
    data = diagram(report, FOLDED)
    opened = open_page(render_html(report, FOLDED))
    page = opened.page
    page.locator(f'[data-level="{level}"]').click()
    cards = sum("times" in g for g in data["groups"])
    layout = coordinates(data, [bool(x) for x in data["open"][level]])
    visible = sum(
        box is not None and "times" in g
        for g, box in zip(data["groups"], layout.groups, strict=True)
    )
    assert page.locator("#graph .card").count() == 2 * visible <= 2 * cards
    assert page.locator("#graph .skip").count() == len(data["skips"])
    assert opened.complaints == []
