"""``follow``: where the rows and columns of an image go in a graph, and what each op reads.

Each value that depends on the image says which of its axes are rows and columns; each op
says which places of an operand one place of its output is made from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from resnet_viz.analysis.reach.rules import step_of
from resnet_viz.analysis.reach.values import UNKNOWN, Operand, Reads, Value, same, unknown
from resnet_viz.core.graph import Edge, ModelGraph, OpId


@dataclass(slots=True)
class Followed:
    """What became of an image in a graph.

    Attributes:
        values: By op and output slot, where they depend on it.
        reads: What each op reads of its operands that run over places.
        uneven: Ops whose places do not all read alike.
    """

    values: dict[tuple[OpId, int], Value]
    reads: dict[OpId, list[tuple[Edge, Reads]]]
    uneven: set[OpId]


def follow(graph: ModelGraph, source: OpId) -> Followed:
    """Follows an image ``(N, C, H, W)`` from an input on."""
    shape = graph[source].shape
    start = Value(roles=("", "", "h", "w"), grid=(shape[2], shape[3]))
    found = Followed(values={(source, 0): start}, reads={}, uneven=set())
    for op in graph.ops:
        edges = [e for e in graph.edges_in(op.id) if (e.src, e.out_slot) in found.values]
        if not edges:
            continue
        operands = [
            Operand(
                slot=e.in_slot,
                value=found.values[e.src, e.out_slot],
                shape=graph[e.src].outputs[e.out_slot].shape,
            )
            for e in edges
        ]
        known = all(o.value.known for o in operands)
        step = step_of(graph, op, operands) if known else unknown()
        if step is None:
            continue
        whole = step.value.whole or any(o.value.whole or not o.value.spatial for o in operands)
        if any(reads is None for reads in step.reads.values()):
            whole = True
        for slot, spec in enumerate(op.outputs):
            fits = len(spec.shape) == len(step.value.roles)
            found.values[op.id, slot] = replace(step.value, whole=whole) if fits else UNKNOWN
        found.reads[op.id] = [
            (edge, step.reads.get(o.slot, (same, same)))
            for edge, o in zip(edges, operands, strict=True)
            if o.value.spatial
        ]
        if step.uneven:
            found.uneven.add(op.id)
    return found
