"""Which pairs of an alignment share a row of the drawing.

What is equal says little: long stretches of it become one row. What differs keeps a row of
its own, unless its neighbours differ in the very same way. Where that still leaves too many
rows to look at, more is taken together, so that a drawing never has more than ``MOST``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Literal

from resnet_viz.core.comparison import Comparison, Pair
from resnet_viz.reporting.side_by_side.sides import Side

Status = Literal["equal", "changed", "added", "removed", "mixed"]
MOST = 120
"""Rows of a drawing."""
_MANY = 36  # rows; above, changed parts of one stage share a row


@dataclass(frozen=True, slots=True)
class Row:
    """Pairs that stand in one row.

    Attributes:
        status: What they have in common; ``mixed`` only where there was no other way.
        pairs: Their places in the alignment.
        alike: Whether they look the same: one of them is drawn, with how often it is there.
    """

    status: Status
    pairs: tuple[int, ...]
    alike: bool = True


def status_of(pair: Pair) -> Status:
    """``only`` told apart by side."""
    if pair.same == "only":
        return "added" if pair.b else "removed"
    return pair.same


def rows_of(value: Comparison, a: Side, b: Side) -> tuple[Row, ...]:
    """The rows, in the order of the pairs; each pair is in exactly one.

    Args:
        value: What is drawn.
        a: The first model.
        b: The second.
    """
    pairs = value.alignment.pairs
    told = _told(value)
    stages = [(a.stage(p.a_ops, p.a_kind), b.stage(p.b_ops, p.b_kind)) for p in pairs]
    looks = [(a.look(p.a_ops, p.a_kind), b.look(p.b_ops, p.b_kind)) for p in pairs]
    statuses = [status_of(p) for p in pairs]
    everything = value.alignment.equal

    def exactly(k: int) -> Hashable:
        if statuses[k] == "changed" or everything:
            return statuses[k], looks[k], told[k]
        return by_stage(k)

    def by_stage(k: int) -> Hashable:
        return statuses[k], stages[k]

    found: list[list[int]] = []
    keys: tuple[tuple[Callable[[int], Hashable], int], ...] = (
        (exactly, _MANY), (by_stage, MOST), (lambda k: statuses[k], MOST),
    )  # fmt: skip
    for key, most in keys:
        found = [list(run) for _, run in groupby(range(len(pairs)), key)]
        if len(found) <= most:
            break
    else:
        found = _evenly(found)
    return tuple(_row(run, statuses, looks) for run in found)


def _told(value: Comparison) -> list[Hashable]:
    """Per pair what differs in it, without its path."""
    if not value.differences:
        return [pair.changes for pair in value.alignment.pairs]
    found: list[list[tuple[str, str, str]]] = [[] for _ in value.alignment.pairs]
    for d in value.differences:
        if d.pair >= 0 and d.what != "op":
            found[d.pair].append((d.what, d.a, d.b))
    return [tuple(told) for told in found]


def _evenly(runs: Sequence[list[int]]) -> list[list[int]]:
    """Neighbouring runs put together, as many as it takes."""
    step = -(-len(runs) // MOST)
    return [list(chain(*runs[i : i + step])) for i in range(0, len(runs), step)]


def _row(run: Sequence[int], statuses: Sequence[Status], looks: Sequence[Hashable]) -> Row:
    kinds = {statuses[k] for k in run}
    status = kinds.pop() if len(kinds) == 1 else "mixed"
    return Row(status, tuple(run), len({looks[k] for k in run}) == 1)
