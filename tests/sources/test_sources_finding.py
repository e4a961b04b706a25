"""Inputs that are found: on every one of them the model runs, and nothing else happens."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from torch import Tensor, nn

import resnet_viz as rv
from resnet_viz.core.errors import UserError
from resnet_viz.sources.finding import find_input
from resnet_viz.sources.input_values import make_inputs
from resnet_viz.sources.loading import ModelSpec, load
from resnet_viz.sources.variants import build
from resnet_viz.tracing.trees import tensors_in

TINY = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


SPEECH = {
    "d_model": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 8,
    "decoder_ffn_dim": 8,
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
        transformers.BartModel(transformers.BartConfig(**SPEECH, vocab_size=55)),
        transformers.WhisperModel(
            transformers.WhisperConfig(**SPEECH, vocab_size=60000, max_source_positions=50)
        ),
        transformers.Speech2TextModel(
            transformers.Speech2TextConfig(**SPEECH, vocab_size=55, conv_channels=8)
        ),
        transformers.Wav2Vec2Model(
            transformers.Wav2Vec2Config(
                **TINY,
                conv_dim=(8,) * 7,
                num_conv_pos_embeddings=4,
                num_conv_pos_embedding_groups=2,
            )
        ),
        transformers.ASTModel(transformers.ASTConfig(**TINY, max_length=64, num_mel_bins=32)),
        transformers.VideoMAEModel(
            transformers.VideoMAEConfig(**TINY, image_size=32, num_frames=4)
        ),
        transformers.CLIPModel(
            transformers.CLIPConfig(
                text_config={**TINY, "vocab_size": 99, "bos_token_id": 0, "eos_token_id": 2},
                vision_config={**TINY, "image_size": 32, "patch_size": 8},
            )
        ),
        transformers.LayoutLMModel(transformers.LayoutLMConfig(**TINY, vocab_size=13)),
        transformers.MambaModel(
            transformers.MambaConfig(
                hidden_size=8, num_hidden_layers=1, vocab_size=13, state_size=4
            )
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


def test_several_inputs_that_no_guess_fits_are_asked_for_by_name() -> None:
    class Picky(TwoInputs):
        def forward(self, image: Tensor, mask: Tensor, scale: float = 1.0) -> Tensor:
            return self.fc(image).reshape(7, 11) @ mask

    with pytest.raises(UserError, match=r"takes image, mask.*--input image=.*--input mask="):
        find_input(Picky())


class TwoTower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.text = nn.Embedding(5, 4)
        self.image = nn.Conv2d(3, 4, 3)
        self.out = nn.Linear(8, 2)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        parts = self.image(image).mean((2, 3)), self.text(text).mean(1)
        return self.out(torch.cat(parts, 1))


class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.time = nn.Embedding(1000, 8)
        self.label = nn.Embedding(10, 8)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.conv(x) + (self.time(t) + self.label(y))[:, :, None, None]


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(5, 7)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.cell(x, h)


class Encoder(nn.Module):
    """Its padding mask hides what is True."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, tokens: Tensor, padding: Tensor) -> Tensor:
        return self.layer(self.embed(tokens), src_key_padding_mask=padding)


class Hides(nn.Module):
    """So does its mask, whose name says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 8)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        h = self.embed(x)
        scores = (h @ h.transpose(1, 2)).masked_fill(mask[:, None], float("-inf"))
        return scores.softmax(-1) @ h


class Lengths(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 4)
        self.rnn = nn.LSTM(4, 3, batch_first=True)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        return self.rnn(packed)[1][0]


class Branches(nn.Module):
    """Whether it runs depends on values: meta cannot tell."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y * 2 if y.sum() > 0 else y


class OnlyKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, *, x: Tensor, scale: float = 2.0) -> Tensor:
        return self.fc(x) * scale


class Shifts(nn.Module):
    """The rows of its table are fewer than those of the first embedding it has."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Embedding(1000, 2)
        self.table = nn.Parameter(torch.randn(3, 4))

    def forward(self, ids: Tensor) -> Tensor:
        return self.table[ids.view(-1).long()]


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (TwoInputs, {"image": (1, 4), "mask": (1, 4)}),
        (TwoTower, {"image": (1, 3, 224, 224), "text": (1, 16)}),
        (Denoiser, {"x": (1, 1, 28, 28), "t": (1,), "y": (1,)}),
        (Cell, {"x": (1, 5), "h": (1, 7)}),
        (Encoder, {"tokens": (1, 16), "padding": (1, 16)}),
        (Hides, {"x": (1, 16), "mask": (1, 16)}),
        (Lengths, {"tokens": (1, 16), "lengths": (1,)}),
        (OnlyKeyword, {"x": (1, 4)}),
        (Branches, {"": (1, 3, 224, 224)}),
        (Shifts, {"": (1, 16)}),
        (lambda: nn.Bilinear(3, 4, 2), {"input1": (1, 3), "input2": (1, 4)}),
        (lambda: nn.Transformer(8, 2, 1, 1, 16), {"src": (16, 1, 8), "tgt": (16, 1, 8)}),
        (lambda: nn.MultiheadAttention(8, 2), dict.fromkeys(("query", "key", "value"), (16, 1, 8))),
        (lambda: nn.LSTMCell(4, 3), {"": (1, 4)}),
        (lambda: nn.Linear(4, 2).half(), {"": (1, 4)}),
        (lambda: nn.BatchNorm2d(6), {"": (1, 6, 8, 8)}),
        (
            lambda: torchvision.models.optical_flow.raft_small(),
            {"image1": (1, 3, 224, 224), "image2": (1, 3, 224, 224)},
        ),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_what_is_found_runs_for_real_and_gives_numbers(
    make: Callable[[], nn.Module], found: dict[str, tuple[int, ...]]
) -> None:
    model = make().eval()
    specs, words = find_input(model)
    assert {spec.name: spec.shape for spec in specs} == found
    assert words
    size = None if "image1" in found else 3
    args, kwargs = make_inputs(specs, batch_size=size, model=model)
    with torch.no_grad():
        outputs = list(tensors_in(model(*args, **kwargs)))
    assert outputs
    assert all(bool(torch.isfinite(out).all()) for out in outputs)


@pytest.mark.parametrize("side", [37, 50, 150])
def test_an_unusual_side_is_found_from_the_linear_layer_that_refused(side: int) -> None:
    stem = nn.Sequential(nn.Conv2d(3, 2, 5), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3), nn.MaxPool2d(2))
    features = stem(torch.zeros(1, 3, side, side)).numel()
    model = nn.Sequential(stem, nn.Flatten(), nn.Linear(features, 2))
    (spec,), words = find_input(model)
    assert abs(spec.shape[-1] - side) < 4
    assert "linear" in words
    model(torch.zeros(spec.shape))


def test_values_given_are_used_while_looking_for_the_rest() -> None:
    mask = torch.ones(5, 4)
    specs, _ = find_input(TwoInputs(), given={"mask": mask})
    assert [(spec.name, spec.shape) for spec in specs] == [("", (1, 4))]
    specs, _ = find_input(TwoInputs(), given={"image": torch.ones(5, 4)})
    assert [spec.name for spec in specs] == ["mask"]
    specs, words = find_input(TwoInputs(), given={"image": mask, "mask": mask})
    assert (specs, words) == ((), "forward needs no input")
    graph = rv.trace(TwoInputs(), mask=mask, scale=2.0)
    assert [op.label for op in graph.inputs] == ["image", "mask"]


def test_a_forward_without_arguments_needs_none() -> None:
    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self) -> Tensor:
            return self.weight * 2

    assert find_input(Alone()) == ((), "forward needs no input")
    assert rv.report(Alone(), sections=("gradient flow",)).gradient_flow is not None


def test_lazy_layers_take_what_comes() -> None:
    with pytest.raises(UserError, match="no layer of LazyLinear tells"):
        find_input(nn.LazyLinear(3))
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(2))
    (spec,), _ = find_input(model.eval())
    assert spec.shape == (1, 3, 224, 224)
    assert isinstance(model[0], nn.LazyConv2d)


def test_a_lightning_example_is_the_first_choice() -> None:
    model = TwoTower()
    model.example_input_array = {  # type: ignore[assignment]
        "image": torch.zeros(2, 3, 9, 9),
        "text": torch.zeros(2, 4, dtype=torch.int64),
    }
    specs, words = find_input(model)
    assert [str(spec) for spec in specs] == ["image = 2×3×9×9 float32", "text = 2×4 int64"]
    assert "example_input_array" in words


def test_a_timm_model_brings_its_size() -> None:
    model = timm.create_model("resnet18", in_chans=1, pretrained=False)
    assert find_input(model)[0][0].shape == (1, 1, 224, 224)
    model = timm.create_model("vit_tiny_patch16_224", img_size=96, pretrained=False)
    assert find_input(model)[0][0].shape == (1, 3, 96, 96)
    model = timm.create_model("test_resnet", pretrained=False)
    specs, words = find_input(model)
    assert specs[0].shape == (1, *model.pretrained_cfg["input_size"])
    assert "data configuration" in words


@pytest.mark.parametrize("mode", ["meta", "real"])
def test_nothing_of_the_size_of_the_input_is_made_until_values_are_needed(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where forward runs on meta, a seeded input is never drawn."""
    drawn: list[Any] = []
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *a, **k: drawn.append(a) or randn(*a, **k))
    model = Branches() if mode == "real" else nn.Conv2d(3, 4, 3)
    graph = rv.trace(model, input_size=(1, 3, 8, 8))
    assert graph.how.mode == mode
    assert len(drawn) == (mode == "real")
    if mode == "meta":
        # 120 gigabytes: only a run without values can do it.
        graph = rv.trace(model, input_size=(1, 3, 100000, 100000))
        assert graph.ops[0].shape == (1, 4, 99998, 99998)


def test_where_values_are_needed_the_graph_says_so() -> None:
    graph = rv.trace(Branches())
    assert graph.how.mode == "real"
    assert "meta raised" in graph.how.why
    # Fake tensors have no values either.
    assert "fake" not in graph.how.why


def test_an_input_on_which_only_a_fake_run_works_is_not_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class WantsFakes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            if type(x).__name__ != "FakeTensor":
                raise RuntimeError("not here")
            return self.fc(x)

    monkeypatch.setattr(torch, "randn", None)
    assert rv.trace(WantsFakes(), input_size=(2, 4)).how.mode == "fake"


def test_a_model_that_tells_nothing_asks_for_an_input() -> None:
    with pytest.raises(UserError, match=r"--input 1x3x224x224"):
        find_input(nn.ReLU())


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
