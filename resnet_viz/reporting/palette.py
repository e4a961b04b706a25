"""Every colour, once: what the pages and the static pictures are painted with.

The page takes them as CSS variables for light and dark; a static picture has the
same style sheet with the variables replaced, because SVG viewers and resvg do not
all know them.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from resnet_viz.core.report import RenderOptions

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
    "conv1": "#fbc38a", "conv3": "#f2774a", "conv": "#dd5a3a", "norm": "#eaeef4",
    "act": "#fde9a0", "add": "#8fcbfb", "mul": "#93dfbf", "cat": "#aebffb",
    "linear": "#cdbdfb", "pool": "#c2e8d3", "attention": "#f7b6d6", "shape": "#f4f6f9",
    "io": "#dde4ee", "other": "#f0f2f7", "raised": "#c4243b", "on-raised": "#ffffff",
    "grad-0": "#46327e", "grad-1": "#365c8d", "grad-2": "#277f8e", "grad-3": "#1fa187",
    "grad-4": "#4ac16d", "grad-5": "#a0da39", "grad-6": "#f3d81c",
    "rel-0": "#f1f5f3", "rel-1": "#dcefe7", "rel-2": "#c0e6d8", "rel-3": "#9edac5",
    "rel-4": "#7acbb0", "rel-5": "#57b99b", "rel-6": "#3aa587",
    "relbox-0": "#f6f9f7", "relbox-1": "#e8f4ef", "relbox-2": "#d9efe6", "relbox-3": "#c7e9dc",
    "relbox-4": "#b3e1d1", "relbox-5": "#9cd8c4", "relbox-6": "#84ceb6",
    "plus": "#c9433f", "minus": "#2f74b5",
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
    "conv1": "#f0ad6b", "conv3": "#e8693c", "conv": "#d2502f", "norm": "#b9c3d2",
    "act": "#e8cf78", "add": "#6bb5f2", "mul": "#66caa0", "cat": "#8ba2f2",
    "linear": "#b29df2", "pool": "#93cfae", "attention": "#ec93c0", "shape": "#8995a7",
    "io": "#a9b6c9", "other": "#a4b0c1", "raised": "#ff7b8a", "on-raised": "#131a24",
    "relbox-0": "#1a2226", "relbox-1": "#1b2b2b", "relbox-2": "#1b3531", "relbox-3": "#1b4038",
    "relbox-4": "#1a4c40", "relbox-5": "#185948", "relbox-6": "#156751",
    "plus": "#ef7a70", "minus": "#6aaee6",
}  # fmt: skip
"""The same names -> colour on dark."""

GRADIENT_STEPS = 7
COLOUR_STEPS = 7
"""Steps of the scale of a colouring: ``rel-0`` to ``rel-6``; ``relbox-…`` under text."""
_RULES, _RIVER, _COLOURED = "/* rules */", "/* river */", "/* coloured */"
_STATIC_END = "/* interactive */"


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

    ``auto`` is light: a picture cannot know what it will be pasted into.

    Args:
        options: Its theme.
        river: Whether edges are drawn as wide as the gradient they carry.
        coloured: Whether nodes are coloured by something else than their kind.
    """
    colours = DARK if options.theme == "dark" else LIGHT
    _, _, rules = stylesheet().partition(_RULES)
    rules = rules.partition(_STATIC_END)[0]
    always, _, more = rules.partition(_RIVER)
    streams, _, colours_of = more.partition(_COLOURED)
    rules = always + (streams if river else "") + (colours_of if coloured else "")
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
