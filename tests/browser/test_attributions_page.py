"""The contact sheet in a real Chromium: its filters, its switch, its shapes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting import render
from resnet_viz.reporting.attributions.pictures import View, composed
from tests.browser.conftest import Opened
from tests.reporting import attributed, synthetic

pytestmark = pytest.mark.browser

Open = Callable[..., Opened]
REPORT = attributed.everything(synthetic.resnet18(), ranks=1)


@pytest.fixture(scope="module")
def data() -> bytes:
    return render(REPORT, "html")


def seen(page: Any, cell: int) -> np.ndarray:
    shot = page.locator(".cell .shot").nth(cell)
    shot.scroll_into_view_if_needed()
    image = Image.open(io.BytesIO(shot.screenshot())).convert("RGB").resize((96, 96))
    return np.asarray(image, float)[8:-8, 8:-8]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_quiet_and_as_wide_as_its_window(
    open_page: Open, data: bytes, scheme: str, width: int
) -> None:
    opened = open_page(data, width=width, scheme=scheme)
    assert opened.complaints == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    alone = open_page(render(REPORT.attributions, "html"), width=width, scheme=scheme)  # type: ignore[arg-type]
    assert alone.complaints == []
    assert alone.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("cell", [0, 1])
def test_filters_make_the_pictures_that_are_composed_in_python(
    open_page: Open, data: bytes, cell: int
) -> None:
    page = open_page(data).page
    found = REPORT.attributions
    assert found is not None
    item = found.maps[cell]
    assert item.heatmap is not None
    views: list[tuple[str, View]] = [("overlay", "overlay"), ("heat", "heat"), ("signed", "signed")]
    for name, view in views:
        page.locator(f"#view-{name}").check(force=True)
        image = composed(item.heatmap, item.signed, view, (96, 96), found.pictures[0])
        wanted = np.asarray(image, float)[8:-8, 8:-8]
        assert np.abs(seen(page, cell) - wanted).mean() < 7, (name, cell)
    page.locator("#view-masked").check(force=True)
    image = composed(item.heatmap, item.signed, "masked", (96, 96), found.pictures[0])
    wanted = np.asarray(image, float)[8:-8, 8:-8]
    paper = (np.abs(wanted - [236, 239, 244]).max(2) < 2).mean()
    covered = (np.abs(seen(page, cell) - [238, 241, 246]).max(2) < 4).mean()
    assert covered == pytest.approx(paper, abs=0.05)
    page.locator("#view-original").check(force=True)
    photo = np.asarray(Image.open(io.BytesIO(found.pictures[0].data)).convert("RGB"), float)
    assert np.abs(seen(page, cell) - photo[8:-8, 8:-8]).mean() < 6


def test_the_switch_works_by_keyboard_and_without_scripts(open_page: Open, data: bytes) -> None:
    page = open_page(data, java_script_enabled=False).page
    page.locator("#view-overlay").focus()
    before = seen(page, 0)
    page.keyboard.press("ArrowRight")
    assert page.locator("#view-heat").is_checked()
    assert np.abs(seen(page, 0) - before).mean() > 20
    assert page.locator(".cell .scale:visible").first.inner_text().split()[0] == "0"


def test_coloured_nodes_look_alike_in_page_and_picture(open_page: Open) -> None:
    options = RenderOptions(color_by="attribution", collapse="none")
    page = open_page(render(REPORT, "html", options)).page
    live = page.evaluate(
        "[...document.querySelectorAll('#graph .op')].map(e => e.getAttribute('class')).sort()"
    )
    svg = render(REPORT, "svg", options).decode()
    import re

    assert live == sorted(re.findall(r'<rect class="(op [^"]*)"', svg))
    signs = page.evaluate("document.querySelectorAll('#graph .sign').length")
    assert signs == len(re.findall(r'class="sign ', svg)) - 2
    assert "of F(x) − F(x′)" in page.evaluate(
        "[...document.querySelectorAll('#graph .river title')].map(e => e.textContent).join()"
    )
