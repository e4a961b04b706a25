"""Two models side by side in a real browser: one thing pointed at is marked everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting import render
from tests.browser.conftest import Opened
from tests.reporting import synthetic
from tests.reporting.test_side_by_side import compared

WIDE = "svg.rv-pairs.wide .pair"


@pytest.fixture(scope="module")
def page() -> bytes:
    other = synthetic.resnet((3, 4, 6, 3), bottleneck=False)
    return render(compared(synthetic.resnet18(), other), "html")


def test_rows_tables_and_panel_are_one(open_page: Callable[..., Opened], page: bytes) -> None:
    opened = open_page(page)
    view: Any = opened.page
    rows = view.locator(WIDE)
    assert rows.count() == 10
    # Between its marks a row can be pointed at, too.
    box = rows.nth(2).bounding_box()
    view.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    assert view.locator("#parts tr.hl th").all_text_contents() == ["–"]
    view.mouse.click(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    assert rows.nth(2).get_attribute("aria-pressed") == "true"
    assert view.locator(".pair-panel tbody tr").count() == 1
    assert "layer1.2" in view.locator(".pair-panel tbody").text_content()
    assert view.locator("#differences tr.sel").count() == 1
    # By keyboard: the next row with parts on one side only.
    view.keyboard.press("ArrowDown")
    view.keyboard.press("ArrowDown")
    view.keyboard.press("Enter")
    assert rows.nth(4).get_attribute("aria-pressed") == "true"
    assert view.locator(".pair-panel tbody tr").count() == 2
    view.keyboard.press("End")
    view.keyboard.press(" ")
    assert view.locator(".pair-panel .all-equal").is_visible()
    view.keyboard.press("Escape")
    assert view.locator(".pair-panel .hint").is_visible()
    assert view.locator("tr.sel").count() == 0
    # And back: a line of a table chooses its row.
    view.locator("#parts tbody tr").nth(3).click()
    assert rows.nth(2).get_attribute("aria-pressed") == "true"
    names = view.evaluate(f"[...document.querySelectorAll('{WIDE}')].map(r => r.ariaLabel)")
    assert all(names)
    assert opened.complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_it_fits_its_window_and_its_letters_their_cards(
    open_page: Callable[..., Opened], page: bytes, width: int, scheme: str
) -> None:
    view: Any = open_page(page, width=width, scheme=scheme).page
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    view.evaluate("document.fonts.ready")
    shown = "svg.rv-pairs." + ("wide" if width > 820 else "narrow")
    assert view.locator(shown).is_visible()
    outside = view.evaluate(
        f"""() => [...document.querySelectorAll('{shown} .part')].flatMap(part => {{
          const card = part.querySelector('.box').getBoundingClientRect();
          return [...part.querySelectorAll('text:not(.times-text)')].filter(t => {{
            const b = t.getBoundingClientRect();
            return b.left < card.left - 1 || b.right > card.right + 1;
          }}).map(t => t.textContent);
        }})"""
    )
    assert outside == []
    sizes = view.evaluate(
        f"""() => [...document.querySelectorAll('{shown} text')]
          .map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a)"""
    )
    assert min(sizes) >= 8.5
    # Letters on the pale chips of equal parts can be read, in both themes.
    contrast = view.evaluate(CONTRAST, shown)
    assert min(contrast) >= 4.5


CONTRAST = """shown => {
  const rgb = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => [.2126, .7152, .0722].reduce((sum, w, i) => sum + w * linear(c[i] / 255), 0);
  const css = node => getComputedStyle(node);
  return [...document.querySelectorAll(shown + ' .is-equal .part')].flatMap(part => {
    const ground = rgb(css(part.querySelector('.box')).fill);
    const texts = [...part.querySelectorAll('.chip-text')];
    return [...part.querySelectorAll('.chip')].map((chip, i) => {
      const a = Number(css(chip).opacity);
      const face = rgb(css(chip).fill).map((v, k) => a * v + (1 - a) * ground[k]);
      const both = [light(face), light(rgb(css(texts[i]).fill))].sort((x, y) => y - x);
      return (both[0] + .05) / (both[1] + .05);
    });
  });
}"""


def test_it_is_there_without_scripts(open_page: Callable[..., Opened], page: bytes) -> None:
    view: Any = open_page(page, java_script_enabled=False).page
    assert view.locator("svg.rv-pairs.wide").is_visible()
    assert not view.locator(".pair-panel").is_visible()
    assert view.locator("#differences tbody tr").count() == 8


def test_it_is_read_in_persian(open_page: Callable[..., Opened]) -> None:
    value = compared(synthetic.resnet18(), synthetic.resnet18())
    opened = open_page(render(value, "html", RenderOptions(lang="fa")))
    view: Any = opened.page
    assert view.evaluate("document.documentElement.dir") == "rtl"
    outside = view.evaluate(
        """() => [...document.querySelectorAll('svg.rv-pairs.wide text')].filter(t => {
          const a = t.getBoundingClientRect(), b = t.ownerSVGElement.getBoundingClientRect();
          return a.left < b.left - 2 || a.right > b.right + 2;
        }).map(t => t.textContent)"""
    )
    assert outside == []
    assert opened.complaints == []
