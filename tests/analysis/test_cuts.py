"""Cuts: against the definition (take the op away: is the output cut off?) and by hand."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer, resnet18
from torchvision.models.densenet import DenseNet

from resnet_viz.analysis.cuts import cuts_of
from resnet_viz.analysis.flow_graph import flow_of
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.tracing.tracer import trace_model
from tests.analysis.builder import Builder
from tests.analysis.nets import NETS

IMAGE = torch.zeros(1, 3, 32, 32)

MODELS: dict[str, Callable[[], nn.Module]] = {
    "resnet": resnet18,
    "plain": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(3136, 2)
    ),
    "densenet": lambda: DenseNet(4, (2, 2), 8, num_classes=5),
    "vit": lambda: VisionTransformer(32, 8, 2, 2, 8, 16, num_classes=5),
    "u-net": NETS["UNet"].build,
}


def traced(name: str) -> ModelGraph:
    args = NETS["UNet"].args if name == "u-net" else (IMAGE,)
    return trace_model(MODELS[name](), args, training=False)


def by_definition(graph: ModelGraph, starts: list[str], ends: list[str]) -> set[str]:
    flow = flow_of(graph)
    net = nx.DiGraph()
    for node, ways in enumerate(flow.preds):
        for way in ways or (flow.sources[node] if flow.active[node] else ()):
            net.add_edge(flow.nodes[way].id, flow.nodes[node].id)
    net.add_edges_from(("from", start) for start in starts)
    net.add_edges_from((end, "to") for end in ends)
    found = set()
    for op in list(net.nodes - {"from", "to"}):
        if not nx.has_path(
            nx.subgraph_view(net, filter_node=lambda n, op=op: n != op), "from", "to"
        ):
            found.add(op)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_a_cut_is_what_cuts_the_output_off(name: str) -> None:
    graph = traced(name)
    assert cuts_of(graph) == by_definition(
        graph, [i.id for i in graph.inputs], [o.src for o in graph.outputs]
    )


def test_joins_of_a_resnet_are_cuts_and_its_branches_are_not() -> None:
    graph = traced("resnet")
    cuts = cuts_of(graph)
    joins = {op.id for op in graph.ops if op.kind == "add"}
    assert len(joins) == 8
    assert joins < cuts
    inside = {op.id for op in graph.ops if op.kind in ("conv2d", "batch_norm")} & cuts
    assert inside == {"conv1/conv2d#0", "bn1/batch_norm#0"}


def test_of_a_plain_net_everything_is_a_cut() -> None:
    graph = traced("plain")
    assert cuts_of(graph) == {op.id for op in graph.nodes()}


def test_of_a_u_net_nothing_between_the_outermost_skip_is() -> None:
    graph = traced("u-net")
    last_cat = [op for op in graph.ops if op.kind == "cat"][-1]
    first = min(graph.position(e.src) for e in graph.edges_in(last_cat.id))
    between = {
        op.id for op in graph.ops if first < graph.position(op.id) < graph.position(last_cat.id)
    }
    assert last_cat.id in cuts_of(graph)
    assert not between & cuts_of(graph)


class Tokens(nn.Module):
    """Embeds tokens and, beside them, segments; gives out a class and an early guess."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.kinds = nn.Embedding(2, 4)
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)
        self.guess = nn.Linear(4, 3)

    def forward(self, ids: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        x = self.words(ids) + self.kinds(kinds)
        early = x.mean(1)
        return self.head(self.body(x).mean(1)), self.guess(early)


def test_only_ways_from_what_is_attributed_to_what_is_explained_count() -> None:
    ids = torch.zeros(1, 5, dtype=torch.long)
    graph = trace_model(Tokens(), (ids, ids.clone()), training=False)
    main, early = (o.src for o in graph.outputs)
    words, add = OpId("words/embedding#0"), OpId("add#0")
    assert cuts_of(graph) == {add}, "both outputs, both embeddings"
    assert cuts_of(graph, main, inputs=[words]) == {
        words,
        add,
        "body/linear#0",
        "mean#1",
        "head/linear#0",
    }
    assert cuts_of(graph, early, inputs=[graph.inputs[0].id]) == {
        graph.inputs[0].id,
        words,
        add,
        "mean#0",
        "guess/linear#0",
    }


def test_no_way_no_cut() -> None:
    made = Builder()
    x = made.input(2, 3)
    side = made.op("relu", x)
    out = made.op("detach", x)
    graph = made.build(out)
    assert cuts_of(graph) == frozenset()
    assert cuts_of(graph, side.op) == {x.op, side.op}
    with pytest.raises(KeyError):
        cuts_of(graph, OpId("nowhere#0"))
