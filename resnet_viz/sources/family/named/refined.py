"""Refinements of ResNet v1.5: attention, stems, average-down, anti-aliasing, ResNet-RS.

Names and details are timm's, whose state dicts load.
"""

from __future__ import annotations

from resnet_viz.sources.family.named.table import BASIC, BOTTLENECK, IMAGENET, Table
from resnet_viz.sources.family.named.wider import next_imagenet
from resnet_viz.sources.family.resnet_config import ResNetConfig

_D = {"stem": "C", "shortcut": "D"}
_T = {"stem": "T", "shortcut": "D"}
_SE = {"attention": "se", "attention_divisor": 8}
_LEGACY = {"attention": "se", "stem": "caffe", "stride": "v1"}
_RS_BLOCKS = {
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
    270: (4, 29, 53, 4),
    350: (4, 36, 72, 4),
    420: (4, 44, 87, 4),
}


def rs(depth: int) -> ResNetConfig:
    """ResNet-RS-depth: D, a strided convolution for the pool, SE with a quarter inside."""
    return ResNetConfig(
        blocks=_RS_BLOCKS[depth],
        block="bottleneck",
        stem="RS",
        shortcut="D",
        attention="se",
        attention_reduction=4,
        attention_divisor=8,
    )


TABLES = (
    Table(
        source="Hu et al. 2018 (1709.01507)",
        nets={
            **{f"seresnet{d}": IMAGENET[d].changed(**_SE) for d in (18, 34, 50, 101, 152)},
            "seresnext50_32x4d": next_imagenet(50, 32, 4).changed(**_SE),
            "seresnext101_32x4d": next_imagenet(101, 32, 4).changed(**_SE),
            **{
                f"legacy_seresnet{d}": BASIC[d].changed(**_LEGACY, order="act_twice")
                for d in (18, 34)
            },
            **{f"legacy_seresnet{d}": BOTTLENECK[d].changed(**_LEGACY) for d in (50, 101, 152)},
            **{
                f"legacy_seresnext{d}_32x4d": next_imagenet(d, 32, 4).changed(
                    **{**_LEGACY, "stride": "v1.5"}
                )
                for d in (26, 50, 101)
            },
        },
    ),
    Table(
        source="He, T. et al. 2019 (1812.01187)",
        nets={
            "resnet10t": IMAGENET[10].changed(**_T),
            "resnet26t": IMAGENET[26].changed(**_T),
            "resnet50t": IMAGENET[50].changed(**_T),
            **{f"resnet{d}c": BOTTLENECK[d].changed(stem="C") for d in (50, 101, 152)},
            **{f"resnet{d}s": BOTTLENECK[d].changed(stem="S") for d in (50, 101, 152)},
            **{f"resnet{d}d": IMAGENET[d].changed(**_D) for d in (18, 26, 34, 50, 101, 152, 200)},
        },
    ),
    Table(
        source="Wang et al. 2020 (1910.03151)",
        nets={
            **{f"ecaresnet{d}d": BOTTLENECK[d].changed(**_D, attention="eca") for d in (50, 101)},
            **{f"ecaresnet{d}t": BOTTLENECK[d].changed(**_T, attention="eca") for d in (26, 50)},
        },
    ),
    Table(
        source="Wu & He 2018 (1803.08494)",
        nets={"resnet50_gn": BOTTLENECK[50].changed(norm="group")},
    ),
    Table(
        source="Zhang 2019 (1904.11486)",
        nets={
            **{f"resnetblur{d}": IMAGENET[d].changed(antialias="blur") for d in (18, 50)},
            "resnetblur50d": BOTTLENECK[50].changed(**_D, antialias="blur"),
            "resnetaa50": BOTTLENECK[50].changed(antialias="average"),
            "resnetaa50d": BOTTLENECK[50].changed(**_D, antialias="average"),
        },
    ),
    Table(
        source="Bello et al. 2021 (2103.07579)",
        nets={f"resnetrs{depth}": rs(depth) for depth in _RS_BLOCKS},
    ),
)
