"""Generators among arguments: each mode of a trace has to find them fresh."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Items(tuple[Any, ...]):
    """What an iterator gave, to be iterated over again in every mode."""

    __slots__ = ()


def kept_items(arguments: Any) -> Any:
    """Arguments (a tuple or dict) with each iterator among them replaced by its ``Items``."""
    if isinstance(arguments, dict):
        return {key: _kept(value) for key, value in arguments.items()}
    return tuple(_kept(value) for value in arguments)


def _kept(value: Any) -> Any:
    return Items(value) if isinstance(value, Iterator) else value


def iterated(arguments: Any) -> Any:
    """Arguments with a new iterator for each ``Items`` among them."""
    if isinstance(arguments, dict):
        return {key: _fresh(value) for key, value in arguments.items()}
    return tuple(_fresh(value) for value in arguments)


def _fresh(value: Any) -> Any:
    return iter(value) if isinstance(value, Items) else value
