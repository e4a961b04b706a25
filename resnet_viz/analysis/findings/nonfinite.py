"""NaN and infinity: the first call that makes them, never those that pass them on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.finding import Finding
from resnet_viz.core.forward_facts import NonFinite
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.message import Message, join, say, say_n
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import count, scientific

_THRESHOLD = say("any NaN or infinity in the loss or a gradient")
_SOURCE = say(
    "Amazon SageMaker Debugger, rule ExplodingTensor; the place by our own rule: the first "
    "call that is given finite numbers and gives others"
)
_FORWARD_REMEDIES = {
    "log": say("keep its argument away from zero: log(x + eps), log1p, log_softmax"),
    "div": say("keep the denominator away from zero: clamp it, or add an epsilon"),
    "sqrt": say("keep its argument above zero"),
    "exp": say("subtract the maximum first, or use logsumexp or softmax"),
    "softmax": say("a row that is masked out entirely has no softmax: leave it one place"),
}
_BACKWARD_REMEDY = say(
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
    if first.parameter:
        begins = say(
            "{parameter} holds {value} before the first step",
            parameter=first.parameter,
            value=first.value,
        )
        remedy = say("look at where the weights come from: a diverged run, or a bad conversion")
    elif kind == "input":
        begins = say("{input} holds {value} itself", input=first.op, value=first.value)
        remedy = say("clean the data before they reach the model")
    else:
        begins = say(
            "{op} makes {value} of {values}", op=first.op, value=first.value, values=_range(first)
        )
        remedy = _FORWARD_REMEDIES.get(kind, say("look at what this call does with extreme values"))
    parts = [begins]
    if first.later:
        parts.append(
            say_n(
                "{n} later call only passes it on", "{n} later calls only pass it on", first.later
            )
        )
    if len(rows) > 1:
        parts.append(
            say_n(
                "it begins in {n} other place as well",
                "it begins in {n} other places as well",
                len(rows) - 1,
            )
        )
    return Finding(
        severity="error",
        what=say("non-finite value"),
        where=tuple(dict.fromkeys(n for row in rows for n in (row.parameter, row.op) if n)),
        evidence=join("; ", parts),
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
        evidence = say(
            "the loss is finite; on the way back {op} makes {value} of a gradient with {values}; "
            "{broken} of {all} get it",
            op=first.op,
            value=first.value,
            values=_range(first),
            broken=count(len(broken), "parameter"),
            all=len(flow.parameters),
        )
    else:
        last = (bad or broken)[-1]
        where = (last,)
        evidence = say(
            "{bad} of {all} got NaN or infinite gradients; on the way back the first is {last}",
            bad=count(len(bad), "call"),
            all=len(flow.calls),
            last=last,
        )
    return Finding(
        severity="error",
        what=say("non-finite gradient"),
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
        what=say("non-finite value"),
        where=("loss",),
        evidence=say(
            "the loss ({loss}) is {value}, while all that the model gives it is finite",
            loss=flow.loss.name,
            value=scientific(flow.loss.value),
        ),
        threshold=_THRESHOLD,
        source=_SOURCE,
        remedy=say("look at the loss function: a logarithm of zero, or a sum that is too large"),
        explains=("",),
    )


def _is_mask(graph: ModelGraph, row: NonFinite) -> bool:
    """Whether the call was told to write infinity."""
    if row.parameter or row.op not in graph:
        return False
    op = graph[row.op]
    values = (*op.args, *(value for _, value in op.kwargs))
    return any(isinstance(value, float) and math.isinf(value) for value in values)


def _range(row: NonFinite) -> Message:
    if row.low is None or row.high is None:
        return say("finite values")
    if row.low == row.high:
        return say("nothing but {value}", value=scientific(row.low))
    return say(
        "values between {low} and {high}", low=scientific(row.low), high=scientific(row.high)
    )
