"""The scale of a colouring as marks: its steps side by side, a number at every border.

``colours.js`` draws the same bar in a page.
"""

from __future__ import annotations

from typing import Any

from resnet_viz.core.message import Message, say
from resnet_viz.reporting.colouring.scale_colours import COLOUR_STEPS

_CELL, _BAR, _SIDE = 46.0, 12.0, 20.0
WIDTH = COLOUR_STEPS * _CELL + 2 * _SIDE
HEIGHT = 30.0
"""Of bar and numbers, in the units of a drawing."""
SWATCH = "M3,1H17a3,3 0 0 1 3,3V11a3,3 0 0 1 -3,3H3a3,3 0 0 1 -3,-3V4a3,3 0 0 1 3,-3Z"
_RING = "M1,7.5a6.5,6.5 0 1 0 13,0a6.5,6.5 0 1 0 -13,0Z"
_SIGNS = {
    "plus": [("sign plus", _RING), ("sign-line", "M4,7.5H11M7.5,4V11")],
    "minus": [("sign minus", _RING), ("sign-line", "M4,7.5H11")],
}


def scale_title(colouring: dict[str, Any]) -> Message:
    """What the colours are, and how their steps grow."""
    how = say("log scale") if colouring["log"] else say("linear scale")
    return say("{of}, {how}", of=colouring["of"], how=how)


def scale_cells() -> list[tuple[str, str]]:
    """The steps as paths with their classes."""
    return [
        (f"scale rel-{i}", f"M{_SIDE + i * _CELL:g},1h{_CELL:g}v{_BAR:g}h-{_CELL:g}Z")
        for i in range(COLOUR_STEPS)
    ]


def scale_ticks(colouring: dict[str, Any]) -> list[tuple[float, str]]:
    """Where the numbers stand, and the numbers; they are written ``HEIGHT - 5`` below the top."""
    return [(_SIDE + i * _CELL, text) for i, text in enumerate(colouring["ticks"])]


def scale_notes(colouring: dict[str, Any]) -> list[tuple[list[tuple[str, str]], str]]:
    """What stands beside the scale, grey and signs: paths with their classes, and words."""
    notes = [([("swatch rel-none", SWATCH)], colouring["none"])] if colouring["none"] else []
    signs = zip(("plus", "minus"), colouring["signs"], strict=False)
    return notes + [(_SIGNS[sign], text) for sign, text in signs if text]


def scale_view(colouring: dict[str, Any]) -> dict[str, Any]:
    """All of it for a template."""
    return {
        "title": scale_title(colouring),
        "cells": scale_cells(),
        "ticks": scale_ticks(colouring),
        "notes": scale_notes(colouring),
        "width": WIDTH,
        "height": HEIGHT,
    }
