"""``inspect``: what a file of weights holds, however it was written and by whom."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import save_file
from torch import nn

import resnet_viz as rv
from resnet_viz.core.checkpoint import Checkpoint, StoredTensor
from resnet_viz.core.graph import TensorSpec
from resnet_viz.reporting.text.checkpoint import checkpoint_table
from resnet_viz.sources.checkpoints import inspect_file


def text_of(checkpoint: Checkpoint, depth: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(checkpoint_table(checkpoint, depth), crop=False)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def saved(file: Path, model: nn.Module) -> Path:
    state = model.state_dict()
    if file.suffix == ".safetensors":
        save_file(state, file)
    elif file.suffix == ".pt2":
        torch.export.save(torch.export.export(model.eval(), (torch.ones(1, 3, 32, 32),)), file)
    else:
        torch.save({"epoch": 7, "state_dict": {f"module.{k}": v for k, v in state.items()}}, file)
    return file


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".pt2"])
def test_every_format_tells_the_same(suffix: str, tmp_path: Path) -> None:
    model = rv.build("resnet20", num_classes=7)

    found = inspect_file(saved(tmp_path / f"net{suffix}", model))

    specs = {t.name.removeprefix("module."): t.spec for t in found.tensors}
    assert specs == {
        name: TensorSpec(shape=tuple(v.shape), dtype=str(v.dtype).removeprefix("torch."))
        for name, v in model.state_dict().items()
    }
    assert found.total_params == sum(p.numel() for p in model.parameters())
    assert found.total_bytes == sum(v.nbytes for v in model.state_dict().values())
    command = found.advice[1]
    if suffix == ".pt2":
        assert command == f"resnet-viz diagram {tmp_path}/net.pt2"
    else:
        weights = f"--weights {tmp_path}/net{suffix}"
        assert command == f"resnet-viz diagram resnet20 --arg num_classes=7 {weights}"
        assert "a checkpoint has no edges" in found.advice[0]
    assert rv.from_json(rv.to_json(found)) == found
    assert command in text_of(found)


def test_a_checkpoint_says_where_its_tensors_were_and_what_else_it_holds(tmp_path: Path) -> None:
    shared = torch.zeros(3, 4)
    file = tmp_path / "c.ckpt"
    content = {
        "epoch": 7,
        "optimizer": {"state": {}, "groups": []},
        "model": {"a.w": shared, "b.w": shared, "c": shared[:1], "note": "hello"},
    }
    torch.save(content, file)

    found = inspect_file(file)

    assert [(t.name, t.tied_to) for t in found.tensors] == [("a.w", ""), ("b.w", "a.w"), ("c", "")]
    assert found.total_elements == 12 + 4
    assert found.found_under == ("model",)
    assert found.others == ("epoch = 7", "optimizer (2 entries)", "note = 'hello'")
    assert "1 tied to another and counted once" in text_of(found)


def test_numbers_are_counted_not_spelled_and_repeats_are_one_line(tmp_path: Path) -> None:
    layers = nn.Sequential(*(nn.Linear(4, 4) for _ in range(12)), nn.Linear(4, 2))
    file = tmp_path / "s.safetensors"
    save_file(layers.state_dict(), file)

    found = inspect_file(file)
    text = text_of(found)

    assert [t.name for t in found.tensors][::2] == [f"{i}.bias" for i in range(13)]
    assert "0 … 11" in text
    assert "12 × 20" in text
    assert text.count("weight ") == 2
    assert "0 … 11" in text_of(found, depth=0)
    assert "weight " not in text_of(found, depth=0)


def test_values_are_never_read(tmp_path: Path) -> None:
    """A header that promises more than memory could hold, in a file with a hole."""
    size = 2**40
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}})
    file = tmp_path / "huge.safetensors"
    with file.open("wb") as out:
        out.write(len(header).to_bytes(8, "little") + header.encode())
        out.truncate(8 + len(header) + size)

    found = inspect_file(file)

    assert found.total_bytes == size


def test_shards_are_one_checkpoint(tmp_path: Path) -> None:
    save_file({"a.w": torch.zeros(2)}, tmp_path / "one.safetensors")
    save_file({"b.w": torch.zeros(3)}, tmp_path / "two.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    names = {"a.w": "one.safetensors", "b.w": "two.safetensors"}
    index.write_text(json.dumps({"weight_map": names}))

    assert [t.name for t in inspect_file(index).tensors] == ["a.w", "b.w"]

    for bad in ("../one.safetensors", "three.safetensors", "/etc/passwd"):
        index.write_text(json.dumps({"weight_map": {"a.w": bad}}))
        with pytest.raises(rv.UserError, match="no file beside it"):
            inspect_file(index)


def test_a_config_beside_it_says_how_to_build_it(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")

    command = inspect_file(tmp_path / "model.safetensors").advice[1]

    assert command == f"resnet-viz diagram hf:{tmp_path} --weights {tmp_path}/model.safetensors"


def test_a_known_model_of_torchvision_is_recognised(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    file = tmp_path / "sq.pth"
    torch.save(torchvision.models.squeezenet1_1().state_dict(), file)

    assert " torchvision:squeezenet1_1 " in inspect_file(file).advice[1]


def safetensors_of(header: Any, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text


BROKEN = {
    "empty": b"",
    "length beyond the file": safetensors_of({}, 2**63),
    "no JSON": safetensors_of(b"{" * 9),
    "deep JSON": safetensors_of(b"[" * 200_000),
    "a list": safetensors_of([1]),
    "no shape": safetensors_of({"w": {"dtype": "F32", "data_offsets": [0, 0]}}),
    "negative": safetensors_of({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}),
    "beyond the end": safetensors_of({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}),
    "another size": safetensors_of({"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 0]}}),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_safetensors_are_one_line(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "b.safetensors"
    file.write_bytes(BROKEN[kind])

    with pytest.raises(rv.UserError, match="is no safetensors file") as refused:
        inspect_file(file)
    assert "\n" not in str(refused.value)


@given(st.binary(max_size=200))
def test_no_bytes_end_in_anything_but_an_answer(tmp_path_factory: Any, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    for suffix in (".safetensors", ".pt", ".index.json"):
        file = folder / f"x{suffix}"
        file.write_bytes(content)
        with contextlib.suppress(rv.UserError):
            assert inspect_file(file).tensors


def test_other_files_are_one_line(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    for name, words in (
        ("none.pt", "holds no tensors; its entries are: epoch = 3"),
        ("whole.pt", "pickled Python objects"),
        ("missing.pt", "does not exist"),
        (".", "is a folder"),
    ):
        with pytest.raises(rv.UserError, match=words):
            inspect_file(tmp_path / name)


# -- hostile names -----------------------------------------------------------------

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "a\nb\tc",
    "x" * 10_000_000,
    "." * 5_000_000,
    "[bold]x[/]",
    "",
    "\ud800",
]


def test_names_are_only_text_and_only_so_long() -> None:
    tensors = tuple(
        StoredTensor(name=f"{i}{name}", spec=TensorSpec(shape=(2,), dtype="float32"), nbytes=8)
        for i, name in enumerate(HOSTILE)
    )
    found = Checkpoint(
        file="f\x1b[2J", format="torch", tensors=tensors, others=("\x1b]0;title\x07 = 3",)
    )

    text = text_of(found)

    assert not [c for c in text if c != "\n" and not c.isprintable()]
    assert len(text) < 50_000
    assert "[bold]x[/]" in text
    assert "\\x1b" in text


@given(
    st.lists(
        st.tuples(st.text(max_size=12), st.lists(st.integers(0, 5), max_size=3)),
        min_size=1,
        max_size=12,
        unique_by=lambda pair: pair[0],
    )
)
def test_rows_add_up_whatever_the_names(pairs: list[tuple[str, list[int]]]) -> None:
    tensors = tuple(
        StoredTensor(
            name=name,
            spec=TensorSpec(shape=tuple(shape), dtype="float32"),
            nbytes=4 * math.prod(shape),
        )
        for name, shape in pairs
    )
    found = Checkpoint(file="f", format="torch", tensors=tensors)

    text = text_of(found, depth=0)

    assert f"elements    {sum(math.prod(s) for _, s in pairs):,}" in text
    assert found.total_elements == sum(t.spec.numel for t in tensors)


def test_a_pickled_model_is_refused_with_an_advice_that_can_be_followed(tmp_path: Path) -> None:
    file = tmp_path / "whole.pt"
    torch.save(nn.Linear(2, 2), file)
    with pytest.raises(rv.UserError, match="save its state_dict") as caught:
        inspect_file(file)
    # ``inspect`` never unpickles, so it has no such option.
    assert "--unsafe-load" not in str(caught.value)
