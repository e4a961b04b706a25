"""``Batch``: what goes into one forward, and how to speak of it.

Its tensors are opaque here: ``core`` knows no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from resnet_viz.core.pictures import Picture

BATCH_SIZE = 8
"""Samples of gradient flow where nobody says how many."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Inputs of one forward; equal only to itself, as tensors have no one truth.

    Attributes:
        args: Positional arguments.
        kwargs: Keyword arguments.
        words: What they are, for the report.
        targets: Labels that belong to them, or ``None``.
        pictures: The inputs as pictures, where they are.
        was_given: Whether the user chose them (decides the exit code).
        fill: Makes the same batch with values, where its tensors hold none yet.
    """

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    words: str = "the inputs given"
    targets: Any = None
    pictures: tuple[Picture, ...] = ()
    was_given: bool = True
    fill: Callable[[], Batch] | None = None

    def filled(self) -> Batch:
        """This batch with values."""
        return self if self.fill is None else self.fill()
