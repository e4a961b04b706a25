"""Every colour, once: what the pages and the static pictures are painted with.

The page takes them as CSS variables for light and dark; a static picture has the
same style sheet with the variables replaced, because SVG viewers and resvg do not
all know them.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from resnet_viz.core.report import RenderOptions, Theme
from resnet_viz.reporting.colouring.scale_colours import dark_scale, light_scale

LIGHT = {
    "bg": "#f6f7fa", "card": "#ffffff", "fg": "#1a2331", "mut": "#5d6b7e", "line": "#d8dee8",
    "edge": "#9aa5b5", "focus": "#1769d2", "on-op": "#1a2331", "op-line": "#1a23312e",
    "skip-identity": "#e0156f", "skip-projection": "#7a3ee0", "skip-scaled": "#0a8fae",
    "skip-gate": "#0b8a5b", "skip-concat": "#2b62d9", "trunk": "#b7c6da", "branch": "#eda63a",
    "block": "#fff5e6", "block-line": "#e58a12", "block-fg": "#8a4b00",
    "unit": "#f4f7fd", "unit-line": "#8ba3c9", "unit-fg": "#45597d",
    "inv": "#eafaf6", "inv-line": "#2aa88b", "inv-fg": "#0f6b57",
    "group": "#ffffff", "group-line": "#c9d1dd",
    "stage-0": "#e9f3fe", "stage-1": "#e5f9f2", "stage-2": "#fdf8dd", "stage-3": "#f5eefd",
    "stage-4": "#fdeef2", "stage-5": "#eef1f5",
    "conv1": "#fbc38a", "conv3": "#f2774a", "conv": "#e26444", "norm": "#eaeef4",
    "act": "#fde9a0", "add": "#8fcbfb", "mul": "#93dfbf", "cat": "#aebffb",
    "linear": "#cdbdfb", "pool": "#c2e8d3", "attention": "#f7b6d6", "shape": "#f4f6f9",
    "io": "#dde4ee", "other": "#f0f2f7", "raised": "#c4243b", "on-raised": "#ffffff",
    "grad-0": "#46327e", "grad-1": "#365c8d", "grad-2": "#277f8e", "grad-3": "#1fa187",
    "grad-4": "#4ac16d", "grad-5": "#a0da39", "grad-6": "#f3d81c",
    "plus": "#c9433f", "minus": "#2f74b5",
    **light_scale("#ffffff"),
}  # fmt: skip
"""Name of a CSS variable (without ``--``) -> colour on light."""

DARK = LIGHT | {
    "bg": "#0e131a", "card": "#151c26", "fg": "#e6ebf2", "mut": "#97a4b6", "line": "#2a3544",
    "edge": "#64738a", "focus": "#6cb4ff", "on-op": "#131a24", "op-line": "#00000055",
    "skip-identity": "#ff5c9f", "skip-projection": "#b48cff", "skip-scaled": "#3cc7e6",
    "skip-gate": "#3fd398", "skip-concat": "#7aa5ff", "trunk": "#4b607f", "branch": "#d99a36",
    "block": "#2a2114", "block-line": "#d9831a", "block-fg": "#f4c585",
    "unit": "#1a2434", "unit-line": "#5674a6", "unit-fg": "#b4c6e4",
    "inv": "#12291f", "inv-line": "#2aa88b", "inv-fg": "#8fe0cb",
    "group": "#18212d", "group-line": "#46566d",
    "stage-0": "#122031", "stage-1": "#10251f", "stage-2": "#252212", "stage-3": "#20192d",
    "stage-4": "#2a1920", "stage-5": "#1a2029",
    "conv1": "#f0ad6b", "conv3": "#e8693c", "conv": "#d95a38", "norm": "#b9c3d2",
    "act": "#e8cf78", "add": "#6bb5f2", "mul": "#66caa0", "cat": "#8ba2f2",
    "linear": "#b29df2", "pool": "#93cfae", "attention": "#ec93c0", "shape": "#8995a7",
    "io": "#a9b6c9", "other": "#a4b0c1", "raised": "#ff7b8a", "on-raised": "#131a24",
    "plus": "#ef7a70", "minus": "#6aaee6",
    **dark_scale("#151c26"),
}  # fmt: skip
"""The same names -> colour on dark."""

PAPER = LIGHT | {
    "bg": "#ffffff", "fg": "#000000", "mut": "#383838", "line": "#8c8c8c", "edge": "#4a4a4a",
    "on-op": "#000000", "op-line": "#404040",
    "skip-identity": "#b8004f", "skip-projection": "#4a1d9e", "skip-scaled": "#006d8f",
    "skip-gate": "#00693a", "skip-concat": "#1747ad", "trunk": "#8794a8", "branch": "#b8750f",
    "block": "#ffffff", "block-line": "#8f4e00", "block-fg": "#5c3200",
    "unit": "#ffffff", "unit-line": "#7187b0", "unit-fg": "#2c3f66",
    "inv": "#ffffff", "inv-line": "#1d7d67", "inv-fg": "#0a4a3c",
    "group": "#ffffff", "group-line": "#6e6e6e",
    **{f"stage-{i}": "#ffffff" for i in range(6)},
    "conv1": "#fbd9b5", "conv3": "#e89a72", "conv": "#cf7a58", "norm": "#ffffff",
    "act": "#fff6d6", "add": "#aed0f2", "mul": "#a5dcbf", "cat": "#b6c2f7",
    "linear": "#cfc3f4", "pool": "#dcefe3", "attention": "#f2bcd7", "shape": "#ffffff",
    "io": "#e6e6e6", "other": "#f2f2f2",
}  # fmt: skip
"""The same names -> colour for print: nothing so pale that it is lost, lines that carry."""

_PAPER_RULES = """
.rv-diagram .caret { display: none; }
.rv-diagram .box, .rv-diagram .card { stroke-width: 0.8; }
.rv-diagram .block { stroke-width: 1.1; }
.rv-diagram .f-inv { stroke-dasharray: 9 2; }
.rv-diagram .op, .rv-diagram .swatch, .rv-diagram .chip { stroke-width: 0.8; }
.rv-diagram .norm { stroke-width: 0.5; }
.rv-diagram .act { stroke-dasharray: 4 2; }
.rv-diagram .pool { stroke-dasharray: 1.2 1.8; }
.rv-diagram .shape { stroke-dasharray: 7 2 1.5 2; }
.rv-diagram .add, .rv-diagram .mul, .rv-diagram .cat { stroke-width: 1.4; }
.rv-diagram .linear, .rv-diagram .attention { stroke-width: 1.1; }
"""
"""Kinds of ops differ by their borders where a printer knows grey only."""

GRADIENT_STEPS = 7
_RULES, _RIVER, _COLOURED = "/* rules */", "/* river */", "/* coloured */"
_STATIC_END = "/* interactive */"


def palette_of(theme: Theme) -> dict[str, str]:
    """The colours of a still picture; ``auto`` is light: it cannot know where it will stand."""
    return {"dark": DARK, "paper": PAPER}.get(theme, LIGHT)


def stylesheet() -> str:
    """``diagram.css`` as it is in the package."""
    return _sheet().read_text("utf-8")


def css_variables() -> str:
    """The variables as CSS: light by default, dark for ``:root.dark``."""
    return "\n".join(
        f"{selector} {{\n{_rules(colours)}\n}}"
        for selector, colours in ((":root", LIGHT), (":root.dark", _changed()))
    )


def static_css(options: RenderOptions, *, river: bool = False, coloured: bool = False) -> str:
    """The diagram's style sheet for a file that stands alone, in one theme.

    Args:
        options: Its theme.
        river: Whether edges are drawn as wide as the gradient they carry.
        coloured: Whether nodes are coloured by something else than their kind.
    """
    colours = palette_of(options.theme)
    _, _, rules = stylesheet().partition(_RULES)
    rules = rules.partition(_STATIC_END)[0]
    always, _, more = rules.partition(_RIVER)
    streams, _, colours_of = more.partition(_COLOURED)
    rules = always + (streams if river else "") + (colours_of if coloured else "")
    rules += _PAPER_RULES if options.theme == "paper" else ""
    return re.sub(r"var\(--([\w-]+)\)", lambda m: colours[m[1]], rules).strip()


def _sheet() -> Path:
    return Path(str(files("resnet_viz"))) / "templates" / "assets" / "diagram.css"


def _changed() -> dict[str, str]:
    return {name: colour for name, colour in DARK.items() if LIGHT[name] != colour}


def _rules(colours: dict[str, str]) -> str:
    return "\n".join(f"  --{name}: {colour};" for name, colour in colours.items())


if __name__ == "__main__":
    _before, _mark, _after = stylesheet().partition(_RULES)
    _note = _before.partition(":root")[0]
    _sheet().write_text(f"{_note}{css_variables()}\n\n{_mark}{_after}", "utf-8")
