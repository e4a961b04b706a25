"""The text report: the tree adds up, skips are named, nothing drives the terminal."""

from __future__ import annotations

import dataclasses
import io
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from resnet_viz.core.attribution import Attribution, Attributions, Bar
from resnet_viz.core.gradient_flow import NotSeparable, ParameterGradient
from resnet_viz.core.graph import OpId
from resnet_viz.core.pictures import Heatmap
from resnet_viz.core.report import Missing, RenderOptions, Report
from resnet_viz.core.structure import Block, Skip
from resnet_viz.core.units import percent, scientific, si
from resnet_viz.reporting import render
from resnet_viz.reporting.page.charts import slope_sentence
from resnet_viz.reporting.page.tables import Facts
from resnet_viz.reporting.text.sections import Whole
from resnet_viz.reporting.text.to_text import summary_table
from resnet_viz.reporting.wording import block_widths
from tests.reporting import synthetic

REPORTS = {name: make() for name, make in synthetic.ALL.items()}


def text(report: Report, **options: object) -> str:
    return render(report, "txt", RenderOptions(**options)).decode()


def table(report: Report, width: int = 100, **arguments: object) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(summary_table(report, **arguments))
    return console.file.getvalue()


@pytest.mark.parametrize("name", REPORTS)
def test_it_fits_a_hundred_columns_without_colours(name):
    lines = text(REPORTS[name]).splitlines()
    assert max(map(len, lines)) <= 100
    assert not any("\x1b" in line or line != line.rstrip() for line in lines)


@pytest.mark.parametrize("name", REPORTS)
def test_every_skip_stands_in_it_once_with_its_kind(name):
    section = text(REPORTS[name]).partition("skip paths\n")[2].partition("\n\n")[0]
    for kind in {skip.kind for skip in REPORTS[name].structure.skips}:
        expected = len(REPORTS[name].structure.skips_of(kind))
        assert len(re.findall(rf"\s{kind}\s", section)) == expected


def test_rows_of_resnet50():
    shown = text(REPORTS["resnet50"])
    assert re.search(r"^resnet50 ResNet +1×1000 +25,557,032 +4.09 G", shown, re.M)
    assert re.search(r"^  conv1 Conv2d +1×64×112×112 +9,408 +118 M$", shown, re.M)
    assert re.search(r"^    0 Bottleneck .*bottleneck 1×1 64 ▷ 3×3 64 ◁ 1×1 256,$", shown, re.M)
    assert "skips       16 (12 identity, 4 projection)" in shown
    assert "blocks      16 (16 bottleneck)" in shown
    assert "25,557,032 (25,557,032 trainable)" in shown


def test_children_add_up_to_their_parent():
    report = REPORTS["resnet50"]
    rows = re.findall(r"^( *)(\S+) \S+ +[\d×]+ +([\d,]+) ", text(report), re.M)
    depth_one = [int(params.replace(",", "")) for indent, _, params in rows if len(indent) == 2]
    assert sum(depth_one) == report.graph.total_params


def test_every_module_has_a_row_until_depth_cuts_the_tree():
    report = REPORTS["resnet18"]
    body = table(report).partition("\n\n")[0].splitlines()[2:]
    rows = [line for line in body if re.search(r"\d×\d", line)]
    assert len(rows) == len(report.graph.modules)
    top = table(report, depth=1).partition("\n\n")[0]
    assert "layer4 Sequential" in top
    assert "conv2" not in top
    assert table(report, depth=0).count("Conv2d") == 0
    assert si(report.graph.total_macs) in table(report, depth=0)


def test_focus_starts_the_tree_elsewhere():
    shown = table(REPORTS["resnet50"], focus="layer3.2").splitlines()
    assert shown[2].startswith("2 Bottleneck")
    assert not any(line.startswith("conv1") for line in shown)


def test_a_title_replaces_the_name():
    assert text(REPORTS["resnet18"], title="My net").startswith("My net\n")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_numbers_are_never_cut(width):
    for report in REPORTS.values():
        shown = table(report, width=width)
        assert f" {report.graph.total_params:,} " in shown
        assert not re.search(r"\d…", shown)


def test_gradients_and_findings_are_told_with_their_source():
    shown = text(REPORTS["resnet50"])
    assert "loss cross entropy on seeded labels = 6.93, train mode, batch 8" in shown
    assert "warning: exploding gradient at conv1/conv2d#0" in shown
    assert "rule: more than 0.1 decades per block (He et al. 2015)" in shown
    assert "identity skip 66.5 %" in shown


def test_what_was_not_measured_says_why():
    bare = synthetic.resnet((1, 1, 1, 1), measured=False)
    shown = text(
        dataclasses.replace(
            bare, missing=(Missing(section="gradient flow", reason="no floating output"),)
        )
    )
    assert "gradient flow\n  no floating output" in shown
    assert "findings" not in shown  # nothing was measured that a rule could speak of
    assert "%" not in shown


def test_parameters_without_gradient_are_listed():
    report = REPORTS["resnet18"]
    flow = dataclasses.replace(
        report.gradient_flow,
        parameters=(ParameterGradient(name="fc.bias", stats=None, weight_l2=1.0, reason="frozen"),),
        not_separable=(NotSeparable(fork=OpId("relu#0"), reason="in-place write"),),
    )
    shown = text(dataclasses.replace(report, measurements=(flow,)))
    assert "no gradient at fc.bias: frozen" in shown
    assert "shares at relu#0 not separable: in-place write" in shown


def test_a_model_without_skips_says_so():
    net = synthetic.Net("plain", (1, 3, 8, 8))
    x = net.relu("act", net.conv("conv", net.x, 4, 3))
    assert "no skip paths" in text(net.report(x))


def test_unregistered_modules_hang_below_their_parent():
    net = synthetic.Net("stray", (1, 8, 8, 8))
    x = net.conv("body.<Conv2d#0>", net.x, 8, 3)
    report = net.report(x)
    graph = dataclasses.replace(
        report.graph,
        modules=tuple(dataclasses.replace(m, children=()) for m in report.graph.modules),
    )
    shown = table(dataclasses.replace(report, graph=graph))
    assert re.search(r"^  body .*\n    <Conv2d#0> Conv2d ", shown, re.M)


@given(st.text(min_size=1, max_size=12).filter(lambda name: "." not in name))
def test_no_name_reaches_the_terminal_raw(name):
    net = synthetic.Net(name, (1, 8, 8, 8))
    shown = text(net.report(net.conv(name, net.x, 8, 3)))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
    assert not any(line != line.rstrip() for line in shown.splitlines())


def _block(kind: str, widths: tuple[int, ...], kernels: tuple[int, ...]) -> Block:
    skip = Skip(fork=OpId("f"), join=OpId("j"), kind="identity", branch=())
    return Block(
        kind=kind, module="m", ops=(), skip=skip, squeeze=1.0, widths=widths, kernels=kernels
    )


@pytest.mark.parametrize(
    ("kind", "widths", "kernels", "expected"),
    [
        ("bottleneck", (64, 64, 256), (1, 3, 1), "1×1 64 ▷ 3×3 64 ◁ 1×1 256"),
        ("bottleneck", (16, 64), (3, 3), "3×3 16 ◁ 3×3 64"),
        ("inverted bottleneck", (96, 96, 24), (1, 3, 1), "1×1 96 ◁ 3×3 96 ▷ 1×1 24"),
        ("basic", (64, 64), (3, 3), "3×3 64 → 3×3 64"),
        ("mlp", (3072, 768), (1, 1), "3072 → 768"),
        ("dense", (32,) * 9, (3,) * 9, "3×3 32 → … 7 more … → 3×3 32"),
        ("other", (), (), ""),
    ],
)
def test_a_block_in_words(kind, widths, kernels, expected):
    assert block_widths(_block(kind, widths, kernels)) == expected


def test_gradient_flow_alone_is_a_table_of_layers_and_not_the_module_tree():
    flow = REPORTS["resnet50"].gradient_flow
    report = dataclasses.replace(REPORTS["resnet50"], measurements=(flow,))
    shown = text(report)
    assert not re.search(r"^  layer1 Sequential", shown, re.M)
    facts = Facts(report)
    for op in facts.weighted:
        (row,) = re.findall(rf"^{re.escape(facts.name(op.id))} .*$", shown, re.M)
        assert scientific(flow[op.id].l2) in row
    shares = re.findall(r"(?:identity|projection) ([\d.]+ %)$", shown, re.M)
    expected = [percent(flow.share_of(s)) for s in report.structure.skips]
    assert shares == expected


def test_attributions_alone_say_how_far_to_trust_them():
    maps = Attribution(
        method="saliency",
        input=0,
        target="class 3",
        verdict="Not complete.",
        heatmap=Heatmap(
            width=3, height=2, low=-2.0, high=1.0, data=bytes([170, 255, 0, 170, 0, 9])
        ),
    )
    bars = Attribution(
        method="integrated gradients",
        input=0,
        target="class 3",
        delta=0.25,
        bars=tuple(Bar(label=f"feature {i}", value=(-1.0) ** i * i) for i in range(15)),
    )
    found = Attributions(pictures=(), maps=(maps, bars), note="The weights are random.")
    report = dataclasses.replace(REPORTS["resnet18"], measurements=(found,), findings=())
    shown = text(report)
    assert "The weights are random." in shown
    assert "input 1, class 3\n    saliency\n      Not complete." in shown
    assert "values -2 to 1, strongest -2 at row 1 of 2, column 3 of 3" in shown
    assert "completeness delta 0.25" in shown
    assert re.findall(r"feature (\d+)", shown) == [str(i) for i in range(14, 2, -1)]
    assert "and 3 weaker" in shown
    assert "Sequential" not in shown
    assert "skip paths" not in shown


def test_a_full_report_has_the_tree_and_every_section():
    report = REPORTS["resnet18"]
    shown = text(
        dataclasses.replace(
            report,
            measurements=(report.gradient_flow,),
            missing=(Missing(section="attributions", reason="no image goes in"),),
        )
    )
    wanted = ("layer1 Sequential", "skip paths", "gradient flow", "attributions", "findings")
    places = [shown.index(word) for word in wanted]
    assert places == sorted(places)
    assert "attributions\n  no image goes in" in shown


@pytest.mark.parametrize(("factor", "words"), [(0.5, "shrinks"), (2.0, "grows")])
def test_a_slope_is_told_by_a_factor_above_one(factor, words):
    slope = SimpleNamespace(factor=factor, span=factor**4, ops=("a", "b"), depths=(1, 5))
    facts = SimpleNamespace(slope=slope, name=str)
    assert slope_sentence(facts).endswith(
        f"from b back to a, the norm {words} by a factor of 2.000 per layer: 16 over 4 layers."
    )


@pytest.mark.parametrize("width", range(12, 60))
def test_a_number_is_never_parted_from_its_percent_sign(width: int) -> None:
    text = "basic 3×3 16 → 3×3 16, identity skip 11.3 %; 95 % of it, (0.1 %)."
    console = Console(file=io.StringIO(), width=width)
    console.print(Whole(Text(text)))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if line.lstrip().startswith("%")]
    assert " ".join(line.strip() for line in lines) == text
