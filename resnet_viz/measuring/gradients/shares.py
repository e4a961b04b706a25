"""The share of the gradient that comes back over each edge of a fork.

For a value x that several calls consume, autograd sums what each of them sends
back: g = Σ g_e. The signed share ⟨g_e, g⟩/⟨g, g⟩ says how much of g arrived over
edge e; the shares at a fork sum to 1. It is measured at the fork, because at an
``add`` both operands receive the same gradient. A fork whose edges do not sum to
its total is listed as not separable, never normalised.

The value of an op with several outputs is all of them taken as one vector: each
product is the sum of those at its outputs, and a consumer of one output sends zero to
the others. So a ``split`` has the shares that its input would have if each consumer
took its slice from there; ``forks`` says what else counts as a fork and as an edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resnet_viz.core.gradient_flow import EdgeShare, NotSeparable
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.message import say
from resnet_viz.measuring.autograd_graph import Arrivals, NodeMap
from resnet_viz.measuring.device import reads_freely
from resnet_viz.measuring.gradients.forks import Forks, Part, find_forks
from resnet_viz.measuring.gradients.products import GRAM_LIMIT, dot, rows_of, value_of

TOLERANCE = 1e-5
"""A fork is separable if |Σ share − 1| ≤ this · max(1, Σ |share|).

In half precision autograd rounds the sum itself, so that there it is four units of
the last place.
"""

_HALF = {dtype: 4 * torch.finfo(dtype).eps for dtype in (torch.float16, torch.bfloat16)}


@dataclass(slots=True)
class _Sums:
    """⟨g, g⟩ of one fork, and per consumer ⟨g_e, g⟩ and ⟨g_e, g_e⟩, over all its places."""

    square: float
    products: dict[OpId, float]
    squares: dict[OpId, float]
    tolerance: float = TOLERANCE
    arrived: bool = False


class PlaceMeter:
    """Hooks on one place: keeps what arrives until it can be multiplied.

    What is kept is references, not copies. As long as they are held autograd cannot add
    into them in place, so they go with the last arrival where that is enough.
    """

    def __init__(self, arrivals: Arrivals, parts: list[Part]) -> None:
        self._place = arrivals.place
        self._edges = arrivals.edges
        self._parts = parts
        self._arrived: dict[int, Tensor] = {}
        self._passed = 0
        self._gram: list[Tensor] = []
        self._tolerance = TOLERANCE
        self.numbers: list[Tensor] = []

    def hooks(self) -> Iterator[Any]:
        """Places the hooks; each is a handle to remove."""
        if any(len(part.ways) > 1 or not self._is_whole(part) for part in self._parts):
            for position, (node, slot) in enumerate(self._edges):
                yield node.register_hook(self._keep(position, slot))
        yield self._place.node.register_prehook(self._total)

    def _is_whole(self, part: Part) -> bool:
        return sum(map(len, part.ways.values())) == len(self._edges)

    def _keep(self, position: int, slot: int) -> Callable[[Any, Any], None]:
        def hook(grad_inputs: Any, _grad_outputs: Any) -> None:
            gradient = grad_inputs[slot]
            self._passed += 1
            if gradient is not None:
                self._arrived[position] = gradient
            if self._passed == len(self._edges):
                self._multiply_two()

        return hook

    def _multiply_two(self) -> None:
        """Of a fork with two ways all products, before autograd adds the two up.

        Reads less memory than products with the total, and says the same of g₁ + g₂: that
        this is the total is then checked by ‖g₁ + g₂‖² = ‖g‖². Where the two all but cancel
        it says it less exactly, and the products with the total are taken. To know that
        is free on the CPU alone.
        """
        part = self._parts[0]
        if len(self._parts) > 1 or len(part.ways) != 2 or not self._is_whole(part):
            return
        parts = [_sum(self._arrived, positions) for positions in part.ways.values()]
        if any(p is None or not reads_freely(p) for p in parts):
            return
        left, right = rows_of(*(p for p in parts if p is not None))
        cross, first, second = dot(left, right), dot(left, left), dot(right, right)
        apart = value_of(first + second)
        if apart + 2 * value_of(cross) < GRAM_LIMIT * apart:
            return
        self._gram = [first + cross, first, second + cross, second]
        self._arrived = {}

    def _total(self, grad_outputs: Any) -> None:
        total = grad_outputs[self._place.slot]
        arrived, self._arrived = self._arrived, {}
        gram, self._gram, self._passed = self._gram, [], 0
        self.numbers = []
        if total is None:
            return
        self._tolerance = max(TOLERANCE, _HALF.get(total.dtype, 0.0))
        for part in self._parts:
            self.numbers += self._products(part, arrived, gram, total)

    def _products(
        self, part: Part, arrived: dict[int, Tensor], gram: list[Tensor], total: Tensor
    ) -> list[Tensor]:
        whole = total if self._is_whole(part) else _sum(arrived, _positions(part))
        if whole is None:
            whole = torch.zeros_like(total)
        if gram or len(part.ways) == 1:
            (row,) = rows_of(whole)
            square = dot(row, row)
            return [square, *(gram or [square, square])]
        zero = whole.new_zeros((), dtype=torch.float32)
        numbers = []
        for positions in part.ways.values():
            sent = _sum(arrived, positions)
            if sent is None:
                numbers += [zero, zero]
                continue
            row, target = rows_of(sent, whole)
            numbers += [dot(row, target), dot(row, row)]
        (row,) = rows_of(whole)
        return [dot(row, row), *numbers]

    def read(self, numbers: Iterator[float], sums: dict[OpId, _Sums]) -> None:
        """Adds what was measured here to the forks that it belongs to."""
        if not self.numbers:
            return
        for part in self._parts:
            fork = sums[part.fork]
            fork.arrived = True
            fork.tolerance = max(fork.tolerance, self._tolerance)
            fork.square += next(numbers)
            for consumer in part.ways:
                fork.products[consumer] = fork.products.get(consumer, 0.0) + next(numbers)
                fork.squares[consumer] = fork.squares.get(consumer, 0.0) + next(numbers)


def _positions(part: Part) -> tuple[int, ...]:
    return tuple(p for positions in part.ways.values() for p in positions)


def _sum(arrived: dict[int, Tensor], positions: tuple[int, ...]) -> Tensor | None:
    """What came back over these edges; ``None`` where nothing did."""
    out = None
    for position in positions:
        if (part := arrived.get(position)) is not None:
            out = part if out is None else out + part
    return out


class ShareBook:
    """All forks of one backward that are values of the graph."""

    def __init__(self, found: list[Arrivals], nodes: NodeMap, graph: ModelGraph) -> None:
        self._forks: Forks = find_forks(found, nodes, graph)
        self._meters = [PlaceMeter(arrivals, parts) for arrivals, parts in self._forks.places]

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
        sums = {
            fork: _Sums(square=0.0, products=dict.fromkeys(silent, 0.0), squares={})
            for fork, silent in self._forks.silent.items()
        }
        for meter in self._meters:
            meter.read(numbers, sums)
        shares: list[EdgeShare] = []
        refused = list(self._forks.not_separable)
        for fork, measured in sums.items():
            if reason := _why_not(measured):
                refused.append(NotSeparable(fork=fork, reason=reason))
            else:
                shares += _edges(fork, measured)
        return tuple(shares), tuple(refused)


def _edges(fork: OpId, sums: _Sums) -> Iterator[EdgeShare]:
    norm = math.sqrt(sums.square)
    for consumer, inner in sums.products.items():
        length = math.sqrt(sums.squares.get(consumer, 0.0))
        yield EdgeShare(
            src=fork,
            dst=consumer,
            share=inner / sums.square,
            norm_ratio=length / norm,
            cosine=inner / (length * norm) if length else 0.0,
            fork_l2=norm,
        )


def _why_not(sums: _Sums) -> str:
    if not sums.arrived:
        return say("no gradient arrived")
    if sums.square == 0:
        return say("the gradient here is zero")
    if not math.isfinite(sums.square):
        return say("the gradient here is not finite")
    shares = [inner / sums.square for inner in sums.products.values()]
    if not abs(sum(shares) - 1) <= sums.tolerance * max(1.0, sum(map(abs, shares))):
        total = f"{sum(shares):.6f}"
        return say("its shares add up to {total}: does a hook change the gradient?", total=total)
    return ""
