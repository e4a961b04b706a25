"""The scale's colours: even for the eye, for any eye, in grey, and readable when written on."""

from __future__ import annotations

import itertools
import math

import pytest

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.colouring import palette
from resnet_viz.reporting.colouring.scale_colours import COLOUR_STEPS, DEEP

Triple = tuple[float, float, float]

THEMES = {"light": palette.LIGHT, "dark": palette.DARK} | (
    {"paper": palette.PAPER} if hasattr(palette, "PAPER") else {}
)
# Machado, Oliveira & Fernandes 2009 (IEEE TVCG 15:6), table 1, severity 1.0, on linear RGB.
MACHADO = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}  # fmt: skip
SRGB = (
    (0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)  # fmt: skip
EYES = ["every colour", *MACHADO]


def times(matrix: tuple[Triple, ...], v: Triple) -> Triple:
    a, b, c = (sum(m * x for m, x in zip(row, v, strict=True)) for row in matrix)
    return a, b, c


def linear(colour: str) -> Triple:
    """Linear RGB (IEC 61966-2-1)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return r, g, b


def seen(colour: str, eyes: str) -> Triple:
    """CIELAB under D65, as these eyes see the colour."""
    rgb = linear(colour)
    if eyes in MACHADO:
        r, g, b = times(MACHADO[eyes], rgb)
        rgb = min(max(r, 0), 1), min(max(g, 0), 1), min(max(b, 0), 1)
    xyz, white = times(SRGB, rgb), times(SRGB, (1.0, 1.0, 1.0))

    def f(t: float) -> float:
        return math.cbrt(t) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29

    x, y, z = (f(a / b) for a, b in zip(xyz, white, strict=True))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def contrast(a: str, b: str) -> float:
    """WCAG 2.1's contrast ratio."""
    dark, bright = sorted(times(SRGB, linear(colour))[1] for colour in (a, b))
    return (bright + 0.05) / (dark + 0.05)


def steps(theme: dict[str, str]) -> list[str]:
    return [theme[f"rel-{i}"] for i in range(COLOUR_STEPS)]


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_neighbours_are_equally_far_apart(theme: dict[str, str]) -> None:
    found = [seen(colour, EYES[0]) for colour in steps(theme)]
    apart = [math.dist(a, b) for a, b in itertools.pairwise(found)]
    middle = sum(apart) / len(apart)
    assert all(abs(d / middle - 1) < 0.15 for d in apart)
    assert middle > 15


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_everybody_sees_every_step(theme: dict[str, str], eyes: str) -> None:
    found = [seen(colour, eyes) for colour in steps(theme)]
    light = [lab[0] for lab in found]
    # Monotone, so it reads in grey and in print: darker means more on light, less on dark.
    assert light in (sorted(light), sorted(light, reverse=True))
    assert all(math.dist(a, b) > 8 for a, b in itertools.pairwise(found))
    assert all(abs(a - b) > 5 for a, b in itertools.pairwise(light))
    assert math.dist(found[0], found[-1]) > 60
    grey = seen(theme["rel-none"], eyes)
    assert all(math.dist(grey, step) > 10 for step in found)


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_boxes_run_the_same_way(theme: dict[str, str], eyes: str) -> None:
    found = [seen(theme[f"relbox-{i}"], eyes)[0] for i in range(COLOUR_STEPS)]
    full = [seen(colour, eyes)[0] for colour in steps(theme)]
    assert [a < b for a, b in itertools.pairwise(found)] == [
        a < b for a, b in itertools.pairwise(full)
    ]


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_what_is_written_on_a_colour_can_be_read(theme: dict[str, str]) -> None:
    for i, colour in enumerate(steps(theme)):
        assert contrast(colour, theme["on-deep" if i >= DEEP else "on-rel"]) >= 4.5
        assert contrast(theme[f"relbox-{i}"], theme["fg"]) >= 4.5
    assert contrast(theme["rel-none"], theme["on-rel"]) >= 4.5
    assert contrast(theme["relbox-none"], theme["fg"]) >= 4.5
    assert contrast(theme["card"], theme["mut"]) >= 4.5  # the numbers of the scale


@pytest.mark.parametrize("theme", ["auto", *THEMES])
def test_a_still_picture_has_the_colours_of_its_theme(theme: str) -> None:
    colours = THEMES["light" if theme == "auto" else theme]
    css = palette.static_css(RenderOptions(theme=theme), coloured=True)  # type: ignore[arg-type]
    for i, colour in enumerate(steps(colours)):
        assert f".rel-{i} {{ fill: {colour}; }}" in css
    assert f"text.on-deep {{ fill: {colours['on-deep']}; }}" in css
