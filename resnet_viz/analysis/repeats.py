"""Equal parts of a network that follow each other: ``bottleneck × 5``.

The forward is a tree of parts (``call_tree``). In each part the sequence of what is
right inside it is searched for runs of one item (a block five times) or of several
(convolution, norm, activation; a shifted and an unshifted window block). What covers
most is taken first; then it counts as one item and the search goes on, around it and
inside its copies, so that runs nest.

That two parts are built alike is not enough. Each copy must read the one before it
at the same places, read everything else from the same places (a mask, an encoder's
output), and be read from outside at the same places, or not at all: a layer whose
output is also taken elsewhere ends a run. Weights must be each copy's own, or the
same in all copies, which ``Repeat.shared`` tells.

Linear in ops and edges, for units of up to ``LONGEST`` items; no recursion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import eq

from resnet_viz.analysis.blocks import common_module, find_blocks
from resnet_viz.analysis.call_tree import CallTree, Part
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Block, Repeat

LONGEST = 64
"""Items of the longest unit that is looked for."""

_STARTS = 4  # where a unit could begin at several items, so many are tried
_POWERS = 4  # a unit that looks like so many equal ones; more have been tried in vain

_ROUNDS = 8  # of putting one item in the place of a run and looking again

Code = tuple[int, int]
Run = tuple[int, int, int]  # first item, items of a unit, units
_OWN, _CHAIN, _OUTSIDE = 0, 1, 2


def find_repeats(graph: ModelGraph) -> tuple[Repeat, ...]:
    """All runs of equal parts, by their first op, each before those inside it.

    Only what computes counts: a unit reads a parameter or has MACs.
    """
    return repeats_in(graph, find_blocks(graph))


def repeats_in(graph: ModelGraph, blocks: Sequence[Block]) -> tuple[Repeat, ...]:
    """Like ``find_repeats`` where the blocks are at hand."""
    tree = CallTree(graph, blocks)
    search = _Search(tree)
    found = [run for part in tree.parts for run in search.runs(part.items)]
    found.sort(key=lambda run: (run[0].low, -run[-1].high, len(run)))
    return tuple(_repeat(graph, tree, run) for run in found)


def _repeat(graph: ModelGraph, tree: CallTree, run: Sequence[Part]) -> Repeat:
    first = len(graph.inputs)
    copies = [graph.ops[unit.low - first : unit.high - first] for unit in run]
    both = set(run[0].state) & set(run[1].state)
    return Repeat(
        copies=tuple(tuple(op.id for op in ops) for ops in copies),
        modules=tuple(common_module(op.module for op in ops) for ops in copies),
        shared=tuple(name for name in run[0].state if name in both and name in tree.parameters),
    )


class _Search:
    """Finds the runs in sequences of parts."""

    def __init__(self, tree: CallTree) -> None:
        self.tree = tree
        graph = tree.graph
        none = [0] * (len(graph.inputs) + 1)
        self._works = list(
            accumulate([*none, *(bool(op.parameters) or op.macs != 0 for op in graph.ops)])
        )
        self._heavy = list(accumulate([*none, *(op.macs != 0 for op in graph.ops)]))

    def runs(self, items: Sequence[Part]) -> Iterator[list[Part]]:
        """The units of each run, runs inside of others included."""
        pending = [list(items)]
        while pending:
            sequence = pending.pop()
            for _ in range(_ROUNDS):
                chosen = self._best(sequence)
                if not chosen:
                    break
                reduced: list[Part] = []
                after = 0
                for start, size, count in chosen:
                    stop = start + size * count
                    copies = [sequence[i : i + size] for i in range(start, stop, size)]
                    units = [self._whole(copy) for copy in copies]
                    yield units
                    pending += copies if size > 1 else []
                    reduced += [*sequence[after:start], self._whole(units)]
                    after = stop
                sequence = reduced + sequence[after:]

    def _whole(self, items: list[Part]) -> Part:
        if len(items) == 1:
            return items[0]
        part = Part(items[0].low, items[-1].high, items)
        self.tree.number(part)
        return part

    def _best(self, items: list[Part]) -> list[Run]:
        """Runs beside each other, in order: the longest first, of equals the shorter unit."""
        found: list[Run] = []
        covered = [0] * len(items)
        for size in range(1, min(LONGEST, len(items) // 2) + 1):
            for run in self._runs_of(items, size, covered):
                start, _, count = run
                length = size * count
                covered[start : start + length] = [
                    max(length, c) for c in covered[start : start + length]
                ]
                found.append(run)
        found.sort(key=lambda run: (-self._ops(items, run), run[1], run[0]))
        free = [True] * len(items)
        chosen = []
        for run in found:
            start, stop = run[0], run[0] + run[1] * run[2]
            if all(free[start:stop]):
                free[start:stop] = [False] * (stop - start)
                chosen.append(run)
        return sorted(chosen)

    @staticmethod
    def _ops(items: list[Part], run: Run) -> int:
        start, size, count = run
        return items[start + size * count - 1].high - items[start].low

    def _runs_of(self, items: list[Part], size: int, covered: list[int]) -> Iterator[Run]:
        """The runs with units of this size, but for those that longer ones cover."""
        numbers = [item.number for item in items]
        same = [*map(eq, numbers, numbers[size:]), False]
        at = 0
        while at < len(same):
            if not same[at]:
                at += 1
                continue
            end = same.index(False, at) + size
            yield from self._runs_between(items, size, at, end, covered)
            at = end - size + 1

    def _runs_between(
        self, items: list[Part], size: int, at: int, end: int, covered: list[int]
    ) -> Iterator[Run]:
        """Runs in a stretch where each item looks like the one ``size`` after it."""
        if self._works[items[at].low] == self._works[items[at + size - 1].high]:
            return
        if size // _root([item.number for item in items[at : at + size]]) > _POWERS:
            return
        while (most := (end - at) // size) > 1:
            if covered[at + size - 1] >= most * size:
                return
            starts = sorted(
                range(at, end - most * size + 1),
                key=lambda start: self._preference(items, start, size),
            )
            best, count = at, 0
            for start in starts[:_STARTS]:
                here = self._copies(items, start, size, most)
                if here > count:
                    best, count = start, here
                if count == most:
                    break
            if count < 2:
                at += size
                continue
            at = best + size * count
            yield best, size, count

    def _preference(self, items: list[Part], start: int, size: int) -> tuple[int, bool, int]:
        """Smallest where a unit best begins: few tensors cross there, weights come first."""
        low, middle = items[start].low, items[start + size].low
        begin, border = self.tree.tensor[low], self.tree.tensor[middle]
        after = items[start + size : start + 2 * size]
        crossing = {t for item in after for t in item.reads if begin <= t < border}
        first = items[start]
        return len(crossing), self._heavy[first.low] == self._heavy[first.high], start

    def _copies(self, items: list[Part], start: int, size: int, most: int) -> int:
        """How many of the units from ``start`` on are copies of the first."""
        first, unit = items[start : start + size], items[start + size : start + 2 * size]
        ways = self._ways(first, unit)
        chain = {way for kind, way in ways if kind == _CHAIN}
        if not chain or not self._enters_alike(first, ways):
            return 1
        weights = _Weights(self.tree.readers, first)
        taken: set[int] = set()
        last, count = first, 1
        for i in range(start + size, start + most * size, size):
            before, unit = last, items[i : i + size]
            if count > 1 and self._ways(before, unit) != ways:
                break
            # What is read later than in the next copy is read from outside.
            outside = self._read_after(before, unit[-1].high)
            if count > 1 and outside != taken:
                break
            if not weights.follow(unit):
                break
            taken = outside
            last = unit
            count += 1
        if count > 1 and self._read_after(last, last[-1].high) - chain != taken - chain:
            # The last copy is read elsewhere than the others; then it is none.
            count -= 1
        return count

    def _ways(self, before: list[Part], unit: list[Part]) -> list[Code]:
        """Where each tensor that the unit's items read comes from."""
        tensor = self.tree.tensor
        start, previous = tensor[unit[0].low], tensor[before[0].low]
        return [
            (_OWN, t - start)
            if t >= start
            else (_CHAIN, t - previous)
            if t >= previous
            else (_OUTSIDE, t)
            for item in unit
            for t in item.reads
        ]

    def _enters_alike(self, first: list[Part], ways: list[Code]) -> bool:
        """Whether the first copy reads its entries as the second reads the first."""
        start = self.tree.tensor[first[0].low]
        forth: dict[Code, int] = {}
        back: dict[int, Code] = {}
        for tensor, way in zip((t for item in first for t in item.reads), ways, strict=True):
            kind, place = way
            if kind == _OWN or tensor >= start:
                if (kind, place) != (_OWN, tensor - start):
                    return False
            elif (
                forth.setdefault(way, tensor) != tensor
                or back.setdefault(tensor, way) != way
                or (kind == _OUTSIDE and place != tensor)
            ):
                return False
        return True

    def _read_after(self, unit: list[Part], end: int) -> set[int]:
        """The unit's tensors, counted from its first, that something from ``end`` on reads."""
        tensor, last_use = self.tree.tensor, self.tree.last_use
        start, stop = tensor[unit[0].low], tensor[unit[-1].high]
        return {t - start for t in range(start, stop) if last_use[t] >= end}


class _Weights:
    """Tells whether copies have weights of their own or all the same ones."""

    def __init__(self, readers: dict[str, int], unit: list[Part]) -> None:
        self._readers = readers
        self._pattern, self._names = _by_first_use(unit)
        self._shared: list[bool] | None = None
        self._seen = set(self._names)

    def follow(self, unit: list[Part]) -> bool:
        """Whether the next copy goes on as the ones before it."""
        pattern, names = _by_first_use(unit)
        if pattern != self._pattern:
            return False
        shared = [a == b for a, b in zip(self._names, names, strict=True)]
        if shared != (self._shared or shared):
            return False
        for name, before, same in zip(names, self._names, shared, strict=True):
            if not same and (name in self._seen or self._readers[name] != self._readers[before]):
                return False
        self._names, self._shared = names, shared
        self._seen.update(names)
        return True


def _root(word: Sequence[int]) -> int:
    """Length of the shortest word of which this one is a power."""
    lengths = (n for n in range(1, len(word)) if len(word) % n == 0 and word[n:] == word[:-n])
    return next(lengths, len(word))


def _by_first_use(unit: list[Part]) -> tuple[list[int], list[str]]:
    order: dict[str, int] = {}
    pattern = [order.setdefault(name, len(order)) for item in unit for name in item.state]
    return pattern, list(order)
