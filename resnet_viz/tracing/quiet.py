"""What a run keeps still for a while: the garbage collector, and torch's own loggers."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Pauses the garbage collector: a trace only builds what it keeps.

    A full collection in a process that has imported torch costs more than
    tracing a ResNet-152 does.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def no_log(*names: str) -> Iterator[None]:
    """Keeps torch from logging the traceback of what we tell in one line.

    Args:
        names: Of the loggers.
    """
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was
