"""Inputs that people write and inputs that are guessed."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from resnet_viz.core.errors import UserError
from resnet_viz.sources.inputs import InputSpec, find_input, make_inputs, parse_input
from resnet_viz.sources.loading import ModelSpec, load
from resnet_viz.sources.variants import build

TINY = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


def lenet(side: int) -> nn.Module:
    """A net whose last layer accepts one image size only."""
    return nn.Sequential(
        nn.Conv2d(3, 2, 5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2 * (side // 2 - 2) ** 2, 3)
    )


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, image: Tensor, mask: Tensor, scale: float = 1.0) -> Tensor:
        return self.fc(image) * mask * scale


class Counting(nn.Module):
    """A forward with every side effect a guess must not have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)
        self.bn = nn.BatchNorm2d(2)
        self.fc = nn.Linear(2 * 30 * 30, 1)
        self.scale = torch.ones(2, 1, 1)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        random.random()
        noise = torch.rand(2, 1, 1, device="cpu")
        x = self.bn(self.conv(x)) * self.scale + noise.to(x.device)
        return self.fc(x.flatten(1))


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
    ],
)
def test_an_input_that_is_none_gets_one_line(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_input(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "shape", "dtype"),
    [
        (lambda: nn.Conv2d(3, 2, 3), (1, 3, 224, 224), "float32"),
        (lambda: nn.Conv2d(1, 2, 3), (1, 1, 28, 28), "float32"),
        (lambda: nn.Conv2d(5, 2, 3), (1, 5, 224, 224), "float32"),
        (lambda: nn.Conv2d(3, 2, 3).double(), (1, 3, 224, 224), "float64"),
        (lambda: nn.Conv1d(2, 2, 3), (1, 2, 128), "float32"),
        (lambda: nn.Conv3d(1, 2, 3), (1, 1, 16, 112, 112), "float32"),
        (lambda: lenet(32), (1, 3, 32, 32), "float32"),
        (lambda: lenet(96), (1, 3, 96, 96), "float32"),
        (lambda: nn.Linear(7, 2), (1, 7), "float32"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 2)), (1, 784), "float32"),
        (lambda: nn.Embedding(11, 4), (1, 16), "int64"),
        (lambda: nn.LSTM(5, 4, batch_first=True), (1, 16, 5), "float32"),
        (lambda: nn.GRU(5, 4), (16, 1, 5), "float32"),
        (lambda: nn.RNN(5, 4), (16, 1, 5), "float32"),
        (lambda: nn.TransformerEncoderLayer(8, 2, batch_first=True), (1, 16, 8), "float32"),
        (lambda: nn.TransformerEncoderLayer(8, 2), (16, 1, 8), "float32"),
        (lambda: build("resnet20", in_channels=4), (1, 4, 32, 32), "float32"),
        (lambda: build("resnet18"), (1, 3, 224, 224), "float32"),
    ],
)
def test_the_guess_is_one_the_model_takes(
    make: Callable[[], nn.Module], shape: tuple[int, ...], dtype: str
) -> None:
    model = make().eval()
    (spec,), words = find_input(model)
    assert (spec.shape, spec.dtype) == (shape, dtype)
    assert words
    args, kwargs = make_inputs((spec,), batch_size=3, model=model)
    assert args[0].shape[spec.batch_axis] == 3
    model(*args, **kwargs)


@pytest.mark.parametrize(
    "model",
    [
        transformers.BertModel(transformers.BertConfig(**TINY, vocab_size=13)),
        transformers.ViTModel(transformers.ViTConfig(**TINY, image_size=32)),
        transformers.GPT2Model(
            transformers.GPT2Config(n_embd=8, n_layer=1, n_head=2, n_positions=9, vocab_size=13)
        ),
        transformers.T5Model(
            transformers.T5Config(d_model=8, d_ff=8, num_layers=1, num_heads=2, vocab_size=13)
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_transformers_model_gets_what_its_config_says(model: nn.Module) -> None:
    specs, words = find_input(model)
    assert type(model).__name__ in words
    args, kwargs = make_inputs(specs, batch_size=2, model=model)
    assert args == ()
    assert all(value.shape[0] == 2 for value in kwargs.values())
    model(**kwargs)


@pytest.mark.parametrize(
    ("text", "args", "shape"),
    [
        ("torchvision:inception_v3", (), (1, 3, 299, 299)),
        ("torchvision:r3d_18", (), (1, 3, 16, 112, 112)),
        ("timm:resnet18", (), (1, 3, 224, 224)),
        ("timm:resnet18", (("in_chans", 1),), (1, 1, 224, 224)),
        ("timm:vit_tiny_patch16_224", (("img_size", 96),), (1, 3, 96, 96)),
        ("torchvision:fasterrcnn_mobilenet_v3_large_fpn", (), (1, 3, 224, 224)),
        ("resnet110", (), (1, 3, 32, 32)),
        ("resnet110", (("in_channels", 1),), (1, 1, 32, 32)),
    ],
)
def test_a_librarys_size_is_used(
    text: str, args: tuple[tuple[str, object], ...], shape: tuple[int, ...]
) -> None:
    loaded = load(ModelSpec(text=text, args=args))
    (spec,), words = find_input(loaded.model, loaded)
    assert spec.shape == shape
    assert (loaded.input_size is None) == words.startswith("guessed")


def test_a_guess_leaves_the_model_and_the_generators_alone() -> None:
    model = Counting()
    seen: list[object] = []
    model.register_forward_hook(lambda *_: seen.append(1))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    (spec,), _ = find_input(model)
    assert spec.shape == (1, 3, 32, 32)
    assert model.calls == 0
    assert seen == []
    assert model.training
    assert model.scale.device.type == "cpu"
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert torch.equal(torch_state, torch.get_rng_state())
    assert random.getstate() == python_state


def test_several_inputs_are_asked_for_by_name() -> None:
    with pytest.raises(UserError, match=r"takes image, mask.*--input image=.*--input mask="):
        find_input(TwoInputs())


def test_a_model_that_tells_nothing_asks_for_an_input() -> None:
    with pytest.raises(UserError, match=r"--input 1x3x224x224"):
        find_input(nn.ReLU())


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


def test_a_head_that_is_registered_before_the_stem_does_not_mislead() -> None:
    class HeadFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)
            self.stem = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.stem(x).mean((2, 3)))

    specs, words = find_input(HeadFirst())
    assert specs[0].shape == (1, 3, 224, 224)
    assert "stem" in words
