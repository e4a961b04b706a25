"""What the measurements mean: findings, each with its evidence, threshold and source.

A rule is a function ``(graph, structure, measurements, thresholds) -> findings``; to add
one, write it in a file of ``analysis.findings`` and put it into ``RULES``. Thresholds that
theory or a paper gives are quoted with it; the others are said to be ours and why they
stand where they stand.

The order of ``RULES`` is from cause to symptom. A dead layer leaves all before it without
gradient: a rule names such symptoms in ``Finding.explains`` (ops, parameters, or modules),
and they are taken out of the measurements before the next rule is asked. So a rule that
looks for symptoms needs to know of no cause, and one that finds a cause of no later rule.
"""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.analysis.findings.detached import find_detached
from resnet_viz.analysis.findings.explaining import unexplained
from resnet_viz.analysis.findings.inactive import find_dead, find_saturated
from resnet_viz.analysis.findings.nonfinite import find_nonfinite
from resnet_viz.analysis.findings.normalising import find_wrong_norms
from resnet_viz.analysis.findings.raised import find_raised
from resnet_viz.analysis.findings.slope import find_depth_slope
from resnet_viz.analysis.findings.starving import find_starved_branches, find_starved_skips
from resnet_viz.analysis.findings.unmoved import (
    find_parameters_without_gradient,
    find_zero_gradients,
)
from resnet_viz.analysis.findings.updates import find_odd_updates, find_unheld
from resnet_viz.analysis.findings.waiting import notes_of
from resnet_viz.analysis.rules import Rule, Thresholds
from resnet_viz.core.finding import Finding
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure

_WORST_FIRST = {"error": 0, "warning": 1, "note": 2}


def diagnose(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement] = (),
    thresholds: Thresholds | None = None,
) -> tuple[Finding, ...]:
    """All findings of all ``RULES``, worst first."""
    limits = thresholds or Thresholds()
    found: list[Finding] = []
    left = tuple(measurements)
    for rule in RULES.values():
        new = rule(graph, structure, left, limits)
        left = unexplained(left, {name for finding in new for name in finding.explains})
        found += new
    return tuple(sorted(found, key=lambda f: _WORST_FIRST[f.severity]))


RULES: dict[str, Rule] = {
    "exceptions in forward": find_raised,
    "NaN and infinity": find_nonfinite,
    "detached parameters": find_detached,
    "mode of normalisation": find_wrong_norms,
    "dead units": find_dead,
    "saturated units": find_saturated,
    "starved skips": find_starved_skips,
    "starved branches": find_starved_branches,
    "depth slope": find_depth_slope,
    "parameters without gradient": find_parameters_without_gradient,
    "zero gradients": find_zero_gradients,
    "parameters without optimizer": find_unheld,
    "size of updates": find_odd_updates,
}

__all__ = ["RULES", "Rule", "Thresholds", "diagnose", "notes_of"]
