"""What the measurements mean: findings, each with its evidence, threshold and source.

A rule is a function ``(graph, structure, measurements, thresholds) -> findings`` in
``RULES``. Thresholds that theory or a paper gives are quoted with it; the others are
said to be ours and why they stand where they stand.
"""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.analysis.depth import find_depth_slope
from resnet_viz.analysis.raised import find_raised
from resnet_viz.analysis.rules import Rule, Thresholds, flow_in
from resnet_viz.analysis.starving import find_starved_branches, find_starved_skips
from resnet_viz.analysis.unmoved import find_parameters_without_gradient
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.measurement import Finding
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import count

_WORST_FIRST = {"error": 0, "warning": 1, "note": 2}


def diagnose(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement] = (),
    thresholds: Thresholds | None = None,
) -> tuple[Finding, ...]:
    """All findings of all ``RULES``, worst first."""
    limits = thresholds or Thresholds()
    found = [f for rule in RULES.values() for f in rule(graph, structure, measurements, limits)]
    return tuple(sorted(found, key=lambda f: _WORST_FIRST[f.severity]))


def find_nonfinite(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """NaN or infinite gradients, and where on the way back they begin."""
    flow = flow_in(measurements)
    bad = [c.op for c in flow.calls if not c.stats.finite] if flow else []
    if not flow or not bad:
        return ()
    return (
        Finding(
            severity="error",
            what="non-finite gradient",
            where=(bad[-1],),
            evidence=(
                f"{count(len(bad), 'call')} of {len(flow.calls)} got NaN or infinite gradients; "
                f"on the way back the first is {bad[-1]}"
            ),
            threshold="any NaN or infinity",
            source="Amazon SageMaker Debugger, rule ExplodingTensor",
            remedy="look for a division, logarithm or square root of zero right after that call",
        ),
    )


RULES: dict[str, Rule] = {
    "exceptions in forward": find_raised,
    "non-finite gradient": find_nonfinite,
    "depth slope": find_depth_slope,
    "parameters without gradient": find_parameters_without_gradient,
    "starved skips": find_starved_skips,
    "starved branches": find_starved_branches,
}

__all__ = ["RULES", "Rule", "Thresholds", "diagnose"]
