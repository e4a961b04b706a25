"""How much a convolution can stretch what passes through it, either way."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FREQUENCIES = 8


def conv_gain(weight: Tensor) -> float:
    """Upper bound of the operator norm of a 3×3 convolution, zero-padded or strided.

    The convolution on the whole plane is the largest singular value of its frequency
    response, a trigonometric polynomial of degree 1 in each direction; borders and
    strides only take away. Between N samples each way it rises by at most
    1 / cos(π / N)² (Ehlich & Zeller 1964).

    Args:
        weight: ``(C_out, C_in, 3, 3)``.
    """
    response = torch.fft.fft2(weight.detach().double(), s=(_FREQUENCIES, _FREQUENCIES))
    # The weights are real: half the frequencies are conjugates of the others.
    half = response[..., : _FREQUENCIES // 2 + 1].permute(2, 3, 0, 1)
    small = half @ half.mH if half.shape[-2] <= half.shape[-1] else half.mH @ half
    largest = float(torch.linalg.eigvalsh(small)[..., -1].amax())
    degree = weight.shape[-1] // 2
    return math.sqrt(max(largest, 0.0)) / math.cos(math.pi * degree / _FREQUENCIES) ** 2
