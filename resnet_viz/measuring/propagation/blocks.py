"""The residual blocks of a graph, and what a forward says of each.

Values are read as the call that makes them returns: ``out += identity`` destroys F(x)
afterwards, and an activation in place destroys what left the block. F(x) is what enters
the join from the branch, so after its scale in a normaliser-free net; where the join
concatenates, F(x) is the new features and S(x) all that was there before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resnet_viz.analysis.flow_graph import FlowGraph
from resnet_viz.core.graph import Edge, Op, OpId
from resnet_viz.core.propagation import Moments
from resnet_viz.core.structure import Skip, Structure
from resnet_viz.measuring.propagation.moments import (
    Tally,
    measure_moments,
    measure_ratio,
    read_moments,
)
from resnet_viz.tracing.walk import Function, Walk


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """A residual block and where its parts are.

    Attributes:
        skip: Its skip.
        name: Its module path, or its join where a module holds several.
        stage: Name of its stage; empty for none.
        changes: Whether its output has another shape than its fork, or its shortcut is a
            projection; a concatenation always adds channels and does not count.
        join: The call that closes it.
        branch: Edges that bring F(x) to the join.
        shortcut: Edges that bring S(x).
        alpha: By what its second operand is multiplied.
    """

    skip: Skip
    name: str
    stage: str
    changes: bool
    join: Op
    branch: tuple[Edge, ...]
    shortcut: tuple[Edge, ...]
    alpha: float


def plan_blocks(flow: FlowGraph, structure: Structure) -> tuple[BlockPlan, ...]:
    """The residual blocks in the order in which they end."""
    graph = flow.graph
    homes = Counter(block.module for block in structure.blocks)
    stages = {op: stage.name for stage in structure.stages for op in stage.ops}
    plans = []
    for block in sorted(structure.blocks, key=lambda b: graph.position(b.skip.join)):
        skip, join = block.skip, graph[block.skip.join]
        inside = set(skip.branch)
        edges = [e for e in graph.edges_in(join.id) if flow.active[graph.position(e.src)]]
        alone = block.module and homes[block.module] == 1
        same = skip.kind == "concat" or graph[skip.fork].shape == join.shape
        alpha = dict(join.kwargs).get("alpha", 1)
        plans.append(
            BlockPlan(
                skip=skip,
                name=block.module if alone else join.id,
                stage=stages.get(join.id, ""),
                changes=skip.kind == "projection" or not same,
                join=join,
                branch=tuple(e for e in edges if e.src in inside),
                shortcut=tuple(e for e in edges if e.src not in inside),
                alpha=float(alpha) if isinstance(alpha, int | float) else 1.0,
            )
        )
    return tuple(plans)


class SignalWatch:
    """Watches a forward: reads what enters and leaves each block, and each weighted layer."""

    def __init__(self, flow: FlowGraph, plans: tuple[BlockPlan, ...]) -> None:
        self._flow = flow
        self._plans = plans
        joins = {plan.join.id for plan in plans}
        self.layers = tuple(
            op.id for i, op in enumerate(flow.nodes) if flow.active[i] and flow.is_weighted(i)
        )
        wanted = {(op, 0): self._axis(op) for op in (*self.layers, *joins)}
        for plan in plans:
            for edge in (*plan.branch, *plan.shortcut):
                wanted.setdefault((edge.src, edge.out_slot), self._axis(plan.join.id))
        self._wanted: dict[OpId, list[tuple[int, int | None]]] = {}
        for (op, slot), axis in wanted.items():
            self._wanted.setdefault(op, []).append((slot, axis))
        self._tallies: dict[tuple[OpId, int], Tally] = {}

    def _axis(self, op: OpId) -> int | None:
        return self._flow.channel_axis[self._flow.graph.position(op)]

    def called(
        self,
        op: OpId,
        _walk: Walk,
        _func: Function,
        _args: tuple[Any, ...],
        _kwargs: dict[str, Any],
        outputs: list[Tensor],
    ) -> None:
        """Reads what the call has made, before anything writes into it."""
        for slot, axis in self._wanted.get(op, ()):
            if slot < len(outputs) and outputs[slot].numel() and _has_moments(outputs[slot]):
                self._tallies[op, slot] = Tally(outputs[slot], axis)

    def given(self, op: OpId, tensor: Tensor) -> None:
        """Reads an input, before ``forward`` does."""
        for slot, axis in self._wanted.get(op, ()):
            if tensor.numel() and _has_moments(tensor):
                self._tallies[op, slot] = Tally(tensor, axis)

    @property
    def measured(self) -> tuple[BlockPlan, ...]:
        """The blocks of which everything was seen."""
        return tuple(plan for plan in self._plans if self._is_complete(plan))

    def _is_complete(self, plan: BlockPlan) -> bool:
        whole = self._tallies.get((plan.join.id, 0))
        edges = (*plan.branch, *plan.shortcut)
        parts = [self._tallies.get((edge.src, edge.out_slot)) for edge in edges]
        joined = plan.join.kind == "cat"
        return (
            whole is not None
            and bool(plan.branch and plan.shortcut)
            and all(part is not None and part.fits(whole, joined=joined) for part in parts)
        )

    @property
    def numbers(self) -> list[Tensor]:
        """What to transfer, in the order ``read`` wants it."""
        found = [n for op in self._outputs() for n in measure_moments([self._tallies[op, 0]])]
        for plan in self.measured:
            branch = self._operands(plan, plan.branch)
            shortcut = self._operands(plan, plan.shortcut)
            found += measure_moments(branch)
            found.append(measure_ratio(branch, shortcut))
        return found

    def read(
        self, numbers: Iterator[float]
    ) -> tuple[dict[OpId, Moments], dict[OpId, tuple[Moments, float]]]:
        """Moments of outputs per call; of F(x), with ‖F(x)‖/‖S(x)‖, per join."""
        outputs = {op: read_moments(numbers) for op in self._outputs()}
        blocks = {plan.join.id: (read_moments(numbers), next(numbers)) for plan in self.measured}
        return outputs, blocks

    def _outputs(self) -> list[OpId]:
        ends = dict.fromkeys((*self.layers, *(plan.join.id for plan in self._plans)))
        return [op for op in ends if (op, 0) in self._tallies]

    def _operands(self, plan: BlockPlan, edges: tuple[Edge, ...]) -> list[Tally]:
        whole = self._tallies[plan.join.id, 0]
        second = max(edge.in_slot for edge in (*plan.branch, *plan.shortcut))
        found = []
        for edge in edges:
            tally = self._tallies[edge.src, edge.out_slot]
            if plan.join.kind != "cat":
                # An operand that is broadcast counts as often as it is added.
                tally = tally.spread(whole)
            if edge.in_slot == second and plan.alpha != 1:
                tally = tally.scaled(plan.alpha)
            found.append(tally)
        return found


def _has_moments(tensor: Tensor) -> bool:
    if tensor.is_nested or tensor.layout is not torch.strided:
        return False
    return tensor.is_floating_point() or tensor.is_complex()
