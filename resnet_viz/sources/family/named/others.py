"""DenseNet and highway nets, for comparison."""

from __future__ import annotations

from resnet_viz.sources.family.densenet_config import DenseNetConfig
from resnet_viz.sources.family.highway_config import HighwayConfig
from resnet_viz.sources.family.named.table import Table


def dense_cifar(depth: int, growth_rate: int) -> DenseNetConfig:
    """DenseNet-depth of 3n + 4 layers for 32 × 32 images, section 4.2."""
    return DenseNetConfig(
        blocks=((depth - 4) // 3,) * 3,
        growth_rate=growth_rate,
        bn_size=0,
        compression=1.0,
        stem="cifar",
        stem_width=16,
        num_classes=10,
    )


def dense_cifar_bc(depth: int, growth_rate: int) -> DenseNetConfig:
    """DenseNet-BC-depth of 6n + 4 layers for 32 × 32 images, section 4.2."""
    return DenseNetConfig(
        blocks=((depth - 4) // 6,) * 3,
        growth_rate=growth_rate,
        stem="cifar",
        stem_width=2 * growth_rate,
        num_classes=10,
    )


TABLES = (
    Table(
        source="Huang et al. 2017 (1608.06993)",
        nets={
            "densenet121": DenseNetConfig(blocks=(6, 12, 24, 16)),
            "densenet161": DenseNetConfig(blocks=(6, 12, 36, 24), growth_rate=48, stem_width=96),
            "densenet169": DenseNetConfig(blocks=(6, 12, 32, 32)),
            "densenet201": DenseNetConfig(blocks=(6, 12, 48, 32)),
            **{f"densenet_{d}_{k}": dense_cifar(d, k) for d, k in ((40, 12), (100, 12), (100, 24))},
            **{
                f"densenet_bc_{d}_{k}": dense_cifar_bc(d, k)
                for d, k in ((100, 12), (190, 40), (250, 24))
            },
        },
    ),
    Table(
        source="Srivastava et al. 2015 (1507.06228)",
        nets={
            "highway19": HighwayConfig(),
            "highway32": HighwayConfig(layers=(9, 9, 9), widths=(32, 48, 64)),
        },
    ),
)
