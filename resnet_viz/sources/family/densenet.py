"""``DenseNet``: the module that a ``DenseNetConfig`` describes.

Parameters carry torchvision's names (``features.denseblock1.denselayer1.norm1``), so that
its state dicts, and timm's, load as they are.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from resnet_viz.sources.family.densenet_config import DenseNetConfig
from resnet_viz.sources.family.inits import initialise
from resnet_viz.sources.family.layers import make_activation, make_norm
from resnet_viz.sources.family.parts import NORMS


class DenseLayer(nn.Module):
    """One layer of a dense block: norm, activation, 3×3; before that, a 1×1 likewise.

    Attributes:
        bottlenecked: Whether there is the 1×1.
    """

    def __init__(self, config: DenseNetConfig, in_channels: int) -> None:
        super().__init__()
        width = config.bn_size * config.growth_rate
        self.bottlenecked = width > 0
        self.norm1 = make_norm(config, in_channels)
        self.relu1 = make_activation(config)
        if self.bottlenecked:
            self.conv1 = _make_conv(config, in_channels, width, 1)
            self.norm2 = make_norm(config, width)
            self.relu2 = make_activation(config)
            self.conv2 = _make_conv(config, width, config.growth_rate, 3)
        else:
            self.conv1 = _make_conv(config, in_channels, config.growth_rate, 3)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else None

    def forward(self, features: list[Tensor]) -> Tensor:
        """``(N, growth_rate, H, W)`` of all earlier outputs ``(N, ·, H, W)``."""
        x = torch.cat(features, 1)
        out = self.norm1(x)
        out = self.relu1(out)
        out = self.conv1(out)
        if self.bottlenecked:
            out = self.norm2(out)
            out = self.relu2(out)
            out = self.conv2(out)
        if self.dropout is not None:
            out = self.dropout(out)
        grown: Tensor = out
        return grown


class DenseBlock(nn.ModuleDict):
    """Layers of which each reads what all before it, and the input, have put out."""

    def __init__(self, config: DenseNetConfig, in_channels: int, layers: int) -> None:
        super().__init__()
        for index in range(layers):
            channels = in_channels + index * config.growth_rate
            self[f"denselayer{index + 1}"] = DenseLayer(config, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C + layers · growth_rate, H, W)``."""
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class Transition(nn.Sequential):
    """Norm, activation, 1×1 convolution to fewer channels, and 2×2 average pooling."""

    def __init__(self, config: DenseNetConfig, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = make_norm(config, in_channels)
        self.relu = make_activation(config)
        self.conv = _make_conv(config, in_channels, out_channels, 1)
        self.pool = nn.AvgPool2d(2, stride=2)


class DenseNet(nn.Module):
    """A DenseNet (Huang et al. 2017, arXiv 1608.06993).

    Weights are drawn from torch's global generator in torchvision's order: the same
    seed gives torchvision's weights. Works under ``torch.device("meta")``.

    Attributes:
        config: What it was built from.
    """

    def __init__(self, config: DenseNetConfig) -> None:
        super().__init__()
        self.config = config
        parts = OrderedDict(_stem(config))
        inputs = config.block_inputs
        for index, (channels, layers) in enumerate(zip(inputs, config.blocks, strict=True)):
            parts[f"denseblock{index + 1}"] = DenseBlock(config, channels, layers)
            if index < len(inputs) - 1:
                grown = channels + layers * config.growth_rate
                parts[f"transition{index + 1}"] = Transition(config, grown, inputs[index + 1])
        # Named so in torchvision, whatever the number of blocks.
        parts["norm5"] = make_norm(config, config.features)
        parts["relu5"] = make_activation(config)
        self.features = nn.Sequential(parts)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Linear(config.features, config.num_classes)
        # By fan-in, as torchvision's DenseNet has it; its ResNet goes by fan-out.
        initialise(self, config, **({"mode": "fan_in"} if config.init == "he" else {}))
        if not self.classifier.bias.is_meta:
            nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, num_classes)`` of images ``(N, C, H, W)``."""
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        logits: Tensor = self.classifier(x)
        return logits


def _stem(config: DenseNetConfig) -> dict[str, nn.Module]:
    width = config.stem_width
    if config.stem == "cifar":
        return {"conv0": _make_conv(config, config.in_channels, width, 3)}
    return {
        "conv0": _make_conv(config, config.in_channels, width, 7, 2),
        "norm0": make_norm(config, width),
        "relu0": make_activation(config),
        "pool0": nn.MaxPool2d(3, stride=2, padding=1),
    }


def _make_conv(
    config: DenseNetConfig, in_channels: int, out_channels: int, kernel: int, stride: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=kernel // 2,
        bias=NORMS[config.norm].conv_bias,
    )
