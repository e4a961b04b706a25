"""``Highway``: the module that a ``HighwayConfig`` describes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resnet_viz.sources.family.highway_config import HighwayConfig
from resnet_viz.sources.family.inits import initialise
from resnet_viz.sources.family.layers import GateConv2d, make_activation, make_norm
from resnet_viz.sources.family.parts import NORMS


class PlainLayer(nn.Module):
    """A convolution, norm and activation: H without a gate."""

    def __init__(
        self, config: HighwayConfig, in_channels: int, out_channels: int, kernel: int = 3
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            padding=kernel // 2,
            bias=NORMS[config.norm].conv_bias,
        )
        self.norm = make_norm(config, out_channels)
        self.act = make_activation(config)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, out, H, W)``."""
        out = self.conv(x)
        out = self.norm(out)
        activated: Tensor = self.act(out)
        return activated


class HighwayLayer(nn.Module):
    """y = T(x) · H(x) + (1 - T(x)) · x (Srivastava et al. 2015, 1507.06228, equation 3).

    Attributes:
        transform: H.
        gate: T before its sigmoid. With its bias of -2, T begins near 0.12: the layer
            carries its input on.
    """

    def __init__(self, config: HighwayConfig, channels: int) -> None:
        super().__init__()
        self.transform = PlainLayer(config, channels, channels)
        self.gate = GateConv2d(channels, channels, 3, first_bias=config.gate_bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same shape."""
        gate = torch.sigmoid(self.gate(x))
        transformed = self.transform(x) * gate
        carried = x * (1 - gate)
        blended: Tensor = transformed + carried
        return blended


class Highway(nn.Module):
    """A convolutional highway net, or its plain twin without gates.

    Weights are drawn from torch's global generator. Works under ``torch.device("meta")``.

    Attributes:
        config: What it was built from.
    """

    def __init__(self, config: HighwayConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.in_channels
        self.stages = nn.Sequential()
        for layers, width in zip(config.layers, config.widths, strict=True):
            self.stages.append(_stage(config, layers, channels, width))
            channels = width
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.head = (
            PlainLayer(config, channels, config.head_width, 1)
            if config.head_width
            else nn.Identity()
        )
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(config.features, config.num_classes)
        initialise(self, config)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, num_classes)`` of images ``(N, C, H, W)``."""
        for index, stage in enumerate(self.stages):
            if index:
                x = self.pool(x)
            x = self.dropout(x)
            x = stage(x)
        x = self.head(x)
        x = self.avgpool(x)
        x = self.dropout(x)
        x = torch.flatten(x, 1)
        logits: Tensor = self.fc(x)
        return logits


def _stage(config: HighwayConfig, layers: int, in_channels: int, width: int) -> nn.Sequential:
    gated = config.shortcut == "gated"
    rest = (
        HighwayLayer(config, width) if gated else PlainLayer(config, width, width)
        for _ in range(layers)
    )
    return nn.Sequential(PlainLayer(config, in_channels, width), *rest)
