"""The layers that stems, blocks and shortcuts share: convolution, norm, activation."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from resnet_viz.sources.family.densenet_config import DenseNetConfig
from resnet_viz.sources.family.highway_config import HighwayConfig
from resnet_viz.sources.family.parts import ACTIVATIONS, INITS, NORMS
from resnet_viz.sources.family.plan import ConvPlan
from resnet_viz.sources.family.resnet_config import ResNetConfig
from resnet_viz.sources.family.scaffolds import make_norm_substitute
from resnet_viz.sources.family.standardised_convs import ScaledConv2d, StandardisedConv2d

AnyConfig = ResNetConfig | DenseNetConfig | HighwayConfig

_GROUPS = 32


class GateConv2d(nn.Conv2d):
    """The convolution behind a gate's sigmoid: its bias begins where it is told to.

    Attributes:
        first_bias: Negative for gates that begin closed.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        first_bias: float,
        stride: int = 1,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2
        )
        self.first_bias = first_bias


def make_conv(config: ResNetConfig, plan: ConvPlan) -> nn.Conv2d:
    """The planned convolution, padded by half, with a bias only where no norm follows."""
    options: dict[str, Any] = {
        "stride": plan.stride,
        "padding": plan.kernel // 2 * plan.dilation,
        "dilation": plan.dilation,
        "groups": plan.groups,
        "bias": config.conv_bias,
    }
    sizes = plan.in_channels, plan.out_channels, plan.kernel
    if NORMS[config.norm].standardised:
        return StandardisedConv2d(*sizes, **options)
    if INITS[config.init].scaffold == "nf":
        return ScaledConv2d(*sizes, gamma=ACTIVATIONS[config.activation].gain, **options)
    return nn.Conv2d(*sizes, **options)


def make_norm(config: AnyConfig, channels: int) -> nn.Module:
    """The config's normalisation over ``channels``.

    ``group`` has 32 groups, or the largest divisor of 32 that divides the channels (Wu &
    He 2018, 1803.08494). ``layer`` is one group: mean and variance over channels and
    positions of each image, as that paper's figure 2 has it.
    """
    if config.norm == "batch":
        return nn.BatchNorm2d(channels)
    if config.norm == "none":
        return nn.Identity()
    groups = 1 if config.norm == "layer" else math.gcd(_GROUPS, channels)
    return nn.GroupNorm(groups, channels)


def make_branch_norm(config: ResNetConfig, channels: int, last: bool = False) -> nn.Module:
    """The normalisation in a branch or stem, or what the initialisation puts there."""
    if config.norm == "none":
        return make_norm_substitute(config, last)
    return make_norm(config, channels)


def make_activation(config: AnyConfig, inplace: bool = True) -> nn.Module:
    """The config's nonlinearity, in place where that exists and is allowed."""
    part = ACTIVATIONS[config.activation]
    options = {**part.options, "inplace": True} if part.inplace and inplace else part.options
    activation: nn.Module = getattr(nn, part.module)(**options)
    return activation
