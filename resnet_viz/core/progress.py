"""How long work says where it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What long work calls; the command line shows it, the library stays silent."""

    def start(self, label: str, total: int | None = None) -> None:
        """A step called ``label`` begins; ``total`` is its number of parts, if known."""

    def advance(self, parts: int = 1) -> None:
        """That many more parts of the running step are done."""

    def finish(self) -> None:
        """The running step is done."""


class Silent:
    """A ``Progress`` that says nothing."""

    def start(self, label: str, total: int | None = None) -> None:
        """Says nothing."""

    def advance(self, parts: int = 1) -> None:
        """Says nothing."""

    def finish(self) -> None:
        """Says nothing."""


SILENT: Progress = Silent()
