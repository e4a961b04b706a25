"""Every drawing of ResNet-50 carries the analysis: 16 skips and 16 bottlenecks, by id.

The marks are read back from the files as a stranger's script would read them.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal
from xml.etree import ElementTree

import pytest

import resnet_viz as rv
from resnet_viz.core.report import RenderOptions, Report

Collapse = Literal["blocks", "all", "none"]
COLLAPSES: tuple[Collapse, ...] = ("blocks", "all", "none")


@pytest.fixture(scope="module")
def report() -> Report:
    """ResNet-50 with its gradient flow, at a size that is quick to run."""
    return rv.report(
        "resnet50", input_size=(1, 3, 64, 64), batch_size=2, sections=("gradient flow",)
    )


def expected_skips(report: Report) -> set[tuple[str, str, str]]:
    skips = {(s.fork, s.join, s.kind) for s in report.structure.skips}
    assert Counter(kind for _, _, kind in skips) == {"identity": 12, "projection": 4}
    return skips


def expected_blocks(report: Report) -> set[tuple[str, str]]:
    blocks = {(b.module, b.skip.join) for b in report.structure.blocks_of("bottleneck")}
    assert len(blocks) == 16
    return blocks


@pytest.mark.parametrize("collapse", COLLAPSES)
def test_svg(report: Report, collapse: Collapse) -> None:
    root = ElementTree.fromstring(rv.render(report, "svg", RenderOptions(collapse=collapse)))
    marked = [e.attrib for e in root.iter() if "skip" in e.get("class", "").split()]
    assert len(marked) == 16
    found = {(m["data-fork"], m["data-join"], m["data-skip-kind"]) for m in marked}
    assert found == expected_skips(report)
    flow = report.gradient_flow
    assert flow is not None
    for skip in report.structure.skips:
        mark = next(m for m in marked if m["data-join"] == skip.join)
        assert float(mark["data-share"]) == pytest.approx(flow.share_of(skip), abs=1e-3)
    blocks = [
        e.attrib
        for e in root.iter()
        if "block" in e.get("class", "").split() and e.get("data-block-kind") == "bottleneck"
    ]
    assert len(blocks) == 16
    assert {(b["data-module"], b["data-join"]) for b in blocks} == expected_blocks(report)
    assert {float(b["data-squeeze"]) for b in blocks} == {0.25}


@pytest.mark.parametrize("collapse", COLLAPSES)
def test_dot(report: Report, collapse: Collapse) -> None:
    dot = rv.render(report, "dot", RenderOptions(collapse=collapse)).decode()
    edges = re.findall(r"->.*?\[(.*skip_kind=.*)\]", dot)
    assert len(edges) == 16
    found = {(_value(e, "fork"), _value(e, "join"), _value(e, "skip_kind")) for e in edges}
    assert found == expected_skips(report)
    blocks = [
        line
        for line in re.split(r"\n(?=\s*(?:subgraph|\"|\w))", dot)
        if 'block_kind="bottleneck"' in line or "block_kind=bottleneck" in line
    ]
    assert len(blocks) == 16
    assert {(_value(b, "module"), _value(b, "join")) for b in blocks} == expected_blocks(report)


def _value(attributes: str, name: str) -> str:
    found = re.search(rf'\b{name}=(?:"((?:[^"\\]|\\.)*)"|([\w.]+))', attributes)
    assert found, (name, attributes)
    return found[1] if found[1] is not None else found[2]


def test_the_stages_of_a_plain_net_have_a_box_each() -> None:
    graph = rv.trace("plain20")
    root = ElementTree.fromstring(rv.render(graph, "svg"))
    tints = [e.get("class") for e in root.iter() if "stage" in e.get("class", "").split()]
    assert len(tints) == 3
    assert len(set(tints)) == 3
