"""Large graphs: time grows with their size, whatever they look like, and nothing recurses."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from resnet_viz.analysis import annotate
from resnet_viz.analysis.blocks import blocks_in
from resnet_viz.analysis.flow_graph import flow_of
from resnet_viz.analysis.skips import skips_in
from resnet_viz.analysis.stages import stages_in
from resnet_viz.core.graph import ModelGraph
from tests.analysis.builder import Builder, Value
from tests.analysis.work import at_most


def decoder(units: int, *, alone: bool = False) -> ModelGraph:
    """Every unit attends to a memory; ``alone``: the memory is made from the same input."""
    b = Builder()
    source = b.input(2, 5, 8)
    memory = b.relu(b.linear(source if alone else b.input(2, 7, 8), 8))
    length = memory.shape[1]
    x = b.linear(source, 8)
    for i in range(units):
        m = f"m{i}"
        q, k = b.linear(x, 8, module=m), b.linear(memory, 8, module=m)
        scores = b.op("matmul", q, k, shape=(2, 5, length), module=m)
        mixed = b.op("matmul", b.op("softmax", scores, -1, module=m), k, shape=(2, 5, 8), module=m)
        x = b.add(x, b.linear(mixed, 8, module=m), module=m)
    return b.build(x)


def recurrence(units: int) -> ModelGraph:
    """x_t + U h: every step takes its slice of one sequence."""
    b = Builder()
    source = b.input(2, units, 8)
    steps = b.linear(source, 8)
    h: Value = b.op("tanh", b.linear(source, 8), shape=(2, 8))
    for i in range(units):
        x = b.op("getitem", steps, ("::", i), shape=(2, 8))
        h = b.op("tanh", b.add(x, b.linear(h, 8)))
    return b.build(h)


def dense(units: int) -> ModelGraph:
    b = Builder()
    x = b.conv(b.input(2, 3, 16, 16), 8)
    for i in range(units):
        features = [x]
        for _ in range(4):
            whole = b.cat(*features, module=f"m{i}")
            features.append(b.conv(b.relu(b.norm(whole, f"m{i}"), f"m{i}"), 4, module=f"m{i}"))
        x = b.conv(b.cat(*features, module=f"m{i}"), 8, 1, module=f"m{i}")
    return b.build(x)


def gated(units: int) -> ModelGraph:
    b = Builder()
    x = b.conv(b.input(2, 3, 16, 16), 8)
    for i in range(units):
        m = f"m{i}"
        y = b.branch(x, module=m)
        pooled = b.op("mean", y, (2, 3), keepdim=True, shape=(2, 8, 1, 1), module=m)
        gate = b.op("sigmoid", b.conv(pooled, 8, 1, module=m), module=m)
        x = b.add(x, b.op("mul", y, gate, module=m), module=m)
    return b.build(x)


SHAPES: dict[str, tuple[Callable[[int], ModelGraph], int, int]] = {
    # name: (builder, ops per unit, skips per unit)
    "decoder": (decoder, 7, 1),
    "decoder of its own input": (lambda n: decoder(n, alone=True), 7, 1),
    "recurrence": (recurrence, 4, 0),
    "dense": (dense, 18, 4),
    "gated": (gated, 10, 2),
}


@pytest.mark.parametrize("name", SHAPES)
def test_work_grows_with_the_number_of_ops(name: str) -> None:
    build, ops, skips = SHAPES[name]
    sizes, work = (500, 2_000), []
    for size in sizes:
        graph = build(size // ops)
        with at_most(100_000_000) as ran:
            flow = flow_of(graph)
            found = skips_in(flow)
            stages_in(flow, found, blocks_in(flow, found))
        work.append(ran())
        assert abs(len(found) - skips * (size // ops)) <= 1
    exponent = math.log(work[1] / work[0]) / math.log(sizes[1] / sizes[0])
    assert exponent < 1.2


def test_modules_may_be_nested_deeper_than_python_recurses() -> None:
    b = Builder()
    x = b.conv(b.input(2, 3, 8, 8), 8)
    path = "m"
    for _ in range(1100):
        path += ".m"
        x = b.add(x, b.relu(b.conv(x, 8, module=path), path), module=path)
    flow = flow_of(b.build(x))
    skips = skips_in(flow)
    blocks = blocks_in(flow, skips)
    assert len(blocks) == 1100
    assert blocks[-1].module == path
    assert stages_in(flow, skips, blocks)


def test_a_long_skip_may_go_past_thousands_of_blocks() -> None:
    b = Builder()
    head = x = b.conv(b.input(2, 3, 8, 8), 8)
    for _ in range(2000):
        x = b.add(b.branch(x), x)
    y = b.add(b.conv(x, 8), head)
    structure = annotate(b.build(y))
    assert (structure.skips[-1].fork, structure.skips[-1].join) == (head.op, y.op)
    assert structure.blocks[-1].kind == "other"
