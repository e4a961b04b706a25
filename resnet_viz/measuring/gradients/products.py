"""Inner products of gradients, exact enough to be subtracted from each other."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resnet_viz.measuring.device import reads_freely
from resnet_viz.measuring.gradients.statistics import PIECE, flat, is_zero

GRAM_LIMIT = 1e-2
"""‖g₁ + g₂‖² / (‖g₁‖² + ‖g₂‖²) below which the sum is too small for what it is the sum of
to be known from the products of its parts: beyond it an error of 1e-8 would show as 1e-6."""

_SAFE = (1e-28, 1e37)
"""Sums of products in float32 outside of which some may have under- or overflowed."""


def rows_of(*tensors: Tensor) -> list[Tensor]:
    """The tensors as rows that list their elements in one order, without a copy if possible.

    Images that all lie in memory channels last are read in that order.
    """
    first = tensors[0]
    if first.ndim == 4 and not first.is_contiguous() and not any(t.is_sparse for t in tensors):
        tensors = tuple(t.permute(0, 2, 3, 1) for t in tensors)
    return [flat(tensor) for tensor in tensors]


def product(left: Tensor, right: Tensor) -> Tensor:
    """⟨left, right⟩ of two rows, as a scalar of float64 where the device has that.

    On the CPU short pieces are multiplied in float32, all in one batched call, and added
    up in float64: as fast as one dot product, which is off by 2e-4 at two million elements
    of uneven size, and right to 1e-7 of ‖left‖ ‖right‖ or better. Few elements, and
    products that float32 has no room for, are multiplied in float64.
    """
    if not reads_freely(left):
        return _elsewhere(left, right)
    pieces = left.numel() // PIECE
    if pieces < 4 or left.dtype == torch.float64:
        return _wide(left, right)
    end = pieces * PIECE
    rows, columns = (row[:end].view(pieces, 1, PIECE) for row in (left, right))
    # Transposed, not viewed as (pieces, PIECE, 1): of the two only this one is fast.
    total = torch.bmm(rows, columns.transpose(1, 2)).sum(dtype=torch.float64)
    if end < left.numel():
        total += _wide(left[end:], right[end:])
    size = abs(value_of(total))
    if _SAFE[0] < size < _SAFE[1] or math.isnan(size):
        return total
    # Products of what is exactly zero, as behind a head that starts at zero, are exact.
    if size == 0 and (is_zero(left) or is_zero(right)):
        return total
    return _wide(left, right)


def value_of(scalar: Tensor) -> float:
    """The value of a scalar on the CPU: a look at it, no transfer."""
    return float(scalar.numpy())


def _wide(left: Tensor, right: Tensor) -> Tensor:
    wide = left.double()
    return torch.dot(wide, wide if right is left else right.double())


def _elsewhere(left: Tensor, right: Tensor) -> Tensor:
    if left.device.type == "mps":
        return torch.dot(left, right)
    if left is right:
        norm: Tensor = torch.linalg.vector_norm(left, dtype=torch.float64)
        return norm.square()
    return torch.dot(left, right).double()
