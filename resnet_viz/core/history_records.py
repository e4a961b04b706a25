"""A watched training as flat rows: what CSV holds and pandas takes.

``parameters`` (one row per watched step and parameter), ``steps``, ``activations`` (per
watched step and activation module) and ``findings``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from resnet_viz.core.history import History, Step

Record = dict[str, Any]

PARAMETER_COLUMNS = (
    *("step", "optimizer", "loss", "lr", "parameter", "l2", "rms", "high"),
    *("weight_l2", "update_ratio", "cosine"),
)


def parameter_rows(step: Step) -> Iterator[Record]:
    """One row per parameter, with ``PARAMETER_COLUMNS``."""
    for p in step.parameters:
        yield {
            "step": step.step, "optimizer": step.optimizer, "loss": step.loss, "lr": step.lr,
            "parameter": p.name, "l2": p.l2, "rms": p.rms, "high": p.high,
            "weight_l2": p.weight_l2, "update_ratio": p.update_ratio, "cosine": p.cosine,
        }  # fmt: skip


def _parameters(history: History) -> Iterator[Record]:
    for step in history.steps:
        yield from parameter_rows(step)


def _steps(history: History) -> Iterator[Record]:
    for s in history.steps:
        yield {
            "step": s.step, "optimizer": s.optimizer, "loss": s.loss, "lr": s.lr,
            "scale": s.scale, "backwards": s.backwards, "l2": s.l2, "clipped_l2": s.clipped_l2,
            "nonfinite": " ".join(s.nonfinite), "skipped": s.skipped, "seconds": s.seconds,
        }  # fmt: skip


def _activations(history: History) -> Iterator[Record]:
    for s in history.steps:
        for a in s.activations:
            yield {
                "step": s.step, "optimizer": s.optimizer, "module": a.name,
                "dead": a.dead, "saturated": a.saturated,
            }  # fmt: skip


def _findings(history: History) -> Iterator[Record]:
    for f in history.findings:
        found = f.finding
        yield {
            "severity": found.severity, "what": found.what, "where": " ".join(found.where),
            "first": f.first, "last": f.last, "steps": f.steps, "evidence": found.evidence,
            "threshold": found.threshold, "source": found.source, "remedy": found.remedy,
        }  # fmt: skip


HISTORY_TABLES: dict[str, Callable[[History], Iterator[Record]]] = {
    "parameters": _parameters,
    "steps": _steps,
    "activations": _activations,
    "findings": _findings,
}
