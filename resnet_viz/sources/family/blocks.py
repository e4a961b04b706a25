"""The residual blocks: two branches, and what stands around them in any order.

Attribute names are torchvision's, so that state dicts fit. ``forward`` has one op
per line, because reports show the line each op came from.
"""

from __future__ import annotations

from torch import Tensor, nn

from resnet_viz.sources.family.antialias import make_antialias
from resnet_viz.sources.family.attention import make_attention
from resnet_viz.sources.family.layers import make_activation, make_branch_norm, make_conv
from resnet_viz.sources.family.parts import INITS, ORDERS
from resnet_viz.sources.family.plan import BlockPlan
from resnet_viz.sources.family.resnet_config import ResNetConfig
from resnet_viz.sources.family.scaffolds import make_bias, make_divisor, make_multiplier
from resnet_viz.sources.family.shortcuts import make_shortcut, make_sum
from resnet_viz.sources.family.stochastic_depth import make_stochastic_depth


class Block(nn.Module):
    """What residual blocks have in common: all but the middle of the branch.

    The order of norm and activation is one of ``ORDERS``. Parts that a config does not
    ask for are ``None``.

    Attributes:
        residual: Whether there is a shortcut; a plain net has none.
        preactivated: Whether norm and activation stand before each convolution.
        downsample: The module on the shortcut; ``None`` for an identity.
    """

    conv1: nn.Module
    bn1: nn.Module
    bias1: nn.Module | None
    conv2: nn.Module
    bn2: nn.Module
    bias2: nn.Module | None

    def __init__(self, config: ResNetConfig, plan: BlockPlan, deviation: float) -> None:
        super().__init__()
        order = ORDERS[config.order]
        self.residual = plan.shortcut != "none"
        self.preactivated = order.preactivated
        # The first block of the net gets the activation of the stem.
        self.acts_first = "act" in order.before and (order.preactivated or plan.index > 0)
        self.norms_branch = "norm" in order.last
        self.acts_branch = "act" in order.last
        self.norms_sum = "norm" in order.joined
        self.acts_sum = "act" in order.joined
        # Made first and registered last, as torchvision does: then the same seed gives
        # the same weights and state dicts have the same order.
        downsample = make_shortcut(config, plan)
        last = len(plan.convs)
        for number, conv in enumerate(plan.convs, start=1):
            normed = conv.in_channels if order.preactivated else conv.out_channels
            norm = make_branch_norm(config, normed, last=number == last)
            parts = [(f"conv{number}", make_conv(config, conv)), (f"bn{number}", norm)]
            for name, module in reversed(parts) if order.preactivated else parts:
                self.add_module(name, module)
            setattr(self, f"bias{number}", make_bias(config))
        # Before anything else has made a tensor of its own, the input must stay; and of two
        # activations in a row the first one's output, which its backward pass needs.
        keeps_input = order.before == ("act",) or (order.preactivated and config.norm == "none")
        keeps_output = not self.residual and self.acts_branch and self.acts_sum
        self.relu = make_activation(config, inplace=not (keeps_input or keeps_output))
        self.divisor = make_divisor(config, deviation)
        self.dropout = nn.Dropout(config.dropout) if config.dropout else None
        self.se = make_attention(config, plan.out_channels)
        self.multiplier = make_multiplier(config)
        self.drop_path = make_stochastic_depth(config, plan.index)
        self.downsample = downsample
        self.sum = make_sum(config, plan)
        # Shape-changing shortcuts start where the branch has been activated.
        self.shares_start = downsample is not None and (
            order.preactivated or INITS[config.init].scaffold == "fixup"
        )

    def begin(self, x: Tensor) -> Tensor:
        """What comes before the first convolution, ``(N, C, H, W)`` to the same."""
        if self.preactivated:
            x = self.bn1(x)
        if self.acts_first:
            x = self.relu(x)
        if self.divisor is not None:
            x = self.divisor(x)
        if self.bias1 is not None:
            x = self.bias1(x)
        return x

    def join(self, out: Tensor, start: Tensor, x: Tensor) -> Tensor:
        """The end of the branch ``out`` and the addition of the shortcut.

        Args:
            out: ``(N, C, H, W)``, where the branch's last norm or convolution ends.
            start: What ``begin`` returned.
            x: The block's input.
        """
        if self.se is not None:
            out = self.se(out)
        if self.multiplier is not None:
            out = self.multiplier(out)
        if self.drop_path is not None:
            out = self.drop_path(out)
        if not self.residual:
            return out
        identity = start if self.shares_start else x
        shortcut = identity if self.downsample is None else self.downsample(identity)
        if self.sum is not None:
            out, shortcut = self.sum(out, shortcut, identity)
        if self.acts_branch:
            # An activation may need its output for the backward pass.
            return out + shortcut
        out += shortcut
        return out


class BasicBlock(Block):
    """Two 3×3 convolutions beside a shortcut (He et al. 2015, figure 5 left)."""

    def __init__(self, config: ResNetConfig, plan: BlockPlan, deviation: float = 1.0) -> None:
        super().__init__(config, plan, deviation)
        self.aa = _pool_after(0, config, plan)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, width, ⌈H / stride⌉, ⌈W / stride⌉)``."""
        norm_between = self.bn2 if self.preactivated else self.bn1
        start = self.begin(x)
        out = self.conv1(start)
        out = norm_between(out)
        out = self.relu(out)
        if self.aa is not None:
            out = self.aa(out)
        if self.dropout is not None:
            out = self.dropout(out)
        if self.bias2 is not None:
            out = self.bias2(out)
        out = self.conv2(out)
        if self.norms_branch:
            out = self.bn2(out)
        if self.acts_branch:
            out = self.relu(out)
        out = self.join(out, start, x)
        if self.norms_sum:
            out = self.bn2(out)
        if self.acts_sum:
            out = self.relu(out)
        summed: Tensor = out
        return summed


class Bottleneck(Block):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut (He et al. 2015, figure 5 right).

    The stride is in the first 1×1 (v1, the paper) or in the 3×3 (v1.5, torchvision); the
    3×3 may have groups (ResNeXt, Xie et al. 2017, 1611.05431).
    """

    conv3: nn.Module
    bn3: nn.Module
    bias3: nn.Module | None

    def __init__(self, config: ResNetConfig, plan: BlockPlan, deviation: float = 1.0) -> None:
        super().__init__(config, plan, deviation)
        self.aa1 = _pool_after(0, config, plan)
        self.aa2 = _pool_after(1, config, plan)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, 4 · width, ⌈H / stride⌉, ⌈W / stride⌉)``."""
        first, second = (self.bn2, self.bn3) if self.preactivated else (self.bn1, self.bn2)
        start = self.begin(x)
        out = self.conv1(start)
        out = first(out)
        out = self.relu(out)
        if self.aa1 is not None:
            out = self.aa1(out)
        if self.bias2 is not None:
            out = self.bias2(out)
        out = self.conv2(out)
        out = second(out)
        out = self.relu(out)
        if self.aa2 is not None:
            out = self.aa2(out)
        if self.dropout is not None:
            out = self.dropout(out)
        if self.bias3 is not None:
            out = self.bias3(out)
        out = self.conv3(out)
        if self.norms_branch:
            out = self.bn3(out)
        if self.acts_branch:
            out = self.relu(out)
        out = self.join(out, start, x)
        if self.norms_sum:
            out = self.bn3(out)
        if self.acts_sum:
            out = self.relu(out)
        summed: Tensor = out
        return summed


def _pool_after(index: int, config: ResNetConfig, plan: BlockPlan) -> nn.Module | None:
    """The anti-aliasing pool behind the activation of convolution ``index``, if there is one."""
    if plan.pooled != index:
        return None
    return make_antialias(config, plan.convs[index].out_channels, plan.stride)
