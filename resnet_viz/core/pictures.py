"""Pictures and maps of numbers, as values: what heat maps and contact sheets are made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An encoded image (``data`` is the file's bytes)."""

    name: str
    width: int
    height: int
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap:
    """A map of numbers, quantised to bytes so that it compares and travels.

    ``value = low + byte / 255 * (high - low)``, row by row from the top left.
    """

    width: int
    height: int
    low: float
    high: float
    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != self.width * self.height:
            raise ValueError(f"{len(self.data)} bytes for {self.width}×{self.height}")
