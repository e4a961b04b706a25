"""Stochastic depth: whole branches left out, at random, while training."""

from __future__ import annotations

from torch import Tensor, nn

from resnet_viz.sources.family.resnet_config import ResNetConfig


class StochasticDepth(nn.Module):
    """Leaves out the branch of some images of a batch (Huang et al. 2016, 1603.09382).

    In training each image keeps its branch with probability 1 - ``rate`` and the kept
    ones are divided by that, so the mean is that of evaluation, where nothing happens.

    Attributes:
        rate: Probability of leaving the branch out.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same, with zeros for the images left out."""
        if not self.training:
            return x
        keep = 1 - self.rate
        mask = x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(keep)
        return x * (mask / keep if keep else mask)

    def extra_repr(self) -> str:
        """The rate, for ``print(model)``."""
        return f"rate={self.rate:.6g}"


def make_stochastic_depth(config: ResNetConfig, index: int) -> StochasticDepth | None:
    """That of block ``index`` of the net, from 0; ``None`` where it leaves nothing out.

    Equation 4 of the paper, the linear rule: block l of L is left out with l / L times the
    last one's probability.
    """
    rate = config.stochastic_depth * (index + 1) / sum(config.blocks)
    return StochasticDepth(rate) if rate else None
