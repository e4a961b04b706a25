"""What a page shows before its scripts, without them, and of a network too large to draw."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.page.to_html import render_html
from tests.browser.conftest import Opened
from tests.reporting import synthetic
from tests.reporting.test_large import layers

# Where every drawn thing stands inside of the drawing.
PLACES = """() => {
  const found = {}, from = document.getElementById('graph').getBoundingClientRect();
  for (const thing of document.querySelectorAll('#graph g[data-group],#graph g[data-op]')) {
    const box = thing.querySelector('rect.box,rect.op').getBoundingClientRect();
    found[thing.dataset.group || thing.dataset.op] = [box.x - from.x, box.y - from.y, box.width];
  }
  return found;
}"""


@pytest.fixture(scope="module")
def resnet50() -> bytes:
    return render_html(synthetic.resnet50(), RenderOptions())


@pytest.mark.parametrize("width", [1280, 1920])
def test_scripts_take_over_without_moving_anything(
    open_page: Callable[..., Opened], chromium: Any, tmp_path: Path, resnet50: bytes, width: int
) -> None:
    live = open_page(resnet50, width=width)
    assert live.complaints == []
    # The same page, whose code is not what the policy allows.
    still = tmp_path / "still.html"
    still.write_bytes(re.sub(rb'(id="code">).*?(</script>)', rb"\1{}\2", resnet50, flags=re.S))
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto(still.as_uri())
    before, after = page.evaluate(PLACES), live.page.evaluate(PLACES)
    page.close()
    assert before.keys() == after.keys()
    assert len(before) > 20
    for name, place in before.items():
        assert place == pytest.approx(after[name], abs=1.0), name


def test_without_scripts_all_of_it_is_readable(
    open_page: Callable[..., Opened], resnet50: bytes
) -> None:
    page = open_page(resnet50, java_script_enabled=False).page
    for section in ("findings", "diagram", "gradient-flow", "skips", "attributions", "costs"):
        assert page.locator(f"#{section}").is_visible()
    assert page.locator('#graph [data-group="layer3.2"] text').first.is_visible()
    assert page.locator("#flow-chart .bar").first.is_visible()
    assert page.locator('#layers tr[data-op="fc/linear#0"]').is_visible()
    assert page.locator("#layers tr[data-op]").count() == len(synthetic.resnet50().graph.ops)
    # Nothing is offered that could not work.
    assert page.locator("button:not(.ref):visible").count() == 0
    assert page.get_by_text("Without JavaScript the drawing stands still").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_a_browser_that_cannot_unpack_says_so_and_stays_readable(
    chromium: Any, tmp_path: Path, resnet50: bytes
) -> None:
    file = tmp_path / "page.html"
    file.write_bytes(resnet50)
    page = chromium.new_page()
    page.add_init_script("delete globalThis.DecompressionStream")
    page.goto(file.as_uri())
    page.wait_for_selector("html.nojs")
    assert page.get_by_text("This browser cannot unpack").is_visible()
    assert page.locator('#graph [data-group="layer3.2"]').is_visible()
    assert page.locator("button:not(.ref):visible").count() == 0
    page.close()


def test_a_sandboxed_frame_runs_the_page(chromium: Any, resnet50: bytes) -> None:
    page = chromium.new_page()
    source = html.escape(resnet50.decode())
    page.set_content(f'<iframe width="900" height="700" sandbox="allow-scripts" srcdoc="{source}">')
    frame = page.frame_locator("iframe")
    frame.locator("html[data-ready]").wait_for(state="attached")
    assert frame.locator('#graph [data-key="g:layer3.2"]').is_visible()
    page.close()


def test_a_long_table_is_leafed_through_sorted_and_searched_as_a_whole(
    open_page: Callable[..., Opened],
) -> None:
    report = layers(900)
    options = RenderOptions(diagram_only=True, fold_repeats=False)
    opened = open_page(render_html(report, options))
    page = opened.page
    rows, told = page.locator("#layers tbody tr"), page.locator("#layers-pager output")
    assert (rows.count(), told.inner_text()) == (500, "rows 1 to 500 of 900")
    page.locator('#layers-pager [data-step="1"]').click()
    assert (rows.count(), told.inner_text()) == (400, "rows 501 to 900 of 900")
    page.locator("#all-ops").check()
    assert told.inner_text() == "rows 1 to 500 of 1,800"
    # The last layer is the widest.
    page.locator("#layers th", has_text="Params").locator("button").click()
    assert rows.first.get_attribute("data-op") == "layers.899.fc/linear#0"
    page.locator("#search").fill("layers.777.")
    assert (rows.count(), told.inner_text()) == (2, "rows 1 to 2 of 2")
    # Every op can be come to: the boxes around it open, and others close for it.
    page.locator("#search").press("Enter")
    page.wait_for_selector('#graph [data-op="layers.777.fc/linear#0"]')
    assert page.locator("#graph [data-key]").count() < 1_100
    assert opened.complaints == []
