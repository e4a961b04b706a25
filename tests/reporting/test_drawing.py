"""What is written and drawn on the ways: formulas, shapes, marks of forks and joins, sizes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.structure import SKIP_KINDS, SkipKind
from resnet_viz.reporting.colouring.palette import DARK, LIGHT, PAPER, static_css
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.drawing.edge_marks import edge_marks, forks_of
from resnet_viz.reporting.drawing.formulas import formula_of
from resnet_viz.reporting.fonts import text_width
from resnet_viz.reporting.formats.to_svg import render_svg
from resnet_viz.reporting.language import speaking
from resnet_viz.reporting.layout.coordinates import Layout, Route, coordinates
from tests.reporting import synthetic
from tests.reporting.synthetic import Net

SIZES = {"formula": 10.5, "shape-text": 9.5}


@cache
def kinds(measured: bool = False) -> Report:
    """One block with each kind of skip, in a row."""
    net = Net("kinds", (1, 16, 32, 32))
    x = net.x
    for i, kind in enumerate(SKIP_KINDS):
        path, start, fork = f"block{i}", len(net.ops), x
        y = net.relu(f"{path}.act", net.conv(f"{path}.conv1", x, 16, 3))
        y = net.conv(f"{path}.conv2", y, 16, 1)
        branch, shortcut = net.since(start), []
        if kind in ("projection", "scaled"):
            way = net.conv(f"{path}.down", x, 16, 1) if kind == "projection" else x
            x = way if kind == "projection" else net.op("mul", path, x)
            shortcut = [x]
        x = net.op({"gate": "mul", "concat": "cat"}.get(kind, "add"), path, y, x)
        net.block("basic", path, start, net.close(fork, x, kind, branch, shortcut))
    return net.report(x, measured=measured)


def highway(*, reverse: bool = False, coupled: bool = True) -> Report:
    """``F(x) T(x) + x (1 - T(x))``; reversed, or with a gate of its own on the shortcut."""
    net = Net("highway", (1, 8))
    start = len(net.ops)
    gate = net.op("sigmoid", "", net.linear("t", net.x, 8))
    f = net.relu("act", net.linear("h", net.x, 8))
    other = gate if coupled else net.op("sigmoid", "", net.linear("u", net.x, 8))
    net.op("sub", "", other, args=(1,))
    # 1 - T is written Tensor.__rsub__(T, 1).
    net.ops[-1] = replace(net.ops[-1], target="torch._tensor.Tensor.__rsub__")
    rest = net.ops[-1].id
    mine, theirs = (rest, gate) if reverse else (gate, rest)
    branch = net.op("mul", "", f, mine)
    carried = net.op("mul", "", net.x, theirs)
    join = net.op("add", "", branch, carried)
    shortcut = [carried] if reverse else [rest, carried]
    inside = [op for op in net.since(start) if op not in (*shortcut, join)]
    net.block("other", "", start, net.close(net.x, join, "scaled", inside, shortcut))
    return net.report(join, measured=False)


NETS: dict[str, Callable[[], Report]] = {
    "kinds": kinds,
    "kinds measured": lambda: kinds(measured=True),
    "se": lambda: synthetic.resnet((1, 2, 1, 1), se=True),
    "basic": lambda: synthetic.resnet((1, 1, 2, 1), bottleneck=False, measured=False),
    "vit": lambda: synthetic.vit(1),
    "dense": lambda: synthetic.densenet((3, 2)),
    "highway": highway,
}


@dataclass(frozen=True)
class Label:
    """A text on the drawing and the area it covers."""

    css: str
    text: str
    x0: float
    y0: float
    x1: float
    y1: float

    def meets(self, x0: float, y0: float, x1: float, y1: float, slack: float = 0.4) -> bool:
        """Whether it shares some of its area with this one."""
        return (
            self.x0 < x1 - slack
            and x0 < self.x1 - slack
            and self.y0 < y1 - slack
            and y0 < self.y1 - slack
        )


def labels(data: dict[str, Any], layout: Layout) -> Iterator[Label]:
    """Every text that ``edge_marks`` writes."""
    for kind, css, *rest in edge_marks(data, layout, forks_of(data, layout)):
        if kind != "t":
            continue
        x, y, text = rest
        name, *anchor = css.split()
        wide = text_width(text, SIZES[name])
        shift = {"end": wide, "mid": wide / 2}.get(anchor[0] if anchor else "", 0.0)
        shift = wide / 2 if name == "shape-text" else shift
        yield Label(css, text, x - shift, y - 7.6, x - shift + wide, y + 1.5)


def shapes_source(data: dict[str, Any], route: Route) -> tuple[int, int]:
    """What a way starts at, as its plan and item."""
    return route.plan, data["plans"][route.plan]["edges"][route.edge][0]


@pytest.mark.parametrize("direction", ["TB", "LR"])
@pytest.mark.parametrize("name", NETS)
def test_what_is_written_on_ways_covers_nothing(name: str, direction: str) -> None:
    report = NETS[name]()
    options = RenderOptions(direction=direction, formulas=True, edge_shapes=True)  # type: ignore[arg-type]
    data = diagram(report, options)
    for opened in data["open"].values():
        layout = coordinates(data, [bool(x) for x in opened])
        written = list(labels(data, layout))
        for i, label in enumerate(written):
            for other in written[i + 1 :]:
                assert not label.meets(other.x0, other.y0, other.x1, other.y1), (label, other)
            for place in layout.nodes:
                if place is not None:
                    assert not label.meets(
                        place.x, place.y, place.x + place.w, place.y + place.h
                    ), label
            for group, box in zip(data["groups"], layout.groups, strict=True):
                if box is None:
                    continue
                height = 22.0 if box.open else box.h
                width = group["tw"] + 7 if box.open else box.w
                assert not label.meets(box.x, box.y, box.x + width, box.y + height), label
            if label.css == "shape-text":
                continue
            # A formula stands beside ways; a shape is a tag upon its own.
            for route in layout.routes:
                for (ax, ay), (bx, by) in zip(route.points, route.points[1:], strict=False):
                    low, high = (min(ax, bx), min(ay, by)), (max(ax, bx), max(ay, by))
                    assert not label.meets(*low, *high, slack=-0.3), (label, route)
        for label in written:
            assert label.x0 >= 0
            assert label.x1 <= layout.w
            assert label.y1 <= layout.h


@pytest.mark.parametrize("name", NETS)
def test_every_skip_says_its_formula_once_open_and_closed(name: str) -> None:
    report = NETS[name]()
    for collapse in ("none", "blocks"):
        data = diagram(report, RenderOptions(formulas=True))
        layout = coordinates(data, [bool(x) for x in data["open"][collapse]])
        drawn = {n["id"] for n, at in zip(data["nodes"], layout.nodes, strict=True) if at}
        open_ = [s for s in report.structure.skips if s.join in drawn]
        said = Counter(x.text for x in labels(data, layout) if x.css.startswith("formula"))
        expected = Counter[str]()
        joins: set[str] = set()
        for skip in open_:
            formula = formula_of(report.graph, skip)
            expected[formula.shortcut] += 1
            if skip.join not in joins:
                joins.add(skip.join)
                expected[formula.branch] += 1
        if name != "dense":  # Its earlier concatenations share one trunk.
            assert said == expected
        for node in data["nodes"]:
            assert ("join" in node) == (node["id"] in {s.join for s in report.structure.skips})
            if "formula" in node:
                assert text_width(node["formula"], 12) + 2 * 21.5 <= node["w"]
    blocks = [g for g in diagram(report, RenderOptions(formulas=True))["groups"] if "other" in g]
    for group in blocks:
        texts = [s[4] for s in group["glyph"] if s[0] == "t" and s[1].startswith("formula")]
        skip = report.structure.blocks[group["block"]].skip
        assert texts == [formula_of(report.graph, skip).branch, formula_of(report.graph, skip).join]
        (f, h) = [s for s in group["glyph"] if s[0] == "t" and s[1].startswith("formula")]
        assert f[2] + text_width(f[4], 10.5) + 8 <= h[2] - text_width(h[4], 10.5)
        assert h[3] <= group["h"] - 4


@pytest.mark.parametrize(
    ("kind", "join"),
    [
        ("identity", "H(x) = F(x) + x"),
        ("projection", "H(x) = F(x) + Wₛx"),
        ("scaled", "H(x) = F(x) + αx"),
        ("gate", "H(x) = F(x) ⊙ x"),
        ("concat", "H(x) = [F(x), x]"),
    ],
)
def test_the_formula_is_that_of_the_kind(kind: SkipKind, join: str) -> None:
    report = kinds()
    (skip,) = report.structure.skips_of(kind)
    assert formula_of(report.graph, skip).join == join


def test_highway_is_written_out_only_where_one_gate_weighs_both_ways() -> None:
    def of(report: Report) -> str:
        return formula_of(report.graph, report.structure.skips[0]).join

    assert of(highway()) == "H(x) = F(x) ⊙ T(x) + x ⊙ (1 − T(x))"
    assert of(highway(reverse=True)) == "H(x) = F(x) ⊙ (1 − T(x)) + x ⊙ T(x)"
    assert of(highway(coupled=False)) == "H(x) = F(x) + g ⊙ x"


def test_an_identity_that_subsamples_is_no_plain_x() -> None:
    net = Net("a", (1, 8, 8, 8))
    y = net.conv("conv", net.x, 8, 3, 2)
    s = net.op("avg_pool2d", "pool", net.x, shape=(1, 8, 4, 4))
    x = net.op("add", "", y, s)
    net.close(net.x, x, "identity", [y], [s])
    report = net.report(x, measured=False)
    assert formula_of(report.graph, report.structure.skips[0]).join == "H(x) = F(x) + S(x)"


def test_turning_formulas_on_changes_only_what_holds_them() -> None:
    for report in (kinds(), synthetic.resnet((1, 1, 1, 1))):
        off = diagram(report, RenderOptions())
        on = diagram(report, RenderOptions(formulas=True))
        for mine, theirs in zip(off["groups"] + off["nodes"], on["groups"] + on["nodes"]):  # noqa: B905
            other = mine.pop("other", {})
            back = theirs.pop("other", {})
            assert {**mine, **other} == theirs
            assert {**theirs, **back} == mine
        assert off["plans"] == on["plans"]


def test_shapes_stand_where_they_are_new() -> None:
    report = synthetic.resnet((1, 1, 1, 1), measured=False)
    data = diagram(report, RenderOptions(edge_shapes=True))
    layout = coordinates(data, [True] * len(data["groups"]))
    said = Counter(x.text for x in labels(data, layout))
    expected = Counter[str]()
    for op in report.graph.nodes():
        before = {report.graph[e.src].shape for e in report.graph.edges_in(op.id)}
        if op.shape not in before:
            expected["×".join(map(str, op.shape))] += 1
    assert said == expected
    closed = coordinates(data, [False] * len(data["groups"]))
    texts = {x.text for x in labels(data, closed)}
    assert "1×256×56×56" in texts  # what leaves a closed block
    assert "1×64×56×56" in texts


def test_forks_have_a_dot_and_joins_a_sign_of_their_kind() -> None:
    root = ET.fromstring(render_svg(kinds(), RenderOptions(collapse="none")))
    for kind in SKIP_KINDS:
        classes = Counter(e.get("class") for e in root.iter())
        assert classes[f"dot k-{kind}"] == 1
        assert classes[f"joint k-{kind}"] == 1
    signs = {e.get("class"): e.get("d") for e in root.iter() if "joint" in (e.get("class") or "")}
    assert len({signs[f"joint k-{kind}"] for kind in ("identity", "gate", "concat")}) == 3


def test_space_shrinks_and_channels_grow() -> None:
    report = synthetic.resnet50()
    data = diagram(report, RenderOptions())
    nodes = {n["id"]: n for n in data["nodes"]}
    convs = [nodes[f"layer{i}.1.conv3/conv2d#0"] for i in (1, 2, 3, 4)]
    heights, widths = [n["h"] for n in convs], [n["w"] for n in convs]
    assert heights == sorted(heights, reverse=True)
    assert widths == sorted(widths)
    assert len(set(heights)) == len(set(widths)) == 4
    every = [n["h"] for n in data["nodes"]]
    assert max(every) <= 1.8 * min(every)
    blocks = [next(g for g in data["groups"] if g["id"] == f"layer{i}.1") for i in (1, 2, 3, 4)]
    assert [b["h"] for b in blocks] == sorted((b["h"] for b in blocks), reverse=True)
    assert [b["w"] for b in blocks] == sorted(b["w"] for b in blocks)
    words = diagram(synthetic.vit(1), RenderOptions())["nodes"]
    assert len({n["h"] for n in words if n["id"].startswith("blocks")}) == 1


def _rgb(colour: str) -> tuple[float, ...]:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return tuple(p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)


def _luminance(colour: str) -> float:
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), _rgb(colour), strict=True))


def _contrast(a: str, b: str) -> float:
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK, PAPER], ids=["light", "dark", "paper"])
def test_skips_can_be_told_apart_without_colour_and_seen_on_the_ground(
    colours: dict[str, str],
) -> None:
    css = static_css(RenderOptions())
    dashes = {}
    for kind in SKIP_KINDS:
        assert _contrast(colours[f"skip-{kind}"], colours["card"]) >= 3
        rule = re.search(rf"\.k-{kind} \{{([^}}]*)\}}", css)
        assert rule is not None
        dash = re.search(r"dasharray: ([\d. ]+)", rule[1])
        dashes[kind] = tuple(map(float, dash[1].split())) if dash else ()
    # Solid, dashed, dotted, and one and two dots between dashes.
    assert dashes["identity"] == ()
    assert len(dashes["projection"]) == len(dashes["scaled"]) == 2
    assert dashes["projection"][0] >= 3 * dashes["scaled"][0]
    assert (len(dashes["gate"]), len(dashes["concat"])) == (4, 6)


@pytest.mark.parametrize("colours", [LIGHT, DARK, PAPER], ids=["light", "dark", "paper"])
def test_what_is_written_can_be_read(colours: dict[str, str]) -> None:
    for kind in ("conv1", "conv3", "conv", "norm", "act", "add", "mul", "cat", "linear", "pool",
                 "attention", "shape", "io", "other"):  # fmt: skip
        assert _contrast(colours[kind], colours["on-op"]) >= 4.5, kind
    for ground in ("card", "group", "block", "unit", "inv", *(f"stage-{i}" for i in range(6))):
        for ink in ("fg", "mut"):
            assert _contrast(colours[ground], colours[ink]) >= 4.5, (ground, ink)


def test_on_paper_kinds_of_ops_differ_by_grey_or_border() -> None:
    css = static_css(RenderOptions(theme="paper"))
    looks: dict[str, tuple[float, str]] = {}
    for kind in ("conv1", "conv3", "conv", "norm", "act", "pool", "shape", "linear"):
        rules = re.findall(rf"\.{kind}\b[^{{}}]*\{{([^}}]*)\}}", css)
        border = "".join(r for r in rules if "stroke" in r)
        looks[kind] = round(100 * _luminance(PAPER[kind]) ** (1 / 3)), border
    for i, (kind, (grey, border)) in enumerate(looks.items()):
        for other, (their_grey, their_border) in list(looks.items())[i + 1 :]:
            assert border != their_border or abs(grey - their_grey) >= 5, (kind, other)


@pytest.mark.parametrize("direction", ["TB", "LR"])
@pytest.mark.parametrize("width", [400, 900, 2400])
def test_a_still_drawing_has_the_width_that_is_asked_for(width: float, direction: str) -> None:
    raw = render_svg(
        synthetic.resnet50(),
        RenderOptions(width=width, direction=direction),  # type: ignore[arg-type]
    )
    root = ET.fromstring(raw)
    assert float(root.get("width", "0")) == width
    box = [float(x) for x in root.get("viewBox", "").split()]
    assert float(root.get("height", "0")) == pytest.approx(box[3] * width / box[2], abs=0.02)
    if width == 900:
        # Broken into columns or rows so that text has nearly its natural size.
        assert 0.7 < width / box[2] < 1.4


def test_font_size_scales_the_drawing_and_transparent_leaves_the_ground_out() -> None:
    report = synthetic.resnet18()
    plain, large = (
        ET.fromstring(render_svg(report, RenderOptions(font_size=s, transparent=s > 12)))
        for s in (12, 18)
    )
    assert float(large.get("width", "0")) == pytest.approx(
        1.5 * float(plain.get("width", "0")), abs=0.02
    )
    assert plain.get("viewBox") == large.get("viewBox")
    grounds = [[e for e in root.iter() if e.get("class") == "paper"] for root in (plain, large)]
    assert list(map(len, grounds)) == [1, 0]


def test_the_legend_tells_only_what_can_be_seen() -> None:
    def told(**options: Any) -> list[str]:
        root = ET.fromstring(render_svg(synthetic.resnet50(), RenderOptions(**options)))
        return ["".join(e.itertext()) for e in root.iter() if e.get("class") == "legend"]

    assert "add" in told(collapse="none")
    assert "add" not in told(collapse="blocks")
    assert "1×1 convolution" in told(collapse="blocks")
    # Coloured by a quantity, an op keeps its own colour only on the chips of closed blocks.
    assert {"other convolution", "linear"} <= set(told())
    coloured = told(color_by="macs")
    assert {"1×1 convolution", "input or output"} <= set(coloured)
    assert not {"other convolution", "linear"} & set(coloured)
    assert not [text for text in told(color_by="macs", collapse="none") if "convol" in text]


def test_a_drawing_from_right_to_left_begins_its_lines_at_the_right() -> None:
    with speaking("fa"):
        root = ET.fromstring(render_svg(synthetic.resnet18(), RenderOptions(lang="fa")))
    texts = {e.get("class"): e for e in root.iter() if e.tag.endswith("}text")}
    right = float(root.get("width", "0")) - 28
    for name in ("heading", "facts"):
        assert float(texts[name].get("x", "0")) == pytest.approx(right, abs=0.02)
        assert texts[name].get("text-anchor") == "end"
    # Labels of ops are data and stay as they are.
    ours = {e.text for e in root.iter() if e.get("class") == "op-text"}
    assert "Conv 7×7, 64" in ours
    rows: dict[str, list[tuple[float, float]]] = {}
    for e in root.iter():
        if e.get("class") == "legend":
            x, text = float(e.get("x", "0")), e.text or ""
            rows.setdefault(e.get("y", ""), []).append((x - text_width(text, 11), x))
    for row in rows.values():
        spans = sorted(row)
        assert all(a[1] <= b[0] for a, b in pairwise(spans))
        assert spans[0][0] >= 0
        assert spans[-1][1] <= right + 28
