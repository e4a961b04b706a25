"""Tensors as bits in memory: whether two are equal, and which memory one looks at."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from resnet_viz.tracing.memory_map import shape_of

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class NoBitsError(Exception):
    """A tensor of a kind whose bits cannot be looked at."""


_LARGEST_MAP = 1 << 26


class Region(NamedTuple):
    """The bytes of a storage that a tensor looks at: some between ``low`` and ``high``.

    Attributes:
        storage: Which storage.
        low: Its first byte.
        high: One past its last byte.
        shape: Of the tensor, with one more axis for the bytes of an element.
        strides: In bytes.
    """

    storage: Hashable
    low: int
    high: int
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()

    def meets(self, other: Region) -> bool | None:
        """Whether the two share a byte; ``None`` where that would take too long to tell."""
        if self.storage != other.storage or self.low >= other.high or other.low >= self.high:
            return False
        if self._is_whole() or other._is_whole():
            return True
        low, high = min(self.low, other.low), max(self.high, other.high)
        if high - low > _LARGEST_MAP:
            return None
        seen = torch.zeros(high - low, dtype=torch.bool)
        seen.as_strided(self.shape, self.strides, self.low - low).fill_(True)
        return bool(seen.as_strided(other.shape, other.strides, other.low - low).any())

    def _is_whole(self) -> bool:
        """Whether it has no holes."""
        return math.prod(self.shape) >= self.high - self.low


def storage_of(tensor: Tensor) -> Hashable:
    """What tells the tensor's memory from all other memory that is held."""
    try:
        key: int = tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        # Sparse tensors and wrappers have no storage of their own.
        return "tensor", id(tensor)
    return key


def region_of(tensor: Tensor) -> Region:
    """The memory that the tensor looks at."""
    storage = storage_of(tensor)
    if isinstance(storage, tuple) or tensor.layout is not torch.strided or tensor.is_nested:
        return Region(storage, 0, 1)
    size = tensor.element_size()
    low = int(tensor.storage_offset()) * size
    if tensor.numel() == 0:
        return Region(storage, low, low)
    shape = (*tensor.shape, size)
    strides = (*(int(step) * size for step in tensor.stride()), 1)
    high = low + 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    return Region(storage, low, high, shape, strides)


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Whether dtype, shape and every bit are equal; any NaN equals any NaN.

    Raises:
        NoBitsError: For meta tensors, and for layouts and wrappers that are not known here.
    """
    if left.dtype != right.dtype or left.layout != right.layout:
        return False
    if left.is_nested != right.is_nested or shape_of(left) != shape_of(right):
        return False
    if left.device != right.device:
        return False
    parts, others = dense_parts(left), dense_parts(right)
    if len(parts) != len(others):
        return False
    pairs = zip(parts, others, strict=True)
    return all(one.shape == other.shape and _same(one, other) for one, other in pairs)


def _same(left: Tensor, right: Tensor) -> bool:
    left, right = _real(left), _real(right)
    if torch.equal(_integers(left), _integers(right)):
        return True
    if not left.is_floating_point():
        return False
    # Not every narrow type has ``isnan``; all of them widen without loss.
    wide = torch.promote_types(left.dtype, torch.float32)
    nan = left.to(wide).isnan()
    if not torch.equal(nan, right.to(wide).isnan()):
        return False
    return torch.equal(_integers(left)[~nan.reshape(-1)], _integers(right)[~nan.reshape(-1)])


def fingerprint(tensor: Tensor) -> int:
    """A number that two tensors with the same bits share, and others hardly ever."""
    try:
        parts = dense_parts(tensor)
    except NoBitsError:
        parts = ()
    sums = [int(_integers(_real(part)).sum(dtype=torch.int64)) for part in parts]
    return hash((tensor.dtype, shape_of(tensor), *sums))


def dense_parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """The dense tensors that a tensor of any layout is made of.

    Raises:
        NoBitsError: If nobody here knows what it is made of.
    """
    wrapper = bool(is_traceable_wrapper_subclass(tensor))
    if wrapper or tensor.device.type == "meta":
        raise NoBitsError(
            f"a {type(tensor).__name__} on {tensor.device.type} has no bits to compare"
        )
    if tensor.is_quantized:
        if tensor.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            scale = torch.tensor([tensor.q_scale(), float(tensor.q_zero_point())])
            return tensor.int_repr(), scale
        return tensor.int_repr(), tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()
    if tensor.is_nested:
        return tuple(tensor.unbind())
    if tensor.layout is torch.strided:
        return (tensor,)
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    raise NoBitsError(f"a {tensor.layout} tensor cannot be compared bit for bit")


def _real(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().resolve_conj().resolve_neg()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _integers(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(_INTEGERS[tensor.element_size()])
