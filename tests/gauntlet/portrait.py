"""A portrait of everything a run may touch, drawn without any code of the tracer's.

``portrait(model, inputs)`` walks every attribute, container, plain object, tensor and
generator that the model or its inputs reach, and says what is there by value and by
identity. Two portraits are equal only if nothing was changed, added or replaced.
"""

from __future__ import annotations

import collections
import gc
import itertools
import random
import sys
import types
import warnings
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_globals

_SIMPLE = (int, float, complex, str, bytes, bool, type(None))
_OPAQUE = (type, types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.ModuleType)
_GLOBAL_HOOKS = [n for n in vars(module_globals) if n.startswith("_global_") and "hook" in n]


def bits(tensor: Tensor) -> Any:
    """A checksum of the values; of the layout's parts where it has several."""
    tensor = tensor.detach()
    if tensor.device.type == "meta":
        return "meta"
    if tensor.is_nested:
        return tuple(bits(part) for part in tensor.unbind())
    if tensor.layout is torch.sparse_coo:
        return bits(tensor._indices()), bits(tensor._values())
    if tensor.layout is not torch.strided:
        return bits(tensor.to_dense())
    if tensor.is_quantized:
        return bits(tensor.int_repr())
    plain = tensor.as_subclass(Tensor).resolve_conj().resolve_neg().contiguous()
    return zlib.crc32(plain.reshape(-1).view(torch.uint8).numpy())


def portrait(*subjects: Any) -> dict[str, Any]:
    """What ``subjects`` hold, by place."""
    found: dict[str, Any] = {}
    seen: dict[int, str] = {}
    todo: list[tuple[str, Any]] = [(f"${i}", subject) for i, subject in enumerate(subjects)]
    while todo:
        place, value = todo.pop()
        if isinstance(value, _SIMPLE):
            found[place] = (type(value), repr(value))
            continue
        if id(value) in seen:
            found[place] = ("same as", seen[id(value)])
            continue
        seen[id(value)] = place
        if isinstance(value, _OPAQUE):
            found[place] = id(value)
        elif isinstance(value, itertools.count):
            # No iterator can be turned back: an equal one in its place is as it was.
            found[place] = repr(value)
        else:
            found[place] = (type(value), id(value), *_content(value))
            todo += _inside(place, value)
    return found


def _content(value: Any) -> Iterator[Any]:
    if isinstance(value, Tensor):
        if isinstance(value, nn.parameter.UninitializedTensorMixin):
            yield "uninitialised"
            return
        shape = value._nested_tensor_size().tolist() if value.is_nested else value.shape
        yield (shape, value.dtype, value.device, value.requires_grad, value._version)
        yield bits(value)
    elif isinstance(value, torch.Generator):
        yield bits(value.get_state())
    elif isinstance(value, random.Random):
        yield hash(value.getstate())
    elif isinstance(value, set | frozenset):
        yield sorted(map(repr, value))
    elif type(value).__module__ == "numpy" and hasattr(value, "tobytes"):
        yield value.tobytes()
    elif isinstance(value, list | tuple | collections.deque | Mapping):
        yield len(value)


def _inside(place: str, value: Any) -> list[tuple[str, Any]]:
    held: list[tuple[str, Any]] = []
    if isinstance(value, Tensor):
        held.append((f"{place}.grad", value.grad if value.is_leaf else None))
    elif isinstance(value, Mapping):
        held += [(f"{place}[{k!r:.80}]", v) for k, v in value.items()]
    elif isinstance(value, list | tuple | collections.deque):
        held += [(f"{place}[{i}]", v) for i, v in enumerate(value)]
    if not isinstance(value, Tensor) and hasattr(value, "__dict__"):
        held += [(f"{place}.{k}", v) for k, v in vars(value).items()]
    return held


def world() -> dict[str, Any]:
    """What of Python and torch a run could leave behind."""
    numpy = sys.modules.get("numpy")
    return {
        "torch rng": bits(torch.get_rng_state()),
        "python rng": hash(random.getstate()),
        "numpy rng": repr(numpy.random.get_state()) if numpy else None,
        "hooks": [(n, list(getattr(module_globals, n) or ())) for n in _GLOBAL_HOOKS],
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()),
        "modes": torch.overrides._get_current_function_mode_stack().__len__(),
        "cudnn": torch.backends.cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "gc": gc.isenabled(),
        "recursion": sys.getrecursionlimit(),
        "warnings": len(warnings.filters),
        "excepthook": sys.excepthook,
        "call": nn.Module.__call__,
    }


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Where two portraits differ."""
    places = [k for k in {**before, **after} if before.get(k) != after.get(k)]
    return [k for k in places if not any(k != p and k.startswith(p + ".") for p in places)]


def values(result: Any) -> list[Any]:
    """What a forward returned, as values that compare: shapes, dtypes, checksums."""
    found: list[Any] = []
    for place, value in portrait(read(result)).items():
        kind, *rest = value if isinstance(value, tuple) else (value,)
        if isinstance(kind, type) and issubclass(kind, Tensor):
            (shape, dtype, *_), checksum = rest[1], rest[2] if len(rest) > 2 else None
            found.append((place, shape, dtype, checksum))
        elif kind in _SIMPLE:
            found.append((place, rest[0]))
    return sorted(found, key=repr)


def read(result: Any) -> Any:
    """The result; of a generator all it yields, which is when its body runs."""
    return list(result) if isinstance(result, types.GeneratorType) else result
