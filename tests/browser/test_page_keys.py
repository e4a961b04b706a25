"""The report by keyboard and by address: links to a module, walking, searching, help, copying."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.page.to_html import render_html
from tests.browser.conftest import Opened, until
from tests.reporting import synthetic

pytestmark = pytest.mark.browser

Open = Callable[..., Opened]

HASH = "decodeURIComponent(location.hash)"
SELECTED = "document.querySelector('#graph .item.sel')?.dataset.key ?? null"
IN_SIGHT = """() => {
  const stage = document.querySelector('#graph').getBoundingClientRect();
  const box = document.querySelector('#graph .item.sel').getBoundingClientRect();
  return box.right > stage.left && box.left < stage.right
    && box.bottom > stage.top && box.top < stage.bottom; }"""


@pytest.fixture(scope="module")
def report() -> Report:
    return synthetic.resnet50()


@pytest.fixture(scope="module")
def data(report: Report) -> bytes:
    return render_html(report, RenderOptions())


def go(page: Any, name: str) -> None:
    page.evaluate("name => { location.hash = name; }", name)


def wait_hash(page: Any, wanted: str) -> None:
    until(page, HASH, wanted)


def feeds(report: Report, op: str) -> set[str]:
    return {str(e.dst) for e in report.graph.edges if e.src == op}


def test_an_address_opens_selects_and_shows_a_module_or_an_op(open_page: Open, data: bytes) -> None:
    opened = open_page(data, reduced_motion="reduce")
    page = opened.page
    op = "layer3.2.conv2/conv2d#0"
    assert page.evaluate("location.hash") == ""  # nobody has selected anything yet
    for name, key in [
        ("#layer3.0", "g:layer3.0"),
        (f"#{op}", f"n:{op}"),
        (f"#{op.replace('#', '%23').replace('/', '%2F')}", f"n:{op}"),
        ("#layer4.1.conv3", "n:layer4.1.conv3/conv2d#0"),
        ("#layer2", "g:layer2"),
    ]:
        go(page, name)
        until(page, SELECTED, key)
        assert page.evaluate(IN_SIGHT), name
    assert "layer2" in page.locator("#inspector h3").inner_text()
    # A section keeps its anchor, and what names nothing changes nothing.
    for other in ("#costs", "#no.such.module", "#%", "#%E0%A4%A", "#__proto__", "#constructor"):
        go(page, other)
        page.wait_for_timeout(30)
        assert page.evaluate(SELECTED) == "g:layer2", other
    # Selecting writes the address without a jump and without a step of the history.
    page.locator('#graph [data-key="g:layer1.2"]').focus()
    before, y = page.evaluate("history.length"), page.evaluate("scrollY")
    page.keyboard.press("Enter")
    wait_hash(page, "#layer1.2")
    assert page.evaluate("history.length") == before
    assert page.evaluate("scrollY") == y
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate(SELECTED) == "g:layer1.2"
    assert opened.complaints == []


def test_arrows_walk_along_the_graph(open_page: Open, report: Report, data: bytes) -> None:
    page = open_page(data).page
    page.locator('[data-level="none"]').click()
    go(page, "#layer2.0.conv1/conv2d#0")
    until(page, SELECTED, "n:layer2.0.conv1/conv2d#0")
    page.locator("#graph").focus()
    seen = ["layer2.0.conv1/conv2d#0"]
    for _ in range(5):
        page.keyboard.press("ArrowDown")
        seen.append(page.evaluate(SELECTED)[2:])
        assert seen[-1] in feeds(report, seen[-2])
        assert page.evaluate("document.activeElement.dataset.key") == f"n:{seen[-1]}"
    for expected in reversed(seen[:-1]):
        page.keyboard.press("ArrowUp")
        assert page.evaluate(SELECTED) == f"n:{expected}"
    # The projection stands beside the branch: both leave the same fork.
    sides = set()
    for key in ("ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
        sides.add(page.evaluate(SELECTED)[2:])
    assert "layer2.0.downsample.0/conv2d#0" in sides
    # From an op Enter goes to the box around it, and closes and opens that.
    go(page, "#layer2.0.conv2/conv2d#0")
    until(page, SELECTED, "n:layer2.0.conv2/conv2d#0")
    page.locator("#graph").focus()
    for expected, is_open in [("true", True), ("false", False), ("true", True)]:
        page.keyboard.press("Enter")
        box = page.locator('#graph [data-key="g:layer2.0"]')
        assert page.evaluate(SELECTED) == "g:layer2.0"
        assert box.get_attribute("aria-expanded") == expected
        assert bool(page.locator('#graph [data-op="layer2.0.conv2/conv2d#0"]').count()) == is_open
    # Whoever walks over closed boxes goes from box to box.
    page.locator('[data-level="blocks"]').click()
    go(page, "#layer3.1")
    until(page, SELECTED, "g:layer3.1")
    page.locator("#graph").focus()
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    assert page.evaluate(SELECTED) == "g:layer3.5"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(SELECTED) == "g:layer4.0"
    assert page.evaluate(IN_SIGHT)
    # One stop for Tab among all that is drawn.
    assert page.locator('#graph .item[tabindex="0"]').count() == 1
    assert page.locator('#graph .item[tabindex="-1"]').count() > 10


def test_search_goes_from_match_to_match_and_escape_clears(open_page: Open, data: bytes) -> None:
    opened = open_page(data)
    page = opened.page
    count = page.locator("#matches")
    page.keyboard.press("/")
    page.keyboard.type("layer1.0.conv")
    assert count.inner_text() == "3 matches"
    for key, told, op in [
        ("Enter", "1 of 3", "layer1.0.conv1"), ("Enter", "2 of 3", "layer1.0.conv2"),
        ("Shift+Enter", "1 of 3", "layer1.0.conv1"), ("Shift+Enter", "3 of 3", "layer1.0.conv3"),
        ("Enter", "1 of 3", "layer1.0.conv1"),
    ]:  # fmt: skip
        page.keyboard.press(key)
        assert count.inner_text() == told
        assert page.evaluate(SELECTED) == f"n:{op}/conv2d#0"
        assert page.evaluate(IN_SIGHT)
    page.keyboard.press("Escape")
    assert count.inner_text() == ""
    assert page.locator("#search").input_value() == ""
    assert page.locator("#graph .item.dim").count() == 0
    assert page.evaluate(SELECTED) is not None
    wait_hash(page, "#layer1.0.conv1/conv2d#0")
    page.keyboard.press("Escape")
    assert page.evaluate(SELECTED) is None
    wait_hash(page, "")
    assert "Nothing is selected" in page.locator("#inspector").inner_text()
    assert page.locator(".sel").count() == 0
    page.keyboard.press("/")
    page.keyboard.type("no such layer")
    assert count.inner_text() == "0 matches"
    page.keyboard.press("Enter")
    assert page.evaluate(SELECTED) is None
    assert opened.complaints == []


def test_help_is_a_dialog_that_gives_the_focus_back(open_page: Open, data: bytes) -> None:
    opened = open_page(data)
    page = opened.page
    page.locator("#show-help").focus()
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    assert page.locator("#help kbd").count() > 12
    # What stands behind it takes no key.
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    assert page.evaluate("document.activeElement.id") == "show-help"
    assert page.evaluate(SELECTED) is not None  # that Escape was the dialog's
    page.locator("#show-help").click()
    page.locator("#help button").click()
    assert not page.locator("#help").is_visible()
    page.locator("#search").focus()
    page.keyboard.press("?")
    assert not page.locator("#help").is_visible()
    assert opened.complaints == []


def test_the_module_path_is_walked_and_copied(open_page: Open, data: bytes) -> None:
    opened = open_page(data)
    page = opened.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    go(page, "#layer3.2.conv2/conv2d#0")
    parts = page.locator("#inspector .crumbs button")
    until(page, "document.querySelectorAll('.crumbs button').length", 3)
    assert parts.all_inner_texts() == ["layer3", "2", "conv2"]
    page.locator("#graph").focus()
    page.keyboard.press("c")
    until(page, "document.querySelector('#told').textContent.includes('conv2')")
    assert page.evaluate("navigator.clipboard.readText()") == "layer3.2.conv2"
    parts.nth(1).click()
    assert page.evaluate(SELECTED) == "g:layer3.2"
    page.locator("#copy-path").click()
    until(page, "navigator.clipboard.readText()", "layer3.2")
    # Where the page may not write there, the path is selected for the reader's own key.
    page.evaluate(
        "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }"
    )
    page.locator("#copy-path").click()
    until(page, "getSelection().toString()", "layer3.2")
    assert "Ctrl+C" in page.locator("#told").inner_text()
    # f brings it to reading size.
    scale = "new DOMMatrix(getComputedStyle(document.querySelector('#graph .view')).transform).a"
    page.locator("#zoom-fit").click()
    small = page.evaluate(scale)
    page.keyboard.press("f")
    assert page.evaluate(scale) > small
    assert page.evaluate(IN_SIGHT)
    assert opened.complaints == []


def test_everything_is_reached_by_tab_and_seen_when_it_is(open_page: Open, data: bytes) -> None:
    opened = open_page(data)
    page = opened.page
    page.locator("body").evaluate("body => body.focus()")
    seen, bare = [], []
    for _ in range(40):
        page.keyboard.press("Tab")
        name, ring = page.evaluate("""() => {
          const e = document.activeElement, css = getComputedStyle(e);
          const face = e.querySelector?.('.face');
          const ring = css.outlineStyle !== 'none' || !!face && getComputedStyle(face).strokeWidth === '2.6px';
          return [e.id || e.dataset.level || e.dataset.key || e.textContent.trim().slice(0, 20), ring]; }""")  # noqa: E501
        seen.append(name)
        if not ring:
            bare.append(name)
    # In the order of the page, through the diagram and out of it again: no trap.
    order = ["search", "show-help", "theme", "all", "zoom-in", "graph", "copy-path"]
    places = [seen.index(name) for name in order]
    assert places == sorted(places)
    assert bare == []
    assert len(set(seen)) > 25
    assert opened.complaints == []


def test_pointing_and_clicking_lead_from_part_to_part(open_page: Open, report: Report) -> None:
    finding = replace(report.findings[0], where=("layer2.1.conv2/conv2d#0",))
    page = open_page(render_html(replace(report, findings=(finding,)), RenderOptions())).page
    join = "layer2.1/add#0"
    page.locator(f'.shares tr[data-op="{join}"]').hover()
    assert page.locator(f'#graph .skip.hl[data-join="{join}"]').count() == 1
    assert page.locator('#graph [data-key="g:layer2.1"].hl').count() == 1
    page.locator(".findings .ref").first.hover()
    assert page.locator('#flow-chart g.hl[data-op="layer2.1.conv2/conv2d#0"]').count() == 1
    page.locator(".findings .ref").first.click()
    assert page.evaluate(SELECTED) == "n:layer2.1.conv2/conv2d#0"
    assert page.locator('#layers tr.sel[data-op="layer2.1.conv2/conv2d#0"]').count() == 1
    page.locator("#inspector button", has_text="Show in table").click()
    until(
        page,
        """(() => { const row = document.querySelector('#layers tr.sel'), {top} =
        row.getBoundingClientRect(); return top > 0 && top < innerHeight; })()""",
    )


def test_arrows_turn_with_a_drawing_from_left_to_right(open_page: Open) -> None:
    report = synthetic.resnet18()
    opened = open_page(render_html(report, RenderOptions(direction="LR", collapse="none")))
    page = opened.page
    go(page, "#conv1/conv2d#0")
    until(page, SELECTED, "n:conv1/conv2d#0")
    page.locator("#graph").focus()
    for _ in range(4):
        before = page.evaluate(SELECTED)[2:]
        page.keyboard.press("ArrowRight")
        assert page.evaluate(SELECTED)[2:] in feeds(report, before)
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(SELECTED)[2:] == before
    assert "→" in page.locator("#help kbd").nth(5).text_content()
    assert opened.complaints == []
