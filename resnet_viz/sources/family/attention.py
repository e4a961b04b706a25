"""Channel and spatial attention on a branch: SE, ECA and CBAM.

Parameters carry timm's names (``se.fc1``, ``se.conv``, ``se.channel.fc1``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resnet_viz.sources.family.layers import make_norm
from resnet_viz.sources.family.plan import eca_kernel
from resnet_viz.sources.family.resnet_config import ResNetConfig

_CBAM_KERNEL = 7


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate that two layers read off all channels' means.

    Hu et al. 2018 (1709.01507). Its two 1×1 convolutions have a bias, and a ReLU is
    between them whatever the net's activation is, as in the reference code.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, inner, 1)
        self.act = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(inner, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same."""
        scale = x.mean((2, 3), keepdim=True)
        scale = self.fc1(scale)
        scale = self.act(scale)
        scale = self.fc2(scale)
        scale = self.gate(scale)
        attended: Tensor = x * scale
        return attended


class EfficientChannelAttention(nn.Module):
    """Scales each channel by a gate read off the means of the channels beside it.

    Wang et al. 2020 (1910.03151): one convolution that runs along the channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        kernel = eca_kernel(channels)
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same."""
        scale = x.mean((2, 3))
        scale = scale.unsqueeze(1)
        scale = self.conv(scale)
        scale = self.gate(scale)
        scale = scale.transpose(1, 2)
        scale = scale.unsqueeze(3)
        attended: Tensor = x * scale
        return attended


class ChannelAttention(nn.Module):
    """SE on means and on maxima, with the same two layers, summed before the gate."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(inner, channels, 1, bias=False)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same."""
        mean = x.mean((2, 3), keepdim=True)
        mean = self.fc1(mean)
        mean = self.act(mean)
        mean = self.fc2(mean)
        peak = x.amax((2, 3), keepdim=True)
        peak = self.fc1(peak)
        peak = self.act(peak)
        peak = self.fc2(peak)
        scale = self.gate(mean + peak)
        attended: Tensor = x * scale
        return attended


class SpatialAttention(nn.Module):
    """Scales each pixel by a gate read off the mean and maximum over its channels."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            2, 1, _CBAM_KERNEL, padding=_CBAM_KERNEL // 2, bias=config.norm == "none"
        )
        self.bn = make_norm(config, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same."""
        scale = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)
        scale = self.conv(scale)
        scale = self.bn(scale)
        scale = self.gate(scale)
        attended: Tensor = x * scale
        return attended


class BlockAttention(nn.Module):
    """Channel attention, then spatial attention (Woo et al. 2018, CBAM, 1807.06521)."""

    def __init__(self, config: ResNetConfig, channels: int, inner: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, inner)
        self.spatial = SpatialAttention(config)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same."""
        x = self.channel(x)
        attended: Tensor = self.spatial(x)
        return attended


def make_attention(config: ResNetConfig, channels: int) -> nn.Module | None:
    """The config's attention over ``channels``; ``None`` where it has none."""
    if config.attention == "se":
        return SqueezeExcitation(channels, config.attention_channels(channels))
    if config.attention == "eca":
        return EfficientChannelAttention(channels)
    if config.attention == "cbam":
        return BlockAttention(config, channels, config.attention_channels(channels))
    return None
