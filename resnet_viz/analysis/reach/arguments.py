"""Arguments of ops as the numbers they stand for."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.core.graph import Arg, ModelGraph, Op, Ref


def weight_shape(graph: ModelGraph, op: Op) -> tuple[int, ...]:
    """Shape of a layer's second argument; empty where it is unknown."""
    weight = op.argument(1, "weight")
    if not isinstance(weight, Ref):
        return ()
    if isinstance(weight.key, int):
        edge = graph.edges_in(op.id)[weight.key]
        return graph[edge.src].outputs[edge.out_slot].shape
    return graph.parameter(weight.key).spec.shape if weight.kind == "param" else ()


def pair(value: Arg) -> tuple[int, int] | None:
    """One number for both directions, or two; ``None`` for anything else."""
    items = value if isinstance(value, tuple) else (value,)
    found = numbers(items)
    if len(found) != len(items) or len(found) not in (1, 2):
        return None
    return found[0], found[-1]


def numbers(items: Sequence[Arg]) -> tuple[int, ...]:
    """The whole numbers among these."""
    return tuple(i for i in items if isinstance(i, int) and not isinstance(i, bool))
