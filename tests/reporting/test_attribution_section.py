"""The section of attributions: rows, columns, verdicts, relevance, depths, and hostile names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from resnet_viz.core.attribution import Attributions
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.units import scientific
from resnet_viz.reporting import render
from resnet_viz.reporting.attributions.amounts import signed
from resnet_viz.reporting.attributions.relevance import relevance_section
from resnet_viz.reporting.attributions.words import verdict_of
from resnet_viz.reporting.page.tables import Facts, layer_rows
from resnet_viz.reporting.page.view import view
from tests.reporting import attributed, synthetic
from tests.reporting.test_html import Page

OPTIONS = RenderOptions()


@pytest.fixture(scope="module")
def report() -> Report:
    return attributed.everything(synthetic.resnet50())


@pytest.fixture(scope="module")
def data(report: Report) -> bytes:
    return render(report, "html")


@pytest.fixture(scope="module")
def page(data: bytes) -> Page:
    return Page(data)


@pytest.fixture(scope="module")
def section(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = view(report, OPTIONS)["attributions"]
    return found


def test_a_row_per_input_and_a_column_per_method_and_target(section: dict[str, Any]) -> None:
    assert [row["name"] for row in section["inputs"]] == list(attributed.NAMES)
    for row in section["inputs"]:
        assert [(c["method"], c["target"]) for c in row["cells"]] == [
            (method, target)
            for target in attributed.TARGETS
            for method in ("integrated gradients", "guided backprop", "layer Grad-CAM", "LRP")
        ]
        assert [t["score"] for t in row["targets"]] == [
            ["score 12.3", "probability 81.0 %"], ["score 11.3", "probability 7.0 %"],
        ]  # fmt: skip
    json.dumps(section)


def test_a_map_that_is_missing_leaves_its_place_empty(report: Report) -> None:
    found = report.attributions
    assert found is not None
    maps = tuple(m for m in found.maps if not (m.input == 0 and m.name == "guided_backprop"))
    fewer = replace(report, measurements=(replace(found, maps=maps),))
    first, second = view(fewer, OPTIONS)["attributions"]["inputs"]
    assert [bool(c) for c in first["cells"]] == [True, True, True, True, True, True, False, False]
    assert all(second["cells"])


def test_one_photograph_per_input_and_one_map_per_cell(page: Page, report: Report) -> None:
    found = report.attributions
    assert found is not None
    images = [a for tag, a in page.elements if tag == "image"]
    photos = [a for a in images if a.get("id", "").startswith("photo-")]
    cells = [a for a in images if a.get("filter", "").startswith("url(#mask-")]
    assert len(photos) == len(found.pictures)
    assert len(cells) == len(found.maps)
    assert len({a["filter"] for a in cells}) == len(cells)
    assert all(a["href"].startswith("data:image/webp;base64,") for a in images)


def test_the_views_are_radio_buttons_and_the_overlay_is_first(page: Page) -> None:
    radios = [a for a in page.all("input") if a.get("type") == "radio"]
    assert [a["id"] for a in radios] == [
        f"view-{v}" for v in ("overlay", "heat", "signed", "masked", "original")
    ]
    assert ["checked" in a for a in radios] == [True, False, False, False, False]


def test_every_filter_that_is_named_is_there(page: Page) -> None:
    ids = {a["id"] for _, a in page.elements if "id" in a}
    named = {name for _, a in page.elements for name in re.findall(r"url\(#(.+?)\)", str(a))}
    (_, css), *_ = page.raw["style"]
    named |= set(re.findall(r"filter:url\(#(.+?)\)", css))
    assert named <= ids
    assert len(named) > 10


def test_figures_of_trust_stand_beside_their_map(section: dict[str, Any]) -> None:
    first, guided, cam, lrp = section["inputs"][0]["cells"][:4]
    assert dict(first["figures"]) == {
        "Completeness delta": "0.011 (0.9 %)", "Infidelity": "0.12", "Max-sensitivity": "0.08",
        "Deletion AUC": "0.245 (random 0.5)", "Insertion AUC": "0.655 (random 0.5)",
        "With weights drawn anew": "it changes",
    }  # fmt: skip
    assert [p["title"] for p in first["plots"]][:2] == ["Deletion", "Insertion"]
    assert first["plots"][0]["svg"].count('<path class="curve"') == 2  # and a random order
    assert "layer2.0.downsample.0: 0.16" in first["plots"][2]["svg"]
    assert guided["verdict"].startswith("It hardly changes")
    assert guided["says"] == "It does not claim completeness."
    assert cam["resolution"] == "3×3"
    assert "2.4e+11" in lrp["forced"]
    assert section["forced"] == ["LRP"] * 4


def test_a_forced_map_cannot_be_overlooked(data: bytes) -> None:
    text = " ".join(re.sub(r"<[^>]+>", " ", data.decode()).split())
    assert "Forced: what LRP says here is known to be wrong" in text
    assert text.count("Do not believe this: Residual adds") == 4
    assert data.decode().count('class="cell is-forced"') == 4


def test_relevance_has_the_rows_of_the_gradient_and_adds_up(
    section: dict[str, Any], report: Report
) -> None:
    rows = section["relevance"]["rows"]
    blocks = report.structure.blocks
    assert [r["op"] for r in rows] == [b.skip.join for b in blocks]
    assert section["relevance"]["beside"] == ["‖∂L/∂W‖₂", "Gradient over its skips"]
    found = report.attributions
    assert found is not None
    assert found.relevance is not None
    for row in rows:
        operands = {o.role: o.amount.signed for o in found.relevance.operands_of(row["op"])}
        assert row["shortcut"] == signed(operands["shortcut"])
        assert row["branch"] == signed(operands["residual branch"])
        assert sum(operands.values()) == pytest.approx(4.0)
        assert row["whole"] == "+4"
        scale = {b["role"]: (b["x"], b["x"] + b["w"]) for b in row["bars"]}
        zero = section["relevance"]["zero"]
        for role, (start, end) in zip(("shortcut", "branch"), scale.values(), strict=True):
            assert zero in (pytest.approx(start, abs=0.02), pytest.approx(end, abs=0.02)), role


def test_relevance_of_many_samples_shows_its_spread(report: Report) -> None:
    many = attributed.everything(synthetic.resnet18(), samples=5)
    part = view(many, OPTIONS)["attributions"]["relevance"]
    assert part["rows"][0]["whole"] == "+4 ± 0.2"
    assert "the mean of 5 samples" in part["words"]
    assert all(len(b["spread"]) == 2 for r in part["rows"] for b in r["bars"])
    assert b"standard deviation over samples" in render(many, "html")


def test_the_layer_table_has_a_column_of_relevance(report: Report) -> None:
    found = report.attributions
    assert found is not None
    assert found.relevance is not None
    rows = {r["op"]: r for r in layer_rows(Facts(report))}
    for item in found.relevance.ops:
        assert rows[item.op]["relevance"] == signed(item.amount.signed)
        assert rows[item.op]["relevance_size"] == scientific(item.amount.absolute)
    assert ("relevance", "Relevance") in view(report, OPTIONS)["measured_columns"]
    plain = view(synthetic.resnet18(), OPTIONS)["measured_columns"]
    assert "relevance" not in dict(plain)


def test_agreement_is_a_symmetric_matrix(section: dict[str, Any]) -> None:
    first = section["agreements"][0]
    n = len(first["names"])
    assert n == 3
    for i in range(n):
        assert first["rows"][i][i] is None
        for j in range(n):
            assert first["rows"][i][j] == first["rows"][j][i]
    assert first["rows"][0][2]["text"] == "−0.11"


def test_depths_show_stages_fields_and_numbers(section: dict[str, Any], page: Page) -> None:
    stem, *_, last = section["depths"][0]["stages"]
    assert [s["name"] for s in section["depths"][0]["stages"]] == [
        "stem", "layer1", "layer2", "layer3", "layer4",
    ]  # fmt: skip
    assert stem["field"]["theory"] == {"x": 44.5, "y": 44.5, "w": 7, "h": 7}
    assert stem["field"]["effective"]["w"] == 5.5
    assert last["field"]["said"] == "the whole input"
    assert last["field"]["theory"] == {"x": 0, "y": 0, "w": 96, "h": 96}
    assert len(stem["features"]) == 4
    assert section["kernels"]["said"] == "all 64"
    classes = [a.get("class", "") for _, a in page.elements]
    assert classes.count("theory") == classes.count("effective") == 10


def test_a_field_larger_than_the_input_is_cut_and_says_so(report: Report) -> None:
    found = report.attributions
    assert found is not None
    depth = found.depths[0]
    stage = replace(
        depth.stages[0], field=replace(depth.stages[0].field, height=483, width=483)  # type: ignore[type-var]
    )  # fmt: skip
    changed = replace(found, depths=(replace(depth, stages=(stage,)),))
    field = view(replace(report, measurements=(changed,)), OPTIONS)["attributions"]["depths"][0][
        "stages"
    ][0]["field"]
    assert field["larger"]
    assert field["theory"] == {"x": 0, "y": 0, "w": 96, "h": 96}


def test_names_of_pictures_classes_and_tokens_are_only_text(data: bytes, page: Page) -> None:
    assert b"<img src=x" not in data
    assert b"</td><script>" not in data
    assert all("onerror" not in a for _, a in page.elements)
    tokens = Attributions(pictures=(), maps=attributed.tokens().maps)
    shown = render(tokens, "html")
    assert b"</bdi><b>good" not in shown
    assert b"&lt;/bdi&gt;&lt;b&gt;good" in shown


def test_tokens_are_chips_in_reading_order_as_well_as_bars() -> None:
    page = Page(render(attributed.tokens(), "html"))
    chips = [a for a in page.all("bdi") if re.fullmatch(r"[qu]\d", a.get("class", ""))]
    bars = attributed.tokens().maps[0].bars
    assert len(chips) == len(bars)
    assert [a["title"] for a in chips] == [scientific(b.value) for b in bars]
    assert chips[0]["class"] == "q8"
    assert min(a["class"] for a in chips) == "q1"


def test_a_page_with_everything_stays_small(data: bytes) -> None:
    assert len(data) < 500_000


def test_nothing_is_said_twice(report: Report) -> None:
    item = report.attributions.maps[0]  # type: ignore[union-attr]
    assert item.trust is not None
    said = f"Forced, and not to be believed: no rule. {item.trust.verdict} Its own words."
    assert verdict_of(replace(item, forced="no rule", verdict=said)) == (
        item.trust.verdict, "Its own words.",
    )  # fmt: skip
    assert verdict_of(replace(item, trust=None, verdict="Its own words.")) == (
        "", "Its own words.",
    )  # fmt: skip


def test_a_method_without_signs_is_never_red_or_blue() -> None:
    found = attributed.tokens()
    plain = replace(
        found.maps[0], method="saliency", name="saliency", signed=False,
        bars=tuple(replace(b, value=abs(b.value)) for b in found.maps[0].bars),
    )  # fmt: skip
    page = Page(render(replace(found, maps=(plain,)), "html"))
    assert not [a for a in page.all("bdi") if re.fullmatch(r"q\d", a.get("class", ""))]
    assert {a.get("class") for a in page.all("rect")} & {"pos", "neg", "much"} == {"much"}
    assert "Red speaks" not in render(replace(found, maps=(plain,)), "html").decode()
    assert "Red speaks" not in render(replace(found, maps=(plain,)), "svg").decode()


def test_a_net_without_blocks_has_no_empty_table_of_relevance(report: Report) -> None:
    found = report.attributions
    assert found is not None
    assert found.relevance is not None
    bare = replace(found.relevance, ops=(), operands=())
    page = render(replace(found, relevance=bare), "html").decode()
    assert "No residual block was found to split" in page
    assert 'class="sortable relevance"' not in page


def test_the_scale_of_relevance_reaches_as_far_as_its_spreads(report: Report) -> None:
    wide = attributed.relevance(report, samples=4)
    operands = tuple(
        replace(o, amount=replace(o.amount, signed_sd=50.0 + k))
        for k, o in enumerate(wide.operands)
    )
    section = relevance_section(replace(wide, operands=operands), None)
    ends = [x for row in section["rows"] for b in row["bars"] if b["spread"] for x in b["spread"]]
    assert ends
    assert max(ends) <= 100
    assert sum(x == 100 for x in ends) <= 1  # none is cut off at the edge but the longest
