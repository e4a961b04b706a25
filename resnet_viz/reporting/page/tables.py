"""Rows of the report's tables: one per call, block and stage, every number as text."""

from __future__ import annotations

import math
from collections import Counter
from functools import cached_property
from typing import Any, TypeAlias

from resnet_viz.analysis.depth import DepthSlope, depth_slope
from resnet_viz.core.forward_facts import Activity
from resnet_viz.core.gradient_flow import (
    EdgeShare,
    GradientFlow,
    GradientStats,
    ParameterGradient,
    combine,
)
from resnet_viz.core.gradient_groups import update_ratio_of
from resnet_viz.core.graph import ModelGraph, Op, OpId
from resnet_viz.core.message import say
from resnet_viz.core.relevance import Amount
from resnet_viz.core.report import Report
from resnet_viz.core.structure import Block, Cost, Skip
from resnet_viz.core.units import nbytes, percent, scientific, shape, si
from resnet_viz.reporting.attributions.amounts import amount_text
from resnet_viz.reporting.drawing.labels import op_class, op_label
from resnet_viz.reporting.folding.boxes import copies_row, members_of
from resnet_viz.reporting.page.cost_wording import ESTIMATE, SAVED, macs_text, memory_rows
from resnet_viz.reporting.page.times import Times
from resnet_viz.reporting.wording import block_widths

Row: TypeAlias = dict[str, Any]

NOTHING = "–"
_NORMS = ("norm",)


def is_weighted(graph: ModelGraph, op: Op) -> bool:
    """Whether the op multiplies by a weight matrix or kernel (norms do not count)."""
    if any(word in op.kind for word in _NORMS):
        return False
    return any(len(graph.parameter(name).spec.shape) >= 2 for name in op.parameters)


def weights_of(graph: ModelGraph, op: Op) -> tuple[str, ...]:
    """The parameters whose gradient stands for the op: its matrices, else all it has."""
    matrices = tuple(n for n in op.parameters if len(graph.parameter(n).spec.shape) >= 2)
    return matrices or op.parameters


class Facts:
    """Look-ups that several sections of one report share; lives as long as one view."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.graph = report.graph
        self.structure = report.structure
        self.flow: GradientFlow | None = report.gradient_flow
        self.times = Times(report)

    @cached_property
    def weighted(self) -> tuple[Op, ...]:
        """All weighted layers, in forward order."""
        return tuple(op for op in self.graph.ops if is_weighted(self.graph, op))

    @cached_property
    def shortcut_ops(self) -> frozenset[OpId]:
        """Ops that lie on the shortcut of a skip."""
        return frozenset(op for skip in self.structure.skips for op in skip.shortcut)

    @cached_property
    def stage_of(self) -> dict[OpId, int]:
        """Each op's stage, as an index into ``structure.stages``."""
        return {op: i for i, stage in enumerate(self.structure.stages) for op in stage.ops}

    @cached_property
    def block_of(self) -> dict[OpId, Block]:
        """Each op's innermost block."""
        return self.structure.block_of()

    @cached_property
    def block_at(self) -> dict[str, Block]:
        """The block of each skip, by the skip's id."""
        return {block.skip.id: block for block in self.structure.blocks}

    @cached_property
    def costs(self) -> dict[str, dict[str, Cost]]:
        """Costs by what they are of: ``ops``, ``blocks``, ``stages``."""
        costs = self.structure.costs
        return {
            "ops": {c.key: c for c in costs.ops},
            "blocks": {c.key: c for c in costs.blocks},
            "stages": {c.key: c for c in costs.stages},
        }

    @cached_property
    def slope(self) -> DepthSlope | None:
        """The fitted change of the gradient norm per layer; ``None`` where there is no fit."""
        return depth_slope(self.graph, self.structure, self.flow) if self.flow else None

    @cached_property
    def shares_at(self) -> dict[OpId, list[EdgeShare]]:
        """The shares of each fork."""
        found: dict[OpId, list[EdgeShare]] = {}
        for edge in self.flow.shares if self.flow else ():
            found.setdefault(edge.src, []).append(edge)
        return found

    @cached_property
    def _alone(self) -> frozenset[str]:
        seen: dict[str, int] = {}
        for op in self.graph.ops:
            seen[op.module] = seen.get(op.module, 0) + 1
        return frozenset(module for module, n in seen.items() if n == 1 and module)

    @cached_property
    def parameters(self) -> dict[str, ParameterGradient]:
        """What was measured of each parameter, by its name."""
        return {p.name: p for p in self.flow.parameters} if self.flow else {}

    @cached_property
    def activities(self) -> dict[OpId, Activity]:
        """How alive each activation function is, by its call."""
        return {a.op: a for a in self.flow.activities} if self.flow else {}

    @cached_property
    def relevance(self) -> dict[OpId, Amount]:
        """How much each op's output added to the score, where that was measured."""
        found = self.report.attributions
        ops = found.relevance.ops if found is not None and found.relevance is not None else ()
        return {r.op: r.amount for r in ops}

    @cached_property
    def _weight_norms(self) -> dict[str, float]:
        return {p.name: p.weight_l2 for p in self.flow.parameters} if self.flow else {}

    @cached_property
    def reasons(self) -> dict[str, str]:
        """Why a parameter has no gradient, by its name."""
        return {p.name: p.reason for p in self.flow.parameters if p.reason} if self.flow else {}

    def name(self, op: str) -> str:
        """An op's module where that says it all, else its id; other names as they are."""
        if op not in self.graph:
            return op
        module = self.graph[op].module
        return module if module in self._alone else op

    def weight_gradient(self, op: Op) -> GradientStats | None:
        """Statistics of the gradient of the op's weights, taken as one tensor."""
        if self.flow is None:
            return None
        parts = [self.flow.get(name) for name in weights_of(self.graph, op)]
        found = [part for part in parts if part is not None]
        if len(found) == 1:
            return found[0]
        return combine(found) if found else None

    def call_gradient(self, op: Op) -> GradientStats | None:
        """Statistics of the gradient that arrived at the op's output."""
        return self.flow.get(op.id) if self.flow else None

    def update_ratio(self, op: Op) -> float | None:
        """Gradient norm over weight norm of the op's weights."""
        stats = self.weight_gradient(op)
        norms = [self._weight_norms.get(name, 0.0) for name in weights_of(self.graph, op)]
        norm = math.hypot(*norms) if norms else 0.0
        return stats.l2 / norm if stats and norm else None

    def step_ratio(self, op: Op) -> float | None:
        """‖w′ − w‖/‖w‖ of one step of the optimizer; ``None`` where not measured."""
        names = weights_of(self.graph, op)
        return update_ratio_of(p for n in names if (p := self.parameters.get(n)) is not None)


def layer_rows(facts: Facts) -> list[Row]:
    """One row per op, in forward order; ``weighted`` marks those with weights."""
    weighted = {op.id for op in facts.weighted}
    return [_layer_row(facts, op, op.id in weighted) for op in facts.graph.ops]


def _layer_row(facts: Facts, op: Op, weighted: bool) -> Row:
    cost = facts.costs["ops"].get(op.id)
    memory = cost.activation_bytes if cost else sum(o.nbytes for o in op.outputs)
    weight, call = facts.weight_gradient(op), facts.call_gradient(op)
    ratio = facts.update_ratio(op)
    return {
        "op": op.id,
        "name": facts.name(op.id),
        "what": op_label(facts.graph, op),
        "class": op_class(facts.graph, op, on_shortcut=op.id in facts.shortcut_ops),
        "weighted": weighted,
        "shape": shape(op.shape) if op.outputs else NOTHING,
        "params": si(op.params) if op.params else NOTHING,
        "macs": say("not counted") if op.macs is None else si(op.macs) if op.macs else NOTHING,
        "memory": nbytes(memory) if memory else NOTHING,
        "saved": _saved(cost.saved_bytes if cost else None),
        "grad": scientific(weight.l2) if weight else NOTHING,
        "rms": scientific(weight.rms) if weight else NOTHING,
        "ratio": scientific(ratio) if ratio is not None else NOTHING,
        "arriving": scientific(call.rms) if call else NOTHING,
        **_measured(facts, op),
        "source": op.source_line,
        "inplace": op.inplace,
        "raised": facts.graph.failure is not None and op.id == facts.graph.failure.op,
    }


MORE = {
    "time": say("Time"),
    "update": "‖Δw‖/‖w‖",
    "unit": say("Worst unit ‖Gᵢ‖/‖Wᵢ‖"),
    "cosine": say("Cosine"),
    "dead": say("Dead units"),
    "saturated": say("Saturated"),
    "relevance": say("Relevance"),
    "relevance_size": say("Absolute relevance"),
}
"""Columns of the layer table that are there where anything was measured for them."""


def _measured(facts: Facts, op: Op) -> Row:
    parameters = [p for n in weights_of(facts.graph, op) if (p := facts.parameters.get(n))]
    update = facts.step_ratio(op)
    units = [p.units.high for p in parameters if p.units]
    cosines = [p.cosine.mean for p in parameters if p.cosine]
    alive = facts.activities.get(op.id)
    return {
        "time": facts.times.of_op(op.id),
        "update": NOTHING if update is None else scientific(update),
        "unit": scientific(max(units)) if units else NOTHING,
        "cosine": scientific(cosines[0]) if cosines else NOTHING,
        "dead": NOTHING if alive is None or alive.dead is None else percent(alive.dead),
        "saturated": NOTHING
        if alive is None or alive.saturated is None
        else percent(alive.saturated),
        "relevance": amount_text(facts.relevance.get(op.id)),
        "relevance_size": amount_text(facts.relevance.get(op.id), absolute=True),
    }


def more_columns(rows: list[Row]) -> list[tuple[str, str]]:
    """Keys and headings of the columns in ``MORE`` that any row has a value in."""
    return [(key, head) for key, head in MORE.items() if any(r[key] != NOTHING for r in rows)]


def cost_rows(facts: Facts, drawing: Row) -> Row:
    """Totals, and a row per stage, block and kind of op, with each one's part of the total."""
    costs, graph = facts.structure.costs, facts.graph
    total = costs.total
    by_stage, by_block = facts.costs["stages"], facts.costs["blocks"]
    stages = [
        _cost_row(by_stage[s.name], total)
        | facts.times.of_ops(s.ops)
        | {
            "name": s.name,
            "stage": tint,
            "resolution": shape(s.resolution) if s.resolution else NOTHING,
            "blocks": s.blocks,
            "ops": len(s.ops),
        }
        for s, tint in zip(facts.structure.stages, stage_tints(facts, drawing), strict=True)
        if s.name in by_stage
    ]
    blocks = [
        _cost_row(by_block[b.skip.join], total)
        | facts.times.of_block(b.skip.join)
        | block_row(facts, b)
        for b in facts.structure.blocks
        if b.skip.join in by_block
    ]
    calls = Counter(op.kind for op in graph.ops)
    kinds = [
        _cost_row(cost, total)
        | facts.times.of_kind(cost.key)
        | {"name": cost.key, "calls": f"{calls[cost.key]:,}"}
        for cost in sorted(costs.kinds, key=lambda c: (-c.macs, -c.params, -c.activation_bytes))
    ]
    return {
        "params": si(graph.total_params),
        "macs": macs_text(total.macs, total.uncounted),
        "flops": macs_text(total.flops, total.uncounted),
        "memory": nbytes(total.activation_bytes),
        "uncounted": [str(op) for op in graph.uncounted],
        "saved": total.saved_bytes is not None,
        "timed": facts.times.measured,
        "notes": [
            *([SAVED] if total.saved_bytes is not None else []),
            ESTIMATE,
            *facts.times.notes,
        ],
        "totals": [
            {"name": name, "size": size, "what": what}
            for name, size, what in memory_rows(graph, costs)
        ],
        "stages": stages,
        "blocks": blocks,
        "kinds": kinds,
    }


def block_row(facts: Facts, block: Block) -> Row:
    """What there is to say about one block: its kind, its shape, its skip, its share."""
    return {
        "name": block.module or block.skip.join,
        "join": block.skip.join,
        "fork": block.skip.fork,
        "kind": block.title,
        "path": block_widths(block),
        "squeeze": f"{block.squeeze:.3g}",
        "skip": block.skip.kind,
        "share": share_text(facts, block.skip),
        "n_ops": len(block.ops),
    }


def share_text(facts: Facts, skip: Skip) -> str:
    """The skip's share of the gradient at its fork, as a percentage."""
    share = facts.flow.share_of(skip) if facts.flow else None
    return NOTHING if share is None else percent(share)


def stage_tints(facts: Facts, drawing: Row) -> list[int]:
    """Each stage's tint in the drawing; -1 for a stage that has no box there."""
    drawn = {
        drawing["nodes"][i]["id"]: group["tint"]
        for group in drawing["groups"]
        if "tint" in group
        for i in range(group["low"], group["high"])
    }
    return [
        next((drawn[op] for op in stage.ops if op in drawn), -1) for stage in facts.structure.stages
    ]


def group_rows(facts: Facts, drawing: Row) -> dict[str, Row]:
    """What the inspector says of each box of the diagram, by its id."""
    ids = [node["id"] for node in drawing["nodes"]]
    members = members_of(facts.graph, drawing)
    rows = {}
    for group in drawing["groups"]:
        inside = [
            op for drawn in ids[group["low"] : group["high"]] for op in members.get(drawn, [drawn])
        ]
        costs = [cost for op in inside if (cost := facts.costs["ops"].get(op)) is not None]
        rows[group["id"]] = {
            "type": group.get("type_name", ""),
            "join": drawing["blocks"][group["block"]]["join"] if "block" in group else "",
            "params": si(sum(c.params for c in costs)),
            "macs": macs_text(sum(c.macs for c in costs), sum(c.uncounted for c in costs)),
            "flops": macs_text(sum(c.flops for c in costs), sum(c.uncounted for c in costs)),
            "memory": nbytes(sum(c.activation_bytes for c in costs)),
            "saved": nbytes(sum(c.saved_bytes or 0 for c in costs))
            if facts.structure.costs.total.saved_bytes is not None
            else "",
            "time": facts.times.of_ops(inside).get("time", ""),
        } | copies_row(group)
    return rows


def _cost_row(cost: Cost, total: Cost) -> Row:
    return {
        "params": si(cost.params) if cost.params else NOTHING,
        "params_part": _part(cost.params, total.params),
        "macs": macs_text(cost.macs, cost.uncounted, NOTHING),
        "macs_part": _part(cost.macs, total.macs),
        "memory": nbytes(cost.activation_bytes) if cost.activation_bytes else NOTHING,
        "memory_part": _part(cost.activation_bytes, total.activation_bytes),
        "saved": _saved(cost.saved_bytes),
        "saved_part": _part(cost.saved_bytes or 0, total.saved_bytes or 0),
    }


def _saved(size: int | None) -> str:
    return nbytes(size) if size else NOTHING


def _part(value: int, total: int) -> float:
    return round(100 * value / total, 2) if total else 0.0
