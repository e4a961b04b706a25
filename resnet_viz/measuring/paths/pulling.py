"""One autograd node at a time: an engine that stops exactly where it is told to.

``torch.autograd.grad`` cannot be cut: asked for the gradient at two places of which one
lies behind the other, it adds what passes the first to the second. To tell paths apart,
each node is called by itself, and what it returns goes only over the edges asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor
from torch.autograd.graph import Node

from resnet_viz.measuring.gradients.products import flat

Slots: TypeAlias = list[Tensor | None]
"""The gradient with respect to each output of an autograd node."""

Arrived: TypeAlias = dict[Node, Slots]
Edges: TypeAlias = Mapping[Node, Sequence[tuple[int, Node, int]]]
"""Per node: position among its ``next_functions``, the node there, and its slot."""


def pull(edges: Edges, nodes: Sequence[Node], arrived: Arrived) -> Arrived:
    """What arrives behind these nodes, summed per place.

    Args:
        edges: Where to go on; what a node returns over other edges is dropped.
        nodes: The nodes to call, consumers first.
        arrived: Gradients at the nodes to start from; used up.
    """
    for node in nodes:
        slots = arrived.pop(node, None)
        if slots is None:
            continue
        returned = call(node, slots)
        for i, below, slot in edges.get(node, ()):
            gradient = returned[i] if i < len(returned) else None
            if gradient is not None:
                put(arrived, below, slot, conform(gradient, below, slot))
    return arrived


def put(arrived: Arrived, node: Node, slot: int, gradient: Tensor) -> None:
    """Adds a gradient to what has arrived at a place; never in place."""
    slots = arrived.get(node)
    if slots is None:
        slots = arrived[node] = [None] * len(metadata(node))
    before = slots[slot]
    slots[slot] = gradient if before is None else before + gradient


def call(node: Any, slots: Slots) -> tuple[Tensor | None, ...]:
    """What the node sends to each of its ``next_functions``."""
    if callable(node):
        returned = node(*slots)
        return returned if isinstance(returned, tuple) else (returned,)
    # A custom ``Function``; autograd's engine would fill in the zeros, and drop what it
    # returns for arguments that are no tensors.
    given = zip(slots, metadata(node), strict=True)
    returned = node.apply(*(_zeros(meta, slots) if g is None else g for g, meta in given))
    returned = returned if isinstance(returned, tuple) else (returned,)
    wanted = (g for g, needed in zip(returned, node.needs_input_grad, strict=False) if needed)
    return tuple(None if below is None else next(wanted) for below, _ in node.next_functions)


def _zeros(meta: Any, slots: Slots) -> Tensor:
    like = next(g for g in slots if g is not None)
    return like.new_zeros(tuple(meta.shape), dtype=meta.dtype)


def wide_row(gradient: Tensor) -> Tensor:
    """The gradient as one row, in float64 where the device has it."""
    # The square of what came through fifty branches is below float32's smallest number.
    row = flat(gradient)
    return row if row.device.type == "mps" else row.double()


def metadata(node: Any) -> Sequence[Any]:
    """Shape and dtype of each output of the node."""
    found: Sequence[Any] = node._input_metadata
    return found


def conform(gradient: Tensor, node: Node, slot: int) -> Tensor:
    """The gradient in shape and dtype of the output it belongs to.

    Autograd's engine does this between nodes: kernels return the gradient of the
    broadcast operand.
    """
    meta = metadata(node)[slot]
    if gradient.shape != meta.shape:
        gradient = gradient.sum_to_size(tuple(meta.shape))
    if gradient.dtype != meta.dtype:
        real = gradient.is_complex() and not meta.dtype.is_complex
        gradient = (gradient.real if real else gradient).to(meta.dtype)
    return gradient
