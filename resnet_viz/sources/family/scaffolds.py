"""What nets without normalisation put in its place: Fixup, SkipInit, ReZero, NF.

Each is a few scalars and one rule for where they stand; ``INITS[config.init].scaffold``
says which. The block asks the functions below and gets a module, or ``None`` where this
config has nothing to put there.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from resnet_viz.sources.family.parts import INITS, NF_ALPHA
from resnet_viz.sources.family.plan import plan_blocks
from resnet_viz.sources.family.resnet_config import ResNetConfig


class ScalarBias(nn.Module):
    """Adds one learnt scalar, at first 0 (Fixup's ``bias1a`` and so on)."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """``x + bias``, of any shape."""
        return x + self.bias


class ScalarAffine(nn.Module):
    """Multiplies by one learnt scalar, at first 1, and adds another, at first 0."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """``x · scale + bias``, of any shape."""
        scaled = x * self.scale
        return scaled + self.bias


class ScalarScale(nn.Module):
    """Multiplies by one learnt scalar, at first 0 (SkipInit's and ReZero's α)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """``x · scale``, of any shape."""
        return x * self.scale


class ConstantScale(nn.Module):
    """Multiplies by a number that is not learnt (NF's α and 1 / β)."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """``x · factor``, of any shape."""
        return x * self.factor

    def extra_repr(self) -> str:
        """The factor, for ``print(model)``."""
        return f"{self.factor:.6g}"


def make_bias(config: ResNetConfig) -> ScalarBias | None:
    """What stands before each convolution of a branch and before the last linear layer.

    A shortcut that changes the shape starts behind the first one of its block, as in the
    reference code of Zhang et al. 2019 (1901.09321).
    """
    return ScalarBias() if INITS[config.init].scaffold == "fixup" else None


def make_norm_substitute(config: ResNetConfig, last: bool = False) -> nn.Module:
    """What ``norm="none"`` puts where a norm would stand in the stem and in a branch.

    Args:
        config: Of the net.
        last: Whether it is the one behind the last convolution of a branch: there Fixup
            has its multiplier. Shortcuts have no substitute.
    """
    if INITS[config.init].scaffold != "fixup":
        return nn.Identity()
    return ScalarAffine() if last else ScalarBias()


def make_multiplier(config: ResNetConfig) -> nn.Module | None:
    """What stands at the end of a branch, right before the addition.

    SkipInit (De & Smith 2020, 2002.10444) and ReZero (Bachlechner et al. 2020, 2003.04887)
    have a learnt scalar there, NF (Brock et al. 2021, 2101.08692) its constant α.
    """
    scaffold = INITS[config.init].scaffold
    if scaffold in ("skipinit", "rezero"):
        return ScalarScale()
    return ConstantScale(NF_ALPHA) if scaffold == "nf" else None


def make_divisor(config: ResNetConfig, beta: float) -> nn.Module | None:
    """What stands behind the first activation of a block: NF's division by ``beta``.

    A shortcut that changes the shape starts behind it.

    Args:
        config: Of the net.
        beta: The block's entry in ``input_deviations``.
    """
    return ConstantScale(1 / beta) if INITS[config.init].scaffold == "nf" else None


def input_deviations(config: ResNetConfig) -> Iterator[float]:
    """β of each block in order: the expected standard deviation of what enters it.

    Brock et al. 2021, section 3: the variance begins at 1, grows by α² in each block, and
    falls back to 1 + α² behind a block whose shortcut is a projection.
    """
    variance = 1.0
    for plan in plan_blocks(config):
        yield variance**0.5
        reset = plan.shortcut in ("projection", "average")
        variance = (1.0 if reset else variance) + NF_ALPHA**2
