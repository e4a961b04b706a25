"""Kernels that autograd should see on meta, where torch itself would pick others.

On a real device one fused kernel does the work and saves what it needs. On meta torch
composes attention out of its parts, which saves a matrix of all pairs, and works batch
norm out in Python, which takes most of the time of a forward. Each stand-in has the
arguments of its function and gives ``None`` where it cannot stand in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
# Saves what every batch norm saves, and has a meta kernel of its own.
_BATCH_NORM = torch.ops.aten.miopen_batch_norm


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    """The output by the kernel that real devices prefer; ``None`` where it cannot.

    On meta torch picks the plain composition instead. Fused kernels draw dropout again
    in the backward and read a shared key head in place, so neither keeps anything.
    """
    given = (query, key, value)
    if query.device.type != "meta" or not any(t.requires_grad for t in given):
        return None
    if any(t.ndim not in (3, 4) or t.shape[-1] != query.shape[-1] for t in given):
        return None
    if attn_mask is not None and attn_mask.requires_grad:
        return None
    if attn_mask is not None and attn_mask.dtype is torch.bool:
        attn_mask = torch.empty_like(attn_mask, dtype=query.dtype)
    batched = [t[None] if t.ndim == 3 else t for t in given]
    try:
        out: Tensor = _ATTENTION(*batched, attn_mask=attn_mask, scale=scale)[0]
    except (RuntimeError, NotImplementedError):
        return None
    return out[0] if query.ndim == 3 else out


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor | None:
    """The output in train mode; statistics of weights in half precision are not its own."""
    if input.device.type != "meta" or not training or weight is None:
        return None
    if weight.dtype not in (torch.float32, torch.float64):
        return None
    F._verify_batch_size(input.size())  # type: ignore[attr-defined]
    try:
        out: Tensor = _BATCH_NORM(
            input, weight, bias, running_mean, running_var, True, momentum, eps
        )[0]
    except (RuntimeError, NotImplementedError):
        return None
    return out


STAND_INS: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    F.scaled_dot_product_attention: fused_attention,
    F.batch_norm: batch_norm,
}
