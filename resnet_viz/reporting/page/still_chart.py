"""The gradient chart as it stands before a script has it; ``charts.js`` draws the live one.

Bars of one kind are one path: a network of thousands of layers costs few letters here.
"""

from __future__ import annotations

import math
from typing import Any

from resnet_viz.reporting.drawing.strokes import number
from resnet_viz.reporting.escaping import drawn
from resnet_viz.reporting.experiments.scales import Scale

_TOP, _BOTTOM, _LEFT, _RIGHT, _HIGH = 10.0, 24.0, 64.0, 10.0, 236.0
_FLOOR = _HIGH - _BOTTOM
_WIDE, _THINNEST, _THICKEST = 1230.0, 4.0, 96.0
_LETTER = 6.4  # pixels, about
_NONE = 7.0  # height of the bar of a layer without gradient


def still_chart(flow: dict[str, Any] | None) -> dict[str, Any] | None:
    """The chart's first axis as ``markup`` in SVG and its ``view`` box; of no flow ``None``."""
    from markupsafe import Markup

    if flow is None:
        return None
    first = flow["axes"][0]
    values = [_value(text) for text in flow["series"][first["key"]]]
    wide = max(_WIDE, _LEFT + _RIGHT + len(values) * _THINNEST)
    step = min(_THICKEST, (wide - _LEFT - _RIGHT) / max(1, len(values)))
    scale = _scale(values)
    parts = [_band(band, step) for band in flow["bands"]]
    for tick, text in scale.ticks(6):
        y = number(_y(scale, tick))
        parts.append(f'<path class="axis" d="M{_LEFT:g},{y}H{wide - _RIGHT:g}"/>')
        parts.append(_text(_LEFT - 8, float(y) + 4, "end", text))
    parts.append(f'<path class="axis" d="M{_LEFT:g},{_FLOOR:g}H{wide - _RIGHT:g}"/>')
    parts.append(
        f'<text transform="translate(13 {(_TOP + _FLOOR) / 2:g}) rotate(-90)" '
        f'text-anchor="middle">{drawn(first["title"])}</text>'
    )
    bars: dict[str, list[str]] = {}
    for i, value in enumerate(values):
        top = _y(scale, value) if value > 0 else _FLOOR - _NONE
        left, width = _LEFT + i * step + min(1, step * 0.1), max(1, step - min(2, step * 0.2))
        css = f"bar k-{flow['kinds'][i]}" + ("" if value > 0 else " none")
        d = f"M{number(left)},{_FLOOR:g}V{number(top)}h{number(width)}V{_FLOOR:g}Z"
        bars.setdefault(css, []).append(d)
    parts += [f'<path class="{css}" d="{"".join(d)}"/>' for css, d in bars.items()]
    # Names of bands are escaped where they are written; the rest is ours.
    return {"markup": Markup("".join(parts)), "view": f"0 0 {wide:g} {_HIGH:g}"}


def _value(text: str) -> float:
    return float(text.replace("∞", "inf") or "nan")


def _scale(values: list[float]) -> Scale:
    """Half a decade of air below, so that the smallest bar is still a bar."""
    good = [math.log10(v) for v in values if v > 0 and math.isfinite(v)]
    low = math.floor((min(good, default=0.0) - 0.3) * 2) / 2
    high = max(max(good, default=1.0) + 0.06, low + 0.8)
    return Scale(10.0 ** max(low, -300), 10.0 ** min(high, 300), log=True)


def _y(scale: Scale, value: float) -> float:
    return _FLOOR - (_FLOOR - _TOP) * scale.place(value)[0]


def _band(band: dict[str, Any], step: float) -> str:
    x, w = _LEFT + band["from"] * step, (band["to"] - band["from"]) * step
    rect = (
        f'<rect class="stage-{band["stage"]}" x="{number(x)}" y="{_TOP:g}" width="{number(w)}" '
        f'height="{_FLOOR - _TOP:g}"/>'
    )
    fits = w > len(band["name"]) * _LETTER
    return rect + (_text(x + w / 2, _HIGH - 7, "middle", band["name"]) if fits else "")


def _text(x: float, y: float, anchor: str, text: object) -> str:
    return f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}">{drawn(text)}</text>'
