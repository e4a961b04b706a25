"""Python's garbage collector, asked to wait where a large structure is being built."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """No collection of cycles until the end of the block; as it was afterwards.

    While a structure grows, the collector walks over all of it again each time it has grown by
    a part, and finds nothing: for a drawing of 50,000 ops that is half of the time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
