"""Graphs made by hand, one op at a time, so that a test can show what it speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from resnet_viz.core.graph import (
    Arg,
    Edge,
    GraphOutput,
    ModelGraph,
    ModuleNode,
    Op,
    OpId,
    ParameterSpec,
    Ref,
    TensorSpec,
    make_op_id,
)


@dataclass(frozen=True)
class Value:
    """Output ``slot`` of an op."""

    op: OpId
    shape: tuple[int, ...]
    dtype: str = "float32"
    slot: int = 0


@dataclass(frozen=True)
class Weight:
    """A parameter."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Const:
    """A tensor that is neither activation nor parameter."""

    shape: tuple[int, ...] = ()


class Builder:
    """Collects ops; ``build()`` makes the graph."""

    def __init__(self) -> None:
        self._inputs: list[Op] = []
        self._ops: list[Op] = []
        self._edges: list[Edge] = []
        self._weights: dict[str, Weight] = {}
        self._ordinals: dict[tuple[str, str], int] = {}

    def input(self, *shape: int, dtype: str = "float32") -> Value:
        op = OpId(f"input#{len(self._inputs)}")
        spec = TensorSpec(shape=shape, dtype=dtype)
        self._inputs.append(Op(id=op, kind="input", target="input", module="", outputs=(spec,)))
        return Value(op, shape, dtype)

    def op(
        self,
        kind: str,
        *args: Any,
        shape: tuple[int, ...] | None = None,
        dtype: str = "float32",
        module: str = "",
        outputs: int = 1,
        inplace: bool = False,
        macs: int = 0,
        **kwargs: Any,
    ) -> Value:
        ordinal = self._ordinals.get((module, kind), 0)
        self._ordinals[module, kind] = ordinal + 1
        op = make_op_id(module, kind, ordinal)
        edges: list[Edge] = []
        read: list[Weight] = []
        tree = tuple(self._arg(a, op, edges, read) for a in args)
        named = tuple((k, self._arg(v, op, edges, read)) for k, v in kwargs.items())
        if shape is None:
            shape = next(a.shape for a in args if isinstance(a, Value))
        new = [w for w in read if w.name not in self._weights]
        self._weights |= {w.name: w for w in new}
        spec = TensorSpec(shape=shape, dtype=dtype)
        self._ops.append(
            Op(
                id=op,
                kind=kind,
                target=f"torch.{kind}",
                module=module,
                args=tree,
                kwargs=named,
                outputs=(spec,) * outputs,
                inplace=inplace,
                parameters=tuple(w.name for w in read),
                params=sum(TensorSpec(shape=w.shape, dtype="float32").numel for w in new),
                macs=macs,
            )
        )
        self._edges += edges
        return Value(op, shape, dtype)

    def _arg(self, value: Any, op: OpId, edges: list[Edge], read: list[Weight]) -> Arg:
        if isinstance(value, Value):
            slot = len(edges)
            edges.append(Edge(src=value.op, out_slot=value.slot, dst=op, in_slot=slot))
            return Ref(kind="in", key=slot)
        if isinstance(value, Weight):
            read.append(value)
            return Ref(kind="param", key=value.name)
        if isinstance(value, Const):
            return Ref(kind="const", key=f"float32{list(value.shape)}")
        if isinstance(value, list | tuple):
            return tuple(self._arg(v, op, edges, read) for v in value)
        return value  # type: ignore[no-any-return]

    # The few layers that most tests need.

    def conv(
        self, x: Value, width: int, kernel: int = 3, stride: int = 1, module: str = ""
    ) -> Value:
        n, c, h, w = x.shape
        name = f"{module or 'root'}.w{len(self._ops)}"
        weight = Weight(name, (width, c, kernel, kernel))
        shape = (n, width, h // stride, w // stride)
        macs = n * width * (h // stride) * (w // stride) * c * kernel * kernel
        return self.op("conv2d", x, weight, None, shape=shape, module=module, macs=macs)

    def linear(self, x: Value, width: int, module: str = "") -> Value:
        weight = Weight(f"{module or 'root'}.w{len(self._ops)}", (width, x.shape[-1]))
        return self.op("linear", x, weight, shape=(*x.shape[:-1], width), module=module)

    def norm(self, x: Value, module: str = "") -> Value:
        weight = Weight(f"{module or 'root'}.g{len(self._ops)}", (x.shape[1],))
        return self.op("batch_norm", x, Const(), Const(), weight=weight, module=module)

    def relu(self, x: Value, module: str = "") -> Value:
        return self.op("relu", x, module=module)

    def add(self, a: Any, b: Any, module: str = "") -> Value:
        return self.op("add", a, b, module=module)

    def mul(self, a: Any, b: Any, module: str = "") -> Value:
        return self.op("mul", a, b, module=module)

    def cat(self, *parts: Value, dim: int = 1, module: str = "") -> Value:
        shape = list(parts[0].shape)
        shape[dim] = sum(p.shape[dim] for p in parts)
        return self.op("cat", parts, dim, shape=tuple(shape), module=module)

    def branch(
        self, x: Value, width: int | None = None, stride: int = 1, module: str = ""
    ) -> Value:
        """conv, norm, relu, conv, norm: what a basic block has."""
        width = width or x.shape[1]
        h = self.relu(self.norm(self.conv(x, width, stride=stride, module=module), module), module)
        return self.norm(self.conv(h, width, module=module), module)

    def build(self, *outputs: Value) -> ModelGraph:
        last = outputs or (Value(self._ops[-1].id, ()),)
        paths = {""}
        for module in {op.module for op in self._ops}:
            while module and module not in paths:
                paths.add(module)
                module = module.rpartition(".")[0]
        specs = tuple(
            ParameterSpec(name=w.name, spec=TensorSpec(shape=w.shape, dtype="float32"))
            for w in self._weights.values()
        )
        modules = tuple(
            ModuleNode(path=p, type_name="Module", parameters=() if p else specs)
            for p in sorted(paths)
        )
        return ModelGraph(
            name="made by hand",
            ops=tuple(self._ops),
            edges=tuple(self._edges),
            modules=modules,
            inputs=tuple(self._inputs),
            outputs=tuple(
                GraphOutput(name=f"{i}", src=v.op, out_slot=v.slot) for i, v in enumerate(last)
            ),
        )
