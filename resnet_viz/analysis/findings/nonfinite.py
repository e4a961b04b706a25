"""NaN and infinity: the first call that makes them, never those that pass them on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.finding import Finding
from resnet_viz.core.forward_facts import NonFinite
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import count, scientific

_THRESHOLD = "any NaN or infinity in the loss or a gradient"
_SOURCE = (
    "Amazon SageMaker Debugger, rule ExplodingTensor; the place by our own rule: the first "
    "call that is given finite numbers and gives others"
)
_FORWARD_REMEDIES = {
    "log": "keep its argument away from zero: log(x + eps), log1p, log_softmax",
    "div": "keep the denominator away from zero: clamp it, or add an epsilon",
    "sqrt": "keep its argument above zero",
    "exp": "subtract the maximum first, or use logsumexp or softmax",
    "softmax": "a row that is masked out entirely has no softmax: leave it one place",
}
_BACKWARD_REMEDY = (
    "the derivative is infinite or 0·∞ there: add an epsilon inside the root, norm or "
    "logarithm, and clean the argument before the function, not its result with where()"
)


def find_nonfinite(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """Where NaN or infinity begins, if it reaches the loss or a gradient.

    A mask of −∞ before a softmax does neither. Where the loss is finite, the backward is
    where it begins.
    """
    flow = flow_in(measurements)
    if flow is None:
        return ()
    bad = [c.op for c in flow.calls if not c.stats.finite]
    broken = [p.name for p in flow.parameters if p.stats is not None and not p.stats.finite]
    if math.isfinite(flow.loss.value) and not bad and not broken:
        return ()
    forward = [row for row in flow.nonfinite if row.direction == "forward"]
    backward = [row for row in flow.nonfinite if row.direction == "backward"]
    meant = [row for row in forward if not _is_mask(graph, row)]
    if meant and not (math.isfinite(flow.loss.value) and backward):
        return (_forward(graph, flow, meant),)
    if backward or bad or broken:
        return (_backward(flow, backward, bad, broken),)
    return (_loss(flow),)


def _forward(graph: ModelGraph, flow: GradientFlow, rows: Sequence[NonFinite]) -> Finding:
    first = rows[0]
    if first.op not in graph:
        return _loss(flow)
    kind = graph[first.op].kind
    verb = "passes" if first.later == 1 else "pass"
    passing = f"; {count(first.later, 'later call')} only {verb} it on" if first.later else ""
    if first.parameter:
        evidence = f"{first.parameter} holds {first.value} before the first step{passing}"
        remedy = "look at where the weights come from: a diverged run, or a bad conversion"
    elif kind == "input":
        evidence = f"{first.op} holds {first.value} itself{passing}"
        remedy = "clean the data before they reach the model"
    else:
        evidence = f"{first.op} makes {first.value} of {_range(first)}{passing}"
        remedy = _FORWARD_REMEDIES.get(kind, "look at what this call does with extreme values")
    if len(rows) > 1:
        evidence += f"; it begins in {count(len(rows) - 1, 'other place')} as well"
    return Finding(
        severity="error",
        what="non-finite value",
        where=tuple(dict.fromkeys(n for row in rows for n in (row.parameter, row.op) if n)),
        evidence=evidence,
        threshold=_THRESHOLD,
        source=_SOURCE,
        remedy=remedy,
        explains=("",),
    )


def _backward(
    flow: GradientFlow, rows: Sequence[NonFinite], bad: Sequence[str], broken: Sequence[str]
) -> Finding:
    if rows:
        first = rows[0]
        where: tuple[str, ...] = tuple(dict.fromkeys(row.op for row in rows))
        evidence = (
            f"the loss is finite; on the way back {first.op} makes {first.value} of a gradient "
            f"with {_range(first)}; {count(len(broken), 'parameter')} of {len(flow.parameters)} "
            "get it"
        )
    else:
        last = (bad or broken)[-1]
        where = (last,)
        evidence = (
            f"{count(len(bad), 'call')} of {len(flow.calls)} got NaN or infinite gradients; "
            f"on the way back the first is {last}"
        )
    return Finding(
        severity="error",
        what="non-finite gradient",
        where=where,
        evidence=evidence,
        threshold=_THRESHOLD,
        source=_SOURCE,
        remedy=_BACKWARD_REMEDY,
        explains=("",),
    )


def _loss(flow: GradientFlow) -> Finding:
    return Finding(
        severity="error",
        what="non-finite value",
        where=("loss",),
        evidence=f"the loss ({flow.loss.name}) is {scientific(flow.loss.value)}, while all that "
        "the model gives it is finite",
        threshold=_THRESHOLD,
        source=_SOURCE,
        remedy="look at the loss function: a logarithm of zero, or a sum that is too large",
        explains=("",),
    )


def _is_mask(graph: ModelGraph, row: NonFinite) -> bool:
    """Whether the call was told to write infinity."""
    if row.parameter or row.op not in graph:
        return False
    op = graph[row.op]
    values = (*op.args, *(value for _, value in op.kwargs))
    return any(isinstance(value, float) and math.isinf(value) for value in values)


def _range(row: NonFinite) -> str:
    if row.low is None or row.high is None:
        return "finite values"
    if row.low == row.high:
        return f"nothing but {scientific(row.low)}"
    return f"values between {scientific(row.low)} and {scientific(row.high)}"
