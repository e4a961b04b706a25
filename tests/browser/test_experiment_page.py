"""The pages of experiments in a real browser: quiet, within their window, in both themes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resnet_viz.reporting import render
from tests.browser.conftest import Opened
from tests.reporting import experiments_synthetic as synthetic
from tests.reporting import laboratory

EVERY = {**synthetic.ALL, **laboratory.VALUES}


FIGURES = """[...document.querySelectorAll('svg.rv-figure')]
  .filter(svg => svg.getBoundingClientRect().width > 0)"""


@pytest.fixture(scope="module", params=sorted(EVERY))
def page(request: pytest.FixtureRequest) -> bytes:
    return render(EVERY[request.param](), "html")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_it_is_quiet_and_can_be_read_within_its_window(
    open_page: Callable[..., Opened], page: bytes, width: int, scheme: str
) -> None:
    """One visit for all of it: opening a page costs more than looking at it."""
    opened = open_page(page, width=width, scheme=scheme)
    view: Any = opened.page
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in opened.requests)
    shown = view.evaluate(f"() => {FIGURES}.map(svg => svg.classList[1])")
    assert set(shown) == {"wide" if width > 820 else "narrow"}
    # Text is scaled with its drawing; at both widths it must keep a size to read.
    sizes = view.evaluate(
        f"""() => {FIGURES}
          .map(svg => 11.5 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)"""
    )
    assert min(sizes) >= 10
    assert max(sizes) <= 16
    # Boxes are computed with the fonts' own widths; the browser must agree.
    view.evaluate("document.fonts.ready")
    outside = view.evaluate(
        f"""() => {FIGURES}.flatMap(svg => [...svg.querySelectorAll('text')]).filter(t => {{
          const a = t.getBoundingClientRect(), b = t.ownerSVGElement.getBoundingClientRect();
          return a.left < b.left - 2 || a.right > b.right + 2;
        }}).map(t => t.textContent)"""
    )
    assert outside == []


@pytest.mark.parametrize("name", ["comparison", "history"])
def test_findings_are_cards_that_wrap(open_page: Callable[..., Opened], name: str) -> None:
    view: Any = open_page(render(EVERY[name](), "html"), width=400).page
    beyond = view.evaluate(
        """() => [...document.querySelectorAll('.finding, .finding *')]
          .filter(e => e.getBoundingClientRect().right > innerWidth).length"""
    )
    assert view.locator(".finding").count() > 0
    assert beyond == 0


def test_the_theme_button_repaints_the_figures(open_page: Callable[..., Opened]) -> None:
    opened = open_page(render(synthetic.degradation((0,)), "html"), scheme="light")
    view: Any = opened.page
    colour = """() => getComputedStyle(
      document.querySelector('.wide .plotted .h-plain .curve')).stroke"""
    light = view.evaluate(colour)
    button = view.locator("#theme")
    button.click()
    assert button.get_attribute("aria-label") == "Theme: light"
    button.click()
    assert button.get_attribute("aria-label") == "Theme: dark"
    assert view.evaluate(colour) != light
    assert opened.complaints == []


def test_it_reads_without_scripts(open_page: Callable[..., Opened]) -> None:
    opened = open_page(render(EVERY["history"](), "html"), java_script_enabled=False)
    assert opened.page.locator("svg.rv-figure.wide").first.is_visible()
    assert opened.page.locator("#theme").is_hidden()


def test_keys_reach_links_and_wide_tables(open_page: Callable[..., Opened]) -> None:
    view: Any = open_page(render(synthetic.degradation((0,)), "html"), width=400).page
    focusable = view.evaluate(
        """() => [...document.querySelectorAll('.tablewrap')]
          .filter(w => w.scrollWidth > w.clientWidth + 1).map(w => w.tabIndex)"""
    )
    assert focusable
    assert set(focusable) == {0}
    view.keyboard.press("Tab")
    assert view.evaluate("document.activeElement.textContent") == "Skip to content"


def test_long_tables_unfold_by_keyboard_and_all_of_them_on_paper(
    open_page: Callable[..., Opened],
) -> None:
    opened = open_page(render(synthetic.depth(), "html"))
    view: Any = opened.page
    states = "[...document.querySelectorAll('details')].map(d => d.open)"
    assert view.evaluate(states) == [False, False]
    view.locator("summary").first.focus()
    view.keyboard.press("Enter")
    assert view.evaluate(states) == [True, False]
    view.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert view.evaluate(states) == [True, True]
    view.evaluate("dispatchEvent(new Event('afterprint'))")
    assert view.evaluate(states) == [True, False]
    assert opened.complaints == []
