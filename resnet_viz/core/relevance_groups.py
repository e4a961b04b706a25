"""Relevance by block and by stage: what left it, and what its shortcuts and branches brought."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from resnet_viz.core.relevance import Amount, OperandRelevance, Relevance

if TYPE_CHECKING:
    from resnet_viz.core.structure import Structure


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRelevance:
    """The relevance of a block or of a stage; means over samples.

    Attributes:
        by: What it is.
        key: The block's join, the stage's name.
        module: Path of the smallest module that holds the block; empty for a stage.
        amount: Of the block's join; of the last op of a stage that was measured.
        shortcut: Signed sum of what shortcuts brought to its joins; ``None`` where nothing
            was told apart. A stage adds up its blocks.
        branch: The same of residual branches. ``shortcut + branch`` of a block is the signed
            relevance of its join where these are all its operands.
        shortcut_absolute: Sum of magnitudes of what shortcuts brought.
        branch_absolute: The same of residual branches.
    """

    by: Literal["block", "stage"]
    key: str
    module: str = ""
    amount: Amount
    shortcut: float | None = None
    branch: float | None = None
    shortcut_absolute: float | None = None
    branch_absolute: float | None = None

    @property
    def branch_share(self) -> float | None:
        """|branch| / (|shortcut| + |branch|) by magnitudes; ``None`` where there is neither."""
        if self.shortcut_absolute is None or self.branch_absolute is None:
            return None
        total = self.shortcut_absolute + self.branch_absolute
        return self.branch_absolute / total if total else None


def relevance_groups(structure: Structure, relevance: Relevance) -> tuple[GroupRelevance, ...]:
    """A value per block, then one per stage; those that nothing was measured of are left out."""
    amounts = {row.op: row.amount for row in relevance.ops}
    operands: dict[str, list[OperandRelevance]] = {}
    for row in relevance.operands:
        operands.setdefault(row.join, []).append(row)
    groups = []
    for block in structure.blocks:
        join = block.skip.join
        if join in amounts:
            groups.append(
                _group("block", join, amounts[join], operands.get(join, ()), module=block.module)
            )
    joins = [block.skip.join for block in structure.blocks]
    for stage in structure.stages:
        inside = set(stage.ops)
        measured = [op for op in stage.ops if op in amounts]
        if measured:
            met = [row for join in joins if join in inside for row in operands.get(join, ())]
            groups.append(_group("stage", stage.name, amounts[measured[-1]], met))
    return tuple(groups)


def _group(
    by: Literal["block", "stage"],
    key: str,
    amount: Amount,
    operands: Iterable[OperandRelevance],
    module: str = "",
) -> GroupRelevance:
    sides: dict[str, list[Amount]] = {}
    for row in operands:
        sides.setdefault(row.role, []).append(row.amount)
    shortcut, branch = sides.get("shortcut"), sides.get("residual branch")
    if shortcut is None or branch is None:
        return GroupRelevance(by=by, key=key, module=module, amount=amount)
    return GroupRelevance(
        by=by,
        key=key,
        module=module,
        amount=amount,
        shortcut=math.fsum(a.signed for a in shortcut),
        branch=math.fsum(a.signed for a in branch),
        shortcut_absolute=math.fsum(a.absolute for a in shortcut),
        branch_absolute=math.fsum(a.absolute for a in branch),
    )
