"""The view: plain JSON, every number formatted, every section there or explained."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.core.attribution import Attribution, Attributions, Bar
from resnet_viz.core.finding import Severity
from resnet_viz.core.report import Missing, RenderOptions, Report
from resnet_viz.core.structure import Structure
from resnet_viz.core.units import scientific
from resnet_viz.reporting.explain.note import power
from resnet_viz.reporting.page.tables import Facts
from resnet_viz.reporting.page.view import view
from tests.reporting import synthetic

OPTIONS = RenderOptions()


@pytest.fixture(scope="module")
def resnet50() -> Report:
    return synthetic.resnet50()


@pytest.fixture(scope="module")
def page(resnet50: Report) -> dict[str, Any]:
    return view(resnet50, OPTIONS)


def with_flow(report: Report, **changes: Any) -> Report:
    assert report.gradient_flow is not None
    flow = dataclasses.replace(report.gradient_flow, **changes)
    others = tuple(m for m in report.measurements if m is not report.gradient_flow)
    return dataclasses.replace(report, measurements=(flow, *others))


def kpi(page: dict[str, Any], label: str) -> dict[str, Any]:
    return next(k for k in page["header"]["kpis"] if k["label"] == label)


@pytest.mark.parametrize("name", sorted(synthetic.ALL))
def test_a_view_is_json_without_numbers_that_json_lacks(name: str) -> None:
    page = view(synthetic.ALL[name](), OPTIONS)
    assert json.loads(json.dumps(page, allow_nan=False))["title"] == page["title"]


def test_the_same_report_gives_the_same_view(resnet50: Report, page: dict[str, Any]) -> None:
    assert json.dumps(view(resnet50, OPTIONS)) == json.dumps(page)


def test_the_header_counts_what_the_structure_holds(page: dict[str, Any]) -> None:
    assert kpi(page, "Parameters")["value"] == "25.6 M"
    assert kpi(page, "MACs") == {
        "label": "MACs", "value": "4.09 G", "detail": "8.18 G FLOPs: 2 per MAC", "tone": ""
    }  # fmt: skip
    assert kpi(page, "Weighted layers")["value"] == "54"
    assert kpi(page, "Blocks")["detail"] == "all bottleneck"
    assert kpi(page, "Skip paths")["detail"] == "12 identity, 4 projection"


@pytest.mark.parametrize(
    ("severity", "what", "expected"),
    [
        ("warning", "vanishing gradient", "vanishing"),
        ("warning", "update too large", "update too large"),
        ("note", "frozen", "within limits"),
    ],
)
def test_the_gradient_verdict_follows_the_findings(
    resnet50: Report, severity: Severity, what: str, expected: str
) -> None:
    finding = dataclasses.replace(resnet50.findings[0], what=what, severity=severity)
    page = view(resnet50.with_findings([finding]), OPTIONS)
    assert kpi(page, "Gradient flow")["value"] == expected


def test_a_network_too_shallow_for_a_slope_gets_no_praise() -> None:
    page = view(synthetic.hostile().with_findings([]), OPTIONS)
    assert kpi(page, "Gradient flow")["value"] == "no finding"
    assert kpi(page, "Gradient flow")["tone"] == ""


def test_without_gradients_the_verdict_claims_nothing() -> None:
    page = view(synthetic.resnet(measured=False), OPTIONS)
    assert kpi(page, "Gradient flow")["value"] == "–"
    assert page["flow"] is None
    assert page["missing"]["gradient flow"]
    assert page["findings"]["rules"] == []
    assert "not measured" in page["findings"]["none"]


def test_findings_keep_their_order_and_point_at_ops(resnet50: Report) -> None:
    first = resnet50.findings[0]
    second = dataclasses.replace(first, what="parameters without gradient", where=("fc.bias",))
    items = view(resnet50.with_findings([first, second]), OPTIONS)["findings"]["items"]
    assert [i["what"] for i in items] == [first.what, second.what]
    assert items[0]["where"] == [{"name": "conv1", "op": first.where[0]}]
    assert items[1]["where"] == [{"name": "fc.bias", "op": ""}]


def test_every_bar_of_the_gradient_chart_is_a_weighted_layer_in_forward_order(
    resnet50: Report, page: dict[str, Any]
) -> None:
    flow = page["flow"]
    places = [resnet50.graph.position(op) for op in flow["ops"]]
    assert places == sorted(places)
    assert len(places) == 54
    assert {resnet50.graph[op].kind for op in flow["ops"]} == {"conv2d", "linear"}
    assert flow["kinds"].count("proj") == 4
    assert all(len(series) == 54 for series in flow["series"].values())
    assert flow["bands"][0]["from"] == 0
    assert flow["bands"][-1]["to"] == 54
    assert all(a["to"] == b["from"] for a, b in zip(flow["bands"], flow["bands"][1:], strict=False))


def test_a_bar_shows_the_gradient_of_its_own_weight(resnet50: Report, page: dict[str, Any]) -> None:
    gradients = resnet50.gradient_flow
    assert gradients is not None
    for i, op in enumerate(page["flow"]["ops"]):
        weight = resnet50.graph[op].parameters[0]
        assert float(page["flow"]["series"]["w_l2"][i]) == pytest.approx(
            gradients[weight].l2, rel=0.01
        )
        assert float(page["flow"]["series"]["a_rms"][i]) == pytest.approx(
            gradients[op].rms, rel=0.01
        )


def test_a_parameter_without_gradient_has_its_reason(resnet50: Report) -> None:
    assert resnet50.gradient_flow is not None
    dead = tuple(
        dataclasses.replace(p, stats=None, reason="frozen") if p.name == "fc.weight" else p
        for p in resnet50.gradient_flow.parameters
    )
    flow = view(with_flow(resnet50, parameters=dead), OPTIONS)["flow"]
    assert flow["series"]["w_l2"][-1] == ""
    assert flow["reasons"] == {"53": "frozen"}


def test_infinite_and_nan_gradients_stay_readable(resnet50: Report) -> None:
    assert resnet50.gradient_flow is not None
    calls = tuple(
        dataclasses.replace(
            c, stats=dataclasses.replace(c.stats, l2=value, rms=value, low=value, high=value)
        )
        for c, value in zip(resnet50.gradient_flow.calls, [math.inf, math.nan] * 200, strict=False)
    )
    page = view(with_flow(resnet50, calls=calls), OPTIONS)
    assert set(page["flow"]["series"]["a_l2"]) <= {"∞", "NaN"}
    json.dumps(page, allow_nan=False)


def test_bars_of_a_skip_cover_the_shares_at_its_fork(page: dict[str, Any]) -> None:
    for row in page["skips"]["rows"]:
        assert row["bars"][0]["role"] == "shortcut"
        assert row["bars"][0]["x"] == page["skips"]["zero"]
        assert sum(b["w"] for b in row["bars"]) == pytest.approx(
            page["skips"]["one"] - page["skips"]["zero"], abs=0.05
        )


@given(st.floats(-3, 4))
def test_negative_shares_hang_left_of_zero(share: float) -> None:
    report = synthetic.resnet((1,), widths=(64,))
    assert report.gradient_flow is not None
    skip = report.structure.skips[0]
    ends = {*skip.shortcut, skip.join}
    shares = tuple(
        dataclasses.replace(s, share=share if s.dst in ends else 1 - share)
        for s in report.gradient_flow.shares
        if s.src == skip.fork
    )
    chart = view(with_flow(report, shares=shares), OPTIONS)["skips"]
    bar = chart["rows"][0]["bars"][0]
    assert 0 <= chart["zero"] <= chart["one"] <= 100
    assert all(b["x"] >= -0.01 and b["x"] + b["w"] <= 100.02 for b in chart["rows"][0]["bars"])
    assert bar["x"] == pytest.approx(chart["zero"] - (bar["w"] if share < 0 else 0), abs=0.02)


def test_a_fork_that_cannot_be_separated_says_why(resnet50: Report) -> None:
    from resnet_viz.core.gradient_flow import NotSeparable

    skip = resnet50.structure.skips[0]
    assert resnet50.gradient_flow is not None
    report = with_flow(
        resnet50,
        shares=tuple(s for s in resnet50.gradient_flow.shares if s.src != skip.fork),
        not_separable=(NotSeparable(fork=skip.fork, reason="a custom function hides it"),),
    )
    row = view(report, OPTIONS)["skips"]["rows"][0]
    assert row["bars"] == []
    assert row["reason"] == "a custom function hides it"
    assert row["share"] == "–"


def test_the_layer_table_has_every_op_once(resnet50: Report, page: dict[str, Any]) -> None:
    assert [r["op"] for r in page["layers"]] == [op.id for op in resnet50.graph.ops]
    assert sum(r["weighted"] for r in page["layers"]) == 54
    first = page["layers"][0]
    assert (first["name"], first["what"]) == ("conv1", "Conv 7×7, 64")
    assert (first["params"], first["macs"]) == ("9.41 k", "118 M")


def test_uncounted_macs_are_named_and_not_zero(resnet50: Report) -> None:
    ops = tuple(dataclasses.replace(op, macs=None) if op.id.startswith("fc/") else op
                for op in resnet50.graph.ops)  # fmt: skip
    report = dataclasses.replace(resnet50, graph=dataclasses.replace(resnet50.graph, ops=ops))
    page = view(report, OPTIONS)
    assert page["layers"][-1]["macs"] == "not counted"
    assert page["costs"]["uncounted"] == ["fc/linear#0"]
    assert kpi(page, "MACs")["detail"] == "1 op without a formula"


def test_a_box_sums_its_ops(resnet50: Report, page: dict[str, Any]) -> None:
    facts = Facts(resnet50)
    inside = [op for op in resnet50.graph.ops if op.module.startswith("layer2.0.")]
    assert page["groups"]["layer2.0"]["params"] == "379 k"
    assert sum(op.params for op in inside) == 379_392
    assert facts.block_of[inside[0].id].skip.join == page["groups"]["layer2.0"]["join"]


def test_a_network_without_skips_says_so(resnet50: Report) -> None:
    bare = Structure(skips=(), blocks=(), stages=(), costs=resnet50.structure.costs)
    page = view(dataclasses.replace(resnet50, structure=bare), OPTIONS)
    assert page["skips"] is None
    assert page["missing"]["skips"]
    assert kpi(page, "Skip paths")["detail"] == "none found"
    assert {n["key"] for n in page["meaning"]} == {"vanishing", "degradation"}


def test_the_notes_speak_of_this_network(page: dict[str, Any]) -> None:
    notes = {n["key"]: n for n in page["meaning"]}
    assert "2¹⁶ = 65,536 paths" in notes["paths"]["here"]
    assert "16 bottleneck blocks" in notes["bottleneck"]["here"]
    # 2·9·256² against 64·256 + 9·64·64 + 64·256
    assert "needs 69.6 k weights" in notes["bottleneck"]["here"]
    assert "1.18 M, 17 times as many" in notes["bottleneck"]["here"]
    assert "0.9¹² = 0.282" in notes["identity"]["here"]
    assert all(n["source"] for n in page["meaning"])
    assert "unlikely" in notes["degradation"]["text"]


def test_dense_skips_are_not_counted_as_paths_in_a_row() -> None:
    keys = {n["key"] for n in view(synthetic.densenet(), OPTIONS)["meaning"]}
    assert "paths" not in keys


def test_reasons_given_in_the_report_win(resnet50: Report) -> None:
    report = dataclasses.replace(
        synthetic.resnet(measured=False),
        missing=(Missing(section="attributions", reason="The model takes no image."),),
    )
    assert view(report, OPTIONS)["missing"]["attributions"] == "The model takes no image."
    assert "attributions" not in view(resnet50, OPTIONS)["missing"]


def test_a_diagram_only_view_leaves_the_measured_sections_out(resnet50: Report) -> None:
    page = view(resnet50, RenderOptions(diagram_only=True))
    assert page["diagram"]
    assert page["layers"]
    assert [page[k] for k in ("findings", "flow", "skips", "attributions")] == [None] * 4


def test_random_weights_are_said_to_be_random(resnet50: Report) -> None:
    maps = Attributions(pictures=(), maps=(), note="")
    report = dataclasses.replace(resnet50, measurements=(maps,))
    assert "random" in view(report, OPTIONS)["attributions"]["note"]


def test_attributions_of_features_become_bars_around_zero(resnet50: Report) -> None:
    bars = (Bar(label="a", value=2.0), Bar(label="b", value=-1.0), Bar(label="c", value=0.0))
    item = Attribution(method="saliency", input=0, target="output", bars=bars)
    report = dataclasses.replace(resnet50, measurements=(Attributions(pictures=(), maps=(item,)),))
    drawn = view(report, OPTIONS)["attributions"]["inputs"][0]["cells"][0]["bars"]
    assert [(b["x"], b["w"]) for b in drawn] == [(50, 50), (25, 25), (50, 0)]


def test_numbers_in_tables_are_text_of_at_most_four_digits(page: dict[str, Any]) -> None:
    for row in page["layers"]:
        for key in ("params", "macs", "memory", "grad", "rms", "ratio", "arriving"):
            assert isinstance(row[key], str)
            mantissa = re.split(r"[e ]", row[key])[0]
            assert len(mantissa.replace(".", "").lstrip("0")) <= 4


@given(st.integers(-3000, 3000))
def test_powers_are_right_where_no_float_holds_them(n: int) -> None:
    text = power(2.0, n)
    if abs(n) * math.log10(2) < 300:
        assert text == scientific(2.0**n)
    else:
        raised = text.removeprefix("10").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
        assert int(raised) == round(n * math.log10(2))


def test_a_stage_has_one_tint_in_diagram_chart_and_table(page: dict[str, Any]) -> None:
    drawn = {g["module"]: g["tint"] for g in page["diagram"]["groups"] if "tint" in g}
    assert len(drawn) == 4
    chart = {b["name"]: b["stage"] for b in page["flow"]["bands"] if b["stage"] >= 0}
    table = {r["name"]: r["stage"] for r in page["costs"]["stages"] if r["stage"] >= 0}
    assert chart == table == drawn
