"""``--layer list`` and ``--method list``: what there is, on the model at hand."""

from __future__ import annotations

import json

from click.testing import CliRunner

from resnet_viz.cli import cli
from resnet_viz.measuring.attributions.methods import METHODS

MODEL = ["attribute", "resnet20", "-q", "--device", "cpu"]


def run(*more: str) -> str:
    result = CliRunner().invoke(cli, [*MODEL, *more])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_layers_come_with_shapes_and_say_what_auto_takes() -> None:
    lines = run("--layer", "list").splitlines()
    (auto,) = (line for line in lines if " auto" in line and line.startswith("layer3"))
    assert "1×64×8×8" in auto
    (inside,) = (line for line in lines if line.startswith("layer2.1.conv1 "))
    assert "no cut" in inside
    (block,) = (line for line in lines if line.startswith("layer2.1 "))
    assert "no cut" not in block


def test_every_method_is_listed_and_what_is_wrong_here_says_why() -> None:
    found = json.loads(run("--method", "list", "--json"))
    assert [row["name"] for row in found["methods"]] == list(METHODS)
    refused = {row["name"]: row["refused"] for row in found["methods"] if row["refused"]}
    assert set(refused) == {"lrp"}
    assert "use deep_lift" in refused["lrp"]


def test_both_at_once_as_tables() -> None:
    text = run("--layer", "list", "--method", "list")
    assert "layer3.2" in text
    assert all(name in text for name in METHODS)
