"""The rules of a skip, each on the smallest graph that shows it."""

from __future__ import annotations

import pytest

from resnet_viz.analysis import find_skips
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Skip
from tests.analysis.builder import Builder, Const, Value, Weight
from tests.analysis.work import lines_of


def image(b: Builder, channels: int = 8) -> Value:
    return b.conv(b.input(2, 3, 16, 16), channels, module="stem")


def only(graph: ModelGraph) -> Skip:
    (skip,) = find_skips(graph)
    return skip


def test_identity() -> None:
    b = Builder()
    x = image(b)
    f = b.branch(x)
    y = b.add(f, x)
    skip = only(b.build(y))
    assert (skip.fork, skip.join, skip.kind, skip.shortcut) == (x.op, y.op, "identity", ())
    assert skip.branch[-1] == f.op
    assert len(skip.branch) == 5


@pytest.mark.parametrize("order", [0, 1])
def test_projection(order: int) -> None:
    b = Builder()
    x = image(b)
    shortcut = b.norm(b.conv(x, 16, kernel=1, stride=2))
    f = b.branch(x, 16, stride=2)
    y = b.add(f, shortcut) if order else b.add(shortcut, f)
    skip = only(b.build(y))
    assert (skip.kind, skip.fork) == ("projection", x.op)
    assert skip.shortcut[-1] == shortcut.op
    assert len(skip.shortcut) == 2
    assert skip.branch[-1] == f.op


def test_projection_with_pooling_first() -> None:
    b = Builder()
    x = image(b)
    pooled = b.op("avg_pool2d", x, 2, 2, shape=(2, 8, 8, 8))
    y = b.add(b.branch(x, 16, stride=2), b.norm(b.conv(pooled, 16, kernel=1)))
    assert only(b.build(y)).kind == "projection"


def test_pooling_alone_is_a_projection_and_a_1x1_pooling_subsamples() -> None:
    for kernel, kind in ((2, "projection"), (1, "identity")):
        b = Builder()
        x = image(b)
        pooled = b.op("avg_pool2d", x, kernel, 2, shape=(2, 8, 8, 8))
        y = b.add(b.branch(x, 8, stride=2), pooled)
        assert only(b.build(y)).kind == kind


@pytest.mark.parametrize("how", ["pad", "cat zeros", "cat x*0"])
def test_option_a_is_an_identity(how: str) -> None:
    b = Builder()
    x = image(b)
    small = b.op("getitem", x, ("::", "::", "::2", "::2"), shape=(2, 8, 8, 8))
    if how == "pad":
        wide = b.op("pad", small, (0, 0, 0, 0, 0, 8), shape=(2, 16, 8, 8))
    elif how == "cat zeros":
        zeros = b.op("zeros_like", small)
        wide = b.cat(small, zeros)
    else:
        wide = b.cat(small, b.mul(small, 0))
    skip = only(b.build(b.add(b.branch(x, 16, stride=2), wide)))
    assert (skip.kind, skip.fork) == ("identity", x.op)
    assert wide.op in skip.shortcut


def test_a_reflecting_pad_is_no_identity() -> None:
    b = Builder()
    x = image(b)
    wide = b.op("pad", x, (1, 1, 1, 1), "reflect", shape=(2, 8, 18, 18))
    y = b.add(b.op("pad", b.branch(x), (1, 1, 1, 1), shape=(2, 8, 18, 18)), wide)
    assert find_skips(b.build(y)) == ()


def test_views_and_dropout_keep_the_identity() -> None:
    b = Builder()
    x = image(b)
    moved = b.op("dropout", b.op("permute", x, 0, 2, 3, 1, shape=(2, 16, 16, 8)), p=0.5)
    f = b.op("permute", b.branch(x), 0, 2, 3, 1, shape=(2, 16, 16, 8))
    skip = only(b.build(b.add(moved, f)))
    assert (skip.kind, skip.fork, len(skip.shortcut)) == ("identity", x.op, 2)


def test_stochastic_depth_by_hand_is_a_dropout() -> None:
    b = Builder()
    x = image(b)
    mask = b.op("bernoulli", b.op("new_empty", x, (2, 1, 1, 1), shape=(2, 1, 1, 1)), 0.8)
    y = b.add(b.branch(x), b.mul(x, mask))
    assert only(b.build(y)).kind == "identity"


def test_scaled_by_a_constant() -> None:
    b = Builder()
    x = image(b)
    assert only(b.build(b.add(b.branch(x), b.mul(x, 0.5)))).kind == "scaled"


def test_highway_is_one_scaled_skip() -> None:
    b = Builder()
    x = b.linear(b.input(2, 8), 8)
    gate = b.op("sigmoid", b.linear(x, 8))
    carry = b.mul(x, b.op("sub", 1, gate))
    y = b.add(b.mul(b.relu(b.linear(x, 8)), gate), carry)
    skip = only(b.build(y))
    assert (skip.kind, skip.fork, skip.join) == ("scaled", x.op, y.op)
    assert carry.op in skip.shortcut
    assert gate.op in skip.branch


def test_squeeze_and_excitation_is_a_gate() -> None:
    b = Builder()
    x = image(b)
    pooled = b.op("mean", x, (2, 3), keepdim=True, shape=(2, 8, 1, 1))
    gate = b.op("sigmoid", b.conv(b.relu(b.conv(pooled, 2, kernel=1)), 8, kernel=1))
    y = b.op("mul", x, gate)
    skip = only(b.build(y))
    assert (skip.kind, skip.fork, skip.join, len(skip.branch)) == ("gate", x.op, y.op, 5)


def test_u_net_concat() -> None:
    b = Builder()
    x = image(b)
    deep = b.conv(b.op("max_pool2d", x, 2, shape=(2, 8, 8, 8)), 16)
    up = b.op("interpolate", deep, scale_factor=2, shape=(2, 16, 16, 16))
    y = b.cat(x, up)
    skip = only(b.build(y))
    assert (skip.kind, skip.fork, len(skip.branch)) == ("concat", x.op, 3)


def test_dense_layers_split_the_branch_between_them() -> None:
    b = Builder()
    features = [image(b)]
    joins = []
    for _ in range(4):
        whole = b.cat(*features) if len(features) > 1 else features[0]
        joins += [whole.op] if len(features) > 1 else []
        features.append(b.conv(b.relu(b.norm(whole)), 4))
    joins.append(b.cat(*features).op)
    skips = find_skips(b.build())
    assert [s.join for s in skips] == joins
    assert {s.fork for s in skips} == {features[0].op}
    assert [len(s.branch) for s in skips] == [3, 3, 3, 3]
    assert len({op for s in skips for op in s.branch}) == 12


def test_parallel_branches_are_two_skips_of_one_fork() -> None:
    # GPT-J: x + attention(x) + mlp(x).
    b = Builder()
    x = b.linear(b.input(2, 5, 8), 8)
    one = b.add(x, b.linear(x, 8))
    two = b.add(one, b.linear(b.relu(b.linear(x, 8)), 8))
    first, second = find_skips(b.build(two))
    assert (first.fork, first.join, second.fork, second.join) == (x.op, one.op, x.op, two.op)
    assert second.shortcut == (one.op,)
    assert one.op not in second.branch


def test_side_inputs_do_not_hide_a_residual() -> None:
    # A decoder layer: the encoder's output enters the branch from the side.
    b = Builder()
    x, memory = b.linear(b.input(2, 5, 8), 8), b.linear(b.input(2, 7, 8), 8)
    scores = b.op("matmul", b.linear(x, 8), b.op("transpose", memory, 1, 2), shape=(2, 5, 7))
    mixed = b.op("matmul", b.op("softmax", scores), memory, shape=(2, 5, 8))
    y = b.add(x, b.linear(mixed, 8))
    skip = only(b.build(y))
    assert (skip.kind, skip.fork) == ("identity", x.op)
    assert memory.op not in skip.branch


def test_time_embedding_does_not_hide_a_projection() -> None:
    # A diffusion block: conv(norm(conv(x) + embedding)) + conv1x1(x).
    b = Builder()
    x = image(b)
    when = b.op("unsqueeze", b.linear(b.input(2, 4), 16), -1, shape=(2, 16, 1, 1))
    h = b.add(b.conv(x, 16), when)
    y = b.add(b.conv(b.relu(b.norm(h)), 16), b.conv(x, 16, kernel=1))
    skip = only(b.build(y))
    assert (skip.kind, skip.fork, skip.join) == ("projection", x.op, y.op)


def test_an_identity_beats_a_projection_from_further_up() -> None:
    # The embedding comes from the same input, so the dominator is that input; the
    # block's own fork is nearer.
    b = Builder()
    source = b.input(2, 3, 16, 16)
    x = b.conv(source, 8)
    when = b.op("mean", b.conv(source, 8), (2, 3), keepdim=True, shape=(2, 8, 1, 1))
    y = b.add(b.conv(b.relu(b.add(b.conv(x, 8), when)), 8), x)
    skip = next(s for s in find_skips(b.build(y)) if s.join == y.op)
    assert (skip.kind, skip.fork) == ("identity", x.op)


def test_token_ids_are_no_activations() -> None:
    # Positions and masks made from the ids reach every layer and would otherwise
    # pull every fork back to the input.
    b = Builder()
    ids = b.input(2, 5, dtype="int64")
    mask = b.op("where", b.op("ne", ids, 0, dtype="bool"), 0.0, -1e9)
    x = b.op("embedding", ids, Weight("table", (10, 8)), shape=(2, 5, 8))
    scores = b.add(b.op("matmul", b.linear(x, 8), x, shape=(2, 5, 5)), mask)
    y = b.add(x, b.linear(b.op("matmul", b.op("softmax", scores), x, shape=(2, 5, 8)), 8))
    assert [(s.fork, s.join) for s in find_skips(b.build(y))] == [(x.op, y.op)]


def test_standardised_weights_count_as_weights() -> None:
    b = Builder()
    x = image(b)
    made = b.op("batch_norm", Weight("raw", (8, 8, 3, 3)), shape=(8, 8, 3, 3))
    y = b.add(x, b.relu(b.op("conv2d", x, made, shape=x.shape)))
    skip = only(b.build(y))
    assert skip.branch == ("conv2d#0", "relu#0")


# --- what looks like a skip and is none -----------------------------------------------


def swiglu(b: Builder, x: Value) -> Value:
    return b.linear(b.mul(b.op("silu", b.linear(x, 16)), b.linear(x, 16)), 8)


def rope(b: Builder, x: Value) -> Value:
    left = b.op("getitem", x, ("...", ":4"), shape=(2, 5, 4))
    right = b.op("getitem", x, ("...", "4:"), shape=(2, 5, 4))
    turned = b.cat(b.op("neg", right), left, dim=2)
    return b.add(b.mul(x, Const((5, 8))), b.mul(turned, Const((5, 8))))


def rms_norm(b: Builder, x: Value) -> Value:
    square = b.op("mean", b.op("pow", x, 2), -1, keepdim=True, shape=(2, 5, 1))
    return b.mul(b.mul(x, b.op("rsqrt", b.add(square, 1e-6))), Weight("scale", (8,)))


def gelu(b: Builder, x: Value) -> Value:
    inner = b.mul(b.add(x, b.mul(b.op("pow", x, 3), 0.044715)), 0.7978)
    return b.mul(b.mul(x, 0.5), b.add(b.op("tanh", inner), 1.0))


def twice(b: Builder, x: Value) -> Value:
    h = b.linear(x, 8)
    return b.add(h, h)


def position(b: Builder, x: Value) -> Value:
    return b.add(x, Weight("positions", (1, 5, 8)))


def mask(b: Builder, x: Value) -> Value:
    return b.op("softmax", b.add(b.op("matmul", b.linear(x, 8), x, shape=(2, 5, 5)), Const((5, 5))))


def lora(b: Builder, x: Value) -> Value:
    return b.add(b.linear(x, 8), b.mul(b.linear(b.linear(x, 2), 8), 2.0))


def additive_attention(b: Builder, x: Value) -> Value:
    return b.op("tanh", b.add(b.linear(x, 8), b.linear(x, 8)))


def glu(b: Builder, x: Value) -> Value:
    both = b.op("chunk", b.linear(x, 16), 2, -1, outputs=2, shape=(2, 5, 8))
    other = Value(both.op, both.shape, slot=1)
    return b.mul(both, b.op("sigmoid", b.linear(other, 8)))


def straight_through(b: Builder, x: Value) -> Value:
    code = b.op("embedding", b.op("argmin", x, dtype="int64"), Weight("codes", (4, 8)))
    return b.add(x, b.op("detach", b.op("sub", code, x)))


def token_cat(b: Builder, x: Value) -> Value:
    return b.cat(x, b.linear(b.relu(x), 8), dim=1)


def constant_recurrence(b: Builder, x: Value) -> Value:
    # One step of a state-space scan: x times something computed from x.
    step = b.op("exp", b.linear(x, 8))
    return b.add(b.mul(step, x), b.linear(b.relu(x), 8))


FALSE = [
    swiglu, rope, rms_norm, gelu, twice, position, mask, lora, additive_attention, glu,
    straight_through, token_cat,
]  # fmt: skip


@pytest.mark.parametrize("make", FALSE, ids=lambda f: f.__name__)
def test_no_false_skips(make: object) -> None:
    b = Builder()
    x = b.op("layer_norm", b.linear(b.input(2, 5, 8), 8), (8,), weight=Weight("ln", (8,)))
    y = make(b, x)  # type: ignore[operator]
    assert find_skips(b.build(y)) == ()


def test_the_fork_times_any_function_of_it_is_no_scaled_skip() -> None:
    b = Builder()
    x = b.linear(b.input(2, 5, 8), 8)
    y = constant_recurrence(b, x)
    kinds = [s.kind for s in find_skips(b.build(y)) if s.join == y.op]
    assert kinds == []


def test_inception_branches_are_no_skips() -> None:
    b = Builder()
    x = image(b)
    pooled = b.conv(b.op("max_pool2d", x, 3, 1, 1), 4, kernel=1)
    y = b.cat(b.conv(x, 4, kernel=1), b.conv(b.relu(b.conv(x, 4, kernel=1)), 4), pooled)
    reduced = b.cat(b.conv(y, 8, stride=2), b.op("max_pool2d", y, 3, 2, shape=(2, 12, 8, 8)), dim=1)
    assert find_skips(b.build(reduced)) == ()


def test_a_gru_cell_has_no_projection() -> None:
    # tanh(W x + r * U h) with r = sigmoid(V x + R h): two different operands.
    b = Builder()
    x, h = b.linear(b.input(2, 8), 8), b.linear(b.input(2, 8), 8)
    reset = b.op("sigmoid", b.add(b.linear(x, 8), b.linear(h, 8)))
    y = b.op("tanh", b.add(b.linear(x, 8), b.mul(reset, b.linear(h, 8))))
    assert find_skips(b.build(y)) == ()


def test_a_branch_without_parameters_is_none() -> None:
    b = Builder()
    x = image(b)
    assert find_skips(b.build(b.add(x, b.op("tanh", x)))) == ()


def test_two_layers_on_the_shortcut_are_one_too_many() -> None:
    b = Builder()
    x = image(b)
    y = b.add(b.branch(x), b.conv(b.conv(x, 8), 8, kernel=1))
    assert find_skips(b.build(y)) == ()


def test_matmul_and_sub_close_nothing() -> None:
    b = Builder()
    x = b.linear(b.input(4, 8, 8), 8)
    y = b.op("matmul", x, b.linear(b.relu(b.linear(x, 8)), 8))
    z = b.op("sub", y, b.linear(b.relu(y), 8))
    assert find_skips(b.build(z)) == ()


# --- size -----------------------------------------------------------------------------


def ladder(blocks: int) -> ModelGraph:
    b = Builder()
    x = image(b)
    for _ in range(blocks):
        x = b.add(b.branch(x), x)
    return b.build(x)


def test_work_is_about_linear() -> None:
    work = [lines_of(lambda blocks=blocks: find_skips(ladder(blocks))) for blocks in (250, 1000)]
    assert work[1] < 5 * work[0]


def test_fifty_thousand_ops() -> None:
    graph = ladder(8000)
    assert len(graph) > 48_000
    assert len(find_skips(graph)) == 8000
