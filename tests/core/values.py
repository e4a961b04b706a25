"""Core values by hand and by hypothesis, for the tests of ``core``."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any

from hypothesis import strategies as st

from resnet_viz.core.graph import (
    Edge,
    GraphOutput,
    How,
    ModelGraph,
    ModuleNode,
    Op,
    OpId,
    ParameterSpec,
    Ref,
    TensorSpec,
    make_op_id,
)
from resnet_viz.core.pictures import Heatmap
from resnet_viz.core.schema import travels

floats = st.floats(allow_nan=False)
specs = st.builds(
    TensorSpec,
    shape=st.lists(st.integers(0, 9), max_size=4).map(tuple),
    dtype=st.sampled_from(["float32", "int64", "bfloat16", "no_such_dtype"]),
)
refs = st.builds(
    Ref, kind=st.sampled_from(["in", "param", "buffer", "const"]), key=st.integers(0) | st.text()
)
args = st.recursive(
    st.none() | st.booleans() | st.integers() | floats | st.text() | refs,
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


@st.composite
def graphs(draw: st.DrawFn) -> ModelGraph:
    """Any acyclic graph with arbitrary names and arguments."""
    names = draw(st.lists(st.text(max_size=8), min_size=1, max_size=6, unique=True))
    nodes = [
        Op(
            id=make_op_id(name, "add", i),
            kind="add",
            target="torch.add",
            module=name,
            args=tuple(draw(st.lists(args, max_size=2))),
            kwargs=tuple(draw(st.lists(st.tuples(st.text(max_size=4), args), max_size=1))),
            outputs=tuple(draw(st.lists(specs, max_size=2))),
            inplace=draw(st.booleans()),
            parameters=tuple(draw(st.lists(st.text(max_size=3), max_size=2))),
            params=draw(st.integers(0, 10**12)),
            macs=draw(st.none() | st.integers(0, 10**15)),
            source_line=draw(st.text(max_size=5)),
            label=draw(st.text(max_size=5)),
        )
        for i, name in enumerate(names)
    ]
    pairs = [(a, b) for b in range(len(nodes)) for a in range(b)]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=8)) if pairs else []
    return ModelGraph(
        name=draw(st.text(max_size=8)),
        ops=tuple(nodes[1:]),
        edges=tuple(
            Edge(src=nodes[a].id, out_slot=0, dst=nodes[b].id, in_slot=slot)
            for slot, (a, b) in enumerate(chosen)
        ),
        modules=tuple(draw(st.lists(any_value(ModuleNode), max_size=2))),
        inputs=(nodes[0],),
        outputs=(GraphOutput(name="out", src=nodes[-1].id),),
        how=draw(st.builds(How, mode=st.sampled_from(["meta", "fake", "real"]))),
        warnings=tuple(draw(st.lists(st.text(max_size=5), max_size=1))),
    )


@st.composite
def heatmaps(draw: st.DrawFn) -> Heatmap:
    """A heatmap whose bytes fit its size."""
    width, height = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    data = draw(st.binary(min_size=width * height, max_size=width * height))
    return Heatmap(width=width, height=height, low=draw(floats), high=draw(floats), data=data)


_SPECIAL: dict[Any, st.SearchStrategy[Any]] = {
    ModelGraph: graphs(),
    Heatmap: heatmaps(),
    float: floats,
    int: st.integers(-(10**15), 10**15),
    str: st.text(max_size=6),
    bool: st.booleans(),
    bytes: st.binary(max_size=6),
    type(None): st.none(),
}


@functools.cache
def any_value(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of this type; a core dataclass is built from its annotations."""
    if hint in _SPECIAL:
        return _SPECIAL[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return st.sampled_from(inner)
    if origin in (typing.Union, types.UnionType):
        return args if Ref in inner else st.one_of(*map(any_value, inner))
    if origin is tuple and inner[-1] is Ellipsis:
        return st.lists(any_value(inner[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(any_value, inner))
    if isinstance(hint, typing.NewType):
        return any_value(hint.__supertype__)
    hints = typing.get_type_hints(hint)
    names = [field.name for field in dataclasses.fields(hint) if travels(field)]
    return st.builds(hint, **{name: any_value(hints[name]) for name in names})


def op(name: str, *, kind: str = "", params: int = 0, macs: int | None = 0, **more: object) -> Op:
    """An op by its id; the kind is read off the id."""
    module, _, call = name.rpartition("/")
    kind = kind or call.partition("#")[0]
    fields = {
        "target": f"torch.{kind}",
        "outputs": (TensorSpec(shape=(1, 8, 4, 4), dtype="float32"),),
    } | more
    return Op(id=OpId(name), kind=kind, module=module, params=params, macs=macs, **fields)


def edge(src: str, dst: str, in_slot: int = 0) -> Edge:
    """A tensor from the first output of ``src`` to ``dst``."""
    return Edge(src=OpId(src), out_slot=0, dst=OpId(dst), in_slot=in_slot)


def residual_graph() -> ModelGraph:
    """One residual block by hand: x -> conv -> relu -> add(x), then a flatten."""
    weight = ParameterSpec(
        name="block.conv.weight", spec=TensorSpec(shape=(8, 8, 3, 3), dtype="float32")
    )
    frozen = ParameterSpec(
        name="unused", spec=TensorSpec(shape=(5,), dtype="float32"), trainable=False, used=False
    )
    return ModelGraph(
        name="residual",
        inputs=(op("input#0", label="x"),),
        ops=(
            op("block.conv/conv2d#0", params=576, macs=9216, parameters=("block.conv.weight",)),
            op("block/relu#0", inplace=True),
            op("block/add#0"),
            op("flatten#0", macs=None, outputs=(TensorSpec(shape=(1, 128), dtype="float32"),)),
        ),
        edges=(
            edge("input#0", "block.conv/conv2d#0"),
            edge("block.conv/conv2d#0", "block/relu#0"),
            edge("block/relu#0", "block/add#0", 0),
            edge("input#0", "block/add#0", 1),
            edge("block/add#0", "flatten#0"),
        ),
        modules=(
            ModuleNode(path="", type_name="Net", children=("block",), parameters=(frozen,)),
            ModuleNode(path="block", type_name="Foo", children=("block.conv",), calls=1),
            ModuleNode(path="block.conv", type_name="Conv2d", parameters=(weight,), calls=1),
        ),
        outputs=(GraphOutput(name="out", src=OpId("flatten#0")),),
    )
