"""Wide ResNet and ResNeXt: more channels, or more groups of them."""

from __future__ import annotations

from resnet_viz.sources.family.named.table import BOTTLENECK, Table
from resnet_viz.sources.family.resnet_config import ResNetConfig


def wide(depth: int, factor: int) -> ResNetConfig:
    """WRN-depth-factor: the pre-activation net of 6n + 4 layers, ``factor`` times as wide."""
    return ResNetConfig(
        blocks=((depth - 4) // 6,) * 3,
        order="preact",
        widths=(16 * factor, 32 * factor, 64 * factor),
        stem="cifar",
        stem_width=16,
        num_classes=10,
    )


def next_cifar(cardinality: int, base_width: int) -> ResNetConfig:
    """ResNeXt-29 of Xie et al. 2017, section 5.3."""
    return ResNetConfig(
        blocks=(3, 3, 3),
        block="bottleneck",
        widths=(64, 128, 256),
        stem="cifar",
        cardinality=cardinality,
        base_width=base_width,
        num_classes=10,
    )


def next_imagenet(depth: int, cardinality: int, base_width: int) -> ResNetConfig:
    """ResNeXt-depth of ``cardinality`` groups, ``base_width`` channels each at first."""
    return BOTTLENECK[depth].changed(cardinality=cardinality, base_width=base_width)


_WIDE = ((16, 8), (16, 10), (22, 8), (28, 10), (28, 12), (40, 1), (40, 2), (40, 4), (40, 8))
_NEXT = ((50, 32, 4), (101, 32, 4), (101, 32, 8), (101, 64, 4))

TABLES = (
    Table(
        source="Zagoruyko & Komodakis 2016 (1605.07146)",
        nets={
            **{f"wrn_{depth}_{factor}": wide(depth, factor) for depth, factor in _WIDE},
            **{f"wide_resnet{d}_2": BOTTLENECK[d].changed(base_width=128) for d in (50, 101)},
        },
    ),
    Table(
        source="Xie et al. 2017 (1611.05431)",
        nets={
            **{f"resnext{d}_{c}x{w}d": next_imagenet(d, c, w) for d, c, w in _NEXT},
            **{f"resnext29_{c}x64d": next_cifar(c, 64) for c in (8, 16)},
        },
    ),
)
