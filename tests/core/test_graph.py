"""``ModelGraph``: what it refuses, and what its queries answer."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.core.graph import GraphOutput, ModelGraph, OpId, TensorSpec, make_op_id, module_of
from tests.core.values import edge, graphs, op, residual_graph


def test_ids_name_module_kind_and_ordinal():
    assert make_op_id("layer1.0", "add", 2) == "layer1.0/add#2"
    assert make_op_id("", "flatten", 0) == "flatten#0"
    assert module_of(OpId("layer1.0/add#2")) == "layer1.0"
    assert module_of(OpId("flatten#0")) == ""


@given(
    st.text(),
    st.text(st.characters(exclude_characters="/"), min_size=1),
    st.integers(0, 99),
)
def test_the_module_is_read_back_from_an_id(module, kind, ordinal):
    assert module_of(make_op_id(module, kind, ordinal)) == module


def test_two_ops_of_one_name_are_refused():
    graph = residual_graph()
    with pytest.raises(ValueError, match=r"two ops are called 'block/add#0'"):
        dataclasses.replace(graph, ops=(*graph.ops, graph["block/add#0"]))


def test_an_input_and_an_op_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two ops"):
        _graph(inputs=(op("input#0"),), ops=(op("input#0"),))


@pytest.mark.parametrize(("src", "dst"), [("nowhere#0", "relu#0"), ("input#0", "nowhere#0")])
def test_an_edge_to_an_unknown_op_is_refused(src, dst):
    with pytest.raises(ValueError, match="not in the graph"):
        _graph(inputs=(op("input#0"),), ops=(op("relu#0"),), edges=(edge(src, dst),))


@pytest.mark.parametrize(("src", "dst"), [("relu#0", "conv#0"), ("relu#0", "relu#0")])
def test_an_edge_backward_is_refused(src, dst):
    with pytest.raises(ValueError, match="backward"):
        _graph(ops=(op("conv#0"), op("relu#0")), edges=(edge(src, dst),))


def test_an_output_of_an_unknown_op_is_refused():
    with pytest.raises(ValueError, match="unknown 'gone#0'"):
        _graph(outputs=(GraphOutput(name="out", src=OpId("gone#0")),))


@given(graphs())
def test_queries_agree_with_the_fields(graph):
    nodes = [*graph.inputs, *graph.ops]
    assert list(graph.nodes()) == nodes
    assert len(graph) == len(graph.ops)
    for position, node in enumerate(nodes):
        assert graph[node.id] is node
        assert node.id in graph
        assert graph.position(node.id) == position
        assert list(graph.edges_in(node.id)) == [e for e in graph.edges if e.dst == node.id]
        assert list(graph.edges_out(node.id)) == [e for e in graph.edges if e.src == node.id]
    assert graph.total_macs == sum(o.macs for o in graph.ops if o.macs is not None)
    assert list(graph.uncounted) == [o.id for o in graph.ops if o.macs is None]


def test_totals_count_distinct_parameters():
    graph = residual_graph()
    assert graph.total_params == 576 + 5
    assert graph.trainable_params == 576
    assert graph.total_macs == 9216
    assert graph.uncounted == ("flatten#0",)
    assert graph.module("block.conv").type_name == "Conv2d"
    assert graph.parameter("unused").trainable is False


def test_what_is_not_there_is_a_key_error():
    graph = residual_graph()
    for query in (graph.__getitem__, graph.module, graph.parameter):
        with pytest.raises(KeyError, match="gone"):
            query("gone")
    assert "gone" not in graph
    assert graph.edges_in("gone") == ()


def test_how_it_was_traced_is_no_part_of_equality():
    graph = residual_graph()
    other = dataclasses.replace(
        graph, how=dataclasses.replace(graph.how, mode="meta"), warnings=("unwrapped",)
    )
    assert graph == other
    assert graph != dataclasses.replace(graph, name="another")


def test_graphs_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        residual_graph().name = "x"


def test_records_hold_one_row_per_op():
    graph = residual_graph()
    rows = graph.to_records()
    assert [row["id"] for row in rows] == [o.id for o in graph.ops]
    assert sum(row["params"] for row in rows) == 576
    assert rows[1]["inplace"] is True


@pytest.mark.parametrize(
    ("dtype", "width"), [("float32", 4), ("float64", 8), ("bfloat16", 2), ("bool", 1)]
)
def test_bytes_of_a_tensor(dtype, width):
    spec = TensorSpec(shape=(2, 3, 4), dtype=dtype)
    assert spec.numel == 24
    assert spec.nbytes == 24 * width


def test_a_scalar_has_one_element_and_an_empty_tensor_none():
    assert TensorSpec(shape=(), dtype="float32").numel == 1
    assert TensorSpec(shape=(0, 5), dtype="float32").nbytes == 0


def _graph(**fields):
    empty = {"inputs": (), "ops": (), "edges": (), "modules": (), "outputs": ()}
    return ModelGraph(name="g", **(empty | fields))
