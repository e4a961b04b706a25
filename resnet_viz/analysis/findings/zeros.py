"""Gradients that are exactly zero: where on the way back they become so, and what that costs.

A gradient that arrives at a call and does not leave it names the culprit: the call is the
*boundary* between zero and not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from resnet_viz.analysis.flow_graph import FlowGraph
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.structure import Structure


def zero_parameters(flow: GradientFlow) -> list[str]:
    """Parameters that get a gradient of which every element is exactly zero."""
    return [p.name for p in flow.parameters if p.stats is not None and p.stats.vanished]


def cut_off(
    shape: FlowGraph, structure: Structure, flow: GradientFlow, ops: Iterable[str]
) -> tuple[str, ...]:
    """What ops that pass nothing on explain: names for ``Finding.explains``.

    The ops and all that only they keep alive, calls and parameters with a gradient of
    exactly zero before and after them, and the forks whose branch they lie in.
    """
    shut = set(shape.positions(ops))
    silent = set(zero_parameters(flow))
    before = reached(
        (s for n in shut for s in shape.sources[n] if _is_zero(shape, flow, s)),
        lambda n: (s for s in shape.sources[n] if _is_zero(shape, flow, s)),
    )
    after = fed_only_by(shape, shut)
    names = {shape.nodes[n].id: None for n in sorted(shut | before | after)}
    read = (name for n in sorted(shut | before | after) for name in shape.nodes[n].parameters)
    forks = (s.fork for s in structure.skips if shut & set(shape.positions(s.branch)))
    return tuple(dict.fromkeys((*names, *(n for n in read if n in silent), *forks)))


def fed_only_by(shape: FlowGraph, shut: Collection[int]) -> set[int]:
    """Nodes whose activations all come from these: nothing of the input reaches them."""
    silent, fed = set(shut), set()
    for node, ways in enumerate(shape.preds):
        if ways and silent.issuperset(ways):
            silent.add(node)
            fed.add(node)
    return fed


def boundaries(shape: FlowGraph, flow: GradientFlow, names: Collection[str]) -> set[int]:
    """Calls that get a gradient of which nothing reaches these parameters.

    Empty where the gradient is zero from the loss on, or was not measured on the way.
    """
    wanted = set(names)
    readers = [n for n, op in enumerate(shape.nodes) if not wanted.isdisjoint(op.parameters)]
    found = {n for n in readers if _has_gradient(shape, flow, n)}
    zeros = reached(
        (n for n in readers if _is_zero(shape, flow, n)),
        lambda n: (u for u in shape.users[n] if _is_zero(shape, flow, u)),
    )
    return found | {
        user for n in zeros for user in shape.users[n] if _has_gradient(shape, flow, user)
    }


def starts_at_zero(shape: FlowGraph, flow: GradientFlow) -> bool:
    """Whether the gradient is zero at every output that gets one."""
    ends = {shape.graph.position(output.src) for output in shape.graph.outputs}
    measured = [n for n in ends if flow.get(shape.nodes[n].id) is not None]
    return bool(measured) and all(_is_zero(shape, flow, n) for n in measured)


def reached(start: Iterable[int], ways: Callable[[int], Iterable[int]]) -> set[int]:
    """Every node that can be reached over ``ways``, the start included."""
    found = set(start)
    stack = list(found)
    while stack:
        for node in ways(stack.pop()):
            if node not in found:
                found.add(node)
                stack.append(node)
    return found


def _is_zero(shape: FlowGraph, flow: GradientFlow, node: int) -> bool:
    stats = flow.get(shape.nodes[node].id)
    return stats is not None and stats.vanished


def _has_gradient(shape: FlowGraph, flow: GradientFlow, node: int) -> bool:
    stats = flow.get(shape.nodes[node].id)
    return stats is not None and not stats.vanished
