"""From tensors of attributions to what a report shows: heat maps, bars and verdicts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_viz.core.attribution import Bar, Heatmap
from resnet_viz.core.units import percent, scientific
from resnet_viz.measuring.attributions.methods import Method

MOST_BARS = 40
"""Bars shown of one input; the strongest are kept."""

COMPLETE = 0.05
"""Largest relative completeness delta that passes: 5 % of |F(x) − F(x′)|."""


def is_image(tensor: Tensor) -> bool:
    """Whether a batch is of pictures: ``(N, C, H, W)`` with 1 to 4 channels."""
    return tensor.ndim == 4 and tensor.shape[1] <= 4 and tensor.shape[2] * tensor.shape[3] > 1


def heatmap_of(values: Tensor, method: Method) -> Heatmap:
    """The map of one sample's attributions ``(C, H, W)``, folded over channels."""
    folded = values.sum(0) if method.fold == "sum" else values.abs().amax(0)
    return quantised(folded)


def quantised(values: Tensor) -> Heatmap:
    """A map ``(H, W)`` in bytes; no value is off by more than (high − low)/510."""
    values = values.detach().cpu().to(torch.float64)
    low, high = float(values.min()), float(values.max())
    span = high - low or 1.0
    data = ((values - low) / span * 255).round().to(torch.uint8).contiguous()
    height, width = values.shape
    # ``numpy`` is no dependency of ours, so the bytes leave as a list.
    return Heatmap(
        width=width, height=height, low=low, high=high, data=bytes(data.flatten().tolist())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """The bars of one sample, and what was left out in words."""

    bars: tuple[Bar, ...]
    left_out: str = ""


def bars_of(values: Tensor, method: Method, axis: int, labels: list[str], noun: str) -> Bars:
    """One bar per place along ``axis`` of one sample's attributions.

    Args:
        values: Attributions of one sample, of any shape.
        method: Says how the other axes fold into one number.
        axis: The axis that is kept.
        labels: One per place along it.
        noun: What a place is (``feature``); sequences keep their order, features come
            strongest first.
    """
    table = values.detach().cpu().to(torch.float64)
    table = table.movedim(axis, 0) if table.ndim else table[None]
    table = table.reshape(len(table), -1)
    numbers = table.sum(1) if method.fold == "sum" else table.norm(dim=1)
    order = numbers.abs().argsort(descending=True, stable=True)
    kept, rest = order[:MOST_BARS], order[MOST_BARS:]
    left_out = ""
    if len(rest):
        left_out = f"Shown are the {MOST_BARS} strongest of {len(order)} {noun}s"
        if method.fold == "sum":
            left_out += f"; the others sum to {scientific(float(numbers[rest].sum()))}"
        left_out += "."
    if noun != "feature" or not len(rest):
        kept = kept.sort().values
    bars = tuple(Bar(label=labels[i], value=float(numbers[i])) for i in kept.tolist())
    return Bars(bars=bars, left_out=left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """How far attributions miss F(x) − F(x′).

    Attributes:
        difference: F(x) − F(x′).
        delta: The difference less the sum of the attributions.
        rounding: Differences below this are rounding errors of the model's dtype.
    """

    difference: float
    delta: float
    rounding: float = 0.0

    @property
    def relative(self) -> float | None:
        """``|delta| / |F(x) − F(x′)|``; ``None`` where the score did not move."""
        if abs(self.difference) <= self.rounding:
            return None
        return abs(self.delta / self.difference)

    def verdict(self, baseline: str, n_steps: int) -> str:
        """How far to trust the sum, in one sentence."""
        moved = f"F(x) − F(x′) = {scientific(self.difference)}"
        if self.relative is None:
            return f"The score is the same at the baseline ({baseline}): try another baseline."
        if self.relative <= COMPLETE:
            missed = percent(self.relative) if self.relative >= 0.0005 else "less than 0.1 %"
            return (
                f"Complete to {missed}: the values sum to {moved}, counted from the baseline "
                f"({baseline})."
            )
        return (
            f"Misses {moved} by {percent(self.relative)}, more than {percent(COMPLETE)}: raise "
            f"n_steps (now {n_steps}) before trusting the sum; the baseline is {baseline}."
        )
