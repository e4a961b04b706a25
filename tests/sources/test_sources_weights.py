"""Weights that fit, and the one line for those that do not."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from resnet_viz.core.errors import UserError
from resnet_viz.sources.loading import ModelSpec, load
from resnet_viz.sources.variants import build
from resnet_viz.sources.weights import apply_weights, read_weights


def state(seed: int = 9) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build("resnet20").state_dict()


def with_weights(path: Path | str, text: str = "resnet20") -> nn.Module:
    return load(ModelSpec(text=text, weights=str(path))).model


def complaint(path: Path | str, text: str = "resnet20") -> str:
    with pytest.raises(UserError) as caught:
        with_weights(path, text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def equal(model: nn.Module, expected: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


WRAPPERS: list[Any] = [
    lambda s: s,
    lambda s: {"state_dict": s, "epoch": 3},
    lambda s: {"model": s, "optimizer": {}},
    lambda s: {"model": {"state_dict": s}},
    lambda s: {f"module.{key}": value for key, value in s.items()},
    lambda s: {"state_dict": {f"module._orig_mod.{key}": value for key, value in s.items()}},
    lambda s: {key: value for key, value in s.items() if "num_batches_tracked" not in key},
]


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_torch_file_loads_however_it_was_wrapped(wrap: Any, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(wrap(state()), path)
    assert equal(with_weights(path), state())


def test_a_safetensors_file_loads_and_gives_its_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state(), path)
    result = load(ModelSpec(text="resnet20", weights=str(path)))
    assert equal(result.model, state())
    assert result.weights_note == "weights.safetensors"


def test_a_torchvision_state_dict_fits_our_net(tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "r18.pth")
    x = torch.randn(1, 3, 64, 64)
    for text in ("resnet18", "torchvision:resnet18"):
        assert torch.equal(with_weights(tmp_path / "r18.pth", text).eval()(x), theirs(x))


def test_tied_weights_may_be_there_once() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    apply_weights(model, {"a.weight": torch.eye(2)}, source="file", name="net")
    assert torch.equal(model["b"].weight, torch.eye(2))  # type: ignore[arg-type]


def test_weights_that_do_not_fit_are_told_key_by_key(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    wrong = state()
    wrong["fc.weight"] = torch.zeros(7, 64)
    wrong["head.weight"] = wrong.pop("conv1.weight")
    del wrong["layer1.0.conv1.weight"]
    torch.save(wrong, path)
    message = complaint(path)
    assert "missing: conv1.weight, layer1.0.conv1.weight" in message
    assert "unexpected: head.weight" in message
    assert "fc.weight is 7×64 there and 10×64 in the model" in message


def test_weights_of_another_net_are_told_shortly(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(build("resnet56").state_dict(), path)
    message = complaint(path)
    assert "unexpected: layer1.3.conv1.weight" in message
    assert "more" in message
    assert len(message) < 500


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (print, ("this must never be printed",))


def test_pickled_code_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": state(), "extra": Evil()}, path)
    assert "safetensors" in complaint(path)
    torch.save(nn.Linear(2, 2), path)
    assert "safetensors" in complaint(path)
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 no zip", b"\x80\x02}q"])
def test_a_file_of_something_else_is_told(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    message = complaint(path)
    assert f"{path} is no " in message
    assert "pickled Python" not in message


def test_a_file_without_tensors_is_told(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "loss": 0.1}, tmp_path / "a.pt")
    assert "its entries are: epoch, loss" in complaint(tmp_path / "a.pt")
    torch.save([1, 2], tmp_path / "b.pt")
    assert "holds a list" in complaint(tmp_path / "b.pt")


@pytest.mark.filterwarnings("ignore")
def test_a_scripted_archive_is_told(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "scripted.pt")
    assert "is a TorchScript archive" in complaint(tmp_path / "scripted.pt")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "does not exist" in complaint(tmp_path / "none.pt")
    assert "does not exist" in complaint(tmp_path / "none.safetensors")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("text", ["torchvision:resnet50", "resnet50"])
def test_without_a_network_a_tag_says_what_to_fetch(text: str) -> None:
    message = complaint("IMAGENET1K_V2", text)
    assert "https://download.pytorch.org/models/resnet50" in message
    assert "--weights FILE" in message


def test_a_tag_brings_weights_mean_and_std(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = torchvision.models.resnet18(weights=None).state_dict()
    family = torchvision.models.ResNet18_Weights
    monkeypatch.setattr(family, "get_state_dict", lambda *_, **__: theirs)
    for text in ("torchvision:resnet18", "resnet18"):
        for tag in ("IMAGENET1K_V1", "DEFAULT"):
            result = load(ModelSpec(text=text, weights=tag))
            assert equal(result.model, theirs)
            assert result.weights_note == tag
            assert (result.mean, result.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("torchvision:resnet50", "it has: IMAGENET1K_V1, IMAGENET1K_V2"),
        ("resnet50", "it has: IMAGENET1K_V1, IMAGENET1K_V2"),
        ("plain18", "publishes no weights for plain18"),
        ("resnet20", "publishes no weights for resnet20"),
        ("timm:resnet18", "is no file"),
        ("torch.nn:Identity", "is no file"),
    ],
)
def test_an_unknown_tag_is_told(text: str, said: str) -> None:
    assert said in complaint("IMAGENET22K", text)


def test_reading_gives_tensors_by_name(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}, "epoch": 1}, tmp_path / "a.pt")
    read = read_weights(tmp_path / "a.pt")
    assert list(read) == ["a"]
    assert torch.equal(read["a"], torch.ones(2))
