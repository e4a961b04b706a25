"""From numbers to places between 0 and 1, with ticks at round numbers.

Nothing here raises for any float: what no axis can hold is placed at an edge and
says so, because a diverged run is a result and not a broken picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from resnet_viz.reporting.experiments.figure import Axis

Off = Literal["", "above", "below", "nan"]
"""Whether a value lies on the axis, over its end, under it, or nowhere."""

_HUGE = 1e290  # beyond it, differences of two floats overflow
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LEAST_DECADES = 0.6
_DECADES = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis with its ends: ``low < high``, both above 0 where it is logarithmic."""

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> tuple[float, Off]:
        """Fraction of the way from ``low`` to ``high``, within [0, 1], and what is off."""
        if math.isnan(value):
            return 0.0, "nan"
        if value > self.high:
            return 1.0, "above"
        if value < self.low:
            return 0.0, "below"
        if self.log:
            low, high = math.log10(self.low), math.log10(self.high)
            part = (math.log10(value) - low) / (high - low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return min(max(part, 0.0), 1.0), ""

    def ticks(self, most: int) -> tuple[tuple[float, str], ...]:
        """At most about ``most`` round numbers on the axis, each with its text."""
        return _log_ticks(self, most) if self.log else _linear_ticks(self, most)


def scale_for(values: Iterable[float], axis: Axis, *, air: float = 0.04) -> Scale:
    """A scale that holds every value an axis of this kind can hold, with some air."""
    good = [v for v in values if abs(v) < _HUGE and (v > 0 or not axis.log)]
    low = min(good, default=1.0 if axis.log else 0.0)
    high = max(good, default=10.0 if axis.log else 1.0)
    low, high = _aired_log(low, high, air) if axis.log else _aired(low, high, air)
    low = low if axis.low is None else axis.low
    high = high if axis.high is None else axis.high
    if not low < high:
        high = low * 10 if axis.log else low + max(1.0, abs(low))
    return Scale(low, high, axis.log)


def _aired(low: float, high: float, air: float) -> tuple[float, float]:
    span = high - low
    # What differs by less than single precision can hold is constant; so is what differs by
    # less than a step of an axis can be.
    if span <= max(1e-6 * max(abs(low), abs(high)), 1e-300):
        span = max(abs(high), 1e-300) if high else 1.0
        return low - span / 2, high + span / 2
    # Zero is a fact of most axes here; air below it would suggest negative errors.
    bottom = 0.0 if 0 <= low <= span else low - air * span
    return bottom, high + air * span


def _aired_log(low: float, high: float, air: float) -> tuple[float, float]:
    a, b = math.log10(low), math.log10(high)
    more = max(air * (b - a), (_LEAST_DECADES - (b - a)) / 2, 0.0)
    return 10.0 ** max(a - more, -323.0), 10.0 ** min(b + more, 300.0)


def _linear_ticks(scale: Scale, most: int) -> tuple[tuple[float, str], ...]:
    step = _step((scale.high - scale.low) / max(1, most))
    first, last = math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9)
    found = [(n * step, number(n * step, step)) for n in range(first, last + 1)]
    return tuple((min(max(v, scale.low), scale.high), text) for v, text in found)


def _step(least: float) -> float:
    power = 10.0 ** max(math.floor(math.log10(least)), -300)
    return next((m * power for m in (1.0, 2.0, 2.5, 5.0) if m * power >= least), 10 * power)


def _log_ticks(scale: Scale, most: int) -> tuple[tuple[float, str], ...]:
    low, high = math.log10(scale.low), math.log10(scale.high)
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    if last - first < 1 or (last - first < 2 and most >= 4):
        within = [
            m * 10.0**p
            for p in range(math.floor(low), math.ceil(high))
            for m in (1, 2, 5)
            if scale.low <= m * 10.0**p <= scale.high
        ]
        if len(within) < 2:
            return _linear_ticks(scale, most)
        within = within[:: math.ceil(len(within) / max(2, most))]
        return tuple((v, _log_text(v)) for v in within)
    least = (last - first + 1) / max(2, most)
    step = next(s for s in _DECADES if s >= least)
    # Multiples of the step, so that 10⁰ is among them wherever it is on the axis.
    powers = [p for p in range(first, last + 1) if p % step == 0] or [first, last]
    return tuple((min(max(10.0**p, scale.low), scale.high), _power(p)) for p in powers)


def _log_text(value: float) -> str:
    power = math.floor(math.log10(value) + 1e-9)
    if -3 <= power <= 3:
        return number(value, 10.0**power)
    lead = round(value / 10.0**power)
    return f"{lead}·{_power(power)}" if lead != 1 else _power(power)


def _power(p: int) -> str:
    return number(10.0**p, 10.0**p) if 0 <= p <= 2 else f"10{str(p).translate(_SUPERSCRIPTS)}"


def number(value: float, step: float) -> str:
    """A tick's text: as many digits as the step between two of them needs."""
    if not value:
        return "0"
    # A value near 1 in steps of 10⁻⁵ reads best with all its digits.
    if abs(value) >= 1e5 or (step < 1e-4 and not (abs(value) >= 0.01 and step > 1e-9)):
        power = math.floor(math.log10(abs(value)) + 1e-12)
        lead = value / 10.0**power if power > -300 else value * 10.0**-power
        last = math.floor(math.log10(step) + 1e-9)
        # A step of 2.5·10⁻¹⁰ has one digit more than its power of ten.
        half = power < 300 and abs(step / 10.0**last - round(step / 10.0**last)) > 1e-6
        digits = min(max(0, power - last + half), 12)
        text = f"{lead:.{digits}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return f"{text}·{_power(power)}".replace("-", "−") if text != "1" else _power(power)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    # A step of 2.5 or 0.25 has one digit more than its power of ten.
    if abs(step * 10**digits - round(step * 10**digits)) > 1e-6:
        digits += 1
    return f"{value:,.{digits}f}".replace("-", "−")
