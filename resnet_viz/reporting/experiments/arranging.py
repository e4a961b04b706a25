"""Labels that must not lie upon each other: moved as little as possible, or left out."""

from __future__ import annotations

from collections.abc import Sequence


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float] | None:
    """Places at least ``gap`` apart within [low, high], near the wanted ones, in their order.

    Least squares: with ``gap`` taken out this is isotonic regression (pool adjacent
    violators), and cutting its answer at the bounds is optimal, too.

    Returns:
        One place for each wanted one; ``None`` where they cannot all have room.
    """
    n = len(wanted)
    if (n - 1) * gap > high - low + 1e-9:
        return None
    order = sorted(range(n), key=lambda i: (wanted[i], i))
    pools: list[tuple[float, int]] = []
    for rank, i in enumerate(order):
        total, size = wanted[i] - rank * gap, 1
        while pools and pools[-1][0] / pools[-1][1] > total / size:
            before, many = pools.pop()
            total, size = total + before, size + many
        pools.append((total, size))
    level = [total / size for total, size in pools for _ in range(size)]
    places = [0.0] * n
    for rank, i in enumerate(order):
        places[i] = min(max(level[rank], low), high - (n - 1) * gap) + rank * gap
    return places


def apart(spans: Sequence[tuple[float, float]], gap: float) -> list[int]:
    """Indices of the spans, from the first on, that keep ``gap`` to those already taken."""
    taken: list[int] = []
    for i, (low, high) in enumerate(spans):
        if all(high + gap <= spans[j][0] or low >= spans[j][1] + gap for j in taken):
            taken.append(i)
    return taken
