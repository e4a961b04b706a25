"""What is measured of which call, known from the graph before anything runs.

A call that only scales, moves or passes on the one value it reads, which nobody else
reads, has element by element the conductance of that value: ∂F/∂h · Δh does not change
under a linear map of single elements. Batch norm in eval mode is one. Measuring it again
would say the same, and a third of the elements of a ResNet-50 are such.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from resnet_viz.analysis.flow_graph import carries, flow_of
from resnet_viz.analysis.kinds import CASTS, DROPOUTS, MAYBE_VIEWS, PERMUTING, words
from resnet_viz.core.graph import ModelGraph, Op, OpId, Ref
from resnet_viz.core.relevance import Role
from resnet_viz.core.structure import Structure

JoinKind = Literal["sum", "product", "stack"]
_JOINS: dict[str, JoinKind] = {"add": "sum", "sub": "sum", "mul": "product", "cat": "stack"}

# What keeps every element and adds none.
_KEEPS = (
    PERMUTING | MAYBE_VIEWS | DROPOUTS | CASTS | words("view view_as squeeze unsqueeze unflatten")
) - {"detach"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """One operand of a join.

    Attributes:
        join: Where paths meet.
        in_slot: Which operand.
        src: The call that made it.
        out_slot: Which output of it.
        role: What it is there.
        place: Which of the join's positional arguments it is; of a stack which of its parts.
        factor: What a sum multiplies it with.
        alone: Whether nobody but this join reads it, so that what it contributes is its own
            relevance.
    """

    join: OpId
    in_slot: int
    src: OpId
    out_slot: int
    role: Role
    place: int
    factor: float = 1.0
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A call where paths meet.

    Attributes:
        kind: How it joins them.
        operands: What depends on the input, in order.
        axis: Of a stack.
    """

    kind: JoinKind
    operands: tuple[Operand, ...]
    axis: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured.

    Attributes:
        measured: Calls whose conductance is added up.
        same: Per call that has the conductance of another, that other.
        joins: By op.
        forks: Calls whose value is read more than once.
    """

    measured: frozenset[OpId]
    same: dict[OpId, OpId]
    joins: dict[OpId, Join]
    forks: frozenset[OpId]


def plan_of(graph: ModelGraph, structure: Structure, *, statistics: Collection[OpId] = ()) -> Plan:
    """What is measured of the calls of this graph.

    Args:
        graph: A traced model.
        structure: Says what is a shortcut.
        statistics: Norms that run on the statistics of their batch.
    """
    flow = flow_of(graph)
    active = {op.id for op, on in zip(flow.nodes, flow.active, strict=True) if on}
    returned = {output.src for output in graph.outputs}

    def readers(op: OpId) -> int:
        return len(graph.edges_out(op)) + (op in returned)

    joins = {}
    for op in graph.ops:
        kind = _JOINS.get(op.kind)
        edges = [e for e in graph.edges_in(op.id) if e.src in active and carries(graph, e)]
        if kind is None or op.id not in active or len(edges) < 2:
            continue
        places = _places(op, kind)
        if any(edge.in_slot not in places for edge in edges):
            continue
        shape = op.shape
        operands = []
        for edge in edges:
            whole = kind == "stack" or graph[edge.src].outputs[edge.out_slot].shape == shape
            operands.append(
                Operand(
                    join=op.id,
                    in_slot=edge.in_slot,
                    src=edge.src,
                    out_slot=edge.out_slot,
                    role=_role(structure, op.id, edge.src),
                    place=places[edge.in_slot],
                    factor=_factor(op, places[edge.in_slot]),
                    alone=kind != "product"
                    and whole
                    and readers(edge.src) == 1
                    and len(graph[edge.src].outputs) == 1,
                )
            )
        joins[op.id] = Join(kind=kind, operands=tuple(operands), axis=_axis(op))
    needed = {o.src for join in joins.values() for o in join.operands if not o.alone}
    same: dict[OpId, OpId] = {}
    for op in graph.ops:
        edges = list(graph.edges_in(op.id))
        if (
            (op.kind in _KEEPS or op.kind == "batch_norm")
            and op.id in active
            and op.id not in needed
            and op.id not in statistics
            and len(edges) == 1
            and edges[0].src in active
            and readers(edges[0].src) == 1
            and len(graph[edges[0].src].outputs) == len(op.outputs) == 1
            and graph[edges[0].src].outputs[0].numel == op.outputs[0].numel
        ):
            same[op.id] = same.get(edges[0].src, edges[0].src)
    return Plan(
        measured=frozenset(active - same.keys()),
        same=same,
        joins=joins,
        forks=frozenset(op for op in active if readers(op) > 1),
    )


def _places(op: Op, kind: JoinKind) -> dict[int, int]:
    """Per activation among the arguments which of them, or which part of a stack, it is."""
    given = op.argument(0, "tensors") if kind == "stack" else None
    arguments = given if isinstance(given, tuple) else op.args if kind != "stack" else ()
    if kind != "stack" and len(arguments) < 2:
        arguments = (*arguments, *(value for name, value in op.kwargs if name == "other"))
    return {
        value.key: place
        for place, value in enumerate(arguments)
        if isinstance(value, Ref) and isinstance(value.key, int)
    }


def _factor(op: Op, place: int) -> float:
    alpha = op.argument(2, "alpha", 1) if op.kind in ("add", "sub") else 1
    factor = float(alpha) if place == 1 and isinstance(alpha, int | float) else 1.0
    return -factor if op.kind == "sub" and place == 1 else factor


def _axis(op: Op) -> int:
    if op.kind != "cat":
        return 0
    axis = op.argument(1, "dim", 0)
    return axis % max(len(op.shape), 1) if isinstance(axis, int) else 0


def _role(structure: Structure, join: OpId, src: OpId) -> Role:
    """What an operand is to the skips that end here; of several the shortest."""
    for skip in sorted((s for s in structure.skips if s.join == join), key=lambda s: len(s.branch)):
        if src == skip.fork or src in skip.shortcut:
            return "shortcut"
        if src in skip.branch:
            return "gate" if skip.kind == "gate" else "residual branch"
    return "operand"
