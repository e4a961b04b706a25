"""How much Python runs, counted in lines: the same on every machine, however busy.

A loop in C (a sort, a set's union) counts as one line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class TooMuchWorkError(Exception):
    """More lines ran than were allowed."""


@contextmanager
def at_most(limit: int) -> Iterator[Callable[[], int]]:
    """Within it no more than ``limit`` lines run; yields how many ran so far.

    Raises:
        TooMuchWorkError: At the line after the last that is allowed, not after minutes.
    """
    ran = 0

    def trace(_frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal ran
        ran += event == "line"
        if ran > limit:
            raise TooMuchWorkError(f"more than {limit:,} lines ran")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lambda: ran
    finally:
        sys.settrace(before)


def lines_of(call: Callable[[], object], limit: int = 100_000_000) -> int:
    """How many lines a call runs."""
    with at_most(limit) as ran:
        call()
    return ran()
