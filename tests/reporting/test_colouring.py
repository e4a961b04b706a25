"""Coloured diagrams: steps, sums, signs, streams that add up, legends, and the page's switch."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.core.errors import UserError
from resnet_viz.core.message import Message
from resnet_viz.core.op_times import OpTime, OpTimes
from resnet_viz.core.report import Missing, RenderOptions, Report
from resnet_viz.core.units import seconds
from resnet_viz.reporting import render
from resnet_viz.reporting.colouring.painting import NONE
from resnet_viz.reporting.colouring.palette import DARK, LIGHT
from resnet_viz.reporting.colouring.quantities import COLOURINGS, NAMES
from resnet_viz.reporting.colouring.relevance_river import relevance_river
from resnet_viz.reporting.colouring.scale import Scale, scale_of
from resnet_viz.reporting.colouring.scale_colours import COLOUR_STEPS
from resnet_viz.reporting.colouring.switch import colourings
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.drawing.river import width_of
from resnet_viz.reporting.page.data import read_page
from tests.reporting import attributed, synthetic
from tests.reporting.test_folding import repeating

SVG = "{http://www.w3.org/2000/svg}"
BY = RenderOptions(color_by="attribution", collapse="none")
SUMS = ("params", "macs", "memory", "time")


def timed(report: Report) -> Report:
    """The report with times: the k-th op takes k microseconds."""
    ops = tuple(OpTime(op=op.id, seconds=k * 1e-6) for k, op in enumerate(report.graph.ops, 1))
    times = OpTimes(
        model=report.graph.name, mode="eval", data="x 1×3×32×32", device="cpu", threads=2,
        repeats=5, forward=1.1 * sum(o.seconds for o in ops), watched=2e-3, ops=ops,
    )  # fmt: skip
    return replace(report, measurements=(*report.measurements, times))


@pytest.fixture(scope="module")
def report() -> Report:
    return timed(attributed.everything(synthetic.resnet18(), inputs=1, ranks=1))


def number_of(report: Report, by: str, op: str) -> float:
    """What an op is coloured by, from the report itself."""
    costs = {c.key: c for c in report.structure.costs.ops}
    if by == "memory":
        return costs[op].activation_bytes
    if by == "time":
        return report.op_times.get(op)  # type: ignore[union-attr, return-value]
    return getattr(report.graph[op], by) or 0  # type: ignore[index]


@pytest.mark.parametrize("by", SUMS)
@pytest.mark.parametrize("direction", ["TB", "LR"])
def test_ops_and_boxes_are_filled_by_their_sums(report: Report, by: Any, direction: Any) -> None:
    options = RenderOptions(color_by=by, collapse="none", direction=direction)
    data = diagram(report, options)
    scale = data["colouring"]
    ops = [n for n in data["nodes"] if n["kind"] != "io"]
    sizes = {n["id"]: number_of(report, by, n["id"]) for n in ops}
    boxes = [
        math.fsum(sizes.get(n["id"], 0) for n in data["nodes"][g["low"] : g["high"]])
        for g in data["groups"]
    ]
    whole = [s for s in (*sizes.values(), *boxes) if s > 0]
    assert scale["high"] == max(whole)
    steps = Scale(low=scale["low"], high=scale["high"], log=bool(scale["log"]))
    for node in ops:
        size = sizes[node["id"]]
        assert node["c"] == (steps.step(size) if size > 0 else NONE)
    for group, size in zip(data["groups"], boxes, strict=True):
        assert group["c"] == (steps.step(size) if size > 0 else NONE)
    assert bool(scale["none"]) == any(item["c"] == NONE for item in (*ops, *data["groups"]))


def test_a_repeat_has_the_sum_of_its_copies() -> None:
    report = timed(repeating(synthetic.resnet50()))
    for by in SUMS:
        options = RenderOptions(color_by=by, fold_repeats=True)  # type: ignore[arg-type]
        folded, whole = (
            diagram(report, options),
            diagram(report, replace(options, fold_repeats=False)),
        )
        # Every box adds up, folded or not, so the top of the scale is that of the same stage.
        assert folded["colouring"]["high"] == pytest.approx(whole["colouring"]["high"])
    stacks = [n for n in folded["nodes"] if "times" in n]
    assert stacks
    for node in stacks:
        assert re.fullmatch(rf"takes [\d.]+ [µm]s in {node['times']} copies", node["told"])


def test_gradients_have_the_steps_of_their_bars() -> None:
    report = repeating(synthetic.resnet50())
    for fold in (False, True):
        options = RenderOptions(collapse="none", fold_repeats=fold)
        bars = diagram(report, options)
        drawn = diagram(report, replace(options, color_by="gradient"))
        assert bars["gradient"]["low"] == drawn["colouring"]["low"]
        assert bars["gradient"]["high"] == drawn["colouring"]["high"]
        for a, b in zip(bars["nodes"], drawn["nodes"], strict=True):
            if b.get("c", NONE) != NONE:
                assert a["g"] == b["c"]
        for a, b in zip(bars["groups"], drawn["groups"], strict=True):
            assert a.get("g", NONE) == b["c"]


def test_every_op_is_filled_by_its_absolute_relevance(report: Report) -> None:
    root = ElementTree.fromstring(render(report, "svg", BY))
    relevance = report.attributions.relevance  # type: ignore[union-attr]
    assert relevance is not None
    steps = {}
    for group in root.iter(f"{SVG}g"):
        if "node" in group.get("class", "").split():
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
def test_arcs_are_as_wide_as_their_operand(report: Report, collapse: Any) -> None:
    data = diagram(report, RenderOptions(color_by="attribution", collapse=collapse))
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


def test_numbers_leave_the_gradients_river_as_it_is() -> None:
    report = synthetic.resnet()
    plain, painted = (
        diagram(report, RenderOptions(color_by=by))  # type: ignore[arg-type]
        for by in ("kind", "params")
    )
    assert painted["river"] == plain["river"]
    assert painted["skips"] == plain["skips"]
    assert painted["plans"] == plain["plans"]


@pytest.mark.parametrize("by", ["time", "gradient", "attribution"])
def test_what_was_not_measured_is_said_in_one_line(by: Any) -> None:
    report = synthetic.resnet(measured=False)
    options = RenderOptions(color_by=by)
    for format_ in ("svg", "png", "dot", "html"):
        with pytest.raises(UserError, match=rf"^color_by='{by}' needs [^\n]*not measured: ask for"):
            render(report, format_, options)
    section: Any = {"time": "op times", "gradient": "gradient flow"}.get(by, "attributions")
    tried = replace(report, missing=(Missing(section=section, reason="it is on meta"),))
    with pytest.raises(UserError, match="could not be measured: it is on meta"):
        render(tried, "svg", options)


def test_by_kind_nothing_changes(report: Report) -> None:
    plain = synthetic.resnet18()
    for collapse in ("blocks", "none"):
        options = RenderOptions(collapse=collapse)  # type: ignore[arg-type]
        assert render(report, "svg", options) == render(plain, "svg", options)
    assert "colouring" not in diagram(report, RenderOptions())
    assert b"rel-" not in render(report, "svg", RenderOptions())


@pytest.mark.parametrize("by", list(COLOURINGS))
def test_the_legend_has_the_scale_with_its_numbers(by: Any) -> None:
    report = timed(attributed.everything(synthetic.resnet(), inputs=1, ranks=1))
    options = RenderOptions(color_by=by)
    scale = diagram(report, options)["colouring"]
    root = ElementTree.fromstring(render(report, "svg", options))
    drawn = [p.get("class", "") for p in root.iter(f"{SVG}path")]
    assert [c for c in drawn if c.startswith("scale ")] == [f"scale rel-{i}" for i in range(7)]
    ticks = [t for t in root.iter(f"{SVG}text") if t.get("class") == "tick"]
    assert [t.text for t in ticks] == scale["ticks"]
    places = [float(t.get("x", "nan")) for t in ticks]
    assert places == sorted(places)
    words = [t.text or "" for t in root.iter(f"{SVG}text") if t.get("class") == "legend"]
    assert f"{scale['of']}, {'log' if scale['log'] else 'linear'} scale" in words
    assert (scale["none"] in words) if scale["none"] else ("swatch rel-none" not in drawn)
    unit = {"memory": r"k?M?B$", "time": r"[mµ]s$"}.get(by, r"[\dkMG]$")
    assert all(re.search(unit, text) for text in scale["ticks"])
    assert isinstance(scale["of"], Message)


def test_dot_holds_colours_numbers_and_widths(report: Report) -> None:
    text = render(report, "dot", BY).decode()
    assert f'fillcolor="{LIGHT["rel-6"]}"' in text
    assert re.search(r"relevance [+−][\d.]+, absolute [\d.]+", text)
    assert "absolute relevance of the output, " in text
    assert "shortcut +3.37" in text
    dark = render(report, "dot", replace(BY, theme="dark", collapse="blocks")).decode()
    assert f'fillcolor="{DARK["relbox-6"]}"' in dark
    for by in SUMS:
        text = render(report, "dot", RenderOptions(color_by=by, collapse="none")).decode()  # type: ignore[arg-type]
        assert any(f'fillcolor="{LIGHT[f"rel-{i}"]}"' in text for i in range(7))


def test_a_fold_shows_the_mean_of_relevance() -> None:
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


@given(st.floats(0, 1e6), st.floats(1e-6, 1), st.floats(1, 1e6), st.booleans())
def test_steps_stay_on_the_scale_and_rise(size: float, low: float, high: float, log: bool) -> None:
    scale = Scale(low=low, high=high, log=log)
    step = scale.step(size)
    assert 0 <= step < COLOUR_STEPS
    assert scale.step(2 * size) >= step
    assert scale.step(math.nan) == scale.step(0.0) == 0
    edges = scale.edges
    assert edges[0] == low
    assert edges[-1] == pytest.approx(high)
    if high > 1.01 * low and low < size < high:
        assert edges[step] <= size * 1.000001
        assert size <= edges[step + 1] * 1.000001


@given(st.lists(st.floats(1e-9, 1e12), min_size=1), st.sampled_from([10.0, 1e4, math.inf]))
def test_a_scale_holds_what_it_is_made_of(sizes: list[float], span: float) -> None:
    scale = scale_of([*sizes, 0.0, math.nan, math.inf], span)
    assert scale.high == max(sizes)
    assert scale.low == max(min(sizes), scale.high / span)
    assert scale.log == (scale.high > 10 * scale.low)
    assert scale.cut == (min(sizes) < scale.low)


@given(st.floats(1e-9, 1e5))
def test_seconds_read_back(value: float) -> None:
    number, unit = seconds(value).split()
    factor = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]
    assert float(number) * factor == pytest.approx(value, rel=6e-3)
    assert "e" not in number


# --- the page ----------------------------------------------------------------------------


def test_the_page_can_switch_between_all_that_was_measured(report: Report) -> None:
    for plain, known in ((report, list(COLOURINGS)), (synthetic.resnet(measured=False), SUMS[:3])):
        rows = read_page(render(plain, "html"))["colourings"]
        expected = [by for by in known if by != "gradient" or plain.gradient_flow]
        assert [row["by"] for row in rows] == expected
        for row in rows:
            # Letter by letter what the drawing by that quantity has.
            data = diagram(plain, RenderOptions(color_by=row["by"]))
            steps = [item.get("c", ".") for item in (*data["nodes"], *data["groups"])]
            assert row["c"] == "".join("-" if s == NONE else str(s) for s in steps)
            assert row["ticks"] == data["colouring"]["ticks"]
            assert row["name"] == NAMES[row["by"]]
            signs = [item.get("sign", 0) for item in (*data["nodes"], *data["groups"])]
            assert [{"+": 1, "-": -1, ".": 0}[s] for s in row.get("s", "." * len(signs))] == signs


def test_the_switch_is_small() -> None:
    report = timed(attributed.everything(synthetic.resnet50(), inputs=1, ranks=1))
    rows = colourings(report, diagram(report, RenderOptions()))
    assert len(rows) == len(COLOURINGS) - (report.gradient_flow is None)
    assert len(json.dumps(rows, ensure_ascii=False).encode()) < 4000


def test_the_page_shows_the_first_scale_without_a_script(report: Report) -> None:
    page = render(report, "html", RenderOptions(color_by="time")).decode()
    figure = re.search(r'<figure id="scale".*?</figure>', page, re.S)
    assert figure is not None
    assert "hidden" not in figure[0].partition(">")[0]
    assert "time of one forward on cpu, " in figure[0]
    assert figure[0].count('class="scale rel-') == COLOUR_STEPS
    assert '<option value="time" selected>' in page
    plain = render(report, "html").decode()
    assert '<figure id="scale" class="scale-of" hidden>' in plain


def test_times_stand_in_the_tables_of_costs(report: Report) -> None:
    page = render(report, "html").decode()
    costs = page[page.index('<section id="costs">') :]
    heads = re.findall(r"<thead>(.*?)</thead>", costs, re.S)
    assert all(">Time</th>" in head for head in heads[:4])
    last = report.graph.ops[-1]
    row = re.search(rf'<tr data-op="{re.escape(last.id)}".*?</tr>', costs[costs.index("layers") :])
    assert row is not None
    assert f"<td>{seconds(len(report.graph.ops) * 1e-6)}</td>" in row[0]
    assert "Times are medians of 5 forwards without gradients, in eval mode on cpu" in costs
    assert "(90.9 % of it)" in costs
    plain = render(synthetic.resnet18(), "html").decode()
    assert ">Time</th>" not in plain
    text = " ".join(render(report, "txt").decode().split())
    assert f"slowest: {last.id} {seconds(len(report.graph.ops) * 1e-6)}" in text
    assert "They add up to 2.42 ms" in text
