"""Which tensors share memory, and which elements of it they see.

Views, ``.data``, ``detach()`` and ``Parameter(x)`` look at the memory of another
tensor; what a write through one of them does is seen through all that overlap it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy


def memory_of(tensor: Tensor) -> int:
    """A key that tensors on the same storage share while one of them lives."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):
        # Sparse, nested and wrapped tensors have no storage of their own.
        return id(tensor)


def version_of(tensor: Tensor) -> int | None:
    """How often the tensor's memory was written; ``None`` where nobody counts."""
    try:
        return tensor._version
    except (RuntimeError, ValueError):  # made in inference mode; without a shape yet
        return None


def set_version(tensor: Tensor, version: int) -> None:
    """Takes the count of writes back: what autograd saved before is then still good."""
    try:
        torch._C._autograd._unsafe_set_version_counter((tensor,), (version,))
    except TypeError:  # torch 2.6 takes one tensor
        torch._C._autograd._unsafe_set_version_counter(tensor, version)  # type: ignore[arg-type]


def is_transformed() -> bool:
    """Whether ``torch.func`` is at work: tensors then have more axes than they show."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def faces(tensor: Tensor) -> list[Tensor]:
    """The tensor, and those that ``torch.func`` has wrapped in it, outermost first."""
    found = [tensor]
    while torch._C._functorch.is_functorch_wrapped_tensor(found[-1]):
        found.append(torch._C._functorch.get_unwrapped(found[-1]))
    return found


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """The shape; of a nested tensor, the one into which all its parts fit.

    Empty for a parameter that waits for its first input to get one.
    """
    if not tensor.is_nested:
        return () if is_lazy(tensor) else tuple(tensor.shape)
    parts = [part.shape for part in tensor.unbind()]
    return (len(parts), *(max(sizes) for sizes in zip(*parts, strict=True)))


def dense_parts(tensor: Tensor) -> tuple[Tensor, ...]:
    """The strided tensors that hold what it holds; none for a layout without any."""
    if tensor.layout is torch.strided:
        return (tensor,)
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return ()


class Extent(NamedTuple):
    """Where in its storage a tensor's elements lie; without strides: anywhere."""

    offset: int = 0
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] | None = None
    size: int = 0

    @classmethod
    def of(cls, tensor: Tensor) -> Extent:
        """The tensor's own."""
        if tensor.layout is not torch.strided or tensor.is_nested or is_transformed():
            return cls()
        return cls(
            int(tensor.storage_offset()),
            tuple(tensor.shape),
            tensor.stride(),
            tensor.element_size(),
        )

    def meets(self, tensor: Tensor) -> bool:
        """Whether the tensor, on the same storage, may see an element of this extent."""
        other = Extent.of(tensor)
        if self.strides is None or other.strides is None or self.size != other.size:
            return True
        if 0 in self.shape or 0 in other.shape:
            return False
        if self._last() < other.offset or other._last() < self.offset:
            return False
        if self.strides != other.strides:
            return True
        reach = [
            (stride, max(a, b) - 1)
            for stride, a, b in zip(self.strides, self.shape, other.shape, strict=True)
            if stride > 0
        ]
        return _is_sum(other.offset - self.offset, sorted(reach, reverse=True))

    def _last(self) -> int:
        assert self.strides is not None
        return self.offset + sum(
            (n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True)
        )


def _is_sum(distance: int, reach: Sequence[tuple[int, int]]) -> bool:
    """Whether ``distance`` is a sum of strides, each taken at most its ``reach`` times."""
    if not reach:
        return distance == 0
    (stride, most), rest = reach[0], reach[1:]
    left = sum(step * times for step, times in rest)
    first = max(-most, -((left - distance) // stride))
    last = min(most, (distance + left) // stride)
    return any(_is_sum(distance - times * stride, rest) for times in range(first, last + 1))
