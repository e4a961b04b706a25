"""Two models as one drawing: laws of its rows, its places and its words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_viz.analysis.align import align
from resnet_viz.analysis.differences import differences
from resnet_viz.core.comparison import Alignment, Comparison, Difference
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting import render
from resnet_viz.reporting.experiments.comparison_view import labels
from resnet_viz.reporting.experiments.page import view_of
from resnet_viz.reporting.experiments.plot import Written
from resnet_viz.reporting.side_by_side.drawing import draw_pairs
from resnet_viz.reporting.side_by_side.model import Paired, paired
from resnet_viz.reporting.side_by_side.rows import MOST, Status, rows_of, status_of
from resnet_viz.reporting.side_by_side.sides import Side, called
from resnet_viz.reporting.side_by_side.words import signed
from tests.analysis.work import lines_of
from tests.reporting import laboratory, synthetic
from tests.reporting.experiments_synthetic import HOSTILE

SVG = "{http://www.w3.org/2000/svg}"
AUTO = RenderOptions()


def compared(a: Report, b: Report) -> Comparison:
    """The comparison that the pipeline makes of two reports."""
    both = a.graph, a.structure, b.graph, b.structure
    found = align(*both)
    return Comparison(a=a, b=b, alignment=found, differences=differences(*both, found))


def wide(depths: Sequence[int] = (3, 4, 6, 3)) -> Report:
    return synthetic.resnet(depths, widths=(128, 256, 512, 1024), name="wide")


@pytest.fixture(scope="module")
def cases() -> dict[str, Comparison]:
    resnet18, resnet50 = synthetic.resnet18(), synthetic.resnet50()
    return {
        "deeper": compared(resnet18, synthetic.resnet((3, 4, 6, 3), bottleneck=False)),
        "wider": compared(resnet50, wide()),
        "other": compared(resnet50, resnet18),
        "gated": compared(resnet50, synthetic.se_resnet50()),
        "unlike": compared(synthetic.vit(), resnet18),
        "dense": compared(synthetic.densenet((3, 4, 3, 2)), resnet18),
        "same": compared(resnet50, resnet50),
        "bare": compared(synthetic.resnet(measured=False), resnet18),
        "by hand": laboratory.comparison(),
        "hostile": laboratory.comparison(evil=HOSTILE),
    }


def model_of(value: Comparison) -> Paired:
    return paired(value, labels(value))


def test_each_pair_has_its_row_and_order_is_kept(cases: dict[str, Comparison]) -> None:
    for value in cases.values():
        rows = model_of(value).rows
        assert [k for d in rows for k in d.row.pairs] == list(range(len(value.alignment.pairs)))
        for drawn in rows:
            pairs = [value.alignment.pairs[k] for k in drawn.row.pairs]
            assert {status_of(pair) for pair in pairs} == {drawn.row.status}
            assert (drawn.a is None) == all(not pair.a for pair in pairs)
            assert (drawn.b is None) == all(not pair.b for pair in pairs)
            assert drawn.lines
            for card in (drawn.a, drawn.b):
                assert card is None or card.times == (len(pairs) if drawn.row.alike else 1)


def test_few_rows_say_what_is_equal(cases: dict[str, Comparison]) -> None:
    rows = {name: len(model_of(value).rows) for name, value in cases.items()}
    assert rows["deeper"] == 10
    assert rows["wider"] == 10
    assert [d.row.status for d in model_of(cases["wider"]).rows][1:-1] == ["changed"] * 8
    assert rows["same"] <= 11
    assert rows["unlike"] <= 10
    stacked = model_of(cases["wider"]).rows[2]
    assert [line.sign for line in stacked.lines] == ["≠", "≠", "≠", ""]
    assert stacked.lines[0].text == "1×1 64 → 1×1 128"
    assert stacked.lines[1].text == "3×3 64 → 3×3 128"


def test_what_is_only_on_one_side_adds_up_to_the_whole(cases: dict[str, Comparison]) -> None:
    for name in ("deeper", "wider", "unlike", "dense"):
        value = cases[name]
        a, b = (Side(report, "") for report in (value.a, value.b))
        pairs = value.alignment.pairs
        delta = sum(b.params(p.b_ops) - a.params(p.a_ops) for p in pairs)
        assert delta == value.b.graph.total_params - value.a.graph.total_params


def boxes(svg: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg">{svg}</svg>')
    return [g for g in root.iter(f"{SVG}g") if g.get("class", "").startswith("pair ")]


def middle(part: ElementTree.Element) -> float:
    """Height of a card's centre."""
    found = re.fullmatch(
        r"translate\(([-\d.]+) ([-\d.]+)\)(?: scale\(([\d.]+)\))?", part.get("transform", "")
    )
    assert found
    face = next(r for r in part.iter(f"{SVG}rect") if r.get("class", "").startswith("box"))
    return float(found[2]) + float(face.get("height", "")) * float(found[3] or 1) / 2


def overlap(a: Written, b: Written) -> bool:
    slack = 1.0
    return (
        a.left < b.right - slack
        and b.left < a.right - slack
        and a.top < b.bottom - slack
        and b.top < a.bottom - slack
    )


@pytest.mark.parametrize("narrow", [False, True])
def test_matched_parts_stand_level_and_no_text_lies_on_another(
    cases: dict[str, Comparison], narrow: bool
) -> None:
    width = 348.0 if narrow else 1080.0
    for name, value in cases.items():
        model = model_of(value)
        drawn = draw_pairs(model, width, narrow=narrow)
        found = boxes("".join(drawn.lines).replace("\x00", "").replace("\udcff", "")
                      .replace("\x1b", ""))  # fmt: skip
        assert len(found) == len(model.rows)
        ends = 0.0
        for row, group in zip(model.rows, found, strict=True):
            parts = [g for g in group.iter(f"{SVG}g") if g.get("class") == "part"]
            sides = [card for card in (row.a, row.b) if card is not None]
            shown = 1 if narrow and row.row.status == "equal" else len(sides)
            assert len(parts) == shown
            heights = [middle(part) for part in parts]
            if not narrow and shown == 2:
                assert heights[0] == pytest.approx(heights[1], abs=0.3)
            assert min(heights) > ends
            ends = max(heights)
        for text in drawn.texts:
            assert text.left >= -4.5, (name, text)
            assert text.right <= width + 4.5, (name, text)
            assert text.bottom <= drawn.height + 1
        ordered = sorted(drawn.texts, key=lambda t: t.top)
        for i, one in enumerate(ordered):
            for other in ordered[i + 1 : i + 12]:
                assert not overlap(one, other), (name, one, other)


def test_only_signs_that_are_used_are_in_the_legend(cases: dict[str, Comparison]) -> None:
    def written(name: str) -> set[str]:
        return {t.text for t in draw_pairs(model_of(cases[name]), 1080).texts}

    assert {"equal", "changed"} <= written("wider")
    assert "only in resnet34" in written("deeper")
    assert not {"changed", "only in resnet50 (B)"} & written("same")
    assert "all parts are equal" in written("same")
    assert any("log scale" in text for text in written("wider"))
    assert not any("log scale" in text for text in written("unlike") if "vit" in text)


@given(
    st.lists(st.sampled_from(["equal", "changed", "only a", "only b"]), min_size=1, max_size=400)
)
@settings(max_examples=25, deadline=None)
def test_any_alignment_fits_into_a_drawing(kinds: list[str]) -> None:
    """Alternating or not: never more rows than one can look at, and none is lost."""
    value = BASE
    pair = next(p for p in value.alignment.pairs if p.a and p.b)
    pairs = []
    for k, kind in enumerate(kinds):
        if kind.startswith("only"):
            lost = "b" if kind == "only a" else "a"
            pairs.append(replace(pair, same="only", **{lost: "", f"{lost}_ops": ()}))
        else:
            pairs.append(replace(pair, a=f"a{k}", same=kind, changes=(f"{k % 7}",)))
    told = replace(value, alignment=Alignment(pairs=tuple(pairs)), differences=())
    a, b = Side(told.a, "a"), Side(told.b, "b")
    rows = rows_of(told, a, b)
    assert len(rows) <= MOST
    assert [k for row in rows for k in row.pairs] == list(range(len(pairs)))
    found: Counter[Status] = Counter(row.status for row in rows)
    assert found["mixed"] == 0 or len(rows) > MOST // 3


BASE = laboratory.comparison(
    synthetic.resnet((1, 1, 1, 1), measured=False), synthetic.resnet((1, 1, 1, 1), measured=False)
)


def test_many_blocks_are_drawn_with_few_marks_and_in_linear_time() -> None:
    work, marks = [], []
    for n in (100, 400):
        a = synthetic.resnet((n, 3, 3, 3), bottleneck=False, name="a", measured=False)
        b = synthetic.resnet((n, 3, 4, 3), bottleneck=False, name="b", measured=False)
        value = compared(a, b)
        drawn: list[str] = []
        work.append(
            lines_of(lambda v=value, d=drawn: d.extend(draw_pairs(model_of(v), 1080).lines))
        )
        marks.append("".join(drawn).count("<"))
    assert marks[0] == marks[1] < 1500
    assert work[1] < 4.5 * work[0], work


def test_each_format_shows_the_drawing_and_is_the_same_again(cases: dict[str, Comparison]) -> None:
    value = cases["deeper"]
    for format in ("svg", "png", "html"):
        small = RenderOptions(scale=0.7)
        once = render(value, format, small)
        assert once == render(value, format, small)
    svg = ElementTree.fromstring(render(value, "svg"))
    rows = [g for g in svg.iter(f"{SVG}g") if g.get("class", "").startswith("pair ")]
    assert len(rows) == 10
    style = svg.find(f"{SVG}style")
    assert style is not None
    assert "var(" not in (style.text or "")
    skips = Counter(p.get("data-skip-kind") for p in svg.iter() if p.get("data-skip-kind"))
    assert set(skips) == {"identity", "projection"}


def test_themes_differ_in_colours_alone(cases: dict[str, Comparison]) -> None:
    drawn = {
        theme: render(cases["wider"], "svg", RenderOptions(theme=theme)).decode()
        for theme in ("light", "dark", "paper")
    }
    assert len(set(drawn.values())) == 3
    assert len({text.partition("</style>")[2] for text in drawn.values()}) == 1


def test_focus_picks_a_figure_or_the_drawing(cases: dict[str, Comparison]) -> None:
    value = cases["wider"]

    def drawn(focus: str) -> tuple[bool, int]:
        text = render(value, "svg", RenderOptions(focus=focus)).decode()
        return "rv-pairs" in text.partition("</style>")[2], text.count("figure-title")

    assert drawn("side-by-side") == drawn("")
    assert drawn("side-by-side")[0]
    assert not drawn("gradients")[0]
    assert drawn("all")[0]
    assert drawn("all")[1] > drawn("gradients")[1] - 1


def test_hostile_names_are_only_text(cases: dict[str, Comparison]) -> None:
    long = replace(
        cases["by hand"],
        a=replace(cases["by hand"].a, graph=replace(cases["by hand"].a.graph, name="x" * 10_000)),
    )
    for value in (cases["hostile"], long):
        svg = render(value, "svg")
        ElementTree.fromstring(svg)
        page = render(value, "html").decode()
        assert "<img" not in page
        assert len(page) < 3e6
        for text in draw_pairs(model_of(value), 1080).texts:
            assert text.right - text.left < 1080


def test_the_page_lists_differences_with_their_pairs(cases: dict[str, Comparison]) -> None:
    value = cases["gated"]
    page = view_of(value, AUTO)
    table = next(s for s in page.sections if s.key == "differences").tables[0]
    assert page.pairs is not None
    assert len(table.rows) == len(page.pairs.told) == len(value.differences)
    for row, d in zip(table.rows, value.differences, strict=True):
        assert row[:2] == (d.path_a or "–", d.path_b or "–")
    assert view_of(cases["same"], AUTO).verdict == "All 18 parts are equal"
    assert not any(s.key == "differences" for s in view_of(cases["same"], AUTO).sections)


def test_equal_parts_that_are_wired_otherwise_are_not_called_equal(
    cases: dict[str, Comparison],
) -> None:
    wired = Difference(kind="changed", path_a="", path_b="", what="wiring")
    value = replace(cases["same"], differences=(wired,))
    assert not value.equal
    assert view_of(value, AUTO).verdict == "All 18 parts are equal, and wired otherwise"
    assert model_of(value).verdict != "all parts are equal"


def test_words_of_a_drawing_are_said_in_the_readers_language(
    cases: dict[str, Comparison],
) -> None:
    english, persian = (
        render(cases["wider"], "svg", RenderOptions(lang=lang)).decode() for lang in ("en", "fa")
    )
    assert "parameters" in english
    ElementTree.fromstring(persian)


def test_names_of_several_parts() -> None:
    assert called(["layer1.0"]) == "layer1.0"
    assert called(["layer1.0", "layer1.1", "layer1.2"]) == "layer1.0–2"
    assert called(["layer1.2", "layer2.0"]) == "layer1.2 … layer2.0"
    assert called(["encoder_layer_0", "encoder_layer_0", "encoder_layer_11"]) == (
        "encoder_layer_0–11"
    )
    assert [signed(n) for n in (0, 1_500_000, -3)] == ["±0", "+1.50 M", "−3"]
