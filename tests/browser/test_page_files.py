"""What the report hands out: SVG, PNG and CSV of its panels, as files that stand on their own."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.page.to_html import render_html
from tests.browser.conftest import Opened
from tests.reporting import laboratory, synthetic

pytestmark = pytest.mark.browser

Open = Callable[..., Opened]

SVG = "{http://www.w3.org/2000/svg}"


def saved(page: Any, panel: Any, kind: str) -> tuple[str, bytes]:
    """The name and the bytes of what a panel's menu saves."""
    menu = panel.locator(".save").first
    menu.scroll_into_view_if_needed()
    menu.locator("summary").click()
    with page.expect_download() as download:
        menu.get_by_role("button", name=kind, exact=True).click()
    assert menu.get_attribute("open") is None
    found = download.value
    return found.suggested_filename, Path(found.path()).read_bytes()


def table(data: bytes) -> list[list[str]]:
    text = data.decode("utf-8-sig")
    assert text.endswith("\r\n")
    return list(csv.reader(io.StringIO(text, newline="")))


def test_the_diagram_as_it_is_now(open_page: Open) -> None:
    opened = open_page(render_html(synthetic.resnet18(), RenderOptions()), scheme="dark")
    page, panel = opened.page, opened.page.locator(".canvas")
    page.locator('#graph [data-toggle="layer1.0"]').click()
    page.keyboard.press("/")
    page.keyboard.type("layer4")
    name, data = saved(page, panel, "SVG")
    assert name == "resnet18-diagram.svg"
    root = ElementTree.fromstring(data)
    # Everything that is drawn, at its own size, with no word of the page's style sheet left.
    ops = {e.get("data-op") for e in root.iter() if e.get("data-op")}
    drawn = page.evaluate("[...document.querySelectorAll('#graph .node')].map(e => e.dataset.op)")
    assert ops == set(drawn)
    assert "layer1.0.conv1/conv2d#0" in ops
    assert not [e for e in root.iter() if e.get("class") or e.get("style") or e.get("tabindex")]
    assert "var(" not in data.decode()
    box = [float(v) for v in root.get("viewBox", "").split()]
    assert box[2:] == [float(root.get("width", 0)), float(root.get("height", 0))]
    # The page is dark now, and nothing is dimmed by the search or ringed by the selection.
    ground = next(e for e in root if e.tag == f"{SVG}rect")
    assert int(ground.get("fill", "#ffffff")[1:3], 16) < 60
    assert not [e for e in root.iter() if e.get("opacity") not in (None, "1")]
    focus = page.evaluate(
        "getComputedStyle(document.querySelector('#graph')).getPropertyValue('--focus')"
    )
    assert focus.strip() not in data.decode()
    assert page.locator("#graph .item.dim").count() > 0
    assert "@font-face" in data.decode()
    name, picture = saved(page, panel, "PNG")
    assert name == "resnet18-diagram.png"
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    wide, high = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    assert wide == pytest.approx(2 * float(root.get("width", 0)), abs=2)
    assert high == pytest.approx(2 * float(root.get("height", 0)), abs=2)
    name, data = saved(page, panel, "CSV")
    rows = table(data)
    graph = synthetic.resnet18().graph
    assert {row[0] for row in rows[1:]} >= {str(op.id) for op in graph.ops}
    params = {row[0]: row[3] for row in rows}
    assert int(params["layer1.0.conv1/conv2d#0"]) == graph["layer1.0.conv1/conv2d#0"].params
    assert opened.complaints == []
    assert all(r.startswith(("file:", "data:", "blob:")) for r in opened.requests)


def test_the_file_looks_as_the_page_does(open_page: Open, chromium: Any) -> None:
    opened = open_page(render_html(synthetic.resnet18(), RenderOptions()))
    page = opened.page
    _, data = saved(page, page.locator(".canvas"), "SVG")
    colours = """() => [...document.querySelectorAll('[data-op] > rect')].map(e => [
        e.parentElement.dataset.op, getComputedStyle(e).fill,
        getComputedStyle(e).stroke.match(/\\d+/g).slice(0, 3).join()])"""
    page.keyboard.press("Escape")
    page.mouse.move(2, 2)
    there = page.evaluate(colours.replace("'[data-op]", "'#graph [data-op]"))
    other = chromium.new_page()
    other.set_content(f"<!doctype html><body>{data.decode()}")
    assert other.evaluate(colours) == there
    other.close()


def test_every_panel_has_one_menu_and_every_file_a_safe_name(open_page: Open) -> None:
    report = laboratory.equipped(synthetic.resnet18())
    opened = open_page(render_html(report, RenderOptions(title='../..\\a/b:‮*?"<x>|c')))
    page = opened.page
    assert (
        page.evaluate(
            """[...document.querySelectorAll('figure.plot, .chart, main .tablewrap')].filter(
             panel => (panel.matches('.tablewrap') ? panel.parentElement : panel)
               .querySelectorAll('.save').length !== 1).length"""
        )
        == 0
    )
    labels = page.locator(".save > summary").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert all(label.startswith("Download ") for label in labels)
    for panel, kind in [(".chart", "CSV"), (".chart", "SVG"), ("#skips .panel", "CSV")]:
        name, data = saved(page, page.locator(panel).first, kind)
        assert not set(name) & set('/\\:*?"<>|\u202e'), name
        assert ".." not in name
        assert name.startswith("a-b-x-c-")
        assert data
        if kind == "SVG":
            bars = [e for e in ElementTree.fromstring(data).iter() if e.get("data-op")]
            assert len(bars) == page.locator("#flow-chart [data-op]").count() > 0
    figure = page.locator("figure.plot").first
    name, data = saved(page, figure, "SVG")
    assert ElementTree.fromstring(data).tag == f"{SVG}svg"
    assert saved(page, figure, "PNG")[1][:4] == b"\x89PNG"
    # A menu is left by Escape, and the focus stays at it.
    summary = page.locator(".chart .save > summary")
    summary.click()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert page.locator(".save[open]").count() == 0
    assert page.evaluate("document.activeElement.closest('.save') !== null")
    assert opened.complaints == []


def test_tables_as_csv_hold_numbers_and_no_formulas(open_page: Open) -> None:
    report = synthetic.resnet18()
    opened = open_page(render_html(report, RenderOptions()))
    page = opened.page
    rows = table(saved(page, page.locator(".panel:has(#layers)"), "CSV")[1])
    head, *body = rows
    assert len(body) >= len(report.graph.ops)
    at = head.index("Params")
    wanted = sum(op.params for op in report.graph.ops)
    assert sum(float(row[at] or 0) for row in body) == pytest.approx(wanted, rel=0.01)
    # Sorting and filtering are the reader's; every row is in the file.
    risky = ["=1+1", "+1", "-x", "@a", "\t=1", " =1", "\uff1d1", "\u200b=1"]
    plain = ['say "hi", now', "a\r\nb", "ok", ""]
    made = page.evaluate("rows => RV.csv(rows)", [[t, -1.5, 1e-7] for t in (*risky, *plain)])
    assert table(made.encode()) == [
        *([f"'{text}", "-1.5", "1e-7"] for text in risky),
        *([text, "-1.5", "1e-7"] for text in plain),
    ]
    said = {
        "36.9 k": 36900, "1,234": 1234, "803 kB": 803000, "-1.2e-03": -0.0012, "4.09 G": 4.09e9,
        "−3": -3, "0": 0, "1×64×56": None, "21 %": None, "1.2 ± 0.1": None, "-": None, "e5": None,
    }  # fmt: skip
    for text, number in said.items():
        assert page.evaluate("text => RV.numberIn(text) ?? null", text) == number
    assert opened.complaints == []
