"""The page of a forward that raised: told at the top, and in sight in the drawing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import resnet_viz as rv
from resnet_viz.core.errors import TraceError
from tests.browser.conftest import Opened
from tests.reporting.test_raised import mismatch

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page() -> bytes:
    with pytest.raises(TraceError) as caught:
        rv.report(mismatch(), input_size=(1, 3, 64, 64), name=HOSTILE)
    assert caught.value.report is not None
    return rv.render(caught.value.report, "html")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_banner_and_the_mark_are_in_sight(
    open_page: Callable[..., Opened], page: bytes, width: int, scheme: str
) -> None:
    opened = open_page(page, width=width, scheme=scheme)
    view: Any = opened.page
    banner = view.locator("#raised")
    assert banner.bounding_box()["y"] < 200
    for words in ("RuntimeError: Given groups=1", "layer2.1.conv2", "in_channels=128"):
        assert words in banner.inner_text()
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    node = view.locator("#graph .node:has(rect.raised)")
    for level in ("blocks", "all", "none"):
        view.locator(f"#diagram [data-level={level}]").click()
        assert node.count() == 1
        assert "raised here" in node.inner_html()
    assert opened.complaints == []


def test_the_button_leads_to_the_op(open_page: Callable[..., Opened], page: bytes) -> None:
    opened = open_page(page)
    view: Any = opened.page
    view.get_by_role("button", name="Show it in the diagram").click()
    view.wait_for_timeout(300)
    inside = view.evaluate(
        """() => {
          const rect = css => document.querySelector(css).getBoundingClientRect();
          const node = rect('#graph .node:has(rect.raised)'), box = rect('#graph');
          return box.top < innerHeight && node.left >= box.left && node.right <= box.right
            && node.top >= box.top && node.bottom <= box.bottom;
        }"""
    )
    assert inside
    assert "raised here" in view.locator("#inspector").inner_text()
    assert opened.complaints == []


def test_long_words_of_an_exception_stay_on_a_narrow_page(open_page: Callable[..., Opened]) -> None:
    class Loud(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("unbroken" * 20)

    with pytest.raises(TraceError) as caught:
        rv.report(Loud(), input_size=(1, 4))
    assert caught.value.report is not None
    assert caught.value.report.findings
    opened = open_page(rv.render(caught.value.report, "html"), width=390)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
