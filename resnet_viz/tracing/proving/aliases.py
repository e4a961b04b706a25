"""Tensors that look at another tensor's memory and that no call returned."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Alias(NamedTuple):
    """A look at another slot's memory that no call returned: ``Parameter(x)``.

    Attributes:
        home: A slot whose tensor lies in this memory.
        parameter: Whether it is an ``nn.Parameter``.
    """

    home: int
    parameter: bool
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    grad: bool

    @classmethod
    def of(cls, tensor: Tensor, home: int) -> Alias:
        """What the tensor is, seen from its home."""
        return cls(
            home,
            isinstance(tensor, nn.Parameter),
            tensor.dtype,
            int(tensor.storage_offset()),
            tuple(tensor.shape),
            tensor.stride(),
            tensor.requires_grad,
        )

    def on(self, home: Tensor) -> Tensor:
        """The same look at ``home``."""
        with torch.no_grad():
            made = torch.empty(0, dtype=self.dtype, device=home.device)
            made.set_(home.untyped_storage(), self.offset, self.shape, self.strides)
        if self.parameter:
            return nn.Parameter(made, requires_grad=self.grad)
        return made.requires_grad_(self.grad)
