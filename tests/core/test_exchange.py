"""networkx: a fresh graph with plain attributes, and GraphML that reads back."""

from __future__ import annotations

import dataclasses
import io
from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given

from resnet_viz.core.exchange import skip_edges, to_networkx
from resnet_viz.core.gradient_flow import (
    CallGradient,
    EdgeShare,
    GradientFlow,
    GradientStats,
    Loss,
    ParameterGradient,
)
from resnet_viz.core.graph import OpId
from resnet_viz.core.report import Report
from resnet_viz.core.structure import Block, Cost, Costs, Skip, Stage, Structure
from tests.core.values import edge, graphs, residual_graph

SKIP = Skip(
    fork=OpId("input#0"),
    join=OpId("block/add#0"),
    kind="identity",
    branch=(OpId("block.conv/conv2d#0"), OpId("block/relu#0")),
)


def report(*, with_flow: bool = True) -> Report:
    graph = residual_graph()
    ops = tuple(op.id for op in graph.ops)
    zero = Cost(key="", params=0, macs=0, activation_bytes=0)
    structure = Structure(
        skips=(SKIP,),
        blocks=(
            Block(
                kind="bottleneck", preactivation=True, module="block", ops=ops[:3], skip=SKIP,
                squeeze=0.25,
            ),
        ),
        stages=(Stage(name="stage 1", ops=ops, resolution=(4, 4), blocks=1),),
        costs=Costs(total=zero, ops=(), modules=(), blocks=(), stages=()),
    )  # fmt: skip
    stats = GradientStats(numel=4, l2=2.0, rms=1.0, low=-1.0, high=1.0)
    flow = GradientFlow(
        loss=Loss(name="cross entropy", value=1.0),
        mode="train",
        device="cpu",
        batch_size=1,
        data="noise",
        calls=(CallGradient(op=OpId("block/relu#0"), stats=stats),),
        parameters=(ParameterGradient(name="block.conv.weight", stats=stats, weight_l2=1.0),),
        shares=(
            EdgeShare(src=SKIP.fork, dst=SKIP.join, share=0.75, norm_ratio=0.8, cosine=0.9),
            EdgeShare(src=SKIP.fork, dst=SKIP.branch[0], share=0.25, norm_ratio=0.4, cosine=0.6),
        ),
    )
    measurements = (flow,) if with_flow else ()
    return Report(graph=graph, structure=structure, measurements=measurements)


@given(graphs())
def test_nodes_and_edges_are_those_of_the_graph(graph):
    out = to_networkx(graph)
    assert list(out) == [str(op.id) for op in graph.nodes()]
    assert out.number_of_edges() == len(
        {(e.src, e.dst, e.out_slot, e.in_slot) for e in graph.edges}
    )
    assert nx.is_directed_acyclic_graph(out)
    for op in graph.ops:
        data = out.nodes[op.id]
        assert (data["kind"], data["module"], data["params"]) == (op.kind, op.module, op.params)
        assert data["macs"] == (-1 if op.macs is None else op.macs)
    values = [v for _, d in out.nodes(data=True) for v in d.values()]
    values += [v for *_, d in out.edges(data=True) for v in d.values()]
    assert all(isinstance(value, bool | int | float | str) for value in values)


def test_the_result_is_fresh_each_time():
    graph = residual_graph()
    to_networkx(graph).remove_node("flatten#0")
    assert "flatten#0" in to_networkx(graph)


def test_two_edges_between_the_same_ops_stay_two():
    graph = residual_graph()
    edges = (*graph.edges, edge("block/add#0", "flatten#0", in_slot=1))
    twice = type(graph)(
        name="x + x",
        ops=graph.ops,
        edges=edges,
        modules=(),
        inputs=graph.inputs,
        outputs=(),
    )
    assert to_networkx(twice).number_of_edges("block/add#0", "flatten#0") == 2


def test_a_report_marks_the_skip_and_nothing_else():
    marked = [
        (src, dst, data["skip_kind"])
        for src, dst, data in report().to_networkx().edges(data=True)
        if data["skip"]
    ]
    assert marked == [("input#0", "block/add#0", "identity")]


def test_a_shortcut_with_ops_is_marked_all_along():
    # As if the residual graph's branch were the shortcut: then the plain edge is the branch.
    other = dataclasses.replace(SKIP, kind="projection", branch=(), shortcut=SKIP.branch)
    structure = dataclasses.replace(report().structure, skips=(other,))
    way = {(e.src, e.dst) for e in skip_edges(residual_graph(), structure)}
    chain = [SKIP.fork, *SKIP.branch, SKIP.join]
    assert set(pairwise(chain)) <= way
    assert all(src in chain and dst in chain for src, dst in way)


def test_an_edge_of_two_shortcuts_has_the_skip_that_joins_first():
    longer = dataclasses.replace(SKIP, join=OpId("flatten#0"), shortcut=(SKIP.join,))
    structure = dataclasses.replace(report().structure, skips=(SKIP, longer))
    marks = {(e.src, e.dst): s.join for e, s in skip_edges(residual_graph(), structure).items()}
    assert marks == {(SKIP.fork, SKIP.join): SKIP.join, (SKIP.join, longer.join): longer.join}


def test_a_report_carries_block_stage_and_gradients():
    out = to_networkx(report())
    inside, outside = out.nodes["block/relu#0"], out.nodes["flatten#0"]
    assert inside["block"] == "block/add#0"
    assert inside["block_kind"] == "pre-activation bottleneck"
    assert inside["squeeze"] == 0.25
    assert inside["grad_l2"] == 2.0
    assert inside["grad_rms"] == 1.0
    assert out.nodes["block.conv/conv2d#0"]["param_grad_l2"] == 2.0
    assert outside["block"] == ""
    assert outside["stage"] == "stage 1"
    assert out.edges["input#0", "block/add#0", "0>1"]["share"] == 0.75
    assert sum(d.get("share", 0.0) for *_, d in out.out_edges("input#0", data=True)) == 1.0


@pytest.mark.parametrize("value", [residual_graph(), report(), report(with_flow=False)])
def test_graphml_writes_and_reads_back(value):
    out = to_networkx(value)
    buffer = io.BytesIO()
    nx.write_graphml(out, buffer)
    buffer.seek(0)
    again = nx.read_graphml(buffer, force_multigraph=True)
    assert dict(again.nodes(data=True)) == dict(out.nodes(data=True))
    assert sorted(again.edges()) == sorted(out.edges())


def test_anything_else_is_a_type_error():
    with pytest.raises(TypeError, match="not str"):
        to_networkx("resnet50")
