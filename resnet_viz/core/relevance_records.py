"""Rows of relevance; ``record_columns.COLUMNS`` says what every column means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resnet_viz.core.errors import UserError, listed
from resnet_viz.core.record_columns import COLUMNS

if TYPE_CHECKING:
    from resnet_viz.core.relevance import Amount, Relevance
    from resnet_viz.core.structure import Structure

Row = dict[str, object]
RELEVANCE_TABLES = ("relevance", "relevance_operands")
_AMOUNT = ("signed", "absolute", "signed_sd", "absolute_sd", "samples")


def relevance_records(relevance: Relevance, table: str = "relevance") -> list[Row]:
    """Any of ``RELEVANCE_TABLES``.

    Raises:
        UserError: If there is no such table.
    """
    if table == "relevance":
        return [{"op": row.op, **_amount(row.amount), "cut": row.cut} for row in relevance.ops]
    if table == "relevance_operands":
        return [
            {
                **{name: getattr(row, name) for name in ("join", "in_slot", "src", "role")},
                **_amount(row.amount),
            }
            for row in relevance.operands
        ]
    raise UserError(f"there is no table {table!r}; there are {listed(RELEVANCE_TABLES)}")


def relevance_group_records(structure: Structure, relevance: Relevance) -> list[Row]:
    """Table ``relevance_groups``: one row per block, then one per stage."""
    from resnet_viz.core.relevance_groups import relevance_groups

    sides = ("shortcut", "branch", "shortcut_absolute", "branch_absolute", "branch_share")
    rows = []
    for group in relevance_groups(structure, relevance):
        row: Row = {name: getattr(group, name) for name in ("by", "key", "module")}
        row |= _amount(group.amount) | {name: getattr(group, name) for name in sides}
        rows.append({name: row[name] for name in COLUMNS["relevance_groups"]})
    return rows


def _amount(amount: Amount) -> Row:
    return {name: getattr(amount, name) for name in _AMOUNT}
