"""Ways and arrow heads as SVG path data; ``svg.js`` writes the same."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

from resnet_viz.reporting.layout.coordinates import Point

ARROW = 7.0
"""Size of the head of a thin line."""


def number(value: float) -> str:
    """At most two decimals: ``12.5``, ``3``."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def way(points: Sequence[Point], shorten: float = 0.0, radius: float = 8.0) -> str:
    """A path along the points with rounded corners; its end drawn back by ``shorten``."""
    pts = list(points)
    (x0, y0), (x1, y1) = pts[-2], pts[-1]
    length = abs(x1 - x0) + abs(y1 - y0)
    if shorten and length > shorten:
        pts[-1] = (x1 - (x1 - x0) / length * shorten, y1 - (y1 - y0) / length * shorten)
    d = [f"M{number(pts[0][0])},{number(pts[0][1])}"]
    for (ax, ay), (bx, by), (cx, cy) in zip(pts, pts[1:], pts[2:], strict=False):
        before, behind = abs(ax - bx) + abs(ay - by), abs(cx - bx) + abs(cy - by)
        k = min(radius, before / 2, behind / 2)
        if k < 0.5:
            d.append(f"L{number(bx)},{number(by)}")
            continue
        px, py = bx + (ax - bx) / before * k, by + (ay - by) / before * k
        qx, qy = bx + (cx - bx) / behind * k, by + (cy - by) / behind * k
        corner = f"Q{number(bx)},{number(by)} {number(qx)},{number(qy)}"
        d.append(f"L{number(px)},{number(py)}{corner}")
    return "".join(d) + f"L{number(pts[-1][0])},{number(pts[-1][1])}"


def arrow_head(points: Sequence[Point], size: float = ARROW) -> str:
    """A filled head at the last point, in the direction of the last stretch."""
    (x0, y0), (x, y) = points[-2], points[-1]
    length = abs(x - x0) + abs(y - y0) or 1.0
    ux, uy = (x - x0) / length, (y - y0) / length
    bx, by, half = x - ux * size, y - uy * size, size * 0.48
    return (
        f"M{number(x)},{number(y)}L{number(bx - uy * half)},{number(by + ux * half)}"
        f"L{number(bx + uy * half)},{number(by - ux * half)}Z"
    )


def head_size(width: float) -> float:
    """Size of the arrow head of a line of this width."""
    return ARROW + 0.8 * max(0.0, width - 1.3)


def attributes(**values: object) -> str:
    """`` name="value"`` of each; ``data_op`` is written ``data-op``."""
    return "".join(
        f" {name.replace('_', '-').strip('-')}={quoteattr(str(value))}"
        for name, value in values.items()
    )
