"""What the colours, dashes and glyphs of a diagram mean; only those that occur."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resnet_viz.core import units
from resnet_viz.core.structure import SKIP_KINDS
from resnet_viz.reporting.fonts import text_width
from resnet_viz.reporting.palette import COLOUR_STEPS, GRADIENT_STEPS

_OPS = {
    "conv1": "1×1 convolution", "conv3": "3×3 convolution", "conv": "convolution",
    "norm": "norm", "act": "activation", "add": "add", "mul": "multiply", "cat": "concat",
    "linear": "linear", "pool": "pooling", "attention": "attention", "shape": "shape",
    "other": "other", "io": "input or output", "raised": "forward raised here",
}  # fmt: skip
_ON_TOP = frozenset(["conv1", "conv3", "conv", "linear", "io", "raised"])
"""Kinds that keep their colour where ops are coloured by something else: they have chips."""
_GAP = 26.0
_SWATCH = "M3,1H17a3,3 0 0 1 3,3V11a3,3 0 0 1 -3,3H3a3,3 0 0 1 -3,-3V4a3,3 0 0 1 3,-3Z"
_TAPER = "M0,1L10,4.5L20,4.5L30,1V14L20,10.5L10,10.5L0,14Z"

Row = tuple[list[tuple[str, str]], str, float, float]


def legend(data: dict[str, Any]) -> list[Row]:
    """Entries as (paths with their classes, text, width with gap, width of the swatch)."""
    found: list[Row] = []

    def entry(paths: list[tuple[str, str]], text: str, swatch: float) -> None:
        found.append((paths, text, swatch + 7 + text_width(text, 11) + _GAP, swatch))

    for kind in SKIP_KINDS:
        if any(skip["kind"] == kind for skip in data["skips"]):
            shown = [
                (f"skip-part k-{kind}", "M0,12V8Q0,2 6,2H26Q32,2 32,8V9"),
                (f"arrow-{kind}", "M32,15L28.5,8H35.5Z"),
            ]
            entry(shown, f"{kind} skip", 34)
    if "river" in data:
        whole = stream_name(data)
        entry([("arrow-trunk", "M0,3.5H30V11.5H0Z")], f"all of {whole}", 30)
        entry([("arrow-branch", "M0,5H30V10H0Z")], "what a branch carries", 30)
        wide = [("arrow-identity", "M0,6.5H9V8.5H0ZM12,5.5H21V9.5H12ZM24,4.5H33V10.5H24Z")]
        part = "its share of the gradient at its fork"
        entry(wide, f"width: {f'its part of {whole}' if 'colouring' in data else part}", 33)
        carried = [e[7] for plan in data["plans"] for e in plan["edges"] if len(e) > 7]
        odd = any("against" in skip or "drains" in skip for skip in data["skips"])
        if odd or min(carried, default=0) < 0:
            pipe = [("river branch against", "M0,4.5H30V10.5H0Z")]
            entry(pipe, "hollow: pulls against the rest", 30)
    families: dict[str, list[str]] = {}
    for block in data["blocks"]:
        if block["kind"] not in families.setdefault(block["family"], []):
            families[block["family"]].append(block["kind"])
    for family, kinds in families.items():
        entry([(f"mini f-{family}", _TAPER)], f"{', '.join(kinds)} block", 30)
    if any("times" in group for group in data["groups"]):
        card = "h18a3,3 0 0 1 3,3v4a3,3 0 0 1 -3,3h-18a3,3 0 0 1 -3,-3v-4a3,3 0 0 1 3,-3Z"
        entry([("card", f"M{x},{y}{card}") for x, y in ((8, 4.5), (5.5, 2.5), (3, 0.5))],
              "× n: n equal parts in a row, drawn once", 30)  # fmt: skip
    kinds_drawn = {node["kind"] for node in data["nodes"]}
    for css, text in _OPS.items():
        if css in kinds_drawn and ("colouring" not in data or css in _ON_TOP):
            entry([(f"swatch {css}", _SWATCH)], text, 20)
    if "gradient" in data:
        low, high = data["gradient"]["low"], data["gradient"]["high"]
        steps = [(f"grad grad-{i}", f"M{i * 9},2h9v11h-9Z") for i in range(GRADIENT_STEPS)]
        text = f"gradient norm of the output, {units.scientific(low)} … {units.scientific(high)}"
        entry(steps, text, 9.0 * GRADIENT_STEPS)
    if "colouring" in data:
        _colours(data, entry)
    return found


def shade(item: dict[str, Any], name: str) -> str:
    """The CSS class of a node's or a box's colour, to put behind its others."""
    return f" {name}-{item['c']}" if "c" in item else ""


def sign_mark(sign: int) -> list[tuple[str, str]]:
    """The paths of a plus or minus on the corner of a box, with their classes."""
    kind, line = ("plus", "M-3.5,0H3.5M0,-3.5V3.5") if sign > 0 else ("minus", "M-3.5,0H3.5")
    ring = "M-6.5,0a6.5,6.5 0 1 0 13,0a6.5,6.5 0 1 0 -13,0Z"
    return [(f"sign {kind}", ring), ("sign-line", line)]


def stream_name(data: dict[str, Any]) -> str:
    """What the width of the edges is a part of."""
    return str(data["colouring"]["stream"]) if "colouring" in data else "the gradient"


def _colours(data: dict[str, Any], entry: Callable[..., None]) -> None:
    colouring = data["colouring"]
    drawn = {node.get("sign") for node in data["nodes"]}
    low, high = colouring["low"], colouring["high"]
    steps = [(f"rel-{i}", f"M{i * 9},2h9v11h-9Z") for i in range(COLOUR_STEPS)]
    ends = f"{units.scientific(low)} … {units.scientific(high)}, log scale"
    entry(steps, f"{colouring['of']}, {ends}", 9.0 * COLOUR_STEPS)
    for sign, text in zip((1, -1), colouring["signs"], strict=False):
        if sign in drawn:
            entry(_shown(sign), text, 15)


def _shown(sign: int) -> list[tuple[str, str]]:
    """The mark of a sign where a legend shows it."""
    ring = "M1,7.5a6.5,6.5 0 1 0 13,0a6.5,6.5 0 1 0 -13,0Z"
    line = "M4,7.5H11" + ("M7.5,4V11" if sign > 0 else "")
    return [(f"sign {'plus' if sign > 0 else 'minus'}", ring), ("sign-line", line)]
