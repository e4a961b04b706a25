"""Tables of flat rows for ``pandas.DataFrame`` and ``csv``: scalars, ``None`` where unknown.

``record_columns.COLUMNS`` says what every column of every table means; rows have exactly
these keys, in this order. Lists are text: sizes as ``1x64x56x56``, names joined by spaces.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypeAlias

from resnet_viz.core.attribution_records import attribution_records
from resnet_viz.core.errors import UserError
from resnet_viz.core.flow_records import (
    FLOW_TABLES,
    flow_records,
    group_records,
    path_records,
    propagation_records,
)
from resnet_viz.core.record_columns import COLUMNS, COSTS
from resnet_viz.core.relevance_records import (
    RELEVANCE_TABLES,
    relevance_group_records,
    relevance_records,
)

if TYPE_CHECKING:
    from resnet_viz.core.finding import Finding
    from resnet_viz.core.graph import ModelGraph, Op
    from resnet_viz.core.report import Report
    from resnet_viz.core.structure import Block, Cost, Skip, Structure

Row: TypeAlias = dict[str, object]
StructureTable = Literal["blocks", "skips", "stages", "costs", "repeats"]
FlowTable = Literal["parameters", "calls", "shares", "skip_shares", "chain", "activities"]
ReportTable = (
    Literal["ops", "findings", "paths", "propagation", "gradient_groups", "attributions"]
    | Literal["relevance", "relevance_operands", "relevance_groups"]
    | StructureTable
    | FlowTable
)


def graph_records(graph: ModelGraph) -> list[Row]:
    """Table ``graph``: one row per op."""
    return [_op(op) for op in graph.ops]


def structure_records(structure: Structure, table: StructureTable = "blocks") -> list[Row]:
    """Table ``blocks``, ``skips``, ``stages``, ``costs`` or ``repeats``."""
    stages = {op: stage.name for stage in structure.stages for op in stage.ops}
    if table == "blocks":
        paid = {cost.key: cost for cost in structure.costs.blocks}
        return [
            _block(block)
            | {"stage": stages.get(block.skip.join, "")}
            | _paid(paid, block.skip.join)
            for block in structure.blocks
        ]
    if table == "skips":
        return [_skip(skip) for skip in structure.skips]
    if table == "stages":
        paid = {cost.key: cost for cost in structure.costs.stages}
        return [
            {
                "name": stage.name,
                "resolution": _sizes(stage.resolution),
                "ops": len(stage.ops),
                "blocks": stage.blocks,
            }
            | _paid(paid, stage.name)
            for stage in structure.stages
        ]
    if table == "costs":
        costs = structure.costs
        rows = {
            "op": costs.ops, "module": costs.modules, "block": costs.blocks,
            "stage": costs.stages, "kind": costs.kinds, "total": (costs.total,),
        }  # fmt: skip
        return [{"by": by, "key": c.key} | _cost(c) for by, group in rows.items() for c in group]
    if table == "repeats":
        return [
            {
                "first": next((op for copy in repeat.copies for op in copy), ""),
                "count": repeat.count,
                "ops": max(map(len, repeat.copies), default=0),
                "modules": " ".join(repeat.modules),
                "shared": " ".join(repeat.shared),
            }
            for repeat in structure.repeats
        ]
    raise _unknown(table, ("blocks", "skips", "stages", "costs", "repeats"))


def report_records(report: Report, table: ReportTable = "ops") -> list[Row]:
    """Any table of what the report holds; ``ops`` is everything known of each op."""
    flow = report.gradient_flow
    if table == "ops":
        return _ops(report)
    if table == "findings":
        return [_finding(finding) for finding in report.findings]
    if table == "skips":
        rows = structure_records(report.structure, "skips")
        for row, skip in zip(rows, report.structure.skips, strict=True):
            row["share"] = flow.share_of(skip) if flow else None
        return rows
    if table in FLOW_TABLES:
        return flow_records(flow, table) if flow else []
    if table == "gradient_groups":
        return group_records(report.graph, report.structure, flow) if flow else []
    if table == "paths":
        return path_records(report.path_gradients) if report.path_gradients else []
    if table == "propagation":
        found = report.signal_propagation
        return propagation_records(found) if found else []
    if table in ("blocks", "stages", "costs", "repeats"):
        return structure_records(report.structure, table)
    if table == "attributions":
        return attribution_records(report.attributions) if report.attributions else []
    if table in (*RELEVANCE_TABLES, "relevance_groups"):
        return _relevance(report, table)
    raise _unknown(table, ("ops", "findings", *COLUMNS))


def _relevance(report: Report, table: str) -> list[Row]:
    relevance = report.attributions.relevance if report.attributions else None
    if relevance is None:
        return []
    if table == "relevance_groups":
        return relevance_group_records(report.structure, relevance)
    return relevance_records(relevance, table)


def _ops(report: Report) -> list[Row]:
    structure, flow, times = report.structure, report.gradient_flow, report.op_times
    stages = {op: stage.name for stage in structure.stages for op in stage.ops}
    blocks = structure.block_of()
    costs = {cost.key: cost for cost in structure.costs.ops}
    relevance = report.attributions.relevance if report.attributions else None
    relevant = {row.op: row.amount for row in relevance.ops} if relevance else {}
    rows = []
    for op in report.graph.ops:
        amount = relevant.get(op.id)
        block, cost = blocks.get(op.id), costs.get(op.id)
        stats = flow.get(op.id) if flow else None
        found = [s.l2 for p in op.parameters if flow and (s := flow.get(p))]
        rows.append(
            _op(op)
            | {
                "stage": stages.get(op.id, ""),
                "block": block.skip.join if block else "",
                "block_kind": block.title if block else "",
                "squeeze": block.squeeze if block else None,
                "activation_bytes": cost.activation_bytes if cost else None,
                "saved_bytes": cost.saved_bytes if cost else None,
                "seconds": times.get(op.id) if times else None,
                "grad_l2": stats.l2 if stats else None,
                "grad_rms": stats.rms if stats else None,
                "param_grad_l2": sum(x * x for x in found) ** 0.5 if found else None,
                "relevance": amount.signed if amount else None,
                "relevance_absolute": amount.absolute if amount else None,
            }
        )
    return rows


def _op(op: Op) -> Row:
    return {
        "id": op.id,
        "kind": op.kind,
        "module": op.module,
        "shape": _sizes(op.shape),
        "dtype": op.outputs[0].dtype if op.outputs else "",
        "params": op.params,
        "macs": op.macs,
        "flops": None if op.macs is None else 2 * op.macs,
        "inplace": op.inplace,
        "source_line": op.source_line,
    }


def _skip(skip: Skip) -> Row:
    return {
        "id": skip.id,
        "kind": skip.kind,
        "fork": skip.fork,
        "join": skip.join,
        "branch_ops": len(skip.branch),
        "shortcut_ops": len(skip.shortcut),
        "share": None,
    }


def _block(block: Block) -> Row:
    return {
        "join": block.skip.join,
        "kind": block.kind,
        "title": block.title,
        "preactivation": block.preactivation,
        "module": block.module,
        "stage": "",
        "skip": block.skip.id,
        "skip_kind": block.skip.kind,
        "ops": len(block.ops),
        "squeeze": block.squeeze,
        "widths": _sizes(block.widths),
        "kernels": _sizes(block.kernels),
    }


def _finding(finding: Finding) -> Row:
    fields = {name: getattr(finding, name) for name in COLUMNS["findings"]}
    return fields | {"where": " ".join(finding.where)}


def _cost(cost: Cost) -> Row:
    return {name: getattr(cost, name) for name in COSTS}


def _paid(costs: dict[str, Cost], key: str) -> Row:
    return _cost(costs[key]) if key in costs else dict.fromkeys(COSTS)


def _sizes(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))


def _unknown(table: str, tables: Iterable[str]) -> UserError:
    known = ", ".join(dict.fromkeys(t for t in tables if t not in ("graph", "attributions")))
    return UserError(f"there is no table {table!r}; there are {known}")
