"""The histogram that magnitudes are counted in, and what can be read off it.

It lives here because merging adds histograms up and reads their quantiles anew.
"""

from __future__ import annotations

from collections.abc import Sequence

LOW_DECADE, HIGH_DECADE, BINS_PER_DECADE = -14, 4, 4
BINS = (HIGH_DECADE - LOW_DECADE) * BINS_PER_DECADE
"""Histogram bins of log10 of the magnitude, from 1e-14 to 1e4, four a decade."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def quantiles_of(histogram: Sequence[int], zeros: float) -> tuple[tuple[float, float], ...]:
    """Pairs of p and the magnitude below which a fraction p lies; empty for no counts.

    Interpolated within a bin on the log axis. A bin spans a quarter of a decade, so a
    value is right to a factor of 1.78 at worst (outside the bins: no further than the
    outermost); exact zeros count as below every bin.

    Args:
        histogram: Counts of the magnitudes above zero, per bin.
        zeros: Fraction of magnitudes that are zero.
    """
    total = sum(histogram)
    if total == 0:
        return ()
    found = []
    for p in QUANTILES:
        wanted = (p - zeros) / (1 - zeros) * total if zeros < 1 else -1.0
        if wanted <= 0:
            found.append((p, 0.0))
            continue
        below = 0
        for i, count in enumerate(histogram):
            if below + count >= wanted and count:
                place = i + (wanted - below) / count
                found.append((p, 10 ** (LOW_DECADE + place / BINS_PER_DECADE)))
                break
            below += count
    return tuple(found)
