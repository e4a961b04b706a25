"""What the shortcuts of a network carry of its gradient, summed up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipShare:
    """Of the gradient at the forks of some residual skips, what came back over which way.

    Σ⟨g_e, g⟩ / Σ⟨g, g⟩ over their forks: the mean of the shares weighted by the squared
    norm of the gradient at each fork. ``shortcut + branch + other`` = 1.

    Attributes:
        by: What they are summed over.
        key: The block's join, the stage's name; empty for the whole network.
        skips: How many skips these are.
        shortcut: What came back over the shortcuts.
        branch: What came back over the residual branches.
        other: What came back from elsewhere: another skip, a gate, an auxiliary head.
        energy: Σ⟨g, g⟩, the weight.
    """

    by: Literal["block", "stage", "network"]
    key: str
    skips: int
    shortcut: float
    branch: float
    other: float
    energy: float
