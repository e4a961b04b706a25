"""From a number to a colour step, and back to the numbers that stand on a legend."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from resnet_viz.reporting.colouring.scale_colours import COLOUR_STEPS

SPAN = 1e4
"""A scale goes no further below its top unless asked to: what is weaker is all the same."""
_DECADE = 10.0  # numbers that span more than this are read on a log scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Seven steps between two numbers.

    Attributes:
        low: Where the first step begins; what is less is in it, too.
        high: Where the last one ends.
        log: Whether steps are equal ratios, not equal differences.
        cut: Whether there are numbers below ``low``.
    """

    low: float
    high: float
    log: bool
    cut: bool = False

    def step(self, size: float) -> int:
        """The colour step of a number; 0 for what is no positive finite one."""
        if not (size > 0 and math.isfinite(size)):
            return 0
        if not self.high > self.low:
            return COLOUR_STEPS // 2
        if self.log:
            place = math.log(max(size, self.low) / self.low) / math.log(self.high / self.low)
        else:
            place = (size - self.low) / (self.high - self.low)
        return min(COLOUR_STEPS - 1, max(0, int(place * COLOUR_STEPS)))

    @property
    def edges(self) -> tuple[float, ...]:
        """Where the steps begin, and where the last one ends."""
        parts = [i / COLOUR_STEPS for i in range(COLOUR_STEPS + 1)]
        if self.log:
            return tuple(self.low * (self.high / self.low) ** part for part in parts)
        return tuple(self.low + (self.high - self.low) * part for part in parts)


def scale_of(sizes: Iterable[float], span: float = SPAN) -> Scale:
    """The scale from the least to the largest number, no longer than ``span``.

    It is a log scale where the numbers span more than a decade.
    """
    found = [size for size in sizes if size > 0 and math.isfinite(size)]
    high = max(found, default=1.0)
    low = max(min(found, default=1.0), high / span)
    cut = any(size < low for size in found)
    return Scale(low=low, high=high, log=high > _DECADE * low, cut=cut)
