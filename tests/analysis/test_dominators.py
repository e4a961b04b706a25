"""Dominators: against networkx on random graphs, and fast on deep ones."""

from __future__ import annotations

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_viz.analysis.dominators import ROOT, DominatorTree
from tests.analysis.work import at_most


@st.composite
def dags(draw: st.DrawFn) -> list[list[int]]:
    size = draw(st.integers(1, 40))
    return [
        sorted(draw(st.sets(st.integers(0, node - 1), max_size=3))) if node else []
        for node in range(size)
    ]


@settings(max_examples=300, deadline=None)
@given(dags())
def test_idom_equals_networkx(preds: list[list[int]]) -> None:
    graph = nx.DiGraph()
    graph.add_node(ROOT)
    for node, sources in enumerate(preds):
        for source in sources or [ROOT]:
            graph.add_edge(source, node)
    expected = nx.immediate_dominators(graph, ROOT)
    tree = DominatorTree()
    found = [tree.add(node, sources) for node, sources in enumerate(preds)]
    assert found == [expected[node] for node in range(len(preds))]


@settings(max_examples=100, deadline=None)
@given(dags(), st.data())
def test_common_is_the_deepest_shared_dominator(
    preds: list[list[int]], data: st.DataObject
) -> None:
    tree = DominatorTree()
    for node, sources in enumerate(preds):
        tree.add(node, sources)
    left = data.draw(st.integers(0, len(preds) - 1))
    right = data.draw(st.integers(0, len(preds) - 1))
    shared = set(tree.chain(left, ROOT)) & set(tree.chain(right, ROOT))
    assert tree.common(left, right) == max(shared, default=ROOT)


def test_thirty_thousand_nodes_in_a_ladder() -> None:
    # Every third node joins the two before it; a naive walk up the tree for the
    # long-range joins would be quadratic.
    tree = DominatorTree()
    tree.add(0, ())
    with at_most(100 * 30_000):
        for node in range(1, 30_000):
            preds = [node - 1] if node % 3 else [node - 1, node - 3]
            tree.add(node, preds)
        deepest = tree.common(29_999, 1)
    assert deepest in (0, 1)
