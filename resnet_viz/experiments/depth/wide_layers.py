"""The setting in which the closed forms are exact in the limit: wide fully connected layers.

Nothing here is a net that anybody trains. It has no borders, no strides and no narrow
stages, so that a gap between measurement and theory has no excuse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_viz.measuring.device import to_host
from resnet_viz.sources.family.parts import ACTIVATIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """``depth`` equal layers h' = [h +] W φ([BN] h) + b.

    Attributes:
        activation: One of the family's.
        weight: σ_w²: fan-in times the variance of a weight.
        bias: Variance of a bias.
        start: Mean square of the input, which is Gaussian.
        normed: Whether batch norm (without parameters) comes before the activation.
        residual: Whether the input is added.
        width: Units of each layer.
        depth: Number of layers.
        samples: Independent inputs of the batch.
    """

    activation: str
    weight: float
    bias: float = 0.0
    start: float = 1.0
    normed: bool = False
    residual: bool = False
    width: int = 512
    depth: int = 24
    samples: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one draw of such layers did, from the input on.

    Attributes:
        seconds: Mean square of each h, the input's first.
        squares: |gradient|² with respect to each h, likewise; a standard-normal one comes
            in at the end.
        branches: Mean square of each W φ(…).
    """

    seconds: tuple[float, ...]
    squares: tuple[float, ...]
    branches: tuple[float, ...]

    def growth(self, skip: int = 0) -> float:
        """Geometric mean by which a layer multiplies |gradient|² on the way back.

        Args:
            skip: Layers at each end that are left out.
        """
        kept = self.squares[skip : len(self.squares) - skip]
        return float((kept[0] / kept[-1]) ** (1 / (len(kept) - 1)))


def measure_layers(layers: Layers, seed: int) -> Measured:
    """One forward and one backward through a draw of the layers, in float32 on the CPU."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device="cpu", dtype=torch.float32)

    part = ACTIVATIONS[layers.activation]
    activation = getattr(torch.nn, part.module)(**part.options)
    h = (normal(layers.samples, layers.width) * math.sqrt(layers.start)).requires_grad_()
    passed, branches = [h], []
    for _ in range(layers.depth):
        weight = normal(layers.width, layers.width) * math.sqrt(layers.weight / layers.width)
        seen = torch.nn.functional.batch_norm(h, None, None, training=True) if layers.normed else h
        branch = activation(seen) @ weight + normal(layers.width) * math.sqrt(layers.bias)
        h = h + branch if layers.residual else branch
        passed.append(h)
        branches.append(branch)
    gradients = torch.autograd.grad(h, passed, normal(layers.samples, layers.width))
    numbers = to_host(
        [
            *(value.detach().square().mean() for value in passed),
            *(gradient.double().square().sum() for gradient in gradients),
            *(branch.detach().square().mean() for branch in branches),
        ]
    )
    count = len(passed)
    return Measured(
        seconds=tuple(numbers[:count]),
        squares=tuple(numbers[count : 2 * count]),
        branches=tuple(numbers[2 * count :]),
    )
