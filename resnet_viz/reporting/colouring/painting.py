"""Puts the colours of a colouring on a drawing's ops, boxes and skips."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from resnet_viz.core.message import Message, say
from resnet_viz.core.report import Report
from resnet_viz.core.structure import Skip
from resnet_viz.reporting.colouring.quantities import Colouring, Shade
from resnet_viz.reporting.colouring.scale import Scale, scale_of
from resnet_viz.reporting.drawing.river import width_of
from resnet_viz.reporting.folding.boxes import members_of
from resnet_viz.reporting.raised import KIND

Json = dict[str, Any]

NONE = "none"
"""The step of an op that has no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """A colouring of one drawing.

    Attributes:
        scale: From the least to the largest number that is drawn, boxes included.
        nodes: Per node what to add to its facts; nothing for what is no op.
        groups: Per box likewise.
    """

    scale: Scale
    nodes: list[Json]
    groups: list[Json]


def painted(
    data: Json, colouring: Colouring, members: dict[str, list[str]], *, words: bool = True
) -> Painted:
    """The steps, signs and words of a drawing's ops and boxes.

    Args:
        data: The drawing.
        colouring: Of all of the report, before anything was folded.
        members: What each drawn op stands for, where that is more than itself.
        words: Whether to say the numbers, too.
    """
    shades = [_shade(node, members, colouring) for node in data["nodes"]]
    joins = {node["id"]: shade for node, shade in zip(data["nodes"], shades, strict=True)}
    boxes = [
        _box(
            shades[group["low"] : group["high"]],
            joins.get(data["blocks"][group["block"]]["join"]) if "block" in group else None,
            colouring,
        )
        for group in data["groups"]
    ]
    sizes = [shade.size for shade in (*shades, *boxes) if shade is not None]
    if colouring.own:
        # As the gradient's bars have it: inputs and all copies count, too.
        sizes += [node[colouring.own] for node in data["nodes"] if colouring.own in node]
        sizes += [v for node in data["nodes"] for v in node.get("spread", ())]
    scale = scale_of(sizes, colouring.span)
    return Painted(
        scale=scale,
        nodes=[
            _fact(shade, scale, colouring, words) if _is_op(node) else {}
            for node, shade in zip(data["nodes"], shades, strict=True)
        ],
        groups=[_fact(shade, scale, colouring, words) for shade in boxes],
    )


def paint(data: Json, report: Report, colouring: Colouring) -> None:
    """Adds them to the drawing, and what its legend says."""
    found = painted(data, colouring, members_of(report.graph, data))
    for item, fact in zip(data["nodes"], found.nodes, strict=True):
        item |= fact
    for item, fact in zip(data["groups"], found.groups, strict=True):
        item |= fact
    data["colouring"] = scale_facts(found, colouring)


def scale_facts(found: Painted, colouring: Colouring) -> Json:
    """What a legend says of a colouring: its meaning, its numbers, its grey, its signs."""
    scale = found.scale
    facts = (*found.nodes, *found.groups)
    signs = {fact["sign"] for fact in facts if "sign" in fact}
    return {
        "by": colouring.by,
        "of": colouring.of,
        "low": scale.low,
        "high": scale.high,
        "log": int(scale.log),
        "ticks": _ticks(scale, colouring),
        "none": colouring.none if any(fact.get("c") == NONE for fact in facts) else "",
        "signs": [
            text if sign in signs else ""
            for sign, text in zip((1, -1), colouring.signs, strict=False)
        ],
        "stream": colouring.stream_of,
    }


def _ticks(scale: Scale, colouring: Colouring) -> list[str]:
    """The numbers at the borders of the steps; the first says if there are less."""
    texts = [colouring.amount(float(f"{edge:.3g}")) for edge in scale.edges]
    return [f"≤ {texts[0]}" if scale.cut else texts[0], *texts[1:]]


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


def _is_op(node: Json) -> bool:
    return node["kind"] not in ("io", KIND)


def _shade(node: Json, members: dict[str, list[str]], colouring: Colouring) -> Shade | None:
    """The shade of a drawn op; of one that stands for several their sum or mean."""
    if not _is_op(node):
        return None
    if colouring.own:
        return Shade(size=node[colouring.own]) if colouring.own in node else None
    names = members.get(node["id"], [node["id"]])
    found = [shade for name in names if (shade := colouring.shades.get(name)) is not None]
    if len(found) < 2:
        return found[0] if found else None
    size = math.fsum(s.size for s in found)
    if colouring.adds_up:
        return Shade(size=size, copies=len(found))
    size /= len(found)
    signs = {s.sign for s in found}
    return Shade(
        size=size,
        sign=signs.pop() if len(signs) == 1 else 0,
        told=say("mean of {n} copies: {size}", n=len(found), size=colouring.amount(size)),
    )


def _said(shade: Shade, colouring: Colouring) -> Message | str:
    told = shade.told or colouring.told(colouring.amount(shade.size))
    if told and shade.copies > 1:
        return say("{what} in {n} copies", what=told, n=f"{shade.copies:,}")
    return told


def _box(shades: list[Shade | None], join: Shade | None, colouring: Colouring) -> Shade | None:
    """The shade of a box: the sum of its ops, or that of what leaves it."""
    inside = [shade for shade in shades if shade is not None]
    if colouring.adds_up:
        if not inside:
            return None
        return Shade(size=math.fsum(s.size for s in inside))
    if join is not None and not colouring.own:
        # A block is what leaves its join, here as in the table of relevance.
        return join
    return inside[-1] if inside else None


def _fact(shade: Shade | None, scale: Scale, colouring: Colouring, words: bool) -> Json:
    if shade is None or (colouring.adds_up and not shade.size > 0):
        return {"c": NONE}
    fact: Json = {"c": scale.step(shade.size)}
    if words and (told := _said(shade, colouring)):
        fact["told"] = told
    return fact | ({"sign": shade.sign} if shade.sign else {})
