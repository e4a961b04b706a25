"""Graphs that end early: every prefix of a forward has a structure, and it is no invention."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_viz.analysis import annotate
from resnet_viz.analysis.diagnose import diagnose
from resnet_viz.core.graph import Failure, ModelGraph
from resnet_viz.core.schema import from_json, to_json
from tests.analysis import zoo

NAMES = ("tv:resnet18", "tv:resnet50", "tv:vit_b_16", "tv:mobilenet_v3_small")


def cut(graph: ModelGraph, at: int) -> ModelGraph:
    """The graph as it is left when the op at this place raises."""
    failing = replace(graph.ops[at], outputs=(), macs=0)
    ops = (*graph.ops[:at], failing)
    known = {op.id for op in (*graph.inputs, *ops)}
    return replace(
        graph,
        ops=ops,
        edges=tuple(edge for edge in graph.edges if edge.dst in known),
        outputs=(),
        failure=Failure(error="RuntimeError: cut", op=failing.id, module=failing.module),
    )


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(part=st.floats(0, 1))
def test_what_ran_has_the_structure_it_has_in_the_whole(name: str, part: float) -> None:
    whole = zoo.graph(name)
    at = round(part * (len(whole) - 1))
    graph = cut(whole, at)
    structure = annotate(graph)
    kept = {op.id for op in whole.ops[:at]}
    expected = [s for s in zoo.structure(name).skips if s.join in kept]
    assert [(s.fork, s.join) for s in structure.skips] == [(s.fork, s.join) for s in expected]
    assert structure.costs.total.macs == sum(op.macs or 0 for op in whole.ops[:at])
    (finding,) = diagnose(graph, structure)
    assert (finding.severity, finding.what) == ("error", "forward raised")
    assert finding.where == (graph.ops[-1].id,)
    assert from_json(to_json(graph)) == graph


def test_a_graph_of_nothing_has_a_structure() -> None:
    graph = ModelGraph(
        name="n", ops=(), edges=(), modules=(), inputs=(), outputs=(), failure=Failure(error="E")
    )
    assert annotate(graph).skips == ()
    assert "no operation had run" in diagnose(graph, annotate(graph))[0].evidence
