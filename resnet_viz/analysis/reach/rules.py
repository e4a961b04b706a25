"""One rule per kind of op; of a kind without one nothing is known."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.analysis.kinds import CASTS, DROPOUTS, ELEMENTWISE, IDENTITIES, VALUELESS, words
from resnet_viz.analysis.reach.axes import VIEWS
from resnet_viz.analysis.reach.mixing import MIXING, elementwise
from resnet_viz.analysis.reach.values import Operand, Rule, Step, unknown
from resnet_viz.analysis.reach.windows import WINDOWS
from resnet_viz.core.graph import ModelGraph, Op

_POINTWISE = (
    (ELEMENTWISE - IDENTITIES)
    | DROPOUTS
    | CASTS
    | words("neg exp log sqrt rsqrt square abs contiguous alias detach channel_shuffle")
    | {"native_channel_shuffle"}
)
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_POINTWISE, elementwise),
    **WINDOWS,
    **VIEWS,
    **MIXING,
}


def step_of(graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step | None:
    """What an op makes of operands that depend on the image; ``None`` for none of their values."""
    if op.kind in VALUELESS or not op.outputs:
        return None
    rule = _RULES.get(op.kind)
    return unknown() if rule is None else rule(graph, op, operands)
