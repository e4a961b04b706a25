"""From tensors of attributions to what a report shows: heat maps, bars and verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from resnet_viz.core.attribution import Bar
from resnet_viz.core.message import Message, say
from resnet_viz.core.pictures import Heatmap
from resnet_viz.core.terms import word
from resnet_viz.core.units import percent, scientific

Fold: TypeAlias = Literal["sum", "magnitude"]

MOST_BARS = 40
"""Bars shown of one input; the strongest are kept."""

COMPLETE = 0.05
"""Largest relative completeness delta that passes: 5 % of |F(x) − F(x′)|."""


def is_image(tensor: Tensor) -> bool:
    """Whether a batch is of pictures: ``(N, C, H, W)`` with 1 to 4 channels."""
    return tensor.ndim == 4 and tensor.shape[1] <= 4 and tensor.shape[2] * tensor.shape[3] > 1


def folded(values: Tensor, fold: Fold, *, signed: bool) -> Tensor:
    """One number per place of one sample's attributions ``(C, places…)``.

    The sum over channels, or the value of largest magnitude; its sign is kept where it means
    something.
    """
    if fold == "sum":
        return values.sum(0)
    largest = values.gather(0, values.abs().argmax(0, keepdim=True)).squeeze(0)
    return largest if signed else largest.abs()


def enlarged(values: Tensor, size: tuple[int, int]) -> Tensor:
    """A map ``(h, w)`` at another size, bilinear, as captum enlarges it."""
    if tuple(values.shape) == size:
        return values
    four = values[None, None]
    return functional.interpolate(four, size, mode="bilinear", align_corners=False)[0, 0]


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


def bars_of(
    values: Tensor, fold: Fold, axis: int, labels: list[str], noun: str, *, signed: bool
) -> Bars:
    """One bar per place along ``axis`` of one sample's attributions.

    Args:
        values: Attributions of one sample, of any shape.
        fold: How the other axes become one number: their sum or their norm.
        axis: The axis that is kept.
        labels: One per place along it.
        noun: What a place is (``feature``); sequences keep their order, features come
            strongest first.
        signed: Whether signs mean something, so that the norm has none.
    """
    table = values.detach().cpu().to(torch.float64)
    table = table.movedim(axis, 0) if table.ndim else table[None]
    table = table.reshape(len(table), -1)
    if fold == "sum":
        numbers = table.sum(1)
    elif signed:
        numbers = folded(table.T, fold, signed=True)
    else:
        numbers = table.norm(dim=1)
    order = numbers.abs().argsort(descending=True, stable=True)
    kept, rest = order[:MOST_BARS], order[MOST_BARS:]
    left_out: str = ""
    if len(rest):
        several = {"n": MOST_BARS, "all": len(order), "places": word(f"{noun}s")}
        left_out = (
            say(
                "Shown are the {n} strongest of {all} {places}; the others sum to {sum}.",
                **several,
                sum=scientific(float(numbers[rest].sum())),
            )
            if fold == "sum"
            else say("Shown are the {n} strongest of {all} {places}.", **several)
        )
    if noun != "feature" or not len(rest):
        kept = kept.sort().values
    bars = tuple(Bar(label=labels[i], value=float(numbers[i])) for i in kept.tolist())
    return Bars(bars=bars, left_out=left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """How far attributions miss what they claim to sum to.

    Attributes:
        difference: F(x) − F(x′), or what else they claim.
        delta: The difference less the sum of the attributions.
        rounding: Differences below this are rounding errors of the model's dtype.
        symbol: The difference as a formula.
        against: What it is counted from, in words.
        remedy: What would bring the sum nearer; empty where nothing does.
    """

    difference: float
    delta: float
    rounding: float = 0.0
    symbol: str = "F(x) − F(x′)"
    against: str = ""
    remedy: str = ""

    @property
    def relative(self) -> float | None:
        """``|delta| / |F(x) − F(x′)|``; ``None`` where the score did not move."""
        if abs(self.difference) <= self.rounding:
            return None
        return abs(self.delta / self.difference)

    def verdict(self) -> Message:
        """How far to trust the sum, in one sentence."""
        moved: str = f"{self.symbol} = {scientific(self.difference)}"
        if self.against:
            moved = say("{moved}, counted from {baseline}", moved=moved, baseline=self.against)
        if self.relative is None:
            return (
                say(
                    "The score is the same at {baseline}: try another baseline.",
                    baseline=self.against,
                )
                if self.against
                else say("The score is zero, so there is nothing to hand back.")
            )
        if self.relative <= COMPLETE:
            missed = percent(self.relative) if self.relative >= 0.0005 else say("less than 0.1 %")
            return say("Complete to {part}: the values sum to {sum}.", part=missed, sum=moved)
        advice = (
            say("{remedy} before trusting the sum", remedy=self.remedy)
            if self.remedy
            else say("do not read it as a sum")
        )
        far: str = percent(self.relative)
        if self.relative >= 10:
            far = say("{n} times as much", n=scientific(self.relative))
        return say(
            "Misses {sum}, by {far}, more than {most}: {advice}.",
            sum=moved,
            far=far,
            most=percent(COMPLETE),
            advice=advice,
        )
