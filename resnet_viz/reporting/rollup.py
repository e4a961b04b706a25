"""What was measured of a gradient, by stage and by block, as tables of a report."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.core.gradient_groups import GradientGroup, gradient_groups
from resnet_viz.core.units import percent, scientific
from resnet_viz.reporting.attributions.amounts import amount_text
from resnet_viz.reporting.experiments.page import Table
from resnet_viz.reporting.tables import NOTHING, Facts

_WHO = "Stage", "Block"
_ALL, _OVER, _RELEVANCE = "whole network", "Over its skips", "Relevance"


def rollup_tables(facts: Facts) -> tuple[Table, ...]:
    """A row per stage and a row per block; empty where no gradient was measured."""
    flow, structure = facts.flow, facts.structure
    if flow is None:
        return ()
    groups = {(g.by, g.key): g for g in gradient_groups(facts.graph, structure, flow)}
    stages = [(s.name, _row(groups["stage", s.name])) for s in structure.stages]
    stages += [(_ALL, _row(groups["network", ""]))] if stages else []
    blocks = [
        (
            b.module or b.skip.join,
            _row(groups["block", b.skip.join])
            | {_RELEVANCE: amount_text(facts.relevance.get(b.skip.join))},
        )
        for b in structure.blocks
    ]
    named = (("Gradient by stage", _WHO[0], stages, False),
             ("Gradient by block", _WHO[1], blocks, True))  # fmt: skip
    return tuple(_table(title, who, rows, tall) for title, who, rows, tall in named if rows)


def _row(group: GradientGroup) -> dict[str, str]:
    return {
        "With gradient": f"{group.measured} of {group.parameters}" if group.parameters else NOTHING,
        "‖∂L/∂W‖₂": _number(group.l2),
        "‖∂L/∂W‖/‖W‖": _number(group.ratio),
        "Update ‖Δw‖/‖w‖": _number(group.update_ratio),
        "Dead units": NOTHING if group.dead is None else percent(group.dead),
        "Factor in the chain": _number(group.gain),
        _OVER: NOTHING if group.shortcut is None else percent(group.shortcut),
    }


def _number(value: float | None) -> str:
    return NOTHING if value is None else scientific(value)


def _table(title: str, who: str, rows: Sequence[tuple[str, dict[str, str]]], tall: bool) -> Table:
    columns = [c for c in rows[0][1] if any(row[c] != NOTHING for _, row in rows)]
    notes = {
        "‖∂L/∂W‖₂": "of all its parameters taken as one",
        "Dead units": "of its worst activation function",
        "Factor in the chain": "the product of its gains, back over all of it",
        _OVER: "what its shortcuts carry of the gradient at their forks, weighted by its square",
        _RELEVANCE: "what its output added to the score, see Attributions",
    }
    said = [f"{name}: {text}" for name, text in notes.items() if name in columns]
    return Table(
        title=title,
        head=(who, *columns),
        rows=tuple((name, *(row[c] for c in columns)) for name, row in rows),
        note="; ".join(said) + "." if said else "",
        tall=tall,
    )
