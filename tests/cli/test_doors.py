"""Other doors in, from the command line: programs, wrappers, checkpoints, no memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from resnet_viz.sources.variants import build
from tests.cli.conftest import Ran

Viz = Callable[..., Ran]

NETS = """
import torch
from torch import nn
wrapped = nn.DataParallel(nn.Linear(3, 2))

class Reads(nn.Module):
    def __init__(self):
        super().__init__()
        self.rate = torch.linspace(0, 1, 3)[1].item()
        self.fc = nn.Linear(3, 2)
    def forward(self, x):
        return self.fc(x) * self.rate
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "net.pt2"
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU()).eval()
    torch.export.save(torch.export.export(model, (torch.ones(2, 3),)), file)
    return file


def test_what_was_taken_off_is_said_and_written(viz: Viz, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    note = "DataParallel taken off: Linear inside it is shown"

    ran = viz("diagram", "nets.py:wrapped", "-o", "net.html", "-o", "net.txt")

    assert ran.code == 0
    assert f"Note: {note}" in ran.err.splitlines()
    assert note in Path("net.html").read_text()
    assert note in Path("net.txt").read_text()
    assert f"Note: {note}" in viz("summary", "nets.py:wrapped").err
    assert viz("diagram", "nets.py:wrapped", "-q").err == ""


def test_a_program_is_drawn_under_its_name(viz: Viz, program: Path) -> None:
    ran = viz("diagram", "net.pt2")

    assert ran.code == 0
    assert Path("net.svg").is_file()
    assert "Note: a program of torch.export" in ran.err
    assert "Linear" in viz("summary", "net.pt2").out


def test_inspect_prints_the_tree_and_what_to_do_next(viz: Viz, tmp_path: Path) -> None:
    save_file(build("resnet20").state_dict(), tmp_path / "r.safetensors")

    ran = viz("inspect", "r.safetensors")
    shallow = viz("inspect", "r.safetensors", "--depth", "0")
    value = json.loads(viz("inspect", "r.safetensors", "--json").out)["value"]

    assert ran.code == 0
    assert "Try: resnet-viz diagram resnet20 --weights r.safetensors" in ran.out
    assert len(shallow.out.splitlines()) < len(ran.out.splitlines())
    assert len(value["tensors"]) == len(build("resnet20").state_dict())
    command = value["advice"][1].split()[1:]
    assert viz(*command, "-o", "r.svg").code == 0


def test_inspect_of_no_checkpoint_is_one_line(viz: Viz, tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"no pickle")

    for file, words in (("none.pt", "does not exist"), ("broken.pt", "is no torch file")):
        ran = viz("inspect", file)
        assert ran.code == 2
        assert words in ran.error


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_weights_where_a_model_belongs_point_to_inspect(
    suffix: str, viz: Viz, tmp_path: Path
) -> None:
    file = tmp_path / f"w.{suffix}"
    save_file({"w": torch.ones(1)}, file) if suffix != "pt" else torch.save({}, file)

    ran = viz("diagram", f"w.{suffix}")

    assert ran.code == 2
    assert f"resnet-viz inspect w.{suffix}" in ran.error
    assert f"--weights w.{suffix}" in ran.error


def test_unsafe_load_opens_what_is_pickled(viz: Viz, tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 2), tmp_path / "whole.pt")

    assert "--unsafe-load" in viz("summary", "whole.pt").error
    assert "Linear" in viz("summary", "whole.pt", "--unsafe-load").out


@pytest.mark.parametrize("model", ["resnet20", "nets.py:Reads"])
def test_without_memory_the_numbers_are_the_same(model: str, viz: Viz, tmp_path: Path) -> None:
    """Also where the code of the model reads values while it builds."""
    (tmp_path / "nets.py").write_text(NETS)

    ran = viz("summary", model, "--device", "meta")

    assert ran.code == 0
    assert ran.out == viz("summary", model).out


def test_what_measures_wants_memory(viz: Viz) -> None:
    for command in ("gradflow", "attribute", "report"):
        ran = viz(command, "resnet20", "--device", "meta")
        assert ran.code == 2
        assert "summary or diagram" in ran.error
    ran = viz("summary", "resnet20", "--device", "meta", "--weights", "w.pt")
    assert ran.code == 2
    assert "leave it or --weights out" in ran.error
    assert list(Path().glob("resnet20*")) == []


def test_own_code_of_a_config_is_named_with_its_flag(viz: Viz, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    config = {"model_type": "mine", "auto_map": {"AutoModel": "modeling_mine.Mine"}}
    (tmp_path / "config.json").write_text(json.dumps(config))

    ran = viz("diagram", "hf:.")

    assert ran.code == 2
    assert "modeling_mine.py" in ran.error
    assert "--trust-remote-code" in ran.error
