"""The net that this package brings trained weights for.

Digits of 8×8 are shown to it as 32×32, what its stem is made for: its three stages have
maps of 32, 16 and 8 places a side to look at, where 8×8 would leave 8, 4 and 2. Two blocks a
stage with option B have identity skips and projections; widths of 8 to 32 keep it under
200 kB and its training at a minute.
"""

from __future__ import annotations

from resnet_viz.sources.family.named.table import Table
from resnet_viz.sources.family.resnet_config import ResNetConfig

TABLES = (
    Table(
        source="trained here (Alpaydin & Kaynak 1998)",
        nets={
            "digits-resnet": ResNetConfig(
                blocks=(2, 2, 2),
                widths=(8, 16, 32),
                stem="cifar",
                in_channels=1,
                num_classes=10,
            ),
        },
    ),
)
