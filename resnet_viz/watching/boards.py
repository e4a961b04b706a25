"""TensorBoard as a sink."""

from __future__ import annotations

import math
from typing import Any

from resnet_viz.core.errors import UserError, one_line
from resnet_viz.core.history import History, Step


class Board:
    """Writes ``Step.metrics`` as scalars, and magnitudes also as their log10.

    TensorBoard draws linear axes, on which a vanishing gradient is a flat line at zero.
    """

    def __init__(self, writer: Any, *, owned: bool = False) -> None:
        self._writer = writer
        self._owned = owned

    def write(self, step: Step) -> None:
        """Adds a scalar for each number."""
        for key, value in step.metrics().items():
            self._writer.add_scalar(key, value, step.step)
            if "l2_norm" in key and 0 < value < math.inf:
                self._writer.add_scalar(f"log10/{key}", math.log10(value), step.step)
        self._writer.flush()

    def close(self, history: History) -> None:
        """Closes the writer, unless it is the user's own."""
        if self._owned:
            self._writer.close()


def open_board(place: str, history: History, resume: bool) -> Board:
    """A ``SummaryWriter`` of a folder.

    Raises:
        UserError: If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            f"sink 'tensorboard:{place}' needs TensorBoard ({one_line(error, 80)}): "
            "pip install tensorboard, or give a folder, a .csv or a .jsonl file"
        ) from error
    return Board(SummaryWriter(place), owned=True)
