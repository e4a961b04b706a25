"""``--color-by`` and ``--times``: what they draw, what they measure for it, what they refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from resnet_viz.core.schema import from_json
from resnet_viz.reporting.page.data import read_page
from tests.cli.conftest import Ran

Viz = Callable[..., Ran]


@pytest.mark.parametrize(
    ("by", "of"),
    [
        ("params", "parameters"),
        ("macs", "MACs of one forward"),
        ("memory", "memory of the outputs"),
        ("time", "time of one forward on cpu"),
        ("gradient", "gradient norm of the output"),
        ("attribution", "absolute relevance of the output"),
    ],
)
def test_a_diagram_measures_what_its_colours_need(viz: Viz, by: str, of: str) -> None:
    ran = viz("diagram", "resnet20", "--color-by", by, "--device", "cpu", "-o", "a.svg")
    assert ran.code == 0, ran.err
    svg = Path("a.svg").read_text("utf-8")
    assert f"{of}, log scale" in svg or f"{of}, linear scale" in svg
    assert len(re.findall(r'class="(?:op|box) face [^"]*rel(?:box)?-\d"', svg)) > 2


def test_nothing_is_measured_for_what_is_known(viz: Viz) -> None:
    for by in ("kind", "params", "macs", "memory"):
        ran = viz("diagram", "resnet20", "--color-by", by, "--device", "meta", "-o", f"{by}.svg")
        assert ran.code == 0, ran.err
    ran = viz("diagram", "resnet20", "--color-by", "memory", "-o", "a.json")
    assert from_json(Path("a.json").read_text()).measurements == ()


@pytest.mark.parametrize("by", ["time", "gradient", "attribution"])
def test_a_model_without_values_is_refused_in_one_line(viz: Viz, by: str) -> None:
    ran = viz("diagram", "resnet20", "--color-by", by, "--device", "meta", "-o", "a.svg")
    assert ran.code == 2
    assert "--device meta makes no values" in ran.error
    assert "leave it or --color-by out" in ran.error
    assert not Path("a.svg").exists()


def test_a_report_has_times_in_table_json_and_page(viz: Viz) -> None:
    more = ("--no-relevance", "--no-stages", "--method", "saliency", "--trust", "off")
    ran = viz(
        "report", "resnet20", "--times", *more, "--batch-size", "2", "-o", "a.html", "-o", "a.json"
    )
    assert ran.code == 0, ran.err
    page = Path("a.html").read_bytes()
    assert ">Time</th>" in page.decode()
    assert "time" in [row["by"] for row in read_page(page)["colourings"]]
    document = json.loads(Path("a.json").read_text())
    assert any(m["type"] == "OpTimes" for m in document["value"]["measurements"])
    report = from_json(Path("a.json").read_text())
    assert len(report.op_times.ops) == len(report.graph.ops)
