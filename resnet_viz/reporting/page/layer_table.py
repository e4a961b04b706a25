"""The table of all operations as a page holds it.

Of a large network most rows are in the data and not in the markup: ``rows.js`` shows any.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from resnet_viz.core.message import join, say

Json: TypeAlias = dict[str, Any]

ALL_ROWS = 1_500
"""Rows; a longer table is in the markup by its most telling ``FIRST_ROWS`` only."""
FIRST_ROWS = 500


def layer_columns(page: Json) -> list[tuple[str, str, bool]]:
    """Key, heading and whether it is a number, of each column of this report's table."""
    columns: list[tuple[str, str, bool]] = [
        ("name", say("Layer"), False),
        ("what", say("Operation"), False),
        ("shape", say("Output"), True),
        ("params", say("Params"), True),
        ("macs", say("MACs"), True),
        ("memory", say("Activations"), True),
    ]
    if page["costs"]["saved"]:
        columns.append(("saved", say("Saved"), True))
    if page["flow"]:
        columns += [
            ("grad", "‖∂L/∂W‖₂", True),
            ("rms", say("RMS ∂L/∂W"), True),
            ("ratio", "‖∂L/∂W‖/‖W‖", True),
            ("arriving", say("RMS ∂L/∂y"), True),
        ]
    columns += [(key, head, True) for key, head in page["measured_columns"]]
    return [*columns, ("source", say("Source line"), False)]


def first_rows(page: Json) -> list[Json]:
    """The rows in the markup, as they ran: all, or those that tell most."""
    rows: list[Json] = page["layers"]
    if len(rows) <= ALL_ROWS:
        return rows
    found = page["findings"] or {"items": []}
    named = {place["op"] for item in found["items"] for place in item["where"]}

    def rank(i: int) -> tuple[bool, bool, bool, int]:
        row = rows[i]
        return (not row["raised"], row["op"] not in named, not row["weighted"], i)

    return [rows[i] for i in sorted(sorted(range(len(rows)), key=rank)[:FIRST_ROWS])]


def all_rows(page: Json) -> Json | None:
    """All rows as columns of texts for the scripts; ``None`` where the markup has them all.

    Returns:
        ``ops``; ``weighted``, a 1 for each with weights; ``kinds``, their colours;
        ``cells``, the texts column by column, as ``layer_columns`` has them.
    """
    rows: list[Json] = page["layers"]
    if len(rows) <= ALL_ROWS:
        return None
    columns = {key: [row[key] for row in rows] for key, _, _ in layer_columns(page)}
    columns["what"] = [_what(row) for row in rows]
    return {
        "ops": [row["op"] for row in rows],
        "weighted": [int(row["weighted"]) for row in rows],
        "kinds": [row["class"] for row in rows],
        "cells": list(columns.values()),
    }


def _what(row: Json) -> str:
    said = [row["what"]]
    said += [say("in place")] if row["inplace"] else []
    said += [say("raised here")] if row["raised"] else []
    return join(" ", said) if len(said) > 1 else said[0]
