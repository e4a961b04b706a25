"""Colours of the experiments' figures: one hue per thing, on light and on dark.

Plain and residual are vermilion and blue, after Okabe and Ito's palette, which every
common kind of colour blindness keeps apart; the other hues are from it, too, darkened
or lightened until text in them has a contrast of 4.5 on its paper.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.colouring import palette

LIGHT = {
    "plain": "#c2410c", "residual": "#0b62b8", "theory": "#3b4657", "sgd": "#946200",
    "momentum": "#00775a", "adam": "#a0408f", "changing": "#7a3ee0",
}  # fmt: skip
"""Name of a CSS variable (without ``--``) -> colour on light."""

DARK = {
    "plain": "#ff8a5b", "residual": "#66b2ff", "theory": "#c3ccd9", "sgd": "#e0a93b",
    "momentum": "#35c99c", "adam": "#e58fd3", "changing": "#b48cff",
}  # fmt: skip
"""The same names -> colour on dark."""


def stylesheet() -> str:
    """``figure.css`` as it is in the package."""
    sheet = Path(str(files("resnet_viz"))) / "templates" / "assets" / "figure.css"
    return sheet.read_text("utf-8")


def page_css() -> str:
    """Variables for both themes, and every rule: what a page needs."""
    return f"{palette.css_variables()}\n{figure_css()}"


def figure_css() -> str:
    """The same without the palette, for a page that has it already."""
    return f":root{{{_variables(LIGHT)}}}\n:root.dark{{{_variables(DARK)}}}\n{stylesheet()}"


def static_css(options: RenderOptions) -> str:
    """The rules for a file that stands alone, in one theme; ``auto`` is light.

    ``currentColor`` stays: it is how a series hands its one colour to all its parts.
    """
    grounds = {"dark": palette.DARK | DARK, "paper": palette.PAPER | LIGHT}
    colours = grounds.get(options.theme, palette.LIGHT | LIGHT)
    rules = stylesheet().partition("/* rules */")[2].partition("/* interactive */")[0]
    return re.sub(r"var\(--([\w-]+)\)", lambda m: colours[m[1]], rules).strip()


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())
