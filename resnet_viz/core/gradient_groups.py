"""What was measured of a gradient, taken together by block, by stage and for the network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from resnet_viz.core.gradient_flow import GradientFlow, ParameterGradient, combine
from resnet_viz.core.graph import ModelGraph, OpId

if TYPE_CHECKING:
    from resnet_viz.core.structure import Block, Structure


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientGroup:
    """The gradient of some calls and of the parameters they read, taken as one.

    Attributes:
        by: What they are: the calls of a block, of a stage, or all.
        key: The block's join, the stage's name; empty for the network.
        parameters: How many distinct parameters they read.
        measured: How many of these received a gradient.
        l2: Norm of the gradient of these; ``None`` where there is none.
        ratio: ``l2`` over the norm of the same parameters; ``None`` where that is zero.
        update_ratio: ‖w′ − w‖/‖w‖ of all that the optimizer moved; ``None`` without one.
        output_l2: Norm of the gradient at their last output that has one.
        dead: Fraction of dead units of the worst activation function; ``None`` for none.
        gain: Product of the gains of the links of the chain that end here; ``None`` where
            none does.
        shortcut: Of the gradient at the forks of residual skips, what came back over the
            shortcuts; ``None`` where there are none.
    """

    by: Literal["block", "stage", "network"]
    key: str
    parameters: int
    measured: int
    l2: float | None
    ratio: float | None
    update_ratio: float | None
    output_l2: float | None
    dead: float | None
    gain: float | None
    shortcut: float | None


def gradient_groups(
    graph: ModelGraph, structure: Structure, flow: GradientFlow
) -> tuple[GradientGroup, ...]:
    """A value per block, one per stage, and one for the network, in this order."""
    groups = _Groups(graph, flow)
    return (
        *(groups.block(block) for block in structure.blocks),
        *(groups.of("stage", stage.name, stage.ops) for stage in structure.stages),
        groups.of("network", "", [op.id for op in graph.ops]),
    )


def update_ratio_of(parameters: Iterable[ParameterGradient]) -> float | None:
    """‖w′ − w‖/‖w‖ of several parameters taken as one; ``None`` where not measured."""
    known = [p for p in parameters if p.update_ratio is not None]
    weights = math.hypot(*(p.weight_l2 for p in known))
    if not known or not weights:
        return None
    return math.hypot(*(p.weight_l2 * (p.update_ratio or 0.0) for p in known)) / weights


class _Groups:
    """Look-ups that all groups share."""

    def __init__(self, graph: ModelGraph, flow: GradientFlow) -> None:
        self._graph, self._flow = graph, flow
        self._parameters = {p.name: p for p in flow.parameters}
        self._dead = {a.op: a.dead for a in flow.activities if a.dead is not None}
        self._gains = {link.end: link.gain for link in flow.chain}
        self._shortcuts = {(s.by, s.key): s.shortcut for s in flow.skip_shares}

    def block(self, block: Block) -> GradientGroup:
        """Its skip's own share stands in where shares were not summed."""
        return self.of("block", block.skip.join, block.ops, self._flow.share_of(block.skip))

    def of(
        self,
        by: Literal["block", "stage", "network"],
        key: str,
        ops: Sequence[OpId],
        share: float | None = None,
    ) -> GradientGroup:
        """The group of these calls."""
        found = list(self._read_by(ops))
        measured = [p for p in found if p.stats is not None]
        l2 = combine([p.stats for p in measured if p.stats]).l2 if measured else None
        weight = math.hypot(*(p.weight_l2 for p in measured))
        outputs = (stats.l2 for op in reversed(ops) if (stats := self._flow.get(op)))
        gains = [self._gains[op] for op in ops if op in self._gains]
        return GradientGroup(
            by=by,
            key=key,
            parameters=len(found),
            measured=len(measured),
            l2=l2,
            ratio=l2 / weight if l2 is not None and weight else None,
            update_ratio=update_ratio_of(measured),
            output_l2=next(outputs, None),
            dead=max((self._dead[op] for op in ops if op in self._dead), default=None),
            gain=math.prod(gains) if gains else None,
            shortcut=self._shortcuts.get((by, key), share),
        )

    def _read_by(self, ops: Sequence[OpId]) -> Iterator[ParameterGradient]:
        names = dict.fromkeys(name for op in ops for name in self._graph[op].parameters)
        return (self._parameters[name] for name in names if name in self._parameters)
