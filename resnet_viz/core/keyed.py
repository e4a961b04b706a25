"""Two sets of values put together by a key, as merging needs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")


def united(
    a: Iterable[T], b: Iterable[T], key: Callable[[T], Hashable], merge: Callable[[T, T], T]
) -> tuple[T, ...]:
    """All of ``a``, then what only ``b`` has; of what both have, the two merged."""
    found = {key(item): item for item in a}
    for item in b:
        name = key(item)
        found[name] = merge(found[name], item) if name in found else item
    return tuple(found.values())
