"""Which autograd node belongs to which call: the bridge between the two graphs.

Gradients live on the edges of autograd's graph, facts on calls. A node belongs
to the call whose output it leads to, down to the outputs of earlier calls.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from resnet_viz.core.graph import OpId
from resnet_viz.tracing.calls import CallObserver, state_names
from resnet_viz.tracing.walk import Function, Walk

_ASK: Any = torch._C.TensorBase.requires_grad.__set__  # type: ignore[attr-defined]


class Place(NamedTuple):
    """An output of an autograd node: where gradients arrive and are summed."""

    node: Node
    slot: int


class Produced(NamedTuple):
    """A call's output that takes part in the backward."""

    op: OpId
    place: Place
    numel: int


class Watcher(Protocol):
    """Looks at each call just after it returned: later calls may write into its output."""

    def called(
        self,
        op: OpId,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
    ) -> None:
        """The call ``op`` has returned."""


class NodeMap(CallObserver):
    """Observes a forward and remembers each call's autograd nodes.

    Attributes:
        produced: Outputs of calls (and inputs), in forward order.
        reads: ``id`` of every parameter some call read.
        ran: Every call, in forward order.
        hidden: Calls that ran where autograd records nothing: inside a custom
            ``Function`` or a reentrant checkpoint, or under ``no_grad``.
        moved: Outputs that were copied (to another device) by what is no op.
        before: Told of each call before it runs, as ``Pristine.protect`` is.
    """

    def __init__(self, model: nn.Module, watchers: Sequence[Watcher] = ()) -> None:
        super().__init__(state_names(model))
        self._watchers = watchers
        self.produced: list[Produced] = []
        self.reads: set[int] = set()
        self.ran: dict[OpId, None] = {}
        self.hidden: set[OpId] = set()
        self.moved: set[Place] = set()
        self.before: Callable[[Function, tuple[Any, ...], dict[str, Any]], None] | None = None
        self._owner: dict[Node, OpId] = {}
        # Weak: a long stretch without gradients keeps no activation alive.
        self._waiting: list[tuple[OpId, list[weakref.ref[Tensor]]]] = []

    def add_input(self, tensor: Tensor, op: OpId) -> None:
        """The input called ``op``, which must have a node."""
        self._claim(op, [tensor])

    def alias(self, stand_in: Tensor, parameter: nn.Parameter) -> None:
        """The forward will read ``stand_in`` in place of the parameter."""
        if id(parameter) in self._state:
            self._state[id(stand_in)] = self._state[id(parameter)]

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's result."""
        if func == _ASK and args[1] is True and args[0].requires_grad:
            # The model asks for what we asked for; torch allows it on leaves alone.
            return None
        if self.before is not None:
            self.before(func, args, kwargs)
        return func(*args, **kwargs)

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
        self.ran[op] = None
        for watcher in self._watchers:
            watcher.called(op, walk, func, args, kwargs, outputs)
        if not torch.is_grad_enabled():
            self.hidden.add(op)
            # Inside a custom ``Function``: its output gets the node when it returns.
            self._waiting.append((op, [weakref.ref(t) for t in outputs]))
            return
        self.settle()
        self._claim(op, outputs)
        # Whoever reads the whole after a part was written reads what this call made of it.
        self._claim(op, [t._base for t in written if t._base is not None])

    def passed_on(self, source: Tensor, result: Tensor) -> None:
        """Notes a copy that has a node of its own: who reads it cannot be told."""
        before, after = source.grad_fn, result.grad_fn
        if before is not None and after is not None and before is not after:
            self.moved.add(Place(before, source.output_nr))

    def settle(self) -> None:
        """Claims what custom functions have returned; the forward must end with it."""
        waiting, self._waiting = self._waiting, []
        for op, outputs in waiting:
            self._claim(op, [t for ref in outputs if (t := ref()) is not None])

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


class Arrivals(NamedTuple):
    """A place and the backward edges over which its gradient arrives."""

    place: Place
    edges: list[tuple[Node, int]]


def survey(root: Node) -> tuple[list[Arrivals], list[Tensor]]:
    """Every place under ``root`` with the backward edges that lead to it, and every leaf.

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
    return [Arrivals(place, edges) for place, edges in arriving.items()], leaves
