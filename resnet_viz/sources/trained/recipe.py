"""``Recipe``: all that decides what a shipped net's weights are."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a net learns the packaged digits.

    Attributes:
        net: Of the variants.
        epochs: Through the training part.
        batch_size: Samples of a step; what is left over waits for the next epoch.
        learning_rate: Highest; reached after the first epoch, falls to 0 as a cosine.
        momentum: Of SGD, in Nesterov's form.
        weight_decay: Of every parameter.
        shift: Furthest that a training image is moved, in input pixels, each way.
        seed: Of the weights, the order and the shifts.
        shown: Classes whose first rightly answered test image ships as a picture, beside
            the first that is answered wrongly.
    """

    net: str = "digits-resnet"
    epochs: int = 25
    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    shift: int = 4
    seed: int = 0
    shown: tuple[int, ...] = (3, 4, 8)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of so many."""
        warm = min(1.0, (step + 1) * self.epochs / steps)
        return self.learning_rate * warm * (1 + math.cos(math.pi * step / steps)) / 2


DIGITS_RESNET = Recipe()
