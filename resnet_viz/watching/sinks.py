"""Where watched steps go: the protocol of a sink, and who answers to which name.

A new sink is a class with ``write`` and ``close``; an entry in ``SINKS`` gives it a name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from resnet_viz.core.errors import UserError
from resnet_viz.core.history import History, Step


class Sink(Protocol):
    """Takes watched steps as they come.

    Only one process writes: in a distributed training that of rank 0.
    """

    def write(self, step: Step) -> None:
        """Takes one step, for good: a run may be killed right after.

        Raises:
            OSError: If it cannot be written; watching goes on without this sink.
        """

    def close(self, history: History) -> None:
        """Ends the run.

        Args:
            history: Everything but the steps: settings, overhead, and whether watching
                ended in order.
        """


SinkGiven: TypeAlias = Any
"""A path or name of ``SINKS``, a ``Sink``, a ``SummaryWriter``, a callable, or several."""

SINKS: dict[str, str] = {
    "": "files:Folder",
    ".csv": "files:Csv",
    ".jsonl": "files:JsonLines",
    "tensorboard:": "boards:open_board",
}
"""Suffix or prefix of a text, and who opens it: ``(place, history, resume) -> Sink``."""

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*$")


def open_sinks(given: SinkGiven, history: History, *, resume: bool) -> list[Sink]:
    """The sinks that were asked for, ready to be written to.

    Args:
        given: None, one or several.
        history: The run that begins, without steps.
        resume: Whether a run that a sink already holds goes on.

    Raises:
        UserError: If a sink is unknown, cannot be written, or holds another run.
    """
    several = given if isinstance(given, list | tuple) else () if given is None else (given,)
    if not _writes_here():
        return []
    opened: list[Sink] = []
    try:
        for one in several:
            opened.append(_opened(one, history, resume))  # noqa: PERF401
    except BaseException:
        # Nothing has begun: the next try must not find a run.
        for sink in opened:
            discard = getattr(sink, "discard", None)
            if discard is None:
                sink.close(history)
            else:
                discard()
        raise
    return opened


class Calls:
    """Hands each step to a function."""

    def __init__(self, function: Callable[[Step], object]) -> None:
        self._function = function

    def write(self, step: Step) -> None:
        """Calls it."""
        self._function(step)

    def __str__(self) -> str:
        return getattr(self._function, "__name__", type(self._function).__name__)

    def close(self, history: History) -> None:
        """Nothing is left to do."""


def _opened(given: Any, history: History, resume: bool) -> Sink:
    if isinstance(given, str | os.PathLike) and os.fspath(given):
        key, place = _key_of(os.fspath(given))
        module, _, name = SINKS[key].partition(":")
        opener = getattr(import_module(f"resnet_viz.watching.{module}"), name)
        return opener(place, history, resume)  # type: ignore[no-any-return]
    if hasattr(given, "add_scalar"):
        from resnet_viz.watching.boards import Board

        return Board(given)
    if hasattr(given, "write") and hasattr(given, "close"):
        return given  # type: ignore[no-any-return]
    if callable(given):
        return Calls(given)
    raise UserError(
        f"sink={given!r} is no place for steps: give a folder, a .csv or .jsonl file, "
        "'tensorboard:FOLDER', a SummaryWriter, or a function that takes a Step"
    )


def _key_of(text: str) -> tuple[str, str]:
    for key in SINKS:
        if key.endswith(":") and text.startswith(key):
            return key, text.removeprefix(key)
    suffix = _SUFFIX.search(text)
    if suffix is None or Path(text).is_dir():
        return "", text
    if suffix.group() in SINKS:
        return suffix.group(), text
    raise UserError(
        f"sink {text!r}: no sink writes {suffix.group()} files; give .csv, .jsonl, "
        "'tensorboard:FOLDER', or a folder (with a / at its end if it has a dot in its name)"
    )


def _writes_here() -> bool:
    """Whether this process is the only one, or that of rank 0."""
    from torch import distributed

    return (
        not distributed.is_available()
        or not distributed.is_initialized()
        or distributed.get_rank() == 0
    )
