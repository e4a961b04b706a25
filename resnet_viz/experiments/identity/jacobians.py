"""The whole Jacobian of a block at one input, and its singular values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CHUNK = 256
"""Rows computed at once: bounds the memory."""


def jacobian(module: nn.Module, x: Tensor) -> Tensor:
    """``(outputs, inputs)``: the derivative of every output by every input, both flattened.

    The input is repeated as a batch, and each sample gives the row of another output. So
    samples must not couple: batch norm in eval mode. (``torch.func.jacrev`` says the same and
    imports a compiler first, which takes seconds.)

    Args:
        module: Of one tensor ``(N, …)`` to another; may work in place inside.
        x: ``(1, …)``; not changed.
    """
    with torch.no_grad():
        outputs = module(x.clone()).numel()
    parts = (range(start, min(start + _CHUNK, outputs)) for start in range(0, outputs, _CHUNK))
    return torch.cat([_rows(module, x.detach(), part) for part in parts])


def _rows(module: nn.Module, x: Tensor, numbers: range) -> Tensor:
    with torch.enable_grad():
        batch = x.repeat(len(numbers), *(1,) * (x.ndim - 1)).requires_grad_()
        # A clone: no leaf may be written in place.
        y = module(batch.clone()).flatten(1)
        (rows,) = torch.autograd.grad(y[range(len(numbers)), list(numbers)].sum(), batch)
    return rows.flatten(1)


def singular_values(module: nn.Module, x: Tensor) -> tuple[float, ...]:
    """Those of the Jacobian of ``module`` at ``x``, in falling order.

    As many as the smaller of inputs and outputs.
    """
    values: list[float] = torch.linalg.svdvals(jacobian(module, x)).tolist()
    return tuple(values)
