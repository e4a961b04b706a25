"""What runs beside a branch, and how both are joined.

Options A, B and C of He et al. 2015 (1512.03385), the averaging projection of ResNet-D
(He, T. et al. 2019, 1812.01187), and table 1 of He et al. 2016 (1603.05027).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from resnet_viz.sources.family.layers import GateConv2d, make_conv, make_norm
from resnet_viz.sources.family.parts import SHORTCUTS
from resnet_viz.sources.family.plan import BlockPlan, ConvPlan
from resnet_viz.sources.family.resnet_config import ResNetConfig


class ZeroPad(nn.Module):
    """Option A of He et al. 2015: every ``stride``-th pixel, zeros as new channels."""

    def __init__(self, stride: int, new_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C + new, ⌈H / stride⌉, ⌈W / stride⌉)``."""
        if self.stride != 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels))

    def extra_repr(self) -> str:
        """Stride and number of zero channels, for ``print(model)``."""
        return f"stride={self.stride}, new_channels={self.new_channels}"


def make_shortcut(config: ResNetConfig, plan: BlockPlan) -> nn.Module | None:
    """The module on the shortcut; ``None`` where it is an identity or there is none."""
    if plan.shortcut == "pad":
        return ZeroPad(plan.stride, plan.out_channels - plan.in_channels)
    if plan.shortcut == "projection":
        return nn.Sequential(*_projection(config, plan, plan.stride))
    if plan.shortcut == "average":
        return nn.Sequential(_average(plan), *_projection(config, plan, 1))
    return None


def _projection(config: ResNetConfig, plan: BlockPlan, stride: int) -> list[nn.Module]:
    conv = make_conv(config, ConvPlan(plan.in_channels, plan.out_channels, 1, stride))
    return [conv, make_norm(config, plan.out_channels)] if plan.shortcut_norm else [conv]


def _average(plan: BlockPlan) -> nn.Module:
    if plan.stride > 1:
        return nn.AvgPool2d(plan.stride, plan.stride, ceil_mode=True, count_include_pad=False)
    if plan.dilation > 1:
        # The stage would have strided: it averages still, and keeps every pixel.
        return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, 1))
    return nn.Identity()


class ScaledSum(nn.Module):
    """Constant scaling: the shortcut and the branch times a number each."""

    def __init__(self, shortcut_scale: float, branch_scale: float) -> None:
        super().__init__()
        self.shortcut_scale = shortcut_scale
        self.branch_scale = branch_scale

    def forward(self, branch: Tensor, shortcut: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The two terms of the sum, ``(N, C, H, W)`` each."""
        shortcut = shortcut * self.shortcut_scale
        if self.branch_scale != 1:
            branch = branch * self.branch_scale
        return branch, shortcut

    def extra_repr(self) -> str:
        """Both numbers, for ``print(model)``."""
        return f"shortcut={self.shortcut_scale}, branch={self.branch_scale}"


class GatedSum(nn.Module):
    """Gating: the shortcut times 1 - g(x), and if ``exclusive`` the branch times g(x).

    g is the sigmoid of a 1×1 convolution of what the shortcut starts from. The paper does
    not say what gates do in blocks that change the shape: here the convolution strides and
    widens like the block, so that every pixel and channel of the sum has a gate.
    """

    def __init__(self, plan: BlockPlan, exclusive: bool, first_bias: float) -> None:
        super().__init__()
        self.exclusive = exclusive
        self.conv = GateConv2d(
            plan.in_channels, plan.out_channels, 1, first_bias=first_bias, stride=plan.stride
        )
        self.sigmoid = nn.Sigmoid()

    def forward(self, branch: Tensor, shortcut: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The two terms of the sum, ``(N, C, H, W)`` each."""
        gate = self.conv(x)
        gate = self.sigmoid(gate)
        closing = 1 - gate
        shortcut = shortcut * closing
        if self.exclusive:
            branch = branch * gate
        return branch, shortcut


class DroppedSum(nn.Module):
    """Dropout of the shortcut's values while training."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(probability)

    def forward(self, branch: Tensor, shortcut: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The two terms of the sum, ``(N, C, H, W)`` each."""
        return branch, self.dropout(shortcut)


def make_sum(config: ResNetConfig, plan: BlockPlan) -> nn.Module | None:
    """What both terms pass before they are added; ``None`` for nothing."""
    through = SHORTCUTS[config.shortcut].through
    if through == "scale":
        return ScaledSum(config.shortcut_scale, config.branch_scale)
    if through == "dropout":
        return DroppedSum(config.shortcut_dropout)
    if through:
        return GatedSum(plan, through == "exclusive_gate", config.gate_bias)
    return None
