"""A comparison as flat rows: what CSV holds and pandas takes.

``pairs`` (one row per pair of parts, with what each side costs and its gradient),
``differences`` (one row per thing that is not the same) and ``findings`` (of both).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from resnet_viz.core.comparison import Comparison
from resnet_viz.core.graph import OpId
from resnet_viz.core.report import Report

Record = dict[str, Any]


def _pairs(value: Comparison) -> Iterator[Record]:
    for pair in value.alignment.pairs:
        yield {
            "a": pair.a, "b": pair.b, "a_kind": pair.a_kind, "b_kind": pair.b_kind,
            "same": pair.same, "changes": "; ".join(pair.changes),
            **_side("a", value.a, pair.a_ops), **_side("b", value.b, pair.b_ops),
        }  # fmt: skip


def _side(name: str, report: Report, ops: Sequence[OpId]) -> Record:
    """Costs and gradient of one part; empty where this side has none."""
    graph, flow = report.graph, report.gradient_flow
    found = [graph[op] for op in ops if op in graph]
    names = dict.fromkeys(p for op in found for p in op.parameters)
    norms = [s.l2 for p in names if flow is not None and (s := flow.get(p)) is not None]
    return {
        f"{name}_ops": len(found) if ops else None,
        f"{name}_params": sum(op.params for op in found) if found else None,
        f"{name}_macs": sum(op.macs or 0 for op in found) if found else None,
        f"{name}_l2": math.hypot(*norms) if norms else None,
    }


def _differences(value: Comparison) -> Iterator[Record]:
    for d in value.differences:
        yield {
            "kind": d.kind, "path_a": d.path_a, "path_b": d.path_b, "what": d.what, "a": d.a,
            "b": d.b, "delta": d.delta, "pair": d.pair,
        }  # fmt: skip


def _findings(value: Comparison) -> Iterator[Record]:
    for side, report in (("a", value.a), ("b", value.b)):
        for f in report.findings:
            yield {
                "model": side, "severity": f.severity, "what": f.what, "where": " ".join(f.where),
                "evidence": f.evidence, "threshold": f.threshold, "source": f.source,
                "remedy": f.remedy,
            }  # fmt: skip


COMPARISON_TABLES: dict[str, Callable[[Comparison], Iterator[Record]]] = {
    "pairs": _pairs,
    "differences": _differences,
    "findings": _findings,
}
