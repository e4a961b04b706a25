"""The report in a real Chromium: it draws, opens, links, searches, sorts, and stays quiet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.formats.to_svg import render_svg
from resnet_viz.reporting.page.to_html import render_html
from tests.browser.conftest import Opened
from tests.reporting import laboratory, synthetic

pytestmark = pytest.mark.browser

Open = Callable[..., Opened]

FIRST, SECOND = "layer1.1.conv1/conv2d#0", "layer1.1.conv2/conv2d#0"


@pytest.fixture(scope="module")
def resnet50() -> bytes:
    return render_html(synthetic.resnet50(), RenderOptions())


def drawn(page: Any) -> int:
    return int(page.locator("#graph [data-key]").count())


@pytest.mark.parametrize("name", sorted(synthetic.ALL))
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_report_draws_quietly_and_asks_for_nothing(
    open_page: Open, name: str, scheme: str
) -> None:
    opened = open_page(render_html(synthetic.ALL[name](), RenderOptions()), scheme=scheme)
    assert drawn(opened.page) > 0
    assert opened.complaints == []
    assert [r for r in opened.requests if not r.startswith(("file:", "data:", "blob:"))] == []
    assert sum(r.startswith("file:") for r in opened.requests) == 1


def test_opening_a_block_draws_its_ops(open_page: Open, resnet50: bytes) -> None:
    page = open_page(resnet50).page
    before = drawn(page)
    assert page.locator(f'#graph [data-op="{FIRST}"]').count() == 0
    page.locator('[data-level="none"]').click()
    assert drawn(page) > before
    assert page.locator(f'#graph [data-op="{FIRST}"]').count() == 1
    page.locator('[data-level="all"]').click()
    assert drawn(page) < before


def test_pointing_at_a_bar_marks_node_and_row(open_page: Open, resnet50: bytes) -> None:
    page = open_page(resnet50).page
    page.locator('[data-level="none"]').click()
    page.locator(f'#flow-chart g[data-op="{FIRST}"] .bar').hover()
    marked = page.evaluate("[...document.querySelectorAll('.hl')].map(e => e.dataset.op)")
    assert set(marked) == {FIRST}
    assert page.locator(f'#graph [data-op="{FIRST}"].hl').count() == 1
    assert page.locator(f'#layers tr.hl[data-op="{FIRST}"]').count() == 1
    assert page.locator(f'#layer-list tr.hl[data-op="{FIRST}"]').count() == 1
    assert FIRST.split("/")[0] in page.locator("#tip").inner_text()
    page.locator(f'#flow-chart g[data-op="{SECOND}"] .bar').hover()
    assert page.locator(f'[data-op="{FIRST}"].hl').count() == 0


def test_pointing_at_a_row_marks_bar_and_node(open_page: Open, resnet50: bytes) -> None:
    page = open_page(resnet50).page
    page.locator('[data-level="none"]').click()
    page.locator(f'#layer-list tr[data-op="{SECOND}"]').hover()
    assert page.locator(f'#flow-chart g.hl[data-op="{SECOND}"]').count() == 1
    assert page.locator(f'#graph [data-op="{SECOND}"].hl').count() == 1


def test_pointing_at_a_closed_block_marks_all_its_bars(open_page: Open, resnet50: bytes) -> None:
    page = open_page(resnet50).page
    block = page.locator('#graph [data-key="g:layer1.1"]')
    block.scroll_into_view_if_needed()
    box = block.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    bars = page.evaluate(
        "[...document.querySelectorAll('#flow-chart g.hl')].map(e => e.dataset.op)"
    )
    assert bars == [f"layer1.1.conv{i}/conv2d#0" for i in (1, 2, 3)]


def test_clicking_a_row_shows_the_layer_in_the_inspector(open_page: Open, resnet50: bytes) -> None:
    page = open_page(resnet50).page
    page.locator(f'#layer-list tr[data-op="{SECOND}"]').click()
    text = page.locator("#inspector").inner_text()
    for wanted in ("layer1.1.conv2", "Conv 3×3, 64", "1×64×56×56", "36.9 k", "116 M"):
        assert wanted in text
    assert page.locator(f'#flow-chart g.sel[data-op="{SECOND}"]').count() == 1


def test_search_counts_filters_and_is_undone_by_escape(open_page: Open, resnet50: bytes) -> None:
    page = open_page(resnet50).page
    visible = "#layer-list tbody tr:not(.off)"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("layer4.0")
    wanted = [op for op in synthetic.resnet50().graph.ops if "layer4.0" in op.id]
    assert page.locator("#matches").inner_text() == f"{len(wanted)} matches"
    assert page.locator(visible).count() == 4
    page.keyboard.press("Enter")
    assert "layer4.0" in page.locator("#inspector").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#matches").inner_text() == ""
    assert page.locator(visible).count() == 54


def test_tables_sort_by_number_and_return_to_forward_order(
    open_page: Open, resnet50: bytes
) -> None:
    page = open_page(resnet50).page
    names = "[...document.querySelectorAll('#layers tbody tr:not(.aux)')].map(r => r.dataset.op)"
    forward = page.evaluate(names)
    head = page.locator("#layers thead th", has_text="Params")
    button = head.locator("button")
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    report = synthetic.resnet50()
    params = [report.graph[op].params for op in page.evaluate(names)]
    # Rows are sorted by what they show, three digits.
    rounded = [float(f"{p:.3g}") for p in params]
    assert rounded == sorted(rounded, reverse=True)
    button.click()
    assert page.evaluate(names)[0] in ("layer1.0.conv1/conv2d#0",)
    button.click()
    assert head.get_attribute("aria-sort") == "none"
    assert page.evaluate(names) == forward


def test_all_operations_can_be_listed(open_page: Open, resnet50: bytes) -> None:
    page = open_page(resnet50).page
    rows = page.locator("#layers tbody tr:visible")
    assert rows.count() == 54
    page.locator("#all-ops").check()
    assert rows.count() == 175


def test_the_chart_switches_what_it_shows(open_page: Open, resnet50: bytes) -> None:
    page = open_page(resnet50).page
    bar = page.locator(f'#flow-chart g[data-op="{FIRST}"]')
    before = bar.get_attribute("aria-label")
    page.locator('[data-of="activations"]').click()
    page.locator('[data-by="RMS"]').click()
    assert bar.get_attribute("aria-label") != before
    assert page.locator('[data-of="activations"]').get_attribute("aria-pressed") == "true"
    assert page.locator('[data-of="weights"]').get_attribute("aria-pressed") == "false"
    assert page.locator("#flow-chart g[data-op]").count() == 54


def test_the_chart_is_walked_by_keys(open_page: Open, resnet50: bytes) -> None:
    page = open_page(resnet50).page
    page.locator("#flow-chart").focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator("#inspector h3").inner_text() == "layer1.0.conv1"


@pytest.mark.parametrize(("scheme", "clicks", "dark"), [
    ("light", 0, False), ("dark", 0, True), ("dark", 1, False), ("light", 2, True),
])  # fmt: skip
def test_the_theme_follows_the_system_until_told(
    open_page: Open, resnet50: bytes, scheme: str, clicks: int, dark: bool
) -> None:
    page = open_page(resnet50, scheme=scheme).page
    for _ in range(clicks):
        page.locator("#theme").click()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(background.split("(")[1].split(",")[0])
    assert (red < 60) == dark


@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
def test_nothing_sticks_out_sideways(open_page: Open, resnet50: bytes, width: int) -> None:
    opened = open_page(resnet50, width=width)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.complaints == []


CONTRAST = """() => {
  const parse = c => { const m = c.match(/[\\d.]+/g).map(Number);
    return c.startsWith('color(srgb') ? [m[0]*255, m[1]*255, m[2]*255, m[3] ?? 1] : [m[0], m[1], m[2], m[3] ?? 1]; };
  const light = ([r, g, b]) => { const f = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
    return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const behind = e => { let layers = []; for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); layers.push(c); if (c[3] === 1) break; }
    return layers.reverse().reduce((under, c) => under.map((u, i) => c[3] * c[i] + (1 - c[3]) * u), [255, 255, 255]); };
  const bad = [];
  for (const e of document.querySelectorAll('main *, header *')) {
    if (e.closest('svg') || !e.checkVisibility() || ![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    if (getComputedStyle(e).clipPath !== 'none') continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push([e.tagName, e.className, e.textContent.trim().slice(0, 30), ratio.toFixed(2)].join(' '));
  }
  return bad; }"""  # noqa: E501


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(open_page: Open, resnet50: bytes, scheme: str) -> None:
    page = open_page(resnet50, scheme=scheme).page
    assert page.evaluate(CONTRAST) == []


def test_hostile_names_are_only_text(open_page: Open) -> None:
    opened = open_page(render_html(synthetic.hostile(), RenderOptions(collapse="none")))
    page = opened.page
    name = "</script><img src=x onerror=alert(1)>"
    page.locator("#layer-list tbody tr").first.click()
    page.keyboard.press("/")
    page.keyboard.type(name)
    assert page.locator("img[src='x']").count() == 0
    assert name in page.locator("#inspector").inner_text()
    assert page.locator("h1").inner_text() == name
    assert opened.complaints == []
    assert len(opened.requests) == sum(r.startswith(("file:", "data:")) for r in opened.requests)


def test_without_scripts_the_numbers_are_there(open_page: Open, resnet50: bytes) -> None:
    page = open_page(resnet50, java_script_enabled=False).page
    text = page.locator("main").inner_text()
    for wanted in ("25.6 M", "12 identity, 4 projection", "layer4.2.conv3"):
        assert wanted in text


def test_a_diagram_only_page_works(open_page: Open) -> None:
    data = render_html(synthetic.resnet18(), RenderOptions(diagram_only=True))
    opened = open_page(data)
    assert drawn(opened.page) > 0
    assert opened.complaints == []
    opened.page.locator("#layer-list tbody tr").first.click()
    assert "conv1" in opened.page.locator("#inspector").inner_text()


def test_a_page_prints_light_and_without_controls(open_page: Open, resnet50: bytes) -> None:
    page = open_page(resnet50, scheme="dark").page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert not page.locator(".topbar").is_visible()
    assert page.evaluate("document.documentElement.classList.contains('dark')") is False
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "auto"


def test_it_runs_in_a_sandboxed_notebook_frame(open_page: Open) -> None:
    from resnet_viz.reporting import mimebundle

    bundle = mimebundle(synthetic.resnet18())["text/html"]
    opened = open_page(f"<!doctype html><title>notebook</title>{bundle}".encode())
    frame = opened.page.frame_locator("iframe")
    frame.locator("#graph [data-key]").first.wait_for()
    assert opened.complaints == []


def test_the_river_can_be_switched_off_and_on(open_page: Open, resnet50: bytes) -> None:
    page = open_page(resnet50).page
    rivers = page.locator("#graph .river")
    assert rivers.count() > 20
    widths = (
        "[...new Set([...document.querySelectorAll('#graph .skip')]"
        ".map(e => e.getAttribute('stroke-width')))]"
    )
    assert len(page.evaluate(widths)) > 3
    button = page.locator("#show-river")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert rivers.count() == 0
    assert page.evaluate(widths) == ["2.4"]
    button.click()
    assert rivers.count() > 20


@pytest.mark.parametrize("level", ["all", "blocks", "none"])
def test_the_page_draws_the_river_of_the_static_picture(
    open_page: Open, resnet50: bytes, level: str
) -> None:
    page = open_page(resnet50).page
    page.locator(f'[data-level="{level}"]').click()
    drawn = page.evaluate(
        "[...document.querySelectorAll('#graph .river')].map(e => e.getAttribute('class') + ' ' + "
        "Number(e.getAttribute('stroke-width')).toFixed(1)).sort()"
    )
    svg = render_svg(synthetic.resnet50(), RenderOptions(collapse=level))  # type: ignore[arg-type]
    lines = [e for e in ElementTree.fromstring(svg).iter() if "stroke-width" in e.attrib]
    static = sorted(
        f"{e.attrib['class']} {float(e.attrib['stroke-width']):.1f}"
        for e in lines
        if e.attrib.get("class", "").startswith("river ")
    )
    assert drawn == static


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_page_of_everything_is_quiet_and_stays_in_its_window(
    open_page: Open, width: int, scheme: str
) -> None:
    data = render_html(laboratory.equipped(synthetic.resnet50()), RenderOptions())
    opened = open_page(data, width=width, scheme=scheme)
    assert opened.complaints == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    opened.page.locator('[data-of="ratio"]').click()
    assert opened.page.locator("#flow-chart .bar").count() == 54
    opened.page.locator('[data-of="weights"]').click()
    assert opened.page.locator("#flow-chart .spread").count() == 54
