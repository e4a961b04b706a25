"""What a file of weights holds, read without making its values.

Of safetensors only the header is read, of torch files only the pickle (by the reader
that makes no objects but tensors), of ``.pt2`` files only the JSON.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_viz.core.checkpoint import Checkpoint, StoredTensor
from resnet_viz.core.errors import UserError, listed, one_line
from resnet_viz.core.graph import TensorSpec
from resnet_viz.core.units import DTYPE_BYTES, count
from resnet_viz.sources.programs import archive_kind, stored_tensors
from resnet_viz.sources.recognition import recognised
from resnet_viz.sources.weights import innermost, load_torch

_LONGEST_HEADER = 100_000_000
"""Bytes; the format's own limit."""

_DEEPEST = 8
_INSTEAD = (
    "save its state_dict() with safetensors.torch.save_file where you trust it, and give that"
)
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "C64": "complex64",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "BOOL": "bool",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip


def inspect_file(path: Path) -> Checkpoint:
    """The tensors of a file, by name, shape and dtype, and how to see more.

    Args:
        path: A safetensors file or its ``.index.json``, a torch file, or a ``.pt2`` file.

    Raises:
        UserError: If it does not exist, is broken, or holds no tensors.
    """
    path = path.expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {what}: give a .safetensors, .pt, .pth or .pt2 file")
    under: tuple[str, ...] = ()
    others: list[str] = []
    if path.suffix == ".safetensors":
        kind, tensors = "safetensors", _in_order(_safetensors(path, others))
    elif path.name.endswith(".index.json"):
        kind, tensors = "safetensors", _in_order(_shards(path, others))
    elif (archive := archive_kind(path)) == "program":
        kind, tensors = "torch.export", [_stored(*entry) for entry in stored_tensors(path)]
    elif archive == "script":
        raise UserError(
            f"{path} is a TorchScript archive, whose code would have to run: where you trust it, "
            "save torch.jit.load(…).state_dict() and give that"
        )
    else:
        kind = "torch"
        content = load_torch(path, device="meta", instead=_INSTEAD)
        if isinstance(content, Mapping):
            _, under = innermost(content)
            for key in under:
                others += [_other(name, v) for name, v in content.items() if name != key]
                content = content[key]
        tensors = list(_torch_tensors(content, others))
    if not tensors:
        entries = f"; its entries are: {listed(others, 4)}" if others else ""
        raise UserError(f"{path} holds no tensors{entries}"[:500])
    return Checkpoint(
        file=str(path),
        format=kind,
        tensors=tuple(tensors),
        found_under=under,
        others=tuple(others[:20]),
        advice=_advice(path, kind, tensors),
    )


def _stored(name: str, shape: tuple[int, ...], dtype: str) -> StoredTensor:
    spec = TensorSpec(shape=shape, dtype=dtype)
    return StoredTensor(name=name, spec=spec, nbytes=spec.numel * _itemsize(dtype))


def _itemsize(dtype: str) -> int:
    found = getattr(torch, dtype, None)
    return found.itemsize if isinstance(found, torch.dtype) else DTYPE_BYTES.get(dtype, 1)


def _in_order(tensors: Iterator[StoredTensor]) -> list[StoredTensor]:
    """Sorted as people count: ``layer.2`` before ``layer.10``; the file sorts by bytes."""

    def key(tensor: StoredTensor) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", tensor.name[:2000])
        return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]

    return sorted(tensors, key=key)


# -- safetensors -------------------------------------------------------------------


def _safetensors(path: Path, others: list[str]) -> Iterator[StoredTensor]:
    header, room = _header(path)
    for name, entry in header.items():
        if name == "__metadata__":
            others += [_other(k, v) for k, v in entry.items()] if isinstance(entry, dict) else []
            continue
        shape, span = entry.get("shape"), entry.get("data_offsets")
        if not _are_sizes(shape) or not _are_sizes(span) or len(span) != 2 or span[1] > room:
            raise UserError(f"{path} is no safetensors file: the entry {name[:80]!r} is broken")
        code = str(entry.get("dtype"))
        spec = TensorSpec(shape=tuple(shape), dtype=_DTYPES.get(code, code.lower()))
        nbytes = span[1] - span[0]
        if code in _DTYPES and nbytes != math.prod(shape) * _itemsize(spec.dtype):
            raise UserError(f"{path} is no safetensors file: {name[:80]!r} has another size")
        yield StoredTensor(name=name, spec=spec, nbytes=nbytes)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header, and how many bytes of values come after it."""
    with path.open("rb") as file:
        size = path.stat().st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST_HEADER):
            raise UserError(f"{path} is no safetensors file: its header does not fit into it")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path} is no safetensors file: {one_line(error, 80)} in its header"
            ) from error
    if not isinstance(header, dict) or not all(isinstance(v, dict) for v in header.values()):
        raise UserError(f"{path} is no safetensors file: its header names no tensors")
    return header, size - 8 - length


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _shards(path: Path, others: list[str]) -> Iterator[StoredTensor]:
    """The tensors of all files that an index names; those lie beside it."""
    try:
        names = sorted({str(v) for v in json.loads(path.read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no index of safetensors files") from error
    for name in names:
        shard = path.parent / name
        if Path(name).name != name or not shard.is_file():
            raise UserError(f"{path} names {name[:80]!r}, which is no file beside it")
        yield from _safetensors(shard, others)


# -- torch files -------------------------------------------------------------------


def _torch_tensors(content: Any, others: list[str]) -> Iterator[StoredTensor]:
    seen: dict[Any, str] = {}
    for name, tensor in _walk(content, "", others, 0):
        spec = TensorSpec(shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))
        memory: Any = id(tensor)
        nbytes = tensor.numel() * tensor.element_size()
        if tensor.layout is torch.strided and not tensor.is_quantized:
            place = tensor.untyped_storage()._cdata
            memory = (place, tensor.storage_offset(), tensor.shape, tensor.stride())
        first = seen.setdefault(memory, name)
        tied = first if first != name and tensor.numel() else ""
        yield StoredTensor(name=name, spec=spec, nbytes=nbytes, tied_to=tied)


def _walk(value: Any, name: str, others: list[str], depth: int) -> Iterator[tuple[str, Tensor]]:
    """Tensors in nested containers, their keys joined by dots."""
    items: Iterator[tuple[Any, Any]] | None = None
    if isinstance(value, Tensor):
        yield name or "tensor", value
    elif isinstance(value, Mapping) and depth < _DEEPEST:
        items = iter(value.items())
    elif isinstance(value, list | tuple) and depth < _DEEPEST and _holds_tensors(value):
        items = iter(enumerate(value))
    else:
        others.append(_other(name, value))
    for key, item in items or ():
        yield from _walk(item, f"{name}.{key}" if name else str(key), others, depth + 1)


def _holds_tensors(value: Any) -> bool:
    return any(isinstance(item, Tensor | Mapping) for item in value)


def _other(key: Any, value: Any) -> str:
    name = str(key)[:60]
    if isinstance(value, Mapping):
        return f"{name} ({count(len(value), 'entry', 'entries')})"
    if isinstance(value, list | tuple | set):
        return f"{name} ({count(len(value), 'item')})"
    text = repr(value) if isinstance(value, bool | int | float | str) else type(value).__name__
    return f"{name} = {text[:60]}{'…' if len(text) > 60 else ''}"


# -- what next ---------------------------------------------------------------------


def _advice(path: Path, kind: str, tensors: list[StoredTensor]) -> tuple[str, str]:
    file = shlex.quote(str(path))
    if kind == "torch.export":
        return "it is a program with edges", f"resnet-viz diagram {file}"
    words = "a checkpoint has no edges: what is computed with these tensors is in the code"
    weights = f" --weights {file}" if not path.name.endswith(".index.json") else ""
    if (path.parent / "config.json").is_file():
        return words, f"resnet-viz diagram {shlex.quote(f'hf:{path.parent}')}{weights}"
    known = recognised({t.name: t.spec.shape for t in tensors})
    if known:
        return f"{words}; it fits {known}", f"resnet-viz diagram {known}{weights}"
    return words, f"resnet-viz diagram path/to/model.py:Name{weights}"
