"""The diagram's JSON: what it holds, and that every text fits where it is put."""

from __future__ import annotations

import json
from typing import Any

import pytest
from PIL import ImageFont

from resnet_viz.core.errors import UserError
from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting import fonts
from resnet_viz.reporting.drawing.diagram import diagram, gradient_step
from tests.reporting import synthetic
from tests.reporting.layout_nets import at_random

SIZES = {"title": (12, True), "meta": (10.5, False), "sub": (10.5, False), "chip-text": (10, True)}


def drawn(name: str, **options: Any) -> dict[str, Any]:
    """The diagram of a ready-made report."""
    return diagram(synthetic.ALL[name](), RenderOptions(**options))


@pytest.mark.parametrize("name", synthetic.ALL)
def test_every_op_and_output_is_a_node_once(name: str) -> None:
    report = synthetic.ALL[name]()
    data = diagram(report, RenderOptions())
    ids = [node["id"] for node in data["nodes"]]
    assert len(set(ids)) == len(ids)
    assert set(ids) == {str(op.id) for op in report.graph.nodes()} | {"output#0"}
    held = [item for plan in data["plans"] for item in plan["items"]]
    assert sorted(i for i in held if i >= 0) == list(range(len(ids)))
    assert sorted(-1 - i for i in held if i < 0) == list(range(len(data["groups"])))


@pytest.mark.parametrize("name", synthetic.ALL)
def test_json_takes_it_and_nothing_is_none(name: str) -> None:
    data = drawn(name)
    assert json.loads(json.dumps(data, allow_nan=False)) == json.loads(json.dumps(data))
    assert all(value is not None for node in data["nodes"] for value in node.values())


@pytest.mark.parametrize("name", synthetic.ALL)
def test_labels_fit_their_boxes(name: str) -> None:
    data = drawn(name)
    for node in data["nodes"]:
        assert fonts.text_width(node["label"], 12) <= node["w"] - 20
    for group in data["groups"]:
        row = 27.0
        for shape in group["glyph"]:
            if shape[0] != "t":
                continue
            size, bold = SIZES.get(shape[1].split()[0], (10, True))
            width = fonts.text_width(shape[4], size, bold=bold)
            assert width <= group["w"] - 12
            row += width if shape[1] in ("title", "meta") else 0
        assert row <= group["w"], group["id"]


def test_resnet50_has_its_stages_blocks_and_nothing_trivial() -> None:
    data = drawn("resnet50")
    kinds = {g["id"]: g["kind"] for g in data["groups"]}
    assert [k for k, v in kinds.items() if v == "stage"] == [f"layer{i}" for i in (1, 2, 3, 4)]
    assert sum(v == "block" for v in kinds.values()) == 16
    # A module that holds one op is that op; only the projections are modules of two.
    assert [k for k, v in kinds.items() if v == "module"] == [
        f"layer{i}.0.downsample" for i in (1, 2, 3, 4)
    ]
    block = next(g for g in data["groups"] if g["id"] == "layer2.1")
    assert block["chips"] == [{"k": 1, "c": 128}, {"k": 3, "c": 128}, {"k": 1, "c": 512}]
    assert block["squeeze"] == 0.25


def test_two_blocks_of_one_module_get_a_box_each() -> None:
    data = drawn("vit")
    inside = [g for g in data["groups"] if g["module"] == "blocks.3" and g["kind"] == "block"]
    assert [g["title_kind"] for g in inside] == ["attention", "mlp"]


def test_dense_layers_carry_their_blocks() -> None:
    data = drawn("densenet")
    carriers = [g["id"] for g in data["groups"] if g["kind"] == "block"]
    assert len(carriers) == 58
    assert carriers[0] == "features.denseblock1.denselayer1"


def test_a_module_called_twice_gets_two_boxes() -> None:
    net = synthetic.Net("twice", (1, 8, 4, 4))
    x = net.x
    for _ in range(2):
        x = net.relu("shared.act", net.conv("shared.conv", x, 8, 3))
        x = net.op("sigmoid", "", x)
    data = diagram(net.report(x), RenderOptions())
    assert [g["id"] for g in data["groups"]] == ["shared", "shared@2"]


def test_edges_carry_their_skip_and_share() -> None:
    report = synthetic.resnet50()
    data = diagram(report, RenderOptions())
    assert report.gradient_flow is not None
    found = {}
    for src, dst, *more in data["edges"]:
        if more and "skip" in more[0]:
            found.setdefault(more[0]["skip"], []).append((src, dst))
    assert set(found) == {skip.id for skip in report.structure.skips}
    identity = report.structure.skips_of("identity")[0]
    ((src, dst),) = found[identity.id]
    assert (data["nodes"][src]["id"], data["nodes"][dst]["id"]) == (identity.fork, identity.join)


def test_focus_draws_one_module_and_what_feeds_it() -> None:
    data = drawn("resnet50", focus="layer2.0")
    inside = [n["id"] for n in data["nodes"] if n["module"].startswith("layer2.0")]
    assert len(inside) == 12
    (feeder,) = [n for n in data["nodes"] if n["id"] not in inside]
    assert (feeder["id"], feeder["kind"]) == ("layer1.2.relu/relu#2", "io")
    with pytest.raises(UserError, match=r"no module 'layer2.9' ran; focus on one of: .*layer2.3"):
        drawn("resnet50", focus="layer2.9")


def test_without_gradients_nothing_is_coloured_by_them() -> None:
    data = diagram(synthetic.resnet((1, 1, 1, 1), measured=False), RenderOptions())
    assert "gradient" not in data
    assert not any("g" in item for item in [*data["nodes"], *data["groups"]])
    assert not any("share" in skip for skip in data["skips"])


def test_gradient_colours_are_logarithmic_and_bounded() -> None:
    steps = [gradient_step(10.0**-k, 1e-6, 1.0) for k in range(7)]
    assert steps == sorted(steps, reverse=True)
    assert (steps[0], steps[-1]) == (6, 0)
    assert gradient_step(0.0, 1e-6, 1.0) == 0
    assert gradient_step(float("nan"), 1e-6, 1.0) == 0
    assert gradient_step(1.0, 1.0, 1.0) == 3


@pytest.mark.parametrize("bold", [False, True])
def test_text_width_is_what_the_font_says(bold: bool) -> None:
    face = next(f for f in fonts.font_files() if ("SemiBold" if bold else "Regular") in f)
    font = ImageFont.truetype(face, 1000, layout_engine=ImageFont.Layout.BASIC)
    for text in ("Conv 3×3, 64", "layer4.2.downsample.1", "‖ 62 % · α → ∞ …", "ÅÉß ₂"):
        assert fonts.text_width(text, 1000, bold=bold) == pytest.approx(font.getlength(text), abs=9)


def test_the_fonts_cover_what_the_reports_write() -> None:
    assert fonts.covered("Conv 3×3 · 62 % → ‖∇L‖₂ ∞ … ≤ ≥ ≈ − ± αβγδελμσθ ∂ √ Σ ² ³")
    assert not fonts.covered("کانولوشن")
    assert fonts.text_width("کانولوشن", 10) > 30


@pytest.mark.parametrize("tail", [False, True])
def test_fit_cuts_only_what_is_too_long(tail: bool) -> None:
    text = "features.denseblock4.denselayer16"
    assert fonts.fit(text, 12, 500, tail=tail) == text
    short = fonts.fit(text, 12, 90, tail=tail)
    assert "…" in short
    assert fonts.text_width(short, 12) <= 90
    assert text.endswith(short[1:]) if tail else text.startswith(short[:-1])


def test_random_graphs_keep_every_edge() -> None:
    for seed in range(30):
        report = at_random(seed)
        data = diagram(report, RenderOptions())
        ids = [n["id"] for n in data["nodes"]]
        drawn_edges = {(ids[e[0]], ids[e[1]]) for e in data["edges"]}
        assert {(e.src, e.dst) for e in report.graph.edges} <= drawn_edges
