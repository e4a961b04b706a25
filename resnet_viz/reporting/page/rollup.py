"""What was measured of a gradient, by stage and by block, as tables of a report."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.core.gradient_groups import GradientGroup, gradient_groups
from resnet_viz.core.message import join, say
from resnet_viz.core.terms import word
from resnet_viz.core.units import percent, scientific
from resnet_viz.reporting.attributions.amounts import amount_text
from resnet_viz.reporting.experiments.page import Table
from resnet_viz.reporting.page.tables import NOTHING, Facts

_WHO = say("Stage"), say("Block")
_ALL, _OVER, _RELEVANCE = say("whole network"), say("Over its skips"), say("Relevance")
_UPDATE, _DEAD, _FACTOR = say("Update ‖Δw‖/‖w‖"), say("Dead units"), say("Factor in the chain")


def rollup_tables(facts: Facts) -> tuple[Table, ...]:
    """A row per stage and a row per block; empty where no gradient was measured."""
    flow, structure = facts.flow, facts.structure
    if flow is None:
        return ()
    groups = {(g.by, g.key): g for g in gradient_groups(facts.graph, structure, flow)}
    stages = [(word(s.name), _row(groups["stage", s.name])) for s in structure.stages]
    stages += [(_ALL, _row(groups["network", ""]))] if stages else []
    blocks = [
        (
            b.module or b.skip.join,
            _row(groups["block", b.skip.join])
            | {_RELEVANCE: amount_text(facts.relevance.get(b.skip.join))},
        )
        for b in structure.blocks
    ]
    named = ((say("Gradient by stage"), _WHO[0], stages, False),
             (say("Gradient by block"), _WHO[1], blocks, True))  # fmt: skip
    return tuple(_table(title, who, rows, tall) for title, who, rows, tall in named if rows)


def _row(group: GradientGroup) -> dict[str, str]:
    return {
        say("With gradient"): say("{n} of {all}", n=group.measured, all=group.parameters)
        if group.parameters
        else NOTHING,
        "‖∂L/∂W‖₂": _number(group.l2),
        "‖∂L/∂W‖/‖W‖": _number(group.ratio),
        _UPDATE: _number(group.update_ratio),
        _DEAD: NOTHING if group.dead is None else percent(group.dead),
        _FACTOR: _number(group.gain),
        _OVER: NOTHING if group.shortcut is None else percent(group.shortcut),
    }


def _number(value: float | None) -> str:
    return NOTHING if value is None else scientific(value)


def _table(title: str, who: str, rows: Sequence[tuple[str, dict[str, str]]], tall: bool) -> Table:
    columns = [c for c in rows[0][1] if any(row[c] != NOTHING for _, row in rows)]
    notes = {
        "‖∂L/∂W‖₂": say("of all its parameters taken as one"),
        _DEAD: say("of its worst activation function"),
        _FACTOR: say("the product of its gains, back over all of it"),
        _OVER: say(
            "what its shortcuts carry of the gradient at their forks, weighted by its square"
        ),
        _RELEVANCE: say("what its output added to the score, see Attributions"),
    }
    said = [join(": ", (name, text)) for name, text in notes.items() if name in columns]
    return Table(
        title=title,
        head=(who, *columns),
        rows=tuple((name, *(row[c] for c in columns)) for name, row in rows),
        note=say("{notes}.", notes=join("; ", said)) if said else "",
        tall=tall,
    )
