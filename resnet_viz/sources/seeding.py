"""A seed for one stretch of code that leaves every global generator as it was."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds Python's, NumPy's and torch's generators, and restores them at the end.

    NumPy's only where it is already imported, an accelerator's only where it is already
    running: a seed must not start either.
    """
    numpy_random = sys.modules.get("numpy.random")
    python_state = random.getstate()
    numpy_state = numpy_random.get_state() if numpy_random else None
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = range(torch.cuda.device_count()) if started else ()
    try:
        with torch.random.fork_rng(devices=cuda):
            random.seed(seed)
            if numpy_random:
                numpy_random.seed(seed % 2**32)
            # Not torch.manual_seed: it would also seed accelerators that are not forked.
            torch.default_generator.manual_seed(seed)
            if cuda:
                torch.cuda.manual_seed_all(seed)
            yield
    finally:
        random.setstate(python_state)
        if numpy_random:
            numpy_random.set_state(numpy_state)
