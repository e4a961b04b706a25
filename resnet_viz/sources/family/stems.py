"""What comes before the first stage: convolutions, and what halves the resolution again."""

from __future__ import annotations

from torch import nn

from resnet_viz.sources.family.antialias import make_antialias
from resnet_viz.sources.family.layers import make_activation, make_branch_norm, make_conv
from resnet_viz.sources.family.parts import ORDERS, STEMS
from resnet_viz.sources.family.plan import plan_pool, plan_stem
from resnet_viz.sources.family.resnet_config import ResNetConfig


def make_stem(config: ResNetConfig) -> nn.Module:
    """The convolutions, with a norm and an activation between one and the next.

    A single one is not wrapped, so names are torchvision's ``conv1`` and timm's
    ``conv1.0``, ``conv1.1``, ``conv1.3``.
    """
    first, *others = plan_stem(config)
    layers: list[nn.Module] = [make_conv(config, first)]
    for plan in others:
        layers += [
            make_branch_norm(config, plan.in_channels),
            make_activation(config),
            make_conv(config, plan),
        ]
    return nn.Sequential(*layers) if others else layers[0]


def activates_stem(config: ResNetConfig) -> bool:
    """Whether a norm and an activation follow ``make_stem``.

    In pre-activation the first block brings them, unless a convolution comes before it.
    """
    return not ORDERS[config.order].preactivated or plan_pool(config) is not None


def make_stem_pool(config: ResNetConfig) -> nn.Module | None:
    """What halves the resolution before the first stage; ``None`` for nothing."""
    pool = STEMS[config.stem].pool
    if pool == "none":
        return None
    if pool == "conv":
        return _pool_conv(config)
    if config.antialias == "average":
        # Rounded down, as timm has it: no shortcut has to fit.
        return nn.AvgPool2d(2)
    if config.antialias == "blur":
        return nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), make_antialias(config, config.stem_channels)
        )
    if pool == "zero_padded_max":
        return nn.Sequential(nn.ConstantPad2d(1, 0.0), nn.MaxPool2d(3, stride=2))
    if pool == "ceil_max":
        return nn.MaxPool2d(3, stride=2, ceil_mode=True)
    return nn.MaxPool2d(3, stride=2, padding=1)


def _pool_conv(config: ResNetConfig) -> nn.Module:
    plan = plan_pool(config)
    assert plan is not None
    layers: list[nn.Module] = [make_conv(config, plan)]
    if config.antialias != "none":
        layers.append(make_antialias(config, plan.out_channels))
    if not ORDERS[config.order].preactivated:
        layers += [make_branch_norm(config, plan.out_channels), make_activation(config)]
    return nn.Sequential(*layers)
