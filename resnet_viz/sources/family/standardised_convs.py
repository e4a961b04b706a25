"""Convolutions that use their filters standardised: with mean 0 and a set variance."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose filters are used with mean 0 and variance 1.

    Weight standardisation of Qiao et al. 2019 (1903.10520), with the tiny epsilon of BiT
    (Kolesnikov et al. 2020, 1912.11370). A filter of one single weight is its own mean: 0.
    """

    eps = 1e-8

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, out, H', W')``."""
        weight = _standardised(self.weight, None, self.eps)
        return F.conv2d(
            input, weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class ScaledConv2d(nn.Conv2d):
    """A convolution with scaled weight standardisation (Brock et al. 2021, 2101.08692).

    Each filter is used with mean 0 and variance γ² / fan_in, times its learnt gain. With
    the γ of the activation before it (``Activation.gain``) its output has the variance of
    that activation's input.

    Attributes:
        gain: ``(out, 1, 1, 1)``, at first 1.
        gamma: γ.
        scale: γ / √fan_in.
    """

    eps = 1e-5

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, gamma: float, **options: Any
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        self.gamma = gamma
        self.scale = gamma * self.weight[0].numel() ** -0.5
        self.gain = nn.Parameter(torch.ones(out_channels, 1, 1, 1))

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, out, H', W')``."""
        weight = _standardised(self.weight, (self.gain * self.scale).flatten(), self.eps)
        return F.conv2d(
            input, weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


def _standardised(weight: Tensor, scales: Tensor | None, eps: float) -> Tensor:
    """``(out, in, H, W)``, each filter less its mean, over its deviation, times its scale."""
    # Batch norm of one image with a channel per filter is this in one op; its form in
    # ``functional`` refuses filters of a single weight.
    flat = weight.reshape(1, weight.shape[0], -1)
    flat = torch.batch_norm(flat, scales, None, None, None, True, 0.0, eps, True)
    return flat.reshape_as(weight)
