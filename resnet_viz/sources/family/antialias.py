"""Low-pass filters in front of subsampling (Zhang 2019, 1904.11486)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_viz.sources.family.resnet_config import ResNetConfig


class BlurPool2d(nn.Module):
    """Every ``stride``-th pixel of the image behind a 3×3 binomial filter.

    The filter is (1, 2, 1)/4 in both directions over a reflected border, so the image
    must be at least 2 pixels high and wide.

    Attributes:
        weight: ``(C, 1, 3, 3)``; it is not learnt and in no state dict.
    """

    weight: Tensor

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        taps = torch.tensor([0.25, 0.5, 0.25])
        weight = torch.outer(taps, taps).repeat(channels, 1, 1, 1)
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, ⌈H / stride⌉, ⌈W / stride⌉)``."""
        padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(padded, self.weight, stride=self.stride, groups=len(self.weight))

    def extra_repr(self) -> str:
        """Channels and stride, for ``print(model)``."""
        return f"{len(self.weight)}, stride={self.stride}"


def make_antialias(config: ResNetConfig, channels: int, stride: int = 2) -> nn.Module:
    """What takes the stride from a convolution: a blur, or the mean of each square.

    Both round up as the convolution does, so that a branch fits its shortcut at any size;
    a square at an odd border has fewer pixels.
    """
    if config.antialias == "blur":
        return BlurPool2d(channels, stride)
    return nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
