"""Which call made the first NaN or infinity: the producer, not those that pass it on.

Only run where a number came out that is not finite: the same batch again, with a look
at whatever goes into each call and comes out of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from resnet_viz.analysis.kinds import IDENTITIES
from resnet_viz.core.batch import Batch
from resnet_viz.core.forward_facts import NonFinite
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.measuring.autograd_graph import NodeMap
from resnet_viz.measuring.device import to_host
from resnet_viz.measuring.gradients.products import flat
from resnet_viz.measuring.one_pass import (
    Forwarded,
    Setting,
    conditions,
    hooked,
    run_backward,
    run_forward,
)
from resnet_viz.tracing.calls import state_names
from resnet_viz.tracing.functions import kind_of
from resnet_viz.tracing.trees import input_tensors, tensors_in
from resnet_viz.tracing.walk import Function, Walk

_MASKING = IDENTITIES | frozenset(
    [
        "masked_fill",
        "masked_scatter",
        "fill",
        "index_fill",
        "full",
        "full_like",
        "new_full",
        "new_tensor",
        "tensor",
        "zeros_like",
        "where",
        "triu",
        "tril",
        "setitem",
        "add",
        "expand",
        "repeat",
    ]
)
"""What a mask is made with and goes through: −inf in it is meant, and softmax takes it."""

_LOSS = OpId("loss")


class Extent(NamedTuple):
    """Smallest and largest element; NaN where any element is."""

    low: float
    high: float

    @property
    def is_finite(self) -> bool:
        """Whether no element is NaN or infinite."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def is_mask(self) -> bool:
        """Whether −inf is all that is not finite."""
        return self.low == -math.inf and self.high < math.inf

    @property
    def value(self) -> Literal["NaN", "infinity"]:
        """What is wrong."""
        return "NaN" if math.isnan(self.low) else "infinity"


_UNKNOWN = Extent(math.nan, math.nan)


@dataclass(slots=True)
class _Seen:
    """The extremes around one call (or node): tensors first, values once transferred."""

    op: OpId
    kind: str
    inputs: list[Any] = field(default_factory=list)
    state: list[Any] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)

    @property
    def broken(self) -> list[Extent]:
        """What came out that is not finite."""
        return [e for e in self.outputs if not e.is_finite]


class _Checks:
    """Watches a forward; ``before`` each call too, as it may write into what it reads."""

    def __init__(self, model: nn.Module) -> None:
        self._state = state_names(model)
        self._before: list[tuple[Tensor, Tensor]] = []
        self.seen: list[_Seen] = []

    def before(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Measures what goes in."""
        found = [t for t in tensors_in((args, kwargs)) if _is_checked(t)]
        self._before = [(t, _extent(t)) for t in found]

    def called(
        self,
        op: OpId,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
    ) -> None:
        """Measures what came out."""
        seen = _Seen(op, kind_of(func))
        for tensor, extent in self._before:
            if id(tensor) in self._state:
                seen.state.append(extent)
                seen.names.append(self._state[id(tensor)][1])
            else:
                seen.inputs.append(extent)
        seen.outputs = [_extent(t) for t in outputs if _is_checked(t)]
        self.seen.append(seen)


class _Checked(NodeMap):
    """A ``NodeMap`` that tells its watcher of calls before they run, too."""

    def __init__(self, model: nn.Module, checks: _Checks) -> None:
        super().__init__(model, [checks])
        self._checks = checks

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Measures what goes in, then runs the call."""
        self._checks.before(args, kwargs)
        return super().run(func, args, kwargs)


class _BackwardChecks:
    """Hooks on every node: what arrives and what it sends back."""

    def __init__(self, forwarded: Forwarded) -> None:
        self._nodes = forwarded.nodes
        self._all = {forwarded.root} | {a.place.node for a in forwarded.arrivals}
        self.seen: list[_Seen] = []

    def hooks(self) -> Iterator[Any]:
        """Places the hooks; each is a handle to remove."""
        for node in self._all:
            if node.next_functions:
                yield node.register_hook(self._check(node))

    def _check(self, node: Node) -> Callable[[Any, Any], None]:
        seen = _Seen(self._nodes.owner(node) or _LOSS, node.name())

        def hook(grad_inputs: Any, grad_outputs: Any) -> None:
            seen.inputs = [_extent(t) for t in grad_outputs if t is not None and _is_checked(t)]
            seen.outputs = [_extent(t) for t in grad_inputs if t is not None and _is_checked(t)]
            self.seen.append(seen)

        return hook


def find_nonfinite(
    setting: Setting, batch: Batch, *, seed: int, every_input: bool
) -> tuple[NonFinite, ...]:
    """The first producer: in the forward if the loss is not finite, else in the backward.

    Runs the batch once more, from the same state and seed; one transfer.

    Args:
        setting: How the batch was run.
        batch: That gave numbers that are not finite.
        seed: As then.
        every_input: As then.
    """
    with conditions(setting, seed) as kept:
        checks = _Checks(setting.model)
        forwarded = run_forward(
            setting,
            batch,
            kept=kept,
            seed=seed,
            every_input=every_input,
            observer=lambda model: _Checked(model, checks),
        )
        given = [
            _Seen(op.id, "input", outputs=[_extent(t)])
            for (_, t), op in zip(
                input_tensors(setting.model, batch.args, batch.kwargs),
                setting.graph.inputs,
                strict=False,
            )
            if _is_checked(t)
        ]
        backward = _BackwardChecks(forwarded)
        with hooked(backward.hooks):
            run_backward(forwarded, setting.model)
        forward = [*given, *checks.seen]
        numbers = [forwarded.loss.detach()]
        for seen in (*forward, *backward.seen):
            numbers += [*seen.inputs, *seen.state, *seen.outputs]
        values = iter(to_host(numbers))
    loss = next(values)
    for seen in (*forward, *backward.seen):
        for extents in (seen.inputs, seen.state, seen.outputs):
            extents[:] = [Extent(next(values), next(values)) for _ in extents]
    if not math.isfinite(loss):
        return (_first_in_forward(forward, setting.graph, loss),)
    found = _first_in_backward(backward.seen)
    return () if found is None else (found,)


def _first_in_forward(calls: list[_Seen], graph: ModelGraph, loss: float) -> NonFinite:
    """The first call behind the loss that makes what is not finite."""
    broken: dict[OpId, _Seen] = {}
    for call in calls:
        if not call.broken:
            continue
        before = {e.src for e in graph.edges_in(call.op)}
        is_meant = (
            call.kind in _MASKING
            and not before & broken.keys()
            and all(e.is_mask for e in call.broken)
            and all(e.is_finite or e.is_mask for e in (*call.inputs, *call.state))
        )
        if not is_meant:
            broken[call.op] = call
    todo = [o.src for o in graph.outputs if o.src in broken]
    reached = set(todo)
    makers: set[OpId] = set()
    while todo:
        op = todo.pop()
        before = {e.src for e in graph.edges_in(op)} & broken.keys()
        if not before:
            makers.add(op)
        todo += before - reached
        reached |= before
    first = next((call for op, call in broken.items() if op in makers), None)
    if first is None:
        # The outputs are finite (or masked on purpose): the loss function makes it.
        value: Literal["NaN", "infinity"] = "NaN" if math.isnan(loss) else "infinity"
        ends = {o.src for o in graph.outputs}
        fed = next((e for c in calls if c.op in ends for e in c.outputs), _UNKNOWN)
        return NonFinite(direction="forward", op=_LOSS, value=value, **_range(fed))
    holder = next((n for n, e in zip(first.names, first.state, strict=True) if not e.is_finite), "")
    return NonFinite(
        direction="forward",
        op=first.op,
        parameter=holder,
        value=first.broken[0].value,
        later=len(reached) - 1,
        **_range(next(iter(first.inputs), _UNKNOWN)),
    )


def _first_in_backward(nodes: list[_Seen]) -> NonFinite | None:
    """The first node that sends back what is not finite, though what arrives is."""
    for node in nodes:
        if node.broken and all(e.is_finite for e in node.inputs):
            later = {n.op for n in nodes if n.broken} - {node.op, _LOSS}
            return NonFinite(
                direction="backward",
                op=node.op,
                value=node.broken[0].value,
                later=len(later),
                **_range(next(iter(node.inputs), _UNKNOWN)),
            )
    return None


def _range(extent: Extent) -> dict[str, Any]:
    """As fields; ``None`` where there is no number."""
    low, high = (None if math.isnan(x) else x for x in extent)
    return {"low": low, "high": high}


def _extent(tensor: Tensor) -> Tensor:
    """Smallest and largest element, as one tensor on the device."""
    return torch.stack(torch.aminmax(flat(tensor)))


def _is_checked(tensor: Tensor) -> bool:
    return bool(tensor.is_floating_point() and tensor.numel() and tensor.device.type != "meta")
