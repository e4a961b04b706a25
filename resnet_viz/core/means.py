"""Means and standard deviations of parts, put together (Chan, Golub & LeVeque 1983, eq. 2.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Mean(NamedTuple):
    """A mean, the sample standard deviation and the number of values."""

    mean: float
    spread: float | None
    number: int


def mean_of(values: Sequence[float]) -> Mean:
    """Mean and sample standard deviation of one value or more; no deviation of one."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Mean(mean, None, len(values))
    squares = math.fsum((v - mean) ** 2 for v in values)
    return Mean(mean, math.sqrt(squares / (len(values) - 1)), len(values))


def together(a: Mean, b: Mean) -> tuple[float, float | None]:
    """Mean and sample standard deviation of the values behind both."""
    count = a.number + b.number
    if count < 2:
        return weighted(a.mean, a.number, b.mean, b.number), None
    apart = b.mean - a.mean
    spreads = ((part.spread or 0.0, part.number - 1) for part in (a, b))
    squares = sum(spread * spread * freedom for spread, freedom in spreads)
    squares += apart * apart * (a.number * b.number / count)
    return weighted(a.mean, a.number, b.mean, b.number), math.sqrt(squares / (count - 1))


def weighted(a: float, in_a: int, b: float, in_b: int) -> float:
    """The mean of two means of so many values each."""
    if not in_a or not in_b:
        return a if in_a else b
    return (a * in_a + b * in_b) / (in_a + in_b)
