"""Turns the calls of a walk into ops and edges.

Producers are keyed by tensor object, with the reference held so that no ``id``
is used twice. A write makes a new version: what reads the tensor afterwards, or
another tensor on the same memory (``memory_map``), comes from the write. So
``w[:, :2] = …`` keeps the residual on both sides of it connected.
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
from resnet_viz.tracing.memory_map import Extent, faces, is_transformed, memory_of, shape_of
from resnet_viz.tracing.source_lines import source_line
from resnet_viz.tracing.trees import tensors_in
from resnet_viz.tracing.walk import Function, Walk

_DTYPES: dict[torch.dtype, str] = {}
# Fake tensors have one of their own, which spells its defaults out.
_TO_DENSE = Tensor.to_dense


class Executor(Protocol):
    """See ``executors``."""

    macs: int | None

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's result."""


@dataclass(slots=True)
class FailedCall:
    """The call that raised, the edges that met in it, and how many ops ran before it."""

    op: Op
    edges: list[Edge]
    error: BaseException
    inputs: tuple[TensorSpec, ...]
    position: int


def spec_of(tensor: Tensor) -> TensorSpec:
    """Shape and dtype, as a value."""
    dtype = tensor.dtype
    name = _DTYPES.get(dtype)
    if name is None:
        name = _DTYPES[dtype] = str(dtype).removeprefix("torch.")
    return TensorSpec(shape=shape_of(tensor), dtype=name)


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
        self._written: dict[int, tuple[OpId, int, int, Extent]] = {}
        # Memory of the first so many producers, filled when a stranger asks.
        self._memory: dict[int, tuple[OpId, int, int]] = {}
        self._filed = 0
        # Held, so that no ``id`` in ``_state`` is used twice.
        self._moved: list[Tensor] = []
        self.ops: list[Op] = []
        self.edges: list[Edge] = []
        self.inputs: list[Op] = []
        self.failure: FailedCall | None = None
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
        op, edges = self._op(walk.next_id(func), walk, func, args, kwargs, specs, written)
        self.ops.append(op)
        self.edges += edges
        self.used.update(op.parameters)
        position = len(self.ops)
        transformed = is_transformed()
        for slot, tensor in enumerate(outputs):
            for face in faces(tensor) if transformed else (tensor,):
                self._producer[id(face)] = (face, op.id, slot, position)
        for tensor in written:
            slot = next(i for i, t in enumerate(outputs) if t is tensor)
            self._written[memory_of(tensor)] = (op.id, slot, position, Extent.of(tensor))

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
        """Keeps the last call that raised: an op only if ``forward`` ends with it."""
        if self.failure is None or self.failure.error is not error:
            op, edges = self._op(walk.present_id(func), walk, func, args, kwargs, (), [])
            shapes = tuple(spec_of(t) for t in tensors_in((args, kwargs)))
            self.failure = FailedCall(op, edges, error, shapes, len(self.ops))

    # -- details -----------------------------------------------------------------

    def _find(self, tensor: Tensor, *, whole: bool = False) -> tuple[OpId, int] | None:
        found = self._producer.get(id(tensor))
        if found is None:
            if id(tensor) in self._state:
                # Read as itself, unless an activation was written into it.
                return self._last_write(tensor, -1, whole)
            return self._find_stranger(tensor)
        return self._last_write(tensor, found[3], whole) or (found[1], found[2])

    def _last_write(self, tensor: Tensor, since: int, whole: bool) -> tuple[OpId, int] | None:
        """The op that last wrote the tensor's memory after op number ``since``.

        Only elements that the tensor sees count, or the ``whole`` memory. Whoever writes
        a part passes the rest of it on: so all writes stay on the way to a later reader.
        """
        if self._written:
            write = self._written.get(memory_of(tensor))
            if write is not None and write[2] > since and (whole or write[3].meets(tensor)):
                return write[0], write[1]
        return None

    def _find_stranger(self, tensor: Tensor) -> tuple[OpId, int] | None:
        """Whence a tensor that no call returned, by what it wraps or whose memory it has."""
        for face in faces(tensor)[1:]:
            if id(face) in self._producer:
                return self._find(face)
        known = list(self._producer.values())
        for made, op, slot, position in known[self._filed :]:
            self._memory.setdefault(memory_of(made), (op, slot, position))
        self._filed = len(known)
        owner = self._memory.get(memory_of(tensor))
        if owner is None:
            return None
        self._producer[id(tensor)] = (tensor, *owner)
        return self._find(tensor)

    def _op(
        self,
        id_: OpId,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: tuple[TensorSpec, ...],
        written: list[Tensor],
    ) -> tuple[Op, list[Edge]]:
        reads = _Reads(self, id_, written)
        tree = tuple([reads.arg(value) for value in args])
        if func is _TO_DENSE:
            kwargs = {name: value for name, value in kwargs.items() if value is not None}
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
            inplace=bool(written),
            parameters=parameters,
            params=sum(reads.numel[name] for name in parameters if name not in self.used),
            macs=self._executor.macs if outputs else 0,
            source_line=source_line(4),
        )
        return op, reads.edges


class _Reads:
    """The arguments of one call as a JSON-able tree, and the edges they make."""

    __slots__ = ("_op", "_recorder", "_written", "edges", "numel", "parameters")

    def __init__(self, recorder: Recorder, op: OpId, written: list[Tensor]) -> None:
        self._recorder = recorder
        self._op = op
        self._written = written
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
        if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
            return str(value).removeprefix("torch.")
        if isinstance(value, slice):
            parts = (value.start, value.stop, value.step)
            if any(isinstance(part, Tensor) for part in parts):
                return tuple([self.arg(part) for part in parts])
            return f"{value.start}:{value.stop}:{value.step}".replace("None", "")
        if value is Ellipsis:
            return "..."
        if isinstance(value, torch.device):
            return "device"
        return plain_name(value) if callable(value) else type(value).__name__

    def _tensor(self, value: Tensor) -> Ref:
        whole = bool(self._written) and any(value is target for target in self._written)
        found = self._recorder._find(value, whole=whole)
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
            self.numel[name[1]] = math.prod(shape_of(value))
            return Ref(kind="param", key=name[1])
        return Ref(kind="buffer", key=name[1])
