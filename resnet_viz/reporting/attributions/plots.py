"""Small plots beside a map: what deletion, insertion and drawing weights anew did to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from resnet_viz.core.message import say
from resnet_viz.core.terms import word
from resnet_viz.core.trust import CascadeStep, Curve
from resnet_viz.core.units import scientific
from resnet_viz.reporting.escaping import drawn, escaped
from resnet_viz.reporting.experiments.marks import n
from resnet_viz.reporting.fonts import fit, text_width
from resnet_viz.reporting.language import spoken

if TYPE_CHECKING:
    from markupsafe import Markup

WIDE, NARROW = (232.0, 92.0), (112.0, 84.0)
_TOP, _FOOT, _RIGHT, _TICK = 8.0, 17.0, 4.0, 10.0

_LOW = 0.3  # a curve that stays below is drawn on a scale of its own, not at the foot of one

Point = tuple[float, float]


def curve_plot(curve: Curve, name: str) -> Markup:
    """A deletion or insertion curve, with the mean height of a random order as a dashed line.

    Args:
        curve: The curve.
        name: What was done to the places.
    """
    points = list(zip(curve.fractions, curve.scores, strict=True))
    random = curve.random_scores
    beside = (
        list(zip(curve.fractions, random, strict=True))
        if len(random) == len(points) and points
        else [(0.0, curve.random_auc), (1.0, curve.random_auc)]
    )
    said = say(
        "{name}: {unit} against the part of the places changed, area {auc}, in a "
        "random order {random}",
        name=name,
        unit=word(curve.unit),
        auc=scientific(curve.auc),
        random=scientific(curve.random_auc),
    )
    return _plot(points, beside, said, ("0", say("all")), NARROW)


def cascade_plot(steps: Sequence[CascadeStep]) -> Markup:
    """Rank correlation with the map of the given weights, layer after layer drawn anew."""
    points = [(i / max(len(steps) - 1, 1), s.rank_correlation) for i, s in enumerate(steps)]
    each = "; ".join(f"{s.layer}: {scientific(s.rank_correlation)}" for s in steps)
    ends = (steps[0].layer, steps[-1].layer if len(steps) > 1 else "")
    return _plot(
        points,
        [],
        say("rank correlation after drawing anew {layers}", layers=each),
        ends,
        WIDE,
        dots=True,
    )


def _plot(
    points: Sequence[Point],
    beside: Sequence[Point],
    said: str,
    ends: tuple[str, str],
    size: tuple[float, float],
    *,
    dots: bool = False,
) -> Markup:
    from markupsafe import Markup

    width, height = size
    values = [y for _, y in (*points, *beside)]
    most = max(values, default=0.0)
    low, high = min([0.0, *values]), 1.0 if _LOW < most <= 1 else most
    span = high - low or 1.0
    ticks = (low, high)
    left = max(text_width(scientific(t), _TICK) for t in ticks) + 8
    room, tall = width - left - _RIGHT, height - _TOP - _FOOT

    def place(point: Point) -> str:
        x, y = point
        return f"{n(left + room * x)},{n(_TOP + tall * (high - y) / span)}"

    out = [
        f'<svg class="mini rv-figure" viewBox="0 0 {width:g} {height:g}" role="img" '
        f"aria-label={quoteattr(spoken(said))}><title>{escaped(said)}</title>"
    ]
    for value in dict.fromkeys((low, 0.0, high)):
        y = _TOP + tall * (high - value) / span
        out.append(f'<path class="grid" d="M{n(left)},{n(y)}H{n(width - _RIGHT)}"/>')
    for value in ticks:
        y = _TOP + tall * (high - value) / span
        out.append(_text(left - 5, y + 3.4, scientific(value), "end"))
    foot = height - 4
    half = room / 2 - 6
    out.append(_text(left, foot, fit(ends[0], _TICK, half, tail=True)))
    out.append(_text(width - _RIGHT, foot, fit(ends[1], _TICK, half, tail=True), "end"))
    if beside:
        d = "L".join(map(place, beside))
        out.append(f'<g class="h-muted dashed"><path class="curve" d="M{d}"/></g>')
    if points:
        d = "L".join(map(place, points))
        out.append(f'<g class="h-residual"><path class="curve" d="M{d}"/>')
        if dots or len(points) == 1:
            for point in points:
                across, up = place(point).split(",")
                out.append(f'<circle class="dot" cx="{across}" cy="{up}" r="2.6"/>')
        out.append("</g>")
    return Markup("".join([*out, "</svg>"]))


def _text(x: float, y: float, text: str, anchor: str = "") -> str:
    to = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{n(x)}" y="{n(y)}"{to}>{drawn(text)}</text>'
