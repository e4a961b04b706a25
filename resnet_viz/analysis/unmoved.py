"""Parameters that the loss does not move, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.errors import listed
from resnet_viz.core.graph import ModelGraph, Op, Ref
from resnet_viz.core.measurement import Finding, GradientFlow
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import count

_WEIGHT_AT = {"addmm": 2, "layer_norm": 2, "group_norm": 2, "rms_norm": 2, "batch_norm": 3}
_REMEDIES = {
    "frozen": "nothing, if freezing is meant; else set requires_grad",
    "never used": "call it or remove it: DistributedDataParallel refuses parameters without use",
    "not on a path": "use what it feeds in the loss, or remove a detach() on the way",
    "zero": "look behind it for a dead ReLU, a saturated activation or an underflow",
}


def find_parameters_without_gradient(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """One finding per reason; what waits behind a layer initialised to zero is a note."""
    flow = flow_in(measurements)
    if flow is None:
        return ()
    groups: dict[str, list[str]] = {}
    for parameter in flow.parameters:
        if parameter.stats is None:
            groups.setdefault(parameter.reason or "not on a path to the loss", []).append(
                parameter.name
            )
        elif parameter.stats.l2 == 0:
            groups.setdefault("exactly zero", []).append(parameter.name)
    zeros = groups.pop("exactly zero", [])
    found = [_without(reason, names, flow) for reason, names in groups.items()]
    if zeros:
        found += _zeros(flow_of(graph), structure, zeros, flow)
    return tuple(found)


def _without(reason: str, names: Sequence[str], flow: GradientFlow) -> Finding:
    remedy = next((text for key, text in _REMEDIES.items() if key in reason), _REMEDIES["zero"])
    return Finding(
        severity="note" if "frozen" in reason else "warning",
        what="no gradient",
        where=tuple(names),
        evidence=f"{count(len(names), 'parameter')} of {len(flow.parameters)}: {reason}",
        threshold="a gradient that is absent or exactly zero",
        source="PyTorch autograd: .grad stays None where no path leads to the loss",
        remedy=remedy,
    )


def _zeros(
    shape: FlowGraph, structure: Structure, names: Sequence[str], flow: GradientFlow
) -> list[Finding]:
    """Zeros before a multiplication by zero that itself gets a gradient will pass."""
    gates = [
        p.name for p in flow.parameters if p.weight_l2 == 0 and p.stats is not None and p.stats.l2
    ]
    readers: dict[str, list[int]] = {}
    for node, op in enumerate(shape.nodes):
        for name in op.parameters:
            readers.setdefault(name, []).append(node)
    shut = {
        name: [n for n in readers.get(name, ()) if _multiplies(shape.nodes[n], name)]
        for name in gates
    }
    near = _held_back(shape, structure, [node for nodes in shut.values() for node in nodes])
    waiting = [n for n in names if (r := readers.get(n)) and near.issuperset(r)]
    found = []
    if waiting:
        zero = [name for name, nodes in shut.items() if nodes]
        finding = _without("exactly zero", waiting, flow)
        found.append(
            Finding(
                severity="note",
                what="no gradient yet",
                where=finding.where,
                evidence=f"{finding.evidence}, held back by weights that are zero and do get "
                f"a gradient: {listed(zero, 3)}",
                threshold=finding.threshold,
                source="chain rule: a factor of zero passes nothing back; Goyal et al. 2017 "
                "start the last scale of a branch at zero on purpose, as do Fixup and SkipInit",
                remedy="nothing: they move from the second step on",
            )
        )
    rest = [name for name in names if name not in set(waiting)]
    if rest:
        found.append(_without("exactly zero", rest, flow))
    return found


def _multiplies(op: Op, name: str) -> bool:
    # A bias that is zero holds nothing back: only factors count.
    if op.kind == "mul":
        return True
    value = op.argument(_WEIGHT_AT.get(op.kind, 1), "weight")
    return isinstance(value, Ref) and value.kind == "param" and value.key == name


def _held_back(shape: FlowGraph, structure: Structure, zeros: Sequence[int]) -> set[int]:
    """Ops that a factor of zero cuts off: all before it, and the rest of its branch.

    A zero comes out of the factor, so that what multiplies it later in the same branch
    (a squeeze-and-excitation) gets no gradient either.
    """
    joins = {shape.graph.position(s.join) for s in structure.skips if s.kind != "gate"}
    # A factor may be made by ops of its own before it meets an activation.
    factors = _reached(zeros, lambda n: () if shape.active[n] else shape.users[n])
    after = _reached(factors, lambda n: tuple(u for u in shape.users[n] if u not in joins))
    before = _reached(factors, lambda n: shape.sources[n])
    return (before | after) - set(zeros)


def _reached(start: Iterable[int], ways: Callable[[int], tuple[int, ...]]) -> set[int]:
    found = set(start)
    stack = list(found)
    while stack:
        for node in ways(stack.pop()):
            if node not in found:
                found.add(node)
                stack.append(node)
    return found
