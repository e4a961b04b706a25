"""Path lengths against published counts, closed forms, and paths walked one by one."""

from __future__ import annotations

import math
from collections import Counter
from math import comb

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.analysis import ANALYSES, annotate
from resnet_viz.analysis.flow_graph import flow_of
from resnet_viz.analysis.paths import path_lengths
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.paths import PathLengths
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.tracing.tracer import trace_model
from tests.analysis.builder import Builder, Value, Weight
from tests.analysis.work import at_most

# Paths by their weighted layers: how many (as a power of 2), mean, sd, shortest, longest;
# and the number of residual branches.
ANCHORS = {
    "vgg16": (0, 16, 0, 16, 16, 0),
    "resnet18": (8, 11.5, 2.398, 5, 18, 8),
    "resnet34": (16, 19.5, 3.708, 5, 34, 16),
    "resnet50": (16, 28, 5.568, 6, 50, 16),
    "resnet101": (33, 53.5, 8.322, 6, 101, 33),
    "resnet152": (50, 79, 10.368, 6, 152, 50),
    "densenet121": (58, 63, 7.616, 5, 121, 58),
    "densenet169": (82, 87, 9.055, 5, 169, 82),
    "googlenet": (18, 17.5, 1.5, 13, 22, 0),
    "mobilenet_v2": (10, 38, 4.743, 23, 53, 10),
}


def traced(name: str) -> ModelGraph:
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None, **options).eval()
        return trace_model(model, (torch.randn(1, 3, 64, 64),))


@pytest.mark.parametrize("name", ANCHORS)
def test_real_nets(name: str) -> None:
    power, mean, sd, shortest, longest, blocks = ANCHORS[name]
    graph = traced(name)
    structure = annotate(graph)
    with at_most(2_000_000):
        layers = path_lengths(graph, structure, "layer")
        found = path_lengths(graph, structure, "block")
    assert layers.total == 2**power
    assert layers.mean == pytest.approx(mean, abs=5e-4)
    assert layers.sd == pytest.approx(sd, abs=5e-4)
    assert (layers.shortest, layers.longest) == (shortest, longest)
    assert found.counts == binomial(blocks)


def binomial(n: int) -> tuple[int, ...]:
    return tuple(comb(n, k) for k in range(n + 1))


def chain(blocks: int) -> ModelGraph:
    b = Builder()
    x = b.conv(b.input(2, 3, 8, 8), 8)
    for _ in range(blocks):
        x = b.relu(b.add(b.branch(x), x))
    return b.build(b.linear(x, 10))


def test_the_paths_of_resnet_110() -> None:
    found = path_lengths(chain(54))
    assert found.counts == binomial(54)
    assert found.mean == 27
    assert found.sd == pytest.approx(math.sqrt(54) / 2)
    # Veit et al. 2016: more than 95 % of the paths, and the 0.45 % that carry the gradient.
    assert found.fraction(19, 35) == pytest.approx(0.980166, abs=5e-7)
    assert found.fraction(5, 17) == pytest.approx(0.0045367, abs=5e-8)
    layers = path_lengths(chain(54), unit="layer")
    assert layers.counts == tuple(
        comb(54, (k - 2) // 2) if k % 2 == 0 and k >= 2 else 0 for k in range(111)
    )


def test_deleting_a_block_halves_the_paths() -> None:
    whole, less = path_lengths(chain(12)), path_lengths(chain(11))
    assert whole.total == 2 * less.total
    assert (whole.mean, less.mean) == (6, 5.5)


def test_six_hundred_blocks_are_exact_and_fast() -> None:
    graph = chain(600)
    structure = annotate(graph)
    with at_most(10_000_000):
        found = path_lengths(graph, structure)
        layers = path_lengths(graph, structure, "layer")
    assert found.counts == binomial(600)
    assert layers.total == 2**600
    # Counts stay exact in JSON, far beyond 2^53.
    assert from_json(to_json(found)) == found


@pytest.mark.parametrize("flat", [True, False])
def test_a_dense_block_is_a_power_of_one_plus_t(flat: bool) -> None:
    """Whether it hands on one list of features or the concatenation of all so far."""
    b = Builder()
    features = [b.conv(b.input(2, 3, 8, 8), 8)]
    for _ in range(5):
        before = b.cat(*features) if len(features) > 1 else features[0]
        new = b.conv(b.relu(b.norm(before)), 4)
        features = [*features, new] if flat else [before, new]
    graph = b.build(b.conv(b.cat(*features), 8))
    assert path_lengths(graph).counts == binomial(5)


def gated(b: Builder, x: Value) -> Value:
    squeezed = b.op("mean", x, shape=(*x.shape[:2], 1, 1))
    gate = b.op("sigmoid", b.conv(b.relu(b.conv(squeezed, 2, kernel=1)), x.shape[1], kernel=1))
    return b.op("mul", x, gate, shape=x.shape)


def test_layers_inside_a_gate_are_on_paths_and_its_join_is_no_block() -> None:
    b = Builder()
    x = b.conv(b.input(2, 3, 8, 8), 8)
    graph = b.build(b.add(gated(b, b.branch(x)), x))
    # Stem; stem and branch past the gate; and through its two layers.
    assert path_lengths(graph, unit="layer").counts == (0, 1, 0, 1, 0, 1)
    assert path_lengths(graph).counts == (1, 1)


def test_operands_count_as_often_as_they_occur() -> None:
    b = Builder()
    x = b.conv(b.input(2, 3, 8, 8), 8)
    assert path_lengths(b.build(b.add(x, x)), unit="layer").counts == (0, 2)
    squared = b.mul(x, x)
    assert path_lengths(b.build(squared), unit="layer").counts == (0, 2)
    assert path_lengths(b.build(b.add(squared, x)), unit="layer").counts == (0, 3)


def test_what_is_only_a_shape_or_cut_off_is_no_path() -> None:
    b = Builder()
    x = b.conv(b.input(2, 3, 8, 8), 8)
    y = b.conv(x, 8)
    shaped = b.op("view_as", x, y)
    zeros = b.op("zeros_like", y)
    detached = b.op("detach", y)
    total = b.add(b.add(shaped, zeros), detached)
    assert path_lengths(b.build(total), unit="layer").counts == (0, 1)


def test_nested_branches() -> None:
    b = Builder()
    x = b.conv(b.input(2, 3, 8, 8), 8)
    inner = b.conv(b.relu(x), 8)
    inner = b.add(inner, b.branch(inner))
    graph = b.build(b.add(x, inner))
    # 1 + t (1 + t)
    assert path_lengths(graph).counts == (1, 1, 1)


def test_several_inputs_and_outputs() -> None:
    b = Builder()
    x, y = b.input(2, 4), b.input(2, 4)
    first = b.linear(x, 4)
    both = b.add(b.linear(first, 4), y)
    assert path_lengths(b.build(both, first), unit="layer").counts == (1, 0, 1)
    assert path_lengths(b.build(first), unit="layer").counts == (0, 1)


def test_token_ids_start_at_their_embedding() -> None:
    b = Builder()
    ids = b.input(2, 5, dtype="int64")
    x = b.linear(b.op("embedding", ids, Weight("e", (9, 4)), shape=(2, 5, 4)), 4)
    assert path_lengths(b.build(x), unit="layer").counts == (0, 1)


def test_nothing_to_go_to() -> None:
    b = Builder()
    x = b.op("argmax", b.linear(b.input(2, 4), 3), shape=(2,), dtype="int64")
    found = path_lengths(b.build(x))
    assert (found.counts, found.total, found.shortest, found.longest) == ((), 0, 0, 0)
    assert math.isnan(found.mean)


def walked(graph: ModelGraph) -> Counter[int]:
    """Every path of a graph of a single input, one by one."""
    flow = flow_of(graph)
    found: Counter[int] = Counter()
    todo = [(graph.outputs[0].src, 0)]
    while todo:
        op, length = todo.pop()
        length += int(flow.is_weighted(graph.position(op)))
        edges = graph.edges_in(op)
        if not edges:
            found[length] += 1
        todo += [(edge.src, length) for edge in edges]
    return found


@given(st.lists(st.tuples(st.sampled_from(["add", "mul", "relu", "linear"]), st.integers(0, 9),
                          st.integers(0, 9)), min_size=1, max_size=12))  # fmt: skip
def test_counts_are_those_of_walking_every_path(calls: list[tuple[str, int, int]]) -> None:
    b = Builder()
    values = [b.input(2, 4)]
    for kind, i, j in calls:
        x, y = values[-1 - i % len(values)], values[-1 - j % len(values)]
        if kind == "linear":
            values.append(b.linear(x, 4))
        else:
            values.append(b.relu(x) if kind == "relu" else b.op(kind, x, y))
    graph = b.build(values[-1])
    found = path_lengths(graph, unit="layer")
    assert {k: n for k, n in enumerate(found.counts) if n} == dict(walked(graph))


def test_it_is_an_analysis() -> None:
    assert ANALYSES["paths"](chain(3)) == path_lengths(chain(3))


def test_fractions_outside_are_zero() -> None:
    found = PathLengths(unit="block", counts=(1, 2, 1))
    assert found.fraction(-5, -1) == found.fraction(3, 9) == 0
    assert found.fraction(-5, 9) == 1
