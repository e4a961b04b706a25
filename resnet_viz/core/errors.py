"""The errors a person can cause: one line each, with the exit code they end in.

Exit codes (DESIGN.md section 6): 0 fine, 1 findings, 2 a user's mistake,
3 the model raised on inputs the tool chose, 70 a bug of ours, 130 Ctrl-C.
Anything that is not a ``ResnetVizError`` is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from resnet_viz.core.message import Message, join, say

if TYPE_CHECKING:
    from resnet_viz.core.graph import ModelGraph, OpId
    from resnet_viz.core.report import Report

EXIT_FINDINGS = 1
EXIT_USER = 2
EXIT_MODEL = 3
EXIT_BUG = 70
EXIT_INTERRUPTED = 130


class ResnetVizError(Exception):
    """Base of all errors that end in one line instead of a traceback.

    Attributes:
        exit_code: What the command line ends with.
        report: What is known nevertheless, where the user's model raised in a study.
    """

    exit_code: int = EXIT_USER
    report: Report | None = None


class UserError(ResnetVizError):
    """A mistake in what was asked: says what was given, what is allowed, what next."""


class NotApplicableError(UserError):
    """A measurement that this model or input does not allow; a report goes on without it."""


class UnprovableError(NotApplicableError):
    """A forward that no replay can follow: its graph may be right, and nobody can show it."""


class InputError(UserError):
    """The user's model raised on an input that the user gave."""


class ModelError(ResnetVizError):
    """The user's model raised on inputs that this tool chose."""

    exit_code = EXIT_MODEL


class UnfaithfulError(ResnetVizError):
    """A graph is not what its model does: says at which op, and what differs."""

    exit_code = EXIT_MODEL


class TraceError(ResnetVizError):
    """``forward`` raised while it was being traced.

    Attributes:
        graph: What ran until then; its ``failure`` says what happened and what to try.
        op: The op that raised, where the exception came out of an op.
        module: Path of the module whose ``forward`` was running.
        exit_code: 2 where the user gave the input, 3 where the tool chose it.
    """

    def __init__(
        self,
        message: str,
        *,
        graph: ModelGraph | None = None,
        op: OpId | None = None,
        module: str = "",
        input_was_given: bool = True,
    ) -> None:
        super().__init__(message)
        self.graph = graph
        self.op = op
        self.module = module
        self.exit_code = EXIT_USER if input_was_given else EXIT_MODEL


def one_line(error: BaseException, limit: int = 300) -> str:
    """The exception as one line: its type and the first ``limit`` characters of its message."""
    name = spelled(type(error).__name__)
    try:
        message = str(error)
    except Exception as unreadable:  # a ``__str__`` of the user's own
        message = f"its message cannot be read ({type(unreadable).__name__})"
    # Cut before it is worked on: a message may print a whole tensor.
    text = spelled(message[: 8 * limit])
    cut = len(text) > limit or len(message) > 8 * limit
    return f"{name}: {text[:limit]}{'…' if cut else ''}" if text else name


def spelled(text: str) -> str:
    r"""The text in one line; characters that a terminal would obey are spelled out (``\x1b``)."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))


def listed(names: Iterable[object], limit: int = 8) -> Message:
    """At most ``limit`` names, comma-separated, and how many more there are."""
    items = [name if isinstance(name, str) else str(name) for name in names]
    first = join(", ", items[:limit])
    left = len(items) - limit
    return say("{names} and {n} more", names=first, n=left) if left > 0 else first
