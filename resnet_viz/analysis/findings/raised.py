"""The finding where ``forward`` raised: what happened, where, and what to try."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.analysis.rules import Thresholds
from resnet_viz.core.errors import listed
from resnet_viz.core.finding import Finding
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.message import say, say_n
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import shape


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
    before = len(graph) - bool(failure.op)
    ran = (
        say_n("{n} operation had run before it", "{n} operations had run before it", before)
        if before
        else say("no operation had run before it")
    )
    evidence = (
        say(
            "{error}, {place} on {shapes}; {ran}",
            error=failure.error,
            place=failure.place,
            shapes=shapes,
            ran=ran,
        )
        if shapes
        else say("{error}, {place}; {ran}", error=failure.error, place=failure.place, ran=ran)
    )
    return (
        Finding(
            severity="error",
            what=say("forward raised"),
            where=(failure.op or failure.module or "the root module",),
            evidence=evidence,
            threshold=say("any exception that leaves forward"),
            source=say("this run"),
            remedy=failure.hint,
        ),
    )
