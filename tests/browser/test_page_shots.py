"""The look of a whole report, against small pictures of it that somebody has looked at.

The pictures are a twelfth of the page in 64 colours: no word can be read, but what is missing,
moved, or in another colour is seen. The page is set in the bundled font, so that another machine's
fonts do not matter. To renew them after a change of the look, and to look at them then::

    RENEW_SHOTS=1 python -m pytest tests/browser/test_page_shots.py
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.page.to_html import render_html
from tests.browser.conftest import Opened
from tests.reporting import laboratory, synthetic

pytestmark = pytest.mark.browser

Open = Callable[..., Opened]

SHOTS = Path(__file__).parent / "shots"
DENSITY, SHRINK = 0.25, 3  # dots per pixel of the page; of these, dots per dot of a picture
BAND = 20  # rows of a small picture: 240 pixels of the page
# Of 255: what other antialiasing and a line that breaks elsewhere may make of it.
ALL, ONE = 5.0, 22.0
STILL: dict[str, Any] = {"reduced_motion": "reduce", "bypass_csp": True}


@pytest.fixture(scope="module")
def data() -> bytes:
    small = synthetic.resnet((3, 3, 3), bottleneck=False, widths=(16, 32, 64), name="resnet20")
    return render_html(laboratory.equipped(small), RenderOptions())


def small_picture(page: Any) -> Image.Image:
    shot = Image.open(io.BytesIO(page.screenshot(full_page=True, animations="disabled")))
    size = shot.width // SHRINK, shot.height // SHRINK
    return shot.convert("RGB").resize(size, Image.Resampling.BOX)


def apart(a: Image.Image, b: Image.Image) -> tuple[float, float]:
    """Mean difference of two pictures, and that of the band where they differ most."""
    size = max(a.width, b.width), max(a.height, b.height)
    # What one of them lacks at its end counts as different.
    grounds = [Image.new("RGB", size, colour) for colour in ("magenta", "lime")]
    for ground, picture in zip(grounds, (a, b), strict=True):
        ground.paste(picture, (0, 0))
    difference = ImageChops.difference(*grounds)
    bands = [
        sum(ImageStat.Stat(difference.crop((0, top, size[0], min(top + BAND, size[1])))).mean) / 3
        for top in range(0, size[1], BAND)
    ]
    return sum(bands) / len(bands), max(bands)


def alike(a: Image.Image, b: Image.Image) -> bool:
    everywhere, somewhere = apart(a, b)
    return everywhere <= ALL and somewhere <= ONE


@pytest.mark.parametrize("width", [390, 1280, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_looks_as_it_did(open_page: Open, data: bytes, width: int, scheme: str) -> None:
    opened = open_page(data, width=width, scheme=scheme, device_scale_factor=DENSITY, **STILL)
    page = opened.page
    page.add_style_tag(content='*{font-family:"RV Sans","RV Symbols"!important}')
    page.evaluate("document.fonts.ready")
    page.locator("#zoom-fit").click()
    page.mouse.move(1, 1)
    seen = small_picture(page)
    kept = SHOTS / f"{scheme}-{width}.png"
    if os.environ.get("RENEW_SHOTS"):
        SHOTS.mkdir(exist_ok=True)
        seen.quantize(64).save(kept, optimize=True)
        assert kept.stat().st_size < 40_000
        return
    reference = Image.open(kept).convert("RGB")
    assert alike(seen, reference), f"{apart(seen, reference)}: look at it, then renew the pictures"
    if width != 1280:
        return
    # The same test sees a section that is gone, one that is empty, and the other theme.
    for harm in (
        "document.querySelector('#skips').remove()",
        "document.querySelector('#graph').replaceChildren()",
    ):
        page.evaluate(harm)
        assert not alike(small_picture(page), reference)
    other = Image.open(SHOTS / f"{'dark' if scheme == 'light' else 'light'}-{width}.png")
    assert not alike(other.convert("RGB"), reference)
