"""Experiments in every format: what is said follows the numbers, and nothing leaks out."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from resnet_viz.core.errors import UserError
from resnet_viz.core.experiments.common import Result
from resnet_viz.core.experiments.records import records
from resnet_viz.core.report import RenderOptions
from resnet_viz.core.schema import from_json
from resnet_viz.reporting import (
    EXPERIMENT_RENDERERS,
    RENDERERS,
    known_formats,
    mimebundle,
    render,
    renderer_for,
    save,
)
from resnet_viz.reporting.colouring.palette import DARK, LIGHT
from resnet_viz.reporting.experiments import colours, to_text
from resnet_viz.reporting.experiments.page import view_of
from resnet_viz.reporting.fonts import covered
from tests.reporting import experiments_synthetic as synthetic
from tests.reporting import laboratory
from tests.reporting.test_html import Page

EVERY = {**synthetic.ALL, **laboratory.VALUES}
NAMES = sorted(EVERY)
HOSTILE = [*synthetic.hostile(), *laboratory.hostile(synthetic.HOSTILE)]
FORMATS = ("html", "svg", "png", "csv", "json", "txt")
AUTO = RenderOptions()


@pytest.fixture(scope="module", params=NAMES)
def value(request: pytest.FixtureRequest) -> Any:
    return EVERY[request.param]()


def words(value: Any) -> str:
    view = view_of(value, AUTO)
    return " ".join((view.verdict, view.lead, *view.seen, *view.caveats))


# --- formats --------------------------------------------------------------------------------


def test_every_format_is_written_and_the_same_twice(value: Any, tmp_path: Path) -> None:
    assert known_formats(EXPERIMENT_RENDERERS) == FORMATS
    for name in FORMATS:
        path = value.save(tmp_path / f"result.{name}")
        assert path.read_bytes() == render(value, name) != b""


def test_json_reads_back(value: Any) -> None:
    assert from_json(render(value, "json").decode()) == value


def test_a_reports_renderer_of_the_same_name_is_understood(value: Any, tmp_path: Path) -> None:
    assert render(value, RENDERERS[".svg"]) == render(value, "svg")
    assert save(value, tmp_path / "x", format="txt").read_bytes() == render(value, "txt")


@pytest.mark.parametrize("name", ["dot", "graphml", "pdf", "xlsx"])
def test_a_format_an_experiment_lacks_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="known: html svg png csv json txt") as caught:
        render(synthetic.identity(), name)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"known: \.html \.htm \.svg \.png \.csv \.json \.txt"):
        save(synthetic.identity(), tmp_path / f"x.{name}")
    assert not list(tmp_path.iterdir())


def test_a_report_has_no_csv() -> None:
    with pytest.raises(UserError, match=r"unknown suffix '\.csv'"):
        renderer_for("report.csv")


def test_a_notebook_gets_page_picture_and_line(value: Any) -> None:
    bundle = mimebundle(value)
    assert '<iframe sandbox="allow-scripts' in bundle["text/html"]
    assert bundle["image/svg+xml"].startswith("<svg")
    assert bundle["text/plain"] == view_of(value, AUTO).line


def test_any_other_value_is_refused() -> None:
    with pytest.raises(TypeError, match="Degradation, IdentityMapping, DepthStudy, LesionStudy"):
        view_of("a string", AUTO)  # type: ignore[arg-type]


# --- the page -------------------------------------------------------------------------------


def test_the_page_is_offline_and_every_id_resolves(value: Any) -> None:
    page = Page(render(value, "html"))
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attrs in page.elements:
        assert tag not in ("iframe", "object", "embed", "form", "base", "img")
        assert "style" not in attrs
        assert not [key for key in attrs if key.startswith("on")]
        assert attrs.get("href", "#").startswith(("#", "data:image/"))
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in ids
        for name in attrs.get("aria-labelledby", "").split():
            assert name in ids
    assert len(render(value, "html")) < 500_000


def test_every_figure_is_drawn_wide_and_narrow_with_title_and_words(value: Any) -> None:
    page = Page(render(value, "html"))
    figures = view_of(value, AUTO).figures
    assert figures
    drawn = [a for a in page.all("svg") if "rv-figure" in a.get("class", "")]
    assert [a["class"] for a in drawn] == ["rv-figure wide", "rv-figure narrow"] * len(figures)
    assert all(a["role"] == "img" for a in drawn)
    assert len({f.key for f in figures}) == len(figures)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_hold_their_theme_their_fonts_and_no_variable(value: Any, theme: Any) -> None:
    svg = render(value, "svg", RenderOptions(theme=theme, focus="all")).decode()
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert "var(--" not in svg
    assert "@font-face" in svg
    assert {"light": LIGHT, "dark": DARK}[theme]["card"] in svg
    # A letter that no bundled font has would be drawn with whatever the machine has.
    assert covered("".join(t.text or "" for t in root.iter() if t.tag.endswith("text")))


def test_focus_chooses_a_figure_and_an_unknown_one_is_refused() -> None:
    value = synthetic.degradation((0,))
    one = render(value, "svg", RenderOptions(focus="gradients")).decode()
    assert "Gradient by layer" in one
    assert "Training and test error" not in one
    with pytest.raises(UserError, match="no figure 'nope'; this result has: curves gradients"):
        render(value, "svg", RenderOptions(focus="nope"))


def test_the_two_panels_have_plain_left_residual_right_and_two_styles() -> None:
    (figure,) = view_of(synthetic.degradation(), AUTO).pictured("")
    plain, residual = figure.panels
    assert {s.hue for s in plain.series} == {"plain"}
    assert {s.hue for s in residual.series} == {"residual"}
    for s in (*plain.series, *residual.series):
        assert s.dashed == ("training" in s.name)
        assert s.thick == ("56" in s.name)
        assert len(s.points) == len(s.spread) == 20
        assert all(low <= y <= high for (_, y), (_, low, high) in zip(s.points, s.spread,
                                                                      strict=True))  # fmt: skip


def contrast(a: str, b: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_hue_can_be_read_as_text_on_both_papers() -> None:
    for hues, paper in ((colours.LIGHT, LIGHT["card"]), (colours.DARK, DARK["card"])):
        for name, colour in hues.items():
            assert contrast(colour, paper) >= 4.5, (name, paper)
    assert colours.LIGHT.keys() == colours.DARK.keys()


# --- what is said ---------------------------------------------------------------------------


def test_degradation_as_in_the_paper_is_said_with_its_numbers() -> None:
    said = words(synthetic.degradation())
    assert (
        "The deeper plain net is worse in training, in all 3 seeds; with shortcuts it is not"
        in said
    )
    assert "plain-56 errs on 62.4 % of its training samples" in said
    assert "deeper is as good or better (within a point), in all 3 seeds" in said
    assert "explodes, and does not vanish" in said
    assert "“unlikely to be caused by vanishing gradients”" in said
    assert "8×8 pixels end as 2×2 maps" in said
    assert "the same 56,000 parameters and began, in each seed, from the same weights" in said
    assert view_of(synthetic.degradation(), AUTO).tone == "good"


def test_a_run_without_degradation_says_so() -> None:
    value = synthetic.degradation(plain56=0.0)
    said = words(value)
    assert "No degradation in this run" in said
    assert "That is degradation" not in said
    assert "this run shows no degradation" in said
    assert view_of(value, AUTO).tone == "warning"


def test_a_deep_residual_net_that_lags_is_not_called_cured() -> None:
    value = synthetic.degradation(residual56=0.3)
    said = words(value)
    assert "with shortcuts still, in 3 of 3" in said
    assert "depth still costs something at this budget" in said


def test_one_sample_more_is_no_degradation() -> None:
    assert "is as good or better" in words(synthetic.degradation(residual56=0.004))
    assert "No degradation in this run" in words(synthetic.degradation(plain56=0.004))


def test_a_loss_that_tells_another_order_than_the_error_is_told() -> None:
    value = synthetic.degradation((0,))
    nets = tuple(
        replace(n, epochs=(*n.epochs[:-1], replace(n.epochs[-1], train_loss=1e-9)))
        if n.label == "plain-56"
        else n
        for n in value.nets
    )
    said = words(replace(value, nets=nets))
    assert "The deeper plain net is worse in training" in said
    assert "Its loss is the smaller one all the same" in said
    assert "all the same" not in words(value)


def test_a_net_that_diverged_is_worse() -> None:
    value = synthetic.degradation((0,))
    gone = {"train_error": math.nan, "train_loss": math.nan}
    nets = tuple(
        replace(n, epochs=(*n.epochs[:-1], replace(n.epochs[-1], **gone)))
        if n.label == "plain-56"
        else n
        for n in value.nets
    )
    assert "The deeper plain net is worse in training" in words(replace(value, nets=nets))


def test_where_nothing_learns_nothing_is_concluded() -> None:
    value = synthetic.degradation(plain20=0.9, plain56=0.9, residual20=0.9, residual56=0.9)
    said = words(value)
    assert "Nothing can be said" in said
    assert "degradation." not in view_of(value, AUTO).seen[0]
    assert view_of(value, AUTO).tone == "warning"


def test_seeds_that_disagree_are_counted() -> None:
    value = synthetic.degradation()
    nets = tuple(
        synthetic.trained(56, False, 1, final=0.0) if (n.label, n.seed) == ("plain-56", 1) else n
        for n in value.nets
    )
    said = words(replace(value, nets=nets))
    assert "No clear degradation: the deeper plain net is worse in only 2 of 3 seeds" in said
    assert "That is degradation" not in said


def test_vanishing_and_other_weights_are_not_told_as_exploding_and_equal() -> None:
    value = synthetic.degradation((0,))
    flip = lambda g: replace(g, norms=g.norms[::-1])  # noqa: E731
    nets = tuple(
        replace(n, gradients=tuple(map(flip, n.gradients)), weights_digest=n.label)
        for n in value.nets
    )
    said = words(replace(value, nets=nets))
    assert "shrinks on its way back (vanishes)" in said
    assert "explodes" not in said
    assert "did not begin from the same weights" in said
    assert "nothing is known of the spread" in said


def test_two_nets_of_one_depth_say_nothing_about_depth() -> None:
    value = synthetic.degradation((0,))
    shallow = replace(value, nets=tuple(n for n in value.nets if n.depth == 20))
    assert "Too few nets" in view_of(shallow, AUTO).verdict
    assert render(replace(value, nets=()), "html")


def test_identity_that_fails_is_not_called_equal() -> None:
    good, bad = synthetic.identity(), replace(synthetic.identity(), difference=1e-6)
    assert "equals resnet20, bit by bit" in view_of(good, AUTO).verdict
    assert "differs from resnet20 by up to 1.00e-06" in view_of(bad, AUTO).verdict
    assert "not equal" in words(bad)
    assert view_of(bad, AUTO).tone == "warning"


def test_depth_counts_what_vanishes_and_what_float32_loses() -> None:
    view = view_of(synthetic.depth(), AUTO)
    assert view.verdict == (
        "Of 24 kinds of net with 110 layers, the gradient vanishes in 6, explodes in 6 and keeps "
        "its size in 12"
    )
    assert {f.label: f.value for f in view.facts}["Lost in float32"] == "2 of 24"
    (figure,) = [f for f in view.figures if f.key == "chain"]
    bounded = [p.title for p in figure.panels if any(s.hue == "bound" for s in p.series)]
    assert len(bounded) == 4
    assert all(title.startswith("sigmoid") for title in bounded)


def test_a_gradient_is_drawn_by_its_norm_and_not_by_a_ratio_that_hides_vanishing() -> None:
    study = synthetic.depth()
    same = {run: replace(run.weights, norms=(1e-30,) * run.depth) for run in study.runs}
    study = replace(study, runs=tuple(replace(run, weights=same[run]) for run in study.runs))
    (figure,) = [f for f in view_of(study, AUTO).figures if f.key == "depth"]
    drawn = [y for p in figure.panels for s in p.series for _, y in s.points]
    assert drawn == pytest.approx([1e-30] * 96)


def test_first_steps_of_two_depths_are_two_panels() -> None:
    study = synthetic.depth()
    for key in ("losses", "updates"):
        (figure,) = [f for f in view_of(study, AUTO).figures if f.key == key]
        titles = [p.title for p in figure.panels]
        assert len(titles) == len(set(titles)) == 12
        assert [t.rpartition(", ")[2] for t in titles] == ["20 layers"] * 6 + ["56 layers"] * 6
        lines = 3 if key == "losses" else 6
        assert all(len(p.series) == lines for p in figure.panels)


def test_theory_that_misses_by_orders_of_magnitude_is_called_so() -> None:
    study = synthetic.depth()
    assert "Theory misses" not in words(study)
    runs = tuple(
        replace(run, predicted=(1.0,) * len(run.outputs)) if run.kind.activation == "sigmoid"
        and run.kind.norm == "batch" and not run.kind.residual else run for run in study.runs
    )  # fmt: skip
    said = words(replace(study, runs=runs))
    assert "by more than a factor of 1,000: sigmoid, plain, batch norm: 1 expected" in said
    assert "With batch norm, theory leaves the zero padding out." in said


def test_the_gap_to_a_closed_form_is_laid_to_borders_only_where_it_is_theirs() -> None:
    study = synthetic.depth()
    assert "zero padding makes most" not in words(study)

    def bordered(wrapped: float) -> str:
        runs = tuple(
            replace(run, textbook=1.0, wrapped=tuple(wrapped**-i for i in range(len(run.exact))))
            if (run.kind.activation, run.kind.norm) == ("relu", "none") and not run.kind.residual
            else run for run in study.runs
        )  # fmt: skip
        return words(replace(study, runs=runs))

    assert "most of the gap in relu, plain, no norm: 1 per block" in bordered(0.98)
    assert "zero padding makes most" not in bordered(0.75)


def test_a_gradient_that_is_no_number_neither_vanishes_nor_explodes() -> None:
    study = synthetic.depth()
    runs = tuple(
        replace(run, exact=(math.nan,) * len(run.exact)) if run.kind.init == "xavier" else run
        for run in study.runs
    )
    view = view_of(replace(study, runs=runs), AUTO)
    assert view.verdict.endswith("; in 12 it is no number")
    assert {f.label: f.value for f in view.facts}["Most left"] != "NaN"


def test_depth_without_steps_or_kinds_says_nothing_of_them() -> None:
    study = replace(synthetic.depth(), steps=())
    assert "First steps" not in words(study)
    assert "steps" not in [s.key for s in view_of(study, AUTO).sections]
    nothing = replace(study, runs=(), checks=())
    assert view_of(nothing, AUTO).seen == ()
    assert render(nothing, "html")


def test_every_form_of_block_and_the_control_are_in_a_table() -> None:
    (table,) = [t for s in view_of(synthetic.identity(), AUTO).sections for t in s.tables
                if t.title.startswith("Other forms")]  # fmt: skip
    assert [row[0] for row in table.rows] == [
        "bottleneck, preact", "basic, norm_after_add", "no shortcut (control)",
    ]  # fmt: skip
    assert table.rows[2][2] == "2.31"
    assert "gives every input the same logits" in table.note


def test_what_differs_is_not_said_to_compute_the_same() -> None:
    bad = replace(synthetic.identity(), difference=1e-6, plain_difference=0.0)
    assert "computes the same function" not in words(bad)
    assert "does not work" not in words(bad)


def test_caveats_follow_the_run() -> None:
    assert "learns slowly, not that it never arrives" in words(synthetic.degradation())
    fine = words(synthetic.degradation(plain56=0.0))
    assert "learns slowly" not in fine
    assert "does not say that deeper nets or harder data would show none" in fine
    value = synthetic.degradation((0,))
    nets = tuple(
        replace(n, gradients=tuple(replace(g, norms=g.norms[::-1]) for g in n.gradients))
        for n in value.nets
    )
    assert "this run cannot tell the two apart" in words(replace(value, nets=nets))


def test_three_depths_have_an_entry_each_kind_of_line_and_no_more() -> None:
    value = synthetic.degradation((0,))
    more = (synthetic.trained(32, False, 0), synthetic.trained(32, True, 0))
    (figure,) = view_of(replace(value, nets=(*value.nets, *more)), AUTO).pictured("")
    assert [key.name for key in figure.legend] == [
        "training error", "test error", "20, 32 layers", "56 layers",
    ]  # fmt: skip


def test_what_fails_is_open_and_the_rest_of_many_checks_is_folded() -> None:
    value = synthetic.identity()
    (good,) = value.checks
    many = [replace(good, what=f"check {i}") for i in range(40)]
    many[30] = replace(many[30], holds=False)
    html = render(replace(value, checks=tuple(many)), "html").decode()
    shown, _, folded = html.partition("28 more that hold")
    assert "check 30<" in shown
    assert "check 31<" in folded
    assert [html.count(f"<bdi>check {i}</bdi>") for i in range(40)] == [1] * 40


def test_lesions_are_told_by_median_and_worst() -> None:
    said = words(synthetic.lesions())
    assert "the largest 14.0 % (layer2.0, a block that changes shape)" in said
    assert "25 of 27 deletions cost at most 5 points" in said
    assert "near chance, so lesions say little" not in said


def test_lesions_of_an_untrained_net_are_not_oversold() -> None:
    said = " ".join(words(replace(synthetic.lesions(), error=0.9, data="")).split())
    assert "the whole net is near chance, so lesions say little about it" in said
    assert "was run on the samples given in eval mode" in said


# --- raw numbers ----------------------------------------------------------------------------


def rows_of(value: Any, focus: str = "") -> list[dict[str, str]]:
    data = render(value, "csv", RenderOptions(focus=focus))
    assert b"\r\n" in data
    assert b"\n" not in data.replace(b"\r\n", b"")
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def raw_rows(value: Any) -> list[dict[str, object]]:
    return records(value) if isinstance(value, Result) else value.to_records()


def test_the_csv_of_degradation_has_a_row_per_net_seed_and_epoch() -> None:
    value = synthetic.degradation()
    rows = rows_of(value)
    assert len(rows) == sum(len(net.epochs) for net in value.nets) == 240
    keys = {(r["net"], r["seed"], r["epoch"]) for r in rows}
    assert len(keys) == 240
    first = value.nets[0].epochs[0]
    assert float(rows[0]["test_loss"]) == first.test_loss  # every digit, not a rounded text
    assert len(rows_of(value, "gradients")) == sum(
        len(g.norms) for net in value.nets for g in net.gradients
    )


@pytest.mark.parametrize(
    ("name", "table", "rows"),
    [("identity", "", 27), ("identity", "perturbed", 8), ("depth", "", 96),
     ("depth", "steps", 396), ("identity", "forms", 2), ("lesions", "", 46),
     ("degradation", "lesions", 276)],
)  # fmt: skip
def test_other_tables_have_all_their_rows(name: str, table: str, rows: int) -> None:
    value = synthetic.ALL[name]()
    assert len(rows_of(value, table)) == len(records(value, table)) == rows


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(UserError, match="no table 'x' in DepthStudy; known: runs layers"):
        render(synthetic.depth(), "csv", RenderOptions(focus="x"))


# --- hostile --------------------------------------------------------------------------------


@pytest.mark.parametrize("which", range(len(HOSTILE)))
def test_hostile_names_and_numbers_are_only_text(which: int) -> None:
    value = HOSTILE[which]
    html = render(value, "html")
    assert b"<img" not in html
    assert html.count(b"<script") == html.count(b"</script>") == 2
    assert b"\x00" not in html
    svg = render(value, "svg", RenderOptions(focus="all"))
    ElementTree.fromstring(svg)
    assert b"<img" not in svg
    assert not re.search(rb'(?:d|x|y|cx|cy|width|height|transform)="[^"]*(?:nan|inf)', svg)
    assert render(value, "png", RenderOptions(scale=0.5)).startswith(b"\x89PNG")
    text = render(value, "txt")
    assert b"\x1b" not in text
    assert b"\x00" not in text
    json.loads(render(value, "json"))


@pytest.mark.parametrize("which", range(len(HOSTILE)))
def test_no_cell_is_a_formula_and_numbers_read_back(which: int) -> None:
    value = HOSTILE[which]
    for row, raw in zip(rows_of(value), raw_rows(value), strict=True):
        for key, cell in row.items():
            number = isinstance(raw[key], int | float) and not isinstance(raw[key], bool)
            assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
            assert "\x00" not in cell
            if isinstance(raw[key], float):
                back = float(cell)
                assert back == raw[key] or (math.isnan(back) and math.isnan(raw[key]))


# --- the terminal ---------------------------------------------------------------------------


def test_the_text_says_what_came_out_first_and_fits_its_columns(value: Any) -> None:
    text = render(value, "txt").decode()
    view = view_of(value, AUTO)
    assert text.startswith(view.title)
    assert " ".join(text.split()).startswith(f"{view.title} {view.verdict}")
    assert max(map(len, text.splitlines())) <= 100
    for check in view.checks:
        assert check.what in " ".join(text.split())


def test_the_text_of_identity() -> None:
    value = replace(synthetic.identity(), blocks=synthetic.identity().blocks[2:5])
    assert render(value, "txt").decode() == GOLDEN


GOLDEN = """\
Identity: F(x) = 0 gives H(x) = x
resnet56 with 2 silent blocks equals resnet20, bit by bit

resnet56 was given the weights of resnet20 where both have a block, and branches that answer zero
elsewhere (last batch norm's weight and bias set to 0). A residual block computes H(x) = F(x) + x,
so a silent one should hand its input on (He et al. 2015 (arXiv:1512.03385), section 3.1).

On 64 inputs the logits of resnet56 and resnet20 are equal in every bit. The deep net holds 583,296
scalars more and computes the same function.

The largest |H(x) − x| of any silent block is 0. Of 2 Jacobians, the 32 singular values are all
exactly 1.

Without shortcuts the same recipe does not work: a plain block with a silent branch answers zero,
and the logits differ by 2.31. A plain net would have to learn the identity through its
convolutions; a residual net has it for nothing.

Let the silent branches speak a little and the answer moves a little: with branches scaled by
1.00e-06 the logits change by 2.00e-06 of their norm, with 1 by 2.

Blocks: Other forms of block, and none
                                                                           Likewise,  |H(x)  |H(x)
                                                                 Deep −        batch  − x|,  − x|,
Block, order           Silenced by                              shallow   statistics  x > 0  any x
bottleneck, preact     last convolution set to 0                      0            0      0      0
basic, norm_after_add  last convolution set to 0                   1.19         1.96   2.91   3.55
no shortcut (control)  last batch norm's weight and bias set       2.31            –      –      –
                       to 0
Largest absolute differences; 0 is equality of every bit. Without shortcuts the silent net gives
every input the same logits.

Blocks: Every block, in forward order
Block     Stage  Branch  Largest |H(x) − x|  Singular values
layer1.2  1      speaks                2.11   0.088–2.5 (16)
layer1.3  1      silent                   0          1 (16×)
layer1.4  1      silent                   0          1 (16×)
Singular values: range and number; what is below 10⁻¹² of the largest is zero but for rounding. A –
where input and output have different shapes.

Checks
  ✓ holds: largest difference of logits
    measured 0, expected 0, allowed exactly. He et al. 2015, section 3.1

What this does not prove
  • That a deep net can be the identity does not say that training finds it: the weights here were
    set, not learned.
  • After the addition there is a ReLU, so H(x) = x holds for x ≥ 0. Between blocks that is always
    so: each x came out of a ReLU. The Jacobian was taken at x > 0.
  • A block that changes resolution or channels cannot be the identity, silent or not.

provenance
  nets                        resnet56, resnet20
  silenced by                 last batch norm's weight and bias set to 0
  seed of weights and inputs  0
  seed                        0
  command                     resnet-viz experiment
  made with                   resnet-viz 0
"""


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_number_is_broken_at_any_usual_width_of_a_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_text, "WIDTH", width)
    value = synthetic.depth()
    text = to_text.render_text(value, RenderOptions()).decode()
    assert max(map(len, text.splitlines())) <= width
    words = set(text.split())
    for table in (table for section in view_of(value, RenderOptions()).sections
                  for table in section.tables):  # fmt: skip
        for row in table.rows[:12]:
            assert words >= {word for cell in row for word in cell.split()}
