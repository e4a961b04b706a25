"""Statistics of a gradient tensor: cheap on the device, read on the host.

Each measure is a pair: a function that makes tensors on the device (no sync),
and one that reads their values off the list that came over in one transfer.
What is measured by default follows from cost: a dot product and ``aminmax`` per
call; more per parameter, where there is less to read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from resnet_viz.core.measurement import GradientStats, Quantile

LOW_DECADE, HIGH_DECADE, BINS_PER_DECADE = -14, 4, 4
BINS = (HIGH_DECADE - LOW_DECADE) * BINS_PER_DECADE
"""Histogram bins of log10 of the magnitude, from 1e-14 to 1e4, four a decade."""

SAMPLE = 1 << 14
"""At most about this many evenly spaced elements of a parameter's gradient go into
its histogram: a full one costs more than all other statistics together. The spacing is
coprime to the number of elements, so that it falls into step with no axis (every
ninth element of a 3×3 convolution is always the same corner)."""

PIECE = 1 << 12

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CALL_NUMBERS = 3


def flat(gradient: Tensor) -> Tensor:
    """The gradient as one row of at least float32, contiguous where it was."""
    if gradient.is_sparse:
        gradient = gradient.to_dense()
    if gradient.is_complex():
        gradient = torch.view_as_real(gradient)
    row = gradient.detach().reshape(-1)
    return row if row.dtype in (torch.float32, torch.float64) else row.float()


def dot(left: Tensor, right: Tensor) -> Tensor:
    """⟨left, right⟩ of two rows, to better than 1e-6 in float32.

    A long float32 dot product on the CPU forgets what is small beside what it has
    already added up: off by 2e-4 at two million elements of uneven size, and a norm
    by more. The products of short pieces, all in one batched call, cost the same.
    """
    pieces = left.numel() // PIECE
    if left.device.type != "cpu" or pieces < 2:
        return torch.dot(left, right)
    end = pieces * PIECE
    rows, columns = (row[:end].view(pieces, 1, PIECE) for row in (left, right))
    # Transposed, not viewed as (pieces, PIECE, 1): of the two only this one is fast.
    products = torch.bmm(rows, columns.transpose(1, 2))
    return products.sum() + torch.dot(left[end:], right[end:])


def measure_call(gradient: Tensor) -> list[Tensor]:
    """Squared norm, smallest and largest element, as tensors on the device."""
    row = flat(gradient)
    low, high = torch.aminmax(row)
    return [dot(row, row), low, high]


def read_call(numbers: Iterator[float], numel: int) -> GradientStats:
    """The statistics of a call off the transferred numbers."""
    square, low, high = (next(numbers) for _ in range(CALL_NUMBERS))
    return GradientStats(
        numel=numel, l2=math.sqrt(square), rms=math.sqrt(square / numel), low=low, high=high
    )


def measure_weight(weight: Tensor) -> Tensor:
    """Squared norm of a parameter, as a tensor on the device."""
    row = flat(weight)
    return dot(row, row)


def measure_parameter(gradient: Tensor, weight: Tensor) -> list[Tensor]:
    """All numbers of one parameter, as tensors on the device."""
    row = flat(gradient)
    low, high = torch.aminmax(row)
    # Not ``norm(1)``: on the CPU that is four times slower, and off by 1e-3.
    sizes = row.abs()
    sample = _decades(sizes[:: _spacing(row.numel())])
    histogram = torch.histc(sample, bins=BINS, min=LOW_DECADE, max=HIGH_DECADE)
    return [
        dot(row, row),
        low,
        high,
        row.sum(),
        sizes.sum(),
        torch.count_nonzero(row),
        measure_weight(weight),
        histogram,
    ]


def _spacing(numel: int) -> int:
    step = max(1, numel // SAMPLE)
    while math.gcd(step, numel) > 1:
        step += 1
    return step


def _decades(sample: Tensor) -> Tensor:
    """log10, what is too small or too large moved into the outermost bins.

    Zeros and NaN fall outside all bins; a mask would do, but its shape depends on
    values, which on an accelerator is a wait for the host.
    """
    decades = sample.log10().clamp_(LOW_DECADE, HIGH_DECADE)
    return torch.where(sample > 0, decades, float(HIGH_DECADE + 1))


def read_parameter(numbers: Iterator[float], numel: int) -> tuple[GradientStats, float]:
    """The statistics of a parameter's gradient, and the norm of the parameter."""
    square, low, high, total, absolute, nonzero, weight = (next(numbers) for _ in range(7))
    histogram = tuple(int(next(numbers)) for _ in range(BINS))
    stats = GradientStats(
        numel=numel,
        l2=math.sqrt(square),
        rms=math.sqrt(square / numel),
        low=low,
        high=high,
        mean=total / numel,
        mean_abs=absolute / numel,
        zero_fraction=1 - nonzero / numel,
        quantiles=_quantiles(histogram, 1 - nonzero / numel),
        histogram=histogram,
    )
    return stats, math.sqrt(weight)


def _quantiles(histogram: tuple[int, ...], zeros: float) -> tuple[Quantile, ...]:
    """Quantiles of the magnitude, interpolated within a bin on the log axis.

    A bin spans a quarter of a decade, so a value is right to a factor of 1.78 at
    worst (outside the bins: no further than the outermost); exact zeros count as
    below every bin.
    """
    total = sum(histogram)
    if total == 0:
        return ()
    found = []
    for p in QUANTILES:
        wanted = (p - zeros) / (1 - zeros) * total if zeros < 1 else -1.0
        if wanted <= 0:
            found.append(Quantile(p=p, value=0.0))
            continue
        below = 0
        for i, count in enumerate(histogram):
            if below + count >= wanted and count:
                place = i + (wanted - below) / count
                value = 10 ** (LOW_DECADE + place / BINS_PER_DECADE)
                found.append(Quantile(p=p, value=value))
                break
            below += count
    return tuple(found)
