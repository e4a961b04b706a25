"""Steps of the wrong size, and parameters that the optimizer does not hold."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.kinds import NORMS
from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.errors import listed
from resnet_viz.core.finding import Finding
from resnet_viz.core.gradient_flow import ParameterGradient
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.message import Message, join, say, say_n
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import count, scientific

RATIO_SOURCE = say(
    "cs231n (Neural Networks 3): about 1e-3 of the weights per step; Amazon SageMaker "
    "Debugger, rule WeightUpdateRatio: above 10 or below 1e-8"
)


def find_odd_updates(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """Weight matrices and kernels whose step is far too large or too small for them.

    Biases, scales and embeddings are left out: they start at zero, or on purpose at 1e-6.
    """
    flow = flow_in(measurements)
    if flow is None or not flow.optimizer:
        return ()
    shape = flow_of(graph)
    weights = _matrices(shape)
    moving = {
        p.name: p.update_ratio
        for p in flow.parameters
        if p.name in weights and p.stats is not None and not p.stats.vanished
        if p.update_ratio is not None
    }
    high = [name for name, ratio in moving.items() if ratio > thresholds.update_high]
    low = [name for name, ratio in moving.items() if ratio < thresholds.update_low]
    found = []
    if high:
        worst = max(high, key=moving.__getitem__)
        turned = [n for n in high if n in _normalised(shape)]
        parts = [
            say(
                "one step of {optimizer} moves {weights} by more than {limit} of their norm; "
                "{worst} by {ratio}",
                optimizer=flow.optimizer,
                weights=_of(high, moving),
                limit=f"{thresholds.update_high:g}",
                worst=worst,
                ratio=scientific(moving[worst]),
            )
        ]
        if turned:
            parts.append(
                say_n(
                    "{n} of them is normalised right after, where it is the angle in radians by "
                    "which the weight turns",
                    "{n} of them are normalised right after, where it is the angle in radians by "
                    "which the weight turns",
                    len(turned),
                )
            )
        found.append(
            _odd(
                say("update too large"),
                high,
                join("; ", parts),
                say("‖w′ − w‖/‖w‖ above {limit}", limit=f"{thresholds.update_high:g}"),
                say("lower the learning rate, warm it up, or clip the gradient"),
            )
        )
    if low:
        least = min(low, key=moving.__getitem__)
        found.append(
            _odd(
                say("update too small"),
                low,
                say(
                    "one step of {optimizer} moves {weights} by less than {limit} of their norm; "
                    "{least} by {ratio}",
                    optimizer=flow.optimizer,
                    weights=_of(low, moving),
                    limit=f"{thresholds.update_low:g}",
                    least=least,
                    ratio=_by(moving[least]),
                ),
                say("‖w′ − w‖/‖w‖ below {limit}", limit=f"{thresholds.update_low:g}"),
                say("raise the learning rate; look at the scale of the loss"),
            )
        )
    return tuple(found)


def find_unheld(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """Parameters that get a gradient and no step, since the optimizer never got them."""
    flow = flow_in(measurements)
    if flow is None or not flow.optimizer:
        return ()
    names = [p.name for p in flow.parameters if _unheld(p)]
    if not names:
        return ()
    return (
        Finding(
            severity="warning",
            what=say("not in the optimizer"),
            where=tuple(names),
            evidence=say(
                "{some} of {all} get a gradient, but {optimizer} does not hold them: {names}",
                some=count(len(names), "parameter"),
                all=len(graph.parameters),
                optimizer=flow.optimizer,
                names=listed(names, 3),
            ),
            threshold=say("a gradient, and no parameter group that it belongs to"),
            source=say("torch.optim: step() moves what was given to the constructor, nothing else"),
            remedy=say(
                "give the optimizer model.parameters(), after all layers are made; freeze what is "
                "not to move"
            ),
            explains=tuple(names),
        ),
    )


def _unheld(parameter: ParameterGradient) -> bool:
    asks = parameter.stats is not None and parameter.weight_l2 > 0
    return asks and parameter.update_ratio is None


def _of(names: Sequence[str], moving: dict[str, float]) -> Message:
    middle = scientific(median(moving.values()))
    return say(
        "{n} of {weights} (median of all {middle})",
        n=len(names),
        weights=count(len(moving), "weight"),
        middle=middle,
    )


def _by(ratio: float) -> str:
    return scientific(ratio) if ratio else say("nothing: the step is lost in rounding")


def _odd(what: str, names: Sequence[str], evidence: str, threshold: str, remedy: str) -> Finding:
    return Finding(
        severity="warning",
        what=what,
        where=tuple(names),
        evidence=evidence,
        threshold=threshold,
        source=RATIO_SOURCE,
        remedy=remedy,
    )


def _matrices(shape: FlowGraph) -> set[str]:
    return {
        name
        for node, op in enumerate(shape.nodes)
        if shape.is_weighted(node)
        for name in op.parameters
        if len(shape.graph.parameter(name).spec.shape) > 1
    }


def _normalised(shape: FlowGraph) -> set[str]:
    """Weights whose scale does not matter, as a norm alone reads what they make."""
    return {
        name
        for node, op in enumerate(shape.nodes)
        if shape.is_weighted(node) and shape.succs[node]
        if all(shape.nodes[user].kind in NORMS for user in shape.succs[node])
        for name in op.parameters
    }
