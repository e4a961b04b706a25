"""What the theory of wide nets says of one net's gradient, block by block.

Channels are taken as independent draws, weights as independent of what flows through
them, both ways. Unlike the textbook's single factor it knows this net's fans, strides and
borders: a 3×3 convolution padded with zeros sees nine pixels inside, four in a corner.
With batch norm it knows no borders: there the mean that zeros leave at the rim becomes
most of what is normalised, and no simple theory is known to us.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnet_viz.core.experiments.depth import NetKind
from resnet_viz.experiments.depth.closed_theory import (
    activate,
    chi,
    fixed_point,
    moments,
    normed_factor,
)

_DRAWS_PER_CHANNEL = 64
_GAINS = {"he": 2.0, "xavier": 1.0, "orthogonal": 1.0}

PLAIN = "mean field (Schoenholz et al. 2017; He et al. 2015 for ReLU), with this net's borders"
NORMED = "mean field of batch norm (Yang et al. 2019), without borders"
RESIDUAL = "mean field, carried through the additions by sampling; {borders} borders"


@dataclass(frozen=True, slots=True)
class WideConv:
    """A convolution with very many channels.

    Attributes:
        gain: Fan-in times the mean square of its weights: 2 for He, 1 for Xavier.
        taps: Pixels that its kernel covers.
        stride: Its stride; it is padded by half its kernel.
    """

    gain: float
    taps: int
    stride: int

    @classmethod
    def of(cls, conv: nn.Conv2d) -> WideConv:
        """The wide convolution with the weights' own mean square."""
        weight = conv.weight.detach().double()
        return cls(
            gain=float(weight.square().mean()) * weight[0].numel(),
            taps=weight[0, 0].numel(),
            stride=conv.stride[0],
        )

    def forward(self, seconds: Tensor) -> Tensor:
        """Second moments ``(H, W)`` of its output from those of its input."""
        weight = self._weight()
        pad = weight.shape[-1] // 2
        return F.conv2d(seconds[None, None], weight, stride=self.stride, padding=pad)[0, 0]

    def backward(self, squares: Tensor, shape: Sequence[int]) -> Tensor:
        """Squared gradients ``(H, W)``, summed over channels, from those at its output."""
        weight = self._weight()
        side = weight.shape[-1]
        covered = [(n - 1) * self.stride + side - 2 * (side // 2) for n in squares.shape]
        return F.conv_transpose2d(
            squares[None, None],
            weight,
            stride=self.stride,
            padding=side // 2,
            # Of two sizes that a stride makes equal, the one that was there.
            output_padding=(shape[0] - covered[0], shape[1] - covered[1]),
        )[0, 0]

    def _weight(self) -> Tensor:
        side = round(self.taps**0.5)
        return torch.full((1, 1, side, side), self.gain / self.taps, dtype=torch.float64)


@dataclass(frozen=True, slots=True)
class WideBlock:
    """Two convolutions, and by how much the block widens.

    Attributes:
        first: Its first convolution.
        second: Its second.
        channels: Of its input.
        out_channels: Of its output.
    """

    first: WideConv
    second: WideConv
    channels: int
    out_channels: int


def textbook_factor(kind: NetKind) -> float | None:
    """The factor of one block in an infinitely wide plain net without borders.

    Two layers, each with the square root of χ₁ (of the batch-norm factor). ``None`` for
    residual nets, whose blocks differ, and where the gain depends on the width.
    """
    if kind.residual:
        return None
    if kind.norm == "batch":
        return normed_factor(kind.activation)
    if kind.norm != "none" or kind.init not in _GAINS:
        return None
    gain = _GAINS[kind.init]
    return chi(kind.activation, gain, fixed_point(kind.activation, gain))


def predicted_factors(
    kind: NetKind, stem: WideConv, blocks: Sequence[WideBlock], inputs: Tensor
) -> tuple[tuple[float, ...], str]:
    """The factor of the gradient's norm over each block, last block first, and its source.

    Args:
        kind: What kind of net; the activation follows the addition.
        stem: The first convolution.
        blocks: In forward order.
        inputs: ``(N, C, H, W)``; only the mean square of each pixel is used.
    """
    if kind.norm not in ("none", "batch"):
        return (), ""
    if kind.norm == "batch" and not kind.residual:
        return (normed_factor(kind.activation),) * len(blocks), NORMED
    first = stem.forward(inputs.double().square().mean((0, 1)))
    if not kind.residual:
        return _plain(kind.activation, first, blocks), PLAIN
    borders = "with this net's" if kind.norm == "none" else "without"
    return _residual(kind, first, blocks), RESIDUAL.format(borders=borders)


def _plain(activation: str, q: Tensor, blocks: Sequence[WideBlock]) -> tuple[float, ...]:
    convs = [conv for block in blocks for conv in (block.first, block.second)]
    found = [moments(activation, q)]
    for conv in convs:
        found.append(moments(activation, conv.forward(found[-1].second)))
    squares = torch.ones_like(found[-1].slope)
    factors = []
    for index in reversed(range(0, len(convs), 2)):
        before = squares.sum()
        for at in (index + 1, index):
            passed = squares * found[at + 1].slope
            squares = convs[at].backward(passed, found[at].slope.shape)
        after = squares.sum()
        factors.append(float((after / before).sqrt()))
        squares = squares / after
    return tuple(factors)


@dataclass(frozen=True, slots=True)
class _Passed:
    """One residual block on its way forward.

    Attributes:
        slopes: Squared slope at the addition of each drawn channel, ``(K, H, W)``.
        inner: Squared slope between the convolutions, ``(H, W)``.
        first: By what a squared gradient is divided behind the first convolution.
        second: Likewise behind the second.
    """

    slopes: Tensor
    inner: Tensor
    first: float = 1.0
    second: float = 1.0


def _residual(kind: NetKind, q: Tensor, blocks: Sequence[WideBlock]) -> tuple[float, ...]:
    """Draws channels, carries them forward through the additions, and gradients back.

    A channel's masks at successive additions depend on each other, so that no product of
    expectations will do: what is masked now stays small.
    """
    normed = kind.norm == "batch"
    generator = torch.Generator().manual_seed(0)
    groups = [blocks[0].channels * _DRAWS_PER_CHANNEL]
    if normed:
        q = torch.ones_like(q)
    x, _ = activate(kind.activation, _drawn(groups[0], q, generator))
    shapes, passed = [x.shape], []
    for block in blocks:
        m = x.square().mean(0)
        first = second = 1.0
        if normed:
            # Batch norm takes each channel's mean and divides by what deviation is left.
            first = block.first.gain * _variance(x, groups)
            inner = moments(kind.activation, torch.ones(x.shape[1:], dtype=torch.float64))
            inner_slope = inner.slope[:: block.first.stride, :: block.first.stride]
            second = block.second.gain * float(inner.variance[0, 0])
            branch = torch.ones_like(inner_slope)
        else:
            inner = moments(kind.activation, block.first.forward(m))
            inner_slope = inner.slope
            branch = block.second.forward(inner.second)
        x = x[:, :: block.first.stride, :: block.first.stride]
        new = len(x) * block.out_channels // block.channels - len(x)
        if new:
            groups = [*groups, new]
            x = torch.cat([x, x.new_zeros(new, *x.shape[1:])])
        x, slopes = activate(kind.activation, x + _drawn(len(x), branch, generator))
        passed.append(_Passed(slopes**2, inner_slope, first, second))
        shapes.append(x.shape)
    return _residual_backward(blocks, passed, shapes, normed)


def _residual_backward(
    blocks: Sequence[WideBlock],
    passed: Sequence[_Passed],
    shapes: Sequence[torch.Size],
    normed: bool,
) -> tuple[float, ...]:
    squares = torch.ones(shapes[-1], dtype=torch.float64)
    factors = []
    for block, done, shape in zip(
        reversed(blocks), reversed(passed), reversed(shapes[:-1]), strict=True
    ):
        before = squares.sum()
        joined = squares * done.slopes
        summed = joined.sum(0)
        if normed:
            through = float(
                (summed * done.inner).sum()
                * (block.second.gain / done.second)
                * (block.first.gain / done.first)
            )
            branch = torch.full(shape[1:], through / shape[1:].numel(), dtype=torch.float64)
        else:
            middle = block.second.backward(summed, done.inner.shape) * done.inner
            branch = block.first.backward(middle, shape[1:])
        squares = (branch / shape[0]).expand(shape).clone()
        squares[:, :: block.first.stride, :: block.first.stride] += joined[: shape[0]]
        after = squares.sum()
        factors.append(float((after / before).sqrt()))
        squares = squares / after
    return tuple(factors)


def _drawn(count: int, variances: Tensor, generator: torch.Generator) -> Tensor:
    shape = (count, *variances.shape)
    normal = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
    return normal * variances.sqrt()


def _variance(x: Tensor, groups: Sequence[int]) -> float:
    """Mean variance of a channel: those that began as zeros have a mean of their own."""
    parts = torch.split(x, list(groups))
    return float(sum(part.var(correction=0) * len(part) for part in parts)) / len(x)
