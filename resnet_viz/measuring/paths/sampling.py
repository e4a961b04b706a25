"""Veit et al. 2016's own measurement: the gradient over single paths, drawn at random.

As published: the forward is that of the whole net; k of n blocks are chosen at random, and
the backward goes only through the branch of those and only through the shortcut of the
others; the mean norm of what arrives, times C(n, k), is the gradient mass of length k.

Here a path is drawn uniformly from all paths of length k, which is the same in a chain of
blocks and also means something in any other net. The mean of the *vectors* times their
number is an unbiased estimate of the exact g_k.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import NamedTuple

from torch import Tensor
from torch.autograd.graph import Node

from resnet_viz.analysis.paths import Side, add_shifted, choices
from resnet_viz.core.errors import UserError
from resnet_viz.core.paths import PathLengths, SampledLength
from resnet_viz.measuring.autograd_graph import Place
from resnet_viz.measuring.gradients.products import dot
from resnet_viz.measuring.paths.network import Links, Network, in_order
from resnet_viz.measuring.paths.pulling import Slots, metadata, pull, wide_row

MOST_LENGTHS = 20
"""Lengths that are sampled where nobody says which; evenly spread if there are more."""


class Step(NamedTuple):
    """One choice of a path: the place it leaves by, and the stop it goes to next."""

    leave: Place
    stop: Node


@dataclass(frozen=True, slots=True, eq=False)
class _Region:
    """Nodes between a place and the stops nearest to it, consumers first."""

    nodes: tuple[Node, ...]
    edges: Links
    stops: tuple[Node, ...]


class Paths:
    """All paths of a network, counted; draws from them and follows single ones.

    A stop is a residual join, or the end.
    """

    def __init__(self, net: Network) -> None:
        self._net = net
        leaves = dict.fromkeys(p for join in net.joins.values() for p, _ in join.sides)
        self._regions = {place: _region(net, place) for place in (net.root, *leaves)}
        index = {node: -i for i, node in enumerate(net.order)}
        operand = {place: i for i, place in enumerate(self._regions)}
        stops = [n for n in reversed(net.order) if n in net.joins or n is net.at.node]
        counts = choices(
            [index[stop] for stop in stops],
            {
                index[join.node]: [Side(operand[p], length) for p, length in join.sides]
                for join in net.joins.values()
            },
            {operand[p]: [index[s] for s in region.stops] for p, region in self._regions.items()},
        )
        self._counts = {stop: counts[index[stop]] for stop in stops}
        total: list[int] = []
        for stop in self._regions[net.root].stops:
            add_shifted(total, self._counts[stop], 0)
        self.lengths = PathLengths(unit="block", counts=tuple(total))

    def _ways(self, leave: Place, left: int) -> Iterator[tuple[int, Step, int]]:
        """The next choices after ``leave``: how many paths follow, which, and what is left."""
        for stop in self._regions[leave].stops:
            counts = self._counts[stop]
            if 0 <= left < len(counts) and counts[left]:
                yield counts[left], Step(leave, stop), left

    def _exits(self, stop: Node, left: int) -> Iterator[tuple[int, Step, int]]:
        join = self._net.joins.get(stop)
        for place, length in () if join is None else join.sides:
            yield from self._ways(place, left - length)

    def draw(self, length: int, random: Random) -> list[Step]:
        """A path of this length, each with the same probability."""
        path: list[Step] = []
        ways = list(self._ways(self._net.root, length))
        while ways:
            # Integers and not floats: counts of paths are larger than floats are exact.
            pick = random.randrange(sum(count for count, _, _ in ways))
            ends = accumulate(count for count, _, _ in ways)
            _, step, left = ways[next(i for i, end in enumerate(ends) if pick < end)]
            path.append(step)
            ways = list(self._exits(step.stop, left))
        return path

    def all_of(self, length: int) -> Iterator[list[Step]]:
        """Every path of this length once."""
        todo = [([step], left) for _, step, left in self._ways(self._net.root, length)]
        while todo:
            path, left = todo.pop()
            ways = list(self._exits(path[-1].stop, left))
            if not ways:
                yield path
            todo += [([*path, step], rest) for _, step, rest in ways]

    def follow(self, path: Sequence[Step], seed: Tensor) -> Tensor | None:
        """The gradient that arrives over one path; ``None`` where it is exactly none."""
        gradient: Tensor | None = seed
        for before, (leave, stop) in zip([None, *path], path, strict=False):
            if before is not None:
                gradient = self._over_join(before.stop, gradient, leave)
            if gradient is None:
                return None
            if leave.node is not stop:
                region = self._regions[leave]
                arrived = pull(region.edges, region.nodes, {leave.node: _at(leave, gradient)})
                slots = arrived.get(stop)
                gradient = None if slots is None else slots[self._slot(stop)]
        return gradient

    def _over_join(self, stop: Node, gradient: Tensor | None, leave: Place) -> Tensor | None:
        if gradient is None:
            return None
        join = self._net.joins[stop]
        edges = {node: self._net.edges[node] for node in join.nodes}
        entry = Place(stop, self._slot(stop))
        slots = pull(edges, join.nodes, {stop: _at(entry, gradient)}).get(leave.node)
        return None if slots is None else slots[leave.slot]

    def _slot(self, stop: Node) -> int:
        return self._net.at.slot if stop is self._net.at.node else 0


def _at(place: Place, gradient: Tensor) -> Slots:
    slots: Slots = [None] * len(metadata(place.node))
    slots[place.slot] = gradient
    return slots


def _region(net: Network, place: Place) -> _Region:
    stops: dict[Node, None] = {}
    inside: set[Node] = set()
    todo = [place.node]
    while todo:
        node = todo.pop()
        if node in net.joins or node is net.at.node:
            stops[node] = None
        elif node not in inside:
            inside.add(node)
            todo += [below for _, below, _ in net.edges[node]]
    nodes = tuple(in_order(net.order, inside))
    return _Region(nodes, {node: net.edges[node] for node in nodes}, tuple(stops))


@dataclass(slots=True, eq=False)
class Sample:
    """What was drawn for one length, still on the device.

    Attributes:
        length: Branches on each path.
        paths: How many paths have that length.
        draws: How many of them were followed.
        exact: Whether these are all.
        squares: Squared norms of what arrived.
        total: Sum of the vectors; ``None`` where nothing arrived.
    """

    length: int
    paths: int
    draws: int
    exact: bool
    squares: list[Tensor]
    total: Tensor | None

    @property
    def numbers(self) -> list[Tensor]:
        """What to transfer, in the order ``read`` wants it."""
        row = None if self.total is None else wide_row(self.total)
        return [*self.squares, *([] if row is None else [dot(row, row)])]

    def read(self, numbers: Iterator[float]) -> SampledLength:
        """The estimates, off the transferred numbers."""
        squares = [next(numbers) for _ in self.squares]
        whole = 0.0 if self.total is None else next(numbers)
        m = self.draws
        mean = sum(map(math.sqrt, squares)) / m
        spread = max(sum(squares) - m * mean**2, 0.0)
        scatter = max(sum(squares) - whole / m, 0.0)
        freedom = m * (m - 1)
        return SampledLength(
            length=self.length,
            draws=m,
            mean_norm=mean,
            norm_error=_error(spread, freedom, self.exact),
            mass=mean * self.paths,
            vector_norm=math.sqrt(whole) / m * self.paths,
            vector_error=_error(scatter, freedom, self.exact) * self.paths,
        )


def _error(spread: float, freedom: int, exact: bool) -> float:
    if exact:
        return 0.0
    return math.sqrt(spread / freedom) if freedom else math.nan


def sample(paths: Paths, seed: Tensor, length: int, draws: int, random: Random) -> Sample:
    """``draws`` paths of one length, with replacement; all, once each, if there are no more."""
    count = paths.lengths.counts[length]
    exact = count <= draws
    chosen = paths.all_of(length) if exact else (paths.draw(length, random) for _ in range(draws))
    squares: list[Tensor] = []
    total: Tensor | None = None
    followed = 0
    for path in chosen:
        followed += 1
        gradient = paths.follow(path, seed)
        if gradient is not None:
            row = wide_row(gradient)
            squares.append(dot(row, row))
            total = gradient if total is None else total + gradient
    return Sample(length, count, followed, exact, squares, total)


def lengths_to_sample(paths: PathLengths, wanted: Sequence[int] | None) -> list[int]:
    """The lengths asked for, or all; about ``MOST_LENGTHS`` of them where there are more.

    Raises:
        UserError: If no path has a length that was asked for.
    """
    present = [k for k, count in enumerate(paths.counts) if count]
    if wanted is not None:
        if strange := set(wanted).difference(present):
            raise UserError(
                f"no path has length {min(strange)}: lengths here are {present[0]} to {present[-1]}"
            )
        return sorted(set(wanted))
    if len(present) <= MOST_LENGTHS + 1:
        return present
    last = len(present) - 1
    return [present[round(i * last / MOST_LENGTHS)] for i in range(MOST_LENGTHS + 1)]
