"""DOT: the marks read back from its text equal the analysis, and no name breaks it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resnet_viz.core.errors import UserError
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting import render
from resnet_viz.reporting.colouring.palette import DARK, LIGHT
from resnet_viz.reporting.drawing.river import FULL
from resnet_viz.reporting.formats import dot_engine
from resnet_viz.reporting.formats.dot_engine import run_dot
from tests.reporting import synthetic

REPORTS = {name: make() for name, make in synthetic.ALL.items()}
MODES = ("blocks", "all", "none")
needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")

_STATEMENT = re.compile(r"^\s*(\w+)(?: -> (\w+))?(?::e)?(?::e)? \[(.*)\]$")
_ATTRIBUTE = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|(<.*?>)(?= \w+=|$)|([\w.-]+))', re.DOTALL)


def dot(report: Report, **options: object) -> str:
    return render(report, "dot", RenderOptions(**options)).decode()


def attributes(text: str) -> dict[str, str]:
    """Attributes of one statement, unescaped as DOT escapes them."""
    found = {}
    for name, quoted, markup, bare in _ATTRIBUTE.findall(text):
        found[name] = markup or bare or re.sub(r"\\(.)", r"\1", quoted)
    return found


def marks(source: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The skips (edges) and blocks (nodes and clusters) that the text marks."""
    skips, blocks = [], []
    for line in source.splitlines():
        line = re.sub(r"(\w+):e -> (\w+):e", r"\1 -> \2", line)
        statement = _STATEMENT.match(line)
        found = attributes(statement[3]) if statement else attributes(line.strip())
        words = found.get("class", "").split(" ", 1)
        if statement and statement[2] and words[0] == "skip":
            skips.append(found)
        elif not (statement and statement[2]) and words[0] == "block":
            blocks.append(found)
    return skips, blocks


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", REPORTS)
def test_every_skip_and_every_block_is_marked_exactly_once(name, mode):
    report = REPORTS[name]
    skips, blocks = marks(dot(report, collapse=mode))
    expected = Counter((s.fork, s.join, s.kind) for s in report.structure.skips)
    assert Counter((s["fork"], s["join"], s["skip_kind"]) for s in skips) == expected
    assert Counter((b["class"], b["module"], b["join"], b["squeeze"]) for b in blocks) == Counter(
        (f"block {b.kind}", b.module, b.skip.join, f"{b.squeeze:g}")
        for b in report.structure.blocks
    )


@pytest.mark.parametrize("mode", MODES)
def test_resnet50_has_sixteen_of_each(mode):
    skips, blocks = marks(dot(REPORTS["resnet50"], collapse=mode))
    assert Counter(s["class"] for s in skips) == {"skip identity": 12, "skip projection": 4}
    assert Counter(b["class"] for b in blocks) == {"block bottleneck": 16}
    assert {b["block_kind"] for b in blocks} == {"bottleneck"}


@needs_dot
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["resnet50", "se_resnet50", "vit", "hostile"])
def test_dots_own_parser_reads_the_same_marks(name, mode):
    """Independent of the reader above: Graphviz parses, we only look at its JSON."""
    report = REPORTS[name]
    source = dot(report, collapse=mode)
    parsed = json.loads(run_dot(source, "dot_json"))
    edges = [e for e in parsed["edges"] if e.get("class", "").startswith("skip ")]
    assert len(edges) == len(report.structure.skips)
    boxes = [o for o in parsed["objects"] if o.get("class", "").startswith("block ")]
    assert Counter(o["block_kind"] for o in boxes) == Counter(
        b.title for b in report.structure.blocks
    )


@needs_dot
@pytest.mark.parametrize("mode", MODES)
def test_the_drawing_says_everything_a_report_says(mode):
    svg = run_dot(dot(REPORTS["resnet50"], collapse=mode), "svg").decode()
    root = ET.fromstring(svg)
    texts = [text.strip() for text in root.itertext() if text.strip()]
    shown = " | ".join(texts)
    assert "resnet50" in texts
    assert "25.6 M parameters · 4.09 G MACs · 175 ops · 16 skip paths" in shown
    assert "warning: exploding gradient" in shown
    assert "how to read this" in texts
    assert "identity skip (solid)" in shown
    assert "projection skip (dashed)" in shown
    assert "Conv 7×7, 64" in texts
    assert "1×64×112×112" in texts
    assert any(re.search(r"9\.41 k params · 118 M MACs · ‖∇‖ 0\.63", text) for text in texts)
    classes = Counter(element.get("class", "").partition(" ")[2] for element in root.iter())
    assert classes["skip identity"] == 12
    assert classes["skip projection"] == 4
    assert classes["block bottleneck"] == 16


def test_a_closed_bottleneck_shows_its_waist():
    source = dot(REPORTS["resnet50"])
    line = next(
        line for line in source.splitlines() if 'join="layer1.1/add#0"' in line and "->" not in line
    )
    bars = [int(width) for width in re.findall(r'WIDTH="(\d+)"', line)]
    thin, first, waist, last = bars[:4]
    assert first == waist < last == thin
    assert re.findall(r">(\d×\d \d+)<", line) == ["1×1 64", "3×3 64", "1×1 256"]


def test_width_follows_the_share():
    skips, _ = marks(dot(REPORTS["resnet50"]))
    flow = REPORTS["resnet50"].gradient_flow
    by_join = {s.join: flow.share_of(s) for s in REPORTS["resnet50"].structure.skips}
    for skip in skips:
        share = by_join[skip["join"]]
        assert float(skip["share"]) == pytest.approx(share, rel=1e-4)
        assert float(skip["penwidth"]) == pytest.approx(FULL * share, abs=0.01)
    order = sorted(skips, key=lambda s: float(s["share"]))
    widths = [float(s["penwidth"]) for s in order]
    assert widths == sorted(widths)


def test_kinds_differ_in_style_and_colour():
    looks = {
        s["skip_kind"]: (s["style"], s["color"])
        for name in ("resnet50", "se_resnet50", "densenet")
        for s in marks(dot(REPORTS[name]))[0]
    }
    assert set(looks) == {"identity", "projection", "gate", "concat"}
    assert len({colour for _, colour in looks.values()}) == 4
    assert looks["identity"][0] != looks["projection"][0]


def test_fill_follows_the_gradient():
    report = REPORTS["resnet50"]
    fills = {}
    for line in dot(report, collapse="none").splitlines():
        found = attributes(line)
        if "op" in found and "fillcolor" in found:
            fills[found["op"]] = found["fillcolor"]
    ramp = [LIGHT[f"grad-{i}"] for i in range(7)]
    calls = sorted(report.gradient_flow.calls, key=lambda call: call.stats.l2)
    steps = [ramp.index(fills[call.op]) for call in calls]
    assert steps == sorted(steps)
    assert steps[0] == 0
    assert steps[-1] == 6


def test_without_gradients_nothing_pretends():
    source = dot(synthetic.resnet((1, 1, 1, 1), measured=False))
    assert "∇" not in source
    assert "share" not in source
    assert not any(LIGHT[f"grad-{i}"] in source for i in range(7))


def test_every_op_is_a_node_when_everything_is_open():
    report = REPORTS["resnet50"]
    found = Counter(
        attributes(line).get("op") for line in dot(report, collapse="none").splitlines()
    )
    assert all(found[op.id] == 1 for op in report.graph.nodes())


def test_a_shortcut_of_ops_is_drawn_to_its_join():
    source = dot(REPORTS["resnet50"], collapse="none")
    assert source.count("class=shortcut") == 4 * 2
    for skip in marks(source)[0]:
        assert skip["skip_kind"] in skip["class"]


def test_focus_draws_one_module():
    source = dot(REPORTS["resnet50"], focus="layer3.2", collapse="none")
    skips, blocks = marks(source)
    assert [s["join"] for s in skips] == ["layer3.2/add#0"]
    assert [b["module"] for b in blocks] == ["layer3.2"]
    with pytest.raises(UserError, match=r"layer3\.2"):
        dot(REPORTS["resnet50"], focus="layer3.22")


def test_theme_and_title():
    source = dot(REPORTS["resnet18"], theme="dark", title="My net")
    assert DARK["bg"] in source
    assert "My net" in source


def test_clusters_are_modules_and_do_not_inherit_marks():
    source = dot(REPORTS["se_resnet50"], collapse="none")
    clusters = re.findall(r"subgraph cluster_\d+ \{\n(.*)\n", source)
    assert len(clusters) == 40
    assert all(" class=" in f" {line.strip()}" and "label=" in line for line in clusters)


hostile_names = st.text(min_size=1, max_size=12).map(lambda s: s.replace(".", "")).filter(bool)


@needs_dot
@settings(max_examples=40)
@given(name=hostile_names, title=st.text(max_size=12), mode=st.sampled_from(MODES))
@example(name="<lambda>", title="<b>", mode="none")
@example(name="\\N", title='"', mode="none")
@example(name="a\\", title="\\", mode="blocks")
@example(name='"]; evil [label="x', title="</TABLE>", mode="blocks")
@example(name="\x00\x1b[31m\ufffe", title="\x00", mode="none")
@example(name="&#0;&amp;", title="&lt;", mode="none")
@example(name="<>", title="<!--", mode="blocks")
@example(name="]", title="]", mode="blocks")
def test_no_name_breaks_the_drawing(name, title, mode):
    net = synthetic.Net(name, (1, 8, 8, 8))
    y = net.conv(f"{name}.{name}", net.x, 8, 3)
    net.types[name] = name
    branch = net.since(0)
    x = net.op("add", name, net.x, y)
    net.block("basic", name, 0, net.close(net.x, x, "identity", branch))
    source = dot(net.report(x), title=title, collapse=mode)
    svg = run_dot(source, "svg")
    root = ET.fromstring(svg)
    classes = Counter(element.get("class", "").partition(" ")[2] for element in root.iter())
    assert classes["skip identity"] == 1
    assert classes["block basic"] == 1
    assert not any(element.tag.rpartition("}")[2] == "script" for element in root.iter())
    assert not any("href" in key for element in root.iter() for key in element.attrib)
    if name.isprintable() and " " not in name and len(name) * 2 < 40:
        parsed = json.loads(run_dot(source, "dot_json"))
        joins = [e["join"] for e in parsed["edges"] if "join" in e]
        assert joins == [str(x).replace("\\", "\\\\")]


def test_a_missing_dot_is_one_line(monkeypatch):
    monkeypatch.setattr(dot_engine.shutil, "which", lambda _: None)
    for name in ("svg", "png"):
        with pytest.raises(UserError, match="install Graphviz") as caught:
            render(REPORTS["resnet18"], name, RenderOptions(engine="dot"))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="install Graphviz"):
        render(REPORTS["resnet18"], "pdf")


def _fake_dot(tmp_path, monkeypatch, script: str) -> None:
    fake = tmp_path / "dot"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(dot_engine.shutil, "which", lambda _: str(fake))


def test_a_slow_dot_is_stopped(tmp_path, monkeypatch):
    _fake_dot(tmp_path, monkeypatch, "exec sleep 30")
    with pytest.raises(UserError, match=r"0\.2 s; close boxes"):
        run_dot("digraph {}", "svg", timeout=0.2)


def test_a_failing_dot_is_quoted(tmp_path, monkeypatch):
    _fake_dot(tmp_path, monkeypatch, "echo 'no such\nlayout' >&2; exit 3")
    with pytest.raises(UserError, match="ended with 3: no such layout"):
        run_dot("digraph {}", "svg")


@needs_dot
def test_dot_draws_svg_png_and_pdf():
    report = REPORTS["resnet18"]
    options = RenderOptions(engine="dot")
    assert b"Generated by graphviz" in render(report, "svg", options)
    assert render(report, "png", options).startswith(b"\x89PNG")
    assert render(report, "pdf").startswith(b"%PDF")


@needs_dot
def test_a_source_dot_refuses_is_one_line():
    with pytest.raises(UserError, match="dot -Tsvg ended with"):
        run_dot("digraph {", "svg")


def test_run_dot_leaves_no_process_behind(tmp_path, monkeypatch):
    _fake_dot(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; exec sleep 30")
    with pytest.raises(UserError):
        run_dot("digraph {}", "svg", timeout=0.5)
    pid = (tmp_path / "pid").read_text().strip()
    assert subprocess.run(["kill", "-0", pid], capture_output=True).returncode != 0
