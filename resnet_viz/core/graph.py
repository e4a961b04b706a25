"""``ModelGraph``: what ran, in order, one node per call. A value; never mutated.

Every overlay (structure, gradients, attributions) refers to an op by its
``OpId``, which is the same text in JSON, DOT, SVG, HTML and Python.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NewType, TypeAlias

from resnet_viz.core.display import Savable
from resnet_viz.core.units import DTYPE_BYTES

if TYPE_CHECKING:
    import networkx as nx

OpId = NewType("OpId", str)
"""``"layer1.0/add#0"``: module path, kind, ordinal among the calls of that kind
under that path over the whole forward. Ops of the root module have no slash."""


def make_op_id(module: str, kind: str, ordinal: int) -> OpId:
    """The key of the ``ordinal``-th call of ``kind`` inside ``module``."""
    name = f"{kind}#{ordinal}"
    return OpId(f"{module}/{name}" if module else name)


def module_of(op: OpId) -> str:
    """The module path inside an ``OpId``; empty for the root module."""
    return op.rpartition("/")[0]


def is_inside(path: str, home: str) -> bool:
    """Whether the module ``path`` is ``home`` or lies in it; everything lies in the root."""
    return not home or path == home or path.startswith(home + ".")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Shape and dtype of a tensor; deliberately no device (meta equals real)."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of a dense tensor of this shape and dtype."""
        return self.numel * DTYPE_BYTES.get(self.dtype, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """An argument that is a tensor.

    Attributes:
        kind: ``in`` (an activation: ``key`` is the ``in_slot`` of its edge),
            ``param`` or ``buffer`` (``key`` is its name), ``const`` (any other).
        key: See ``kind``; for ``const`` its shape and dtype as text.
    """

    kind: Literal["in", "param", "buffer", "const"]
    key: int | str


Arg: TypeAlias = "bool | int | float | str | Ref | tuple[Arg, ...] | None"


def refs_in(value: Arg) -> Iterator[Ref]:
    """The tensors in an argument, in order."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from refs_in(item)


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One call of one torch function.

    Attributes:
        id: See ``OpId``.
        kind: The function's plain name without in-place or operator spelling:
            ``conv2d``, ``add`` (also for ``+=`` and ``add_``), ``input``.
        target: The function as Python names it, e.g. ``torch.conv2d``.
        module: Path of the innermost module whose ``forward`` made the call.
        args: Positional arguments as a JSON-able tree.
        kwargs: Keyword arguments, as pairs.
        outputs: Specs of the tensors it returned (or wrote, if it returned none).
        inplace: Whether it wrote into one of its arguments.
        parameters: Names of all parameters it read, each by its first name.
        params: Scalars of the parameters that no earlier op read, so that the
            column adds up; weight sharing is counted once.
        macs: Multiply-accumulates; 0 for free ops; ``None`` where torch has no
            formula for a kernel that may multiply (listed, never silently 0).
        source_line: ``package/file.py:line`` of the first frame outside torch.
        label: Free text of an input (its argument name); else empty.
    """

    id: OpId
    kind: str
    target: str
    module: str
    args: tuple[Arg, ...] = ()
    kwargs: tuple[tuple[str, Arg], ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    inplace: bool = False
    parameters: tuple[str, ...] = ()
    params: int = 0
    macs: int | None = 0
    source_line: str = ""
    label: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first output; empty where there is none."""
        return self.outputs[0].shape if self.outputs else ()

    def argument(self, index: int, name: str, default: Arg = None) -> Arg:
        """An argument by position, else by name, else ``default``."""
        return self.args[index] if index < len(self.args) else dict(self.kwargs).get(name, default)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Edge:
    """A tensor that flows from output ``out_slot`` of ``src`` to input ``in_slot``."""

    src: OpId
    out_slot: int
    dst: OpId
    in_slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterSpec:
    """One distinct parameter or buffer, by its first name; the others are aliases."""

    name: str
    spec: TensorSpec
    trainable: bool = True
    used: bool = True
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleNode:
    """One module of the tree; ``path`` is empty for the root.

    Attributes:
        path: Dotted path; ``<Type#k>`` for a module that is not registered.
        type_name: Class name, for reading only: no analysis looks at it.
        children: Paths of direct children, in registration order.
        parameters: Parameters registered right here (shared ones once, at first sight).
        buffers: Buffers registered right here.
        calls: How often its ``forward`` ran.
        aliases: Other paths under which the same object is registered.
    """

    path: str
    type_name: str
    children: tuple[str, ...] = ()
    parameters: tuple[ParameterSpec, ...] = ()
    buffers: tuple[ParameterSpec, ...] = ()
    calls: int = 0
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOutput:
    """A tensor that ``forward`` returned; ``name`` is its place in the result."""

    name: str
    src: OpId
    out_slot: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How the trace ran: ``mode`` is meta, fake or real, and ``why``."""

    mode: Literal["meta", "fake", "real"]
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Where and why ``forward`` raised.

    Attributes:
        error: The original exception in one line: its type and message.
        op: The call that raised: the last op of the graph, without outputs. Empty where
            the exception came from plain Python.
        module: Path of the module whose ``forward`` was running.
        source_line: ``package/file.py:line`` where it happened.
        inputs: Specs of the tensors that met there: all that the call was given, weights
            among them; where plain Python raised, those that the module was given.
        hint: What to look at or try next, in one sentence; empty where nothing is known.
    """

    error: str
    op: OpId = OpId("")
    module: str = ""
    source_line: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    hint: str = ""

    @property
    def kind(self) -> str:
        """Kind of the call that raised (``linear``); empty where it was plain Python."""
        return self.op.rpartition("/")[2].rpartition("#")[0]

    @property
    def place(self) -> str:
        """Where it happened, in words: ``at linear in body.2 (net.py:12)``."""
        call = f"at {self.kind} " if self.op else ""
        line = f" ({self.source_line})" if self.source_line else ""
        return f"{call}in {self.module or 'the root module'}{line}"


@dataclass(frozen=True, slots=True)
class _Index:
    ops: Mapping[str, Op]
    order: Mapping[str, int]
    ins: Mapping[str, tuple[Edge, ...]]
    outs: Mapping[str, tuple[Edge, ...]]
    modules: Mapping[str, ModuleNode]
    parameters: Mapping[str, ParameterSpec]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ModelGraph(Savable):
    """A traced model.

    Attributes:
        name: What to call the model.
        ops: All ops in the order they ran, which is a topological order.
        edges: Sorted by (position of ``dst``, ``in_slot``).
        modules: Every module, root first, in registration order.
        inputs: The tensors given to ``forward``, as ops of kind ``input``.
        outputs: The tensors it returned.
        failure: Why the graph ends early; ``None`` for the whole of a forward.
        how: meta, fake or real, and why; not part of equality.
        warnings: One line each: what was guessed, unwrapped or left out.

    Raises:
        ValueError: If ids repeat, an edge names an unknown op, or goes backward.
    """

    name: str
    ops: tuple[Op, ...]
    edges: tuple[Edge, ...]
    modules: tuple[ModuleNode, ...]
    inputs: tuple[Op, ...]
    outputs: tuple[GraphOutput, ...]
    failure: Failure | None = None
    how: How = field(default=How(mode="real"), compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    _index: _Index = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        nodes = (*self.inputs, *self.ops)
        order: dict[str, int] = {op.id: i for i, op in enumerate(nodes)}
        if len(order) != len(nodes):
            twice = next(op.id for i, op in enumerate(nodes) if order[op.id] != i)
            raise ValueError(f"two ops are called {twice!r}")
        ins: dict[str, list[Edge]] = {}
        outs: dict[str, list[Edge]] = {}
        for edge in self.edges:
            if edge.src not in order or edge.dst not in order:
                raise ValueError(f"edge {edge} names an op that is not in the graph")
            if order[edge.src] >= order[edge.dst]:
                raise ValueError(f"edge {edge} goes backward")
            ins.setdefault(edge.dst, []).append(edge)
            outs.setdefault(edge.src, []).append(edge)
        for output in self.outputs:
            if output.src not in order:
                raise ValueError(f"output {output.name!r} comes from unknown {output.src!r}")
        index = _Index(
            ops={op.id: op for op in nodes},
            order=order,
            ins={k: tuple(v) for k, v in ins.items()},
            outs={k: tuple(v) for k, v in outs.items()},
            modules={m.path: m for m in self.modules},
            parameters={p.name: p for m in self.modules for p in m.parameters},
        )
        object.__setattr__(self, "_index", index)

    def __repr__(self) -> str:
        failed = "" if self.failure is None else f", raised at {self.failure.op or 'the end'}"
        return (
            f"<ModelGraph {self.name}: {len(self.ops)} ops, {len(self.edges)} edges, "
            f"{self.total_params:,} params, {self.total_macs:,} MACs{failed}>"
        )

    def __len__(self) -> int:
        return len(self.ops)

    def __getitem__(self, op: str) -> Op:
        """The op or input with this id. Raises ``KeyError`` with the id."""
        return self._index.ops[op]

    def __contains__(self, op: object) -> bool:
        return op in self._index.ops

    def nodes(self) -> Iterator[Op]:
        """Inputs, then ops, in order."""
        yield from self.inputs
        yield from self.ops

    def position(self, op: str) -> int:
        """Where the op stands in ``nodes()``."""
        return self._index.order[op]

    def edges_in(self, op: str) -> tuple[Edge, ...]:
        """Edges that end in ``op``, by ``in_slot``."""
        return self._index.ins.get(op, ())

    def edges_out(self, op: str) -> tuple[Edge, ...]:
        """Edges that start in ``op``."""
        return self._index.outs.get(op, ())

    def module(self, path: str) -> ModuleNode:
        """The module at ``path``. Raises ``KeyError``."""
        return self._index.modules[path]

    def parameter(self, name: str) -> ParameterSpec:
        """The parameter with this (first) name. Raises ``KeyError``."""
        return self._index.parameters[name]

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """Every distinct parameter, in registration order."""
        return tuple(self._index.parameters.values())

    @property
    def buffers(self) -> tuple[ParameterSpec, ...]:
        """Every distinct buffer, in registration order."""
        return tuple(b for m in self.modules for b in m.buffers)

    @property
    def total_params(self) -> int:
        """Scalars over distinct parameters: ``sum(p.numel() for p in parameters())``."""
        return sum(p.spec.numel for p in self.parameters)

    @property
    def trainable_params(self) -> int:
        """Scalars over distinct parameters with ``requires_grad``."""
        return sum(p.spec.numel for p in self.parameters if p.trainable)

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of all ops that torch has a formula for."""
        return sum(op.macs or 0 for op in self.ops)

    @property
    def total_flops(self) -> int:
        """Floating-point operations as ``FlopCounterMode`` counts them: 2 per MAC."""
        return 2 * self.total_macs

    @property
    def param_bytes(self) -> int:
        """Bytes of all distinct parameters."""
        return sum(p.spec.nbytes for p in self.parameters)

    @property
    def buffer_bytes(self) -> int:
        """Bytes of all distinct buffers."""
        return sum(b.spec.nbytes for b in self.buffers)

    @property
    def input_bytes(self) -> int:
        """Bytes of the tensors given to ``forward``."""
        return sum(spec.nbytes for op in self.inputs for spec in op.outputs)

    @property
    def uncounted(self) -> tuple[OpId, ...]:
        """Ops whose MACs are not known."""
        return tuple(op.id for op in self.ops if op.macs is None)

    def to_networkx(self) -> nx.MultiDiGraph:
        """A fresh ``networkx.MultiDiGraph`` of the ops; see ``core.exchange``."""
        from resnet_viz.core.exchange import to_networkx

        return to_networkx(self)

    def to_records(self) -> list[dict[str, object]]:
        """One flat dict per op, for ``pandas.DataFrame``; see ``core.records``."""
        from resnet_viz.core.records import graph_records

        return graph_records(self)
