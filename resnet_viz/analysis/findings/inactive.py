"""Activation functions that are dead or saturated, so that no gradient gets past them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnet_viz.analysis.depth import main_chain
from resnet_viz.analysis.findings.waiting import hushed
from resnet_viz.analysis.findings.zeros import cut_off, fed_only_by, reached
from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.finding import Finding
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.message import Message, join, say, say_n
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import count, percent

_ALL = 0.9995
_SIGMAS = 3.0


def find_dead(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """Activations most of whose units are off, unless only for now or for an earlier one.

    A centred unit that sees nearly the same input everywhere (pooled features of random
    images) is off with probability one half, so half of a healthy layer may be. A layer is
    flagged where it is above the threshold by three standard errors of such a coin.
    """
    flow = flow_in(measurements)
    off = [a for a in flow.activities if is_dead(a.dead, a.units, thresholds)] if flow else []
    if not flow or not off:
        return ()
    shape = flow_of(graph)
    quiet = hushed(shape, structure, flow)
    rows = [a for a in off if graph.position(a.op) not in quiet]
    if not rows:
        return ()
    shut = [a.op for a in rows if (a.dead or 0.0) > _ALL]
    explained = cut_off(shape, structure, flow, shut)
    behind = fed_only_by(shape, shape.positions(shut))
    causes = [a for a in rows if graph.position(a.op) not in behind]
    worst = max(causes, key=lambda a: a.dead or 0.0)
    dead = round((worst.dead or 0.0) * worst.units)
    lost = sum(p.name in explained for p in flow.parameters)
    parts: list[Message] = [
        say(
            "{dead} of {units} of {layer} are above zero in less than 1 % of the places (batch "
            "and space)",
            dead=dead, units=count(worst.units, "unit"), layer=worst.op,
        )
    ]  # fmt: skip
    if len(causes) > 1:
        parts.append(say_n("so it is in {n} more layer", "so it is in {n} more layers",
                           len(causes) - 1))  # fmt: skip
    if lost:
        parts.append(say_n("{n} parameter gets exactly zero gradient for it",
                           "{n} parameters get exactly zero gradient for it", lost))  # fmt: skip
    return (
        Finding(
            severity="warning",
            what=say("dead units"),
            where=tuple(a.op for a in causes),
            evidence=join("; ", parts),
            threshold=say(
                "{part} of the units by three standard errors: {limit} of {units}",
                part=percent(thresholds.dead_units),
                units=worst.units,
                limit=percent(dead_limit(worst.units, thresholds)),
            ),
            source=say(
                "Amazon SageMaker Debugger, rule DeadRelu: a unit that is active in less than 1 %, "
                "a layer of which more than 50 % are dead; the standard errors are ours"
            ),
            remedy=say(
                "look for a large negative bias or shift before it; use a smaller learning rate, "
                "a leaky ReLU, or normalisation before the activation"
            ),
            explains=tuple(dict.fromkeys((*explained, *(a.op for a in rows)))),
        ),
    )


def dead_limit(units: int, thresholds: Thresholds) -> float:
    """The fraction of dead units above which a layer of ``units`` is flagged; at most 1.

    The threshold and three standard errors of as many coins; for a user's threshold of 0 or
    1 there is no error.
    """
    part = thresholds.dead_units
    return min(1.0, part + _SIGMAS * math.sqrt(part * (1 - part) / units))


def is_dead(dead: float | None, units: int, thresholds: Thresholds) -> bool:
    """Whether so large a fraction of so many units is a finding."""
    if dead is None or not units:
        return False
    limit = dead_limit(units, thresholds)
    # Of very few units all may be off by chance: 2^-7 is too likely in a deep net.
    return dead > limit if limit < 1 else units >= 8 and dead > _ALL


def find_saturated(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """Sigmoids and tanhs on their flat ends.

    The model's own outputs are left out (a probability near 0 or 1 is an answer), and so is
    the tanh inside a hand-written GELU, which is flat where GELU is linear.
    """
    flow = flow_in(measurements)
    over = [
        a
        for a in (flow.activities if flow else ())
        if a.saturated is not None and a.saturated > thresholds.saturated
    ]
    if not flow or not over:
        return ()
    shape = flow_of(graph)
    rows = [a for a in over if not _is_answer(shape, a.op) and not _is_gelu(shape, a.op)]
    if not rows:
        return ()
    worst = max(rows, key=lambda a: a.saturated or 0.0)
    evidence: Message = say(
        "{part} of the outputs of {layer} lie where the slope is below 5 % of its largest",
        part=percent(worst.saturated or 0.0), layer=worst.op,
    )  # fmt: skip
    if len(rows) > 1:
        more = say_n("so it is in {n} more layer", "so it is in {n} more layers", len(rows) - 1)
        evidence = join("; ", [evidence, more])
    ops = [a.op for a in rows]
    return (
        Finding(
            severity="warning",
            what=say("saturated units"),
            where=tuple(ops),
            evidence=evidence,
            threshold=say("more than {part} of the outputs", part=percent(thresholds.saturated)),
            source=say(
                "ours, after Glorot & Bengio 2010: at 5 % of the slope a layer passes back a "
                "twentieth. Amazon SageMaker Debugger's rules (|x| > 9.4999 for tanh, 23 for "
                "sigmoid) wait for a slope of 2e-8 and 1e-10"
            ),
            remedy=say(
                "make what comes in smaller: Xavier initialisation, normalisation before it, a "
                "smaller bias or learning rate; or use an activation that does not saturate"
            ),
            # A gradient that shrinks or grows towards the input does so because of it.
            explains=(*cut_off(shape, structure, flow, ops), *_upstream(shape, structure, ops)),
        ),
    )


def _upstream(shape: FlowGraph, structure: Structure, ops: Sequence[OpId]) -> list[OpId]:
    last = reached(shape.positions(ops), lambda n: shape.preds[n])
    return [op for op in main_chain(shape, structure) if shape.graph.position(op) in last]


def _is_answer(shape: FlowGraph, op: OpId) -> bool:
    return any(output.src == op for output in shape.graph.outputs)


def _is_gelu(shape: FlowGraph, op: OpId) -> bool:
    """Whether a tanh only ever meets ``1 + tanh`` (Hendrycks & Gimpel 2016, eq. 2)."""
    node = shape.graph.position(op)
    users = [shape.nodes[u] for u in shape.users[node]]
    return shape.nodes[node].kind == "tanh" and bool(users) and all(
        user.kind == "add" and any(value == 1 for value in user.args) for user in users
    )  # fmt: skip
