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
from resnet_viz.reporting.remarks import remarks
from tests.reporting import synthetic

REPORTS = {name: make() for name, make in synthetic.ALL.items()}
_LINE = re.compile(
    r"""
    (?:  \w+(?:\["[^"<>`]*(?:<br/>[^"<>`]*)*"\] | \(\("[^"]*"\)\) | \(\["[^"]*"\]\))  # a node
      |  \w+\ -->(?:\|"[^"<>`]*"\|)?\ \w+  |  \w+\ ==>\|"[^"<>`]*"\|\ \w+  # an edge
      |  subgraph\ \w+\["[^"<>`]*"\]  |  end
      |  linkStyle\ [\d,]+\ [\w:,#\ -]+  |  classDef\ [\w:,#\ -]+  |  class\ [\w,]+\ [\w-]+
      |  %%.*
    )""",
    re.VERBOSE,
)


def lines(report: Report, **options: object) -> list[str]:
    asked = RenderOptions(**options)
    text = render(report, "mmd", asked).decode()
    head, body = text.split(f"\nflowchart {asked.direction}\n")
    assert head.startswith("---\ntitle: ")
    assert isinstance(json.loads(head.splitlines()[1].removeprefix("title: ")), str)
    return [line.strip() for line in body.splitlines()]


@pytest.mark.parametrize("mode", ["blocks", "all", "none"])
@pytest.mark.parametrize("name", [name for name in REPORTS if name != "densenet"])
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


@pytest.mark.parametrize("mode", ["blocks", "none"])
def test_what_github_would_refuse_is_closed_and_said(mode):
    with remarks() as heard:
        body = lines(REPORTS["densenet"], collapse=mode, edge_shapes=True)
    assert sum("-->" in line or "==>" in line for line in body) <= 500
    assert sum(map(len, body)) < 50_000
    assert all(_LINE.fullmatch(line) for line in body)
    (said,) = [line for line in body if line.startswith("%%")]
    assert "more than GitHub draws" in said
    (heard_once,) = heard
    assert "closed with the skips inside them" in heard_once
    # What is left is still the whole network: its stem, its stages, its head.
    assert sum("DenseBlock" in line for line in body) == 4


def test_five_hundred_ops_without_modules_fit_too():
    net = synthetic.Net("flat", (1, 8))
    x = net.x
    for _ in range(510):
        x = net.op("relu", "", x)
    for mode in ("blocks", "none"):
        body = lines(net.report(x), collapse=mode, fold_repeats=False)
        assert 0 < sum("-->" in line for line in body) <= 500


def test_styles_name_the_right_edges():
    body = lines(REPORTS["resnet50"])
    edges = [line for line in body if "-->" in line or "==>" in line]
    styled = [line.split()[1].split(",") for line in body if line.startswith("linkStyle")]
    numbers = {int(n) for group in styled for n in group}
    assert numbers == {i for i, line in enumerate(edges) if "==>" in line}


def test_what_is_asked_for_is_in_the_text():
    report = REPORTS["resnet18"]
    body = "\n".join(lines(report, direction="LR", formulas=True, edge_shapes=True))
    assert body.count("H#40;x#41; #61; F#40;x#41; #43; x") == 5
    assert body.count("H#40;x#41; #61; F#40;x#41; #43; Wₛx") == 3
    assert body.count('-->|"F#40;x#41;"|') == 8
    assert body.count("1×64×56×56") == 2  # the op that makes it, and its first way out
    text = render(report, "mmd", RenderOptions(theme="dark")).decode()
    assert "config:\n  theme: dark\n---\nflowchart TB\n" in text
    inner = "\n".join(lines(report, expand=("layer2.1",)))
    assert 'subgraph b6["layer2.1' in inner
    assert "layer2.0 · basic<br/>" in inner


@pytest.mark.parametrize("label", ["1. x", "- x", "+ x", "__x__", "*x*", "`x`", "a. b."])
def test_no_label_is_read_as_markdown(label):
    net = synthetic.Net(label, (1, 8, 8, 8))
    y = net.conv("a", net.x, 8, 3)
    net.types["a"] = label
    body = "\n".join(lines(net.report(net.op("relu", "a", y)), collapse="all"))
    # A list, an emphasis or code needs one of these as it stands.
    assert not re.search(r"[*_`]|\d\.\s|[\"\s][-+]\s", re.sub(r"-->|==>", "", body))


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
