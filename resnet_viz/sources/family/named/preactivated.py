"""ResNetV2 and BiT, pre-activated; NF-ResNet, without normalisation."""

from __future__ import annotations

from resnet_viz.sources.family.named.table import BOTTLENECK, IMAGENET, Table
from resnet_viz.sources.family.resnet_config import ResNetConfig

_PREACT = {"order": "preact"}
_BIT = ((50, 1), (50, 3), (101, 1), (101, 3), (152, 2), (152, 4))


def bit(depth: int, factor: int) -> ResNetConfig:
    """BiT-depth of ``factor`` times the width, with group norm and standardised weights."""
    return BOTTLENECK[depth].changed(
        order="preact",
        norm="group_ws",
        stem="bit",
        widths=tuple(factor * width for width in BOTTLENECK[depth].widths),
    )


TABLES = (
    Table(
        source="He et al. 2016 (1603.05027), stride as in v1.5",
        nets={
            **{f"resnetv2_{d}": IMAGENET[d].changed(**_PREACT) for d in (18, 34, 50, 101, 152)},
            **{
                f"resnetv2_{d}d": IMAGENET[d].changed(**_PREACT, stem="C", shortcut="D")
                for d in (18, 34, 50, 101, 152)
            },
            "resnetv2_50t": BOTTLENECK[50].changed(**_PREACT, stem="T", shortcut="D"),
        },
    ),
    Table(
        source="Kolesnikov et al. 2020 (1912.11370)",
        nets={f"resnetv2_{depth}x{factor}_bit": bit(depth, factor) for depth, factor in _BIT},
    ),
    Table(
        source="Brock et al. 2021 (2101.08692)",
        nets={
            f"nf_resnet{d}": BOTTLENECK[d].changed(**_PREACT, shortcut="D", norm="none", init="nf")
            for d in (26, 50, 101)
        },
    ),
)
