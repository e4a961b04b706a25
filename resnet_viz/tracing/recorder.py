"""Turns the calls of a walk into ops and edges.

Producers are keyed by tensor object, with the reference held so that no ``id``
is used twice. A write makes a new version: what reads the tensor afterwards, or
another view of the same memory, comes from the write. So ``w[:, :2] = …`` keeps
the residual on both sides of it connected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from resnet_viz.core.graph import Arg, Edge, GraphOutput, Op, OpId, Ref, TensorSpec, make_op_id
from resnet_viz.tracing.calls import CallObserver
from resnet_viz.tracing.functions import kind_of, plain_name, target_of
from resnet_viz.tracing.source_lines import source_line
from resnet_viz.tracing.trees import tensors_in
from resnet_viz.tracing.walk import Function, Walk

_DTYPES: dict[torch.dtype, str] = {}


class Executor(Protocol):
    """See ``executors``."""

    macs: int | None

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's result."""


@dataclass(slots=True)
class Failure:
    """The call that raised."""

    op: Op
    error: BaseException
    inputs: tuple[TensorSpec, ...]


def spec_of(tensor: Tensor) -> TensorSpec:
    """Shape and dtype, as a value."""
    dtype = tensor.dtype
    name = _DTYPES.get(dtype)
    if name is None:
        name = _DTYPES[dtype] = str(dtype).removeprefix("torch.")
    return TensorSpec(shape=tuple(tensor.shape), dtype=name)


class Recorder(CallObserver):
    """The tracer's observer: collects ops and edges, call by call.

    Attributes:
        ops: In the order they ran.
        edges: By destination, then slot.
        inputs: Ops of kind ``input``.
        failure: The call that raised, if one did.
        used: Names of the parameters that some op read.
    """

    def __init__(self, executor: Executor, names: dict[int, tuple[str, str]]) -> None:
        """Starts empty.

        Args:
            executor: Runs the calls.
            names: ``id`` of each parameter and buffer to its kind (``param`` or
                ``buffer``) and first name.
        """
        super().__init__(names)
        self._executor = executor
        self._producer: dict[int, tuple[Tensor, OpId, int, int]] = {}
        self._written: dict[int, tuple[OpId, int, int]] = {}
        self._viewed: set[int] = set()
        # Held, so that no ``id`` in ``_state`` is used twice.
        self._moved: list[Tensor] = []
        self.ops: list[Op] = []
        self.edges: list[Edge] = []
        self.inputs: list[Op] = []
        self.failure: Failure | None = None
        self.used: set[str] = set()

    # -- inputs and outputs ------------------------------------------------------

    def add_input(self, tensor: Tensor, name: str) -> None:
        """The tensor is an argument of ``forward`` called ``name``."""
        id_ = make_op_id("", "input", len(self.inputs))
        self.inputs.append(
            Op(id=id_, kind="input", target="", module="", outputs=(spec_of(tensor),), label=name)
        )
        self._producer[id(tensor)] = (tensor, id_, 0, -1)

    def output(self, tensor: Tensor, name: str) -> GraphOutput | None:
        """Where a returned tensor came from; ``None`` for a constant."""
        found = self._find(tensor)
        return GraphOutput(name=name, src=found[0], out_slot=found[1]) if found else None

    # -- the observer ------------------------------------------------------------

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's result, from the executor."""
        return self._executor.run(func, args, kwargs)

    def record(
        self,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
        written: list[Tensor],
    ) -> None:
        """Adds the op, and the edges from what it read."""
        specs = tuple(map(spec_of, outputs))
        op, edges = self._op(walk.next_id(func), walk, func, args, kwargs, specs, bool(written))
        self.ops.append(op)
        self.edges += edges
        self.used.update(op.parameters)
        position = len(self.ops)
        for slot, tensor in enumerate(outputs):
            self._producer[id(tensor)] = (tensor, op.id, slot, position)
            if tensor._base is not None:
                self._viewed.add(id(tensor._base))
        for tensor in written:
            memory = tensor if tensor._base is None else tensor._base
            if memory is not tensor or id(tensor) in self._viewed:
                slot = next(i for i, t in enumerate(outputs) if t is tensor)
                self._written[id(memory)] = (op.id, slot, position)
                self._producer.setdefault(id(memory), (memory, op.id, slot, position))

    def passed_on(self, source: Tensor, result: Tensor) -> None:
        """Both come from the same op, or are the same parameter."""
        found = self._find(source)
        if found is not None and result is not source:
            self._producer[id(result)] = (result, *found, len(self.ops))
        elif id(source) in self._state:
            self._moved.append(result)
            self._state[id(result)] = self._state[id(source)]

    def failed(
        self,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        error: BaseException,
    ) -> None:
        """Keeps the last call that raised; it is no op, and no edge leads to it."""
        if self.failure is None or self.failure.error is not error:
            op, _ = self._op(walk.present_id(func), walk, func, args, kwargs, (), False)
            shapes = tuple(spec_of(t) for t in tensors_in((args, kwargs)))
            self.failure = Failure(op, error, shapes)

    # -- details -----------------------------------------------------------------

    def _find(self, tensor: Tensor) -> tuple[OpId, int] | None:
        found = self._producer.get(id(tensor))
        if self._written:
            base = tensor._base
            write = self._written.get(id(tensor if base is None else base))
            if write is not None and (found is None or write[2] > found[3]):
                return write[0], write[1]
        return (found[1], found[2]) if found is not None else None

    def _op(
        self,
        id_: OpId,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: tuple[TensorSpec, ...],
        inplace: bool,
    ) -> tuple[Op, list[Edge]]:
        reads = _Reads(self, id_)
        tree = tuple([reads.arg(value) for value in args])
        pairs = tuple([(name, reads.arg(value)) for name, value in kwargs.items()])
        parameters = tuple(dict.fromkeys(reads.parameters))
        op = Op(
            id=id_,
            kind=kind_of(func),
            target=target_of(func),
            module=walk.path,
            args=tree,
            kwargs=pairs,
            outputs=outputs,
            inplace=inplace,
            parameters=parameters,
            params=sum(reads.numel[name] for name in parameters if name not in self.used),
            macs=self._executor.macs if outputs else 0,
            source_line=source_line(4),
        )
        return op, reads.edges


class _Reads:
    """The arguments of one call as a JSON-able tree, and the edges they make."""

    __slots__ = ("_op", "_recorder", "edges", "numel", "parameters")

    def __init__(self, recorder: Recorder, op: OpId) -> None:
        self._recorder = recorder
        self._op = op
        self.edges: list[Edge] = []
        self.parameters: list[str] = []
        self.numel: dict[str, int] = {}

    def arg(self, value: Any) -> Arg:
        if isinstance(value, Tensor):
            return self._tensor(value)
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else repr(value)
        if isinstance(value, tuple | list):
            return tuple([self.arg(item) for item in value])
        if isinstance(value, dict):
            return tuple([(str(k), self.arg(v)) for k, v in value.items()])
        if isinstance(value, torch.dtype):
            return str(value).removeprefix("torch.")
        if isinstance(value, slice):
            return f"{value.start}:{value.stop}:{value.step}".replace("None", "")
        if value is Ellipsis:
            return "..."
        if isinstance(value, torch.device):
            return "device"
        return plain_name(value) if callable(value) else type(value).__name__

    def _tensor(self, value: Tensor) -> Ref:
        found = self._recorder._find(value)
        if found is not None:
            slot = len(self.edges)
            self.edges.append(Edge(src=found[0], out_slot=found[1], dst=self._op, in_slot=slot))
            return Ref(kind="in", key=slot)
        name = self._recorder._state.get(id(value))
        if name is None:
            spec = spec_of(value)
            return Ref(kind="const", key=f"{spec.dtype}{list(spec.shape)}")
        if name[0] == "param":
            self.parameters.append(name[1])
            self.numel[name[1]] = value.numel()
            return Ref(kind="param", key=name[1])
        return Ref(kind="buffer", key=name[1])
