"""Stochastic gradient descent with momentum, in four calls for all parameters.

The first use of ``torch.optim`` imports torch's compiler, 1.7 s of CPU time that every
worker would pay, and its steps take three times as long for layers as small as these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


class Sgd:
    """``torch.optim.SGD`` with momentum, without dampening or Nesterov's form.

    Attributes:
        parameters: What is learned.
        velocities: One for each, 0 at first; all that a checkpoint must hold.
        momentum: What is left of a velocity after a step.
        weight_decay: What is added of each parameter to its gradient.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, momentum: float, weight_decay: float
    ) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.velocities = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.momentum = momentum
        self.weight_decay = weight_decay

    @torch.no_grad()
    def step(self, gradients: tuple[Tensor, ...], learning_rate: float) -> None:
        """Moves every parameter by one step; gradients are left as they are."""
        torch._foreach_mul_(self.velocities, self.momentum)
        torch._foreach_add_(self.velocities, gradients)
        torch._foreach_add_(self.velocities, self.parameters, alpha=self.weight_decay)
        torch._foreach_add_(self.parameters, self.velocities, alpha=-learning_rate)

    @torch.no_grad()
    def restore(self, velocities: Sequence[Tensor]) -> None:
        """Takes the velocities of a checkpoint."""
        for velocity, value in zip(self.velocities, velocities, strict=True):
            velocity.copy_(value)
