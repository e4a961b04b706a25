"""``compare`` as a gate in CI: its exit code, its differences and its pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from resnet_viz.core.comparison import Comparison
from resnet_viz.core.schema import from_json
from tests.cli.conftest import Ran

Viz = Callable[..., Ran]

QUICK = ("--batch-size", "2", "--stats", "norms", "-q")
NET = """
import torch
from torch import nn

def net(between, out=2):
    return nn.Sequential(nn.Linear(4, 4), between, nn.Linear(4, out))

def relu(): return net(nn.ReLU())
def gelu(): return net(nn.GELU())
def again():
    made = net(nn.ReLU())
    with torch.no_grad():
        made[0].weight.mul_(2)
    return made
def wider(): return net(nn.ReLU(), 3)
"""


@pytest.mark.parametrize(("other", "code"), [("relu", 0), ("again", 0), ("gelu", 1), ("wider", 1)])
def test_it_exits_with_1_where_anything_but_names_and_values_differs(
    viz: Viz, other: str, code: int
) -> None:
    Path("nets.py").write_text(NET)
    both = ("nets.py:relu", f"nets.py:{other}", "--input", "2x4", *QUICK)
    ran = viz("compare", *both, "--json", "--exit-code")
    assert ran.code == code, ran.err
    made = from_json(ran.out)
    assert isinstance(made, Comparison)
    assert made.equal == (code == 0)
    assert viz("compare", *both).code == 0


def test_json_lists_what_differs_by_path(viz: Viz) -> None:
    ran = viz("compare", "plain20", "resnet20", *QUICK, "--json")
    found = json.loads(ran.out)["value"]["differences"]
    assert {"kind": "added", "path_a": "", "path_b": "layer1.0/add#0"}.items() <= next(
        d for d in found if d["kind"] == "added"
    ).items()
    assert {d["b"] for d in found if d["what"] == "skip"} == {"identity"}


def test_a_picture_of_two_models_side_by_side(viz: Viz) -> None:
    ran = viz("compare", "plain20", "resnet20", *QUICK, "-o", "both.svg", "-o", "both.html")
    assert ran.code == 0, ran.err
    svg = ElementTree.parse("both.svg").getroot()
    rows = [g for g in svg.iter() if g.get("class", "").startswith("pair ")]
    assert [row.get("data-pairs") for row in rows] == ["0", "1 2 3", "4", "5 6", "7", "8 9", "10"]
    assert "identity skip" in Path("both.html").read_text()
