"""Numbers of a map to colours: the two tables, and where their ends lie.

Colours carry meaning, so they come from two small tables and not from a plotting
library: *unsigned* maps climb from dark to light with evenly growing lightness (magma,
CC0), *signed* ones leave white for blue or for red, a pair that every common kind of
colour blindness keeps apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from resnet_viz.core.pictures import Heatmap

if TYPE_CHECKING:
    import numpy as np

Colour: TypeAlias = tuple[int, int, int]

UNSIGNED: tuple[Colour, ...] = (
    (0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122),
    (229, 80, 100), (251, 135, 97), (254, 194, 135), (252, 253, 191),
)  # fmt: skip
SIGNED: tuple[Colour, ...] = (
    (5, 48, 97), (33, 102, 172), (67, 147, 195), (146, 197, 222), (247, 247, 247),
    (244, 165, 130), (214, 96, 77), (178, 24, 43), (103, 0, 31),
)  # fmt: skip
MAGNITUDE: tuple[Colour, ...] = (*UNSIGNED[:0:-1], *UNSIGNED)
"""Of a signed map without its signs: the unsigned table out of the middle to both ends."""

CLIP = 0.98
"""Share of the pixels whose magnitude the colour scale covers; a few extreme
pixels would otherwise leave the rest blank (Captum's default, too)."""

MASKED = 0.2
"""Share of the places that a masked picture shows: the strongest."""

_LEAST = 0.02
"""Of the scale: what is weaker is nothing, and never among the strongest."""

_OPAQUE, _POWER = 0.86, 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The ends of a map's colour scale; symmetric around zero where signed."""

    low: float
    high: float
    signed: bool


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


def text_of(colour: Colour) -> str:
    """The colour as CSS and SVG take it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def channel(table: tuple[Colour, ...], index: int) -> str:
    """Red, green or blue of a table, as an SVG filter's ``tableValues``."""
    return " ".join(f"{colour[index] / 255:.3g}" for colour in table)


def opacity(strength: float) -> float:
    """How much of its photograph a place of this strength in [0, 1] hides."""
    return float(_OPAQUE * min(max(strength, 0.0), 1.0) ** _POWER)


def numbers(heatmap: Heatmap) -> np.ndarray:
    """The map's numbers, ``(height, width)``."""
    import numpy as np

    step = (heatmap.high - heatmap.low) / 255
    places = np.frombuffer(heatmap.data, np.uint8).reshape(heatmap.height, heatmap.width)
    table: np.ndarray = heatmap.low + np.arange(256) * step
    return table[places]


def scale_of(heatmap: Heatmap, signed: bool) -> Scale:
    """Where the colours end: see ``CLIP``."""
    import numpy as np

    values = numbers(heatmap)
    sizes = np.sort((np.abs(values) if signed else values).ravel())
    top = float(sizes[min(sizes.size - 1, int(CLIP * sizes.size))]) if sizes.size else 0.0
    # A map with a handful of hot pixels would be clipped to nothing at all.
    top = top or (float(sizes[-1]) if sizes.size else 0.0)
    return Scale(low=-top if signed else min(0.0, heatmap.low), high=top, signed=signed)


def levels(heatmap: Heatmap, scale: Scale) -> np.ndarray:
    """Where each number lies on the scale, as bytes: 0 its low end, 255 its high end."""
    import numpy as np

    span = (scale.high - scale.low) or 1.0
    parts = np.clip((numbers(heatmap) - scale.low) / span, 0.0, 1.0)
    if scale.high == scale.low:
        parts = np.full_like(parts, 0.5 if scale.signed else 0.0)
    found: np.ndarray = np.rint(255 * parts).astype(np.uint8)
    return found


def strength_of(byte: float, signed: bool) -> float:
    """How strong a byte of ``levels`` is, from 0 to 1, without its sign."""
    return abs(byte / 127.5 - 1) if signed else byte / 255


def threshold(found: np.ndarray, signed: bool) -> float:
    """The strength from which a place is among the strongest: see ``MASKED``."""
    import numpy as np

    table = np.array([strength_of(byte, signed) for byte in range(256)])
    return max(float(np.quantile(table[found], 1 - MASKED)), _LEAST)
