"""Statistics of a gradient tensor: cheap on the device, read on the host.

Each measure is a pair: a function that makes tensors on the device (no sync),
and one that reads their values off the list that came over in one transfer.
What is measured by default follows from cost: a dot product and ``aminmax`` per
call; more per parameter, where there is less to read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from resnet_viz.core.gradient_flow import GradientStats, Quantile, Stats, UnitRatios
from resnet_viz.core.magnitudes import BINS, HIGH_DECADE, LOW_DECADE, QUANTILES, quantiles_of
from resnet_viz.measuring.device import reads_freely
from resnet_viz.measuring.gradients.products import (
    PIECE,
    SAFE,
    as_it_lies,
    as_real,
    dot,
    flat,
    is_zero,
)

Detail = Literal["norm", "range", "sampled", "exact"]
"""How much of one tensor is measured: its norm; and its extremes; and everything, with
histogram and quantiles of an even sample; and those of every element."""


class Details(NamedTuple):
    """How much of which tensors a set of statistics holds."""

    calls: Detail
    parameters: Detail


DETAILS: dict[Stats, Details] = {
    "norms": Details(calls="norm", parameters="norm"),
    "default": Details(calls="range", parameters="sampled"),
    "full": Details(calls="exact", parameters="exact"),
}

SAMPLE = 1 << 12
"""At most about this many evenly spaced elements of a parameter's gradient go into
its histogram: a full one costs more than all other statistics together. The spacing is
coprime to the number of elements, so that it falls into step with no axis (every
ninth element of a 3×3 convolution is always the same corner)."""


def _square_elsewhere(row: Tensor) -> Tensor:
    """Squared norm on an accelerator: one pass, accumulated wide where there is float64."""
    return _norm(row, dtype=_widest(row)).square()


def _norm(tensor: Tensor, dim: int | None = None, dtype: torch.dtype | None = None) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(tensor, dim=dim, dtype=dtype)
    return norm


def _widest(tensor: Tensor) -> torch.dtype:
    """What to accumulate in where that is free."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def measure(gradient: Tensor, detail: Detail, square: Tensor | None = None) -> list[Tensor]:
    """The numbers of one gradient, as tensors on the device.

    Args:
        gradient: Of any shape and dtype, with at least one element.
        detail: How much.
        square: Its squared norm, where that is known already.
    """
    row = as_it_lies(gradient)
    if detail == "norm":
        return [dot(row, row) if square is None else square]
    low, high = torch.aminmax(row)
    numbers = [dot(row, row) if square is None else square, low, high]
    if detail == "range":
        return numbers
    # Not ``norm(1)``: on the CPU that is four times slower, and off by 1e-3.
    sizes = row.abs()
    numbers += [row.sum(), sizes.sum(), _nonzero(sizes)]
    if detail == "sampled":
        return [*numbers, _histogram(sizes[:: _spacing(row.numel())].contiguous())]
    return [*numbers, _histogram(sizes), *_exact_quantiles(sizes)]


def read(numbers: Iterator[float], numel: int, detail: Detail) -> GradientStats:
    """The statistics of one gradient off the transferred numbers."""
    square = next(numbers)
    l2, rms = math.sqrt(square), math.sqrt(square / numel)
    if detail == "norm":
        return GradientStats(numel=numel, l2=l2, rms=rms)
    low, high = next(numbers), next(numbers)
    if detail == "range":
        return GradientStats(numel=numel, l2=l2, rms=rms, low=low, high=high)
    total, absolute, nonzero = (next(numbers) for _ in range(3))
    histogram = tuple(map(int, islice(numbers, BINS)))
    zeros = 1 - nonzero / numel
    if detail == "exact":
        quantiles = [(p, next(numbers)) for p in QUANTILES]
    else:
        quantiles = list(quantiles_of(histogram, zeros))
    return GradientStats(
        numel=numel,
        l2=l2,
        rms=rms,
        low=low,
        high=high,
        mean=total / numel,
        mean_abs=absolute / numel,
        zero_fraction=zeros,
        quantiles=tuple(Quantile(p=p, value=value) for p, value in quantiles),
        histogram=histogram,
    )


def _nonzero(sizes: Tensor) -> Tensor:
    """How many are not zero; on the CPU counted only if one is, as counting is slow."""
    if reads_freely(sizes) and float(sizes.amin()) > 0:
        return sizes.new_tensor(sizes.numel(), dtype=torch.float64)
    return torch.count_nonzero(sizes)


def _spacing(numel: int) -> int:
    return coprime_step(numel, SAMPLE)


def coprime_step(count: int, wanted: int) -> int:
    """The spacing of about ``wanted`` of ``count`` things that is coprime to ``count``."""
    step = max(1, count // wanted)
    while math.gcd(step, count) > 1:
        step += 1
    return step


def _histogram(sizes: Tensor) -> Tensor:
    """Counts of magnitudes per bin, what is too small or too large in the outermost ones.

    Zeros and NaN fall outside all bins; a mask would do, but its shape depends on
    values, which on an accelerator is a wait for the host.
    """
    decades = sizes.log10().clamp_(LOW_DECADE, HIGH_DECADE)
    inside = torch.where(sizes > 0, decades, float(HIGH_DECADE + 1))
    return torch.histc(inside, bins=BINS, min=LOW_DECADE, max=HIGH_DECADE)


def _exact_quantiles(sizes: Tensor) -> list[Tensor]:
    """Quantiles by sorting, linear between two elements (type 7, as NumPy's default)."""
    ordered = sizes.sort().values
    found = []
    for p in QUANTILES:
        place = p * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        found.append(torch.lerp(ordered[below], ordered[above], place - below))
    return found


# -- parameters --------------------------------------------------------------------


def measure_weight(weight: Tensor) -> Tensor:
    """Squared norm of a parameter, as a tensor on the device."""
    row = as_it_lies(weight)
    return dot(row, row)


UNIT_FLOOR = 1e-3
"""Least ‖Wᵢ‖ that a unit's gradient is divided by (2102.06171, section 4.1)."""
UNIT_LIMIT = 0.01
"""The clipping threshold λ of the paper at batch 4096."""
UNIT_NUMBERS = 3


def measure_units(gradient: Tensor, weight: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """‖Gᵢ‖ / max(‖Wᵢ‖, 1e-3) per slice along the first axis, and both whole squared norms.

    The slices' norms give the whole norms too, so that each tensor is read once.

    Args:
        gradient: Of two or more axes.
        weight: Of the same shape.

    Returns:
        Median, maximum and fraction above 0.01 of the ratios; the squared norm of the
        gradient; the squared norm of the weight.
    """
    of_gradient, of_weight = unit_norms(gradient), unit_norms(weight)
    ratios = (of_gradient / of_weight.clamp_min(UNIT_FLOOR)).sort().values
    middle = (ratios[(len(ratios) - 1) // 2] + ratios[len(ratios) // 2]) / 2
    above = (ratios > UNIT_LIMIT).mean(dtype=torch.float32)
    return (
        [middle, ratios[-1], above],
        _whole(of_gradient, gradient),
        _whole(of_weight, weight),
    )


def unit_norms(tensor: Tensor) -> Tensor:
    """The norm of each slice along the first axis."""
    wide = as_real(tensor)
    if not wide.is_contiguous():
        # What a linear layer's weight gets is a transposition: slow to reduce by its rows.
        axes = tuple(range(1, wide.ndim))
        return (wide * wide).sum(axes).sqrt()
    matrix = wide.reshape(len(wide), -1)
    units, width = matrix.shape
    if not reads_freely(matrix):
        return _norm(matrix, dim=1, dtype=_widest(matrix))
    parts = _parts(width)
    if parts == 1:
        return _norm(matrix, dim=1)
    pieces = _norm(matrix.reshape(units, parts, width // parts), dim=2)
    return _norm(pieces, dim=1)


def _parts(width: int) -> int:
    """Into how many equal pieces a long row is cut; see ``dot``."""
    least = -(-width // (2 * PIECE))
    return next((n for n in range(least, min(4 * least, width) + 1) if width % n == 0), 1)


def _whole(norms: Tensor, tensor: Tensor) -> Tensor:
    total = norms.double().square().sum() if norms.device.type != "mps" else norms.square().sum()
    if not reads_freely(norms) or norms.dtype == torch.float64:
        return total
    value = float(total)
    if SAFE[0] < value < SAFE[1] or math.isnan(value) or is_zero(flat(tensor)):
        return total
    wide = flat(tensor).double()
    return torch.dot(wide, wide)


def read_units(numbers: Iterator[float], units: int) -> UnitRatios:
    """The unit ratios off the transferred numbers."""
    median, high, above = (next(numbers) for _ in range(UNIT_NUMBERS))
    return UnitRatios(units=units, median=median, high=high, above=above)
