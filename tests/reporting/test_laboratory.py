"""What is said and drawn of measured gradients: it follows the numbers, and nothing leaks out."""

from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from PIL import Image

from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.history import History
from resnet_viz.core.report import Missing, RenderOptions, Report
from resnet_viz.core.skip_shares import SkipShare
from resnet_viz.reporting import render
from resnet_viz.reporting.experiments.chain_figures import (
    chain_figure,
    chain_words,
    power,
    sparkline,
)
from resnet_viz.reporting.experiments.figure import Axis, Figure, Panel
from resnet_viz.reporting.experiments.flow_tables import parameter_table, received
from resnet_viz.reporting.experiments.heat import BROKEN, COLOURS, MOST, heat_of
from resnet_viz.reporting.experiments.inline import whole
from resnet_viz.reporting.experiments.notes import ink_of
from resnet_viz.reporting.experiments.page import view_of
from resnet_viz.reporting.experiments.path_view import CONTESTED, huge, path_words
from resnet_viz.reporting.experiments.plot import draw
from resnet_viz.reporting.page.rollup import rollup_tables
from resnet_viz.reporting.page.tables import Facts
from resnet_viz.reporting.page.view import view
from tests.reporting import laboratory, synthetic
from tests.reporting.experiments_synthetic import HOSTILE
from tests.reporting.test_html import Page

AUTO = RenderOptions()


@pytest.fixture(scope="module")
def report() -> Report:
    return laboratory.equipped(synthetic.resnet50())


@pytest.fixture(scope="module")
def flow(report: Report) -> GradientFlow:
    assert report.gradient_flow is not None
    return report.gradient_flow


# --- the report -----------------------------------------------------------------------------


def test_sections_of_what_was_measured_stand_between_skips_and_attributions(
    report: Report,
) -> None:
    page = Page(render(report, "html"))
    ids = [a["id"] for a in page.all("section")]
    assert ids[ids.index("skips") : ids.index("attributions") + 1] == [
        "skips", "paths", "propagation", "attributions",
    ]  # fmt: skip
    targets = [a["href"] for a in page.all("a")]
    assert "#paths" in targets
    assert "#propagation" in targets
    known = [a["id"] for _, a in page.elements if "id" in a]
    assert len(known) == len(set(known))
    assert CONTESTED in " ".join(page.text)


def test_what_was_not_measured_has_no_section_unless_it_was_asked_for() -> None:
    plain = synthetic.resnet18()
    assert b'id="paths"' not in render(plain, "html")
    assert "path lengths" not in render(plain, "txt").decode()
    reason = "no residual block was found"
    asked = replace(plain, missing=(Missing(section="path gradients", reason=reason),))
    assert view(asked, AUTO)["missing"]["path gradients"] == reason
    assert reason in " ".join(Page(render(asked, "html")).text)
    assert reason in render(asked, "txt").decode()


@pytest.mark.parametrize("format", ["html", "svg", "dot", "mmd", "json", "graphml", "txt"])
def test_hostile_names_of_measurements_are_only_text(format: str) -> None:
    data = render(laboratory.equipped(synthetic.resnet18(), evil=HOSTILE), format)
    if format == "html":
        page = Page(data)
        assert [a for a in page.all("img") if "onerror" in a] == []
        assert len(page.all("script")) == 4
        assert b"\x00" not in data
    if format == "txt":
        assert b"\x1b" not in data
    if format == "svg":
        ElementTree.fromstring(data)


def test_figures_and_tables_are_there_without_scripts(report: Report) -> None:
    page = Page(render(report, "html"))
    drawn = [a["class"] for a in page.all("svg") if "rv-figure" in a.get("class", "")]
    assert drawn == ["rv-figure wide", "rv-figure narrow"] * 8
    text = " ".join(page.text)
    for words in ("Every parameter", "Activation functions", "Where it breaks", "Jacobians",
                  "161 of 161 parameters received a gradient", "SGD(lr=0.1)"):  # fmt: skip
        assert words in text


def test_the_layer_table_has_columns_for_what_was_measured(report: Report) -> None:
    heads = [head for _, head in view(report, AUTO)["measured_columns"]]
    assert heads == ["‖Δw‖/‖w‖", "Worst unit ‖Gᵢ‖/‖Wᵢ‖", "Cosine", "Dead units"]
    assert view(synthetic.resnet18(), AUTO)["measured_columns"] == []


def test_error_bars_and_updates_are_in_the_chart(report: Report, flow: GradientFlow) -> None:
    chart = view(report, AUTO)["flow"]
    first = next(p for p in flow.parameters if p.name == "conv1.weight")
    at = chart["names"].index("conv1")
    assert first.stats is not None
    assert float(chart["spread"]["w_l2"][at]) == pytest.approx(first.stats.spread, rel=1e-2)
    assert float(chart["series"]["ratio"][at]) == pytest.approx(first.update_ratio, rel=1e-2)
    assert chart["axes"][-1]["title"].startswith("‖Δw‖")
    bare = view(synthetic.resnet50(), AUTO)["flow"]
    assert bare["spread"] == {}
    assert bare["axes"][-1]["title"].startswith("‖∂L/∂W‖")


# --- roll-up --------------------------------------------------------------------------------


def test_squares_of_stages_and_of_blocks_add_up(report: Report, flow: GradientFlow) -> None:
    stages, blocks = rollup_tables(Facts(report))
    whole = next(row for row in stages.rows if row[0] == "whole network")
    at = stages.head.index("‖∂L/∂W‖₂")
    total = math.hypot(*(p.stats.l2 for p in flow.parameters if p.stats))
    assert float(whole[at]) == pytest.approx(total, rel=5e-3)
    assert len(blocks.rows) == len(report.structure.blocks)
    within = {
        name
        for block in report.structure.blocks
        for op in block.ops
        for name in report.graph[op].parameters
    }
    parts = math.hypot(*(p.stats.l2 for p in flow.parameters if p.stats and p.name in within))
    sums = math.hypot(*(float(row[blocks.head.index("‖∂L/∂W‖₂")]) for row in blocks.rows))
    assert sums == pytest.approx(parts, rel=5e-3)


def test_skips_are_summed_where_that_was_measured(report: Report, flow: GradientFlow) -> None:
    sums = (
        SkipShare(by="stage", key="layer1", skips=3, shortcut=0.61, branch=0.39, other=0.0,
                  energy=1.0),
        SkipShare(by="network", key="", skips=16, shortcut=0.57, branch=0.43, other=0.0,
                  energy=4.0),
    )  # fmt: skip
    told = replace(report, measurements=(replace(flow, skip_shares=sums),))
    stages, _ = rollup_tables(Facts(told))
    found = {row[0]: row[-1] for row in stages.rows}
    assert found["layer1"] == "61.0 %"
    assert found["whole network"] == "57.0 %"
    assert found["layer2"] == "–"


def test_prose_keeps_a_percent_sign_with_its_number_and_escapes_the_rest() -> None:
    said = whole("over 11.3 % to 63.8 % of <b>, 1e-07")
    assert said == (
        'over 11.3\u00a0% to 63.8\u00a0% of &lt;b&gt;, <span class="whole">1e-07</span>'
    )


# --- the chain ------------------------------------------------------------------------------


def test_the_chain_is_told_by_its_product_and_its_mean(flow: GradientFlow) -> None:
    chain = flow.chain
    gains = [link.gain for link in chain if link.kind == "block"]
    said = " ".join(chain_words(chain))
    assert f"grows to {power(chain[0].product)} times" in said
    mean = math.exp(sum(map(math.log, gains)) / len(gains))
    assert f"by {mean:.3g} on average" in said
    assert chain[0].product == pytest.approx(math.prod(link.gain for link in chain), rel=1e-6)


@pytest.mark.parametrize(
    ("product", "words"),
    [
        (3.1e-28, "shrinks to 3.10·10⁻²⁸ of its norm"),
        (0.0, "nothing is left"),
        (math.nan, "no product can be told"),
        (math.inf, "grows beyond every number"),
        (1.1, "keeps its size"),
        (2.5e7, "grows to 2.50·10⁷ times"),
    ],
)
def test_what_becomes_of_the_gradient(flow: GradientFlow, product: float, words: str) -> None:
    chain = (replace(flow.chain[0], product=product), *flow.chain[1:])
    assert words in chain_words(chain)[0]


def test_the_largest_factors_are_named_and_every_dot_can_be_asked(flow: GradientFlow) -> None:
    gains = [0.01, 1.01, *(1.1 for _ in flow.chain[2:])]
    chain = tuple(replace(x, gain=g) for x, g in zip(flow.chain, gains, strict=True))
    figure = chain_figure(chain)
    assert figure is not None
    assert [note.text for note in figure.panels[0].notes] == [f"{chain[0].name} 0.01"]
    drawn = draw(figure, 1080)
    (note,) = [t for t in drawn.texts if t.text == f"{chain[0].name} 0.01"]
    (frame,) = drawn.frames
    panel = figure.panels[0]
    for x, y in ink_of(panel, frame):
        assert not (note.left < x < note.right and note.top < y < note.bottom)
    svg = "".join(drawn.lines)
    for link in chain:
        assert f"<title>{link.name}: {link.gain:.3g}</title>" in svg


def test_no_chain_is_no_figure_and_no_words() -> None:
    assert chain_figure(()) is None
    assert chain_words(()) == ()


def test_a_sparkline_is_on_a_log_scale_and_blank_where_there_is_no_number() -> None:
    assert sparkline([1e-4, 1e-2, 1.0]) == "▁▅█"
    assert sparkline([1.0, math.nan, 1.0]) == "▄ ▄"
    assert sparkline([]) == ""


# --- parameters -----------------------------------------------------------------------------


def test_reasons_and_counts_of_parameters_without_gradient(flow: GradientFlow) -> None:
    first = replace(flow.parameters[0], stats=None, reason="frozen")
    told = replace(flow, parameters=(first, *flow.parameters[1:]))
    assert received(told) == f"{len(flow.parameters) - 1} of 161 parameters received a gradient"
    table = parameter_table(told)
    assert table.rows[0][:2] == (first.name, "frozen")
    assert "±" in table.rows[1][2]


def test_gradients_of_zeros_are_counted(flow: GradientFlow) -> None:
    first = flow.parameters[0]
    assert first.stats is not None
    zero = replace(first, stats=replace(first.stats, l2=0.0))
    told = replace(flow, parameters=(zero, *flow.parameters[1:]))
    assert received(told).endswith("parameters received a gradient, 1 of them exactly zero")


# --- path lengths ---------------------------------------------------------------------------


def test_path_words_are_the_numbers() -> None:
    value = laboratory.paths()
    (said, exact, sampled) = path_words(value)
    low, high = value.central_range
    assert f"{value.lengths.mean:.1f}" in said
    assert f"{value.mean_length:.1f} on average" in said
    assert f"95 % of it over those of {low} to {high}" in said
    assert f"9 lengths that were drawn is {value.sampled_mean_length:.1f}" in sampled
    assert "1.8·10¹⁶ paths" in said
    assert "3.20e-07" in exact


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (0.35, "13.0 shorter than a path is on average"),
        (1.0, "as long as a path is on average"),
        (2.0, "9.0 longer than a path is on average"),
    ],
)
def test_whether_the_gradient_prefers_short_paths_is_told_by_its_numbers(
    factor: float, words: str
) -> None:
    """Of binomial paths with a factor r per branch the weighted mean is n·r/(1 + r)."""
    value = laboratory.paths(54, factor, sampled=False)
    assert value.mean_length == pytest.approx(54 * factor / (1 + factor), rel=1e-6)
    assert words in path_words(value)[0]


def test_a_net_without_forks_has_one_path_and_no_figure_of_it() -> None:
    value = laboratory.paths(0, sampled=False)
    assert path_words(value)[0] == "There is one path, of 0 residual branches."
    page = view_of(value, AUTO)
    assert page.verdict == "There is one path, of 0 residual branches"
    assert page.figures == ()
    assert render(value, "html")


@pytest.mark.parametrize("factor", [0.35, 0.8, 1.0, 1.06, 2.0])
def test_no_name_in_the_path_figure_lies_on_a_line_that_stands_there(factor: float) -> None:
    value = laboratory.paths(9, factor, sampled=False)
    figure = view_of(value, AUTO).figures[0]
    drawn = draw(figure, 1080)
    (frame,) = drawn.frames
    lines = [frame.px(rule.at) for rule in figure.panels[0].rules]
    named = [t for t in drawn.texts if t.text.startswith(("95 %", "gradient ", "paths "))]
    inside = [t for t in named if t.top >= frame.top]
    assert {t.text.split()[0] for t in inside} == {"95", "gradient", "paths"}
    assert not [(t.text, x) for t in inside for x in lines if t.left < x < t.right]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999_999, "999,999"), (2**54, "1.8·10¹⁶"), (2**5000, "1.4·10¹⁵⁰⁵")],
)
def test_huge_numbers_of_paths(number: int, text: str) -> None:
    assert huge(number) == text


def test_without_gradient_there_is_no_length() -> None:
    value = laboratory.paths(4, sampled=False)
    nothing = replace(value, norms=(0.0,) * 5, norm=0.0)
    assert "no gradient came back" in path_words(nothing)[0]
    assert view_of(nothing, AUTO).verdict == "No gradient came back"
    assert render(nothing, "svg")


# --- history --------------------------------------------------------------------------------


def pixels(heat_svg: str) -> Image.Image:
    (uri,) = re.findall(r'href="data:image/png;base64,([^"]+)"', heat_svg)
    return Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGBA")


def test_cells_have_the_colour_of_their_value() -> None:
    heat = heat_of(["a", "b"], [0.0, 1.0, 2.0], [[1e-4, 1.0, math.nan], [None, 1e-2, 0.0]], "u")
    panel = Panel(title="", x=Axis(label="step"), y=Axis(label=""), series=(), heat=heat)
    drawn = draw(Figure(key="h", title="", caption="", panels=(panel,)), 600)
    picture = pixels("".join(drawn.lines))
    cell = picture.width // 3, picture.height // 2

    def at(row: int, column: int) -> str:
        middle = int((column + 0.5) * cell[0]), int((row + 0.5) * cell[1])
        red, green, blue, alpha = picture.getpixel(middle)
        return f"#{red:02x}{green:02x}{blue:02x}" if alpha else ""

    assert [at(0, 0), at(0, 1), at(0, 2)] == [COLOURS[0], COLOURS[-1], BROKEN]
    assert [at(1, 0), at(1, 1), at(1, 2)] == ["", COLOURS[5], "#000000"]
    texts = [t.text for t in drawn.texts]
    assert {"a", "b", "NaN or infinite", "exactly zero", "no value"} <= set(texts)


def test_a_long_training_is_drawn_in_bounded_size_and_says_so() -> None:
    short, long = laboratory.history(40, 10), laboratory.history(900, 250)
    (figure, *_) = view_of(long, AUTO).figures
    heat = figure.panels[0].heat
    assert heat is not None
    assert len(heat.rows) <= MOST
    assert all(len(row) <= MOST for row in heat.values)
    assert "900 steps in" in figure.caption
    assert "249 rows in" in figure.caption
    assert len(render(long, "svg")) < 4 * len(render(short, "svg"))


def test_one_broken_cell_is_not_lost_among_its_neighbours() -> None:
    values = [[1.0] * 500]
    values[0][123] = math.inf
    heat = heat_of(["a"], [float(i) for i in range(500)], values, "u")
    assert sum(v == math.inf for v in heat.values[0]) == 1


def test_a_history_tells_clipping_findings_and_where_it_broke() -> None:
    value = laboratory.history()
    page = view_of(value, AUTO)
    assert "vanishing gradient" in page.verdict.lower()
    assert "from step 1,000 to 3,000 (12 watched steps)" in page.verdict
    assert "first at step 2,000 in layer1.weight" in page.seen[0]
    assert {f.key for f in page.figures} == {"gradient", "update", "cosine", "dead", "whole"}
    clipped = next(f for f in page.facts if f.label == "Clipped")
    share = sum(s.clipped_l2 < s.l2 for s in value.steps) / len(value.steps)
    assert clipped.value == f"{100 * share:.1f} %"


def with_axes(value: History, broken: str = "") -> History:
    """Every even parameter a weight, every odd one a bias; one of them may break."""
    steps = tuple(
        replace(
            s,
            nonfinite=(broken,) if broken else (),
            parameters=tuple(
                replace(p, axes=4 if i % 2 == 0 else 1) for i, p in enumerate(s.parameters)
            ),
        )
        for s in value.steps
    )
    return replace(value, steps=steps)


def test_maps_show_the_weights_of_layers_and_every_vector_that_broke() -> None:
    value = laboratory.history(12, 10)
    names = [p.name for p in value.steps[0].parameters]

    def rows(value: History) -> tuple[str, ...]:
        figure = view_of(value, AUTO).figures[0]
        heat = figure.panels[0].heat
        assert heat is not None
        assert ("vectors" in figure.caption) == any(p.axes for p in value.steps[0].parameters)
        return heat.rows

    gone = names[3]  # has no gradient at any step
    assert rows(value) == tuple(name for name in names if name != gone)
    assert rows(with_axes(value)) == tuple(names[::2])
    assert rows(with_axes(value, names[1])) == (names[0], names[1], *names[2::2])
    (table,) = next(
        s for s in view_of(with_axes(value), AUTO).sections if s.key == "parameters"
    ).tables
    assert [row[0] for row in table.rows] == names


def test_two_optimizers_that_step_at_once_share_a_column() -> None:
    value = laboratory.history(4, 6)
    first, second = (
        replace(s, optimizer=label, parameters=s.parameters[half], step=s.step)
        for s in value.steps[:1]
        for label, half in (("body", slice(0, 3)), ("head", slice(3, 6)))
    )
    figure = view_of(replace(value, steps=(first, second)), AUTO).figures[0]
    heat = figure.panels[0].heat
    assert heat is not None
    assert [row[0] for row in heat.values] == [
        p.l2 for p in value.steps[0].parameters if p.l2 is not None
    ]


def test_activations_without_a_dead_unit_are_a_sentence_and_no_picture() -> None:
    value = laboratory.history(4, 6)
    steps = tuple(
        replace(s, activations=tuple(replace(a, dead=0.0) for a in s.activations))
        for s in value.steps
    )
    page = view_of(replace(value, steps=steps), AUTO)
    assert "dead" not in {f.key for f in page.figures}
    assert "No watched activation function had a dead unit at any watched step." in page.seen


def test_findings_of_experiments_are_cards_and_not_one_line() -> None:
    value = laboratory.history(12, 6)
    (found,) = value.findings
    page = Page(render(value, "html"))
    assert [a["class"] for a in page.all("li") if "finding" in a.get("class", "")] == [
        "card finding sev-warning"
    ]
    said = " ".join(page.text)
    text = render(value, "txt").decode()
    for words in (found.finding.evidence, found.finding.remedy, found.finding.source,
                  "from step 1,000 to 3,000"):  # fmt: skip
        assert words in said
        assert words in text
    comparison = laboratory.comparison()
    a, b = (replace(r, findings=f) for r, f in
            ((comparison.a, (found.finding,)), (comparison.b, ())))  # fmt: skip
    told = replace(comparison, a=a, b=b)
    cards = next(s for s in view_of(told, AUTO).sections if s.key == "findings").cards
    assert [(c.title, len(c.findings)) for c in cards] == [("resnet18", 1), ("resnet50", 0)]
    assert "No rule fired." in " ".join(Page(render(told, "html")).text)


def test_a_history_without_steps_says_so() -> None:
    value = replace(laboratory.history(3, 2), steps=(), findings=())
    assert view_of(value, AUTO).verdict == "No step was watched"
    for format in ("html", "txt", "csv", "json"):
        assert render(value, format) is not None


# --- comparison -----------------------------------------------------------------------------


def test_a_comparison_counts_its_pairs_and_shows_both() -> None:
    value = laboratory.comparison()
    page = view_of(value, AUTO)
    assert page.verdict == "Of 16 pairs: 1 equal, 7 changed, 8 only in B"
    table = next(t for s in page.sections for t in s.tables if s.key == "parts")
    assert len(table.rows) == len(value.alignment.pairs)
    assert [row[2] for row in table.rows].count("+ only in B") == 8
    for figure in page.figures:
        names = {s.name for panel in figure.panels for s in panel.series}
        assert names == {"resnet18", "resnet50"}
    numbers = {row[0]: row[1:] for s in page.sections if s.key == "numbers" for row in
               s.tables[0].rows}  # fmt: skip
    assert numbers["Parameters"] == tuple(f"{r.graph.total_params:,}" for r in (value.a, value.b))


def test_a_model_beside_itself_is_equal_and_told_apart() -> None:
    one = synthetic.resnet18()
    value = laboratory.comparison(one, one)
    pairs = tuple(replace(p, same="equal", changes=()) for p in value.alignment.pairs)
    equal = replace(value, alignment=replace(value.alignment, pairs=pairs), differences=())
    page = view_of(equal, AUTO)
    assert page.verdict == "All 8 parts are equal"
    assert page.title == "resnet18 (A) and resnet18 (B)"


def test_a_comparison_without_gradients_shows_structure_alone() -> None:
    bare = synthetic.resnet(name="bare", measured=False)
    page = view_of(laboratory.comparison(bare, bare), AUTO)
    assert page.figures == ()
    assert render(laboratory.comparison(bare, bare), "html")


def test_a_plain_net_has_its_colour_on_either_side_of_a_comparison(report: Report) -> None:
    bare = replace(report, structure=replace(report.structure, skips=(), blocks=()))
    for a, b, expected in ((bare, report, ["plain", "residual"]), (report, bare, None)):
        shown = view_of(laboratory.comparison(a, b), AUTO)
        hues = [series.hue for series in shown.figures[0].panels[0].series]
        assert hues == (expected or ["residual", "plain"])
