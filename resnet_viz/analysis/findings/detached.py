"""Parameters that a detach(), no_grad or a function without derivative cuts off."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.errors import listed
from resnet_viz.core.finding import Finding
from resnet_viz.core.forward_facts import Detached
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.message import Message, say
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import count

_HOW: dict[str, Callable[[str], Message]] = {
    "detach": lambda op: say("the way back ends at {op}, which detaches its result", op=op),
    "no_grad": lambda op: say("gradients are switched off around {op}", op=op),
    "values": lambda op: say("the way back ends at {op}, whose function has no derivative", op=op),
}
_REMEDIES = {
    "detach": say(
        "remove the detach() (or .data, .item()) if these parameters are to learn; if not, "
        "freeze them with requires_grad_(False), which also saves their memory"
    ),
    "no_grad": say(
        "leave torch.no_grad() or inference_mode() out of the training forward; to keep a "
        "backbone fixed, freeze its parameters with requires_grad_(False)"
    ),
    "values": say(
        "use a soft version (softmax for argmax, sigmoid for a comparison), a "
        "straight-through estimator, or a loss that reads the values before it"
    ),
}


def find_detached(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """One finding per way of cutting; a cut that costs no parameter its gradient is none."""
    flow = flow_in(measurements)
    without = {p.name for p in flow.parameters if p.stats is None} if flow else set()
    groups: dict[str, list[Detached]] = {}
    for row in flow.detached if flow else ():
        if without.intersection(row.parameters):
            groups.setdefault(row.how, []).append(row)
    return tuple(
        _cut(graph, how, rows, [n for n in _names(rows) if n in without])
        for how, rows in groups.items()
    )


def _names(rows: Sequence[Detached]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.parameters))


def _cut(graph: ModelGraph, how: str, rows: Sequence[Detached], lost: Sequence[str]) -> Finding:
    ops = sorted({row.op for row in rows}, key=graph.position)
    place: str = ops[0]
    if len(ops) > 1:
        place = say("{n} calls, from {first} to {last}", n=len(ops), first=ops[0], last=ops[-1])
    return Finding(
        severity="warning",
        what=say("detached"),
        where=tuple(ops),
        evidence=say(
            "{cut}: {lost} of {all} behind it get no gradient ({names})",
            cut=_HOW[how](place),
            lost=count(len(lost), "parameter"),
            all=len(graph.parameters),
            names=listed(lost, 3),
        ),
        threshold=say("trainable parameters whose every way to the loss is cut"),
        source=say("PyTorch autograd: a tensor without grad_fn ends the graph"),
        remedy=_REMEDIES[how],
        explains=tuple(lost),
    )
