"""Relevance as text: with its sign, and its deviation where there were several samples."""

from __future__ import annotations

from resnet_viz.core.relevance import Amount
from resnet_viz.core.units import scientific

NOTHING = "–"


def amount_text(amount: Amount | None, *, absolute: bool = False) -> str:
    """``+1.23 ± 0.4``, or without a sign where ``absolute``."""
    if amount is None:
        return NOTHING
    value, sd = (
        (amount.absolute, amount.absolute_sd) if absolute else (amount.signed, amount.signed_sd)
    )
    text = scientific(value) if absolute else signed(value)
    return text if sd is None else f"{text} ± {scientific(sd)}"


def signed(value: float) -> str:
    """The number with its sign written out."""
    return f"+{scientific(value)}" if value > 0 else scientific(value).replace("-", "−", 1)
