"""Two graphs matched by block: laws over many pairs, and pairs known by hand."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

import resnet_viz as rv
from resnet_viz.analysis.align import align
from resnet_viz.core.comparison import Alignment
from resnet_viz.core.graph import ModelGraph

PAIRS = [
    ("plain20", "resnet20"),
    ("resnet20", "resnet32"),
    ("resnet18", "resnet34"),
    ("resnet50", "resnet101"),
    ("resnet18", "resnet50"),
    ("resnet50", "seresnet50"),
    ("preact_resnet110", "resnet110"),
    ("densenet121", "resnet18"),
    ("plain34", "plain18"),
]


def aligned(a: ModelGraph, b: ModelGraph) -> Alignment:
    return align(a, rv.annotate(a), b, rv.annotate(b))


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_every_block_is_in_exactly_one_pair_and_order_is_kept(a: str, b: str) -> None:
    graphs = rv.trace(a), rv.trace(b)
    found = aligned(*graphs)
    for side, graph in zip(("a_ops", "b_ops"), graphs, strict=True):
        ops = [op for pair in found.pairs for op in getattr(pair, side)]
        assert max(Counter(ops).values()) == 1
        weighted = {op.id for op in graph.ops if op.kind in ("conv2d", "linear")}
        assert weighted <= set(ops)
        first = [graph.position(getattr(p, side)[0]) for p in found.pairs if getattr(p, side)]
        assert first == sorted(first)
        joins = {block.skip.join for block in rv.annotate(graph).blocks}
        assert joins <= {op for p in found.pairs for op in getattr(p, side)}
    for pair in found.pairs:
        assert bool(pair.a_ops and pair.b_ops) == (pair.same != "only")
        assert bool(pair.changes) == (pair.same == "changed")


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "seresnet50", "plain20"])
def test_a_model_equals_itself(name: str) -> None:
    graph = rv.trace(name)
    assert aligned(graph, graph).equal


@pytest.mark.parametrize(("a", "b"), PAIRS[:5])
def test_the_other_way_round_gives_the_same_pairs(a: str, b: str) -> None:
    one, other = rv.trace(a), rv.trace(b)
    there = {(p.a_ops, p.b_ops) for p in aligned(one, other).pairs}
    back = {(p.b_ops, p.a_ops) for p in aligned(other, one).pairs}
    assert there == back


def test_names_play_no_role() -> None:
    assert aligned(rv.trace("resnet50"), rv.trace("torchvision:resnet50")).equal
    ours, theirs = rv.trace("seresnet18"), rv.trace("timm:seresnet18")
    pairs = [p for p in aligned(ours, theirs).pairs if p.a_kind == "basic"]
    assert len(pairs) == 8
    assert all(p.b_kind == "basic" for p in pairs)


def test_plain_layers_meet_the_block_that_holds_the_same_weights() -> None:
    found = aligned(rv.trace("plain20"), rv.trace("resnet20"))
    blocks = [p for p in found.pairs if p.b_kind == "basic"]
    assert [p.a for p in blocks] == [p.b for p in blocks]
    assert {p.a_kind for p in blocks} == {"2 layers"}
    assert {p.changes for p in blocks} == {("no skip → identity skip",)}
    assert [p.a for p in found.pairs if p.same == "equal"] == ["conv1", "fc"]


def test_more_blocks_are_found_where_they_are() -> None:
    found = aligned(rv.trace("resnet50"), rv.trace("resnet101"))
    assert Counter(p.same for p in found.pairs) == {"equal": 18, "only": 17}
    assert all(p.b.startswith("layer3.") for p in found.pairs if p.same == "only")


def test_what_changed_is_said() -> None:
    found = aligned(rv.trace("resnet18"), rv.trace("seresnet18"))
    blocks = [p for p in found.pairs if p.a_kind == "basic"]
    assert all(p.same == "changed" for p in blocks)
    assert "linear" in " ".join(blocks[0].changes) or "conv2d" in " ".join(blocks[0].changes)
    gelu = rv.trace(rv.build("resnet18", activation="gelu"), input_size=(1, 3, 64, 64))
    relu = rv.trace(rv.build("resnet18"), input_size=(1, 3, 64, 64))
    changes = [p.changes for p in aligned(relu, gelu).pairs if p.a_kind == "basic"]
    assert changes == [("2 relu → 2 gelu",)] * 8


def test_unlike_layers_are_not_matched() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.only(x)

    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = nn.Conv1d(4, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.only(x)

    a = rv.trace(Linear(), input_data=torch.zeros(1, 4))
    b = rv.trace(Convolution(), input_data=torch.zeros(1, 4, 8))
    assert [p.same for p in aligned(a, b).pairs] == ["only", "only"]
