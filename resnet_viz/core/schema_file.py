"""The JSON Schema of ``to_json``, written from the annotations that ``from_json`` reads.

``schema-v1.json`` beside this file is its text, so that programs in other languages
find it without Python. After a change of a core value write it again:
``python -m resnet_viz.core.schema_file``; a test fails where it is stale.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

from resnet_viz.core import schema

PATH = Path(__file__).with_name(f"schema-v{schema.VERSION}.json")

_PLAIN: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    str: {"type": "string"},
    float: {"$ref": "#/$defs/float"},
    bytes: {"$ref": "#/$defs/bytes"},
    type(None): {"type": "null"},
}
_SHARED: dict[str, dict[str, Any]] = {
    "float": {
        "description": "A number; NaN and infinities, which JSON has no word for, as an object.",
        "anyOf": [
            {"type": "number"},
            {
                "type": "object",
                "properties": {"float": {"enum": ["nan", "inf", "-inf"]}},
                "required": ["float"],
            },
        ],
    },
    "bytes": {
        "description": "Bytes as base64.",
        "type": "object",
        "properties": {"base64": {"type": "string", "contentEncoding": "base64"}},
        "required": ["base64"],
    },
    "Arg": {
        "description": "An argument of a call: a plain value, a tensor, or a list of arguments.",
        "anyOf": [
            {"type": ["null", "boolean", "string"]},
            {"$ref": "#/$defs/float"},
            {"allOf": [{"$ref": "#/$defs/Ref"}, {"required": ["type"]}]},
            {"type": "array", "items": {"$ref": "#/$defs/Arg"}},
        ],
    },
}
_ENTRY = re.compile(r"^(\w+): (.*)$")


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of every document that ``to_json`` writes.

    A field that has its default may be left out. Fields that are not in here are
    allowed: a later release may add some, and ``from_json`` passes over them.
    """
    types_by_name = dict(sorted(schema.value_types().items()))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": schema.SCHEMA,
        "description": f"Values of {schema.SCHEMA}, version {schema.VERSION}.",
        "type": "object",
        "properties": {
            "schema": {"const": schema.SCHEMA},
            "version": {"const": schema.VERSION},
            "value": _one_of(list(types_by_name)),
        },
        "required": ["schema", "version", "value"],
        "$defs": _SHARED | {name: _definition(cls) for name, cls in types_by_name.items()},
    }


def schema_text() -> str:
    """The text of the shipped file."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def _definition(cls: type) -> dict[str, Any]:
    summary, described = _documented(cls)
    properties: dict[str, Any] = {"type": {"const": cls.__name__}}
    required = []
    hints = schema.field_types(cls)
    for field in dataclasses.fields(cls):
        if not schema.travels(field):
            continue
        words = {"description": described[field.name]} if field.name in described else {}
        properties[field.name] = _of(hints[field.name]) | words
        absent = field.default is field.default_factory is dataclasses.MISSING
        if absent:
            required.append(field.name)
        elif field.default is not dataclasses.MISSING and _is_plain(field.default):
            properties[field.name]["default"] = field.default
    return {
        "description": summary,
        "type": "object",
        "properties": properties,
        "required": required,
    }


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _of(hint: Any) -> dict[str, Any]:
    if isinstance(hint, typing.NewType):
        return _of(hint.__supertype__)
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return {"$ref": f"#/$defs/{hint.__name__}"}
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin is tuple and inner[-1] is Ellipsis:
        return {"type": "array", "items": _of(inner[0])}
    if origin is tuple:
        return {
            "type": "array",
            "prefixItems": [_of(part) for part in inner],
            "minItems": len(inner),
            "maxItems": len(inner),
        }
    if origin in (typing.Union, types.UnionType):
        return _union(inner)
    raise TypeError(f"{hint} has no JSON Schema")


def _union(parts: tuple[Any, ...]) -> dict[str, Any]:
    if any(typing.get_origin(part) is tuple for part in parts):
        return {"$ref": "#/$defs/Arg"}
    values = [
        part.__name__ for part in parts if isinstance(part, type) and dataclasses.is_dataclass(part)
    ]
    if len(values) > 1:
        return _one_of(values)
    return {"anyOf": [_of(part) for part in parts]}


def _one_of(names: list[str]) -> dict[str, Any]:
    # Told apart by their "type", so that a validator names what is wrong with the right one.
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": names}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": name}}},
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for name in names
        ],
    }


def _documented(cls: type) -> tuple[str, dict[str, str]]:
    """A class's summary and its ``Attributes``, from its Google docstring."""
    text = inspect.getdoc(cls) or ""
    summary = " ".join(text.partition("\n\n")[0].split())
    described: dict[str, str] = {}
    name = ""
    lines = text.partition("Attributes:\n")[2].partition("\nRaises:")[0].splitlines()
    for line in lines:
        entry = _ENTRY.match(line[4:]) if line.startswith("    ") else None
        if entry:
            name, described[entry[1]] = entry[1], entry[2]
        elif name and line.strip():
            described[name] += " " + line.strip()
    return summary, described


if __name__ == "__main__":
    PATH.write_text(schema_text(), encoding="utf-8")
