"""Repeats: found where they are, never where one thing differs, whatever things are called."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_viz.analysis import annotate, find_repeats
from resnet_viz.analysis.repeats import repeats_in
from resnet_viz.core.graph import Arg, Edge, ModelGraph, Op, Ref, TensorSpec, make_op_id
from resnet_viz.core.structure import Repeat
from resnet_viz.tracing.tracer import trace_model
from tests.analysis import zoo
from tests.analysis.builder import Builder, Value, Weight
from tests.analysis.work import at_most


def spans(repeats: Sequence[Repeat]) -> list[tuple[str, str, int]]:
    """First module, last module and count of each repeat."""
    return [(r.modules[0], r.modules[-1], r.count) for r in repeats]


def counts(graph: ModelGraph) -> list[tuple[int, int]]:
    """Copies and ops of a copy, of each repeat."""
    return [(r.count, len(r.copies[0])) for r in find_repeats(graph)]


# --- real models ------------------------------------------------------------------------


def test_resnet50_repeats_all_but_the_first_block_of_each_stage() -> None:
    assert spans(zoo.structure("tv:resnet50").repeats) == [
        ("layer1.1", "layer1.2", 2),
        ("layer2.1", "layer2.3", 3),
        ("layer3.1", "layer3.5", 5),
        ("layer4.1", "layer4.2", 2),
    ]


def test_cifar_resnets_repeat_from_the_first_block_where_nothing_changes() -> None:
    assert spans(zoo.structure("ours:resnet56").repeats) == [
        ("layer1.0", "layer1.8", 9),
        ("layer2.1", "layer2.8", 8),
        ("layer3.1", "layer3.8", 8),
    ]


def test_vit_is_one_layer_twelve_times() -> None:
    prefix = "encoder.layers.encoder_layer_"
    assert spans(zoo.structure("tv:vit_b_16").repeats) == [(f"{prefix}0", f"{prefix}11", 12)]


@pytest.mark.parametrize(
    ("name", "home"), [("hf:gpt2", "transformer.h"), ("hf:llama", "model.layers")]
)
def test_language_models_repeat_though_every_layer_reads_the_same_mask(
    name: str, home: str
) -> None:
    assert spans(zoo.structure(name).repeats) == [(f"{home}.0", f"{home}.1", 2)]


def test_densenet_repeats_nothing_for_no_two_layers_are_equal() -> None:
    assert zoo.structure("tv:densenet121").repeats == ()


def test_vgg_repeats_pairs_that_begin_with_the_convolution() -> None:
    graph, repeats = zoo.graph("tv:vgg16"), zoo.structure("tv:vgg16").repeats
    assert [(r.copies[0][0], r.count) for r in repeats] == [
        ("features.12/conv2d#0", 2),
        ("features.19/conv2d#0", 2),
        ("features.24/conv2d#0", 3),
    ]
    kinds = {tuple(graph[op].kind for op in copy) for r in repeats for copy in r.copies}
    assert kinds == {("conv2d", "relu")}


def test_swin_repeats_pairs_of_shifted_and_unshifted_blocks() -> None:
    from torchvision.models.swin_transformer import SwinTransformer

    swin = SwinTransformer(
        patch_size=[4, 4], embed_dim=8, depths=[6], num_heads=[2], window_size=[4, 4]
    ).eval()
    graph = trace_model(swin, (torch.zeros(1, 3, 32, 32),), {})
    (repeat,) = find_repeats(graph)
    assert repeat.count == 3
    first, second, third = ({graph[op].module.split(".")[2] for op in c} for c in repeat.copies)
    assert (first, second, third) == ({"0", "1"}, {"2", "3"}, {"4", "5"})


def test_one_layer_called_six_times_is_a_repeat_that_says_so() -> None:
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    class Universal(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(6):
                x = self.layer(x)
            return x

    graph = trace_model(Universal().eval(), (torch.zeros(1, 4, 8),), {})
    (repeat,) = [r for r in find_repeats(graph) if r.count == 6]
    assert set(repeat.modules) == {"layer"}
    assert len(repeat.shared) == len(list(layer.parameters()))
    assert [op for copy in repeat.copies for op in copy] == [op.id for op in graph.ops]


# --- an independent judge ---------------------------------------------------------------


def alike(graph: ModelGraph, a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether two stretches of ops are equal, by definition and slowly."""
    place_a, place_b = ({op: i for i, op in enumerate(ops)} for ops in (a, b))
    outside: dict[tuple[str, int], tuple[str, int]] = {}
    names: dict[str, str] = {}
    for x, y in zip(map(graph.__getitem__, a), map(graph.__getitem__, b), strict=True):
        if (x.kind, x.target, x.inplace, x.macs, x.outputs) != (
            y.kind, y.target, y.inplace, y.macs, y.outputs,
        ):  # fmt: skip
            return False
        if repr(nameless(x.args)) != repr(nameless(y.args)):
            return False
        if repr(nameless(x.kwargs)) != repr(nameless(y.kwargs)):
            return False
        for p, q in zip(x.parameters, y.parameters, strict=True):
            s, t = graph.parameter(p), graph.parameter(q)
            if (s.spec, s.trainable) != (t.spec, t.trainable) or names.setdefault(p, q) != q:
                return False
        for e, f in zip(graph.edges_in(x.id), graph.edges_in(y.id), strict=True):
            if place_a.get(e.src, -1) != place_b.get(f.src, -1) or e.out_slot != f.out_slot:
                return False
            if graph[e.src].outputs[e.out_slot] != graph[f.src].outputs[f.out_slot]:
                return False
            ends = (f.src, f.out_slot)
            if e.src not in place_a and outside.setdefault((e.src, e.out_slot), ends) != ends:
                return False
    return len(set(outside.values())) == len(outside) and len(set(names.values())) == len(names)


def nameless(tree: Any) -> Any:
    """Arguments without the names of parameters."""
    if isinstance(tree, Ref):
        return tree.kind, tree.key if tree.kind in ("in", "const") else ""
    return tuple(map(nameless, tree)) if isinstance(tree, tuple) else tree


def check(graph: ModelGraph, repeat: Repeat) -> None:
    """The repeat is what it claims to be."""
    ops = [op for copy in repeat.copies for op in copy]
    start = graph.position(ops[0])
    assert [graph.position(op) for op in ops] == list(range(start, start + len(ops)))
    assert repeat.count >= 2
    assert len({len(copy) for copy in repeat.copies}) == 1
    for before, copy in itertools.pairwise(repeat.copies):
        assert alike(graph, before, copy)
        fed = {e.src for op in copy for e in graph.edges_in(op)}
        assert fed & set(before)
    for k, copy in enumerate(repeat.copies):
        # Nothing is read from a copy but the one right before, and what came before all.
        late = {op for other in repeat.copies[: max(0, k - 1)] for op in other}
        assert not late & {e.src for op in copy for e in graph.edges_in(op)}
    read = [{p for op in copy for p in graph[op].parameters} for copy in repeat.copies]
    common = set.intersection(*read)
    assert common == set(repeat.shared)
    assert sum(len(r - common) for r in read) == len(set().union(*read) - common)


LETTERS: dict[str, Callable[[Builder, Value, str], Value]] = {
    "a": lambda b, x, m: b.conv(x, 8, module=m),
    "b": lambda b, x, m: b.conv(x, 8, kernel=1, module=m),
    "n": lambda b, x, m: b.norm(x, module=m),
    "r": lambda b, x, m: b.relu(x, module=m),
    "s": lambda b, x, m: b.add(b.branch(x, module=m), x, module=m),
}


def word(letters: str, modules: Sequence[str] = ()) -> ModelGraph:
    """A network that is a word: one layer or block after the other."""
    b = Builder()
    x = b.conv(b.input(1, 3, 8, 8), 8)
    for i, letter in enumerate(letters):
        x = LETTERS[letter](b, x, modules[i] if modules else "")
    return b.build(x)


@settings(max_examples=150, deadline=None)
@given(st.text("abnrs", min_size=2, max_size=24))
def test_whatever_is_found_in_a_random_network_is_a_repeat(letters: str) -> None:
    graph = word(letters)
    for repeat in annotate(graph).repeats:
        check(graph, repeat)


@settings(max_examples=150, deadline=None)
@given(st.text("abn", min_size=2, max_size=24))
def test_every_row_of_equal_layers_is_found_or_part_of_something_longer(letters: str) -> None:
    graph = word(letters)
    repeats = [[op for copy in r.copies for op in copy] for r in repeats_in(graph, [])]
    place = 1
    for _, group in itertools.groupby(letters):
        row = [op.id for op in graph.ops[place : place + len(list(group))]]
        place += len(row)
        longer = [found for found in repeats if len(found) > len(row) and set(found) & set(row)]
        assert len(row) == 1 or row in repeats or longer


@settings(max_examples=60, deadline=None)
@given(unit=st.text("abnrs", min_size=1, max_size=6), times=st.integers(2, 5))
def test_a_word_said_n_times_is_found(unit: str, times: int) -> None:
    graph = word(unit * times)
    copied = {op for r in repeats_in(graph, []) for copy in r.copies for op in copy}
    works = any(letter != "r" for letter in unit)
    # At most one unit is left over at the ends, where another reading is as good.
    left = sum(op.id not in copied for op in graph.ops[1:])
    assert left < len(graph.ops[1:]) / times if works else not copied


# --- one difference is enough -----------------------------------------------------------


def blocks(count: int = 4) -> ModelGraph:
    """Equal residual blocks in modules of their own, after a stem."""
    return word("s" * count, [f"body.{i}" for i in range(count)])


def change(graph: ModelGraph, old: Op, **changes: Any) -> ModelGraph:
    """The same graph but for one op."""
    ops = tuple(replace(op, **changes) if op is old else op for op in graph.ops)
    return replace(graph, ops=ops)


def freeze(graph: ModelGraph, op: Op) -> ModelGraph:
    modules = tuple(
        replace(
            m,
            parameters=tuple(
                replace(p, trainable=False) if p.name in op.parameters else p for p in m.parameters
            ),
        )
        for m in graph.modules
    )
    return replace(graph, modules=modules)


def reshaped(graph: ModelGraph, op: Op) -> ModelGraph:
    shape = (*op.shape[:-1], op.shape[-1] + 1)
    return change(graph, op, outputs=(TensorSpec(shape=shape, dtype="float32"),))


def rewired(graph: ModelGraph, op: Op) -> ModelGraph:
    """The op's last operand comes from the op before the one it came from."""
    *_, edge = graph.edges_in(op.id)
    other = next(graph.nodes()) if graph.position(edge.src) < 2 else None
    nodes = list(graph.nodes())
    other = other or nodes[graph.position(edge.src) - 1]
    moved = Edge(src=other.id, out_slot=0, dst=op.id, in_slot=edge.in_slot)
    edges = tuple(moved if e == edge else e for e in graph.edges)
    return replace(graph, edges=edges)


MUTATIONS: dict[str, Callable[[ModelGraph, Op], ModelGraph]] = {
    "argument": lambda g, op: change(g, op, args=(*op.args, 2)),
    "keyword": lambda g, op: change(g, op, kwargs=(*op.kwargs, ("dilation", 2))),
    "shape": reshaped,
    "dtype": lambda g, op: change(g, op, outputs=(replace(op.outputs[0], dtype="bfloat16"),)),
    "kind": lambda g, op: change(g, op, kind="gelu"),
    "target": lambda g, op: change(g, op, target="other.function"),
    "in place": lambda g, op: change(g, op, inplace=not op.inplace),
    "macs": lambda g, op: change(g, op, macs=None),
    "wiring": rewired,
}


@settings(max_examples=80, deadline=None)
@given(name=st.sampled_from(sorted(MUTATIONS)), copy=st.integers(0, 3), offset=st.integers(0, 5))
def test_what_differs_in_one_thing_is_in_no_repeat(name: str, copy: int, offset: int) -> None:
    graph = blocks()
    assert spans(find_repeats(graph)) == [("body.0", "body.3", 4)]
    op = graph.ops[1 + 6 * copy + offset]
    mutated = MUTATIONS[name](graph, op)
    for repeat in repeats_in(mutated, []):
        assert op.id not in itertools.chain(*repeat.copies), (name, op.id)
        check(mutated, repeat)


@pytest.mark.parametrize("copy", range(4))
@pytest.mark.parametrize("offset", [0, 1, 3, 4])
def test_one_frozen_layer_ends_it(copy: int, offset: int) -> None:
    graph = blocks()
    op = graph.ops[1 + 6 * copy + offset]
    for repeat in repeats_in(freeze(graph, op), []):
        assert op.id not in itertools.chain(*repeat.copies)


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (0.0, -0.0), (None, 0)])
def test_arguments_that_only_python_calls_equal_are_different(one: Arg, other: Arg) -> None:
    graph = blocks(2)
    first, second = graph.ops[1], graph.ops[7]
    assert first.kind == second.kind == "conv2d"
    graph = change(graph, first, args=(*first.args, one))
    same = change(graph, second, args=(*second.args, one))
    assert len(find_repeats(same)) == 1
    assert not find_repeats(change(graph, second, args=(*second.args, other)))


@settings(max_examples=40, deadline=None)
@given(st.text("snr", min_size=2, max_size=8), st.integers(0, 2**32))
def test_names_play_no_part(letters: str, seed: int) -> None:
    modules = [f"body.{i}.part" for i in range(len(letters))]
    graph = word(letters, modules)
    strange = {p: f"{(seed * (i + 7)) % 9973}.{'αβγ'[i % 3]}{i}" for i, p in enumerate(modules)}
    renamed = rename(graph, strange)
    places = [
        [[g.position(op) for op in copy] for r in find_repeats(g) for copy in r.copies]
        for g in (graph, renamed)
    ]
    assert places[0] == places[1]


def rename(graph: ModelGraph, names: dict[str, str]) -> ModelGraph:
    """The graph with other module paths and class names; parents stay distinct."""
    ids = {op.id: op.id for op in graph.nodes()}
    for op in graph.ops:
        kind, _, number = op.id.rpartition("/")[2].partition("#")
        ids[op.id] = make_op_id(names.get(op.module, op.module), kind, int(number))
    return replace(
        graph,
        ops=tuple(
            replace(op, id=ids[op.id], module=names.get(op.module, op.module)) for op in graph.ops
        ),
        edges=tuple(replace(e, src=ids[e.src], dst=ids[e.dst]) for e in graph.edges),
        modules=tuple(replace(m, type_name=f"Class{i}") for i, m in enumerate(graph.modules)),
        outputs=tuple(replace(o, src=ids[o.src]) for o in graph.outputs),
    )


# --- wiring between copies and around them ----------------------------------------------


def layers(b: Builder, x: Value, count: int, *more: Value) -> list[Value]:
    """A chain of equal layers; each also reads ``more``."""
    out = []
    for i in range(count):
        x = b.linear(x, 8, module=f"layer.{i}")
        for value in more:
            x = b.add(x, value, module=f"layer.{i}")
        out.append(x)
    return out


def test_what_all_copies_read_from_one_place_is_no_difference() -> None:
    b = Builder()
    x, mask = b.input(1, 4, 8), b.input(1, 4, 8)
    layers(b, x, 5, b.relu(mask))
    assert counts(b.build()) == [(5, 2)]


def test_each_copy_with_a_mask_of_its_own_is_no_repeat() -> None:
    b = Builder()
    x, masks = b.input(1, 4, 8), [b.input(1, 4, 8) for _ in range(3)]
    for i, mask in enumerate(masks):
        x = b.add(b.linear(x, 8, module=f"layer.{i}"), mask, module=f"layer.{i}")
    assert counts(b.build()) == []


def test_a_copy_whose_output_is_also_taken_elsewhere_ends_the_run() -> None:
    b = Builder()
    values = layers(b, b.input(1, 4, 8), 6)
    b.cat(values[1], values[5])
    assert counts(b.build()) == [(2, 1), (4, 1)]


def test_outputs_taken_at_regular_steps_make_groups_of_copies() -> None:
    b = Builder()
    values = layers(b, b.input(1, 4, 8), 6)
    b.cat(values[2], values[5])
    assert counts(b.build()) == [(2, 3), (3, 1), (3, 1)]


def test_where_every_copy_gives_its_output_away_too_nothing_ends() -> None:
    b = Builder()
    values = layers(b, b.input(1, 4, 8), 6)
    b.cat(*values)
    assert counts(b.build()) == [(6, 1)]
    assert counts(b.build(*values)) == [(6, 1)]


def test_parallel_branches_are_no_repeat() -> None:
    b = Builder()
    x = b.input(1, 4, 8)
    b.cat(*(b.linear(x, 8, module=f"head.{i}") for i in range(6)), dim=2)
    assert counts(b.build()) == []


def test_reading_two_copies_back_makes_pairs_the_unit() -> None:
    b = Builder()
    x = y = b.input(1, 4, 8)
    for i in range(8):
        x, y = b.add(b.linear(x, 8, module=f"l.{i}"), y, module=f"l.{i}"), x
    (found,) = find_repeats(b.build(x))
    assert len(found.copies[0]) == 4
    check(b.build(x), found)


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        ((0, 1, 2, 3), [(4, 1, 0)]),
        ((0, 0, 0, 0), [(4, 1, 1)]),
        ((0, 1, 1, 1), [(3, 1, 1)]),
        ((0, 0, 1, 1), [(2, 1, 1), (2, 1, 1)]),
        ((0, 1, 0, 1), [(2, 1, 0), (2, 1, 0)]),
    ],
)
def test_shared_weights_are_told_and_never_mixed_with_own_ones(
    owners: Sequence[int], expected: Sequence[tuple[int, int, int]]
) -> None:
    b = Builder()
    x = b.input(1, 4, 8)
    for owner in owners:
        x = b.op("linear", x, Weight(f"w{owner}", (8, 8)), macs=256)
    found = find_repeats(b.build())
    outer = [r for r in found if len(r.copies[0]) == 1]
    assert [(r.count, len(r.copies[0]), len(r.shared)) for r in outer] == expected


def test_runs_nest() -> None:
    found = find_repeats(word("aab" * 3))
    assert [(r.count, len(r.copies[0])) for r in found] == [(3, 3), (2, 1), (2, 1), (2, 1)]


def test_what_computes_nothing_is_not_worth_a_word() -> None:
    assert counts(word("rrrr")) == []


def test_a_unit_begins_where_fewest_tensors_cross() -> None:
    # As plain calls in no module, and without the blocks being known.
    found = repeats_in(word("nss" + "s" * 4 + "n"), [])
    assert [(r.count, len(r.copies[0])) for r in found] == [(6, 6)]
    assert found[0].copies[0][0] == "conv2d#1"


# --- size -------------------------------------------------------------------------------


def test_long_networks_need_no_recursion_and_linear_work() -> None:
    limit = sys.getrecursionlimit()
    work = []
    try:
        for size in (1_500, 6_000):
            graph = word("anr" * (size // 3))
            sys.setrecursionlimit(200)
            with at_most(100_000_000) as ran:
                (repeat,) = repeats_in(graph, [])
            work.append(ran())
            sys.setrecursionlimit(limit)
            assert (repeat.count, len(repeat.copies[0])) == (size // 3, 3)
    finally:
        sys.setrecursionlimit(limit)
    assert work[1] < 6 * work[0]


def test_a_tree_of_sums_where_every_length_seems_to_repeat_stays_quick() -> None:
    b = Builder()
    x = b.input(1, 4, 8)
    values = [b.linear(x, 8) for _ in range(2000)]
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=False)
        values = [b.linear(b.add(*pair), 8) for pair in pairs]
    graph = b.build()
    with at_most(20_000_000):
        repeats = repeats_in(graph, [])
    assert max((r.count for r in repeats), default=0) <= 4
