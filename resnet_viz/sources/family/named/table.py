"""What a table of named nets is, and the depths that several papers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from resnet_viz.sources.family.net_config import NetConfig
from resnet_viz.sources.family.resnet_config import ResNetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Nets of one paper.

    Attributes:
        source: Authors, year and arXiv number.
        nets: Config by name.
    """

    source: str
    nets: Mapping[str, NetConfig]


BASIC = {
    10: ResNetConfig(blocks=(1, 1, 1, 1)),
    18: ResNetConfig(blocks=(2, 2, 2, 2)),
    34: ResNetConfig(blocks=(3, 4, 6, 3)),
}
BOTTLENECK = {
    26: ResNetConfig(blocks=(2, 2, 2, 2), block="bottleneck"),
    50: ResNetConfig(blocks=(3, 4, 6, 3), block="bottleneck"),
    101: ResNetConfig(blocks=(3, 4, 23, 3), block="bottleneck"),
    152: ResNetConfig(blocks=(3, 8, 36, 3), block="bottleneck"),
    200: ResNetConfig(blocks=(3, 24, 36, 3), block="bottleneck"),
}
IMAGENET = {**BASIC, **BOTTLENECK}
"""The nets for ImageNet by depth, with option B and the stride in the 3×3."""


def cifar(depth: int) -> ResNetConfig:
    """The net of 6n + 2 layers of He et al. 2015, section 4.2."""
    return ResNetConfig(
        blocks=((depth - 2) // 6,) * 3,
        widths=(16, 32, 64),
        stem="cifar",
        shortcut="A",
        num_classes=10,
    )


def cifar_bottleneck(depth: int) -> ResNetConfig:
    """The net of 9n + 2 layers of He et al. 2016, section 4."""
    return ResNetConfig(
        blocks=((depth - 2) // 9,) * 3,
        block="bottleneck",
        widths=(16, 32, 64),
        stem="cifar",
        stride="v1",
        num_classes=10,
    )
