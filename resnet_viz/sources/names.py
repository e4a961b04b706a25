"""Near misses: what a person probably meant by a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_misses(name: str, known: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """The known names that look most like ``name``, best first; often none."""
    names = {known_name.lower(): known_name for known_name in known}
    found = difflib.get_close_matches(name.lower(), names, n=limit, cutoff=0.6)
    return tuple(names[match] for match in found)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``" (did you mean resnet50 or resnet56?)"``, or nothing where nothing is near."""
    *others, last = near_misses(name, known) or ("",)
    names = f"{', '.join(others)} or {last}" if others else last
    return f" (did you mean {names}?)" if names else ""
