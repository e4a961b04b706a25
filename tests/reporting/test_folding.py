"""Folding: one copy drawn for all, nothing lost, nothing counted twice, and off by default."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from resnet_viz.analysis.repeats import repeats_in
from resnet_viz.core.graph import Failure
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.units import si
from resnet_viz.reporting import render
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.folding.fold import MANY, fold, folding_note, from_to
from resnet_viz.reporting.layout.coordinates import coordinates
from resnet_viz.reporting.page.data import read_page
from resnet_viz.reporting.page.tables import Facts, group_rows
from resnet_viz.reporting.text.to_text import summary_table
from tests.reporting import geometry, synthetic

FOLDED = RenderOptions(fold_repeats=True)
LAYOUT_JS = Path(__file__).parents[2] / "templates" / "assets" / "layout.js"
NODE = shutil.which("node")


def repeating(report: Report) -> Report:
    """The report with the repeats that the analysis finds in it."""
    found = repeats_in(report.graph, report.structure.blocks)
    return replace(report, structure=replace(report.structure, repeats=found))


def recurrent(times: int = 4) -> Report:
    """One residual layer, called again and again."""
    net = synthetic.Net("recurrent", (1, 8, 8, 8))
    x = net.x
    for _ in range(times):
        start, fork = len(net.ops), x
        y = net.conv("layer.conv2", net.relu("layer.act", net.conv("layer.conv1", x, 8, 3)), 8, 3)
        branch = net.since(start)
        x = net.op("add", "layer", fork, y)
        net.block("basic", "layer", start, net.close(fork, x, "identity", branch))
    return net.report(x)


def pairs(times: int = 3) -> Report:
    """Layers of two kinds that take turns, all in one module."""
    net = synthetic.Net("pairs", (1, 8, 8, 8))
    x = net.conv("stem", net.x, 8, 1)
    for i in range(times):
        x = net.relu(f"body.{2 * i}.act", net.conv(f"body.{2 * i}.conv", x, 8, 3))
        x = net.bn(f"body.{2 * i + 1}.norm", net.conv(f"body.{2 * i + 1}.conv", x, 8, 1))
    return net.report(net.conv("head", x, 8, 1))


def evil() -> Report:
    """Repeats in modules whose names are attacks."""
    net = synthetic.Net("evil", (1, 8, 8, 8))
    x = net.x
    for i in range(3):
        path = f"</script><img src=x onerror=alert({i})>"
        x = net.relu(f"{path}.\"'&]]>", net.conv(f"{path}.conv", x, 8, 3))
    return net.report(x)


REPORTS: dict[str, Callable[[], Report]] = {
    "resnet50": lambda: repeating(synthetic.resnet50()),
    "se_resnet50": lambda: repeating(synthetic.se_resnet50()),
    "vit": lambda: repeating(synthetic.vit()),
    "densenet": lambda: repeating(synthetic.densenet()),
    "recurrent": lambda: repeating(recurrent()),
    "pairs": lambda: repeating(pairs()),
    "evil": lambda: repeating(evil()),
}
FOLDING = [name for name in REPORTS if name != "densenet"]


@pytest.fixture(scope="module", params=REPORTS)
def report(request: pytest.FixtureRequest) -> Report:
    return REPORTS[request.param]()


# --- what is folded ---------------------------------------------------------------------


def test_every_op_is_drawn_or_stood_for_once(report: Report) -> None:
    folded = fold(report, FOLDED)
    stood_for = [m for op in folded.report.graph.ops for m in folded.members.get(op.id, (op.id,))]
    assert sorted(stood_for) == sorted(op.id for op in report.graph.ops)
    assert sum(map(folded.times, (op.id for op in folded.report.graph.ops))) == len(report.graph)


def test_costs_add_up_to_the_whole(report: Report) -> None:
    data = diagram(report, FOLDED)
    ops = [node for node in data["nodes"] if node["kind"] != "io"]
    assert sum(node.get("params", 0) for node in ops) == sum(op.params for op in report.graph.ops)
    assert sum(node.get("macs", 0) for node in ops) == report.graph.total_macs
    rows, plain = (group_rows(Facts(report), diagram(report, o)) for o in (FOLDED, RenderOptions()))
    for key in rows.keys() & plain.keys():
        if "of" not in rows[key]:
            assert rows[key]["params"] == plain[key]["params"]
            assert rows[key]["memory"] == plain[key]["memory"]


def test_edges_lead_in_through_the_first_copy_and_out_of_the_last() -> None:
    data = diagram(REPORTS["resnet50"](), FOLDED)
    ids = [node["id"] for node in data["nodes"]]
    edges = {(ids[edge[0]], ids[edge[1]]) for edge in data["edges"]}
    assert ("layer3.0.relu/relu#2", "layer3.1.conv1/conv2d#0") in edges
    assert ("layer3.1.relu/relu#2", "layer4.0.conv1/conv2d#0") in edges
    assert not any(re.match(r"layer3\.[2-5]", op) for op in ids)
    assert all(a < b for a, b, *_ in data["edges"])


def test_the_folded_boxes_of_resnet50() -> None:
    data = diagram(REPORTS["resnet50"](), FOLDED)
    boxes = {g["id"]: g for g in data["groups"] if "times" in g}
    assert {key: box["times"] for key, box in boxes.items()} == {
        "layer1.1": 2, "layer2.1": 3, "layer3.1": 5, "layer4.1": 2,
    }  # fmt: skip
    box = boxes["layer3.1"]
    assert (box["copies"], box["title"]) == ("layer3.1 … layer3.5", "1 … 5 · bottleneck")
    texts = [shape[4] for shape in box["glyph"] if shape[0] == "t"]
    assert {"layer3.1 … 5", "× 5", "5 × 1.12 M"} <= set(texts)
    assert Counter(b["kind"] for b in data["blocks"] for _ in range(b.get("times", 1))) == {
        "bottleneck": 16
    }
    # The skip of the first copy is drawn; that of the next stage starts where it did.
    joins = {skip["join"]: skip for skip in data["skips"]}
    assert joins["layer3.1/add#0"]["times"] == 5
    assert joins["layer4.0/add#0"]["fork"] == "layer3.5.relu/relu#2"


def test_a_layer_is_a_box_around_its_two_blocks_and_stays_in_its_stage() -> None:
    data = diagram(REPORTS["vit"](), FOLDED)
    (box,) = [g for g in data["groups"] if "times" in g]
    assert (box["times"], box["copies"]) == (12, "blocks.0 … blocks.11")
    inside = [g for g in data["groups"] if g["parent"] == data["groups"].index(box)]
    assert [g["title_kind"] for g in inside] == ["attention", "mlp"]
    assert {g["of"] for g in inside} == {12}


def test_units_of_several_modules_get_a_box_of_their_own() -> None:
    data = diagram(REPORTS["pairs"](), FOLDED)
    (box,) = [g for g in data["groups"] if "times" in g]
    assert (box["times"], box["copies"]) == (3, "body.0 … body.5")
    assert [g["module"] for g in data["groups"] if g["parent"] == data["groups"].index(box)] == [
        "body.0",
        "body.1",
    ]


def test_a_box_that_would_reach_out_of_the_stack_keeps_the_copies_apart() -> None:
    net = synthetic.Net("again", (1, 8, 8, 8))
    x = net.x
    for i in range(3):
        x = net.relu(f"l.{i}.act", net.conv(f"l.{i}.conv", x, 8, 3))
    # Without the second and third copy this would be one stretch with the first one's.
    report = repeating(net.report(net.relu("l.0.act", x)))
    assert [r.count for r in report.structure.repeats] == [3]
    assert fold(report, FOLDED).repeats == ()
    assert len(diagram(report, FOLDED)["nodes"]) == 9


def test_what_every_copy_gives_out_is_one_output_of_the_stack() -> None:
    net = synthetic.Net("taps", (1, 8))
    outputs = [net.linear("layer.0", net.x, 8)]
    for i in range(1, 4):
        outputs.append(net.linear(f"layer.{i}", outputs[-1], 8))
    report = repeating(net.report(*outputs, outputs[-1]))
    data = diagram(report, FOLDED)
    ends = [n for n in data["nodes"] if n["id"].startswith("output#")]
    assert [n["label"] for n in ends] == ["output … output3", "output4"]
    assert [g["times"] for g in data["groups"] if "times" in g] == [4]


def test_shared_weights_are_said_to_be() -> None:
    report = REPORTS["recurrent"]()
    data = diagram(report, FOLDED)
    (box,) = [g for g in data["groups"] if "times" in g]
    assert (box["times"], box["copies"], box["shared"]) == (4, "layer", 1)
    assert box["params"] == report.graph.total_params
    assert "1.15 k shared" in [s[4] for s in box["glyph"] if s[0] == "t"]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("layer3.1", "layer3.5", "layer3.1 … 5"),
        ("encoder.layer_0", "encoder.layer_11", "encoder.layer_0 … 11"),
        ("a1", "a12", "a1 … 12"),
        ("a", "a", "a"),
        ("h.0.x", "h.9.x", "h.0.x … 9.x"),
        ("left", "right", "left … right"),
        ("x10", "x19", "x10 … 19"),
    ],
)
def test_names_say_only_what_is_new(first: str, last: str, expected: str) -> None:
    assert from_to(first, last) == expected


# --- when -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["svg", "dot", "mmd", "txt", "html"])
def test_a_graph_of_usual_size_is_drawn_as_before_unless_asked(suffix: str) -> None:
    report = REPORTS["resnet50"]()
    usual = render(report, suffix)
    assert usual == render(report, suffix, RenderOptions(fold_repeats=False))
    assert usual == render(synthetic.resnet50(), suffix)
    assert usual != render(report, suffix, FOLDED)
    assert folding_note(report, RenderOptions()) == ""


def test_without_repeats_folding_changes_nothing() -> None:
    report = REPORTS["densenet"]()
    assert render(report, "svg", FOLDED) == render(report, "svg")


def test_a_very_large_graph_is_folded_and_one_line_says_so() -> None:
    report = repeating(
        synthetic.resnet((120, 120, 120), bottleneck=False, widths=(16, 32, 64), measured=False)
    )
    assert len(report.graph) > MANY
    folded = fold(report, RenderOptions())
    assert [r.count for r in folded.repeats] == [119, 119, 119]
    assert folding_note(report, RenderOptions()).startswith(f"{len(report.graph):,} ops: equal")
    assert len(folded.report.graph) < 60
    assert not fold(report, RenderOptions(fold_repeats=False)).repeats
    small, large = (
        len(render(report, "html", RenderOptions(fold_repeats=f))) for f in (None, False)
    )
    assert small < 0.6 * large
    assert read_page(render(report, "html"))["rows"]["ops"] == [op.id for op in report.graph.ops]


def test_a_focus_on_a_copy_shows_that_copy() -> None:
    report = REPORTS["resnet50"]()
    data = diagram(report, RenderOptions(fold_repeats=True, focus="layer3.4"))
    assert "folds" not in data
    assert any(node["module"] == "layer3.4.conv2" for node in data["nodes"])
    data = diagram(report, RenderOptions(fold_repeats=True, focus="layer3"))
    assert [g["times"] for g in data["groups"] if "times" in g] == [5]


def test_the_copy_in_which_python_raised_is_no_copy() -> None:
    report = repeating(replace(pairs(), measurements=(), findings=()))
    (repeat,) = report.structure.repeats
    last = report.graph.position(repeat.copies[-1][-1]) - 1
    ops = report.graph.ops[: last + 1]
    known = {op.id for op in (*ops, *report.graph.inputs)}
    graph = replace(
        report.graph,
        ops=ops,
        edges=tuple(e for e in report.graph.edges if e.dst in known),
        outputs=(),
        failure=Failure(error="ValueError: no", module="body.5"),
    )
    folded = fold(replace(report, graph=graph), FOLDED)
    assert [r.count for r in folded.repeats] == [repeat.count - 1]


# --- measures ---------------------------------------------------------------------------


def test_a_folded_op_is_coloured_by_its_strangest_copy_and_tells_the_range() -> None:
    report = REPORTS["resnet50"]()
    flow = report.gradient_flow
    assert flow is not None
    name = "layer3.{}.conv2/conv2d#0"
    odd = flow[name.format(4)]
    calls = tuple(
        replace(c, stats=replace(odd, l2=1e-9)) if c.op == name.format(4) else c for c in flow.calls
    )
    report = replace(report, measurements=(replace(flow, calls=calls),))
    data = diagram(report, FOLDED)
    node = next(n for n in data["nodes"] if n["id"] == name.format(1))
    others = [flow[name.format(i)].l2 for i in (1, 2, 3, 5)]
    assert node["l2"] == 1e-9
    assert node["spread"] == [1e-9, max(others)]
    assert node["g"] == 0
    assert data["gradient"]["low"] == 1e-9


def test_a_folded_skip_has_the_mean_share_and_tells_the_range() -> None:
    report = REPORTS["resnet50"]()
    flow = report.gradient_flow
    assert flow is not None
    skips = [s for s in report.structure.skips if re.match(r"layer3\.[1-5]/", s.join)]
    shares = [flow.share_of(s) for s in skips]
    drawn = next(s for s in diagram(report, FOLDED)["skips"] if s["join"] == "layer3.1/add#0")
    assert drawn["share"] == pytest.approx(sum(filter(None, shares)) / 5)
    assert drawn["shares"] == [min(filter(None, shares)), max(filter(None, shares))]


# --- drawings ---------------------------------------------------------------------------


def openings(data: dict[str, Any]) -> list[list[bool]]:
    return [[bool(x) for x in mode] for mode in data["open"].values()]


def test_the_laws_of_layout_hold(report: Report) -> None:
    data = diagram(report, FOLDED)
    for opened in openings(data):
        layout = coordinates(data, opened)
        for broken in (geometry.overlaps, geometry.outside, geometry.backward):
            assert not list(broken(data, layout))
        assert not list(geometry.through_boxes(data, layout))


@pytest.mark.skipif(NODE is None, reason="no node; the browser test covers it")
@pytest.mark.parametrize("name", FOLDING)
def test_python_and_javascript_lay_it_out_alike(name: str) -> None:
    data = diagram(REPORTS[name](), FOLDED)
    script = (
        f"require({json.dumps(str(LAYOUT_JS))});"
        "const {data, cases} = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        "console.log(JSON.stringify(cases.map(c => RV.layout(data, c))));"
    )
    assert NODE is not None
    run = subprocess.run(
        [NODE, "-e", script],
        input=json.dumps({"data": data, "cases": openings(data)}),
        capture_output=True,
        text=True,
        check=True,
    )
    for opened, theirs in zip(openings(data), json.loads(run.stdout), strict=True):
        ours = coordinates(data, opened)
        assert (theirs["w"], theirs["h"]) == pytest.approx((ours.w, ours.h), abs=1e-6)
        for mine, other in zip(ours.groups, theirs["groups"], strict=True):
            assert (mine is None) == (other is None)
            if mine is not None:
                place = [mine.x, mine.y, mine.w, mine.h]
                assert [other[k] for k in "xywh"] == pytest.approx(place, abs=1e-6)


@pytest.mark.parametrize("collapse", ["blocks", "all", "none"])
@pytest.mark.parametrize("name", FOLDING)
def test_svg_marks_each_drawn_skip_and_block_once_and_counts_all(name: str, collapse: str) -> None:
    report = REPORTS[name]()
    svg = render(report, "svg", RenderOptions(fold_repeats=True, collapse=collapse)).decode()
    root = ElementTree.fromstring(svg)
    drawn = fold(report, FOLDED).report.structure
    classes = Counter(c for el in root.iter() for c in (el.get("class") or "").split())
    assert classes["skip"] == len(drawn.skips)
    assert classes["block"] == len(drawn.blocks)
    facts = root.find("{http://www.w3.org/2000/svg}desc")
    assert facts is not None
    assert f"{len(report.graph)} ops" in (facts.text or "")
    kinds = Counter(b.title for b in report.structure.blocks)
    assert all(f"{n} {kind} block" in (facts.text or "") for kind, n in kinds.items())


def test_a_stack_of_cards_stays_inside_its_box() -> None:
    report = REPORTS["resnet50"]()
    widths = {g["id"]: g["w"] for g in diagram(report, FOLDED)["groups"] if "times" in g}
    root = ElementTree.fromstring(render(report, "svg", FOLDED).decode())
    groups = [el for el in root.iter() if el.get("data-group") in widths]
    assert len(groups) == 4
    for group in groups:
        rects = [el for el in group if el.tag.endswith("rect")]
        *cards, face = ((float(el.get("x", 0)), float(el.get("width", 0))) for el in rects)
        assert [x > 0 for x, _ in cards] == [True, True]
        assert {w for _, w in cards} == {face[1]}
        assert max(x + w for x, w in cards) <= widths[group.get("data-group", "")] + 0.01


def test_dot_says_how_often_and_draws_a_double_frame() -> None:
    text = render(REPORTS["resnet50"](), "dot", FOLDED).decode()
    nodes = re.findall(r"^\s*g\d+ \[.*?times=(\d+)\]?", text, re.M | re.S)
    assert Counter(re.findall(r"times=(\d+)", text)) == {"2": 2, "3": 1, "5": 1}, nodes
    assert text.count("peripheries=2") == 4
    assert "bottleneck × 5" in text
    assert text.count('class="skip ') == 8


def test_mermaid_says_how_often() -> None:
    text = render(REPORTS["resnet50"](), "mmd", FOLDED).decode()
    assert "layer3.1 … layer3.5 · bottleneck × 5" in text
    assert text.count("==>") == 8


def test_names_that_are_attacks_stay_text() -> None:
    page = render(REPORTS["evil"](), "html", FOLDED).decode()
    assert "<img src=x" not in page
    for suffix in ("svg", "dot", "mmd", "txt", "png"):
        assert render(REPORTS["evil"](), suffix, FOLDED)
    ElementTree.fromstring(render(REPORTS["evil"](), "svg", FOLDED))


# --- text -------------------------------------------------------------------------------


def table(report: Report, width: int = 140, **arguments: Any) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(summary_table(report, **arguments))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_a_row_for_five_blocks_says_what_one_and_all_cost() -> None:
    report = REPORTS["resnet50"]()
    shown = table(report, fold_repeats=True)
    (row,) = [line for line in shown.splitlines() if "Bottleneck × 5" in line]
    costs = [c for c in report.structure.costs.blocks if re.match(r"layer3\.[1-5]/", c.key)]
    one, every = costs[0].params, sum(c.params for c in costs)
    assert re.match(rf"    1 … 5 Bottleneck × 5 +1×1024×14×14 +{every:,} ", row)
    assert f"each {si(one)} params, 218 M MACs" in " ".join(shown.split())
    assert "layer3.2" not in shown
    assert "Bottleneck ×" not in table(report)
    assert "numbers" not in table(report)


@pytest.mark.parametrize("name", FOLDING)
def test_columns_add_up_at_every_level(name: str) -> None:
    report = REPORTS[name]()
    rows = re.findall(
        r"^( *)\S.*?  +[\d×–]+ +([\d,]+) ", table(report, 200, fold_repeats=True), re.M
    )
    tree = [(len(indent) // 2, int(params.replace(",", ""))) for indent, params in rows]
    assert tree[0][1] == report.graph.total_params
    for i, (depth, params) in enumerate(tree):
        below = []
        for deeper, value in tree[i + 1 :]:
            if deeper <= depth:
                break
            if deeper == depth + 1:
                below.append(value)
        assert not below or sum(below) == params


def test_text_shows_the_range_of_shares() -> None:
    text = " ".join(render(REPORTS["resnet50"](), "txt", FOLDED).decode().split())
    assert re.search(r"identity skip [\d.]+ % … [\d.]+ %; each 1.12 M params", text)
    assert "5 × bottleneck 1×1 256" in text


def test_a_module_called_four_times_says_so_in_its_row() -> None:
    shown = " ".join(table(REPORTS["recurrent"](), fold_repeats=True).split())
    assert "layer Sequential × 4" in shown
    assert "the same weights" in shown
