"""The static picture: valid XML, every mark once, safe, coloured by kind, and a real PNG."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from PIL import Image

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.colouring.palette import DARK, LIGHT, css_variables
from resnet_viz.reporting.formats.to_png import render_png
from resnet_viz.reporting.formats.to_svg import render_svg
from tests.reporting import synthetic

MODES = ("blocks", "all", "none")


def parsed(report: Report, **options: object) -> ET.Element:
    """The SVG as a tree."""
    return ET.fromstring(render_svg(report, RenderOptions(**options)))  # type: ignore[arg-type]


def of_class(root: ET.Element, name: str) -> list[ET.Element]:
    """Elements that have a class."""
    return [e for e in root.iter() if name in (e.get("class") or "").split()]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", synthetic.ALL)
def test_every_skip_and_every_block_is_marked_once(name: str, mode: str) -> None:
    report = synthetic.ALL[name]()
    root = parsed(report, collapse=mode)
    flow = report.gradient_flow
    assert flow is not None
    skips = Counter(
        (e.get("data-skip-kind"), e.get("data-fork"), e.get("data-join"))
        for e in of_class(root, "skip")
    )
    assert skips == Counter((s.kind, s.fork, s.join) for s in report.structure.skips)
    shares = {(s.fork, s.join): flow.share_of(s) for s in report.structure.skips}
    for mark in of_class(root, "skip"):
        share = shares[mark.get("data-fork"), mark.get("data-join")]  # type: ignore[index]
        assert (mark.get("data-share") is None) == (share is None)
        if share is not None:
            assert float(mark.get("data-share", "nan")) == pytest.approx(share, rel=1e-5)
    blocks = Counter(
        (e.get("data-block-kind"), e.get("data-module"), e.get("data-join"))
        for e in of_class(root, "block")
    )
    assert blocks == Counter((b.title, b.module, b.skip.join) for b in report.structure.blocks)
    squeeze = {b.skip.join: b.squeeze for b in report.structure.blocks}
    for mark in of_class(root, "block"):
        assert float(mark.get("data-squeeze", "nan")) == pytest.approx(
            squeeze[mark.get("data-join")],
            rel=1e-5,  # type: ignore[index]
        )


@pytest.mark.parametrize("mode", MODES)
def test_resnet50_shows_twelve_identities_four_projections_sixteen_bottlenecks(mode: str) -> None:
    root = parsed(synthetic.resnet50(), collapse=mode)
    kinds = Counter(e.get("data-skip-kind") for e in of_class(root, "skip"))
    assert kinds == {"identity": 12, "projection": 4}
    assert Counter(e.get("data-block-kind") for e in of_class(root, "block")) == {"bottleneck": 16}


def test_a_wider_arc_has_a_larger_share() -> None:
    marks = of_class(parsed(synthetic.resnet50()), "skip")
    pairs = sorted(
        (float(m.get("data-share", "0")), float(m.get("stroke-width", "0"))) for m in marks
    )
    widths = [w for _, w in pairs]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


@pytest.mark.parametrize("mode", MODES)
def test_hostile_names_stay_text(mode: str) -> None:
    raw = render_svg(synthetic.hostile(), RenderOptions(collapse=mode)).decode()  # type: ignore[arg-type]
    root = ET.fromstring(raw)
    tags = {e.tag.rpartition("}")[2] for e in root.iter()}
    assert tags <= {"svg", "g", "path", "rect", "text", "title", "desc", "style"}
    assert not any(name.startswith("on") for e in root.iter() for name in e.attrib)
    assert "<script" not in raw
    assert "<img" not in raw
    modules = {e.get("data-module") for e in of_class(root, "block")}
    assert modules == {"</script><img src=x onerror=alert(1)>"}


def test_tooltips_tell_path_shape_costs_and_gradient() -> None:
    root = parsed(synthetic.resnet50(), collapse="none")
    node = next(e for e in of_class(root, "node") if e.get("data-op") == "layer1.0.conv2/conv2d#0")
    tip = "".join(node.itertext())
    assert "1×64×56×56" in tip
    assert "36,864 parameters" in tip
    assert "116 M MACs" in tip
    assert re.search(r"‖∇‖₂ 0\.\d+ · rms", tip)


def test_title_totals_findings_and_legend_are_written() -> None:
    text = " ".join(parsed(synthetic.resnet50(), title="My net").itertext())
    for part in (
        "My net",
        "25.6 M parameters",
        "16 bottleneck blocks",
        "1 finding",
        "identity skip",
    ):
        assert part in text


@pytest.mark.parametrize(("theme", "colours"), [("light", LIGHT), ("auto", LIGHT), ("dark", DARK)])
def test_themes_have_their_own_colours_and_no_variables(
    theme: str, colours: dict[str, str]
) -> None:
    raw = render_svg(synthetic.resnet18(), RenderOptions(theme=theme)).decode()  # type: ignore[arg-type]
    assert "var(--" not in raw
    for name in ("card", "skip-identity", "skip-projection", "block-line"):
        assert colours[name] in raw


def test_kinds_of_skips_differ_by_colour_and_by_dash() -> None:
    raw = render_svg(synthetic.resnet18(), RenderOptions()).decode()
    looks = set()
    for kind in ("identity", "projection", "scaled", "gate", "concat"):
        rule = re.search(rf"\.k-{kind} \{{([^}}]*)\}}", raw)
        assert rule is not None
        dash = re.search(r"dasharray: ([\d. ]+)", rule[1])
        looks.add((LIGHT[f"skip-{kind}"], dash[1] if dash else "solid"))
    assert len({colour for colour, _ in looks}) == 5
    assert len({dash for _, dash in looks}) == 5


def test_the_style_sheet_has_the_palette_s_variables() -> None:
    from resnet_viz.reporting.colouring.palette import stylesheet

    assert css_variables() in stylesheet(), "run: python -m resnet_viz.reporting.colouring.palette"
    assert set(re.findall(r"var\(--([\w-]+)\)", stylesheet())) <= set(LIGHT)


def test_equal_reports_give_equal_bytes() -> None:
    one, two = (render_svg(synthetic.vit(2), RenderOptions()) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_png_is_the_svg_at_its_scale_with_its_text(theme: str) -> None:
    options = RenderOptions(theme=theme, scale=1.5)  # type: ignore[arg-type]
    root = ET.fromstring(render_svg(synthetic.resnet18(), options))
    image = Image.open(io.BytesIO(render_png(synthetic.resnet18(), options))).convert("RGB")
    for side, name in zip(image.size, ("width", "height"), strict=True):
        assert side == pytest.approx(float(root.get(name, "0")) * 1.5, abs=2)
    paper = (DARK if theme == "dark" else LIGHT)["card"]
    assert image.getpixel((2, 2)) == tuple(bytes.fromhex(paper[1:]))
    # The heading: without a font nothing would be written there.
    heading = image.crop((40, 30, 200, 62)).getcolors(1 << 16)
    assert heading is not None
    assert len(heading) > 10


def test_a_name_in_a_foreign_script_is_drawn_too() -> None:
    png = render_png(synthetic.hostile(), RenderOptions(collapse="none", scale=1))
    assert Image.open(io.BytesIO(png)).size[0] > 300


def test_focus_writes_its_own_totals() -> None:
    text = " ".join(parsed(synthetic.resnet50(), focus="layer3").itertext())
    for part in (
        "resnet50 · layer3",
        "6 bottleneck blocks",
        "1 projection skip",
        "7.10 M parameters",
    ):
        assert part in text
