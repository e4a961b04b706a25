"""Which autograd node belongs to which call: the bridge between the two graphs.

Gradients live on the edges of autograd's graph, facts on calls. A node belongs
to the call whose output it leads to, down to the outputs of earlier calls.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from resnet_viz.core.graph import OpId
from resnet_viz.tracing.calls import CallObserver, state_names
from resnet_viz.tracing.walk import Function, Walk


class Place(NamedTuple):
    """An output of an autograd node: where gradients arrive and are summed."""

    node: Node
    slot: int


class Produced(NamedTuple):
    """A call's output that takes part in the backward."""

    op: OpId
    place: Place
    numel: int


class NodeMap(CallObserver):
    """Observes a forward and remembers each call's autograd nodes.

    Attributes:
        produced: Outputs of calls (and inputs), in forward order.
        reads: ``id`` of every parameter some call read.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(state_names(model))
        self.produced: list[Produced] = []
        self.reads: set[int] = set()
        self._owner: dict[Node, OpId] = {}
        self._waiting: list[tuple[OpId, list[Tensor]]] = []

    def add_input(self, tensor: Tensor, op: OpId) -> None:
        """The input called ``op``, which must have a node."""
        self._claim(op, [tensor])

    def record(
        self,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
        written: list[Tensor],
    ) -> None:
        """Claims the nodes behind the call's outputs."""
        state = self._state
        for value in (*args, *kwargs.values()):
            if id(value) in state:
                self.reads.add(id(value))
            elif isinstance(value, tuple | list):
                self.reads.update(id(v) for v in value if id(v) in state)
        op = walk.next_id(func)
        if not torch.is_grad_enabled():
            # Inside a custom ``Function``: its output gets the node when it returns.
            self._waiting.append((op, outputs))
            return
        self.settle()
        self._claim(op, outputs)

    def settle(self) -> None:
        """Claims what custom functions have returned; the forward must end with it."""
        waiting, self._waiting = self._waiting, []
        for op, outputs in waiting:
            self._claim(op, outputs)

    def _claim(self, op: OpId, outputs: list[Tensor]) -> None:
        owner = self._owner
        for tensor in outputs:
            node = tensor.grad_fn
            if node is None:
                continue
            place = Place(node, tensor.output_nr)
            self.produced.append(Produced(op, place, tensor.numel()))
            todo = [node]
            while todo:
                current = todo.pop()
                if current not in owner:
                    owner[current] = op
                    todo += [n for n, _ in current.next_functions if n is not None]

    def owner(self, node: Node) -> OpId | None:
        """The call a node belongs to; ``None`` for the loss's own nodes."""
        return self._owner.get(node)


class Fork(NamedTuple):
    """A place whose gradient arrives over several edges."""

    place: Place
    edges: list[tuple[Node, int]]


def survey(root: Node) -> tuple[list[Fork], list[Tensor]]:
    """Every place under ``root`` that several backward edges lead to, and every leaf.

    Leaves are the tensors that ``backward`` would fill the ``.grad`` of.
    """
    leaves: list[Tensor] = []
    arriving: dict[Place, list[tuple[Node, int]]] = {}
    seen = {root}
    todo = [root]
    while todo:
        node = todo.pop()
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            leaves.append(leaf)
        for i, (below, slot) in enumerate(node.next_functions):
            if below is None:
                continue
            arriving.setdefault(Place(below, slot), []).append((node, i))
            if below not in seen:
                seen.add(below)
                todo.append(below)
    found = [Fork(place, edges) for place, edges in arriving.items() if len(edges) > 1]
    return found, leaves
