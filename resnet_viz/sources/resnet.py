"""``ResNet``: the module that a ``ResNetConfig`` describes.

Parameters carry torchvision's names (``conv1``, ``layer1.0.downsample.0``, ``fc``), so
that its state dicts load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resnet_viz.sources import blocks
from resnet_viz.sources.config import BLOCKS, INITS, STEMS, ResNetConfig


class ResNet(nn.Module):
    """A residual or plain net of He et al. 2015 (arXiv 1512.03385).

    Weights are drawn from torch's global generator in torchvision's order: the same
    seed gives torchvision's weights. Works under ``torch.device("meta")``.

    Attributes:
        config: What it was built from.
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        stem = STEMS[config.stem]
        channels = config.widths[0]
        self.conv1 = blocks.make_conv(
            config, config.in_channels, channels, stem.kernel, stem.stride
        )
        self.bn1 = blocks.make_norm(config, channels)
        self.relu = blocks.make_activation(config)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem.pool else nn.Identity()
        for index, (count, width) in enumerate(zip(config.blocks, config.widths, strict=True)):
            stride = 1 if index == 0 else 2
            self.add_module(f"layer{index + 1}", _stage(config, count, channels, width, stride))
            channels = width * BLOCKS[config.block].expansion
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, config.num_classes)
        _initialise(self, config)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, num_classes)`` of images ``(N, C, H, W)``."""
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.relu(x)
        x = self.maxpool(x)
        for index in range(len(self.config.blocks)):
            x = self.get_submodule(f"layer{index + 1}")(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        logits: Tensor = self.fc(x)
        return logits


def _stage(
    config: ResNetConfig, count: int, in_channels: int, width: int, stride: int
) -> nn.Sequential:
    block = getattr(blocks, BLOCKS[config.block].module)
    out_channels = width * BLOCKS[config.block].expansion
    first = block(config, in_channels, width, stride)
    rest = (block(config, out_channels, width, 1) for _ in range(count - 1))
    return nn.Sequential(first, *rest)


def _initialise(model: nn.Module, config: ResNetConfig) -> None:
    """Draws the convolutions anew; norms and the last layer keep PyTorch's defaults."""
    part = INITS[config.init]
    draw = getattr(nn.init, part.function)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            draw(module.weight, **part.options)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
