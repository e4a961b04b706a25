"""Rows of what gradients showed; ``record_columns.COLUMNS`` says what every column means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resnet_viz.core.errors import UserError, listed
from resnet_viz.core.record_columns import COLUMNS, MOMENTS, STATS

if TYPE_CHECKING:
    from resnet_viz.core.gradient_flow import GradientFlow, GradientStats, ParameterGradient
    from resnet_viz.core.graph import ModelGraph
    from resnet_viz.core.paths import PathGradients
    from resnet_viz.core.propagation import BlockSignal, Moments, SignalPropagation
    from resnet_viz.core.structure import Structure

Row = dict[str, object]
FLOW_TABLES = ("parameters", "calls", "shares", "skip_shares", "chain", "activities")


def flow_records(flow: GradientFlow, table: str = "parameters") -> list[Row]:
    """Any of ``FLOW_TABLES``.

    Raises:
        UserError: If there is no such table.
    """
    if table == "parameters":
        return [_parameter(p) for p in flow.parameters]
    if table == "calls":
        return [{"op": call.op, **_stats(call.stats)} for call in flow.calls]
    if table in FLOW_TABLES:
        return _plain(getattr(flow, table), table)
    raise UserError(f"there is no table {table!r}; there are {listed(FLOW_TABLES)}")


def group_records(graph: ModelGraph, structure: Structure, flow: GradientFlow) -> list[Row]:
    """Table ``gradient_groups``: one row per block and stage, and one for the network."""
    from resnet_viz.core.gradient_groups import gradient_groups

    return _plain(gradient_groups(graph, structure, flow), "gradient_groups")


def path_records(paths: PathGradients) -> list[Row]:
    """Table ``paths``: one row per length."""
    sampled = {s.length: s for s in paths.sampled}
    rows = zip(
        *(paths.lengths.counts, paths.norms, paths.masses, paths.shares, paths.per_path),
        strict=True,
    )
    return [
        {
            "length": k,
            "paths": count,
            "norm": norm,
            "mass": mass,
            "share": share,
            "per_path": one,
            "sampled_norm": sampled[k].mean_norm if k in sampled else None,
            "sampled_mass": sampled[k].mass if k in sampled else None,
        }
        for k, (count, norm, mass, share, one) in enumerate(rows)
    ]


def propagation_records(found: SignalPropagation) -> list[Row]:
    """Table ``propagation``: one row per block."""
    return [_block(block) for block in found.blocks]


def _block(block: BlockSignal) -> Row:
    sides = ("output", "branch", "grad_output", "grad_input")
    row: Row = {name: getattr(block, name) for name in ("name", "join", "stage", "changes")}
    row |= {"ratio": block.ratio, "grad_ratio": block.grad_ratio}
    for side in sides:
        moments: Moments | None = getattr(block, side)
        row |= {f"{side}_{m}": getattr(moments, m) if moments else None for m in MOMENTS}
    return row


def _parameter(p: ParameterGradient) -> Row:
    units = p.units
    return {
        "name": p.name,
        **_stats(p.stats),
        "weight_l2": p.weight_l2,
        "ratio": p.ratio,
        "unit_ratio_median": units.median if units else None,
        "unit_ratio_high": units.high if units else None,
        "update_ratio": p.update_ratio,
        "cosine": p.cosine.mean if p.cosine else None,
        "reason": p.reason,
    }


def _stats(stats: GradientStats | None) -> Row:
    return {name: getattr(stats, name) if stats else None for name in STATS}


def _plain(values: tuple[Any, ...], table: str) -> list[Row]:
    return [{name: getattr(value, name) for name in COLUMNS[table]} for value in values]
