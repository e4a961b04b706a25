"""Where ``forward`` raises, every output is written, one line is said, and the code is 2 or 3."""

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
from torchvision.models.resnet import Bottleneck, ResNet

def narrow():
    model = ResNet(Bottleneck, [1, 2, 1, 1])
    model.layer2[1].conv2 = nn.Conv2d(96, 128, 3, padding=1, bias=False)
    return model

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        x = self.conv(x)
        raise KeyError("lost")

class Trains(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 4)
    def forward(self, x):
        if self.training:
            raise ValueError("no boxes")
        return self.linear(x) + x[:, :4]
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)


@pytest.mark.parametrize(("given", "code"), [((), 3), (("--input", "1x3x64x64"), 2)])
def test_every_output_is_written_and_the_code_says_whose_input(
    viz: Viz, given: tuple[str, ...], code: int
) -> None:
    ran = viz("report", "nets.py:narrow", *given, "-o", "a.html", "-o", "b.svg", "-o", "c.json")
    assert ran.code == code
    for words in ("layer2.1.conv2", "torchvision/models/resnet.py:", "hint: ", "in_channels=128"):
        assert words in ran.error
    assert ran.err.count("Wrote ") == 3
    assert ran.err.splitlines()[-1] == ran.error
    assert "raised here" in Path("a.html").read_text("utf-8")
    assert "raised here" in Path("b.svg").read_text("utf-8")
    report = rv.from_json(Path("c.json").read_text("utf-8"))
    assert report.graph.failure.op == "layer2.1.conv2/conv2d#0"
    assert [b.kind for b in report.structure.blocks] == ["bottleneck"] * 2
    assert len(report.missing) == 2


def test_without_o_the_usual_file_is_written(viz: Viz) -> None:
    assert viz("diagram", "nets.py:Plain").code == 3
    assert "raised here" in Path("Plain.svg").read_text("utf-8")


@pytest.mark.parametrize("command", ["summary", "gradflow", "attribute"])
def test_what_is_printed_begins_with_what_happened(viz: Viz, command: str) -> None:
    ran = viz(command, "nets.py:Plain", "--input", "1x3x8x8")
    assert ran.code == 2
    assert "KeyError: 'lost'" in ran.error
    assert ran.out.startswith("forward raised here: KeyError: 'lost'")
    assert "nets.py:17" in ran.out


@pytest.mark.parametrize("command", ["summary", "diagram", "report"])
def test_json_holds_the_failure(viz: Viz, command: str) -> None:
    ran = viz(command, "nets.py:Plain", "--json")
    assert ran.code == 3
    failure = rv.from_json(ran.out).graph.failure
    assert (failure.error, failure.source_line) == ("KeyError: 'lost'", "nets.py:17")


def test_a_focus_that_never_ran_does_not_hide_why(viz: Viz) -> None:
    ran = viz(
        "diagram", "nets.py:narrow", "--input", "1x3x32x32", "--focus", "layer4", "-o", "a.svg"
    )
    assert ran.code == 2
    assert "layer2.1.conv2" in ran.error
    assert "raised here" in Path("a.svg").read_text("utf-8")


@pytest.mark.parametrize(("given", "code"), [((), 3), (("--input", "2x8"), 2)])
def test_a_forward_that_raises_when_measured_leaves_its_structure(
    viz: Viz, given: tuple[str, ...], code: int
) -> None:
    ran = viz("gradflow", "nets.py:Trains", *given, "-o", "a.json")
    assert ran.code == code
    assert "no boxes" in ran.error
    report = rv.from_json(Path("a.json").read_text("utf-8"))
    assert report.graph.failure is None
    assert report.graph.ops[0].kind == "linear"
    assert ["no boxes" in m.reason for m in report.missing] == [True]


def test_in_a_report_it_is_one_section_less(viz: Viz) -> None:
    assert viz("report", "nets.py:Trains", "-o", "a.json").code == 0
    ran = viz("report", "nets.py:Trains", "--input", "2x8", "-o", "b.json")
    assert ran.code == 2
    for name in ("a.json", "b.json"):
        report = rv.from_json(Path(name).read_text("utf-8"))
        assert "gradient flow" in [m.section for m in report.missing]


def test_ctrl_c_while_it_is_drawn_leaves_nothing(viz: Viz, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("resnet_viz.reporting.formats.to_json.render_json", interrupted)
    assert viz("diagram", "nets.py:Plain", "-o", "a.json").code == 130
    assert not Path("a.json").exists()


def test_a_message_cannot_drive_the_terminal(viz: Viz, tmp_path: Path) -> None:
    text = NETS.replace('"lost"', r'"\x1b[2J\u202e\n" + "x" * 9000').replace(
        "KeyError", "Exception"
    )
    (tmp_path / "bad.py").write_text(text)
    ran = viz("diagram", "bad.py:Plain")
    assert ran.code == 3
    assert ran.error.isprintable()
    assert r"\x1b[2J\u202e" in ran.error
    assert len(ran.error) < 600


def test_nothing_is_announced_that_a_failed_forward_leaves_out(viz: Viz) -> None:
    fine = viz("diagram", "nets.py:Trains", "--input", "1x8", "--verify")
    assert "replaying the trace" in fine.err
    assert "what the backward keeps" in fine.err
    failed = viz("diagram", "nets.py:Plain", "--verify")
    assert failed.code == 3
    assert "replaying the trace" not in failed.err
    assert "what the backward keeps" not in failed.err
