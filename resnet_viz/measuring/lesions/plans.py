"""Which blocks a lesion study deletes together, and in which orders it puts them.

Pure choices over block numbers: no torch, no global random state.
"""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass

_MOST_TRIES = 2000


def kendall_tau(order: Sequence[int]) -> float:
    """Kendall's rank correlation of ``order`` with the rising one: 1 for equal, -1 for reversed.

    ``1 - 4 D / (n (n - 1))`` with D the pairs that stand the other way round (Kendall 1938);
    there are no ties. 1 where there is nothing to put in order.
    """
    n = len(order)
    return 1 - 4 * _discordant(order) / (n * (n - 1)) if n > 1 else 1.0


def _discordant(order: Sequence[int]) -> int:
    seen: list[int] = []
    pairs = 0
    for item in order:
        pairs += len(seen) - bisect_right(seen, item)
        insort(seen, item)
    return pairs


def draw_sets(
    items: Sequence[int], size: int, draws: int, rng: random.Random
) -> list[tuple[int, ...]]:
    """At most ``draws`` different sets of ``size`` items, each in the order of ``items``."""
    wanted = min(draws, math.comb(len(items), size))
    if wanted < draws:
        return list(itertools.combinations(items, size))
    found: dict[tuple[int, ...], None] = {}
    while len(found) < wanted:
        found[tuple(sorted(rng.sample(items, size)))] = None
    return list(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """Which blocks move together, and which of these may change places.

    Attributes:
        segments: Block numbers, cut into runs that move as one, in forward order.
        groups: Numbers of segments that may change places with each other.
    """

    segments: tuple[tuple[int, ...], ...]
    groups: tuple[tuple[int, ...], ...]

    def order(self, places: Sequence[int]) -> list[int]:
        """The blocks in forward order when segment ``places[i]`` stands at place i."""
        return [block for place in places for block in self.segments[place]]

    def places_near(self, tau: float, rng: random.Random) -> list[int]:
        """Random places of the segments whose Kendall's tau is as near ``tau`` as was found.

        Random pairs within a group change places as long as that brings tau nearer. Where
        the groups are small no order of theirs may come near a low tau.
        """
        places = list(range(len(self.segments)))
        pairs = [pair for group in self.groups for pair in itertools.combinations(group, 2)]
        blocks = sum(map(len, self.segments))
        if not pairs or blocks < 2:
            return places
        # Half of what one pair the other way round changes.
        enough = 2 / (blocks * (blocks - 1))
        away = abs(1 - tau)
        for _ in range(min(_MOST_TRIES, 20 * len(pairs))):
            if away <= enough:
                break
            a, b = rng.choice(pairs)
            places[a], places[b] = places[b], places[a]
            now = abs(kendall_tau(self.order(places)) - tau)
            if now < away:
                away = now
            else:
                places[a], places[b] = places[b], places[a]
        return places
