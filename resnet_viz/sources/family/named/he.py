"""He et al. 2015 and 2016: residual, plain and pre-activation nets."""

from __future__ import annotations

from resnet_viz.sources.family.named.table import (
    BASIC,
    BOTTLENECK,
    IMAGENET,
    Table,
    cifar,
    cifar_bottleneck,
)

CIFAR_DEPTHS = (20, 32, 44, 56, 110)
V1_DEPTHS = (50, 101, 152)

# A state dict that fits several nets is recognised as the first: those of v1.5 before v1.
TABLES = (
    Table(
        source="He et al. 2015 (1512.03385)",
        nets={f"resnet{d}": BASIC[d] for d in (18, 34)},
    ),
    Table(
        source="He et al. 2015 (1512.03385), stride as in v1.5",
        nets={f"resnet{d}": BOTTLENECK[d] for d in V1_DEPTHS},
    ),
    Table(
        source="He et al. 2016 (1603.05027), stride as in v1.5",
        nets={"resnet200": BOTTLENECK[200]},
    ),
    Table(
        source="timm, after He et al. 2015 (1512.03385)",
        nets={"resnet26": BOTTLENECK[26]},
    ),
    Table(
        source="He et al. 2015 (1512.03385)",
        nets={
            **{f"resnet{d}": cifar(d) for d in (*CIFAR_DEPTHS, 1202)},
            **{f"resnet{d}_a": IMAGENET[d].changed(shortcut="A") for d in (18, 34)},
            **{f"resnet{d}_c": IMAGENET[d].changed(shortcut="C") for d in (18, 34)},
            **{f"resnet{d}_v1": BOTTLENECK[d].changed(stride="v1") for d in V1_DEPTHS},
            **{
                f"resnet{d}_v1_a": BOTTLENECK[d].changed(stride="v1", shortcut="A")
                for d in V1_DEPTHS
            },
            **{f"resnet{d}_b": cifar(d).changed(shortcut="B") for d in CIFAR_DEPTHS},
            **{f"plain{d}": IMAGENET[d].changed(shortcut="none") for d in (18, 34)},
            **{f"plain{d}": cifar(d).changed(shortcut="none") for d in CIFAR_DEPTHS},
        },
    ),
    Table(
        source="He et al. 2016 (1603.05027)",
        nets={
            "resnet164": cifar_bottleneck(164),
            "preact_resnet110": cifar(110).changed(shortcut="B", order="preact"),
            **{
                f"preact_resnet{d}": cifar_bottleneck(d).changed(order="preact")
                for d in (164, 1001)
            },
        },
    ),
)
