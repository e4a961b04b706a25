"""Three ways to run a call: on meta (remembering), on fake tensors, for real.

On meta a call that was seen before, with equal arguments, need not run: its
outputs are made by ``empty_strided`` from what was remembered, or told by a rule
(``rules``); of one that only writes the argument it returns, the count of writes
grows. That is what brings a trace below the cost of a bare meta forward. Never
remembered: other calls that write, those that return views, draw random numbers,
return anything but plain tensors, or run where gradients are taken or ``torch.func``
is at work. The memory dies with the trace.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._device import _device_constructors

from resnet_viz.tracing.functions import kind_of
from resnet_viz.tracing.kernels import KernelCounter, count_on_meta, multiplies
from resnet_viz.tracing.memory_map import is_transformed, set_version, version_of
from resnet_viz.tracing.rules import RULES, Layout, Told

Function = Callable[..., Any]
_META = torch.device("meta")
_FACTORIES = _device_constructors()
_FACTORY_NAMES = {factory.__name__ for factory in _FACTORIES}
_TENSORS = (Tensor, nn.Parameter)
_PLAIN = (int, float, bool, str, type(None), torch.dtype, torch.device, torch.Size)


_PLACE = torch.Tensor.device.__get__
_PLACES = {
    _PLACE: "",
    **{
        getattr(torch.Tensor, f"is_{kind}").__get__: kind
        for kind in ("cpu", "cuda", "meta", "mps", "xpu")
    },
}
_MOVES = frozenset((torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda))


def _stay(func: Function, args: tuple[Any, ...]) -> tuple[Function, tuple[Any, ...]]:
    """The same cast without leaving meta."""
    if func is not torch.Tensor.to:
        return torch.Tensor.to, (args[0], _META)
    return func, tuple(
        _META if isinstance(a, torch.device) or (isinstance(a, str) and i) else a
        for i, a in enumerate(args)
    )


class _Memory(NamedTuple):
    macs: int | None
    # ``None``: run it again every time.
    outputs: tuple[Layout, ...] | None
    single: bool
    # Of a call that writes its first argument and returns it: by how much its version grows.
    writes: int = 0


class NeedsDeviceError(RuntimeError):
    """What meta tensors, which live nowhere, would answer wrongly."""


class MetaExecutor:
    """Runs calls on meta tensors, each distinct one at most once."""

    def __init__(self, home: torch.device = _META, *, remember: bool = True) -> None:
        """Starts without memories.

        Args:
            home: What a tensor that is asked for its device answers, so that
                ``if x.is_cuda`` goes the way it goes without us.
            remember: Whether equal calls run only once.
        """
        self._home = home
        self._memory: dict[Hashable, _Memory] = {}
        self._remember = remember
        self._counter = KernelCounter()
        self.macs: int | None = 0

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's result; ``macs`` afterwards holds its multiply-accumulates."""
        if torch._C._is_any_autocast_enabled():
            raise NeedsDeviceError("autocast chooses dtypes by device, and meta is none")
        if func in _PLACES:
            return self._place(func)
        if kwargs.get("device") is not None or func in _FACTORIES:
            kwargs = {**kwargs, "device": _META}
        elif func in _MOVES and args:
            func, args = _stay(func, args)
        key = _key(func, args, kwargs) if self._remember and not is_transformed() else None
        if key is None:
            return self._counted(func, args, kwargs)
        memory = self._memory.get(key)
        if memory is None:
            told = _told(func, args, kwargs)
            if told is None:
                return self._first(key, func, args, kwargs)
            memory = self._memory[key] = _Memory(told.macs, told.outputs, told.single)
        self.macs = memory.macs
        if memory.writes:
            set_version(args[0], args[0]._version + memory.writes)
            return args[0]
        if memory.outputs is None:
            with _META if _makes_tensors(func) else nullcontext():
                return func(*args, **kwargs)
        made = [
            torch.empty_strided(shape, stride, dtype=dtype, device=_META)
            for shape, stride, dtype in memory.outputs
        ]
        return made[0] if memory.single else tuple(made)

    def _place(self, func: Function) -> Any:
        self.macs = 0
        return self._home if func == _PLACE else _PLACES[func] == self._home.type

    def _first(
        self, key: Hashable, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        given = _tensors(args, kwargs)
        before = [(version_of(t), t.shape, t.stride()) for t in given]
        result = self._counted(func, args, kwargs)
        after = [(version_of(t), t.shape, t.stride()) for t in given]
        fresh, grown = None, 0
        # A gradient taken inside ``forward`` needs the nodes that only the call makes.
        if not self._counter.random and not torch.is_grad_enabled():
            if after == before:
                fresh = _fresh(result, args, kwargs)
            elif result is args[0] and given and given[0] is result and kind_of(func) != "set":
                grown = _grown(before, after)
        self._memory[key] = _Memory(self.macs, fresh, isinstance(result, Tensor), grown)
        return result

    def _counted(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        counter = self._counter
        counter.reset()
        with _META if _makes_tensors(func) else nullcontext(), counter:
            result = func(*args, **kwargs)
        self.macs = counter.macs
        return result


@functools.cache
def _makes_tensors(func: Function, depth: int = 3) -> bool:
    """Whether it is Python code that may call a factory, which no mode of ours would see."""
    if not isinstance(func, FunctionType) or not depth:
        return isinstance(func, FunctionType)
    if not (func.__module__ or "").startswith("torch"):
        return True
    # The detour over modes leads back to the function itself.
    names = set(func.__code__.co_names) - {"handle_torch_function", func.__name__}
    if not _FACTORY_NAMES.isdisjoint(names):
        return True
    called = [func.__globals__.get(name) for name in names]
    return any(_makes_tensors(one, depth - 1) for one in called if isinstance(one, FunctionType))


def _told(func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Told | None:
    rule = RULES.get(func)
    if rule is None or torch.is_grad_enabled():
        return None
    try:
        return rule(*args, **kwargs)
    except TypeError:
        # Arguments in a form that the rule does not know.
        return None


class RealExecutor:
    """Runs calls on the tensors they get (real or fake), and counts them on meta."""

    def __init__(
        self, protect: Callable[[Function, tuple[Any, ...], dict[str, Any]], None]
    ) -> None:
        """Starts without memories.

        Args:
            protect: Told of each call before it runs.
        """
        self._protect = protect
        self._macs: dict[Hashable, int | None] = {}
        self._counter = KernelCounter()
        self.macs: int | None = 0

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's result; ``macs`` afterwards holds its multiply-accumulates."""
        self._protect(func, args, kwargs)
        if any(t.is_nested for t in _tensors(args, kwargs)):
            # Neither meta nor a dispatch mode takes them.
            self.macs = None if multiplies(kind_of(func)) else 0
            return func(*args, **kwargs)
        alone = not is_transformed() and not torch.is_grad_enabled()
        key = _key(func, args, kwargs) if alone else None
        if key is not None and key in self._macs:
            self.macs = self._macs[key]
            return func(*args, **kwargs)
        macs = count_on_meta(func, args, kwargs) if alone else None
        if macs is not None:
            result = func(*args, **kwargs)
        else:
            # Meta refuses (sizes that depend on values): the kernels of the run itself.
            self._counter.reset()
            with self._counter:
                result = func(*args, **kwargs)
            macs = self._counter.macs
        self.macs = macs
        if key is not None:
            self._macs[key] = macs
        return result


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    found = [a for a in args if isinstance(a, Tensor)]
    for a in args:
        if isinstance(a, tuple | list):
            found += [t for t in a if isinstance(t, Tensor)]
    return found + [a for a in kwargs.values() if isinstance(a, Tensor)]


def _grown(before: Sequence[Any], after: Sequence[Any]) -> int:
    """By how much the first version grew, if nothing else changed; else 0."""
    (was, *layout), (now, *new_layout) = before[0], after[0]
    alone = after[1:] == before[1:] and layout == new_layout
    return now - was if alone and was is not None and now is not None else 0


def _fresh(result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Layout, ...] | None:
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
        if type(value) not in _TENSORS or value.layout is not torch.strided:
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
