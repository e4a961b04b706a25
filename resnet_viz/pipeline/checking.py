"""Arguments of the wrong kind, refused by name."""

from __future__ import annotations


def expect(value: object, kind: type | tuple[type, ...], wanted: str) -> None:
    """Raises ``TypeError``, saying what was wanted, unless ``value`` is of this kind."""
    if not isinstance(value, kind):
        raise TypeError(f"{wanted}, not {type(value).__name__}")
