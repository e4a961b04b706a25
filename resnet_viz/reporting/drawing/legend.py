"""What the colours, dashes and glyphs of a diagram mean; only those that occur."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from resnet_viz.core import units
from resnet_viz.core.message import join, say
from resnet_viz.core.structure import SKIP_KINDS
from resnet_viz.reporting.colouring.palette import GRADIENT_STEPS
from resnet_viz.reporting.colouring.scale_bar import SWATCH, scale_notes
from resnet_viz.reporting.colouring.scale_colours import DEEP
from resnet_viz.reporting.drawing.kind_words import named
from resnet_viz.reporting.fonts import text_width
from resnet_viz.reporting.language import spoken

_OPS = {
    "io": say("input or output"), "conv1": say("1×1 convolution"),
    "conv3": say("3×3 convolution"), "conv": say("other convolution"),
    "linear": say("linear"), "attention": say("attention"), "norm": say("norm"),
    "act": say("activation"), "pool": say("pooling"), "add": say("add"),
    "mul": say("multiply"), "cat": say("concat"), "shape": say("change of shape"),
    "other": say("other"), "raised": say("forward raised here"),
}  # fmt: skip
_ON_TOP = frozenset(["conv1", "conv3", "conv", "linear", "io", "raised"])
"""Kinds that keep their colour where ops are coloured by something else: they have chips."""
_GAP = 26.0
_TAPER = "M0,1L10,4.5L20,4.5L30,1V14L20,10.5L10,10.5L0,14Z"

Row = tuple[list[tuple[str, str]], str, float, float]


def legend(
    data: dict[str, Any], *, switches: bool = False, kinds: Collection[str] | None = None
) -> list[Row]:
    """Entries as (paths with their classes, text, width with gap, width of the swatch).

    Args:
        data: The drawing.
        switches: Whether its reader may choose other colours: then those by kind are told, too.
        kinds: Kinds of ops that can be seen; ``None`` for all that are in the drawing.
    """
    found: list[Row] = []

    def entry(paths: list[tuple[str, str]], text: str, swatch: float) -> None:
        found.append((paths, text, swatch + 7 + text_width(spoken(text), 11) + _GAP, swatch))

    for kind in SKIP_KINDS:
        if any(skip["kind"] == kind for skip in data["skips"]):
            shown = [
                (f"skip-part k-{kind}", "M0,12V8Q0,2 6,2H26Q32,2 32,8V9"),
                (f"arrow-{kind}", "M32,15L28.5,8H35.5Z"),
            ]
            entry(shown, say("{kind} skip", kind=named(kind)), 34)
    if "river" in data:
        whole = stream_name(data)
        entry([("arrow-trunk", "M0,3.5H30V11.5H0Z")], say("all of {whole}", whole=whole), 30)
        entry([("arrow-branch", "M0,5H30V10H0Z")], say("what a branch carries"), 30)
        wide = [("arrow-identity", "M0,6.5H9V8.5H0ZM12,5.5H21V9.5H12ZM24,4.5H33V10.5H24Z")]
        part = say("width: its share of the gradient at its fork")
        streams = data.get("colouring", {}).get("stream")
        entry(wide, say("width: its part of {whole}", whole=whole) if streams else part, 33)
        carried = [e[7] for plan in data["plans"] for e in plan["edges"] if len(e) > 7]
        odd = any("against" in skip or "drains" in skip for skip in data["skips"])
        if odd or min(carried, default=0) < 0:
            pipe = [("river branch against", "M0,4.5H30V10.5H0Z")]
            entry(pipe, say("hollow: pulls against the rest"), 30)
    families: dict[str, list[str]] = {}
    for block in data["blocks"]:
        if block["kind"] not in families.setdefault(block["family"], []):
            families[block["family"]].append(block["kind"])
    for family, titles in families.items():
        told = say("{kinds} block", kinds=join(", ", map(named, titles)))
        entry([(f"mini f-{family}", _TAPER)], told, 30)
    if any("times" in group for group in data["groups"]):
        card = "h18a3,3 0 0 1 3,3v4a3,3 0 0 1 -3,3h-18a3,3 0 0 1 -3,-3v-4a3,3 0 0 1 3,-3Z"
        entry([("card", f"M{x},{y}{card}") for x, y in ((8, 4.5), (5.5, 2.5), (3, 0.5))],
              say("× n: n equal parts in a row, drawn once"), 30)  # fmt: skip
    if kinds is None:
        kinds = {node["kind"] for node in data["nodes"]}
    for css, text in _OPS.items():
        if css in kinds and ("colouring" not in data or css in _ON_TOP):
            entry([(f"swatch {css}", SWATCH)], text, 20)
    if "gradient" in data and (switches or "colouring" not in data):
        low, high = data["gradient"]["low"], data["gradient"]["high"]
        steps = [(f"grad grad-{i}", f"M{i * 9},2h9v11h-9Z") for i in range(GRADIENT_STEPS)]
        ends = {"low": units.scientific(low), "high": units.scientific(high)}
        norm = say("gradient norm of the output, {low} … {high}", **ends)
        entry(steps, norm, 9.0 * GRADIENT_STEPS)
    if "colouring" in data:
        # Pages show these with their scale.
        for paths, note in scale_notes(data["colouring"]) if not switches else ():
            entry(paths, note, 20)
    return found


def shade(item: dict[str, Any], name: str) -> str:
    """The CSS class of a node's or a box's colour, to put behind its others."""
    return f" {name}-{item['c']}" if "c" in item else ""


def ink(item: dict[str, Any]) -> str:
    """The CSS class of what is written on a node's colour, to put behind its others."""
    if "c" not in item:
        return ""
    return " on-deep" if item["c"] != "none" and item["c"] >= DEEP else " on-rel"


def bar(item: dict[str, Any], data: dict[str, Any], *, boxed: bool) -> str:
    """The CSS class of the bar at the left of an op or a box; empty for no bar.

    A box is drawn upon, so its colour is pale; the bar has it as the scale does.
    """
    if "colouring" in data:
        return f"rel-{item['c']}" if boxed and "c" in item else ""
    return f"grad-{item['g']}" if "g" in item else ""


def sign_mark(sign: int) -> list[tuple[str, str]]:
    """The paths of a plus or minus on the corner of a box, with their classes."""
    kind, line = ("plus", "M-3.5,0H3.5M0,-3.5V3.5") if sign > 0 else ("minus", "M-3.5,0H3.5")
    ring = "M-6.5,0a6.5,6.5 0 1 0 13,0a6.5,6.5 0 1 0 -13,0Z"
    return [(f"sign {kind}", ring), ("sign-line", line)]


def stream_name(data: dict[str, Any]) -> str:
    """What the width of the edges is a part of."""
    found: str = data.get("colouring", {}).get("stream") or say("the gradient")
    return found
