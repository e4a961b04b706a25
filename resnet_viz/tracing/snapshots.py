"""What the modules of a model hold in Python, remembered and put back.

Not only attributes: a forward appends to lists, counts in a config object, fills a
deque, draws from a generator of its own. All that can be reached from a module
through containers and plain objects is kept by identity, and put back if it changed.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from copy import copy
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

CONTAINERS = (list, dict, set, deque, tuple)
REGISTRIES = ("_parameters", "_buffers", "_modules")
ATOMS = frozenset((int, float, bool, str, type(None), torch.dtype))
_DICTS = frozenset((dict, OrderedDict))
_CLOSED = (
    *(int, float, complex, str, bytes, bool, type(None), type, torch.dtype, torch.device),
    *(torch.Size, FunctionType, BuiltinFunctionType, MethodType, ModuleType, nn.Module),
)


class Snapshot:
    """The state of some modules at one moment.

    Attributes:
        tensors: Every tensor met, by ``id``, parameters included.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.tensors: dict[int, Tensor] = {}
        # ``None`` stands for empty: most containers are, and copies cost.
        self._containers: list[tuple[Any, Any]] = []
        self._objects: list[tuple[Any, type, dict[str, Any]]] = []
        self._others: list[Callable[[], object]] = []
        # Held, so that no ``id`` is met twice.
        self._met: dict[int, Any] = {}
        todo: list[Any] = []
        empty = self._containers
        for module in modules:
            attributes = module.__dict__
            self._objects.append((module, type(module), dict(attributes)))
            for key, value in attributes.items():
                kind = type(value)
                if kind in ATOMS:
                    continue
                # Nearly all that a layer holds: twenty empty registries of hooks.
                if kind in _DICTS and not value:
                    empty.append((value, None))
                elif isinstance(value, dict) and key in REGISTRIES:
                    self.keep(value)
                    self._note_tensors(value)
                elif isinstance(value, itertools.count):
                    # It cannot be turned back; a copy stands where it stood.
                    self._objects[-1][2][key] = copy(value)
                elif not isinstance(value, _CLOSED):
                    todo.append(value)
        self.add(todo)

    def add(self, values: list[Any]) -> None:
        """Also keeps these values, and all that they lead to."""
        while values:
            value = values.pop()
            if isinstance(value, _CLOSED):
                continue
            if isinstance(value, Tensor):
                self.tensors.setdefault(id(value), value)
            elif isinstance(value, CONTAINERS):
                if not value:
                    if not isinstance(value, tuple):
                        self._containers.append((value, None))
                elif self._is_new(value):
                    if not isinstance(value, tuple):
                        self.keep(value)
                    values += value.values() if isinstance(value, dict) else value
            elif self._is_new(value):
                self._keep_other(value, values)

    def restore(self) -> None:
        """Puts everything back; what did not change is not touched."""
        for container, contents in self._containers:
            if contents is None:
                if container:
                    container.clear()
            elif not _same(container, contents):
                container.clear()
                extends = isinstance(container, list | deque)
                (container.extend if extends else container.update)(contents)
        for owner, kind, attributes in self._objects:
            if type(owner) is not kind:
                # A lazy layer becomes another class when it first runs.
                owner.__class__ = kind
            now = vars(owner)
            if not _same(now, attributes):
                now.clear()
                now.update(attributes)
        for put_back in self._others:
            put_back()

    def _is_new(self, value: Any) -> bool:
        if id(value) in self._met:
            return False
        self._met[id(value)] = value
        return True

    def keep(self, container: Any) -> None:
        """Keeps what a container holds right now, but not what that leads to."""
        self._containers.append((container, copy(container) if container else None))

    def _note_tensors(self, registry: dict[str, Any]) -> None:
        for value in registry.values():
            if isinstance(value, Tensor):
                self.tensors.setdefault(id(value), value)

    def _keep_other(self, value: Any, values: list[Any]) -> None:
        if isinstance(value, torch.Generator):
            state = value.get_state()
            self._others.append(lambda: value.set_state(state))
        elif isinstance(value, random.Random):
            drawn = value.getstate()
            self._others.append(lambda: value.setstate(drawn))
        elif _is_array(value):
            numbers = value.copy()
            self._others.append(lambda: value.__setitem__(..., numbers))
        elif _is_plain(value):
            attributes = vars(value)
            self._objects.append((value, type(value), dict(attributes)))
            values += attributes.values()


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray) and value.flags.writeable


def _is_plain(value: Any) -> bool:
    """An object whose state is its ``__dict__``; a logger or a lock may lead anywhere.

    What FSDP keeps beside a module is its own: whole parameters whose memory is freed, and
    a state that no run turns back.
    """
    if type(value).__module__.startswith("torch.distributed."):
        return False
    home = type(value).__module__.partition(".")[0]
    return isinstance(getattr(value, "__dict__", None), dict) and (
        home in ("types", "argparse", "__main__") or home not in sys.stdlib_module_names
    )


def _same(left: Any, right: Any) -> bool:
    if len(left) != len(right):
        return False
    if isinstance(left, dict):
        return all(a is b and left[a] is right[b] for a, b in zip(left, right, strict=True))
    if isinstance(left, list | deque):
        return all(a is b for a, b in zip(left, right, strict=True))
    return bool(left == right)
