"""The drawing's style: the diagram's own rules and a few more, for a page or a still picture."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.colouring import palette

LIGHT = {
    "added": "#0b7a4b", "removed": "#c4243b", "changed": "#9a5b00", "same": "#5d6b7e",
    "bar": "#8fa3bf",
}  # fmt: skip
"""Name of a CSS variable (without ``--``) -> colour on light."""

DARK = {
    "added": "#3fd398", "removed": "#ff7b8a", "changed": "#f0b04a", "same": "#97a4b6",
    "bar": "#5f7694",
}  # fmt: skip
"""The same names -> colour on dark."""

PAPER = {
    "added": "#0a5c38", "removed": "#8f1527", "changed": "#7a4700", "same": "#5a5a5a",
    "bar": "#7d8794",
}  # fmt: skip
"""The same names -> colour in print: apart in grey, too."""

_RULES, _END = "/* rules */", "/* interactive */"


def page_css() -> str:
    """Variables of both themes and all rules, for a page that has the palette's variables."""
    marks = palette.stylesheet().partition(_RULES)[2].partition("/* river */")[0]
    return f":root{{{_variables(LIGHT)}}}\n:root.dark{{{_variables(DARK)}}}\n{marks}\n{_sheet()}"


def static_css(options: RenderOptions) -> str:
    """The rules for a file that stands alone, in one theme; ``auto`` is light."""
    colours = {"dark": DARK, "paper": PAPER}.get(options.theme, LIGHT)
    base = palette.palette_of(options.theme)
    rules = _sheet().partition(_RULES)[2].partition(_END)[0]
    own = re.sub(r"var\(--([\w-]+)\)", lambda m: (base | colours)[m[1]], rules).strip()
    return f"{palette.static_css(options)}\n{own}"


def _sheet() -> str:
    path = Path(str(files("resnet_viz"))) / "templates" / "assets" / "side_by_side.css"
    return path.read_text("utf-8")


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())
