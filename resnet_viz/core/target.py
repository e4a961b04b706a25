"""``MaskTarget``: the part of a segmentation that is explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskTarget:
    """One class over some places: its mean score there is explained.

    Attributes:
        mask: ``(H, W)``, or ``(S, H, W)`` with one per sample: numbers or truth values of
            anything that ``torch.as_tensor`` takes; places other than 0 count. Fitted to the
            output's size by its nearest places.
        label: The class, by index or name; the one that wins at most of the places if
            ``None``.
        name: Where the mask came from, for words.
    """

    mask: Any
    label: int | str | None = None
    name: str = ""
