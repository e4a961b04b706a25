"""Parameters that the loss does not move, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resnet_viz.analysis.findings.starving import zero_and_frozen
from resnet_viz.analysis.findings.waiting import multiplies, waiting
from resnet_viz.analysis.findings.zeros import boundaries, starts_at_zero, zero_parameters
from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.errors import listed
from resnet_viz.core.finding import Finding, Severity
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.graph import ModelGraph, Op
from resnet_viz.core.message import Message, join, say, say_n
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import count, scientific


@dataclass(frozen=True, slots=True)
class _Reason:
    what: str
    severity: Severity
    evidence: Message
    remedy: Message


_REASONS = {
    "frozen": _Reason(
        say("frozen"),
        "note",
        say("without requires_grad"),
        say("nothing, if freezing is meant; else call requires_grad_()"),
    ),
    "never used": _Reason(
        say("never called"),
        "warning",
        say("read by no call of this forward"),
        say("call them or remove them: DistributedDataParallel refuses parameters without use"),
    ),
    "not on a path": _Reason(
        say("not on the loss path"),
        "warning",
        say("used, but on no way to the loss"),
        say("add what they feed to the loss, or leave it out of the forward"),
    ),
}


def find_parameters_without_gradient(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """One finding per reason that parameters have no gradient at all."""
    flow = flow_in(measurements)
    groups: dict[str, list[str]] = {}
    for parameter in flow.parameters if flow else ():
        if parameter.stats is None:
            reason = parameter.reason or "not on a path"
            key = next((key for key in _REASONS if key in reason), "")
            groups.setdefault(key, []).append(parameter.name)
    return tuple(
        Finding(
            severity=reason.severity,
            what=reason.what,
            where=tuple(groups[key]),
            evidence=say(
                "{some} of {all} {how}: {names}",
                some=count(len(groups[key]), "parameter"),
                all=len(graph.parameters),
                how=reason.evidence,
                names=listed(groups[key], 3),
            ),
            threshold=say("a gradient that is absent"),
            source=say("PyTorch autograd: .grad stays None where no path leads to the loss"),
            remedy=reason.remedy,
            explains=tuple(groups[key]),
        )
        for key, reason in _REASONS.items()
        if key in groups
    )


def find_zero_gradients(
    graph: ModelGraph,
    structure: Structure,
    measurements: Sequence[Measurement],
    thresholds: Thresholds,
) -> tuple[Finding, ...]:
    """Gradients of exact zeros that no zero factor excuses which itself gets a gradient."""
    flow = flow_in(measurements)
    zeros = zero_parameters(flow) if flow else []
    if not flow or not zeros:
        return ()
    shape = flow_of(graph)
    excused = set(waiting(shape, structure, flow).names)
    names = [name for name in zeros if name not in excused]
    if not names:
        return ()
    edges = sorted(boundaries(shape, flow, names))
    calls = [shape.nodes[edge] for edge in edges]
    zero = [p for p in flow.parameters if p.weight_l2 == 0 and _is_factor(p.name, calls)]
    stuck = [p.name for p in zero if p.stats is not None and p.stats.vanished]
    frozen = [p.name for p in zero if p.stats is None]
    return (
        Finding(
            severity="warning",
            what=say("zero gradient"),
            where=tuple(shape.nodes[edge].id for edge in edges or _first_zeros(shape, flow))
            or tuple(names),
            evidence=join(
                "; ",
                [
                    say(
                        "{some} of {all} with a gradient of exactly zero ({names})",
                        some=count(len(names), "parameter"),
                        all=len(graph.parameters),
                        names=listed(names, 3),
                    ),
                    *_why(shape, flow, edges, stuck, frozen),
                ],
            ),
            threshold=say("a gradient of which every element is exactly zero"),
            source=say("chain rule: what is multiplied by zero passes nothing back"),
            remedy=_remedy(stuck or frozen, calls),
            explains=tuple(names),
        ),
    )


def _is_factor(name: str, calls: Sequence[Op]) -> bool:
    return any(name in op.parameters and multiplies(op, name) for op in calls)


def _first_zeros(shape: FlowGraph, flow: GradientFlow) -> list[int]:
    if not starts_at_zero(shape, flow):
        return []
    return sorted({shape.graph.position(output.src) for output in shape.graph.outputs})


def _why(
    shape: FlowGraph,
    flow: GradientFlow,
    edges: Sequence[int],
    stuck: Sequence[str],
    frozen: Sequence[str],
) -> list[Message]:
    if not edges:
        loss = starts_at_zero(shape, flow)
        return [say("it is zero already where it leaves the loss")] if loss else []
    op = shape.nodes[edges[0]]
    norm = scientific(flow[op.id].l2)
    parts = [say("a norm of {norm} arrives at {op} and only zeros leave it", norm=norm, op=op.id)]
    if len(edges) > 1:
        parts.append(say_n("and so at {n} other call", "and so at {n} other calls", len(edges) - 1))
    if len(stuck) == 1:
        parts.append(say("{name} is zero too, so that nothing there can ever move", name=stuck[0]))
    elif stuck:
        names = listed(stuck, 3)
        parts.append(say("{names} are zero too, so that nothing there can ever move", names=names))
    elif frozen:
        parts.append(zero_and_frozen(frozen))
    return parts


def _remedy(stuck: Sequence[str], ops: Sequence[Op]) -> Message:
    if stuck:
        return say("let one factor of the product start at another value than zero, and train it")
    if not ops:
        return say("look at the loss: a weight of zero, a mask over every target, or underflow")
    if any("16" in out.dtype for op in ops for out in op.outputs):
        return say("scale the loss up (torch.amp.GradScaler) or use bfloat16: float16 ends at 6e-8")
    return say("look for a factor of zero, a mask that is empty, or a dead activation at that call")
