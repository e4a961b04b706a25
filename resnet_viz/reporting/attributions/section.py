"""The section of the report: a contact sheet with a row per input and a column per method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from resnet_viz.core.attribution import Attribution, Attributions
from resnet_viz.core.message import say
from resnet_viz.core.report import Provenance, Report
from resnet_viz.core.units import scientific
from resnet_viz.reporting.attributions.agreement import agreement_tables
from resnet_viz.reporting.attributions.colours import SIGNED, UNSIGNED
from resnet_viz.reporting.attributions.depths import depth_strips, kernel_grid
from resnet_viz.reporting.attributions.filters import gradient, mask_filter, shared_filters
from resnet_viz.reporting.attributions.pictures import COARSE, grey, photograph
from resnet_viz.reporting.attributions.plots import cascade_plot, curve_plot
from resnet_viz.reporting.attributions.relevance import relevance_section
from resnet_viz.reporting.attributions.words import (
    bar_css,
    column_of,
    facts_of,
    figures_of,
    input_name,
    meanings_of,
    resolution_of,
    score_parts,
    verdict_of,
)
from resnet_viz.reporting.page.tables import Facts

Json: TypeAlias = dict[str, Any]

RANDOM = say(
    "These weights are random: the maps show what the architecture alone does, "
    "not what a trained network looks at."
)

VIEWS = (
    ("overlay", say("Overlay")), ("heat", say("Heat map")), ("signed", say("Signed map")),
    ("masked", say("Masked")), ("original", say("Original")),
)  # fmt: skip
"""Ways to see the cells of the sheet, and what they are called."""

_FEW = 12  # cells up to which the figures of each are open


@dataclass(frozen=True, slots=True, kw_only=True)
class _Photo:
    """An input's photograph as it lies in the page."""

    id: str
    uri: str
    width: int
    height: int
    coarse: bool


def attribution_view(
    found: Attributions | None, provenance: Provenance, report: Report | None = None
) -> Json | None:
    """The section as JSON-able values; ``None`` where there are no attributions.

    Args:
        found: What to show.
        provenance: Tells whether the weights are random.
        report: Where it is from; names the blocks, and lays the gradient beside.
    """
    if found is None:
        return None
    note = found.note
    if not note and provenance.weights.startswith("random"):
        note = RANDOM
    photos = {
        i: _Photo(id=f"photo-{i}", uri=uri, width=w, height=h, coarse=max(w, h) < COARSE)
        for i, picture in enumerate(found.pictures)
        for uri, w, h in (photograph(picture),)
    }
    columns = list(dict.fromkeys(column_of(m) for m in found.maps))
    inputs = sorted({m.input for m in found.maps})
    rows = [_row(found, i, columns, photos.get(i)) for i in inputs]
    cells = [cell for row in rows for cell in row["cells"] if cell]
    facts = Facts(report) if report is not None else None
    return {
        "note": note,
        "device": found.device,
        "facts": facts_of(found),
        "meanings": meanings_of(found),
        "pictured": any(cell["map"] for cell in cells),
        "signed": any(cell["signed"] for cell in cells),
        "unsigned": any(not cell["signed"] for cell in cells),
        "complete": any(m.delta is not None for m in found.maps),
        "photos": [vars_of(photo) for photo in photos.values()],
        "views": VIEWS,
        "inputs": rows,
        "open": len(cells) <= _FEW,
        "filters": shared_filters() + gradient(UNSIGNED, "grad-unsigned")
        + gradient(SIGNED, "grad-signed"),
        "masks": [cell["map"]["mask"] for cell in cells if cell["map"]],
        "forced": [cell["method"] for cell in cells if cell["forced"]],
        "agreements": agreement_tables(found),
        "relevance": relevance_section(found.relevance, facts) if found.relevance else None,
        "depths": depth_strips(found, {i: vars_of(p) for i, p in photos.items()}),
        "kernels": kernel_grid(found.kernels) if found.kernels else None,
    }  # fmt: skip


def vars_of(photo: _Photo) -> Json:
    """The photograph as a template and a strip take it."""
    return {
        "id": photo.id, "uri": photo.uri, "width": photo.width, "height": photo.height,
        "coarse": photo.coarse,
    }  # fmt: skip


def _row(
    found: Attributions, index: int, columns: list[tuple[str, str, int]], photo: _Photo | None
) -> Json:
    maps = [m for m in found.maps if m.input == index]
    at = {column_of(m): m for m in maps}
    targets = {m.rank: m for m in reversed(maps)}
    several = len({m.target for m in maps}) > 1
    wide = any(m.bars for m in maps)
    return {
        "name": input_name(found, index),
        "photo": vars_of(photo) if photo else None,
        "targets": [
            {"words": targets[rank].target, "score": score_parts(targets[rank])}
            for rank in sorted(targets)
        ],
        "wide": wide,
        "cells": [
            _cell(at[key], f"{index}-{k}", photo, several, input_name(found, index))
            if key in at
            else None
            for k, key in enumerate(columns)
        ],
    }


def _cell(item: Attribution, name: str, photo: _Photo | None, several: bool, of: str) -> Json:
    trust = item.trust
    tested, rest = verdict_of(item)
    plots = []
    if trust is not None:
        for title, curve in (
            (say("Deletion"), trust.deletion),
            (say("Insertion"), trust.insertion),
        ):
            if curve is not None:
                plots.append({"title": title, "svg": curve_plot(curve, title), "wide": False})
        if trust.cascade:
            title = say("Rank correlation, weights drawn anew from the output down")
            plots.append({"title": title, "svg": cascade_plot(trust.cascade), "wide": True})
    return {
        "method": item.method,
        "layer": item.layer,
        "resolution": resolution_of(item),
        "source": item.source,
        "target": item.target if several else "",
        "signed": item.signed,
        "map": _map(item, name, photo) if item.heatmap is not None else None,
        "alt": say("{method} map of {of} at {layer}", method=item.method, of=of, layer=item.layer)
        if item.layer
        else say("{method} map of {of}", method=item.method, of=of),
        "bars": bar_rows(item),
        "tokens": token_chips(item),
        "forced": item.forced,
        "verdict": tested,
        "says": rest,
        "figures": figures_of(item),
        "plots": plots,
    }


def _map(item: Attribution, name: str, photo: _Photo | None) -> Json:
    assert item.heatmap is not None
    drawn = grey(item.heatmap, item.signed, layer=bool(item.layer))
    size = (photo.width, photo.height) if photo else (drawn.width, drawn.height)
    kind = "s" if item.signed else "u"
    return {
        "uri": drawn.uri,
        "width": size[0],
        "height": size[1],
        "coarse": drawn.coarse,
        "kind": kind,
        "mask_id": f"mask-{name}",
        "mask": mask_filter(f"mask-{name}", item.signed, drawn.threshold),
        "low": scientific(drawn.scale.low),
        "high": scientific(drawn.scale.high),
    }


def bar_rows(item: Attribution) -> list[Json]:
    """Bars around zero where any is negative, else from the left; lengths in percent."""
    top = max((abs(bar.value) for bar in item.bars), default=0.0) or 1.0
    signed = any(bar.value < 0 for bar in item.bars)
    bars = []
    for bar in item.bars:
        length = abs(bar.value) / top * (50 if signed else 100)
        start = (50 - length if bar.value < 0 else 50) if signed else 0
        bars.append(
            {
                "label": bar.label,
                "text": scientific(bar.value),
                "css": bar_css(bar, item),
                "x": round(start, 2),
                "w": round(length, 2),
            }
        )
    return bars


def token_chips(item: Attribution) -> list[Json]:
    """Tokens in reading order with a colour: ``q0`` (against) over ``q4`` to ``q8`` (for).

    Those of a method without signs go from ``u0`` to ``u4``: a red token would speak for
    the target.
    """
    if item.heatmap is not None or not item.layer:
        return []
    top = max((abs(bar.value) for bar in item.bars), default=0.0) or 1.0
    return [
        {
            "label": bar.label,
            "text": scientific(bar.value),
            "tone": f"q{signed_step(bar.value / top)}"
            if item.signed
            else f"u{round(4 * abs(bar.value) / top)}",
        }
        for bar in item.bars
    ]


def signed_step(value: float) -> int:
    """A number in [−1, 1] as one of the nine colours of the signed table."""
    return min(8, max(0, round(4 + 4 * value)))
