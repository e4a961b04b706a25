"""Comparing two maps by the order of their places, ties and constant maps included."""

from __future__ import annotations

import torch
from torch import Tensor

STRONGEST = 0.1
"""Share of the places whose overlap is looked at."""


def ranks(values: Tensor) -> Tensor:
    """Ranks from 1, in float64; equal values share the mean of theirs."""
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).to(torch.float64)
    middle: Tensor = last - (counts - 1) / 2
    return middle[inverse]


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's ρ of two flat tensors, from -1 to 1; 0 where either is constant or not finite.

    Source: Spearman 1904, as Pearson's correlation of mean ranks.
    """
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        return 0.0
    a, b = ranks(a), ranks(b)
    a, b = a - a.mean(), b - b.mean()
    norm = float(a.norm() * b.norm())
    return max(-1.0, min(1.0, float(a @ b) / norm)) if norm else 0.0


def strongest_overlap(a: Tensor, b: Tensor) -> float:
    """Share of the strongest tenth of the places that two flat tensors both have.

    Equal values at the border share its places evenly, so that a constant map gets what
    chance would give it: 0.1.
    """
    count = max(1, round(STRONGEST * len(a)))
    both = torch.minimum(_membership(a, count), _membership(b, count))
    return float(both.sum()) / count


def _membership(values: Tensor, count: int) -> Tensor:
    border = values.topk(count).values[-1]
    above, at = values > border, values == border
    return above + at * ((count - above.sum()) / at.sum())
