"""Three ways to run a call: on meta (remembering), on fake tensors, for real.

On meta a call that was seen before, with equal arguments, need not run: its
outputs are made by ``empty_strided`` from what was remembered. That is what
brings a trace below the cost of a bare meta forward. Never remembered: calls
that write, return views or their own argument, draw random numbers, or return
anything but plain tensors. The memory dies with the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from resnet_viz.tracing.calls import version
from resnet_viz.tracing.kernels import KernelCounter, count_on_meta

Function = Callable[..., Any]
_PLAIN = (int, float, bool, str, type(None), torch.dtype, torch.device, torch.Size)


class _Memory(NamedTuple):
    macs: int | None
    # Shape, strides and dtype of each output; ``None``: run it again every time.
    outputs: tuple[tuple[torch.Size, tuple[int, ...], torch.dtype], ...] | None
    single: bool


class MetaExecutor:
    """Runs calls on meta tensors, each distinct one only once."""

    def __init__(self, *, remember: bool = True) -> None:
        self._memory: dict[Hashable, _Memory] = {}
        self._remember = remember
        self._counter = KernelCounter()
        self.macs: int | None = 0

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's result; ``macs`` afterwards holds its multiply-accumulates."""
        key = _key(func, args, kwargs) if self._remember else None
        memory = self._memory.get(key) if key is not None else None
        if memory is not None:
            self.macs = memory.macs
            if memory.outputs is None:
                return func(*args, **kwargs)
            made = [
                torch.empty_strided(shape, stride, dtype=dtype, device="meta")
                for shape, stride, dtype in memory.outputs
            ]
            return made[0] if memory.single else tuple(made)
        counter = self._counter
        counter.reset()
        versions = [version(t) for t in _tensors(args, kwargs)] if key is not None else []
        with counter:
            result = func(*args, **kwargs)
        self.macs = counter.macs
        if key is not None:
            written = versions != [version(t) for t in _tensors(args, kwargs)]
            fresh = None if written or counter.random else _fresh(result, args, kwargs)
            self._memory[key] = _Memory(self.macs, fresh, isinstance(result, Tensor))
        return result


class RealExecutor:
    """Runs calls on the tensors they get (real or fake), and counts them on meta."""

    def __init__(self) -> None:
        self._macs: dict[Hashable, int | None] = {}
        self.macs: int | None = 0

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's result; ``macs`` afterwards holds its multiply-accumulates."""
        key = _key(func, args, kwargs)
        if key is None or key not in self._macs:
            self.macs = count_on_meta(func, args, kwargs)
            if key is not None:
                self._macs[key] = self.macs
        else:
            self.macs = self._macs[key]
        return func(*args, **kwargs)


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    found = [a for a in args if isinstance(a, Tensor)]
    for a in args:
        if isinstance(a, tuple | list):
            found += [t for t in a if isinstance(t, Tensor)]
    return found + [a for a in kwargs.values() if isinstance(a, Tensor)]


def _fresh(
    result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[torch.Size, tuple[int, ...], torch.dtype], ...] | None:
    """Specs of the outputs, if each is a plain new tensor that owns its memory."""
    if type(result) is Tensor:
        outputs: tuple[Any, ...] = (result,)
    elif type(result) is tuple:
        outputs = result
    else:
        return None
    given = {id(t) for t in _tensors(args, kwargs)}
    for out in outputs:
        if type(out) is not Tensor or id(out) in given or out._base is not None:
            return None
        if out.device.type != "meta" or out.layout is not torch.strided:
            return None
    return tuple((out.shape, out.stride(), out.dtype) for out in outputs)


def _key(func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable | None:
    """What a call depends on, as far as shapes go; ``None`` where that is unclear."""
    key: list[Any] = [func, torch.is_grad_enabled()]
    for value in args:
        if not _extend(key, value):
            return None
    for name, value in kwargs.items():
        key.append(name)
        if not _extend(key, value):
            return None
    return tuple(key)


def _extend(key: list[Any], value: Any) -> bool:
    if isinstance(value, Tensor):
        if value.layout is not torch.strided:
            return False
        key += (value.shape, value.stride(), value.dtype)
        return True
    # A bool and an equal int must not meet: True == 1.
    if isinstance(value, _PLAIN):
        key += (type(value), value)
        return True
    if type(value) in (tuple, list):
        key += (type(value), len(value))
        return all(_extend(key, item) for item in value)
    if isinstance(value, slice):
        key.append(slice)
        return all(_extend(key, v) for v in (value.start, value.stop, value.step))
    if value is Ellipsis:
        key.append("...")
        return True
    return False
