"""What time is taken with: the processor's clock, or events on an accelerator's stream.

Marks are set while the model runs and read when all of it has run: an accelerator works
behind Python's back, and to ask it for the time is to wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import torch


class Stopwatch(Protocol):
    """Sets marks, and says later how far apart they are."""

    def mark(self) -> Any:
        """A point in time, to be read later."""

    def seconds(self, spans: Sequence[tuple[Any, Any]]) -> list[float]:
        """The length of each span of two marks."""


class Clock:
    """The processor's own clock."""

    mark = staticmethod(time.perf_counter)

    def seconds(self, spans: Sequence[tuple[float, float]]) -> list[float]:
        """The length of each span of two marks."""
        return [end - start for start, end in spans]


class Events:
    """Events on the current stream of an accelerator; they are read after one wait."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> torch.Event:
        """An event behind everything that was launched until now."""
        event = torch.Event(self._device, enable_timing=True)
        event.record()
        return event

    def seconds(self, spans: Sequence[tuple[torch.Event, torch.Event]]) -> list[float]:
        """The length of each span of two events, as the device saw it."""
        torch.accelerator.synchronize(self._device)
        return [float(start.elapsed_time(end)) / 1000 for start, end in spans]


def stopwatch_for(device: torch.device) -> Stopwatch:
    """What tells the time of work on this device."""
    return Clock() if device.type == "cpu" else Events(device)
