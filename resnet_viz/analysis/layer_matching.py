"""Weighted layers of two networks matched in order, as sequences of genes are.

The matching of highest score (Needleman & Wunsch 1970), where alike layers score and gaps
cost nothing. Names only decide between equals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

_CELLS = 4_000_000
"""Layers of A times layers of B that are matched by score; longer nets by place in their stage."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What layers are matched by.

    Resolution weighs most: in a network that is twice as wide, the layers of a stage have
    the shapes that those of the stage before have in the other.

    Attributes:
        node: Where it stands in its graph.
        kind: Of op.
        weight: Shape of its weight.
        channels: Of its output.
        resolution: Of its output.
        module: Whose call it is.
    """

    node: int = field(compare=False)
    kind: str
    weight: tuple[int, ...]
    channels: int
    resolution: tuple[int, ...]
    module: str

    def likeness(self, other: Layer) -> float:
        """How much speaks for the two being the same layer; 0 where they must not be matched."""
        if self.kind != other.kind:
            return 0.0
        kernel = self.weight[2:] == other.weight[2:]
        same = kernel and self.resolution == other.resolution
        if not same and self.weight != other.weight and self.channels != other.channels:
            return 0.0
        return (
            1.0
            + 1.0 * kernel
            + 4.0 * (self.weight == other.weight)
            + 2.0 * (self.channels == other.channels)
            + 5.0 * (self.resolution == other.resolution)
            + 0.5 * (self.module == other.module)
        )


def match(ours: Sequence[Layer], theirs: Sequence[Layer]) -> list[tuple[int, int]]:
    """Index pairs, rising on both sides, of the highest total likeness.

    Args:
        ours: The layers of A, in order.
        theirs: Those of B.
    """
    head = 0
    while head < min(len(ours), len(theirs)) and ours[head] == theirs[head]:
        head += 1
    tail = 0
    most = min(len(ours), len(theirs)) - head
    while tail < most and ours[-1 - tail] == theirs[-1 - tail]:
        tail += 1
    middle = _best(ours[head : len(ours) - tail], theirs[head : len(theirs) - tail])
    return [
        *((i, i) for i in range(head)),
        *((head + i, head + j) for i, j in middle),
        *((len(ours) - k, len(theirs) - k) for k in range(tail, 0, -1)),
    ]


def _best(ours: Sequence[Layer], theirs: Sequence[Layer]) -> list[tuple[int, int]]:
    if len(ours) * len(theirs) > _CELLS:
        return _by_place(ours, theirs)
    width = len(theirs) + 1
    scores = [[0.0] * width for _ in range(len(ours) + 1)]
    for i, one in enumerate(ours):
        above, row = scores[i], scores[i + 1]
        for j, other in enumerate(theirs):
            gain = one.likeness(other)
            met = above[j] + gain if gain else 0.0
            row[j + 1] = max(met, above[j + 1], row[j])
    found = []
    i, j = len(ours), len(theirs)
    while i and j:
        here = scores[i][j]
        if here == scores[i - 1][j]:
            i -= 1
        elif here == scores[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            found.append((i, j))
    return found[::-1]


def _by_place(ours: Sequence[Layer], theirs: Sequence[Layer]) -> list[tuple[int, int]]:
    """The k-th layer of a weight shape with the k-th of the same shape, in rising order."""
    places: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for j, other in enumerate(theirs):
        places.setdefault((other.kind, other.weight), []).append(j)
    found, last = [], -1
    for i, one in enumerate(ours):
        waiting = places.get((one.kind, one.weight), [])
        while waiting and waiting[0] <= last:
            waiting.pop(0)
        if waiting:
            last = waiting.pop(0)
            found.append((i, last))
    return found
