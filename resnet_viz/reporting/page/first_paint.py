"""What a page shows before any script runs, and where none ever does: the first drawing.

It is the picture that the scripts would draw first, so that nothing moves when they take
over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnet_viz.reporting.drawing.painter import painted
from resnet_viz.reporting.escaping import xml_safe
from resnet_viz.reporting.layout.coordinates import coordinates

MOST = 1000
"""Things drawn at a time; beyond it a browser stumbles. ``budget.js`` has the same number."""

_WIDE, _HIGH = 1100.0, 600.0  # pixels that the drawing has in a window of a laptop
_LARGEST = 1.5  # the scale at which a small drawing is not made larger any more


def first_state(data: dict[str, Any], wanted: Sequence[int], most: int = MOST) -> list[bool]:
    """Which boxes are open at first: those wanted, from the start, as far as there is room.

    Args:
        data: What ``diagram.diagram`` returns.
        wanted: Per group, whether it should be open.
        most: How many things may be drawn.
    """
    opened, shown = [False] * len(wanted), [False] * len(wanted)
    total = len(data["plans"][0]["items"])
    for g, group in enumerate(data["groups"]):
        parent = group["parent"]
        shown[g] = parent < 0 or (shown[parent] and opened[parent])
        if not wanted[g]:
            continue
        if not shown[g]:
            # For want of room it stays closed; in a box that is closed anyway, it waits open.
            opened[g] = opened[parent] or not wanted[parent]
            continue
        more = len(data["plans"][g + 1]["items"]) - 1
        if total + more <= most:
            opened[g] = True
            total += more
    return opened


def first_drawing(data: dict[str, Any], collapse: str) -> dict[str, Any]:
    """The drawing as an element in SVG, and how many of all ops are in it as themselves.

    Args:
        data: What ``diagram.diagram`` returns.
        collapse: What is open, a key of its ``open``.

    Returns:
        ``markup``; ``view``, the view box in which it stands as the page's camera fits it;
        ``limit``, the height of its columns; ``ops``, those drawn; ``all``, all of them.
    """
    from markupsafe import Markup

    wanted = data["open"][collapse]
    opened = first_state(data, wanted)
    layout = coordinates(data, opened, aspect=_WIDE / _HIGH)
    wide, high = max(layout.w, _WIDE / _LARGEST), max(layout.h, _HIGH / _LARGEST)
    box = ((layout.w - wide) / 2, (layout.h - high) / 2, wide, high)
    seen = [True] * len(opened)
    for g, group in enumerate(data["groups"]):
        seen[g] = opened[g] and (group["parent"] < 0 or seen[group["parent"]])
    return {
        # Its writer escapes every text.
        "markup": Markup(xml_safe(painted(data, layout))),
        "view": " ".join(f"{value:.6g}" for value in box),
        "limit": layout.limit,
        "ops": sum(node["group"] < 0 or seen[node["group"]] for node in data["nodes"]),
        "all": len(data["nodes"]),
    }
