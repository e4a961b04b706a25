"""The parts of a ResNet that repeat: convolutions, shortcuts and blocks.

Attribute names are torchvision's, so that state dicts fit. ``forward`` has one op
per line, because reports show the line each op came from.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from resnet_viz.sources.config import (
    ACTIVATIONS,
    BLOCKS,
    NORMS,
    SHORTCUTS,
    ResNetConfig,
    ShortcutKind,
)


def make_conv(
    config: ResNetConfig, in_channels: int, out_channels: int, kernel: int, stride: int = 1
) -> nn.Conv2d:
    """A convolution padded by half, with a bias only where no norm follows."""
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=kernel // 2,
        bias=NORMS[config.norm].bias,
    )


def make_norm(config: ResNetConfig, channels: int) -> nn.Module:
    """The config's normalisation over ``channels``."""
    norm: nn.Module = getattr(nn, NORMS[config.norm].module)(channels)
    return norm


def make_activation(config: ResNetConfig) -> nn.Module:
    """The config's nonlinearity, in place where that exists."""
    part = ACTIVATIONS[config.activation]
    options = {"inplace": True} if part.inplace else {}
    activation: nn.Module = getattr(nn, part.module)(**options)
    return activation


class ZeroPad(nn.Module):
    """Option A of He et al. 2015: every ``stride``-th pixel, zeros as new channels."""

    def __init__(self, stride: int, new_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C + new, ⌈H / stride⌉, ⌈W / stride⌉)``."""
        if self.stride != 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels))

    def extra_repr(self) -> str:
        """Stride and number of zero channels, for ``print(model)``."""
        return f"stride={self.stride}, new_channels={self.new_channels}"


def shortcut_kind(
    config: ResNetConfig, in_channels: int, out_channels: int, stride: int
) -> ShortcutKind:
    """What runs beside a branch of this shape."""
    part = SHORTCUTS[config.shortcut]
    return part.changing if stride != 1 or in_channels != out_channels else part.keeping


def make_shortcut(
    config: ResNetConfig, in_channels: int, out_channels: int, stride: int
) -> nn.Module | None:
    """The module on the shortcut; ``None`` where it is an identity or there is none."""
    kind = shortcut_kind(config, in_channels, out_channels, stride)
    if kind == "pad":
        return ZeroPad(stride, out_channels - in_channels)
    if kind == "projection":
        return nn.Sequential(
            make_conv(config, in_channels, out_channels, 1, stride),
            make_norm(config, out_channels),
        )
    return None


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut (He et al. 2015, figure 5 left).

    Attributes:
        residual: Whether there is a shortcut; a plain net has none.
        downsample: The module on the shortcut; ``None`` for an identity.
    """

    def __init__(self, config: ResNetConfig, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        # Made first and registered last, as torchvision does: then the same seed gives
        # the same weights and state dicts have the same order.
        downsample = make_shortcut(config, in_channels, width, stride)
        self.residual = shortcut_kind(config, in_channels, width, stride) != "none"
        self.conv1 = make_conv(config, in_channels, width, 3, stride)
        self.bn1 = make_norm(config, width)
        self.relu = make_activation(config)
        self.conv2 = make_conv(config, width, width, 3)
        self.bn2 = make_norm(config, width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, width, ⌈H / stride⌉, ⌈W / stride⌉)``."""
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)
        out = self.conv2(out)
        out = self.bn2(out)
        if self.residual:
            identity = x if self.downsample is None else self.downsample(x)
            out += identity
        activated: Tensor = self.relu(out)
        return activated


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut (He et al. 2015, figure 5 right).

    The stride is in the first 1×1 (v1, the paper) or in the 3×3 (v1.5, torchvision).

    Attributes:
        residual: Whether there is a shortcut; a plain net has none.
        downsample: The module on the shortcut; ``None`` for an identity.
    """

    def __init__(self, config: ResNetConfig, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        part = BLOCKS[config.block]
        out_channels = width * part.expansion
        strides = [1, 1, 1]
        strides[part.strided[config.stride]] = stride
        downsample = make_shortcut(config, in_channels, out_channels, stride)
        self.residual = shortcut_kind(config, in_channels, out_channels, stride) != "none"
        self.conv1 = make_conv(config, in_channels, width, 1, strides[0])
        self.bn1 = make_norm(config, width)
        self.conv2 = make_conv(config, width, width, 3, strides[1])
        self.bn2 = make_norm(config, width)
        self.conv3 = make_conv(config, width, out_channels, 1, strides[2])
        self.bn3 = make_norm(config, out_channels)
        self.relu = make_activation(config)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, 4 · width, ⌈H / stride⌉, ⌈W / stride⌉)``."""
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)
        out = self.conv2(out)
        out = self.bn2(out)
        out = self.relu(out)
        out = self.conv3(out)
        out = self.bn3(out)
        if self.residual:
            identity = x if self.downsample is None else self.downsample(x)
            out += identity
        activated: Tensor = self.relu(out)
        return activated
