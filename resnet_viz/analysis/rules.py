"""What every rule of the diagnosis is made of: its thresholds and its signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

from resnet_viz.core.errors import UserError
from resnet_viz.core.finding import Finding
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure

_FRACTIONS = ("dead_units", "saturated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When a rule speaks.

    Attributes:
        depth_factor: Growth of the gradient norm per layer of the main chain,
            towards the input or away from it, from which depth compounds.
        depth_range: Fitted ratio of the gradient norms at both ends of the chain.
        depth_layers: Fewest measured layers that a slope is fitted to.
        skip_to_branch: Norm of the gradient over the shortcut over that of the
            branch, below which the skip starves (a projection at a tenth of it).
        branch_to_skip: The same the other way round, below which the branch starves.
        dead_units: Fraction of dead units above which an activation is flagged.
        saturated: Fraction of saturated outputs above which an activation is flagged.
        update_low: Update over weight below which a weight stands still.
        update_high: Update over weight above which a weight is thrown about.
        norm_places: Fewest values per channel that a batch statistic may rest on.

    Raises:
        UserError: For a value below 0, or a fraction above 1.
    """

    depth_factor: float = 1.15
    depth_range: float = 1e3
    depth_layers: int = 4
    skip_to_branch: float = 0.1
    branch_to_skip: float = 1e-10
    dead_units: float = 0.5
    saturated: float = 0.5
    update_low: float = 1e-8
    update_high: float = 1e-1
    norm_places: int = 4

    def __post_init__(self) -> None:
        for threshold in fields(self):
            value = getattr(self, threshold.name)
            if not value >= 0:
                raise UserError(f"threshold {threshold.name}={value}: give a number from 0 on")
            if threshold.name in _FRACTIONS and value > 1:
                raise UserError(
                    f"threshold {threshold.name}={value}: it is a fraction; give one from 0 to 1"
                )


Rule: TypeAlias = Callable[
    [ModelGraph, Structure, Sequence[Measurement], Thresholds], tuple[Finding, ...]
]


def flow_in(measurements: Sequence[Measurement]) -> GradientFlow | None:
    """The gradient flow among the measurements, where there is one."""
    return next((m for m in measurements if isinstance(m, GradientFlow)), None)
