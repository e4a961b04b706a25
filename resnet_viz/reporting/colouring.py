"""What the nodes of a diagram are coloured by, beside their kind.

``COLOURINGS`` has one row per value of ``RenderOptions.color_by``. A colouring gives every
op a number, a sign and some words, and may widen the edges; how that is painted is the
same for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from resnet_viz.core.errors import UserError
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.structure import Skip
from resnet_viz.core.units import count, scientific
from resnet_viz.reporting.attributions.amounts import amount_text
from resnet_viz.reporting.folding import Folded
from resnet_viz.reporting.palette import COLOUR_STEPS
from resnet_viz.reporting.relevance_river import relevance_river
from resnet_viz.reporting.river import River, river, width_of

Json = dict[str, Any]

_SPAN = 1e4  # the scale goes no further below its top: what is weaker is all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Shade:
    """What one op is coloured by.

    Attributes:
        size: How much, zero or more.
        sign: 1, −1, or 0 where it has none.
        told: The same in words.
    """

    size: float
    sign: int
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Colouring:
    """The colours of one drawing.

    Attributes:
        of: What the colours mean, for the legend.
        shades: Per op of the whole graph.
        stream: What the edges carry; ``None`` where their width says nothing.
        stream_of: What that is a part of.
        signs: What a plus and a minus mean; empty where there are none.
        skip: Words on a skip's arc.
    """

    of: str
    shades: dict[str, Shade]
    stream: River | None = None
    stream_of: str = ""
    signs: tuple[str, str] | tuple[()] = ()
    skip: Callable[[Skip], str] = lambda _: ""


def by_attribution(report: Report) -> Colouring:
    """Absolute relevance as colour, its sign as a mark, operands of joins as width.

    Raises:
        UserError: If the report has no relevance.
    """
    found = report.attributions
    if found is None or found.relevance is None:
        raise UserError(
            "color_by='attribution' needs the relevance of every op, which was not measured: "
            "ask attributions for relevance, or leave color_by out"
        )
    relevance = found.relevance

    def told(skip: Skip) -> str:
        operands = relevance.operands_of(skip.join)
        parts = [f"{o.role} {amount_text(o.amount)}" for o in operands]
        return f"relevance at the join: {', '.join(parts)}" if parts else ""

    return Colouring(
        of="absolute relevance of the output",
        shades={
            str(r.op): Shade(
                size=r.amount.absolute,
                sign=(r.amount.signed > 0) - (r.amount.signed < 0),
                told=f"relevance {amount_text(r.amount)}, "
                f"absolute {amount_text(r.amount, absolute=True)}",
            )
            for r in relevance.ops
        },
        stream=relevance_river(report.graph, relevance),
        stream_of="F(x) − F(x′)",
        signs=("speaks for the target", "speaks against it"),
        skip=told,
    )


COLOURINGS: dict[str, Callable[[Report], Colouring]] = {"attribution": by_attribution}
"""``RenderOptions.color_by`` -> what it makes of a report; ``kind`` needs no row."""


def colouring_of(report: Report, options: RenderOptions) -> Colouring | None:
    """The colouring the options ask for; ``None`` where ops are coloured by kind.

    Raises:
        UserError: If the report lacks what it needs, or for an unknown name.
    """
    if options.color_by == "kind":
        return None
    if options.color_by not in COLOURINGS:
        known = ", ".join(("kind", *COLOURINGS))
        raise UserError(f"color_by={options.color_by!r} was given: it is one of {known}")
    return COLOURINGS[options.color_by](report)


def stream_of(report: Report, colouring: Colouring | None) -> River | None:
    """What is drawn as the width of edges: the colouring's stream, or the gradient's."""
    return river(report) if colouring is None else colouring.stream


def paint(data: Json, folded: Folded, colouring: Colouring) -> None:
    """Adds steps, signs and words to a drawing's nodes and boxes, and the scale's ends."""
    shades = {node["id"]: _of(folded, node["id"], colouring) for node in data["nodes"]}
    sizes = [s.size for s in shades.values() if s and s.size > 0 and math.isfinite(s.size)]
    high = max(sizes, default=1.0)
    low = max(min(sizes, default=1.0), high / _SPAN)
    data["colouring"] = {
        "of": colouring.of, "low": low, "high": high, "signs": list(colouring.signs),
        "stream": colouring.stream_of,
    }  # fmt: skip
    facts = [_fact(shades[node["id"]], low, high) for node in data["nodes"]]
    for node, fact in zip(data["nodes"], facts, strict=True):
        node |= fact
    at = {node["id"]: i for i, node in enumerate(data["nodes"])}
    for group in data["groups"]:
        inside = [fact for fact in facts[group["low"] : group["high"]] if fact]
        # A block is what leaves its join, here as in the table of relevance.
        join = at.get(data["blocks"][group["block"]]["join"], -1) if "block" in group else -1
        if join >= 0 and facts[join]:
            group |= facts[join]
        elif inside:
            group |= inside[-1]


def skip_facts(skip: Skip, colouring: Colouring) -> Json:
    """What a skip's arc needs: its width, that of its branch, and its words."""
    found = colouring.stream
    fact: Json = {}
    if told := colouring.skip(skip):
        fact["told"] = told
    if found is None:
        return fact
    arc = found.amounts.get((str((skip.fork, *skip.shortcut)[-1]), str(skip.join)))
    if arc is not None:
        fact |= {"width": width_of(arc)} | ({"against": 1} if arc < 0 else {})
    branch = found.amounts.get((str(skip.branch[-1]), str(skip.join))) if skip.branch else None
    if branch is not None:
        fact |= {"branch": width_of(branch)} | ({"drains": 1} if branch < 0 else {})
    return fact


def step_of(size: float, low: float, high: float) -> int:
    """Colour step of a size on a log scale from ``low`` to ``high``."""
    if not (size > 0 and math.isfinite(size)):
        return 0
    span = math.log(high / low) if high > low else 0.0
    place = math.log(max(size, low) / low) / span if span else 1.0
    return min(COLOUR_STEPS - 1, max(0, int(place * COLOUR_STEPS)))


def _of(folded: Folded, op: str, colouring: Colouring) -> Shade | None:
    """The shade of a drawn op; of one that stands for several their mean."""
    members = [str(m) for m in folded.members.get(op, (op,))]  # type: ignore[call-overload]
    found = [shade for m in members if (shade := colouring.shades.get(m)) is not None]
    if len(found) < 2:
        return found[0] if found else None
    size = sum(s.size for s in found) / len(found)
    signs = {s.sign for s in found}
    return Shade(
        size=size,
        sign=signs.pop() if len(signs) == 1 else 0,
        told=f"mean of {count(len(found), 'copy', 'copies')}: {scientific(size)}",
    )


def _fact(shade: Shade | None, low: float, high: float) -> Json:
    if shade is None:
        return {}
    fact: Json = {"c": step_of(shade.size, low, high), "told": shade.told}
    return fact | ({"sign": shade.sign} if shade.sign else {})
