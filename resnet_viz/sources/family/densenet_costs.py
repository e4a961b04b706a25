"""Parameters and MACs of a DenseNet, as sums over its config."""

from __future__ import annotations

from resnet_viz.sources.family.densenet_config import DenseNetConfig
from resnet_viz.sources.family.layer_costs import Cost, conv_cost, linear_cost, norm_cost, total
from resnet_viz.sources.family.parts import NORMS


def densenet_cost(config: DenseNetConfig) -> Cost:
    """Parameters and multiply-accumulates of one image of ``config.input_size``."""
    bias, growth = NORMS[config.norm].conv_bias, config.growth_rate
    side, kernel = (config.side, 3) if config.stem == "cifar" else (config.side // 2, 7)
    parts = [conv_cost(kernel, config.in_channels, config.stem_width, side, bias=bias)]
    if config.stem == "imagenet":
        parts.append(norm_cost(config.norm, config.stem_width))
        side = -(-side // 2)
    channels = config.stem_width
    for block, layers in enumerate(config.blocks):
        if block > 0:
            out = config.block_inputs[block]
            parts += [
                norm_cost(config.norm, channels),
                conv_cost(1, channels, out, side, bias=bias),
            ]
            channels, side = out, side // 2
        for _ in range(layers):
            parts.append(norm_cost(config.norm, channels))
            source = channels
            if config.bn_size:
                source = config.bn_size * growth
                parts += [
                    conv_cost(1, channels, source, side, bias=bias),
                    norm_cost(config.norm, source),
                ]
            parts.append(conv_cost(3, source, growth, side, bias=bias))
            channels += growth
    parts += [norm_cost(config.norm, channels), linear_cost(channels, config.num_classes)]
    return total(parts)
