"""Mermaid: marks as in the analysis, and labels that no name can leave."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting import render
from tests.reporting import synthetic

REPORTS = {name: make() for name, make in synthetic.ALL.items()}
_LINE = re.compile(
    r"""
    (?:  \w+(?:\["[^"<>`]*(?:<br/>[^"<>`]*)*"\] | \(\("[^"]*"\)\))   # a node
      |  \w+\ -->\ \w+  |  \w+\ ==>\|"[^"<>`]*"\|\ \w+               # an edge
      |  subgraph\ \w+\["[^"<>`]*"\]  |  end
      |  linkStyle\ \d+\ [\w:,#\ -]+  |  classDef\ [\w:,#\ -]+  |  class\ [\w,]+\ [\w-]+
      |  %%.*
    )""",
    re.VERBOSE,
)


def lines(report: Report, **options: object) -> list[str]:
    text = render(report, "mmd", RenderOptions(**options)).decode()
    head, body = text.split("\nflowchart TB\n")
    assert head.startswith("---\ntitle: ")
    assert isinstance(json.loads(head.splitlines()[1].removeprefix("title: ")), str)
    return [line.strip() for line in body.splitlines()]


@pytest.mark.parametrize("mode", ["blocks", "all", "none"])
@pytest.mark.parametrize("name", REPORTS)
def test_every_skip_is_one_thick_arrow_and_every_block_has_its_class(name, mode):
    report = REPORTS[name]
    body = lines(report, collapse=mode)
    arrows = [re.search(r'==>\|"(\w+)', line) for line in body]
    kinds = Counter(found[1] for found in arrows if found)
    assert kinds == Counter(skip.kind for skip in report.structure.skips)
    classes = {
        line.split()[2]: len(line.split()[1].split(","))
        for line in body
        if line.startswith("class ")
    }
    assert classes == Counter(b.kind.replace(" ", "-") for b in report.structure.blocks)
    assert sum(line.startswith("subgraph") for line in body) == body.count("end")
    assert all(_LINE.fullmatch(line) for line in body)


def test_resnet50_fits_what_github_draws():
    text = render(REPORTS["resnet50"], "mmd").decode()
    assert len(text) < 50_000
    assert len(re.findall(r"-->|==>", text)) < 500
    assert "1×1 64 ▷ 3×3 64 ◁ 1×1 256" in text


def test_too_many_edges_are_said():
    body = lines(REPORTS["densenet"], collapse="none")
    assert any(re.fullmatch(r"%% \d+ edges: GitHub draws at most 500", line) for line in body)


def test_styles_name_the_right_edges():
    body = lines(REPORTS["resnet50"])
    edges = [line for line in body if "-->" in line or "==>" in line]
    styled = {int(line.split()[1]) for line in body if line.startswith("linkStyle")}
    assert styled == {i for i, line in enumerate(edges) if "==>" in line}


@given(st.text(min_size=1, max_size=12).map(lambda s: s.replace(".", "")).filter(bool))
@example('"]; click a "javascript:alert(1)"')
@example("`md`")
@example("end")
@example("#quot;\n%%{init: {}}%%")
def test_no_name_leaves_its_label(name):
    net = synthetic.Net(name, (1, 8, 8, 8))
    y = net.conv(f"{name}.{name}", net.x, 8, 3)
    net.types[name] = name
    branch = net.since(0)
    x = net.op("add", name, net.x, y)
    net.block("basic", name, 0, net.close(net.x, x, "identity", branch))
    for mode in ("blocks", "none"):
        body = lines(net.report(x), collapse=mode)
        assert all(_LINE.fullmatch(line) for line in body)
