"""Diagrams coloured by attribution: steps, signs, streams that add up, and the default."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.core.errors import UserError
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting import render
from resnet_viz.reporting.colouring import COLOURINGS, step_of
from resnet_viz.reporting.diagram import diagram
from resnet_viz.reporting.palette import COLOUR_STEPS, DARK, LIGHT
from resnet_viz.reporting.relevance_river import relevance_river
from resnet_viz.reporting.river import width_of
from tests.reporting import attributed, synthetic
from tests.reporting.test_folding import repeating

SVG = "{http://www.w3.org/2000/svg}"
BY = RenderOptions(color_by="attribution", collapse="none")


@pytest.fixture(scope="module")
def report() -> Report:
    return attributed.everything(synthetic.resnet18(), inputs=1, ranks=1)


def test_every_op_is_filled_by_its_absolute_relevance(report: Report) -> None:
    root = ElementTree.fromstring(render(report, "svg", BY))
    relevance = report.attributions.relevance  # type: ignore[union-attr]
    assert relevance is not None
    steps = {}
    for group in root.iter(f"{SVG}g"):
        if group.get("class") == "node":
            css = group.findall(f"{SVG}rect")[-1].attrib["class"]
            steps[group.attrib["data-op"]] = [int(s) for s in re.findall(r"rel-(\d)", css)]
    for op in relevance.ops:
        assert len(steps[op.op]) == 1
    by_size = sorted(relevance.ops, key=lambda r: r.amount.absolute)
    drawn = [steps[r.op][0] for r in by_size]
    assert drawn == sorted(drawn)
    assert (drawn[0], drawn[-1]) == (0, COLOUR_STEPS - 1)


def test_signs_are_marks_and_not_only_colours(report: Report) -> None:
    svg = render(report, "svg", BY).decode()
    relevance = report.attributions.relevance  # type: ignore[union-attr]
    assert relevance is not None
    plus = sum(r.amount.signed > 0 for r in relevance.ops)
    minus = sum(r.amount.signed < 0 for r in relevance.ops)
    assert svg.count('class="sign plus"') == plus + 1  # and the legend's
    assert svg.count('class="sign minus"') == minus + 1
    assert "absolute relevance of the output, " in svg
    assert "speaks against it" in svg


@pytest.mark.parametrize("collapse", ["blocks", "all", "none"])
def test_arcs_are_as_wide_as_their_operand(report: Report, collapse: str) -> None:
    options = RenderOptions(color_by="attribution", collapse=collapse)  # type: ignore[arg-type]
    data = diagram(report, options)
    relevance = report.attributions.relevance  # type: ignore[union-attr]
    assert relevance is not None
    for skip in data["skips"]:
        found = {o.role: o.amount.signed for o in relevance.operands_of(skip["join"])}
        part = found["shortcut"] / relevance.difference
        assert skip["width"] == width_of(part)
        assert ("against" in skip) == (part < 0)
        assert skip["branch"] == width_of(found["residual branch"] / relevance.difference)
        assert "share" not in skip
    json.dumps(data)


def test_streams_part_and_meet_without_loss(report: Report) -> None:
    relevance = report.attributions.relevance  # type: ignore[union-attr]
    assert relevance is not None
    river = relevance_river(report.graph, relevance)
    for skip in report.structure.skips:
        into = [a for (_, dst), a in river.amounts.items() if dst == skip.join]
        assert len(into) == 2
        assert sum(into) == pytest.approx(1.0)
    amounts = {r.op: r.amount.signed / relevance.difference for r in relevance.ops}
    for op in report.graph.ops:
        leaving = [a for (src, _), a in river.amounts.items() if src == op.id]
        targets = {e.dst for e in report.graph.edges_out(op.id)}
        if len(targets) > 1 and len(leaving) == len(targets):
            parts = {
                e.dst: len(report.graph.edges_in(e.dst)) for e in report.graph.edges_out(op.id)
            }
            if 1 not in parts.values():
                assert sum(leaving) == pytest.approx(amounts[op.id])


def test_without_relevance_one_line_says_what_to_do() -> None:
    for report in (synthetic.resnet(measured=False), synthetic.resnet18()):
        for format_ in ("svg", "png", "dot", "html"):
            with pytest.raises(UserError, match=r"^color_by='attribution' needs .*not measured"):
                render(report, format_, BY)
    with pytest.raises(UserError, match="it is one of kind, attribution"):
        render(synthetic.resnet18(), "svg", replace(BY, color_by="mood"))  # type: ignore[arg-type]


def test_by_kind_nothing_changes(report: Report) -> None:
    plain = synthetic.resnet18()
    for collapse in ("blocks", "none"):
        options = RenderOptions(collapse=collapse)  # type: ignore[arg-type]
        assert render(report, "svg", options) == render(plain, "svg", options)
    assert "colouring" not in diagram(report, RenderOptions())
    assert b"rel-" not in render(report, "svg", RenderOptions())


def test_dot_holds_colours_numbers_and_widths(report: Report) -> None:
    text = render(report, "dot", BY).decode()
    assert f'fillcolor="{LIGHT["rel-6"]}"' in text
    assert re.search(r"relevance [+−][\d.]+, absolute [\d.]+", text)
    assert "absolute relevance of the output: " in text
    assert "shortcut +3.37" in text
    dark = render(report, "dot", replace(BY, theme="dark", collapse="blocks")).decode()
    assert f'fillcolor="{DARK["relbox-6"]}"' in dark


def test_a_fold_shows_the_mean_of_its_copies() -> None:
    report = attributed.everything(repeating(synthetic.resnet50()), inputs=1, ranks=1)
    relevance = report.attributions.relevance  # type: ignore[union-attr]
    assert relevance is not None
    data = diagram(report, replace(BY, fold_repeats=True))
    folded = [n for n in data["nodes"] if "times" in n and "told" in n]
    assert folded
    amounts = {r.op: r.amount.absolute for r in relevance.ops}
    assert all(n["told"].startswith(f"mean of {n['times']} copies: ") for n in folded)
    joins = [n for n in folded if n["id"].endswith("add#0")]
    assert all(float(n["told"].split(": ")[1]) == pytest.approx(amounts[n["id"]]) for n in joins)


@given(st.floats(0, 1e6), st.floats(1e-6, 1), st.floats(1, 1e6))
def test_steps_stay_on_the_scale_and_rise(size: float, low: float, high: float) -> None:
    step = step_of(size, low, high)
    assert 0 <= step < COLOUR_STEPS
    assert step_of(2 * size, low, high) >= step
    assert step_of(float("nan"), low, high) == step_of(0.0, low, high) == 0


def test_a_new_colouring_is_one_row(monkeypatch: pytest.MonkeyPatch, report: Report) -> None:
    monkeypatch.setitem(COLOURINGS, "mine", COLOURINGS["attribution"])
    options = replace(BY, color_by="mine")  # type: ignore[arg-type]
    assert render(report, "svg", options) == render(report, "svg", BY)


def contrast(a: str, b: str) -> float:
    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    dark, bright = sorted((light(a), light(b)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_what_is_written_on_a_colour_can_be_read(palette: dict[str, str]) -> None:
    for i in range(COLOUR_STEPS):
        assert contrast(palette[f"rel-{i}"], palette["on-op"]) >= 4.5
        assert contrast(palette[f"relbox-{i}"], palette["fg"]) >= 4.5
