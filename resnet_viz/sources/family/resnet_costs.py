"""Parameters and MACs of a ResNet, as sums over its plan."""

from __future__ import annotations

from resnet_viz.sources.family.layer_costs import (
    Cost,
    attention_cost,
    conv_cost,
    linear_cost,
    norm_cost,
    total,
)
from resnet_viz.sources.family.parts import INITS, ORDERS, SHORTCUTS, STEMS
from resnet_viz.sources.family.plan import BlockPlan, ConvPlan, plan_blocks, plan_pool, plan_stem
from resnet_viz.sources.family.resnet_config import ResNetConfig


def resnet_cost(config: ResNetConfig) -> tuple[int, int]:
    """Parameters and multiply-accumulates of one image of ``config.input_size``."""
    stem, side = _stem(config)
    parts, plans = [stem], plan_blocks(config)
    for plan in plans:
        cost, side = _block(config, plan, side)
        parts.append(cost)
    return total([*parts, _head(config, plans[-1].out_channels)])


def _stem(config: ResNetConfig) -> tuple[Cost, int]:
    side, parts = config.side, list[Cost]()
    pool, preactivated = plan_pool(config), ORDERS[config.order].preactivated
    convs = plan_stem(config)
    for conv in convs:
        side = _after(side, conv.stride)
        parts.append(_conv(config, conv, side))
        # In pre-activation the norm behind the stem is the first block's.
        if conv is not convs[-1] or pool or not preactivated:
            parts.append(_norm(config, conv.out_channels))
    if pool:
        parts.append(_conv(config, pool, _after(side, pool.stride)))
        if not preactivated:
            parts.append(_norm(config, pool.out_channels))
    if STEMS[config.stem].pool != "none":
        side = _after(side, 2)
        if config.antialias == "blur":
            parts.append(_blur(config.stem_channels, side))
    return total(parts), side


def _block(config: ResNetConfig, plan: BlockPlan, side: int) -> tuple[Cost, int]:
    order, parts, before = ORDERS[config.order], [_shortcut(config, plan, side)], side
    for index, conv in enumerate(plan.convs):
        last = index == len(plan.convs) - 1
        parts.append(_bias(config))
        if "norm" in order.before:
            parts.append(_norm(config, conv.in_channels))
        side = _after(side, conv.stride)
        parts.append(_conv(config, conv, side))
        if "norm" in (order.last if last else order.after):
            parts.append(_norm(config, conv.out_channels, last=last))
        if index == plan.pooled:
            side = _after(side, plan.stride)
            if config.antialias == "blur":
                parts.append(_blur(conv.out_channels, side))
    out = plan.out_channels
    parts.append(attention_cost(config, out, side))
    if "norm" in order.joined:
        parts.append(_norm(config, out))
    if INITS[config.init].scaffold in ("skipinit", "rezero"):
        parts.append((1, 0))
    if SHORTCUTS[config.shortcut].through.endswith("gate"):
        parts.append(_gate(plan, before))
    return total(parts), side


def _shortcut(config: ResNetConfig, plan: BlockPlan, side: int) -> Cost:
    if plan.shortcut not in ("projection", "average"):
        return 0, 0
    conv = ConvPlan(plan.in_channels, plan.out_channels, 1, plan.stride)
    parts = [_conv(config, conv, _after(side, plan.stride))]
    if plan.shortcut_norm:
        parts.append(norm_cost(config.norm, plan.out_channels))
    return total(parts)


def _gate(plan: BlockPlan, side: int) -> Cost:
    return conv_cost(1, plan.in_channels, plan.out_channels, _after(side, plan.stride), bias=True)


def _head(config: ResNetConfig, features: int) -> Cost:
    norm = _norm(config, features) if ORDERS[config.order].preactivated else (0, 0)
    return total([norm, _bias(config), linear_cost(features, config.num_classes)])


def _conv(config: ResNetConfig, conv: ConvPlan, side: int) -> Cost:
    sizes = conv.kernel, conv.in_channels, conv.out_channels
    params, macs = conv_cost(*sizes, side, groups=conv.groups, bias=config.conv_bias)
    gains = conv.out_channels if INITS[config.init].scaffold == "nf" else 0
    return params + gains, macs


def _norm(config: ResNetConfig, channels: int, *, last: bool = False) -> Cost:
    """A norm, or the scalars that Fixup has in its place: one, or two behind the branch."""
    if config.norm == "none" and INITS[config.init].scaffold == "fixup":
        return 1 + last, 0
    return norm_cost(config.norm, channels)


def _bias(config: ResNetConfig) -> Cost:
    return (1 if INITS[config.init].scaffold == "fixup" else 0), 0


def _blur(channels: int, side: int) -> Cost:
    """A 3×3 filter of every channel, whose weights are not trained."""
    return 0, 9 * channels * side * side


def _after(side: int, stride: int) -> int:
    """Side of a feature map after anything padded to keep it but for a stride."""
    return -(-side // stride)
