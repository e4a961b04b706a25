"""Parameters and MACs of a highway net, as sums over its config."""

from __future__ import annotations

from resnet_viz.sources.family.highway_config import HighwayConfig
from resnet_viz.sources.family.layer_costs import Cost, conv_cost, linear_cost, norm_cost, total
from resnet_viz.sources.family.parts import NORMS


def highway_cost(config: HighwayConfig) -> Cost:
    """Parameters and multiply-accumulates of one image of ``config.input_size``."""
    bias, gated = NORMS[config.norm].conv_bias, config.shortcut == "gated"
    side, channels, parts = config.side, config.in_channels, list[Cost]()
    for stage, (layers, width) in enumerate(zip(config.layers, config.widths, strict=True)):
        if stage > 0:
            side = -(-side // 2)
        parts += [
            conv_cost(3, channels, width, side, bias=bias),
            norm_cost(config.norm, width),
        ]
        layer = [conv_cost(3, width, width, side, bias=bias), norm_cost(config.norm, width)]
        if gated:
            layer.append(conv_cost(3, width, width, side, bias=True))
        parts += layers * layer
        channels = width
    if config.head_width:
        parts += [
            conv_cost(1, channels, config.head_width, side, bias=bias),
            norm_cost(config.norm, config.head_width),
        ]
    parts.append(linear_cost(config.features, config.num_classes))
    return total(parts)
