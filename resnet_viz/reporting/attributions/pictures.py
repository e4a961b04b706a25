"""Photographs and maps as small pictures in a page.

One photograph per input and one grey map per cell are enough for every view: the page
colours, overlays and masks with SVG filters (``filters``), so a map is never shipped
twice. Pictures that stand alone (SVG, PNG) are composed here instead.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from resnet_viz.core.pictures import Heatmap, Picture
from resnet_viz.reporting.attributions.colours import (
    MAGNITUDE,
    SIGNED,
    UNSIGNED,
    Scale,
    colour_at,
    levels,
    opacity,
    scale_of,
    strength_of,
    threshold,
)

if TYPE_CHECKING:
    from PIL import Image

View = Literal["overlay", "heat", "signed", "masked"]

SIDE = 256
"""Longest side of an embedded picture, in pixels; a report stays small."""

MAP_SIDE = 176
"""Longest side of an embedded map of pixels, which is noise more often than not."""

COARSE = 64
"""Below this side an input's pixels are shown as squares: smoothing would invent some."""

_PHOTO, _MAP = 72, (88, 60, 36)  # WebP qualities; a smooth map is small in the best of them
_LARGE = 0.14  # bytes per pixel; a noisy map of more is encoded worse
_SMOOTH = 96  # pixels to which a layer's few places are enlarged; the browser does the rest
_PAPER = (236, 239, 244)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grey:
    """A map as a grey picture, ready to be coloured.

    Attributes:
        uri: ``data:`` URI; 0 is the scale's low end and 255 its high end.
        width: Pixels.
        height: Pixels.
        scale: What the ends are.
        threshold: Strength from which a place is among the strongest.
        coarse: Whether its pixels are to be seen.
    """

    uri: str
    width: int
    height: int
    scale: Scale
    threshold: float
    coarse: bool


def photograph(picture: Picture) -> tuple[str, int, int]:
    """The picture as a small ``data:`` URI, with its width and height in pixels."""
    image = opened(picture)
    if max(image.size) < COARSE:
        return _webp(image, lossless=True), image.width, image.height
    return _webp(image, _PHOTO), image.width, image.height


def grey(heatmap: Heatmap, signed: bool, *, layer: bool = False, most: int = MAP_SIDE) -> Grey:
    """The map as one grey picture.

    Args:
        heatmap: What to show.
        signed: Whether its scale is around zero.
        layer: Whether it is a layer's, to be enlarged smoothly, and not of an input's pixels.
        most: Longest side in pixels.
    """
    from PIL import Image

    scale = scale_of(heatmap, signed)
    found = levels(heatmap, scale)
    image = Image.frombytes("L", (heatmap.width, heatmap.height), found.tobytes())
    longest = max(image.size)
    smooth = layer and longest < _SMOOTH
    if smooth or longest > most:
        size = _fit(*image.size, min(_SMOOTH, most) if smooth else most)
        image = image.resize(size, Image.Resampling.BICUBIC)
    coarse = not layer and longest < COARSE
    return Grey(
        uri=_small(image, lossless=coarse),
        width=image.width,
        height=image.height,
        scale=scale,
        threshold=threshold(found, signed),
        coarse=coarse,
    )


def composed(
    heatmap: Heatmap,
    signed: bool,
    view: View,
    size: tuple[int, int],
    picture: Picture | None = None,
    *,
    layer: bool = False,
) -> Image.Image:
    """One view of a map as a picture of its own, in colour.

    Args:
        heatmap: What to show.
        signed: Whether its scale is around zero.
        view: Which.
        size: Width and height in pixels.
        picture: The photograph it belongs to; maps without one stand alone.
        layer: Whether it is a layer's, to be enlarged smoothly.
    """
    from PIL import Image

    found = levels(heatmap, scale_of(heatmap, signed))
    places = Image.frombytes("L", (heatmap.width, heatmap.height), found.tobytes())
    coarse = not layer and max(places.size) < COARSE
    places = places.resize(size, Image.Resampling.NEAREST if coarse else Image.Resampling.BICUBIC)
    table = (SIGNED if view != "heat" else MAGNITUDE) if signed else UNSIGNED
    colours = [colour_at(table, byte / 255) for byte in range(256)]
    strengths = [strength_of(byte, signed) for byte in range(256)]
    coloured = Image.merge("RGB", [places.point([c[k] for c in colours]) for k in range(3)])
    if picture is None or view in ("heat", "signed"):
        return coloured
    photo = enlarged(picture, size)
    if view == "masked":
        least = threshold(found, signed)
        shown = places.point([255 * (strength >= least) for strength in strengths])
        return Image.composite(photo, Image.new("RGB", size, _PAPER), shown)
    base = photo.convert("L").point([70 + b * 170 // 255 for b in range(256)]).convert("RGB")
    return Image.composite(
        coloured, base, places.point([round(255 * opacity(s)) for s in strengths])
    )


def enlarged(picture: Picture, size: tuple[int, int]) -> Image.Image:
    """The photograph at this size; few pixels stay squares."""
    from PIL import Image

    image = opened(picture)
    few = max(image.size) < COARSE
    return image.resize(size, Image.Resampling.NEAREST if few else Image.Resampling.LANCZOS)


def sprite(pictures: Sequence[Picture], columns: int) -> tuple[str, int, int]:
    """Small pictures of one size as one, row by row, with the size of one of them."""
    from PIL import Image

    images = [Image.open(io.BytesIO(p.data)).convert("RGB") for p in pictures]
    w, h = max(i.width for i in images), max(i.height for i in images)
    sheet = Image.new("RGB", (w * min(columns, len(images)), h * -(-len(images) // columns)))
    for k, image in enumerate(images):
        # Sixteen shades of a channel tell as much of a filter, in half the bytes.
        coarse = image.point([round(v / 17) * 17 for v in range(256)] * 3)
        sheet.paste(coarse, (k % columns * w, k // columns * h))
    return _webp(sheet, lossless=True), w, h


def embedded(image: Image.Image, *, exact: bool = False) -> str:
    """A composed picture as a ``data:`` URI that every SVG viewer can read.

    PNG where that is smaller, as of squares and empty paper, whose edges JPEG would also
    blur into a noise that no later encoding gets rid of; JPEG of all else.

    Args:
        image: What to embed.
        exact: Whether every pixel counts, as of squares that are enlarged later.
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    kind, data = "png", buffer.getvalue()
    if not exact:
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=88, subsampling=0)
        kind, data = min((kind, data), ("jpeg", buffer.getvalue()), key=lambda two: len(two[1]))
    return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")


def opened(picture: Picture) -> Image.Image:
    """The picture in RGB, at most ``SIDE`` pixels a side."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture.data)).convert("RGB")
    if max(image.size) <= SIDE:
        return image
    return image.resize(_fit(*image.size, SIDE), Image.Resampling.LANCZOS)


def _fit(width: int, height: int, side: int) -> tuple[int, int]:
    factor = side / max(width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _small(image: Image.Image, *, lossless: bool) -> str:
    """A map as small as it need be: noise hides what a worse encoding does to it."""
    found = ""
    for quality in _MAP:
        found = _webp(image, quality, lossless=lossless)
        if lossless or len(found) * 3 < 4 * _LARGE * image.width * image.height:
            break
    return found


def _webp(image: Image.Image, quality: int = _PHOTO, *, lossless: bool = False) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=quality, lossless=lossless, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
