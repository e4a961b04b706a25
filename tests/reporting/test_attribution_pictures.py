"""Maps as colours: monotone tables, honest scales, and what a filter is told."""

from __future__ import annotations

import base64
import io
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnet_viz.core.pictures import Heatmap, Picture
from resnet_viz.reporting.attributions import colours, filters, pictures
from tests.reporting import attributed


def picture(width: int = 40, height: int = 30) -> Picture:
    data = io.BytesIO()
    Image.new("RGB", (width, height), (120, 60, 200)).save(data, "PNG")
    return Picture(
        name="a.png", width=width, height=height, media_type="image/png", data=data.getvalue()
    )


def decode(uri: str) -> Image.Image:
    kind, _, data = uri.partition(";base64,")
    assert kind == "data:image/webp"
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


@given(st.integers(1, 600), st.integers(1, 600))
@settings(max_examples=20, deadline=None)
def test_photographs_shrink_to_fit_and_never_grow(width: int, height: int) -> None:
    _, w, h = pictures.photograph(picture(width, height))
    assert max(w, h) <= pictures.SIDE
    assert (w, h) == (width, height) or max(w, h) == pictures.SIDE


def lightness(colour: tuple[int, int, int]) -> float:
    r, g, b = ((c / 255) ** 2.2 for c in colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def test_signed_colours_leave_zero_white_and_are_symmetric_in_lightness() -> None:
    assert min(colours.colour_at(colours.SIGNED, 0.5)) > 240
    for table, where in ((colours.SIGNED, (0.0, 0.5)), (colours.UNSIGNED, (0.0, 1.0))):
        steps = [lightness(colours.colour_at(table, where[0] + i / 40 * (where[1] - where[0])))
                 for i in range(41)]  # fmt: skip
        assert steps == sorted(steps)
    falling = [lightness(colours.colour_at(colours.SIGNED, 0.5 + i / 80)) for i in range(41)]
    assert falling == sorted(falling, reverse=True)
    assert colours.MAGNITUDE[::-1] == colours.MAGNITUDE


def test_an_overlay_is_red_where_positive_blue_where_negative_grey_where_zero() -> None:
    data = bytes([0] * 12 + [127] * 12 + [255] * 12)
    heatmap = Heatmap(width=6, height=6, low=-1.0, high=1.0, data=data)
    image = pictures.composed(heatmap, True, "overlay", (60, 60), picture(60, 60))
    top, middle, bottom = (image.getpixel((30, y)) for y in (3, 30, 57))
    assert isinstance(top, tuple)
    assert isinstance(middle, tuple)
    assert isinstance(bottom, tuple)
    assert top[2] > top[0] + 30
    assert bottom[0] > bottom[2] + 30
    assert max(middle) - min(middle) < 12
    scale = colours.scale_of(heatmap, True)
    assert (scale.low, scale.high) == (-1.0, 1.0)


@pytest.mark.parametrize("signed", [False, True])
def test_an_all_zero_map_draws_the_grey_photograph(signed: bool) -> None:
    heatmap = Heatmap(width=4, height=4, low=0.0, high=0.0, data=bytes(16))
    image = pictures.composed(heatmap, signed, "overlay", (40, 30), picture())
    pixel = image.getpixel((10, 10))
    assert isinstance(pixel, tuple)
    assert max(pixel) - min(pixel) < 12
    masked = pictures.composed(heatmap, signed, "masked", (40, 30), picture())
    assert masked.getcolors() == [(1200, pictures._PAPER)]


def test_a_few_hot_pixels_do_not_blank_the_rest() -> None:
    data = bytes([255] + [20] * 399)
    scale = colours.scale_of(
        Heatmap(width=20, height=20, low=0.0, high=255.0, data=data), signed=False
    )
    assert (scale.low, scale.high) == (0.0, 20.0)


@given(st.binary(min_size=64, max_size=64), st.booleans(), st.floats(-2, 2), st.floats(0.01, 4))
@settings(max_examples=40, deadline=None)
def test_a_coarse_map_travels_exactly(data: bytes, signed: bool, low: float, span: float) -> None:
    heatmap = Heatmap(width=8, height=8, low=low, high=low + span, data=data)
    grey = pictures.grey(heatmap, signed)
    scale = grey.scale
    got = np.asarray(decode(grey.uri).convert("L"), float) / 255 * (scale.high - scale.low)
    wanted = np.clip(colours.numbers(heatmap), scale.low, scale.high)
    assert grey.coarse
    if scale.high > scale.low:
        assert np.abs(got + scale.low - wanted).max() <= (scale.high - scale.low) / 500


def test_maps_of_pixels_are_small_and_smooth_ones_keep_their_shades() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 224 * 224, dtype=np.uint8).tobytes()
    worst = pictures.grey(Heatmap(width=224, height=224, low=-1.0, high=1.0, data=noise), True)
    assert max(worst.width, worst.height) <= pictures.SIDE
    assert len(worst.uri) < 30_000
    smooth = pictures.grey(attributed.heat(96), False)
    assert len(smooth.uri) < 7_000
    got = np.asarray(decode(smooth.uri).convert("L"), float)
    wanted = colours.levels(attributed.heat(96), smooth.scale).astype(float)
    assert np.abs(got - wanted).mean() < 4


def test_the_strongest_fifth_is_what_a_mask_leaves() -> None:
    data = np.random.default_rng(1).permutation(256).astype(np.uint8).tobytes()
    heatmap = Heatmap(width=16, height=16, low=0.0, high=1.0, data=data)
    masked = pictures.composed(heatmap, False, "masked", (16, 16), picture(16, 16))
    covered = {colour: n for n, colour in masked.getcolors() or []}
    assert 0.18 * 256 <= 256 - covered[pictures._PAPER] <= 0.22 * 256


def test_filters_hold_the_tables_that_pictures_are_made_of() -> None:
    root = ElementTree.fromstring(f"<defs>{filters.shared_filters()}</defs>")
    tables = {"f-heat-u": colours.UNSIGNED, "f-heat-s": colours.MAGNITUDE,
              "f-signed-s": colours.SIGNED}  # fmt: skip
    for name, table in tables.items():
        (found,) = (f for f in root if f.get("id") == name)
        assert found.get("color-interpolation-filters") == "sRGB"
        for k, c in enumerate("RGB"):
            (func,) = found.iter(f"feFunc{c}")
            values = [255 * float(v) for v in func.attrib["tableValues"].split()]
            assert values == pytest.approx([colour[k] for colour in table], abs=0.5)


@given(st.booleans(), st.floats(0.02, 1.0))
def test_a_mask_filter_falls_at_its_threshold(signed: bool, threshold: float) -> None:
    text = str(filters.mask_filter("m", signed, threshold))
    slope, intercept = map(float, re.findall(r'(?:slope|intercept)="([-\d.]+)"', text))
    assert -slope * threshold == pytest.approx(intercept - 0.5, rel=0.02, abs=0.06)
    assert slope < -10
    assert ("1 0 1" in text) == signed
    assert math.isfinite(intercept)
