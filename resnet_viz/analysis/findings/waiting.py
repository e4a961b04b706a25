"""What only waits behind a zero that moves first: zero-initialised heads, scales and gains.

No trouble, and so no finding; but whoever reads that a third of the parameters gets no
gradient has to be told why.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from resnet_viz.analysis.findings.starving import awakes, starved_branches
from resnet_viz.analysis.findings.zeros import reached, zero_parameters
from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.rules import Thresholds, flow_in
from resnet_viz.core.errors import listed
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.graph import ModelGraph, Op, Ref
from resnet_viz.core.message import say, say_n
from resnet_viz.core.report import Measurement
from resnet_viz.core.structure import Structure

_WEIGHT_AT = {"addmm": 2, "layer_norm": 2, "group_norm": 2, "rms_norm": 2, "batch_norm": 3}


@dataclass(frozen=True, slots=True)
class Waiting:
    """Parameters with a gradient of exactly zero, and the zero factors they wait for."""

    names: tuple[str, ...]
    gates: tuple[str, ...]


def notes_of(
    graph: ModelGraph, structure: Structure, measurements: Sequence[Measurement]
) -> tuple[str, ...]:
    """Sentences for ``GradientFlow.notes`` on what is zero now and will move later."""
    flow = flow_in(measurements)
    if flow is None:
        return ()
    held = waiting(flow_of(graph), structure, flow)
    notes: list[str] = []
    if held.names:
        gates = listed(held.gates, 3)
        notes.append(
            say_n(
                "{n} parameter gets exactly zero gradient now because {zeros}, the others follow "
                "from the second step on.",
                "{n} parameters get exactly zero gradient now because {zeros}, the others follow "
                "from the second step on.",
                len(held.names),
                zeros=say("{gate} is all zeros; it moves first", gate=gates)
                if len(held.gates) == 1
                else say("{gates} are all zeros; they move first", gates=gates),
            )
        )
    asleep = starved_branches(structure, flow, Thresholds())
    resting = sum(awakes(graph, split.skip, flow) for split in asleep)
    if resting:
        notes.append(
            say_n(
                "{n} residual branch starts at zero, so that all of the gradient takes the "
                "shortcut for now (Goyal et al. 2017; Fixup, SkipInit, ReZero).",
                "{n} residual branches start at zero, so that all of the gradient takes the "
                "shortcut for now (Goyal et al. 2017; Fixup, SkipInit, ReZero).",
                resting,
            )
        )
    return tuple(notes)


def waiting(shape: FlowGraph, structure: Structure, flow: GradientFlow) -> Waiting:
    """What is held back by factors that are zero and do get a gradient."""
    readers = _readers(shape)
    shut = _shut(shape, readers, flow)
    nodes = {node for found in shut.values() for node in found}
    factors = _factors(shape, nodes)
    before = reached(factors, lambda n: shape.sources[n])
    near = (before | _hushed(shape, structure, factors)) - nodes
    names = (n for n in zero_parameters(flow) if (r := readers.get(n)) and near.issuperset(r))
    return Waiting(tuple(names), tuple(name for name, found in shut.items() if found))


def hushed(shape: FlowGraph, structure: Structure, flow: GradientFlow) -> set[int]:
    """Ops that see no more than the zero of such a factor, and are silent for that alone."""
    shut = _shut(shape, _readers(shape), flow)
    nodes = {node for found in shut.values() for node in found}
    return _hushed(shape, structure, _factors(shape, nodes))


def _readers(shape: FlowGraph) -> dict[str, list[int]]:
    readers: dict[str, list[int]] = {}
    for node, op in enumerate(shape.nodes):
        for name in op.parameters:
            readers.setdefault(name, []).append(node)
    return readers


def _shut(
    shape: FlowGraph, readers: Mapping[str, Sequence[int]], flow: GradientFlow
) -> dict[str, list[int]]:
    """The ops that multiply by each parameter that is zero and gets a gradient."""
    return {
        p.name: [n for n in readers.get(p.name, ()) if multiplies(shape.nodes[n], p.name)]
        for p in flow.parameters
        if p.weight_l2 == 0 and p.stats is not None and not p.stats.vanished
    }


def multiplies(op: Op, name: str) -> bool:
    """Whether the op multiplies by this parameter: a bias that is zero holds nothing back."""
    if op.kind == "mul":
        return True
    value = op.argument(_WEIGHT_AT.get(op.kind, 1), "weight")
    return isinstance(value, Ref) and value.kind == "param" and value.key == name


def _factors(shape: FlowGraph, zeros: Collection[int]) -> set[int]:
    # A factor may be made by ops of its own before it meets an activation.
    return reached(zeros, lambda n: () if shape.active[n] else shape.users[n])


def _hushed(shape: FlowGraph, structure: Structure, factors: Collection[int]) -> set[int]:
    """The rest of the branches that the factors stand in.

    A zero comes out of the factor, so that what multiplies it later in the same branch
    (a squeeze-and-excitation) gets no gradient either.
    """
    joins = {shape.graph.position(s.join) for s in structure.skips if s.kind != "gate"}
    return reached(factors, lambda n: (u for u in shape.users[n] if u not in joins))
