"""Finds among nested boxes the one that suits a block, without looking at all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnet_viz.reporting.layout.grouping import Group


class Homes:
    """Boxes by what blocks ask for; any two of them are nested or apart."""

    def __init__(self, groups: Iterable[Group], count: int) -> None:
        """``count``: how many things are drawn; boxes are intervals of their numbers."""
        self._spans: dict[tuple[int, int], list[Group]] = {}
        self._paths: dict[str, list[Group]] = {}
        self._ends: dict[int, list[Group]] = {}
        # Per border between two things the smallest box that holds both.
        self._across: list[Group | None] = [None] * (count + 1)
        known = list(groups)
        for group in known:
            self._list(group)
        for group in sorted(known, key=lambda g: g.high - g.low):
            self._spread(group)

    def add(self, group: Group) -> None:
        """Takes one more box; of equal ones the first is found first."""
        self._list(group)
        self._spread(group)

    def _list(self, group: Group) -> None:
        self._spans.setdefault((group.low, group.high), []).append(group)
        self._paths.setdefault(group.path, []).append(group)
        self._ends.setdefault(group.high, []).append(group)

    def _spread(self, group: Group) -> None:
        border = group.low + 1
        while border < group.high:
            inner = self._across[border]
            if inner is None or inner.high - inner.low > group.high - group.low:
                self._across[border] = group
                border += 1
            else:
                border = max(inner.high, border + 1)

    def same(self, low: int, high: int) -> Group | None:
        """The free box of exactly this stretch."""
        return next((g for g in self._spans.get((low, high), ()) if g.block < 0), None)

    def nearly(self, path: str, low: int, high: int) -> Group | None:
        """The block's own module, where it runs only a few ops more than the block holds."""
        for group in self._paths.get(path, ()):
            if group.low <= low and high <= group.high and group.block < 0:
                return group if (high - low) >= 0.6 * (group.high - group.low) else None
        return None

    def fits(self, low: int, high: int) -> bool:
        """Whether the stretch is long enough for a box and cuts through none."""
        first, last = self._across[low], self._across[high]
        return (
            high - low > 1
            and (first is None or first.high >= high)
            and (last is None or last.low <= low)
        )

    def last_inside(self, branch: Sequence[int]) -> Group | None:
        """The last outermost free box inside the branch: a dense layer's own module."""
        if not branch:
            return None
        low = min(branch)
        for end in range(max(branch) + 1, low, -1):
            inside = [g for g in self._ends.get(end, ()) if low <= g.low and g.block < 0]
            if inside:
                return max(inside, key=lambda g: g.high - g.low)
        return None
