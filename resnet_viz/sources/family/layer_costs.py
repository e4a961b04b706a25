"""What one layer costs: pairs of parameters and MACs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from resnet_viz.sources.family.parts import NORMS
from resnet_viz.sources.family.plan import eca_kernel
from resnet_viz.sources.family.resnet_config import ResNetConfig

Cost: TypeAlias = tuple[int, int]
"""Trainable scalars, and multiply-accumulates of one image."""


def total(parts: Iterable[Cost]) -> Cost:
    """The sum of both."""
    params = macs = 0
    for part in parts:
        params += part[0]
        macs += part[1]
    return params, macs


def conv_cost(
    kernel: int, source: int, out: int, side: int, *, groups: int = 1, bias: bool = False
) -> Cost:
    """A convolution that puts out ``out`` channels of ``side`` × ``side`` pixels."""
    weights = kernel * kernel * source * out // groups
    return weights + bias * out, weights * side * side


def linear_cost(source: int, out: int) -> Cost:
    """A linear layer with a bias."""
    return (source + 1) * out, source * out


def norm_cost(norm: str, channels: int) -> Cost:
    """A normalisation of ``NORMS`` over ``channels``."""
    return NORMS[norm].params * channels, 0


def attention_cost(config: ResNetConfig, channels: int, side: int) -> Cost:
    """Attention over ``channels`` of ``side`` × ``side`` pixels."""
    if config.attention == "none":
        return 0, 0
    if config.attention == "eca":
        kernel = eca_kernel(channels)
        return kernel, kernel * channels
    inner = config.attention_channels(channels)
    weights = 2 * channels * inner
    if config.attention == "se":
        return weights + inner + channels, weights
    spatial = conv_cost(7, 2, 1, side, bias=NORMS[config.norm].conv_bias)
    return total([(weights, 2 * weights), spatial, norm_cost(config.norm, 1)])
