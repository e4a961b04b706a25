"""The SVG filters that make every view of a cell out of one grey map and one photograph.

A map comes as bytes along its colour scale. ``signed`` and ``heat`` put colours in their
place, ``over`` also makes weak places transparent, ``mask`` covers what is not among the
strongest with paper. All of it is arithmetic on tables, so it holds without scripts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnet_viz.reporting.attributions.colours import (
    MAGNITUDE,
    SIGNED,
    UNSIGNED,
    Colour,
    channel,
    opacity,
    strength_of,
)

if TYPE_CHECKING:
    from markupsafe import Markup

_HARD = 24  # how steeply a mask falls at its threshold; finite, so that its edge is smooth
_STEPS = 24


def shared_filters() -> Markup:
    """The filters that all cells share, as children of ``<defs>``."""
    from markupsafe import Markup

    found = [
        '<filter id="f-grey" color-interpolation-filters="sRGB"><feColorMatrix type="saturate" '
        'values="0"/><feComponentTransfer>'
        + "".join(f'<feFunc{c} type="linear" slope="0.667" intercept="0.2745"/>' for c in "RGB")
        + "</feComponentTransfer></filter>"
    ]
    for name, table, signed in (("u", UNSIGNED, False), ("s", MAGNITUDE, True)):
        found.append(_filter(f"f-heat-{name}", _coloured(table)))
        over = SIGNED if signed else UNSIGNED
        found.append(_filter(f"f-over-{name}", _coloured(over, "c") + _alpha(signed)))
    found.append(_filter("f-signed-s", _coloured(SIGNED)))
    return Markup("".join(found))


def mask_filter(name: str, signed: bool, threshold: float) -> Markup:
    """The filter that covers all places weaker than the threshold."""
    from markupsafe import Markup

    strength = '<feFuncA type="table" tableValues="1 0 1"/>' if signed else ""
    first = f"<feComponentTransfer>{strength}</feComponentTransfer>" if signed else ""
    cover = f'<feFuncA type="linear" slope="{-_HARD}" intercept="{_HARD * threshold + 0.5:.3g}"/>'
    return Markup(
        _filter(
            name,
            f'<feColorMatrix type="luminanceToAlpha"/>{first}'
            f'<feComponentTransfer result="a">{cover}</feComponentTransfer>'
            '<feFlood class="cover"/><feComposite operator="in" in2="a"/>',
        )
    )


def gradient(table: tuple[Colour, ...], name: str) -> Markup:
    """A table as a ``<linearGradient>``, for its scale."""
    from markupsafe import Markup

    stops = "".join(
        f'<stop offset="{i / (len(table) - 1):.4g}" stop-color="#{r:02x}{g:02x}{b:02x}"/>'
        for i, (r, g, b) in enumerate(table)
    )
    return Markup(f'<linearGradient id="{name}">{stops}</linearGradient>')


def _filter(name: str, inside: str) -> str:
    return (
        f'<filter id="{name}" x="0" y="0" width="1" height="1" '
        f'color-interpolation-filters="sRGB">{inside}</filter>'
    )


def _coloured(table: tuple[Colour, ...], result: str = "") -> str:
    to = f' result="{result}"' if result else ""
    parts = (
        f'<feFunc{c} type="table" tableValues="{channel(table, k)}"/>' for k, c in enumerate("RGB")
    )
    return f'<feComponentTransfer in="SourceGraphic"{to}>{"".join(parts)}</feComponentTransfer>'


def _alpha(signed: bool) -> str:
    values = " ".join(
        f"{opacity(strength_of(255 * i / _STEPS, signed)):.3g}" for i in range(_STEPS + 1)
    )
    return (
        '<feColorMatrix in="SourceGraphic" type="luminanceToAlpha"/>'
        f'<feComponentTransfer result="a"><feFuncA type="table" tableValues="{values}"/>'
        "</feComponentTransfer>"
        '<feComposite operator="in" in="c" in2="a"/>'
    )
