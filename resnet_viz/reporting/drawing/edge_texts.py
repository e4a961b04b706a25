"""Which shape is written on which edge.

A shape is written where it is new: on the first edge out of an op or a closed box whose
output has another shape than what goes in. Written on every edge it would hide the few
places where it changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resnet_viz.core import units
from resnet_viz.core.report import Direction, Report
from resnet_viz.reporting.fonts import fit, text_width
from resnet_viz.reporting.layout.coordinates import METRICS
from resnet_viz.reporting.layout.lifting import Lifted
from resnet_viz.reporting.layout.pieces import LINE, LocalEdge

_SHOWN = 2
SIZE = 9.5
"""Font size of a shape on an edge, in pixels."""

_FORMULA = 10.5
_AROUND = 10.0
_LONGEST = 150.0

Spacing = dict[str, dict[str, float]]


def shapes_of(report: Report, lifted: Lifted, nodes: list[dict[str, Any]]) -> dict[int, str]:
    """The shape of the tensor that each piece of an edge stands for, by the piece's ``id``."""
    graph = report.graph
    ids = {str(op.id) for op in graph.nodes()}
    slots: dict[tuple[str, str], dict[int, None]] = {}
    for edge in graph.edges:
        slots.setdefault((str(edge.src), str(edge.dst)), {})[edge.out_slot] = None
    carried: dict[int, dict[str, None]] = {}
    for (src, dst), way in lifted.ways.items():
        name = nodes[src]["id"]
        outputs = graph[name].outputs if name in ids else ()
        for slot in slots.get((name, nodes[dst]["id"]), {0: None}):
            if slot < len(outputs):
                text = units.shape(outputs[slot].shape)
                for piece in way:
                    carried.setdefault(id(piece), {})[text] = None
    return {piece: _listed(found) for piece, found in carried.items()}


def new_shapes(edges: Sequence[LocalEdge], shapes: dict[int, str]) -> list[list[Any]]:
    """Of a box's edges ``[edge, text, width]`` for each whose shape is new at its source.

    What leaves an open box is written inside it; painters leave such edges out.
    """
    texts = [shapes.get(id(edge), "") for edge in edges]
    enters: dict[int, set[str]] = {}
    for text, edge in zip(texts, edges, strict=True):
        enters.setdefault(edge.t, set()).add(text)
    found: dict[tuple[int, str], int] = {}
    for k, (text, edge) in enumerate(zip(texts, edges, strict=True)):
        if edge.s < 0 or not text or text in enters.get(edge.s, ()):
            continue
        held = found.get((edge.s, text))
        if held is None or (edge.route == LINE and edges[held].route != LINE):
            found[edge.s, text] = k
    told = [(k, fit(text, SIZE, _LONGEST)) for (_, text), k in found.items()]
    return [[k, text, round(text_width(text, SIZE) + _AROUND, 1)] for k, text in sorted(told)]


def _listed(texts: dict[str, None]) -> str:
    shown = list(texts)
    return ", ".join(shown[:_SHOWN]) + ("…" if len(shown) > _SHOWN else "")


def spacing(
    plans: list[dict[str, Any]], skips: list[dict[str, Any]], direction: Direction
) -> Spacing:
    """Which distances the drawing needs: without, for formulas and for shapes."""
    rooms: Spacing = {"plain": {key: METRICS[key] for key in ("gapY", "head", "lane")}}
    if direction == "TB":
        return rooms | {"formulas": {"gapY": 34.0, "head": 40.0}, "shapes": {"gapY": 36.0}}
    widest = max((w for plan in plans for _, _, w in plan["shapes"]), default=0.0)
    # What is written over a lane stands between it and what it passes by.
    words = {word for skip in skips for word in skip["formula"]}
    longest = max((text_width(word, _FORMULA) for word in words), default=0.0)
    return rooms | {
        "formulas": {"gapY": round(longest + 28, 1), "lane": 19.0},
        "shapes": {"gapY": widest + 22},
    }


def widened(metrics: dict[str, float], rooms: Spacing, look: dict[str, int]) -> dict[str, float]:
    """The distances where they are as large as what is written asks for."""
    wide = dict(metrics)
    for name, wanted in look.items():
        for key, value in rooms[name].items() if wanted else ():
            wide[key] = max(wide[key], value)
    return wide
