"""A failure is drawn: the mark, the words, nothing hidden, in every format and mode."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any
from xml.etree import ElementTree

import networkx as nx
import pytest
import torch
from torch import Tensor, nn

import resnet_viz as rv
from resnet_viz.core.errors import TraceError
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.drawing.scene import scene
from resnet_viz.reporting.formats.to_svg import render_svg
from resnet_viz.reporting.layout.coordinates import coordinates
from resnet_viz.reporting.raised import STOP, banner, in_sight

FORMATS = ("html", "svg", "png", "dot", "mmd", "json", "graphml", "txt")


class Stops(nn.Module):
    """Runs two modules and raises between two calls of the second, or before all."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.at = at

    def forward(self, x: Tensor) -> Tensor:
        if self.at == 0:
            raise KeyError("at once")
        x = self.body(self.stem(x))
        if self.at == 1:
            raise KeyError("between")
        return self.body(x[:, :2])


def mismatch() -> nn.Module:
    """A ResNet with a wrong width in the middle of a bottleneck."""
    model = rv.build("resnet50")
    layer = dict(model.named_modules())["layer2.1"]
    layer.conv2 = nn.Conv2d(96, 128, 3, padding=1, bias=False)
    return model


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str, str]] = {
    "mismatch": (mismatch, (1, 3, 64, 64), "layer2.1.conv2/conv2d#0", "layer2.1.conv2"),
    "second call": (lambda: Stops(2), (1, 3, 4, 4), "body.0/conv2d#1", "body.0"),
    "plain Python": (lambda: Stops(1), (1, 3, 4, 4), STOP, "the root module"),
    "before all": (lambda: Stops(0), (1, 3, 4, 4), STOP, "the root module"),
}


@cache
def partial(name: str) -> Report:
    build, size, _, _ = MODELS[name]
    with pytest.raises(TraceError) as caught:
        rv.report(build(), input_size=size)
    assert caught.value.report is not None
    assert caught.value.report.graph == caught.value.graph
    return caught.value.report


@pytest.fixture(params=list(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_report_says_what_happened_and_what_is_missing(name: str) -> None:
    report = partial(name)
    assert [f.severity for f in report.findings] == ["error"]
    assert [m.section for m in report.missing] == ["gradient flow", "attributions"]
    assert all(m.reason.startswith("Not measured: forward raised") for m in report.missing)
    assert report.measurements == ()
    told = banner(report.graph)
    assert told is not None
    assert dict(told["rows"])["Module"][0].startswith(MODELS[name][3])
    assert told["op"] == MODELS[name][2]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_bears_the_mark(name: str, format: str) -> None:
    report = partial(name)
    data = rv.render(report, format)
    failure = report.graph.failure
    assert failure is not None
    if format == "png":
        assert data != rv.render(report, "png", RenderOptions(theme="dark"))
        return
    text = data.decode()
    if format == "json":
        read = json.loads(text)["value"]["graph"]["failure"]
        assert read["error"] == failure.error
        assert rv.from_json(text) == report
    elif format == "graphml":
        graph = nx.read_graphml(__import__("io").BytesIO(data))
        assert graph.graph["failure"] == failure.error
        marked = [n for n, d in graph.nodes(data=True) if d["raised"]]
        assert marked == ([failure.op] if failure.op else [])
    else:
        assert "raised here" in text
        if format != "mmd" or not failure.op:
            assert failure.error.partition(":")[0] in text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_paints_it_in_a_colour_of_its_own(name: str, theme: Any) -> None:
    root = ElementTree.fromstring(render_svg(partial(name), RenderOptions(theme=theme)))
    classes = [e.get("class", "").split() for e in root.iter()]
    assert sum("op" in c and "raised" in c for c in classes) == 1
    style = next(e.text or "" for e in root.iter() if e.tag.endswith("style"))
    fill = re.search(r"\.raised \{ fill: (#\w+)", style)
    assert fill is not None
    assert style.count(f"fill: {fill[1]};") == 2  # the op, and the words at the head


def contrast(a: str, b: str) -> float:
    """WCAG 2.1 contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_mark_can_be_read_in_both_themes() -> None:
    from resnet_viz.reporting.colouring.palette import DARK, LIGHT

    for colours in (LIGHT, DARK):
        assert contrast(colours["raised"], colours["on-raised"]) >= 4.5
        assert contrast(colours["raised"], colours["card"]) >= 4.5


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("collapse", ["blocks", "all", "none"])
def test_no_box_hides_it(name: str, collapse: Any, fold: bool) -> None:
    report, wanted = partial(name), MODELS[name][2]
    data = diagram(report, RenderOptions(fold_repeats=fold))
    places = [i for i, node in enumerate(data["nodes"]) if node["kind"] == "raised"]
    assert [data["nodes"][i]["id"] for i in places] == [wanted]
    layout = coordinates(data, [bool(x) for x in data["open"][collapse]], aspect=1.6)
    box = layout.nodes[places[0]]
    assert box is not None
    assert box.w > 0
    drawn = scene(report, RenderOptions(collapse=collapse, fold_repeats=fold))
    assert [n.key for n in drawn.nodes if n.fact.get("kind") == "raised"] == [f"n{places[0]}"]
    # What it read is there, too, itself or as the closed box that it lies in.
    assert any(edge.dst == f"n{places[0]}" for edge in drawn.edges)


def test_a_focus_never_leaves_it_out() -> None:
    report = partial("mismatch")
    for focus, kept in (("layer2", "layer2"), ("layer1", ""), ("layer4", ""), ("no.such", "")):
        assert in_sight(report, RenderOptions(focus=focus)).focus == kept
        assert b"raised here" in rv.render(report, "svg", RenderOptions(focus=focus))


def test_the_banner_names_where_each_tensor_came_from() -> None:
    told = banner(partial("mismatch").graph)
    assert told is not None
    rows = dict(told["rows"])
    met = [text.split(" from ") for text in rows["What met there"]]
    assert [size for size, _ in met] == ["1×128×8×8 float32", "128×96×3×3 float32"]
    assert re.fullmatch(r"layer2\.1(\.\w+)?/relu#\d", met[0][1])
    assert met[1][1] == "layer2.1.conv2.weight"
    assert "in_channels=128" in rows["Hint"][0]
    second = banner(partial("second call").graph)
    assert second is not None
    assert dict(second["rows"])["Module"] == ["body.0 (call 2)"]


def test_text_says_which_modules_did_not_return() -> None:
    text = rv.render(partial("mismatch"), "txt").decode()
    assert text.startswith("forward raised here: RuntimeError: Given groups=1")
    rows = [line.split() for line in text.splitlines()]
    assert next(r for r in rows if r[:2] == ["conv2", "Conv2d"] and "raised" in r)[2] == "–"
    assert next(r for r in rows if r[:1] == ["layer2"])[2] == "–"
    assert next(r for r in rows if r[:1] == ["layer1"])[2] != "–"


def test_a_model_that_ran_says_nothing_of_it() -> None:
    graph = rv.trace(nn.Sequential(nn.Linear(3, 4)), input_data=torch.ones(1, 3))
    for format in ("html", "svg", "dot", "mmd", "txt", "graphml"):
        text = rv.render(graph, format).decode()
        body = text.partition("</style>")[2] or text
        assert "raised here" not in body.replace("//", "")


def test_a_partial_graph_from_trace_is_drawn_too() -> None:
    with pytest.raises(TraceError) as caught:
        rv.trace(mismatch(), input_size=(1, 3, 64, 64))
    assert caught.value.graph is not None
    assert caught.value.report is None
    assert b"raised here" in rv.render(caught.value.graph, "svg")
