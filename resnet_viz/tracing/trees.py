"""Tensors inside the values that ``forward`` takes and returns."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in a tree of tuples, lists, dicts and dataclasses."""
    for _, tensor in named_tensors(value):
        yield tensor


def named_tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor with its place in the tree: ``x``, ``past.0.1``, ``logits``."""
    if isinstance(value, Tensor):
        yield name, value
        return
    items: Any
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        items = zip(value._fields, value, strict=True)
    elif isinstance(value, tuple | list):
        items = enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
    else:
        return
    for key, item in items:
        yield from named_tensors(item, f"{name}.{key}" if name else str(key))


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same tree with every tensor changed; nothing given is modified."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple | list):
        items = [map_tensors(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if type(value) is dict:
        return {k: map_tensors(v, change) for k, v in value.items()}
    if isinstance(value, MutableMapping):
        # Its own kind of copy: a defaultdict keeps its factory, a BatchEncoding its encodings.
        changed = copy.copy(value)
        for k, v in value.items():
            changed[k] = map_tensors(v, change)
        return changed
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **{k: map_tensors(v, change) for k, v in fields.items()})
    return value


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
