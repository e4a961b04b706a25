"""Interleaved pairs of runs, in CPU time of one thread."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PAIRS = 9


@dataclass(frozen=True)
class Ratio:
    """Measured over plain, pair by pair; or one figure in a unit of its own."""

    name: str
    ratios: tuple[float, ...]
    plain: float
    measured: float
    bar: float
    unit: str = "×"

    @property
    def median(self) -> float:
        """The figure to quote."""
        return statistics.median(self.ratios)

    def __str__(self) -> str:
        verdict = "ok" if self.median <= self.bar else "ABOVE THE BAR"
        figure = f"{self.name:10} {self.median:6.3f} {self.unit} (bar {self.bar:g})"
        if len(self.ratios) == 1:
            return f"{figure}  {verdict}"
        return (
            f"{figure}  range {min(self.ratios):.3f} to {max(self.ratios):.3f}  "
            f"plain {self.plain:.3f} s, measured {self.measured:.3f} s  {verdict}"
        )


def pairs(
    name: str,
    plain: Callable[[], float],
    measured: Callable[[], float],
    *,
    bar: float,
    count: int = PAIRS,
) -> Ratio:
    """The ratio of two timed runs, in turn, after one run of each that is not counted."""
    plain()
    measured()
    taken = [(plain(), measured()) for _ in range(count)]
    return Ratio(
        name=name,
        ratios=tuple(m / p for p, m in taken),
        plain=statistics.median(p for p, _ in taken),
        measured=statistics.median(m for _, m in taken),
        bar=bar,
    )


def timed(work: Callable[[], object]) -> float:
    """CPU seconds of this process for one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def kilobytes(name: str) -> int:
    """A row of what the kernel says of this process: ``VmRSS``, or its peak ``VmHWM``.

    Not ``ru_maxrss``: a process inherits that of the one that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition(f"{name}:")[2].split()[0])


def process(*arguments: str) -> float:
    """CPU seconds of a fresh Python process, one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
