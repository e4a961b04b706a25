"""What the colours, dashes and glyphs of a diagram mean; only those that occur."""

from __future__ import annotations

from typing import Any

from resnet_viz.core import units
from resnet_viz.core.structure import SKIP_KINDS
from resnet_viz.reporting.fonts import text_width
from resnet_viz.reporting.palette import GRADIENT_STEPS

_OPS = {
    "conv1": "1×1 convolution", "conv3": "3×3 convolution", "conv": "convolution",
    "norm": "norm", "act": "activation", "add": "add", "mul": "multiply", "cat": "concat",
    "linear": "linear", "pool": "pooling", "attention": "attention", "shape": "shape",
    "other": "other", "io": "input or output", "raised": "forward raised here",
}  # fmt: skip
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
        entry([("arrow-trunk", "M0,3.5H30V11.5H0Z")], "all of the gradient", 30)
        entry([("arrow-branch", "M0,5H30V10H0Z")], "what a branch carries", 30)
        wide = [("arrow-identity", "M0,6.5H9V8.5H0ZM12,5.5H21V9.5H12ZM24,4.5H33V10.5H24Z")]
        entry(wide, "width: its share of the gradient at its fork", 33)
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
        if css in kinds_drawn:
            entry([(f"swatch {css}", _SWATCH)], text, 20)
    if "gradient" in data:
        low, high = data["gradient"]["low"], data["gradient"]["high"]
        steps = [(f"grad grad-{i}", f"M{i * 9},2h9v11h-9Z") for i in range(GRADIENT_STEPS)]
        text = f"gradient norm of the output, {units.scientific(low)} … {units.scientific(high)}"
        entry(steps, text, 9.0 * GRADIENT_STEPS)
    return found
