"""The colours of a scale: seven steps that are equally far apart for the eye.

Each ramp runs along a curve in CIELAB and is cut into pieces of equal ΔE (CIE 1976), by
falling or rising lightness all the way: so equal ratios of a number look equally different,
whoever looks (simulated after Machado, Oliveira & Fernandes 2009), in grey, and on paper.
Tests hold these numbers to that.
"""

from __future__ import annotations

COLOUR_STEPS = 7
"""Steps of the scale of a colouring: ``rel-0`` to ``rel-6``; ``relbox-…`` under drawings."""
DEEP = 4
"""From this step on what is written on a colour takes the other ink, in every theme."""

_LIGHT = ("#fdf6d0", "#b5e0b7", "#74bfb2", "#3c9daf", "#2c78a4", "#2a528e", "#2a2560")
_DARK = ("#201f50", "#284980", "#256890", "#218091", "#4c9a8e", "#7eb48b", "#a9cf86")
_ON_LIGHT, _ON_DARK = ("#1a2331", "#ffffff"), ("#ffffff", "#131a24")
_BOX = 0.4  # of the colour in that of a box, which is drawn upon


def light_scale(ground: str) -> dict[str, str]:
    """The variables of a scale on a light ground."""
    return _variables(_LIGHT, _ON_LIGHT, ground, "#d9dce1")


def dark_scale(ground: str) -> dict[str, str]:
    """The variables of a scale on a dark ground."""
    return _variables(_DARK, _ON_DARK, ground, "#3d4653")


def _variables(
    steps: tuple[str, ...], inks: tuple[str, str], ground: str, none: str
) -> dict[str, str]:
    found = {f"rel-{i}": colour for i, colour in enumerate(steps)}
    found |= {f"relbox-{i}": _mixed(colour, ground) for i, colour in enumerate(steps)}
    return found | {
        "rel-none": none,
        "relbox-none": _mixed(none, ground),
        "on-rel": inks[0],
        "on-deep": inks[1],
    }


def _mixed(colour: str, ground: str) -> str:
    pairs = ((int(c[i : i + 2], 16) for c in (colour, ground)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(_BOX * a + (1 - _BOX) * b):02x}" for a, b in pairs)
