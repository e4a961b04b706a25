"""The river of gradient: it parts as the shares say, meets again, and is drawn as wide as it is."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from resnet_viz.core.gradient_flow import EdgeShare, GradientFlow
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.drawing.river import FULL, LEAST, MOST, TRUNK, river, width_of
from resnet_viz.reporting.drawing.scene import scene
from resnet_viz.reporting.formats.to_dot import render_dot
from resnet_viz.reporting.formats.to_svg import render_svg
from tests.reporting import synthetic

MODES = ("blocks", "all", "none")


def flow_of(report: Report) -> GradientFlow:
    flow = report.gradient_flow
    assert flow is not None
    return flow


def with_shares(report: Report, shares: list[EdgeShare]) -> Report:
    flow = replace(flow_of(report), shares=tuple(shares))
    return replace(report, measurements=(flow, *report.measurements[1:]))


def signed(report: Report, fork: str, share: float) -> Report:
    """The first edge of this fork carries ``share``, the others the rest in equal parts."""
    found = [s for s in flow_of(report).shares if s.src == fork]
    rest = (1 - share) / (len(found) - 1)
    new = {s.dst: share if i == 0 else rest for i, s in enumerate(found)}
    return with_shares(
        report,
        [replace(s, share=new[s.dst]) if s.src == fork else s for s in flow_of(report).shares],
    )


@pytest.mark.parametrize("name", ["resnet50", "se_resnet50", "vit", "densenet"])
def test_what_parts_meets_again(name: str) -> None:
    report = synthetic.ALL[name]()
    found = river(report)
    assert found is not None
    entering: dict[str, float] = {}
    leaving: dict[str, float] = {}
    for (src, dst), amount in found.amounts.items():
        leaving[src] = leaving.get(src, 0.0) + amount
        entering[dst] = entering.get(dst, 0.0) + amount
    for op, amount in found.at.items():
        assert leaving.get(op, amount) == pytest.approx(amount, abs=1e-9)
        assert entering.get(op, amount) == pytest.approx(amount, abs=1e-9)
    assert found.whole
    assert all(found.at[op] == 1.0 for op in found.whole)


def test_at_a_fork_on_every_way_an_edge_carries_its_share() -> None:
    report = synthetic.resnet50()
    found = river(report)
    assert found is not None
    forks = {s.src for s in flow_of(report).shares}
    assert forks <= set(found.whole)
    for s in flow_of(report).shares:
        assert found.amounts[s.src, s.dst] == pytest.approx(s.share)


def test_a_branch_in_a_branch_is_a_stream_of_a_stream() -> None:
    report = synthetic.se_resnet50()
    found = river(report)
    assert found is not None
    gate = next(s for s in report.structure.skips if s.kind == "gate")
    inner = {s.dst: s.share for s in flow_of(report).shares if s.src == gate.fork}
    assert 0 < found.at[gate.fork] < 1
    for dst, share in inner.items():
        assert found.amounts[gate.fork, dst] == pytest.approx(share * found.at[gate.fork])


def test_a_fork_that_cannot_be_told_apart_dries_up_until_all_meets_again() -> None:
    report = synthetic.resnet50()
    skip = report.structure.skips[4]
    kept = [s for s in flow_of(report).shares if s.src != skip.fork]
    found = river(with_shares(report, kept))
    assert found is not None
    assert not any(src == skip.fork for src, _ in found.amounts)
    assert skip.branch[1] not in found.at
    assert found.at[skip.join] == 1.0


@pytest.mark.parametrize("share", [math.nan, math.inf])
def test_a_share_that_is_no_number_is_no_width(share: float) -> None:
    report = synthetic.resnet50()
    fork = report.structure.skips[0].fork
    svg = render_svg(signed(report, fork, share), RenderOptions(collapse="none")).decode()
    assert "nan" not in svg.partition("</style>")[2].lower()
    assert "inf" not in svg.partition("</style>")[2].lower()


@pytest.mark.parametrize(
    ("amount", "width"), [(0.0, LEAST), (1.0, FULL), (-0.5, FULL / 2), (40.0, MOST)]
)
def test_widths_are_bounded_and_know_no_sign(amount: float, width: float) -> None:
    assert width_of(amount) == width


def test_only_one_stream_is_left_without_gradients_and_nothing_is_drawn_of_it() -> None:
    report = synthetic.resnet(measured=False)
    assert river(report) is None
    data = diagram(report, RenderOptions())
    assert "river" not in data
    assert all(len(edge) == 7 for plan in data["plans"] for edge in plan["edges"])
    svg = render_svg(report, RenderOptions()).decode()
    assert not re.search(r"river|trunk|hollow", svg)


@pytest.mark.parametrize("mode", MODES)
def test_the_svg_draws_trunk_branch_and_shortcut_in_their_widths(mode: str) -> None:
    report = synthetic.resnet50()
    root = ET.fromstring(render_svg(report, RenderOptions(collapse=mode)))  # type: ignore[arg-type]
    lines = [e for e in root.iter() if "river" in (e.get("class") or "").split()]
    trunks = [e for e in lines if "trunk" in (e.get("class") or "")]
    assert trunks
    assert {float(e.get("stroke-width", "0")) for e in trunks} == {FULL}
    drawn = {round(float(e.get("stroke-width", "0")), 1) for e in lines} - {FULL}
    carried = {round(width_of(s.share), 1) for s in flow_of(report).shares}
    assert drawn <= carried
    if mode == "none":
        skip = report.structure.skips[1]
        share = next(s.share for s in flow_of(report).shares if s.dst == skip.branch[0])
        wide = [e for e in lines if float(e.get("stroke-width", "0")) == width_of(share)]
        assert len(wide) >= len(skip.branch), "the width goes on along the whole branch"


@pytest.mark.parametrize("mode", MODES)
def test_what_pulls_against_the_rest_is_hollow(mode: str) -> None:
    report = synthetic.resnet50()
    plain = render_svg(report, RenderOptions(collapse=mode)).decode()  # type: ignore[arg-type]
    assert 'class="hollow"' not in plain
    for first in (-0.4, 1.4):
        odd = signed(report, report.structure.skips[1].fork, first)
        svg = render_svg(odd, RenderOptions(collapse=mode)).decode()  # type: ignore[arg-type]
        # A closed stage has room for its skips, not for the branches under them.
        skip = flow_of(odd).share_of(report.structure.skips[1])
        assert skip is not None
        assert ('class="hollow"' in svg) == (mode != "all" or skip < 0)
        assert "pulls against" in svg


def test_dot_has_the_same_widths_and_says_them() -> None:
    report = signed(synthetic.resnet50(), synthetic.resnet50().structure.skips[1].fork, -0.4)
    drawn = scene(report, RenderOptions())
    streams = [e for e in drawn.edges if e.kind == "plain" and e.carries is not None]
    assert any(e.carries[1] == TRUNK for e in streams if e.carries)
    source = render_dot(report, RenderOptions()).decode()
    for edge in streams:
        assert edge.carries is not None
        line = next(x for x in source.splitlines() if f"\t{edge.src} -> {edge.dst} " in x)
        assert f"penwidth={width_of(edge.carries[0]):g}" in line.replace('"', "")
    assert ":invis:" in source
