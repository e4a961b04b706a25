"""The finding where ``forward`` raised: what happened, where, and what to try."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.analysis.rules import Thresholds
from resnet_viz.core.errors import listed
from resnet_viz.core.finding import Finding
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import count, shape


def find_raised(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """That ``forward`` raised, so that the graph ends early; at most one finding."""
    failure = graph.failure
    if failure is None:
        return ()
    shapes = listed([shape(spec.shape) for spec in failure.inputs])
    met = f" on {shapes}" if shapes else ""
    before = len(graph) - bool(failure.op)
    ran = f"{count(before, 'operation')} had run" if before else "no operation had run"
    return (
        Finding(
            severity="error",
            what="forward raised",
            where=(failure.op or failure.module or "the root module",),
            evidence=f"{failure.error}, {failure.place}{met}; {ran} before it",
            threshold="any exception that leaves forward",
            source="this run",
            remedy=failure.hint,
        ),
    )
