"""The report on every kind of sheet: phone, desk, paper; light, dark; small and very large nets."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.page.to_html import render_html
from tests.browser.conftest import Opened, until
from tests.reporting import laboratory, synthetic

pytestmark = pytest.mark.browser

Open = Callable[..., Opened]

CONTRAST = (Path(__file__).parent / "contrast.js").read_text("utf-8")
LIMIT = 1000
DRAWN = """() => document.querySelectorAll('#graph .node').length
    + document.querySelectorAll('#graph .group[aria-expanded="false"]').length"""


@pytest.fixture(scope="module")
def everything() -> bytes:
    return render_html(laboratory.equipped(synthetic.resnet50()), RenderOptions())


@pytest.fixture(scope="module")
def long_report() -> Report:
    return synthetic.resnet((90, 90, 90), widths=(16, 32, 64), measured=False)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_the_contrast_of_wcag_aa(
    open_page: Open, everything: bytes, scheme: str
) -> None:
    page = open_page(everything, scheme=scheme, reduced_motion="reduce").page
    page.evaluate("for (const d of document.querySelectorAll('main details')) d.open = true")
    page.locator(".findings .ref").first.hover()
    seen, faint = page.evaluate(CONTRAST)
    assert seen > 1500
    assert faint == []
    page.keyboard.press("?")
    assert page.evaluate(CONTRAST)[1] == []


def test_the_contrast_test_sees_what_is_faint(open_page: Open) -> None:
    page = open_page(
        b"""<!doctype html><body style="background:#fff"><p style="color:#777">faint</p>
        <p style="color:#000;opacity:.4">thin</p><p style="color:#666">good</p>
        <svg width="90" height="40"><rect width="90" height="40" fill="#333"/>
        <text x="5" y="20" fill="#555">dim</text><text x="5" y="36" fill="#fff">fine</text></svg>"""
    ).page
    _, faint = page.evaluate(CONTRAST)
    assert [re.findall('"(.*)"', line)[0] for line in faint] == ["faint", "thin", "dim"]


def test_what_a_screen_reader_is_told(open_page: Open, everything: bytes) -> None:
    page = open_page(everything).page
    nameless = page.evaluate("""() => {
      const bad = [];
      for (const e of document.querySelectorAll('button, summary, a, input, select')) {
        if (!e.checkVisibility()) continue;
        const name = e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent || e.title;
        if (!name) bad.push(e.outerHTML.slice(0, 80));
      }
      for (const e of document.querySelectorAll('svg:not([aria-hidden=true], svg svg, [aria-hidden=true] *)'))
        if (e.checkVisibility() && !(e.getAttribute('role') && (e.ariaLabel || e.hasAttribute('aria-labelledby')))) bad.push(e.outerHTML.slice(0, 80));
      for (const e of document.querySelectorAll('thead th')) if (e.scope !== 'col') bad.push(e.outerHTML.slice(0, 80));
      const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
      return [...bad, ...ids.filter((id, i) => ids.indexOf(id) !== i)]; }""")  # noqa: E501
    assert nameless == []
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.evaluate("document.documentElement.dir") == "ltr"
    assert page.locator('[role="status"], output, [aria-live]').count() >= 4
    heads = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4,h5')].filter(h => h.checkVisibility())"
        ".map(h => Number(h.tagName[1]))"
    )
    assert heads[0] == 1
    assert heads.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(heads))


def test_each_section_says_how_to_read_it_in_two_sentences(
    open_page: Open, everything: bytes
) -> None:
    page = open_page(everything).page
    links = page.locator("main a.source")
    assert links.count() >= 6
    for link in links.all():
        assert (link.get_attribute("rel") or "").split() == ["noopener", "noreferrer"]
        assert (link.get_attribute("href") or "").startswith("https://")
    sections = "findings", "diagram", "gradient-flow", "skips", "attributions", "provenance"
    for name in sections:
        lead = page.locator(f"#{name} > .lead").first
        text = lead.evaluate("""lead => [...lead.childNodes].filter(n => n.nodeType === 3)
            .map(n => n.textContent).join(' ').trim()""")
        assert 1 <= len(re.findall(r"[.!?](?:\s|$)", text)) <= 2, text


def test_a_phone_has_one_column_and_targets_for_a_finger(
    open_page: Open, everything: bytes
) -> None:
    opened = open_page(everything, width=390, height=844, has_touch=True, is_mobile=True)
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = page.evaluate("""() => [...document.querySelectorAll('button, summary, select, nav a, input:not([type=radio], [type=checkbox])')]
      .filter(e => e.checkVisibility() && !e.closest('svg')).map(e => [e.getBoundingClientRect(), e])
      .filter(([r]) => r.width && (r.height < 32 || r.width < 24)).map(([r, e]) => e.outerHTML.slice(0, 70) + r.height)""")  # noqa: E501
    assert small == []
    nav = page.locator(".topbar nav")
    assert nav.evaluate("nav => nav.scrollWidth > nav.clientWidth")
    # The inspector lies over the foot of the diagram, says the name, and opens.
    graph = page.locator("#graph")
    graph.scroll_into_view_if_needed()
    sheet = page.locator("#inspector")
    folded = sheet.bounding_box()
    assert folded is not None
    assert folded["y"] + folded["height"] <= 844 + 1
    assert folded["height"] < 130
    assert "layer1.1" in sheet.inner_text()
    sheet.locator(".fold").click()
    opened_sheet = sheet.bounding_box()
    assert opened_sheet is not None
    assert 200 < opened_sheet["height"] < 460
    assert "Params" in sheet.inner_text()
    sheet.locator(".fold").click()
    # Two fingers zoom.
    scale = "new DOMMatrix(getComputedStyle(document.querySelector('#graph .view')).transform).a"
    before = page.evaluate(scale)
    page.evaluate("""() => {
      const svg = document.querySelector('#graph'), r = svg.getBoundingClientRect();
      const at = (id, type, x) => svg.dispatchEvent(new PointerEvent(type, {pointerId: id, pointerType: 'touch',
        clientX: r.x + x, clientY: r.y + 100, bubbles: true, isPrimary: id === 1}));
      at(1, 'pointerdown', 100); at(2, 'pointerdown', 140);
      for (let i = 1; i < 9; i++) { at(1, 'pointermove', 100 - 5 * i); at(2, 'pointermove', 140 + 5 * i); }
      at(1, 'pointerup', 60); at(2, 'pointerup', 180); }""")  # noqa: E501
    assert page.evaluate(scale) > 2 * before
    assert opened.complaints == []


def test_print_is_light_whole_and_readable(open_page: Open, everything: bytes) -> None:
    opened = open_page(everything, scheme="dark")
    page = opened.page
    # Far away in a corner of the diagram: paper shows all of it.
    for _ in range(6):
        page.locator("#zoom-in").click()
    view = page.locator("#graph .view")
    moved = view.get_attribute("transform")
    page.keyboard.press("/")
    page.keyboard.type("layer4")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.classList.contains('dark')") is False
    for gone in (".topbar", ".tools", "#inspector", "#layer-list", ".save", "#minimap", "#theme"):
        assert not page.locator(gone).first.is_visible(), gone
    assert page.evaluate("""() => {
      const stage = document.querySelector('#graph').getBoundingClientRect();
      return [...document.querySelectorAll('#graph .item')].every(item => {
        const r = item.getBoundingClientRect();
        return r.left >= stage.left - 1 && r.right <= stage.right + 1
          && r.top >= stage.top - 1 && r.bottom <= stage.bottom + 1; }); }""")
    assert page.evaluate(CONTRAST)[1] == []
    assert page.evaluate("getComputedStyle(document.querySelector('thead')).display") == (
        "table-header-group"
    )
    page.emulate_media(media="null")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert view.get_attribute("transform") == moved
    assert page.evaluate("document.documentElement.dataset.theme") == "auto"
    data = page.pdf(prefer_css_page_size=True, print_background=True)
    assert page.evaluate("document.documentElement.dataset.theme") == "auto"
    assert view.get_attribute("transform") == moved
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", data))
    assert 6 <= pages <= 30
    # A4 lying, and light: no page is filled with the dark theme's ground.
    boxes = set(re.findall(rb"/MediaBox\s*\[([^\]]+)", data))
    assert [round(float(v)) for box in boxes for v in box.split()] == [0, 0, 842, 595]
    drawn = b"".join(inflated(data))
    assert drawn.count(b"Tj") + drawn.count(b"TJ") > 1000  # text, not a picture of it
    assert b".0549 .0745 .102 rg" not in drawn  # the ground of the dark theme
    assert opened.complaints == []


def inflated(data: bytes) -> list[bytes]:
    found = []
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL):
        try:
            found.append(zlib.decompress(stream))
        except zlib.error:
            continue
    return found


def test_no_more_is_drawn_than_a_browser_can_move(open_page: Open, long_report: Report) -> None:
    opened = open_page(render_html(long_report, RenderOptions()))
    page = opened.page
    ops = [str(op.id) for op in long_report.graph.ops]
    full = page.locator("#full")
    assert len(ops) > 2 * LIMIT
    assert page.evaluate(DRAWN) <= LIMIT
    page.locator('[data-level="none"]').click()
    drawn = page.evaluate(DRAWN)
    assert 0.9 * LIMIT <= drawn <= LIMIT
    shown = page.evaluate("document.querySelectorAll('#graph .node').length")
    assert full.inner_text().startswith(f"{shown:,} of ")
    # Every op can be reached, and what was opened longest ago makes room.
    for op in (ops[0], ops[len(ops) // 2], ops[-5], ops[len(ops) // 3]):
        page.evaluate("name => { location.hash = name; }", op)
        until(page, "document.querySelector('#graph .item.sel')?.dataset.op ?? null", op)
        assert page.evaluate(DRAWN) <= LIMIT
    assert "closed" in full.inner_text()
    # The selected stays: all ops around it are what there is room for.
    page.locator('[data-level="none"]').click()
    assert page.locator("#graph .item.sel").get_attribute("data-op") == ops[len(ops) // 3]
    assert 0.9 * LIMIT <= page.evaluate(DRAWN) <= LIMIT
    page.locator('[data-level="all"]').click()
    assert full.inner_text() == ""
    assert opened.complaints == []


def test_the_minimap_is_there_when_it_helps(open_page: Open) -> None:
    page = open_page(render_html(synthetic.resnet18(), RenderOptions()), scheme="dark").page
    minimap = page.locator("#minimap")
    until(page, "document.querySelector('#minimap').classList.contains('idle')")
    for _ in range(5):
        page.locator("#zoom-in").click()
    until(page, "document.querySelector('#minimap').classList.contains('idle')", False)
    dark = """() => { const c = document.querySelector('#minimap'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
      let inked = 0, white = 0; for (let i = 0; i < d.length; i += 4) { inked += d[i + 3] > 0; white += d[i + 3] > 200 && Math.min(d[i], d[i + 1], d[i + 2]) > 235; }
      return [inked, white]; }"""  # noqa: E501
    inked, white = page.evaluate(dark)
    assert inked > 300
    assert white < inked / 20
    before = page.locator("#graph .view").get_attribute("transform")
    minimap.click(position={"x": 20, "y": 20})
    assert page.locator("#graph .view").get_attribute("transform") != before


def test_who_wants_no_motion_gets_none(open_page: Open, everything: bytes) -> None:
    page = open_page(everything, reduced_motion="reduce").page
    moving: Any = page.evaluate("""() => [...document.querySelectorAll('*')].filter(e => {
      const css = getComputedStyle(e);
      return css.transitionDuration.split(',').some(t => parseFloat(t) > 0) || css.scrollBehavior === 'smooth';
    }).map(e => e.tagName).slice(0, 5)""")  # noqa: E501
    assert moving == []
