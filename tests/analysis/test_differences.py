"""What is not the same in two models: laws over pairs, and differences known by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import resnet_viz as rv
from resnet_viz.analysis.align import align
from resnet_viz.analysis.differences import differences
from resnet_viz.analysis.unweighted import completed
from resnet_viz.core.comparison import Alignment, Difference
from resnet_viz.core.graph import ModelGraph

PAIRS = [("plain20", "resnet20"), ("resnet18", "seresnet18"), ("resnet18", "densenet121")]


def told(a: ModelGraph, b: ModelGraph) -> tuple[Alignment, tuple[Difference, ...]]:
    both = a, rv.annotate(a), b, rv.annotate(b)
    found = align(*both)
    return found, differences(*both, found)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_differences_are_in_the_pairs_that_are_not_equal_and_add_up(a: str, b: str) -> None:
    one, other = rv.trace(a), rv.trace(b)
    found, differ = told(one, other)
    assert {d.pair for d in differ} == {k for k, p in enumerate(found.pairs) if p.same != "equal"}
    for d in differ:
        assert (d.path_a == "") == (d.kind == "added")
        assert (d.path_b == "") == (d.kind == "removed")
        if d.kind == "changed" and d.what != "wiring":
            assert d.a != d.b
    for graph, side, kind in ((one, "a", "removed"), (other, "b", "added")):
        # An op is told once, and all of what a part lost or won is in it.
        ops = [op for d in differ if d.what == "op" and (op := getattr(d, f"path_{side}"))]
        assert max(Counter(ops).values(), default=1) == 1
        assert set(ops) <= {op.id for op in graph.ops}
        for d in differ:
            if d.what == "part" and d.kind == kind:
                pair = found.pairs[d.pair]
                whole = sum(graph[op].params for op in getattr(pair, f"{side}_ops"))
                assert d.delta == (whole if kind == "added" else -whole)
    parts = sum(d.delta or 0 for d in differ if d.what == "part")
    inside = sum(d.delta or 0 for d in differ if d.what == "op")
    assert parts + inside == other.total_params - one.total_params


@pytest.mark.parametrize(("a", "b"), PAIRS[:2])
def test_the_other_way_round_what_was_added_is_removed(a: str, b: str) -> None:
    one, other = rv.trace(a), rv.trace(b)
    there, back = told(one, other)[1], told(other, one)[1]
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    assert {(d.kind, d.path_a, d.path_b, d.what, d.delta) for d in there} == {
        (turned[d.kind], d.path_b, d.path_a, d.what, None if d.delta is None else -d.delta)
        for d in back
    }


def test_a_model_does_not_differ_from_itself() -> None:
    graph = rv.trace("resnet18")
    assert told(graph, graph)[1] == ()


def test_a_shortcut_is_named_with_the_op_that_adds_it() -> None:
    _, found = told(rv.trace("plain20"), rv.trace("resnet20"))
    first = [d for d in found if d.pair == 1]
    assert [(d.kind, d.what, d.a, d.b) for d in first] == [
        ("changed", "skip", "", "identity"),
        ("added", "op", "", "add → 1×16×32×32"),
    ]
    assert first[1].path_b == "layer1.0/add#0"


def test_wider_layers_meet_those_they_replace() -> None:
    found, differ = told(rv.trace("resnet50"), rv.trace("wide_resnet50_2"))
    assert all(pair.a == pair.b for pair in found.pairs)
    layers = next(d for d in differ if d.what == "layers")
    assert layers.a == "conv2d 1×1 64, conv2d 3×3 64, conv2d 1×1 256, conv2d 1×1 256"
    assert layers.b == "conv2d 1×1 128, conv2d 3×3 128, conv2d 1×1 256, conv2d 1×1 256"


class Net(nn.Module):
    """Two layers, with what lies between them."""

    def __init__(self, between: nn.Module, *, tail: bool = False) -> None:
        super().__init__()
        self.first, self.between, self.last = nn.Linear(4, 4), between, nn.Linear(4, 4)
        self.tail = tail

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        middle = self.between(self.first(x))
        out: Tensor = self.last(middle)
        return (out, middle) if self.tail else out


def traced(net: nn.Module) -> ModelGraph:
    return rv.trace(net, input_data=torch.zeros(2, 4))


def test_what_has_no_weights_counts() -> None:
    relu = traced(Net(nn.ReLU()))
    assert told(relu, traced(Net(nn.ReLU())))[1] == ()
    found, differ = told(relu, traced(Net(nn.GELU())))
    assert not found.equal
    assert [(d.kind, d.what) for d in differ] == [("changed", "ops"), ("changed", "op")]
    _, gone = told(relu, traced(Net(nn.Identity())))
    assert ("removed", "op", "between/relu#0") in {(d.kind, d.what, d.path_a) for d in gone}
    slopes = [traced(Net(nn.LeakyReLU(slope))) for slope in (0.1, 0.2)]
    (slope,) = told(*slopes)[1]
    assert (slope.what, slope.a, slope.b) == (
        "arguments",
        "negative_slope=0.1",
        "negative_slope=0.2",
    )


def test_another_output_is_wired_otherwise() -> None:
    found, differ = told(traced(Net(nn.ReLU())), traced(Net(nn.ReLU(), tail=True)))
    assert found.equal
    assert [(d.kind, d.what, d.pair) for d in differ] == [("changed", "wiring", -1)]


def test_networks_without_layers_are_compared_too() -> None:
    relu, tanh = (traced(nn.Sequential(f)) for f in (nn.ReLU(), nn.Tanh()))
    assert told(relu, relu) == told(relu, traced(nn.Sequential(nn.ReLU())))
    assert [d.what for d in told(relu, tanh)[1]] == ["ops", "op"]
    found, _ = told(relu, traced(Net(nn.ReLU())))
    ops = [op for pair in found.pairs for op in pair.a_ops]
    assert ops == [op.id for op in relu.ops]


@given(st.data())
def test_every_node_is_in_exactly_one_part(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 12))
    owners: Sequence[int] = data.draw(
        st.lists(st.integers(-1, 3), min_size=size, max_size=size).filter(lambda x: max(x) >= 0)
    )
    parts = [[n for n, owner in enumerate(owners) if owner == k] for k in range(4)]
    loose = data.draw(st.lists(st.booleans(), min_size=4, max_size=4))
    names = [f"m{k}" for k in range(4)]
    modules = [f"m{data.draw(st.integers(0, 5))}" for _ in range(size)]
    held = completed(0, modules, parts, names, loose)
    assert sorted(node for part in held for node in part) == list(range(size))
    for before, after in zip(parts, held, strict=True):
        assert set(before) <= set(after)
        assert list(after) == sorted(after)
        assert bool(before) == bool(after)
