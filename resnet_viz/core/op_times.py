"""How long each call of one forward takes: measured, on one machine, in one mode."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from resnet_viz.core.display import Savable
from resnet_viz.core.graph import OpId


@dataclass(frozen=True, slots=True, kw_only=True)
class OpTime:
    """The time of one call.

    Attributes:
        op: The call.
        seconds: Median over the repeats.
        spread: Their interquartile range, in seconds.
    """

    op: OpId
    seconds: float
    spread: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpTimes(Savable):
    """Median time of every call of a forward without gradients.

    A call on the CPU is timed from its start to its return. On an accelerator it is the time
    between two events on the stream, one before and one after it: where the device waits for
    Python to launch the next kernel, that waiting is in it.

    The model ran by turns watched and alone, so that whatever slowed the machine slowed both.
    ``forward`` is what it takes alone; ``total`` is less by what Python does between the
    calls, and may be more where watching keeps the device from running ahead.

    Attributes:
        model: Name of the net.
        mode: Train or eval mode of the forward.
        data: The input, in words.
        device: The device it ran on, as text.
        threads: Of torch, on the CPU.
        repeats: Watched forwards that the medians are over; as many ran alone. One of each
            ran before, untimed.
        forward: Median seconds of the bare forward, which nobody watched.
        watched: Median seconds of the watched one.
        ops: Per call that ran, in forward order.
        autocast: Whether the forward ran under bfloat16 autocast.
    """

    model: str
    mode: Literal["train", "eval"]
    data: str
    device: str
    threads: int
    repeats: int
    forward: float
    watched: float
    ops: tuple[OpTime, ...]
    autocast: bool = False
    _by_op: dict[str, float] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Builds the look-up table."""
        object.__setattr__(self, "_by_op", {row.op: row.seconds for row in self.ops})

    def get(self, op: str) -> float | None:
        """Seconds of a call; ``None`` where it did not run."""
        return self._by_op.get(op)

    @property
    def total(self) -> float:
        """Sum over the calls, in seconds."""
        return math.fsum(row.seconds for row in self.ops)

    @property
    def overhead(self) -> float:
        """Watched over bare forward: 1.1 where watching made it a tenth slower."""
        return self.watched / self.forward if self.forward else math.nan

    def to_records(self) -> list[dict[str, object]]:
        """One row per call, for ``pandas.DataFrame``: ``op``, ``seconds`` and ``spread``."""
        return [{"op": r.op, "seconds": r.seconds, "spread": r.spread} for r in self.ops]
