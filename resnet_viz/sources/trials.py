"""A forward without memory: whether an input fits, and what its integers stand for.

The trial is a trace on the meta device. Nothing is computed, the model is left as it
came, and its hooks, which may write to the user's own lists, do not run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)

from resnet_viz.core.errors import TraceError
from resnet_viz.core.graph import Arg, ModelGraph, Op, Ref
from resnet_viz.sources.seeding import seeded
from resnet_viz.tracing.tracer import Mode, trace_model

_WANTS_VALUES = (
    NotImplementedError,
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)
_ABOUT_DEVICES = ("Cannot copy out of meta tensor", "device")
"""In an error of meta tensors: fake ones, which know their device, may do; they are slow."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")

_SAME_VALUES = frozenset(
    {"view", "reshape", "flatten", "unflatten", "to", "long", "int", "clone", "contiguous"}
    | {"transpose", "permute", "squeeze", "unsqueeze", "getitem", "expand", "expand_as", "repeat"}
    | {"unbind", "split", "chunk", "detach", "t", "narrow", "select", "view_as", "type", "bool"}
)
"""Ops whose result holds only numbers that are in their input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a forward on meta did.

    Attributes:
        graph: What ran, until the exception if there was one.
        error: What it raised; ``None`` where it ran through.
    """

    graph: ModelGraph | None
    error: BaseException | None

    @property
    def runs(self) -> bool:
        """Whether ``forward`` returned."""
        return self.error is None

    @property
    def undecided(self) -> bool:
        """Whether it ended on a value, which meta tensors do not have: a real run may do."""
        wants_values = isinstance(self.error, _WANTS_VALUES)
        return wants_values or "meta" in str(self.error) or ".numpy()" in str(self.error)

    @property
    def linear_mismatch(self) -> tuple[int, int] | None:
        """Features that a linear layer was given, and those it wants, if that stopped it."""
        failure = self.graph.failure if self.graph is not None else None
        if failure is None or failure.kind != "linear" or len(failure.inputs) < 2:
            return None
        given, weight = failure.inputs[0].shape, failure.inputs[1].shape
        return (given[-1], weight[-1]) if given and len(weight) == 2 else None


def try_forward(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Trial:
    """One forward in eval mode on meta tensors, or on fake ones where it asks for a device."""
    trial = _tried("meta", model, args, kwargs)
    if trial.undecided and any(words in str(trial.error) for words in _ABOUT_DEVICES):
        again = _tried("fake", model, args, kwargs)
        if again.runs or not again.undecided:
            return again
    return trial


def _tried(mode: Mode, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Trial:
    with seeded(0), _without_hooks(model):
        try:
            graph = trace_model(model, args, dict(kwargs), training=False, modes=(mode,))
        except TraceError as error:
            return Trial(graph=error.graph, error=error.__cause__ or error)
    return Trial(graph=graph, error=None)


@contextmanager
def _without_hooks(model: nn.Module) -> Iterator[None]:
    held = [(m, name, vars(m)[name]) for m in model.modules() for name in _HOOKS if vars(m)[name]]
    try:
        for module, name, _ in held:
            vars(module)[name] = OrderedDict()
        yield
    finally:
        for module, name, hooks in held:
            vars(module)[name] = hooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What the values of an integer or boolean input are used for.

    Attributes:
        limit: They must stay below it: rows of the smallest table they are looked up in.
        blocks: ``True`` hides a position (``masked_fill`` with minus infinity) instead of
            showing it.
    """

    limit: int | None = None
    blocks: bool = False


def roles(graph: ModelGraph) -> dict[str, Role]:
    """The role of each input whose values are looked up or mask something, by label."""
    found: dict[str, Role] = {}
    for start in graph.inputs:
        limits: list[int] = []
        blocks = False
        todo, seen = [start.id], {start.id}
        while todo:
            for edge in graph.edges_out(todo.pop()):
                op = graph[edge.dst]
                rows = _table_rows(op, edge.in_slot, graph)
                if rows is not None:
                    limits.append(rows)
                elif _blocks(op, edge.in_slot):
                    blocks = True
                elif op.kind in _SAME_VALUES and op.id not in seen:
                    seen.add(op.id)
                    todo.append(op.id)
        if limits or blocks:
            found[start.label] = Role(limit=min(limits, default=None), blocks=blocks)
    return found


def _table_rows(op: Op, slot: int, graph: ModelGraph) -> int | None:
    """Rows of the table, or number of classes, that the value in ``slot`` picks from."""
    here = Ref(kind="in", key=slot)
    if op.kind in ("embedding", "embedding_bag") and op.argument(0, "input") == here:
        return _extent(op, op.argument(1, "weight"), 0, graph)
    if op.kind == "index_select" and op.argument(2, "index") == here:
        axis = op.argument(1, "dim")
        return _extent(op, op.argument(0, "input"), axis if type(axis) is int else 0, graph)
    if op.kind == "getitem" and op.args[0] != here:
        index = op.args[1]
        picks = index if isinstance(index, tuple) else (index,)
        return _extent(op, op.args[0], picks.index(here), graph) if here in picks else None
    if op.kind in ("cross_entropy", "nll_loss") and op.argument(1, "target") == here:
        return _extent(op, op.argument(0, "input"), 1, graph)
    if op.kind == "one_hot":
        classes = op.argument(1, "num_classes", -1)
        return classes if type(classes) is int and classes > 0 else None
    return None


def _extent(op: Op, table: Arg, axis: int, graph: ModelGraph) -> int | None:
    """Size of a tensor argument along an axis."""
    if not isinstance(table, Ref):
        return None
    if table.kind == "in":
        edge = graph.edges_in(op.id)[int(table.key)]
        outputs = graph[edge.src].outputs
        shape = outputs[edge.out_slot].shape if edge.out_slot < len(outputs) else ()
    else:
        held = (*graph.parameters, *(b for m in graph.modules for b in m.buffers))
        shape = next((spec.spec.shape for spec in held if spec.name == table.key), ())
    return shape[axis] if -len(shape) <= axis < len(shape) else None


def _blocks(op: Op, slot: int) -> bool:
    """Whether the value in ``slot`` is a mask that sets what it covers to minus infinity."""
    if op.kind != "masked_fill" or op.argument(1, "mask") != Ref(kind="in", key=slot):
        return False
    value = op.argument(2, "value")
    return value == "-inf" or (isinstance(value, int | float) and value < -1e3)
