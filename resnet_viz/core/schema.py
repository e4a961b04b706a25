"""Versioned JSON of every core value: ``from_json(to_json(v)) == v``.

The border is written once, from the dataclasses' own annotations: a field's
type says how to read it back. Unions of dataclasses carry a ``"type"`` key;
bytes travel as base64; NaN and infinities as ``{"float": "nan"}``, because
JSON has no word for them.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Callable
from typing import Any

from resnet_viz.core import (
    attribution,
    chain,
    checkpoint,
    comparison,
    depth_views,
    finding,
    forward_facts,
    gradient_flow,
    graph,
    history,
    op_times,
    paths,
    pictures,
    proof,
    propagation,
    relevance,
    report,
    skip_shares,
    structure,
    trust,
)
from resnet_viz.core.errors import UserError, one_line
from resnet_viz.core.experiments import common, degradation, depth, identity, lesions

SCHEMA = "resnet-viz"
VERSION = 1

_MODULES = (
    *(graph, structure, finding, proof, report, checkpoint),
    *(pictures, attribution, trust, relevance, depth_views),
    *(gradient_flow, chain, skip_shares, forward_facts, paths, propagation, op_times),
    *(history, comparison),
    *(common, lesions, degradation, identity, depth),
)
_TYPES: dict[str, type] = {
    name: obj
    for module in _MODULES
    for name, obj in vars(module).items()
    if isinstance(obj, type)
    and dataclasses.is_dataclass(obj)
    and obj.__module__ == module.__name__
    and not name.startswith("_")
}


def to_json(value: object, *, indent: int | None = None) -> str:
    """Any core dataclass as JSON text with its schema, version and type.

    Raises:
        TypeError: For any other value.
    """
    if type(value).__name__ not in _TYPES:
        raise TypeError(f"to_json takes a value of resnet_viz.core, not a {type(value).__name__}")
    document = {"schema": SCHEMA, "version": VERSION, "value": _encode(value, tagged=True)}
    text = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)
    # A file name that is no UTF-8 holds lone surrogates; only escaped can they be written.
    return text.encode("utf-8", "backslashreplace").decode()


def from_json(text: str) -> Any:
    """The value that ``to_json`` wrote, older versions included.

    Raises:
        UserError: If the text is not JSON of this schema, or of a newer version.
    """
    try:
        document = json.loads(text)
        schema, version = document["schema"], int(document["version"])
    except (ValueError, KeyError, TypeError) as error:
        lack = f"it has no key {error}" if isinstance(error, KeyError) else error
        raise UserError(f"not a {SCHEMA} JSON document: {lack}") from error
    if schema != SCHEMA or version > VERSION:
        raise UserError(
            f"schema {schema} version {version} was given; this release reads "
            f"{SCHEMA} up to version {VERSION}: install a newer resnet-viz"
        )
    try:
        value = migrate(document)["value"]
        return _decoder(_TYPES[value["type"]])(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"not a {SCHEMA} JSON document: {one_line(error)}") from error


def migrate(document: dict[str, Any]) -> dict[str, Any]:
    """The document as the present version writes it."""
    for version in range(int(document["version"]), VERSION):
        document = _MIGRATIONS[version](document)
    return document


def _encode(value: object, *, tagged: bool = False) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, tuple):
        return [_encode(item, tagged=True) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            f.name: _encode(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if travels(f) and getattr(value, f.name) != f.default
        }
        return {"type": type(value).__name__, **fields} if tagged else fields
    raise TypeError(f"{type(value).__name__} has no place in a core value")


_Decoder = Callable[[Any], Any]


def travels(field: dataclasses.Field[Any]) -> bool:
    """Whether a field goes into a document: what is derived, or bulky, does not."""
    return field.init and bool(field.metadata.get("travels", True))


def value_types() -> dict[str, type]:
    """Every core dataclass that has a place in a document, by its name."""
    return dict(_TYPES)


@functools.cache
def field_types(cls: type) -> dict[str, Any]:
    """The type of each field of a core dataclass, with all names resolved."""
    known = {name: value for module in _MODULES for name, value in vars(module).items()}
    return typing.get_type_hints(cls, known)


def part_to_text(value: object) -> str:
    """One field's value as compact JSON text, for formats that know nothing but text."""
    return json.dumps(_encode(value), separators=(",", ":"), allow_nan=False)


def part_from_text(text: str, owner: type, field: str) -> Any:
    """The value of a field that ``part_to_text`` wrote.

    Raises:
        ValueError: If the text is no such value; so do ``KeyError``, ``TypeError`` and
            ``AttributeError``.
    """
    return _fields(owner)[field](json.loads(text))


@functools.cache
def _fields(cls: type) -> dict[str, _Decoder]:
    hints = field_types(cls)
    return {f.name: _decoder(hints[f.name]) for f in dataclasses.fields(cls) if travels(f)}


def _dataclass_decoder(cls: type) -> _Decoder:
    def decode(raw: dict[str, Any]) -> Any:
        fields = _fields(cls)
        return cls(**{k: fields[k](v) for k, v in raw.items() if k in fields})

    return decode


def _decode_any(raw: Any) -> Any:
    """Values whose type is told by the value itself: JSON-able trees and unions."""
    if isinstance(raw, list):
        return tuple(_decode_any(item) for item in raw)
    if isinstance(raw, dict):
        if "float" in raw:
            return float(raw["float"])
        if "base64" in raw:
            return base64.b64decode(raw["base64"])
        return _dataclass_decoder(_TYPES[raw["type"]])(raw)
    return raw


def _decode_float(raw: Any) -> float:
    return float(raw["float"]) if isinstance(raw, dict) else float(raw)


@functools.cache
def _decoder(hint: Any) -> _Decoder:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _dataclass_decoder(hint)
    if hint is float:
        return _decode_float
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        item = _decoder(args[0])
        return lambda raw: tuple(item(x) for x in raw)
    if origin in (typing.Union, types.UnionType):
        solid = [a for a in args if a is not type(None)]
        if len(solid) == 1:
            inner = _decoder(solid[0])
            return lambda raw: None if raw is None else inner(raw)
    return _decode_any


_MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
# History. A field that is added with a default changes no version: old documents read
# as if it had that default, old releases pass over it. A field that is renamed, removed,
# or means something else makes a new version and a migration from the one before.
# 1: first version (issue A). Added since (issue B): ModelGraph.failure, Report.proof,
#    Structure.repeats; buffers, bytes, kinds, memory and peaks in Cost and Costs;
#    Checkpoint. `python -m resnet_viz.core.schema_file` writes schema-v1.json again.
