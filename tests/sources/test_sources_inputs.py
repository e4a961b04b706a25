"""Inputs that people write: sizes, dtypes, names, plain values; and the values made for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from resnet_viz.core.errors import UserError
from resnet_viz.sources.input_values import make_inputs
from resnet_viz.sources.inputs import InputSpec, parse_input, parse_inputs, sized_inputs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1x3x224x224", InputSpec(shape=(1, 3, 224, 224))),
        ("1,3,224,224", InputSpec(shape=(1, 3, 224, 224))),
        ("(1, 3, 8, 8)", InputSpec(shape=(1, 3, 8, 8))),
        ("(16,)", InputSpec(shape=(16,))),
        ("1X3X8X8:float16", InputSpec(shape=(1, 3, 8, 8), dtype="float16")),
        ("1×16:torch.int64", InputSpec(shape=(1, 16), dtype="int64")),
        ("input_ids=1x128:int64", InputSpec(shape=(1, 128), dtype="int64", name="input_ids")),
    ],
)
def test_an_input_is_read_as_it_is_written(text: str, expected: InputSpec) -> None:
    assert parse_input(text) == expected


@given(
    st.lists(st.integers(1, 9999), min_size=1, max_size=6).map(tuple),
    st.sampled_from(["float32", "bfloat16", "int64", "bool", "uint8", "complex64"]),
    st.sampled_from(["", "x", "input_ids"]),
    st.sampled_from(["x", ",", ", "]),
)
def test_reading_undoes_writing(
    shape: tuple[int, ...], dtype: str, name: str, separator: str
) -> None:
    text = f"{name}={separator.join(map(str, shape))}" if name else separator.join(map(str, shape))
    assert parse_input(f"{text}:{dtype}") == InputSpec(shape=shape, dtype=dtype, name=name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1x",
        "1xx3",
        "1x3xa",
        "1x0x3",
        "1x-3",
        "1.5x2",
        "1x3:",
        "1x3:float31",
        "1x3:nn",
        "=1x3",
        "a b=1x3",
        "1x²",
        "1x" + "9" * 5000,
    ],
)
def test_an_input_that_is_none_gets_one_line(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_input(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_inputs_are_seeded_and_touch_no_global_generator() -> None:
    specs = tuple(map(parse_input, ["2x4", "ids=2x5:int64", "mask=2x5:bool", "half=2x3:float16"]))
    model = nn.Embedding(7, 1)
    state = torch.get_rng_state()
    first, again, other = (make_inputs(specs, seed=seed, model=model) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first[0][0], again[0][0])
    assert not torch.equal(first[0][0], other[0][0])
    assert {name: str(value.dtype) for name, value in first[1].items()} == {
        "ids": "torch.int64",
        "mask": "torch.bool",
        "half": "torch.float16",
    }
    assert first[1]["mask"].all()


def test_tokens_stay_below_the_vocabulary() -> None:
    (tokens,), _ = make_inputs((parse_input("64x64:int64"),), model=nn.Embedding(7, 1))
    assert sorted(tokens.unique().tolist()) == list(range(7))


def test_inputs_land_on_the_device_asked_for() -> None:
    with torch.device("meta"):
        (on_cpu,), _ = make_inputs((parse_input("2x3"),))
    (on_meta,), _ = make_inputs((parse_input("2x3"),), device="meta")
    assert (on_cpu.device.type, on_meta.device.type) == ("cpu", "meta")


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("use_cache=false", "use_cache", False),
        ("flag=True", "flag", True),
        ("mask=none", "mask", None),
        ("k=3", "k", 3),
        ("shift=-2", "shift", -2),
        ("eps=1e-5", "eps", 1e-5),
        ("p=0.5", "p", 0.5),
        ("p=.5", "p", 0.5),
        ("mode=mean", "mode", "mean"),
        ("task=<s>", None, None),
        ("task='a b'", "task", "a b"),
    ],
)
def test_a_name_can_have_a_plain_value(text: str, name: str | None, value: object) -> None:
    if name is None:
        with pytest.raises(UserError, match="--input"):
            parse_inputs([text])
        return
    specs, values = parse_inputs([text])
    assert specs == ()
    assert values == {name: value}
    assert type(values[name]) is type(value)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("x=16:float32", (16,)),
        ("x=(16,)", (16,)),
        ("x=16,", (16,)),
        ("x=1x3", (1, 3)),
        ("16", (16,)),
    ],
)
def test_a_size_is_never_taken_for_a_value(text: str, shape: tuple[int, ...]) -> None:
    specs, values = parse_inputs([text])
    assert [spec.shape for spec in specs] == [shape]
    assert values == {}


@given(
    st.one_of(
        st.booleans(),
        st.none(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True).filter(
            lambda word: word not in ("true", "false", "none")
        ),
    )
)
def test_a_value_written_as_python_writes_it_is_read_back(value: object) -> None:
    assert parse_inputs([f"name={value}"]) == ((), {"name": value})


def test_a_name_given_twice_is_refused() -> None:
    for texts in (["x=1x3", "x=1x4"], ["k=1", "k=2"], ["x=1x3", "x=none"]):
        with pytest.raises(UserError, match="given before"):
            parse_inputs(texts)


@pytest.mark.parametrize(
    ("input_size", "dtypes", "expected"),
    [
        ((1, 3, 8, 8), None, ["1×3×8×8 float32"]),
        ([1, 3], torch.float64, ["1×3 float64"]),
        (torch.Size([2, 5]), "int64", ["2×5 int64"]),
        ([(1, 3, 8, 8), (1, 16)], None, ["1×3×8×8 float32", "1×16 float32"]),
        ([(1, 3), (1, 16)], [torch.float16, torch.long], ["1×3 float16", "1×16 int64"]),
        (((1, 3), [2]), "torch.bool", ["1×3 bool", "2 bool"]),
        ({"ids": (1, 4), "x": (2,)}, {"ids": torch.int64}, ["ids = 1×4 int64", "x = 2 float32"]),
        ((), None, ["scalar float32"]),
    ],
)
def test_input_size_takes_one_shape_several_or_a_dict(
    input_size: Any, dtypes: Any, expected: list[str]
) -> None:
    assert [str(spec) for spec in sized_inputs(input_size, dtypes)] == expected


@pytest.mark.parametrize(
    ("input_size", "dtypes", "words"),
    [
        ("1x3", None, "input_size '1x3' is no shape"),
        ((1, 3.0), None, "is no shape"),
        ((1, -3), None, "is no shape"),
        ((1, True), None, "is no shape"),
        ([(1, 3), 4], None, "input_size 4 is no shape"),
        (torch.zeros(9, 9), None, "input_data"),
        ((1, 3), "int65", "unknown dtype 'int65'"),
        ([(1, 3), (2,)], [torch.int64], "one for each of 2 inputs"),
        ({"x": (1,)}, {"y": "int64"}, "'y'"),
    ],
)
def test_an_input_size_that_is_none_gets_one_line(input_size: Any, dtypes: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        sized_inputs(input_size, dtypes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


class Mixed(nn.Module):
    """Two tables, of which the smaller is asked by the second input."""

    def __init__(self) -> None:
        super().__init__()
        self.users = nn.Embedding(50, 4)
        self.items = nn.Embedding(3, 4)

    def forward(self, a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
        scores = self.users(a.view(-1)) * self.items(b.long().flatten())
        return nn.functional.cross_entropy(scores, labels)


def test_each_integer_stays_below_the_rows_of_the_table_that_it_picks_from() -> None:
    specs = tuple(map(parse_input, ["a=40x8:int64", "b=40x8:int32", "labels=320:int64"]))
    model = Mixed()
    _, kwargs = make_inputs(specs, model=model)
    assert {name: int(value.max()) for name, value in kwargs.items()} == {
        "a": 49,
        "b": 2,
        "labels": 3,
    }
    model(**kwargs)


class Masks(nn.Module):
    def forward(self, x: Tensor, attention_mask: Tensor, src_padding_mask: Tensor) -> Tensor:
        return x


def test_masks_show_everything_whatever_true_means() -> None:
    names = ("attention_mask", "src_padding_mask")
    specs = tuple(parse_input(f"{name}=2x3:bool") for name in names)
    _, kwargs = make_inputs(specs, model=Masks())
    assert bool(kwargs["attention_mask"].all())
    assert not bool(kwargs["src_padding_mask"].any())


def test_only_a_batch_axis_takes_the_batch_size() -> None:
    square = InputSpec(shape=(4, 4), batch_axis=None)
    (x, mask), _ = make_inputs((InputSpec(shape=(1, 4)), square), batch_size=3)
    assert (x.shape, mask.shape) == ((3, 4), (4, 4))


def test_on_meta_no_memory_is_taken() -> None:
    (huge,), _ = make_inputs((parse_input("1x3x1000000x1000000"),), device="meta")
    assert huge.shape == (1, 3, 1000000, 1000000)
    with pytest.raises(UserError, match="99999999999"):
        make_inputs((parse_input("1x3x99999999999x99999999999"),), device="meta")
