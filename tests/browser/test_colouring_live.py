"""The switch of colours: the drawing, the bar and the words follow it, and back again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.page.to_html import render_html
from tests.browser.conftest import Opened
from tests.browser.test_diagram_live import MARKS, static_marks
from tests.reporting import attributed, synthetic
from tests.reporting.test_colouring import timed

pytestmark = pytest.mark.browser

Open = Callable[..., Opened]
FILLS = """() => Object.fromEntries(
    [...document.querySelectorAll('#graph .item')]
        .map(g => [g.dataset.key, g.querySelector('.face')])
        .map(([key, face]) => [key, face.getAttribute('class').match(/rel(?:box)?-(\\w+)/)])
        .map(([key, found]) => [key, found ? found[1] : null]))"""
SCALE = """() => ({
    hidden: document.getElementById('scale').hidden,
    title: document.querySelector('#scale figcaption').textContent,
    ticks: [...document.querySelectorAll('#scale .tick')].map(t => t.textContent),
    notes: [...document.querySelectorAll('#scale li')].map(t => t.textContent)})"""


def expected(report: Report, by: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """What the drawing by this quantity has: steps by key, and its scale."""
    data = diagram(report, RenderOptions(color_by=by))
    steps = {f"n:{n['id']}": str(n["c"]) for n in data["nodes"] if "c" in n}
    return steps | {f"g:{g['id']}": str(g["c"]) for g in data["groups"]}, data["colouring"]


def test_every_colouring_can_be_chosen(open_page: Open) -> None:
    report = timed(attributed.everything(synthetic.resnet(), inputs=1, ranks=1))
    opened = open_page(render_html(report, RenderOptions(diagram_only=True)))
    page = opened.page
    page.locator('[data-level="none"]').click()
    names = page.eval_on_selector_all("#colour option", "o => o.map(e => e.value)")
    assert names == ["kind", "params", "macs", "memory", "time", "gradient", "attribution"]
    assert page.evaluate(SCALE)["hidden"]
    assert set(page.evaluate(FILLS).values()) == {None}
    bars = page.locator("#graph .grad").count()
    assert bars
    for by in names[1:]:
        page.select_option("#colour", by)
        steps, scale = expected(report, by)
        drawn = page.evaluate(FILLS)
        # An open box has no colour of its own: what is in it has.
        ops = {key: step for key, step in drawn.items() if key.startswith("n:")}
        assert {k: s for k, s in ops.items() if s is not None} == {
            k: steps[k] for k in ops if k in steps
        }
        told = page.evaluate(SCALE)
        assert not told["hidden"]
        assert told["title"] == f"{scale['of']}, {'log' if scale['log'] else 'linear'} scale"
        assert told["ticks"] == scale["ticks"]
        assert told["notes"] == [text for text in (scale["none"], *scale["signs"]) if text]
        assert page.locator("#graph .grad:not([class*=rel-])").count() == 0
        assert page.locator("#graph .sign").count() == sum(
            s != 0
            for s in (
                n.get("sign", 0) for n in diagram(report, RenderOptions(color_by=by))["nodes"]
            )
        )
    page.locator('[data-level="all"]').click()
    steps, _ = expected(report, "attribution")
    closed = {k: s for k, s in page.evaluate(FILLS).items() if k.startswith("g:") and s is not None}
    assert closed
    assert closed == {k: steps[k] for k in closed}
    page.locator('[data-level="none"]').click()
    page.select_option("#colour", "kind")
    assert page.locator("#graph .grad").count() == bars
    assert set(page.evaluate(FILLS).values()) == {None}
    assert page.evaluate(SCALE)["hidden"]
    assert page.locator("#graph .sign, #graph .toned").count() == 0
    assert opened.complaints == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_begins_with_the_colours_asked_for(open_page: Open, width: int) -> None:
    report = timed(synthetic.resnet18())
    page = open_page(render_html(report, RenderOptions(color_by="time")), width=width).page
    assert page.input_value("#colour") == "time"
    first = page.evaluate(SCALE)
    titles = page.eval_on_selector_all("#graph .node > title", "t => t.map(e => e.textContent)")
    assert any("takes 1.00 µs" in text for text in titles)
    # By another quantity the step is told, by the first one the number again.
    page.select_option("#colour", "memory")
    other = page.eval_on_selector_all("#graph .node > title", "t => t.map(e => e.textContent)")
    assert any("memory of the outputs: " in text for text in other)
    page.select_option("#colour", "time")
    assert (
        page.eval_on_selector_all("#graph .node > title", "t => t.map(e => e.textContent)")
        == titles
    )
    assert page.evaluate(SCALE) == first
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = page.locator("#scale svg").bounding_box()
    assert box["width"] <= width


def test_what_is_written_on_colours_can_be_read_in_both_themes(open_page: Open) -> None:
    report = timed(synthetic.resnet18())
    for_each = """() => {
      const channel = v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      const light = css => {
        const [r, g, b] = css.match(/[\\d.]+/g).map(v => channel(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
      };
      const fill = element => light(getComputedStyle(element).fill);
      const onChip = '.chip-text, .times-text, .tag-text';
      return [...document.querySelectorAll('#graph .face[class*=rel]')].flatMap(face =>
        [...face.parentElement.querySelectorAll(':scope > text')].filter(t => !t.matches(onChip))
          .map(t => Math.max(fill(t) / fill(face), fill(face) / fill(t))));
    }"""
    for scheme in ("light", "dark"):
        page = open_page(render_html(report, RenderOptions(color_by="time")), scheme=scheme).page
        for level in ("blocks", "none"):
            page.locator(f'[data-level="{level}"]').click()
            found = page.evaluate(for_each)
            assert len(found) > 10
            assert min(found) >= 4.5


def test_the_page_paints_what_the_static_picture_does(open_page: Open) -> None:
    report = timed(attributed.everything(synthetic.resnet(), inputs=1, ranks=1))
    for begin, by in (("kind", "time"), ("kind", "gradient"), ("attribution", "attribution")):
        options = RenderOptions(color_by=begin, diagram_only=True)  # type: ignore[arg-type]
        page = open_page(render_html(report, options)).page
        page.select_option("#colour", by)
        for level in ("none", "blocks"):
            page.locator(f'[data-level="{level}"]').click()
            page.evaluate(
                "document.querySelectorAll('.sel').forEach(e => e.classList.remove('sel'))"
            )
            text = json.dumps(diagram(report, replace(options, color_by=by)))  # type: ignore[arg-type]
            # The page's numbers have six digits.
            data = json.loads(text, parse_float=lambda digits: float(f"{float(digits):.6g}"))
            box = page.locator("#graph").bounding_box()
            opened = [bool(x) for x in data["open"][level]]
            ours = static_marks(data, opened, box["width"] / box["height"])
            theirs = page.evaluate(MARKS)
            assert [(tag, a.get("class")) for tag, a, _ in ours] == [
                (tag, a.get("class")) for tag, a, _ in theirs
            ]
            if begin == by:  # then the numbers are told, too, and not only their steps
                assert [words for *_, words in ours] == [words for *_, words in theirs]
