"""Config files: a net of the family in TOML or JSON, one flat table.

Either ``variant = "resnet50"`` and the options to set otherwise, or ``family = "resnet"``
and every option that is not its default. ``resnet-viz models NAME --toml`` prints one to
begin with.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from resnet_viz.core.errors import UserError, listed, one_line
from resnet_viz.sources.family.closed_forms import closed_form
from resnet_viz.sources.family.net_config import NetConfig, toml_value
from resnet_viz.sources.variants import SOURCES, configure

SUFFIXES = (".toml", ".json")


def read_config(path: Path, changes: Mapping[str, Any]) -> tuple[NetConfig, str]:
    """The config in a file with ``changes`` made, and the variant it began from, if any.

    Raises:
        UserError: In one line that names the file, for one that cannot be read, an
            unknown key (with near misses) or a value that is not allowed.
    """
    try:
        table = _table(path)
        config, variant = _config(table)
        return config.changed(**changes), variant
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def starting_point(name: str) -> str:
    """A variant as a config file in TOML, with the options it leaves alone as comments.

    Raises:
        UserError: For an unknown name, with near misses.
    """
    config = configure(name)
    params, macs = closed_form(config)
    given = config.to_dict()
    others = [
        f"# {field.name} = {toml_value(field.default)}\n"
        if field.default is not None
        else f"# {field.name} is not set\n"
        for field in fields(config)
        if field.name not in given
    ]
    return (
        f"# {name}, {SOURCES[name]}: {params:,} params, {macs:,} MACs\n"
        f"{config.to_toml()}\n# What it leaves at the default:\n{''.join(others)}"
    )


def _config(table: Mapping[str, Any]) -> tuple[NetConfig, str]:
    if "variant" in table:
        name, family = table["variant"], table.get("family")
        if not isinstance(name, str):
            raise UserError(f"variant={name!r} is no name; resnet-viz models lists them")
        options = {key: value for key, value in table.items() if key not in ("variant", "family")}
        config = configure(name)
        if family not in (None, config.family):
            raise UserError(f"variant={name!r} is of family {config.family!r}, not {family!r}")
        return config.changed(**options), name
    if "family" in table:
        return NetConfig.from_dict(table), ""
    if "model_type" in table or "architectures" in table:
        raise UserError("this is a config of transformers: put hf: before the path")
    raise UserError(
        f"it says neither variant (resnet-viz models lists them) nor family; its keys are: "
        f"{listed(table) or 'none'}"
    )


def _table(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows editors begin with a mark
    except FileNotFoundError:
        raise UserError("the file does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"it cannot be read: {one_line(error, 120)}") from error
    kind = path.suffix.removeprefix(".").upper()
    try:
        table: Any = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"it is no {kind}: {one_line(error, 120)}") from error
    if not isinstance(table, Mapping):
        raise UserError(f"it holds a {type(table).__name__}, not a table of options")
    return table
