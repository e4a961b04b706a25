"""``--verify``: each output says one honest line; a wrong trace ends the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import resnet_viz as rv
from tests.cli.conftest import Ran

Viz = Callable[..., Ran]

NETS = """
import torch
from torch import nn

class Fine(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
    def forward(self, x):
        return self.conv(x) + x

class Reads(Fine):
    def forward(self, x):
        return self.conv(x) * x.sum().item()

class Hides(Fine):
    def forward(self, x):
        y = self.conv(x)
        with torch._C.DisableTorchFunction():
            y = torch.relu(y)
        return y + x
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)


SIZE = ("--input", "1x3x8x8")


def test_a_verified_trace_says_so_in_every_output(viz: Viz) -> None:
    ran = viz("summary", "nets.py:Fine", *SIZE, "--verify")
    assert ran.code == 0
    words = " ".join(ran.out.split())
    assert "proof verified in eval mode: traced again and equal; 2 ops replayed" in words
    ran = viz("diagram", "nets.py:Fine", *SIZE, "--verify", "-o", "a.json", "-o", "a.txt")
    assert ran.code == 0
    assert "Proof: verified in eval mode: " in ran.err
    assert "verified in eval mode" in " ".join(Path("a.txt").read_text("utf-8").split())
    made = rv.from_json(Path("a.json").read_text("utf-8"))
    assert made.proof.verdict == "verified"
    assert (made.proof.ops, made.proof.outputs, made.proof.macs) == (2, 1, made.graph.total_macs)


def test_nobody_asked(viz: Viz) -> None:
    assert viz("diagram", "nets.py:Fine", *SIZE, "-o", "a.txt", "-o", "a.json").code == 0
    assert "not asked for (--verify)" in Path("a.txt").read_text("utf-8")
    assert rv.from_json(Path("a.json").read_text("utf-8")).proof is None


def test_a_refusal_is_told_and_the_report_is_written(viz: Viz) -> None:
    ran = viz("report", "nets.py:Reads", *SIZE, "--verify", "-o", "a.html")
    assert ran.code == 0
    page = Path("a.html").read_text("utf-8")
    line = "refused: item gives values back to Python in the root module (nets.py:14)"
    assert f"<dt>Proof</dt><dd>{line}" in page
    assert f"Proof: {line}" in ran.err


def test_a_trace_that_is_wrong_is_not_drawn(viz: Viz) -> None:
    assert viz("diagram", "nets.py:Hides", *SIZE, "-o", "a.svg").code == 0
    ran = viz("diagram", "nets.py:Hides", *SIZE, "--verify", "-o", "b.svg")
    assert ran.code == 3
    assert "aten.relu.default ran in the root module outside every op" in ran.error
    assert not Path("b.svg").exists()
