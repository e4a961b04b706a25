"""What one backward says of each block and layer: the counterparts of the forward plots."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

from torch import Tensor
from torch.autograd.graph import Node

from resnet_viz.analysis.flow_graph import FlowGraph
from resnet_viz.core.graph import OpId
from resnet_viz.core.propagation import Moments
from resnet_viz.measuring.autograd_graph import NodeMap, Place
from resnet_viz.measuring.gradients.products import dot, flat
from resnet_viz.measuring.one_pass import Forwarded
from resnet_viz.measuring.propagation.blocks import BlockPlan
from resnet_viz.measuring.propagation.moments import Tally, measure_moments, read_moments

Edge = tuple[Node, int]
"""A backward edge: the node it leaves, and which of the node's gradients it carries."""


class BackwardMeters:
    """Everything that is measured during one backward."""

    def __init__(self, forwarded: Forwarded, flow: FlowGraph, plans: tuple[BlockPlan, ...]) -> None:
        ends = {op for plan in plans for op in (plan.skip.fork, plan.skip.join)}
        layers = {op.id for i, op in enumerate(flow.nodes) if flow.is_weighted(i)}
        self._moments = _Moments(forwarded.nodes, flow, ends | layers)
        self._forks = _Forks(forwarded, plans)

    def hooks(self) -> Iterator[Any]:
        """Places the hooks; each is a handle to remove."""
        yield from self._moments.hooks()
        yield from self._forks.hooks()

    @property
    def numbers(self) -> list[Tensor]:
        """What to transfer, in the order ``read`` wants it."""
        return [*self._moments.numbers, *self._forks.numbers]

    def read(self, numbers: Iterator[float]) -> tuple[dict[OpId, Moments], dict[OpId, float]]:
        """Per call the moments of the gradient at its output; per join the ratio at its fork.

        The ratio is ‖over the branch‖/‖over the shortcut‖, where both were told apart.
        """
        return self._moments.read(numbers), self._forks.read(numbers)


class _Moments:
    """Moments of the gradient at the outputs of some calls."""

    def __init__(self, nodes: NodeMap, flow: FlowGraph, ops: set[OpId]) -> None:
        axes = {op.id: flow.channel_axis[i] for i, op in enumerate(flow.nodes)}
        self._places: dict[OpId, tuple[Place, int | None]] = {}
        for produced in nodes.produced:
            if produced.op in ops:
                self._places.setdefault(produced.op, (produced.place, axes[produced.op]))
        self._measured: dict[tuple[Place, int | None], list[Tensor]] = {}

    def hooks(self) -> Iterator[Any]:
        for place, axis in set(self._places.values()):
            yield place.node.register_prehook(self._measure(place, axis))

    def _measure(self, place: Place, axis: int | None) -> Callable[[Any], None]:
        def hook(grad_outputs: Any) -> None:
            gradient = grad_outputs[place.slot]
            if gradient is not None and gradient.numel():
                self._measured[place, axis] = measure_moments([Tally(gradient, axis)])

        return hook

    @property
    def numbers(self) -> list[Tensor]:
        return [number for pair in self._measured.values() for number in pair]

    def read(self, numbers: Iterator[float]) -> dict[OpId, Moments]:
        found = {key: read_moments(numbers) for key in self._measured}
        return {op: found[key] for op, key in self._places.items() if key in found}


class _Sides:
    """What arrives at one fork from its block: over the branch, and over the shortcut.

    Kept are references, not copies, until the fork's own gradient is known.
    """

    def __init__(self, place: Place, sides: tuple[list[Edge], list[Edge]]) -> None:
        self._place = place
        self._sides = sides
        self._arrived: tuple[list[Tensor], list[Tensor]] = ([], [])
        self.numbers: list[Tensor] = []

    def hooks(self) -> Iterator[Any]:
        for edges, arrived in zip(self._sides, self._arrived, strict=True):
            for node, slot in edges:
                yield node.register_hook(_keeper(slot, arrived))
        yield self._place.node.register_prehook(self._measure)

    def _measure(self, _grad_outputs: Any) -> None:
        if all(self._arrived):
            rows = [flat(reduce(Tensor.add, arrived)) for arrived in self._arrived]
            self.numbers = [dot(row, row) for row in rows]
        for arrived in self._arrived:
            arrived.clear()


class _Forks:
    """How much came back to each block's fork over its branch, and how much over its shortcut."""

    def __init__(self, forwarded: Forwarded, plans: tuple[BlockPlan, ...]) -> None:
        nodes = forwarded.nodes
        places: dict[OpId, Place] = {}
        for produced in nodes.produced:
            places.setdefault(produced.op, produced.place)
        arriving = {arrivals.place: arrivals.edges for arrivals in forwarded.arrivals}
        self._meters: list[tuple[OpId, _Sides]] = []
        for plan in plans:
            skip = plan.skip
            place = places.get(skip.fork)
            edges = arriving.get(place, []) if place else []
            branch, shortcut = set(skip.branch), {skip.join, *skip.shortcut}
            over_branch = [e for e in edges if nodes.owner(e[0]) in branch]
            over_shortcut = [e for e in edges if nodes.owner(e[0]) in shortcut]
            if place and over_branch and over_shortcut:
                self._meters.append((skip.join, _Sides(place, (over_branch, over_shortcut))))

    def hooks(self) -> Iterator[Any]:
        for _, meter in self._meters:
            yield from meter.hooks()

    @property
    def numbers(self) -> list[Tensor]:
        return [number for _, meter in self._meters for number in meter.numbers]

    def read(self, numbers: Iterator[float]) -> dict[OpId, float]:
        ratios = {}
        for join, meter in self._meters:
            if meter.numbers:
                branch, shortcut = next(numbers), next(numbers)
                if shortcut > 0:
                    ratios[join] = math.sqrt(branch / shortcut)
        return ratios


def _keeper(slot: int, arrived: list[Tensor]) -> Callable[[Any, Any], None]:
    def hook(grad_inputs: Any, _grad_outputs: Any) -> None:
        if grad_inputs[slot] is not None:
            arrived.append(grad_inputs[slot])

    return hook
