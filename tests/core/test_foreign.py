"""Graphs come back from networkx whole, and other people's graphs are read or refused."""

from __future__ import annotations

import dataclasses
import io
import json

import networkx as nx
import pytest
from hypothesis import given

from resnet_viz.analysis import annotate
from resnet_viz.core.errors import UserError
from resnet_viz.core.exchange import to_networkx
from resnet_viz.core.foreign import from_networkx
from resnet_viz.core.graph import Failure, ModelGraph, OpId, TensorSpec
from resnet_viz.reporting import render
from tests.analysis import zoo
from tests.core.test_exchange import report
from tests.core.values import graphs, residual_graph
from tests.reporting import synthetic


def ordered(graph: ModelGraph) -> ModelGraph:
    """The graph with its edges in the documented order."""
    edges = sorted(graph.edges, key=lambda e: (graph.position(e.dst), e.in_slot))
    return dataclasses.replace(graph, edges=tuple(edges))


def failed() -> ModelGraph:
    graph = residual_graph()
    failure = Failure(
        error="RuntimeError: no",
        op=OpId("flatten#0"),
        source_line="net.py:3",
        inputs=(TensorSpec(shape=(1, 2), dtype="int64"),),
        hint="look there",
    )
    return dataclasses.replace(graph, outputs=(), failure=failure)


def equal(again: ModelGraph, graph: ModelGraph) -> bool:
    return again == graph and again.how == graph.how and again.warnings == graph.warnings


@given(graphs())
def test_the_round_trip_is_identity(graph):
    assert equal(from_networkx(to_networkx(graph)), ordered(graph))


@pytest.mark.parametrize("graph", [residual_graph(), failed()], ids=["whole", "failed"])
def test_also_by_way_of_other_formats(graph):
    out = graph.to_networkx()
    buffer = io.BytesIO()
    nx.write_graphml(out, buffer)
    buffer.seek(0)
    assert equal(from_networkx(nx.read_graphml(buffer)), graph)
    assert equal(
        from_networkx(nx.node_link_graph(json.loads(json.dumps(nx.node_link_data(out))))), graph
    )


@pytest.mark.parametrize("name", ["tv:resnet18", "hf:gpt2", "hf:t5"])
def test_real_graphs_come_back_with_their_structure(name):
    again = from_networkx(zoo.graph(name).to_networkx())
    assert equal(again, zoo.graph(name))
    assert annotate(again) == zoo.structure(name)


def test_the_graph_of_a_report_comes_back_without_what_was_found_in_it():
    assert from_networkx(to_networkx(report())) == residual_graph()


@pytest.mark.parametrize("name", synthetic.ALL)
def test_the_graphml_of_a_report_reads_back(name):
    made = synthetic.ALL[name]()
    again = from_networkx(nx.read_graphml(io.BytesIO(render(made, "graphml"))))
    assert again == ordered(made.graph)


def test_the_order_of_nodes_and_edges_does_not_matter():
    out = residual_graph().to_networkx()
    shuffled = nx.MultiDiGraph(**out.graph)
    shuffled.add_nodes_from(reversed(list(out.nodes(data=True))))
    shuffled.add_edges_from(reversed(list(out.edges(data=True))))
    assert from_networkx(shuffled) == residual_graph()


def drawn(*edges: tuple[str, str], **kinds: str) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_edges_from(edges)
    nx.set_node_attributes(graph, kinds, "kind")
    return graph


SKIP = (("x", "a"), ("a", "b"), ("b", "c"), ("c", "y"), ("x", "y"))
KINDS = {"x": "input", "a": "conv2d", "b": "relu", "c": "conv2d", "y": "add"}


def test_a_graph_drawn_by_hand_has_skips():
    graph = drawn(*SKIP, **KINDS)
    nx.set_node_attributes(graph, {"a": 9, "c": 9}, "params")
    model = from_networkx(graph)
    assert [op.id for op in model.inputs] == ["x"]
    assert model.total_params == 18
    assert [output.src for output in model.outputs] == ["y"]
    (skip,) = annotate(model).skips
    assert (skip.fork, skip.join, skip.kind, skip.branch) == ("x", "y", "identity", ("a", "b", "c"))


def test_shapes_are_read_as_people_write_them():
    for text in ("[1, 8, 4, 4]", "1x8x4x4", "1×8×4×4", (1, 8, 4, 4)):
        graph = drawn(("x", "y"), x="input", y="relu")
        graph.nodes["x"]["shape"] = text
        assert from_networkx(graph)["x"].shape == (1, 8, 4, 4)


def test_modules_follow_from_the_paths():
    graph = drawn(("x", "a.b/relu#0"), **{"x": "input", "a.b/relu#0": "relu"})
    model = from_networkx(graph)
    assert [module.path for module in model.modules] == ["", "a", "a.b"]
    assert model.module("a").children == ("a.b",)


def test_attributes_of_other_tools_are_passed_over():
    graph = drawn(*SKIP, **KINDS)
    plain = from_networkx(graph)
    nx.set_node_attributes(graph, {"a": {"viz": {"color": 1}, "weight": 2.5, "kind": "conv2d"}})
    nx.set_edge_attributes(graph, 0.5, "weight")
    graph.graph["creator"] = "somebody"
    assert from_networkx(graph) == plain


def test_a_graph_without_an_order_gets_a_topological_one():
    graph = nx.DiGraph()
    graph.add_nodes_from("ycbax")
    graph.add_edges_from(SKIP)
    nx.set_node_attributes(graph, KINDS, "kind")
    assert [op.id for op in from_networkx(graph).nodes()] == ["x", "a", "b", "c", "y"]


def _spoilt(**data: object) -> nx.DiGraph:
    graph = drawn(*SKIP, **KINDS)
    graph.nodes["a"].update(data)
    return graph


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (nx.Graph([("a", "b")]), "a directed networkx graph is needed, not Graph"),
        (nx.DiGraph([("a", "b")]), "node 'a' has no kind"),
        (drawn(*SKIP, ("y", "a"), **KINDS), "the graph has a cycle through 'a'"),
        (_spoilt(params="many"), "params of a is 'many': a whole number is needed"),
        (_spoilt(args="{"), "args of a cannot be read"),
        (_spoilt(outputs="[1]"), "outputs of a cannot be read"),
        (_spoilt(returned="[[1]]"), "returned of a cannot be read"),
        (drawn((1, "1"), **{"1": "relu"}), "two nodes have the same name as text"),
    ],
)
def test_anything_else_is_refused_in_one_line(graph, message):
    with pytest.raises(UserError, match=message) as caught:
        from_networkx(graph)
    assert "\n" not in str(caught.value)


def test_an_empty_graph_is_a_graph():
    assert from_networkx(nx.DiGraph()).ops == ()
