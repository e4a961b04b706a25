"""Runs a call on the meta device and counts its multiply-accumulates.

The formulas are torch's own (``torch.utils.flop_counter``, aten kernels), halved:
1 MAC = 1. Every call is counted on meta whichever mode traces, because the
kernels that really run differ by device and grad mode (a ViT-B/16 is 17.56 G on
meta, 16.85 on CPU, 11.27 on CPU under ``no_grad``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from resnet_viz.tracing.trees import map_tensors

_META = torch.device("meta")
# A kernel without a formula multiplies and adds if its name holds one of these words.
_MULTIPLIERS = re.compile(
    r"(?<![a-z])(conv|convolution|(add|badd)?b?mm|matmul|(add)?mv|v?dot|(tri)?linear|attention"
    r"|rnn|lstm|gru|cdist|fft)(?![a-z])|linalg_(?!vector_norm)"
)


class KernelCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the kernels under it.

    Attributes:
        flops: Floating-point operations of all kernels with a formula.
        unknown: Names of kernels that multiply and have no formula.
        random: Whether a kernel drew random numbers.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reset()

    def reset(self) -> None:
        """Starts over."""
        self.flops = 0
        self.unknown: list[str] = []
        self.random = False

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates; ``None`` where a kernel has no formula."""
        return None if self.unknown else self.flops // 2

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            self.unknown.append(str(func))
            return func(*args, **kwargs)
        packet = func._overloadpacket
        formula = flop_registry.get(packet)
        if formula is None and func.namespace != "prim":
            # Composite kernels reach a mode whole where autograd is off.
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        if formula is not None:
            try:
                self.flops += formula(*args, **kwargs, out_val=out)
            except RuntimeError:  # a nested tensor has no one shape
                self.unknown.append(str(packet))
        elif func.namespace not in ("aten", "prim", "prims") or multiplies(packet.__name__):
            self.unknown.append(str(packet))
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.random = True
        return out


def multiplies(name: str) -> bool:
    """Whether a kernel of this name is one that multiplies and adds."""
    return _MULTIPLIERS.search(name) is not None and "backward" not in name


def meta_like(tensor: Tensor) -> Tensor:
    """A tensor without memory, of the same shape, strides and dtype.

    Raises:
        TypeError: For a layout that has no strides (sparse): meta cannot stand in.
    """
    if is_lazy(tensor):
        return lazy_like(tensor, _META)
    if tensor.layout is not torch.strided or tensor.is_nested:
        raise TypeError(f"a {tensor.layout} tensor has no meta stand-in")
    out = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(out, requires_grad=tensor.requires_grad)
    return out


def lazy_like(tensor: Tensor, device: torch.device) -> Tensor:
    """Another parameter that waits for its first input to get a shape."""
    # Their metaclass hides the signatures from type checkers.
    parameter: Any = UninitializedParameter
    buffer: Any = UninitializedBuffer
    made: Tensor = (
        parameter(tensor.requires_grad, device=device, dtype=tensor.dtype)
        if isinstance(tensor, nn.Parameter)
        else buffer(device=device, dtype=tensor.dtype)
    )
    return made


def count_on_meta(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> int | None:
    """The MACs of a call made with real tensors; ``None`` where meta refuses it."""
    counter = KernelCounter()
    try:
        # A fake mode would take even meta tensors for its own.
        with unset_fake_temporarily(), torch.device("meta"), counter:
            func(*_on_meta(args), **_on_meta(kwargs))
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return None
    return counter.macs


def _on_meta(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _on_meta(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_on_meta(v) for v in value)
    if isinstance(value, torch.device):
        return torch.device("meta")
    return map_tensors(value, meta_like)
