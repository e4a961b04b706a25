"""``Score``: one number per sample, made from the explained output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Table = Callable[[Tensor], Tensor]
"""From an output ``(k · S, …)`` to numbers ``(k · S, C)``, of which a score is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A number per sample.

    Attributes:
        words: What it is, per sample (``class 281 (tabby)``).
        columns: Column of the table per sample, ``(S,)``.
        table: Makes the table.
        classes: Whether the columns of the table are scores of classes against each other,
            so that their softmax says how likely each is.
    """

    words: tuple[str, ...]
    columns: Tensor
    table: Table
    classes: bool = False

    def __call__(self, output: Tensor) -> Tensor:
        """Scores ``(k · S,)`` of an output whose samples ``(S, …)`` come k times in turn."""
        return self._picked(self.table(output))

    def probabilities(self, output: Tensor) -> Tensor | None:
        """The softmax of the score against the other classes, ``(k · S,)`` in float64.

        What is nowhere negative and sums to 1 is taken for probabilities as it is; ``None``
        where the score is none of at least two classes.
        """
        if not self.classes:
            return None
        table = self.table(output.detach()).to("cpu", torch.float64)
        if table.shape[1] < 2:
            return None
        sums = table.sum(1)
        if float(table.min()) < 0 or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
            table = table.softmax(1)
        return self._picked(table)

    def _picked(self, table: Tensor) -> Tensor:
        columns = self.columns.to(table.device).repeat(len(table) // len(self.columns))
        return table.gather(1, columns[:, None]).squeeze(1)


def means(output: Tensor) -> Tensor:
    """A number per class: classes are the last axis of sequences, else the one after samples."""
    if output.ndim == 1:
        return output[:, None]
    if output.ndim == 2:
        return output
    if output.ndim == 3:
        return output.mean(1)
    return output.flatten(2).mean(2)


def totals(output: Tensor) -> Tensor:
    """The sum of all outputs, ``(S, 1)``."""
    return output.flatten(1).sum(1, keepdim=True) if output.ndim > 1 else output[:, None]


def averages(output: Tensor) -> Tensor:
    """The mean of all outputs, ``(S, 1)``."""
    return output.flatten(1).mean(1, keepdim=True) if output.ndim > 1 else output[:, None]


def at_position(position: int) -> Table:
    """Scores at one position of token logits ``(S, T, V)``."""

    def table(output: Tensor) -> Tensor:
        return output[:, position]

    return table


def within(mask: Tensor) -> Table:
    """Mean scores of maps ``(S, C, H, W)`` over the places of a mask ``(S, H, W)``."""

    def table(output: Tensor) -> Tensor:
        inside = mask.to(output.device, output.dtype).repeat(len(output) // len(mask), 1, 1)
        return (output * inside[:, None]).sum((2, 3)) / inside.sum((1, 2))[:, None]

    return table
