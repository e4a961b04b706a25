"""Heat maps as pictures: numbers to colours, once, in Python.

Colours carry meaning, so they come from two small tables and not from a
plotting library: *unsigned* maps climb from dark to light with evenly growing
lightness (magma, CC0), *signed* ones leave white for blue or for red, a pair
that every common kind of colour blindness keeps apart. Overlays lie on the grey
photograph, and what says nothing stays transparent.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from resnet_viz.core.attribution import Heatmap, Picture

if TYPE_CHECKING:
    from PIL import Image

Colour: TypeAlias = tuple[int, int, int]

UNSIGNED: tuple[Colour, ...] = (
    (0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122),
    (229, 80, 100), (251, 135, 97), (254, 194, 135), (252, 253, 191),
)  # fmt: skip
SIGNED: tuple[Colour, ...] = (
    (5, 48, 97), (33, 102, 172), (67, 147, 195), (146, 197, 222), (247, 247, 247),
    (244, 165, 130), (214, 96, 77), (178, 24, 43), (103, 0, 31),
)  # fmt: skip

SIDE = 256
"""Longest side of an embedded picture, in pixels; a report stays small."""

CLIP = 0.98
"""Share of the pixels whose magnitude the colour scale covers; a few extreme
pixels would otherwise leave the rest blank (Captum's default, too)."""

_QUALITY = 74


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """A coloured map and the ends of its colour scale.

    Attributes:
        uri: WebP picture as a ``data:`` URI.
        low: Value at the left end of the colour scale.
        high: Value at its right end.
        width: Pixels.
        height: Pixels.
    """

    uri: str
    low: float
    high: float
    width: int
    height: int


def colour_at(table: tuple[Colour, ...], t: float) -> Colour:
    """The colour at ``t`` in [0, 1], interpolated between the entries of the table."""
    position = min(max(t, 0.0), 1.0) * (len(table) - 1)
    i = min(int(position), len(table) - 2)
    part = position - i
    a, b = table[i], table[i + 1]
    return (
        round(a[0] + (b[0] - a[0]) * part),
        round(a[1] + (b[1] - a[1]) * part),
        round(a[2] + (b[2] - a[2]) * part),
    )


def scale_of(heatmap: Heatmap, signed: bool) -> tuple[float, float]:
    """The values at both ends of the colour scale: see ``CLIP``; symmetric if signed."""
    step = (heatmap.high - heatmap.low) / 255
    magnitudes = sorted(
        abs(heatmap.low + byte * step) if signed else heatmap.low + byte * step
        for byte in heatmap.data
    )
    top = magnitudes[min(len(magnitudes) - 1, int(CLIP * len(magnitudes)))] if magnitudes else 0.0
    # A map with a handful of hot pixels would be clipped to nothing at all.
    top = top or (magnitudes[-1] if magnitudes else 0.0)
    return (-top, top) if signed else (min(0.0, heatmap.low), top)


def photograph(picture: Picture) -> tuple[str, int, int]:
    """The picture as a small ``data:`` URI, with its width and height in pixels."""
    image = _open(picture)
    return _webp(image), image.width, image.height


def overlay(heatmap: Heatmap, signed: bool, picture: Picture | None = None) -> Overlay:
    """The map in colours, over the grey photograph where there is one.

    Args:
        heatmap: What to show; stretched smoothly to the photograph's size.
        signed: Whether to colour around zero (blue and red) or from dark to light.
        picture: The photograph the map belongs to.
    """
    from PIL import Image

    low, high = scale_of(heatmap, signed)
    table = SIGNED if signed else UNSIGNED
    size = _open(picture).size if picture else _fit(heatmap.width, heatmap.height, grow=True)
    grey = Image.frombytes("L", (heatmap.width, heatmap.height), heatmap.data)
    grey = grey.resize(size, Image.Resampling.BICUBIC)
    span = high - low or 1.0
    step = (heatmap.high - heatmap.low) / 255
    places = [(heatmap.low + byte * step - low) / span for byte in range(256)]
    colours = [colour_at(table, t) for t in places]
    strengths = [abs(2 * t - 1) if signed else t for t in places]
    alpha = [round(220 * min(max(s, 0.0), 1.0) ** 0.7) for s in strengths]
    layers = [grey.point([c[k] for c in colours]) for k in range(3)]
    coloured = Image.merge("RGB", layers)
    if picture is not None:
        base = _open(picture).convert("L").point([70 + b * 170 // 255 for b in range(256)])
        coloured = Image.composite(coloured, base.convert("RGB"), grey.point(alpha))
    return Overlay(uri=_webp(coloured), low=low, high=high, width=size[0], height=size[1])


def _open(picture: Picture) -> Image.Image:
    from PIL import Image

    image = Image.open(io.BytesIO(picture.data)).convert("RGB")
    size = _fit(image.width, image.height)
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _fit(width: int, height: int, *, grow: bool = False) -> tuple[int, int]:
    factor = SIDE / max(width, height)
    if factor >= 1 and not grow:
        return width, height
    return max(1, round(width * factor)), max(1, round(height * factor))


def _webp(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=_QUALITY, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
