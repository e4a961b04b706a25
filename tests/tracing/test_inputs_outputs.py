"""Whatever forward takes and returns: named, moved, and never changed in the caller's hands."""

from __future__ import annotations

import abc
import copy
import dataclasses
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils import _pytree as pytree
from transformers.modeling_outputs import BaseModelOutput

import resnet_viz as rv
from resnet_viz.tracing.trees import map_tensors, named_tensors

X = torch.arange(6.0).reshape(2, 3)
Y = torch.ones(2, 3)


class Pair(NamedTuple):
    left: Tensor
    right: Tensor
    scale: float = 2.0


class Strict(NamedTuple):
    data: Tensor


@dataclasses.dataclass
class Sample:
    x: Tensor
    mask: Tensor | None = None
    tag: str = "a"


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: Tensor
    parts: tuple[Tensor, ...] = ()


@dataclasses.dataclass
class Late:
    x: Tensor
    twice: Tensor = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.twice = self.x * 2


class Registered:
    """A container that only torch's pytree can open."""

    __slots__ = ("_hidden",)

    def __init__(self, *parts: Any) -> None:
        self._hidden = parts


pytree.register_pytree_node(
    Registered,
    lambda r: (list(r._hidden), None),
    lambda parts, _: Registered(*parts),
)


class State:
    """A plain object with tensors, and everything a forward may do to it."""

    def __init__(self, h: Tensor) -> None:
        self.h = h
        self.seen: list[Tensor] = []
        self.me = self
        self.count = 0


class Slotted:
    __slots__ = ("__private", "empty", "h")

    def __init__(self, h: Tensor) -> None:
        self.h = h
        self.__private = [h + 1]


class Store(MutableMapping[str, Any]):
    """A mapping that keeps its items in a dict, and knows who owns it."""

    def __init__(self, owner: Any, items: dict[str, Any]) -> None:
        self._items = items
        self._owner = weakref.ref(owner)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._items[key] = value

    def __delitem__(self, key: str) -> None:
        del self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


class GraphBatch:
    """Attributes that live in a store, as PyTorch Geometric has them."""

    def __init__(self, **items: Any) -> None:
        self.__dict__["_store"] = Store(self, items)

    def __copy__(self) -> GraphBatch:
        return GraphBatch(**self.__dict__["_store"])

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_store"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__["_store"][name] = value


class Images(list[Tensor]):
    """A list that cannot be made from a list."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        super().__init__([first, second])
        self.sizes = torch.tensor([3, 3])


def tree_of(value: Any) -> Any:
    """What a value holds, with tensors as numbers: for comparing before and after."""
    return [(name, t.tolist(), t.device.type, id(t)) for name, t in named_tensors(value)]


FORMS: list[tuple[Any, list[str]]] = [
    (X, ["x"]),
    ([X, (Y, None)], ["x.0", "x.1.0"]),
    ({"a": X, 3: [Y]}, ["x.a", "x.3.0"]),
    (OrderedDict(a=X), ["x.a"]),
    (defaultdict(list, {"a": X}), ["x.a"]),
    (deque([X, Y]), ["x.0", "x.1"]),
    (Pair(X, Y), ["x.left", "x.right"]),
    (Sample(X), ["x.x"]),
    (Frozen(X, (Y,)), ["x.x", "x.parts.0"]),
    (Late(X), ["x.x", "x.twice"]),
    (Registered(X, "no", Y), ["x.0", "x.2"]),
    (State(X), ["x.h"]),
    (Slotted(X), ["x.0", "x.h"]),
    (abc.ABCMeta("Made", (State,), {})(X), ["x.h"]),
    (GraphBatch(x=X, edge_index=Y), ["x.x", "x.edge_index"]),
    (Images(X, Y), ["x.0", "x.1"]),
    (SimpleNamespace(h=X, n=3), ["x.h"]),
    (BaseModelOutput(last_hidden_state=X), ["x.last_hidden_state"]),
    (transformers.BatchEncoding({"input_ids": X}), ["x.input_ids"]),
    (torch.distributions.Normal(X, Y), ["x.loc", "x.scale"]),
    (torch.max(X, 1), ["x.0", "x.1"]),
    (pack_padded_sequence(X[..., None], [3, 2], batch_first=True), ["x.data", "x.batch_sizes"]),
]


@pytest.mark.parametrize(("value", "names"), FORMS, ids=lambda v: type(v).__name__)
def test_every_tensor_has_a_name_and_moves_into_a_copy(value: Any, names: list[str]) -> None:
    before = tree_of(value)
    assert [name for name, _ in named_tensors(value, "x")] == names
    moved = map_tensors(value, lambda t: t.to("meta"))
    assert type(moved) is type(value)
    assert tree_of(value) == before
    devices = {name: t.device.type for name, t in named_tensors(moved, "x")}
    # torch wants the lengths of a packed sequence on the CPU.
    assert devices == {name: "cpu" if name == "x.batch_sizes" else "meta" for name in names}


@pytest.mark.parametrize(("value", "names"), FORMS, ids=lambda v: type(v).__name__)
def test_every_form_goes_in_and_comes_out(value: Any, names: list[str]) -> None:
    class Passes(nn.Module):
        def forward(self, x: Any) -> Any:
            return x, [t * 2 for _, t in named_tensors(x)]

    before = tree_of(value)
    graph = rv.trace(Passes(), input_data=(value,))
    assert [op.label for op in graph.inputs] == names
    # The third field is the device, which a graph does not know.
    expected = [f"0{name[1:]}" for name in names] + [f"1.{i}" for i in range(len(names))]
    assert [output.name for output in graph.outputs] == expected
    assert tree_of(value) == before


@pytest.mark.parametrize("value", [None, 3, 2.5, "mean", True, b"raw", slice(1, 2), torch.float16])
def test_values_without_tensors_reach_forward_as_they_are(value: Any) -> None:
    class Takes(nn.Module):
        def forward(self, x: Tensor, how: Any) -> Tensor:
            assert how is value
            return x + 1

    graph = rv.trace(Takes(), input_data=(X, value))
    assert [op.label for op in graph.inputs] == ["x"]
    assert graph == rv.trace(Takes(), input_data=(X,), how=value)


class Writes(nn.Module):
    """A forward that does to its argument all that Python allows."""

    def forward(self, state: Any) -> Tensor:
        state.h.add_(1)
        state.h = state.h * 2
        state.seen.append(state.h)
        state.count += 1
        state.new = state.h
        return state.me.h + state.count


@pytest.mark.parametrize("mode", ["meta", "fake", "real"])
def test_an_object_is_left_as_it_came_in_every_mode(mode: Any) -> None:
    from resnet_viz.tracing.tracer import trace_model

    state = State(X.clone())
    held, attributes = state.h, dict(vars(state))
    graph = trace_model(Writes(), (state,), modes=(mode,))
    assert [op.kind for op in graph.ops] == ["add", "mul", "add"]
    assert [op.label for op in graph.inputs] == ["state.h"]
    assert vars(state) == attributes
    assert state.h is held
    assert torch.equal(held, X)
    assert state.seen == []


def test_what_forward_sets_on_a_graph_batch_stays_in_the_trace() -> None:
    class Sets(nn.Module):
        def forward(self, data: GraphBatch) -> Tensor:
            data.x = data.x * 2
            return data.x.sum() + data.edge_index.sum()

    batch = GraphBatch(x=X, edge_index=Y)
    graph = rv.trace(Sets(), input_data=batch)
    assert [op.label for op in graph.inputs] == ["data.x", "data.edge_index"]
    assert batch.x is X


def test_what_is_one_tensor_in_several_places_stays_one() -> None:
    attention = nn.MultiheadAttention(4, 2, batch_first=True).eval()
    x = torch.randn(1, 3, 4)
    same = rv.trace(attention, input_data=(x, x, x))
    apart = rv.trace(attention, input_data=(x, x.clone(), x.clone()))
    assert [op.label for op in same.inputs] == ["query, key, value"]
    assert [op.label for op in apart.inputs] == ["query", "key", "value"]
    # Self-attention projects query, key and value at once.
    assert sum(op.kind == "linear" for op in same.ops) < sum(
        op.kind == "linear" for op in apart.ops
    )


def test_shared_objects_and_cycles_stay_what_they_are() -> None:
    state = State(X)
    state.other = [state, X]  # type: ignore[attr-defined]
    first, second, x = map_tensors((state, state, X), torch.clone)
    assert first is second is first.me is first.other[0]
    assert first.h is x is first.other[1]
    assert x is not X


def test_modules_and_functions_given_to_forward_are_not_inputs() -> None:
    class Applies(nn.Module):
        def forward(self, x: Tensor, layer: nn.Module, act: Callable[[Tensor], Tensor]) -> Tensor:
            return act(layer(x))

    graph = rv.trace(Applies(), input_data=(X, nn.Linear(3, 2), torch.relu))
    assert [op.label for op in graph.inputs] == ["x"]


def test_a_result_that_was_returned_twice_is_two_outputs() -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Any]:
            y = x * 2
            return {"logits": y, "aux": (y, {"loss": y.sum()}), "none": None, "n": 3}

    graph = rv.trace(Twice(), input_data=X)
    assert [o.name for o in graph.outputs] == ["logits", "aux.0", "aux.1.loss"]
    assert graph.outputs[0].src == graph.outputs[1].src


def test_tensors_that_nobody_can_see_are_constants() -> None:
    """A closure hides its tensors: they are no inputs, and the forward runs all the same."""

    class Hides:
        def __init__(self, tensor: Tensor) -> None:
            self.get = lambda: tensor

    class Calls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, hidden: Hides) -> Tensor:
            return self.fc(hidden.get())

    graph = rv.trace(Calls(), input_data=Hides(X))
    assert graph.inputs == ()
    assert graph.total_macs == 12


def test_a_cache_is_read_and_not_filled() -> None:
    config = transformers.GPT2Config(n_embd=8, n_layer=2, n_head=2, n_positions=32, vocab_size=13)
    model = transformers.GPT2LMHeadModel(config).eval()
    cache = transformers.DynamicCache(config=config)
    ids = torch.tensor([[1, 2, 3]])
    empty = rv.trace(model, input_data={"input_ids": ids, "past_key_values": cache})
    assert cache.get_seq_length() == 0
    assert empty.how.mode == "meta"
    with torch.no_grad():
        model(input_ids=ids, past_key_values=cache)
    keys = cache.layers[0].keys
    before = keys.clone()
    graph = rv.trace(model, input_data={"input_ids": ids[:, :1], "past_key_values": cache})
    assert cache.get_seq_length() == 3
    assert cache.layers[0].keys is keys
    assert torch.equal(keys, before)
    labels = [op.label for op in graph.inputs]
    assert labels[0] == "input_ids"
    assert "past_key_values.layers.1.values" in labels
    outputs = {o.name: graph[o.src].outputs[o.out_slot].shape for o in graph.outputs}
    assert outputs["logits"] == (1, 1, 13)
    assert outputs["past_key_values.layers.0.keys"] == (1, 2, 4, 4)


def test_a_packed_sequence_goes_through_an_lstm() -> None:
    model = nn.LSTM(1, 2, batch_first=True)
    packed = pack_padded_sequence(X[..., None], [3, 2], batch_first=True)
    graph = rv.trace(model, input_data=packed)
    assert [op.label for op in graph.inputs] == ["input.data", "input.batch_sizes"]
    assert graph.outputs[0].name == "0.data"
    out, _ = model(packed)
    assert isinstance(out, PackedSequence)


class Detector(nn.Module):
    """Takes images of different sizes, and boxes in train mode; returns dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.box = nn.Linear(4, 4)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        boxes = [self.box(self.conv(image[None]).mean((2, 3))) for image in images]
        if targets is None:
            return [{"boxes": b} for b in boxes]
        pairs = zip(boxes, targets, strict=True)
        return {"loss_box": torch.stack([(b - t["boxes"]).square().mean() for b, t in pairs]).sum()}


IMAGES = [torch.randn(3, 8, 9), torch.randn(3, 6, 5)]
BOXES = [{"boxes": torch.zeros(1, 4)}, {"boxes": torch.ones(1, 4)}]


def test_a_list_of_images_is_one_argument() -> None:
    graph = rv.trace(Detector(), input_data=IMAGES)
    assert [op.label for op in graph.inputs] == ["images.0", "images.1"]
    assert [o.name for o in graph.outputs] == ["0.boxes", "1.boxes"]
    with_targets = rv.trace(Detector(), input_data=(IMAGES, BOXES))
    assert [op.label for op in with_targets.inputs][2:] == ["targets.0.boxes", "targets.1.boxes"]
    assert [o.name for o in with_targets.outputs] == ["loss_box"]


def test_gradient_flow_takes_lists_targets_and_keywords() -> None:
    model = Detector()
    loss = model(IMAGES, BOXES)["loss_box"]
    gradient = torch.autograd.grad(loss, model.conv.weight)[0]
    plain = float(loss.detach())
    for flow in (
        rv.gradient_flow(model, ((IMAGES, BOXES), None)),
        rv.gradient_flow(model, (IMAGES, None), targets=BOXES),
        rv.gradient_flow(model, {"images": IMAGES, "targets": BOXES}),
        rv.gradient_flow(model, [{"images": IMAGES, "targets": BOXES}]),
    ):
        assert flow.loss.name == "sum of loss_box"
        assert flow.loss.value == pytest.approx(plain, rel=1e-6)
        assert flow["conv.weight"].l2 == pytest.approx(float(gradient.norm()), rel=1e-5)


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor, mask: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        return {"logits": self.fc(x * mask) * scale}


@pytest.mark.parametrize(
    ("inputs", "more"),
    [
        ((X, Y), {"scale": 2.0}),
        ({"x": X, "mask": Y}, {"scale": 2.0}),
        ((X,), {"mask": Y, "scale": 2.0}),
        ([X, Y], {"scale": 2.0}),
        (transformers.BatchEncoding({"x": X, "mask": Y}), {"scale": 2.0}),
    ],
    ids=["tuple", "dict", "both", "list", "mapping"],
)
def test_all_verbs_take_the_same_forms(inputs: Any, more: Mapping[str, Any]) -> None:
    model = Scores().eval()
    graph = rv.trace(model, input_data=inputs, **more)
    assert graph == rv.trace(model, input_data=(X, Y, 2.0))
    labels = torch.tensor([0, 3])
    with torch.no_grad():
        loss = float(nn.functional.cross_entropy(model(X, Y, 2.0)["logits"], labels))
    flow = rv.gradient_flow(model, (inputs, labels), **more)
    assert flow.loss.value == pytest.approx(loss, rel=1e-6)
    maps = rv.attribute(model, inputs, method="saliency", **more)
    assert maps.maps
    report = rv.report(
        model, input_data=inputs, input_kwargs=more, methods=("saliency",), data=(inputs, labels)
    )
    assert report.graph == dataclasses.replace(graph, name=report.graph.name)
    assert report.gradient_flow is not None
    assert report.gradient_flow.loss.value == pytest.approx(loss, rel=1e-6)
    assert report.missing == ()


def test_a_value_that_fits_only_as_one_argument_is_one() -> None:
    class Batched(nn.Module):
        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return batch["x"] + batch["y"]

    class Pairs(nn.Module):
        def forward(self, pair: Pair) -> Tensor:
            return pair.left * pair.scale

    assert len(rv.trace(Batched(), input_data={"x": X, "y": Y}).inputs) == 2
    assert [op.label for op in rv.trace(Pairs(), input_data=Pair(X, Y)).inputs] == [
        "pair.left",
        "pair.right",
    ]


def test_a_model_that_computes_its_own_loss_takes_labels_as_an_input() -> None:
    config = transformers.BertConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        vocab_size=13,
        num_labels=3,
    )
    model = transformers.BertForSequenceClassification(config).eval()
    data = {"input_ids": torch.tensor([[1, 2, 3]] * 2), "labels": torch.tensor([0, 2])}
    flow = rv.gradient_flow(model, iter([data]))
    assert flow.loss.name == "the model's own .loss"
    assert flow.loss.value == pytest.approx(float(model(**data).loss), rel=1e-5)


def test_the_model_gets_what_it_was_given_and_gives_the_same_afterwards() -> None:
    """A trace between two runs on one state object changes neither."""

    class Counts(nn.Module):
        def forward(self, state: State) -> Tensor:
            state.count += 1
            return state.h * state.count

    state, twin = State(X), copy.deepcopy(State(X))
    model = Counts()
    model(state), model(twin)
    rv.trace(model, input_data=state)
    assert torch.equal(model(state), model(twin))
