"""How far the methods agree: a small matrix per input and target."""

from __future__ import annotations

from typing import Any

from resnet_viz.core.attribution import Attributions
from resnet_viz.core.trust import Agreement
from resnet_viz.core.units import percent
from resnet_viz.reporting.attributions.words import input_name


def agreement_tables(found: Attributions) -> list[dict[str, Any]]:
    """Per input and target its names and rows of cells; a method with itself has none."""
    groups: dict[tuple[int, str], list[Agreement]] = {}
    for agreement in found.agreements:
        groups.setdefault((agreement.input, agreement.target), []).append(agreement)
    several = len({index for index, _ in groups}) > 1
    return [
        {
            "title": input_name(found, index) if several else "",
            "target": target,
            "names": (names := list(dict.fromkeys(n for a in pairs for n in (a.a, a.b)))),
            "rows": [[_cell(pairs, row, column) for column in names] for row in names],
        }
        for (index, target), pairs in groups.items()
    ]


def _cell(pairs: list[Agreement], row: str, column: str) -> dict[str, Any] | None:
    pair = next((a for a in pairs if {a.a, a.b} == {row, column} and a.a != a.b), None)
    if pair is None or row == column:
        return None
    return {
        "text": f"{pair.rank_correlation:.2f}".replace("-", "\u2212"),
        "overlap": percent(pair.overlap) if pair.overlap is not None else "",
        "step": min(8, max(0, round(4 + 4 * pair.rank_correlation))),
    }
