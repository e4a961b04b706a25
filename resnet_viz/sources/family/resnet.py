"""``ResNet``: the module that a ``ResNetConfig`` describes.

Parameters carry torchvision's names (``conv1``, ``layer1.0.downsample.0``, ``fc``), so
that its state dicts load as they are.
"""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor, nn

from resnet_viz.sources.family.blocks import BasicBlock, Bottleneck
from resnet_viz.sources.family.inits import initialise
from resnet_viz.sources.family.layers import make_activation, make_branch_norm
from resnet_viz.sources.family.parts import ORDERS
from resnet_viz.sources.family.plan import plan_blocks
from resnet_viz.sources.family.resnet_config import ResNetConfig
from resnet_viz.sources.family.scaffolds import input_deviations, make_bias
from resnet_viz.sources.family.stems import activates_stem, make_stem, make_stem_pool


class ResNet(nn.Module):
    """A residual net of He et al. 2015 (arXiv 1512.03385), its kin, or its plain twin.

    Weights are drawn from torch's global generator in torchvision's order: the same
    seed gives torchvision's weights. Works under ``torch.device("meta")``, where nothing
    is drawn.

    Attributes:
        config: What it was built from.
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = make_stem(config)
        stem_active = activates_stem(config)
        self.bn1 = make_branch_norm(config, config.stem_channels) if stem_active else None
        self.relu = make_activation(config)
        self.maxpool = make_stem_pool(config)
        block = BasicBlock if config.block == "basic" else Bottleneck
        plans = plan_blocks(config)
        for stage, pairs in groupby(
            zip(plans, input_deviations(config), strict=True), lambda pair: pair[0].stage
        ):
            blocks = [block(config, plan, deviation) for plan, deviation in pairs]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        order, channels = ORDERS[config.order], plans[-1].out_channels
        self.norm = make_branch_norm(config, channels) if order.preactivated else None
        self.activates_end = "act" in order.before
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.bias = make_bias(config)
        self.fc = nn.Linear(channels, config.num_classes)
        initialise(self, config)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, num_classes)`` of images ``(N, C, H, W)``."""
        x = self.conv1(x)
        if self.bn1 is not None:
            x = self.bn1(x)
            x = self.relu(x)
        if self.maxpool is not None:
            x = self.maxpool(x)
        for index in range(len(self.config.blocks)):
            x = self.get_submodule(f"layer{index + 1}")(x)
        # Blocks that end with the addition leave norm and activation to the net.
        if self.norm is not None:
            x = self.norm(x)
        if self.activates_end:
            x = self.relu(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        if self.bias is not None:
            x = self.bias(x)
        logits: Tensor = self.fc(x)
        return logits
