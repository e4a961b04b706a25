"""Where the way back to the inputs ends: ``detach``, ``no_grad``, functions without slope."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from resnet_viz.analysis.kinds import VALUELESS
from resnet_viz.core.forward_facts import Detached
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.measuring.autograd_graph import NodeMap
from resnet_viz.tracing.functions import kind_of
from resnet_viz.tracing.trees import tensors_in
from resnet_viz.tracing.walk import Function, Walk

_DETACHING = frozenset({"detach", "data", "tensor", "as_tensor", "new_tensor"})


@dataclass(slots=True)
class _Call:
    """What one call did to the way back."""

    kind: str
    with_gradients: bool
    is_fed: bool
    is_cut: bool
    is_floating: bool


class Cuts:
    """Watches for calls that gradients could come to and cannot leave."""

    def __init__(self) -> None:
        self._calls: dict[OpId, _Call] = {}

    def called(
        self,
        op: OpId,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
    ) -> None:
        """Notes whether what went in carries a gradient and what came out does not."""
        passes = any(t.requires_grad for t in outputs)
        self._calls[op] = _Call(
            kind=kind_of(func),
            with_gradients=torch.is_grad_enabled(),
            is_fed=not passes and any(t.requires_grad for t in tensors_in((args, kwargs))),
            is_cut=not passes,
            is_floating=any(t.is_floating_point() or t.is_complex() for t in outputs),
        )

    def read(
        self, graph: ModelGraph, nodes: NodeMap, without: Collection[str]
    ) -> tuple[Detached, ...]:
        """The cuts, in forward order; a stretch under ``no_grad`` is one.

        Args:
            graph: Says which parameters lie behind a cut, and who reads what it returns.
            nodes: Says what came out of a custom ``Function`` after all.
            without: Trainable parameters that got no gradient.
        """
        found: list[Detached] = []
        returned = {item.op for item in nodes.produced}
        for how, calls in self._places(graph, returned):
            names = _parameters_behind(graph, calls, without)
            # A mask is compared for, a length is asked for: no training is lost there.
            matters = names or any(self._calls[op].is_floating for op in calls)
            if matters and _is_used(graph, calls, bool(names)):
                found.append(Detached(op=calls[0], how=how, parameters=names))
        return tuple(found)

    def _places(
        self, graph: ModelGraph, returned: Collection[OpId]
    ) -> Iterator[tuple[Literal["detach", "no_grad", "values"], list[OpId]]]:
        """Cuts as the calls whose outputs leave it."""
        lost: set[OpId] = set()
        stretch: list[OpId] = []
        for op, call in self._calls.items():
            if call.with_gradients:
                if stretch:
                    yield "no_grad", stretch
                    stretch = []
                if call.is_cut and call.is_fed and call.kind not in VALUELESS:
                    yield "detach" if call.kind in _DETACHING else "values", [op]
                continue
            if op in returned or op not in graph or call.kind in VALUELESS:
                continue
            if not (call.is_fed or any(e.src in lost for e in graph.edges_in(op))):
                continue
            lost.add(op)
            if self._is_left(graph, op):
                stretch.append(op)
        if stretch:
            yield "no_grad", stretch

    def _is_left(self, graph: ModelGraph, op: OpId) -> bool:
        """Whether somebody reads the output where gradients are recorded."""
        readers = [e.dst for e in graph.edges_out(op)]
        outside = [r for r in readers if r in self._calls and self._calls[r].with_gradients]
        return bool(outside) or any(o.src == op for o in graph.outputs)


def _parameters_behind(
    graph: ModelGraph, calls: Iterable[OpId], without: Collection[str]
) -> tuple[str, ...]:
    """The parameters without a gradient that the calls depend on, in order."""
    todo = [op for op in calls if op in graph]
    seen = set(todo)
    names: set[str] = set()
    while todo:
        op = todo.pop()
        names.update(name for name in graph[op].parameters if name in without)
        new = {e.src for e in graph.edges_in(op)} - seen
        seen |= new
        todo += new
    return tuple(name for name in without if name in names)


def _is_used(graph: ModelGraph, calls: Iterable[OpId], or_leaves: bool) -> bool:
    """Whether an output of the model depends on one of the calls.

    Args:
        graph: The calls and their readers.
        calls: Where to start.
        or_leaves: What counts of a value that no call reads: it may go on as an array.
    """
    ends = {o.src for o in graph.outputs}
    todo = [op for op in calls if op in graph]
    if or_leaves and not any(graph.edges_out(op) for op in todo):
        return True
    seen = set(todo)
    while todo:
        op = todo.pop()
        if op in ends:
            return True
        new = {e.dst for e in graph.edges_out(op)} - seen
        seen |= new
        todo += new
    return False
