"""Tensors inside the values that ``forward`` takes and returns.

Such a value is a tree: of tuples, lists, dicts, dataclasses, classes registered with
``torch.utils._pytree``, and plain objects that hold tensors as attributes (a cache, a
graph batch). A changed tree is made of new containers and new objects throughout, so
that a run on it leaves the caller's own as they are.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import enum
import inspect
import sys
import types
from collections import UserDict
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

_ATOMS = (str, bytes, int, float, complex, type, nn.Module, enum.Enum, types.FunctionType)
_NAMESPACES = (types.SimpleNamespace, argparse.Namespace)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in a tree of containers and dataclasses; other objects stay closed."""
    if isinstance(value, Tensor):
        yield value
        return
    for _, item in _items(value):
        yield from tensors_in(item)


def named_tensors(
    value: Any, name: str = "", *, objects: bool = True
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor with its place in the tree: ``x``, ``past.0.1``, ``cache.layers.0.keys``.

    An object that occurs twice is entered once, a tensor that one object holds under
    several names is named by the first.

    Args:
        value: Any tree.
        name: Its own place.
        objects: Whether objects that are no containers are entered.
    """
    yield from _named(value, name, set() if objects else None)


def _named(value: Any, name: str, entered: set[int] | None) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
        return
    if entered is not None and _is_opaque(value):
        if id(value) in entered:
            return
        entered.add(id(value))
        attributes = dict(_attributes(value))
        held: set[int] = set()
        for key, item in attributes.items():
            if isinstance(item, Tensor):
                if id(item) in held:
                    continue
                held.add(id(item))
            elif key.startswith("_"):
                key = ""  # how an object stores its parts is its own business
            yield from _named(item, _joined(name, key), entered)
        return
    for key, item in _items(value):
        yield from _named(item, _joined(name, str(key)), entered)


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name and key else name or key


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    """The parts of a container, with their keys; nothing for any other value."""
    if isinstance(value, _ATOMS) or value is None:
        return ()
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return zip(value._fields, value, strict=True)
    if isinstance(value, tuple | list):
        return enumerate(value)
    node = pytree.SUPPORTED_NODES.get(type(value))
    if node is not None:
        if node.flatten_with_keys_fn is None:
            return enumerate(node.flatten_fn(value)[0])
        return [(_key(key), item) for key, item in node.flatten_with_keys_fn(value)[0]]
    if dataclasses.is_dataclass(value):
        return [
            (f.name, getattr(value, f.name))
            for f in dataclasses.fields(value)
            if hasattr(value, f.name)  # a field without init may not be set yet
        ]
    return ()


def _key(key: Any) -> Any:
    """What stands in a pytree key: a name, an index or a mapping's key."""
    for attribute in ("name", "idx", "key"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return key


def _is_opaque(value: Any) -> bool:
    """Whether a value's parts are its attributes: no container, nothing of Python's own."""
    if isinstance(value, (*_ATOMS, Mapping, tuple, list)) or value is None:
        return False
    kind = type(value)
    if kind in pytree.SUPPORTED_NODES:
        return False
    if isinstance(value, _NAMESPACES):
        return True
    # A logger, a lock or a path holds no input, and may lead anywhere. Bases are asked too:
    # a class made on the fly says that it comes from ``abc``.
    homes = {c.__module__.partition(".")[0] for c in kind.__mro__}
    if homes <= sys.stdlib_module_names:
        return False
    return hasattr(value, "__dict__") or _has_slots(kind)


def _has_slots(kind: type) -> bool:
    return any("__slots__" in vars(c) for c in kind.__mro__[:-1])


def _slots(kind: type) -> Iterator[tuple[str, types.MemberDescriptorType]]:
    """Slots in the order of their declaration, those of base classes first."""
    for c in reversed(kind.__mro__[:-1]):
        names = vars(c).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            private = name.startswith("__") and not name.endswith("__")
            mangled = f"_{c.__name__.lstrip('_')}{name}" if private else name
            member = vars(c).get(mangled)
            if isinstance(member, types.MemberDescriptorType):
                yield mangled, member


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    yield from getattr(value, "__dict__", {}).items()
    for name, member in _slots(type(value)):
        try:
            yield name, member.__get__(value)
        except AttributeError:
            continue  # a slot that was never filled


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same tree with every tensor changed; nothing given is modified.

    What is one tensor, container or object in several places of the tree stays one:
    attention asks ``query is key``.

    Args:
        value: Any tree; what cannot be copied (an iterator, an object made in C) is
            passed on as it is.
        change: Gives the replacement; called once per distinct tensor.
    """
    return _Changed(change)(value)


class _Changed:
    """One pass of ``map_tensors``: remembers what became of each part."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        self._change = change
        # The old part is held, so that no ``id`` is used twice.
        self._known: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, _ATOMS) or value is None:
            return value
        known = self._known.get(id(value))
        if known is None:
            known = self._known[id(value)] = value, self._changed(value)
        return known[1]

    def _changed(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._change(value)
        if isinstance(value, PackedSequence):
            # Its lengths stay where they are: torch wants them on the CPU.
            data, _, *orders = value
            parts = (self(data), value.batch_sizes, *map(self, orders))
            return tuple.__new__(PackedSequence, parts)
        if isinstance(value, tuple):
            return _tuple_of(type(value), tuple([self(item) for item in value]))
        if type(value) is list:
            return [self(item) for item in value]
        if type(value) is dict:
            return {k: self(v) for k, v in value.items()}
        if isinstance(value, list):
            made = self._known[id(value)] = value, list.__new__(type(value))
            list.extend(made[1], [self(item) for item in value])
            return self._attributes_of(value, made[1])
        if isinstance(value, dict | UserDict) and isinstance(value, MutableMapping):
            # Its own kind of copy: a defaultdict keeps its factory, a BatchEncoding its encodings.
            changed = copy.copy(value)
            for k, v in value.items():
                changed[k] = self(v)
            return changed
        node = pytree.SUPPORTED_NODES.get(type(value))
        if node is not None:
            children, context = node.flatten_fn(value)
            return node.unflatten_fn([self(child) for child in children], context)
        if _is_opaque(value) or (isinstance(value, Mapping) and hasattr(value, "__dict__")):
            return self._object(value)
        return value

    def _object(self, value: Any) -> Any:
        kind = type(value)
        # Past ``__init__``: a copy runs no code of the class, unless it brings its own.
        own = hasattr(kind, "__copy__") or isinstance(value, _NAMESPACES)
        try:
            made = copy.copy(value) if own else object.__new__(kind)
        except TypeError:  # made in C: there is no empty one to fill
            return value
        self._known[id(value)] = value, made  # an object may hold itself
        return self._attributes_of(made if own else value, made)

    def _attributes_of(self, source: Any, made: Any) -> Any:
        """``made``, with the changed attributes of ``source``."""
        members = dict(_slots(type(made)))
        for name, item in list(_attributes(source)):
            # Past ``__setattr__``: a frozen class forbids it.
            if name in members:
                members[name].__set__(made, self(item))
            else:
                made.__dict__[name] = self(item)
        return made


def _tuple_of(kind: type, parts: tuple[Any, ...]) -> Any:
    """A tuple of this kind, past its ``__new__``, which may check or convert."""
    try:
        return tuple.__new__(kind, parts)
    except TypeError:  # torch's result types are made in C and insist on their own
        return kind(parts)


def on_device(value: Any, device: str | torch.device) -> Any:
    """The same tree with every tensor on ``device``."""
    return map_tensors(value, lambda t: t.to(device))


def bound_arguments(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of ``forward`` by name, in the order of its signature."""
    try:
        bound = inspect.signature(model.forward).bind_partial(*args, **kwargs)
    except (TypeError, ValueError):
        return {**{str(i): a for i, a in enumerate(args)}, **kwargs}
    named: dict[str, Any] = {}
    for key, value in bound.arguments.items():
        kind = bound.signature.parameters[key].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            named |= value
        else:
            named[key] = value
    return named


def input_tensors(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[tuple[str, Tensor]]:
    """The distinct tensors in the arguments of ``forward``, in the order of its signature.

    A tensor that is given several times is one input, named by all of its places:
    ``query, key, value``.
    """
    names: dict[int, tuple[list[str], Tensor]] = {}
    for name, tensor in named_tensors(bound_arguments(model, args, kwargs)):
        names.setdefault(id(tensor), ([], tensor))[0].append(name)
    return [(", ".join(places), tensor) for places, tensor in names.values()]
