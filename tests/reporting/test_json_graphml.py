"""JSON and GraphML: other programs read back what the report holds."""

from __future__ import annotations

import io

import networkx as nx
import pytest

from resnet_viz.core.report import RenderOptions
from resnet_viz.core.schema import from_json
from resnet_viz.reporting import render
from tests.reporting import synthetic

REPORTS = {name: make() for name, make in synthetic.ALL.items()}


@pytest.mark.parametrize("name", REPORTS)
def test_json_is_the_whole_report(name):
    assert from_json(render(REPORTS[name], "json").decode()) == REPORTS[name]


@pytest.mark.parametrize("name", REPORTS)
def test_json_does_not_depend_on_how_things_look(name):
    plain = render(REPORTS[name], "json")
    assert render(REPORTS[name], "json", RenderOptions(theme="dark", collapse="all")) == plain


@pytest.mark.parametrize("name", REPORTS)
def test_graphml_holds_every_op_and_every_skip(name):
    report = REPORTS[name]
    graph = nx.read_graphml(io.BytesIO(render(report, "graphml")), force_multigraph=True)
    assert set(graph) == {op.id for op in report.graph.nodes()}
    assert graph.number_of_edges() == len(report.graph.edges)
    skips = {data["skip"] for *_, data in graph.edges(data=True)} - {""}
    assert skips == {skip.id for skip in report.structure.skips}
    params = sum(data["params"] for _, data in graph.nodes(data=True))
    assert params == report.graph.total_params


def test_graphml_of_resnet50_names_blocks_kinds_and_shares():
    report = REPORTS["resnet50"]
    graph = nx.read_graphml(io.BytesIO(render(report, "graphml")), force_multigraph=True)
    joins = {data["block"] for _, data in graph.nodes(data=True)} - {""}
    assert joins == {block.skip.join for block in report.structure.blocks}
    by_skip = {d["skip"]: d["skip_kind"] for *_, d in graph.edges(data=True) if d["skip"]}
    assert sorted(by_skip.values()).count("identity") == 12
    assert sorted(by_skip.values()).count("projection") == 4
    assert all("grad_l2" in data for _, data in graph.nodes(data=True) if data["kind"] != "input")
    for fork in {skip.fork for skip in report.structure.skips}:
        total = sum(data["share"] for *_, data in graph.out_edges(fork, data=True))
        assert total == pytest.approx(1.0)


def test_names_xml_has_no_way_to_write_are_spelled_out():
    net = synthetic.Net("bell\x07", (1, 8, 4, 4))
    x = net.relu("a\x00b\x1b[31m\ufffe", net.x)
    graph = nx.read_graphml(io.BytesIO(render(net.report(x), "graphml")))
    assert "a\\u0000b\\u001b[31m\\ufffe/relu#0" in graph
