"""What a ``ResNetConfig`` comes to: every convolution of every block, without torch.

The modules are built from it and the closed forms count over it, so both mean the same
net; the tests hold both to published numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from resnet_viz.sources.family.parts import (
    BLOCKS,
    ORDERS,
    SHORTCUTS,
    STEMS,
    ShortcutKind,
)
from resnet_viz.sources.family.resnet_config import ResNetConfig


class ConvPlan(NamedTuple):
    """One convolution, padded to keep the resolution but for its stride.

    Attributes:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel: Height and width.
        stride: Of the convolution itself; 1 where an anti-aliasing pool takes it over.
        dilation: Distance of its taps.
        groups: Its groups.
    """

    in_channels: int
    out_channels: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """One residual block.

    Attributes:
        stage: Its stage, from 0.
        place: Its place in the stage, from 0.
        index: Its place in the net, from 0.
        convs: The convolutions of its branch.
        stride: Input over output resolution.
        pooled: After which convolution's activation an anti-aliasing pool takes the
            stride; ``None`` where the convolution does it.
        dilation: Of the stage; the first block still has the stage before's.
        shortcut: What runs beside the branch.
        shortcut_norm: Whether its 1×1 convolution is followed by a norm: it ends as the
            branch does, so neither in pre-activation nor where the norm is behind the sum.
        in_channels: Channels in.
        out_channels: Channels out.
    """

    stage: int
    place: int
    index: int
    convs: tuple[ConvPlan, ...]
    stride: int
    pooled: int | None
    dilation: int
    shortcut: ShortcutKind
    shortcut_norm: bool
    in_channels: int
    out_channels: int


def plan_stem(config: ResNetConfig) -> tuple[ConvPlan, ...]:
    """The stem's convolutions, without the one that may replace its pool."""
    stem = STEMS[config.stem]
    channels = config.stem_channels
    widths = [max(1, int(channels * share)) for share in stem.widths]
    sources = [config.in_channels, *widths]
    return tuple(
        ConvPlan(source, width, kernel, stride)
        for source, width, kernel, stride in zip(
            sources, widths, stem.kernels, stem.strides, strict=False
        )
    )


def plan_pool(config: ResNetConfig) -> ConvPlan | None:
    """The convolution that the stem has for a pool; ``None`` where it has none."""
    if STEMS[config.stem].pool != "conv":
        return None
    channels = config.stem_channels
    return ConvPlan(channels, channels, 3, 2 if config.antialias == "none" else 1)


def eca_kernel(channels: int) -> int:
    """The kernel of ECA over ``channels``: the odd number at (log₂C + 1) / 2, or 3.

    Equation 12 of Wang et al. 2020 (1910.03151) with γ = 2 and b = 1, as their code
    rounds it.
    """
    kernel = int((math.log2(channels) + 1) / 2)
    return max(kernel | 1, 3)


@lru_cache(maxsize=32)
def plan_blocks(config: ResNetConfig) -> tuple[BlockPlan, ...]:
    """Every block of the net, in order.

    Where ``output_stride`` is reached a stage dilates instead of striding, as
    torchvision's ``replace_stride_with_dilation`` does.
    """
    part = BLOCKS[config.block]
    plans: list[BlockPlan] = []
    channels, reached, dilation = config.stem_channels, STEMS[config.stem].stride, 1
    for stage, (count, width) in enumerate(zip(config.blocks, config.widths, strict=True)):
        stride = 1 if stage == 0 else 2
        first_dilation = dilation
        if stride > 1 and reached == config.output_stride:
            dilation, stride = dilation * stride, 1
        reached *= stride
        for place in range(count):
            out = width * part.expansion
            plans.append(
                _plan_block(
                    config,
                    (stage, place, len(plans)),
                    (channels, width, out),
                    stride if place == 0 else 1,
                    (first_dilation if place == 0 else dilation, dilation),
                )
            )
            channels = out
    return tuple(plans)


def _plan_block(
    config: ResNetConfig,
    position: tuple[int, int, int],
    channels: tuple[int, int, int],
    stride: int,
    dilations: tuple[int, int],
) -> BlockPlan:
    part = BLOCKS[config.block]
    source, width, out = channels
    inner = width if part.expansion == 1 else config.inner_channels(width)
    strided = part.strided[config.stride]
    pooled = strided if stride > 1 and config.antialias != "none" else None
    convs: list[ConvPlan] = []
    remaining = list(dilations)
    for index, kernel in enumerate(part.kernels):
        last = index == len(part.kernels) - 1
        # A 1×1 has nothing to dilate; of two 3×3 the first belongs to the stage before.
        dilation = remaining.pop(0) if kernel > 1 else 1
        convs.append(
            ConvPlan(
                source if index == 0 else inner,
                out if last else inner,
                kernel,
                stride if index == strided and pooled is None else 1,
                dilation,
                config.cardinality if kernel > 1 else 1,
            )
        )
    shortcut = SHORTCUTS[config.shortcut]
    changes = stride != 1 or source != out
    stage, place, index = position
    return BlockPlan(
        stage=stage,
        place=place,
        index=index,
        convs=tuple(convs),
        stride=stride,
        pooled=pooled,
        dilation=dilations[1],
        shortcut=shortcut.changing if changes else shortcut.keeping,
        shortcut_norm="norm" in ORDERS[config.order].last,
        in_channels=source,
        out_channels=out,
    )
