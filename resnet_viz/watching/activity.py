"""How alive activation functions are during training: those that are modules of their own.

Functional activations (``F.relu``, ``x.relu()``) run no hook of a module and are not seen.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resnet_viz.measuring.gradients.forward_meters import DEAD, IS_FLAT


def _dead(output: Tensor) -> tuple[Tensor, int]:
    """Units that are above zero in less than 1 % of the places, and how many units."""
    axis = 1 if output.ndim >= 4 else output.ndim - 1
    # Not ``output > 0``: on the CPU its sum takes twice to four times as long.
    above = output.sign().clamp_(min=0)
    others = [i for i in range(output.ndim) if i != axis]
    active = above.sum(others, dtype=torch.float32) if others else above
    units = output.shape[axis]
    return (active < DEAD * (output.numel() / units)).sum(), units


_CUTS = (nn.ReLU, nn.ReLU6)
_SQUASHES = {nn.Sigmoid: IS_FLAT["sigmoid"], nn.Tanh: IS_FLAT["tanh"]}


def activation_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that can be dead or saturated, by path, in registration order."""
    known = (*_CUTS, *_SQUASHES)
    return {path: module for path, module in model.named_modules() if isinstance(module, known)}


def is_cut_off(module: nn.Module) -> bool:
    """Whether the function is zero below zero, so that units can die."""
    return isinstance(module, _CUTS)


def count_in(module: nn.Module, output: object) -> tuple[Tensor, int] | None:
    """Dead units or saturated outputs of one call, and how many there are; no transfer."""
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return None
    if not output.numel() or not output.ndim:
        return None
    with torch.no_grad():
        if is_cut_off(module):
            return _dead(output)
        is_flat = next(test for kind, test in _SQUASHES.items() if isinstance(module, kind))
        return is_flat(output).sum(), output.numel()
