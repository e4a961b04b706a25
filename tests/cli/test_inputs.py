"""What goes into the model, from the command line: sizes, values, files, functions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.cli.conftest import Ran

Viz = Callable[..., Ran]

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
    def forward(self, x, mask=None, double=False, k=1):
        y = self.fc(x) if mask is None else self.fc(x * mask)
        return [y * k, y * 2] if double else y * k

def batch(batch_size=2):
    return torch.ones(batch_size, 4), torch.ones(batch_size, 4)

def pair():
    return {"x": torch.ones(2, 4)}, torch.tensor([0, 1])

def broken():
    raise KeyError("gone")
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "nets.py").write_text(NETS)
    torch.save(torch.ones(2, 4), tmp_path / "x.pt")
    torch.save(torch.ones(2, 5), tmp_path / "wrong.pt")
    save_file({"x": torch.ones(2, 4), "mask": torch.ones(2, 4)}, tmp_path / "both.safetensors")
    return "nets.py:Net"


def graph_of(viz: Viz, *arguments: str) -> dict[str, object]:
    ran = viz("diagram", *arguments, "-o", "-", "--format", "json", "--quiet")
    assert ran.code == 0, ran.err
    graph: dict[str, object] = json.loads(ran.out)["value"]["graph"]
    return graph


def labels(graph: dict[str, object]) -> list[str]:
    return [op["label"] for op in graph["inputs"]]  # type: ignore[attr-defined, index]


@pytest.mark.parametrize(
    ("arguments", "inputs", "outputs"),
    [
        ([], ["x"], 1),
        (["--input", "double=true"], ["x"], 2),
        (["--input", "2x4", "--input", "mask=2x4", "--input", "k=3"], ["x", "mask"], 1),
        (["--input-file", "x.pt"], ["x"], 1),
        (["--input-file", "x=x.pt", "--input", "double=true"], ["x"], 2),
        (["--input-file", "both.safetensors"], ["x", "mask"], 1),
        (["--inputs-from", "nets.py:batch"], ["x", "mask"], 1),
        (["--inputs-from", "nets:pair"], ["x"], 1),
    ],
)
def test_every_way_in(
    viz: Viz, net: str, arguments: list[str], inputs: list[str], outputs: int
) -> None:
    graph = graph_of(viz, net, *arguments)
    assert labels(graph) == inputs
    assert len(graph["outputs"]) == outputs  # type: ignore[arg-type]


def test_targets_that_a_function_makes_are_used(viz: Viz, net: str) -> None:
    ran = viz("gradflow", net, "--inputs-from", "nets.py:pair", "-o", "-", "--format", "json")
    assert ran.code == 0
    assert '"cross entropy of the output"' in ran.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input-file", "none.pt"], "does not exist"),
        (["--input-file", "y=x.pt"], "no argument 'y'"),
        (["--input", "maks=2x4"], "did you mean mask?"),
        (["--input", "x=1x3xa"], "is no input"),
        (["--input", "x=2x4", "--input-file", "x.pt"], "give one"),
        (["--input-file", "x.pt", "--inputs-from", "nets.py:batch"], "give one"),
        (["--inputs-from", "nets.py:broken"], "nets.py:20"),
        (["--inputs-from", "nets.py:btach"], "did you mean batch?"),
        (["--input-file", "wrong.pt"], "2×5"),
        (["--input", "2x5", "--input", "k=2"], "2×5"),
        (["--input", "k=word"], "forward raised"),
    ],
)
def test_what_is_wrong_with_an_input_is_one_line_and_2(
    viz: Viz, net: str, arguments: list[str], words: str
) -> None:
    ran = viz("diagram", net, *arguments, "-o", "net.svg")
    assert ran.code == 2
    assert words in ran.error


def test_an_input_of_120_gigabytes_is_drawn_without_them(viz: Viz) -> None:
    graph = graph_of(viz, "resnet18", "--input", "1x3x100000x100000")
    assert graph["inputs"][0]["outputs"][0]["shape"] == [1, 3, 100000, 100000]  # type: ignore[index]
