"""Gradients as rows, and inner products exact enough to be subtracted from each other."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from resnet_viz.measuring.device import reads_freely

PIECE = 1 << 12
"""Elements whose products float32 can add up without forgetting the small ones."""

GRAM_LIMIT = 1e-2
"""‖g₁ + g₂‖² / (‖g₁‖² + ‖g₂‖²) below which the sum is too small for what it is the sum of
to be known from the products of its parts: beyond it an error of 1e-8 would show as 1e-6."""

SAFE = (1e-28, 1e37)
"""Sums of products in float32 outside of which some may have under- or overflowed."""


def flat(gradient: Tensor) -> Tensor:
    """The gradient as one row of at least float32, contiguous where it was."""
    return as_real(gradient).reshape(-1)


def as_it_lies(gradient: Tensor) -> Tensor:
    """The gradient as one row in the order of its memory, for what no order changes.

    No copy of what a transposition or a layout of channels last has left.
    """
    real = as_real(gradient)
    if real.is_contiguous():
        return real.view(-1)
    strides = real.stride()
    return real.permute(sorted(range(real.ndim), key=lambda i: -strides[i])).reshape(-1)


def as_real(gradient: Tensor) -> Tensor:
    """Dense, real and at least float32, in the shape it has (complex: one axis more)."""
    gradient = gradient.detach()
    if (whole := getattr(gradient, "full_tensor", None)) is not None:
        # A DTensor's: each in turn is made whole, which is less than FSDP itself holds.
        gradient = whole()
    if gradient.is_sparse:
        gradient = gradient.to_dense()
    if gradient.is_complex():
        gradient = torch.view_as_real(gradient)
    return gradient if gradient.dtype in (torch.float32, torch.float64) else gradient.float()


def rows_of(*tensors: Tensor) -> list[Tensor]:
    """The tensors as rows that list their elements in one order, without a copy if possible.

    Images that all lie in memory channels last are read in that order.
    """
    first = tensors[0]
    if first.ndim == 4 and not first.is_contiguous() and not any(t.is_sparse for t in tensors):
        tensors = tuple(t.permute(0, 2, 3, 1) for t in tensors)
    return [flat(tensor) for tensor in tensors]


def dot(left: Tensor, right: Tensor) -> Tensor:
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
    if SAFE[0] < size < SAFE[1] or math.isnan(size):
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


def is_zero(row: Tensor) -> bool:
    """Whether all elements are zero, as behind a head that starts at zero; on the CPU."""
    if not row.numel():
        return True
    # Not ``any``: on floats that is many times slower.
    low, high = torch.aminmax(row)
    return float(low) == float(high) == 0
