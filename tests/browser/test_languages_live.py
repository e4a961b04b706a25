"""A report in Persian in a real browser: right to left, and what is Latin in its own order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.registry import resolve_renderer
from tests.browser.conftest import Opened
from tests.reporting import attributed, laboratory, synthetic

pytestmark = pytest.mark.browser

IN_ORDER = """texts => texts.map(text => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, at = node.data.indexOf(text);
    if (at < 0 || !node.parentElement.checkVisibility()) continue;
    if (node.parentElement.closest('script,style,svg')) continue;
    const lefts = [...text].map((_, i) => {
      const range = document.createRange();
      range.setStart(node, at + i);
      range.setEnd(node, at + i + 1);
      const box = range.getClientRects()[0];
      return box ? [box.top, box.left] : null;
    }).filter(Boolean);
    const row = lefts.filter(([top]) => Math.abs(top - lefts[0][0]) < 4);
    return row.length > 1 && row.every(([, x], i) => !i || x >= row[i - 1][1] - 0.5);
  }
  return null;
})"""


def test_a_persian_report_reads_from_the_right(open_page: Callable[..., Opened]) -> None:
    report = laboratory.equipped(attributed.everything(synthetic.resnet18()))
    page_bytes = resolve_renderer("html")(report, RenderOptions(lang="fa"))
    for width in (1280, 390):
        opened = open_page(page_bytes, width=width)
        page = opened.page
        root = page.evaluate(
            "[document.documentElement.dir, document.documentElement.lang, "
            "document.documentElement.scrollWidth - innerWidth]"
        )
        assert root == ["rtl", "fa", 0]
        assert opened.complaints == []
        assert opened.requests[1:] == []
        heading = page.locator("#findings h2").bounding_box()
        assert heading["x"] + heading["width"] > width - 60
        names = ["layer1.0.conv1", "1×64×56×56", "F(x) + x", "He et al. 2015, arXiv:1512.03385"]
        found = page.evaluate(IN_ORDER, names)
        assert False not in found
        assert found.count(None) <= 1
        page.locator("[data-op]").first.click()
        assert page.locator("#inspector").inner_text().strip()
        # A name that would turn the sentence around it keeps to itself.
        said = page.evaluate(
            "names => RV.say('{i} of {n}', names)",
            {"i": "a\u2069\u202eb\u2067", "n": "\u20683\u2069"},
        )
        assert said.startswith("\u2068ab\u2067\u2069\u2069")
        assert said.endswith("\u2068\u20683\u2069\u2069")
