"""What every rule of the diagnosis is made of: its thresholds and its signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.measurement import Finding, GradientFlow
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When a rule speaks.

    Attributes:
        depth_factor: Growth of the gradient norm per layer of the main chain,
            towards the input or away from it, from which depth compounds.
        depth_range: Fitted ratio of the gradient norms at both ends of the chain.
        depth_layers: Fewest measured layers that a slope is fitted to.
        skip_to_branch: Norm of the gradient over the shortcut over that of the
            branch, below which the skip starves.
        branch_to_skip: The same the other way round, below which the branch starves.
    """

    depth_factor: float = 1.15
    depth_range: float = 1e3
    depth_layers: int = 4
    skip_to_branch: float = 0.1
    branch_to_skip: float = 1e-10


Rule: TypeAlias = Callable[
    [ModelGraph, Structure, Sequence[Measurement], Thresholds], tuple[Finding, ...]
]


def flow_in(measurements: Sequence[Measurement]) -> GradientFlow | None:
    """The gradient flow among the measurements, where there is one."""
    return next((m for m in measurements if isinstance(m, GradientFlow)), None)
