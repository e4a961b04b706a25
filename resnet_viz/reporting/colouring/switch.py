"""All colourings that a report allows, small enough for a page to switch between them.

A step is one letter, so a colouring of 200 ops takes 200 bytes; what a step stands for the
page reads off the scale's ticks.
"""

from __future__ import annotations

from typing import Any

from resnet_viz.core.errors import UserError
from resnet_viz.core.report import Report
from resnet_viz.reporting.colouring.painting import NONE, painted, scale_facts
from resnet_viz.reporting.colouring.quantities import COLOURINGS, NAMES
from resnet_viz.reporting.folding.boxes import members_of
from resnet_viz.reporting.language import spoken

Json = dict[str, Any]

_NO_OP = "."  # an input or output, and what raised, keep their own colour
_SIGNS = {1: "+", -1: "-"}


def colourings(report: Report, data: Json) -> list[Json]:
    """Every colouring of a drawing that the report has the numbers for.

    Args:
        report: All of it, before anything was folded.
        data: The drawing.

    Returns:
        Per colouring what its legend says; ``name``; ``c``: a letter per node, then per box:
        its step, ``-`` for none, ``.`` for what is not coloured; and ``s``, the same of
        signs, where there are any.
    """
    found = []
    members = members_of(report.graph, data)
    for by, make in COLOURINGS.items():
        try:
            colouring = make(report)
        except UserError:  # not measured: nothing to choose
            continue
        steps = painted(data, colouring, members, words=False)
        facts = [*steps.nodes, *steps.groups]
        row: Json = {"name": NAMES[by]} | scale_facts(steps, colouring)
        row |= {"c": "".join(_letter(fact) for fact in facts)}
        if any("sign" in fact for fact in facts):
            row["s"] = "".join(_SIGNS.get(fact.get("sign", 0), ".") for fact in facts)
        found.append(_said(row))
    return found


def _letter(fact: Json) -> str:
    step = fact.get("c", _NO_OP)
    return "-" if step == NONE else str(step)


def _said(row: Json) -> Json:
    """The row in the language of the page, without what it does not need."""
    found = {
        key: [spoken(text) for text in value] if isinstance(value, list) else value
        for key, value in row.items()
        if key not in ("low", "high")
    }
    return found | {key: spoken(found[key]) for key in ("name", "of", "none", "stream")}
