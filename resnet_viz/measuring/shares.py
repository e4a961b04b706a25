"""The share of the gradient that comes back over each edge of a fork.

For a value x that several calls consume, autograd sums what each of them sends
back: g = Σ g_e. The signed share ⟨g_e, g⟩/⟨g, g⟩ says how much of g arrived over
edge e; the shares at a fork sum to 1. It is measured at the fork, because at an
``add`` both operands receive the same gradient. A fork whose edges do not sum to
its total is listed as not separable, never normalised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.measurement import EdgeShare, NotSeparable
from resnet_viz.measuring.autograd_graph import Fork, NodeMap, Place
from resnet_viz.measuring.statistics import dot, flat

TOLERANCE = 1e-5
"""A fork is separable if |Σ share − 1| ≤ this · max(1, Σ |share|).

In half precision autograd rounds the sum itself, so that there it is four units of
the last place.
"""


_HALF = {dtype: 4 * torch.finfo(dtype).eps for dtype in (torch.float16, torch.bfloat16)}


@dataclass(frozen=True, slots=True)
class _Source:
    """One op whose value forks, and which backward edges come back to it by whom."""

    op: OpId
    ways: tuple[tuple[OpId, tuple[int, ...]], ...]

    @property
    def positions(self) -> tuple[int, ...]:
        return tuple(p for _, positions in self.ways for p in positions)


class ForkMeter:
    """Hooks on one fork: keeps what arrives until the sum is known, then dots.

    The kept tensors are references, not copies: while they are held, autograd
    cannot add into them in place, and they go as soon as the fork is reached.
    """

    def __init__(self, fork: Fork, sources: list[_Source]) -> None:
        self._place = fork.place
        self._edges = fork.edges
        self._sources = sources
        self._arrived: dict[int, Tensor] = {}
        self._tolerance = TOLERANCE
        self.numbers: list[Tensor] = []

    def hooks(self) -> Iterator[Any]:
        """Places the hooks; each is a handle to remove."""
        for position, (node, slot) in enumerate(self._edges):
            yield node.register_hook(self._keep(position, slot))
        yield self._place.node.register_prehook(self._total)

    def _keep(self, position: int, slot: int) -> Callable[[Any, Any], None]:
        def hook(grad_inputs: Any, _grad_outputs: Any) -> None:
            gradient = grad_inputs[slot]
            if gradient is not None:
                self._arrived[position] = gradient

        return hook

    def _total(self, grad_outputs: Any) -> None:
        total = grad_outputs[self._place.slot]
        arrived, self._arrived = self._arrived, {}
        if total is None:
            return
        self.numbers = []
        self._tolerance = max(TOLERANCE, _HALF.get(total.dtype, 0.0))
        for source in self._sources:
            everything = len(source.positions) == len(self._edges)
            whole = flat(total if everything else _sum(arrived, source.positions, total))
            self.numbers.append(dot(whole, whole))
            for _, positions in source.ways:
                part = flat(_sum(arrived, positions, total))
                self.numbers += [dot(part, whole), dot(part, part)]

    def read(self, numbers: Iterator[float]) -> tuple[list[EdgeShare], list[NotSeparable]]:
        """The shares at this fork, or why it has none."""
        shares: list[EdgeShare] = []
        refused: list[NotSeparable] = []
        for source in self._sources:
            if not self.numbers:
                refused.append(NotSeparable(fork=source.op, reason="no gradient arrived"))
                continue
            square = next(numbers)
            rows = [(way, next(numbers), next(numbers)) for way, _ in source.ways]
            reason = _why_not(square, [product for _, product, _ in rows], self._tolerance)
            if reason:
                refused.append(NotSeparable(fork=source.op, reason=reason))
                continue
            norm = math.sqrt(square)
            for way, product, own in rows:
                length = math.sqrt(own)
                shares.append(
                    EdgeShare(
                        src=source.op,
                        dst=way,
                        share=product / square,
                        norm_ratio=length / norm,
                        cosine=product / (length * norm) if length else 0.0,
                    )
                )
        return shares, refused


def _sum(arrived: dict[int, Tensor], positions: tuple[int, ...], like: Tensor) -> Tensor:
    parts = [arrived[p] for p in positions if p in arrived]
    if not parts:
        return torch.zeros_like(like)
    out = parts[0]
    for part in parts[1:]:
        out = out + part
    return out


def _why_not(square: float, products: list[float], tolerance: float) -> str:
    if square == 0:
        return "the gradient here is zero"
    if not math.isfinite(square):
        return "the gradient here is not finite"
    shares = [product / square for product in products]
    if abs(sum(shares) - 1) > tolerance * max(1.0, sum(map(abs, shares))):
        return f"the edges add up to {sum(shares):.6f} of the total"
    return ""


class ShareBook:
    """All forks of one backward that are values of the graph."""

    def __init__(self, found: list[Fork], nodes: NodeMap, graph: ModelGraph) -> None:
        families: dict[Place, list[OpId]] = {}
        for produced in nodes.produced:
            families.setdefault(produced.place, []).append(produced.op)
        self._meters: list[ForkMeter] = []
        for fork in found:
            family = families.get(fork.place)
            if family is None:
                continue
            consumers = [nodes.owner(node) or OpId("loss") for node, _ in fork.edges]
            sources = _sources(family, consumers, graph)
            if sources:
                self._meters.append(ForkMeter(fork, sources))

    def hooks(self) -> Iterator[Any]:
        """Places all hooks; each is a handle to remove."""
        for meter in self._meters:
            yield from meter.hooks()

    @property
    def numbers(self) -> list[Tensor]:
        """What to transfer, in the order ``read`` wants it."""
        return [number for meter in self._meters for number in meter.numbers]

    def read(
        self, numbers: Iterator[float]
    ) -> tuple[tuple[EdgeShare, ...], tuple[NotSeparable, ...]]:
        """Shares per edge of the graph, and the forks that have none."""
        shares: list[EdgeShare] = []
        refused: list[NotSeparable] = []
        for meter in self._meters:
            found, why = meter.read(numbers)
            shares += found
            refused += why
        return tuple(shares), tuple(refused)


def _sources(family: list[OpId], consumers: list[OpId], graph: ModelGraph) -> list[_Source]:
    """The forks of the traced graph behind one fork of autograd's.

    Args:
        family: The ops whose output this one autograd value is: the op that made
            it, then those that passed it through unchanged (dropout in eval mode).
        consumers: The op that each backward edge comes from.
        graph: Tells over which member of the family a consumer reads.
    """
    ways: dict[OpId, dict[OpId, list[int]]] = {}
    members = set(family)
    for position, consumer in enumerate(consumers):
        via = family[0]
        readers = {e.src for e in graph.edges_in(consumer)} if consumer in graph else set()
        for member in reversed(family):
            if member in readers:
                via = member
                break
        ways.setdefault(via, {}).setdefault(consumer, []).append(position)
        while via != family[0]:
            before = [e.src for e in graph.edges_in(via) if e.src in members]
            if not before:
                break
            ways.setdefault(before[0], {}).setdefault(via, []).append(position)
            via = before[0]
    return [
        _Source(op, tuple((dst, tuple(positions)) for dst, positions in ends.items()))
        for op, ends in ways.items()
        if len(ends) > 1
    ]
