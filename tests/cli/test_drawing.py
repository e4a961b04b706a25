"""Options of the drawing: each does what it says in every format, or says that it cannot."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import click
import pytest
from PIL import Image

from resnet_viz.analysis import annotate
from resnet_viz.cli import cli
from resnet_viz.cli.drawing_options import _TOLD, LANGUAGES, drawing
from resnet_viz.core.errors import UserError
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting import (
    ATTRIBUTION_RENDERERS,
    EXPERIMENT_RENDERERS,
    RENDERERS,
    render,
)
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.language import LANGUAGES as SPOKEN
from tests.cli.conftest import Ran
from tests.reporting import synthetic

Viz = Callable[..., Ran]
DRAWN = ("diagram", "report", "gradflow", "attribute")


def given_options(name: str) -> dict[str, click.Parameter]:
    command = cli.commands[name]
    return {option: p for p in command.params for option in p.opts if option.startswith("--")}


@pytest.mark.parametrize("name", DRAWN)
def test_every_field_has_an_option_and_the_same_default(name: str) -> None:
    options = given_options(name)
    context = cli.commands[name].make_context(name, ["resnet18"], resilient_parsing=True)
    assert drawing(context.params) == RenderOptions()
    without = {"scale", "diagram_only"}  # --dpi and the command say these
    for field in fields(RenderOptions):
        if field.name not in without:
            assert f"--{field.name.replace('_', '-')}" in options


def test_compare_and_experiments_have_what_any_picture_has() -> None:
    for options in (
        given_options("compare"),
        {
            option: p
            for p in cli.commands["experiment"].commands["depth"].params
            for option in p.opts
        },
    ):
        assert {"--theme", "--lang", "--title", "--width", "--dpi", "--transparent"} <= {*options}


def test_languages_are_those_that_reports_speak() -> None:
    assert tuple(SPOKEN) == LANGUAGES


def test_every_renderer_says_which_fields_it_heeds() -> None:
    names = {field.name for field in fields(RenderOptions)}
    for known in (RENDERERS, EXPERIMENT_RENDERERS, ATTRIBUTION_RENDERERS):
        for suffix, renderer in known.items():
            assert renderer.heeds is not None or suffix == ".test", suffix
            assert (renderer.heeds or set()) <= names
    assert names >= _TOLD


@pytest.mark.parametrize(
    "option",
    [
        ("--dpi", "5"), ("--dpi", "x"), ("--width", "10"), ("--font-size", "500"),
        ("--depth", "-1"), ("--theme", "pink"), ("--lang", "xx"), ("--direction", "RL"),
        ("--expand", "layer9"), ("--dpi", "nan"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line(viz: Viz, tmp_path: Path, option: tuple[str, str]) -> None:
    ran = viz("diagram", "resnet20", "-o", "x.png", *option)
    assert ran.code == 2
    assert option[1].strip("-") in ran.error
    assert list(tmp_path.iterdir()) == []


def test_a_picture_has_the_size_and_resolution_that_was_asked_for(viz: Viz, tmp_path: Path) -> None:
    ran = viz(
        "diagram", "resnet20", "-o", "a.png", "-o", "a.svg", "--width", "600", "--dpi", "300",
        "--transparent", "--title", "Figure 1",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "Note: --" not in ran.err
    assert ran.err.count("loading") == 1
    picture = Image.open(tmp_path / "a.png")
    assert picture.size[0] == pytest.approx(600 * 300 / 96, abs=1)
    assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.02)
    assert picture.convert("RGBA").getpixel((0, 0))[3] == 0
    root = ET.parse(tmp_path / "a.svg").getroot()
    assert float(root.get("width", "")) == 600
    assert 'class="paper"' not in (tmp_path / "a.svg").read_text()
    assert root.findtext("{*}title") == "Figure 1"


def test_letters_too_small_to_read_are_said(viz: Viz) -> None:
    ran = viz("diagram", "resnet20", "-o", "a.png", "--dpi", "40")
    (size,) = re.findall(r"Note: the smallest text of the PNG is ([\d.]+) px high", ran.err)
    assert 3.5 <= float(size) <= 4.5  # 10 px at 96 dpi
    assert "px high" not in viz("diagram", "resnet20", "-o", "a.png", "--dpi", "96").err


def test_what_no_format_can_show_is_said_once(viz: Viz) -> None:
    ran = viz("diagram", "resnet20", "-o", "a.json", "-o", "a.graphml", "--dpi", "90", "--formulas")
    assert "Note: --dpi, --formulas changed nothing: json, graphml cannot show it" in ran.err
    ran = viz("diagram", "resnet20", "-o", "a.json", "-o", "a.mmd", "--formulas", "--theme", "dark")
    assert "changed nothing" not in ran.err


def test_standard_output_takes_the_bytes_and_nothing_else(
    capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from resnet_viz.cli.terminal import run_and_exit

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run_and_exit(cli, ["diagram", "resnet20", "-o", "a.svg", "-o", "-", "--format", "png"])
    out, err = capfdbinary.readouterr()
    picture = Image.open(io.BytesIO(out))
    picture.load()
    assert out.endswith(b"IEND\xaeB`\x82")
    assert b"Wrote a.svg" in err
    # A format is for what has no suffix that says it.
    assert (tmp_path / "a.svg").read_bytes().startswith(b"<svg")


def test_source_date_epoch_makes_the_same_command_write_the_same_bytes(
    viz: Viz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    written = []
    for _ in range(2):
        assert viz("diagram", "resnet20", "-o", "a.html", "-o", "a.json").code == 0
        written.append([(tmp_path / name).read_bytes() for name in ("a.html", "a.json")])
    assert written[0] == written[1]
    assert b"2023-11-14T22:13:20+00:00" in written[0][1]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    ran = viz("diagram", "resnet20", "-o", "b.json")
    assert ran.code == 2
    assert "SOURCE_DATE_EPOCH='yesterday'" in ran.error
    assert not (tmp_path / "b.json").exists()


def test_depth_and_expand_open_what_they_say_in_every_format(viz: Viz, tmp_path: Path) -> None:
    def ops(*options: str) -> dict[str, int]:
        assert viz("diagram", "resnet20", *options, *files).code == 0
        dot = (tmp_path / "a.dot").read_text()
        mmd = (tmp_path / "a.mmd").read_text()
        return {"dot": dot.count(" op="), "mmd": len(re.findall(r"^ *n\d+\[", mmd, re.MULTILINE))}

    files = ("-o", "a.dot", "-o", "a.mmd", "-o", "a.svg", "-o", "a.html")
    usual = ops()
    sizes = [len((tmp_path / "a.svg").read_text())]
    more = ops("--expand", "layer2.1")
    sizes.append(len((tmp_path / "a.svg").read_text()))
    # Conv, norm, activation, conv, norm in place of one box, and what was its join.
    assert more["mmd"] - usual["mmd"] == 7
    assert more["dot"] - usual["dot"] == 6  # there the join was one before
    assert sizes[1] > sizes[0]
    every = ops("--collapse", "none")
    assert ops("--depth", "9") == ops("--expand", "*") == every
    assert ops("--depth", "1") == usual
    # Skips must be seen: the stages that hold them stay open in these formats.
    assert ops("--depth", "0", "--expand", "layer2.1") == more


def test_what_is_open_in_the_page_is_what_was_asked_for() -> None:
    report = synthetic.resnet18()
    data = diagram(report, RenderOptions(depth=0, expand=("layer2.1",)))
    groups = {group["id"]: i for i, group in enumerate(data["groups"])}
    shown = [name for name, i in groups.items() if data["open"]["blocks"][i]]
    assert shown == ["layer2", "layer2.1"]
    data = diagram(report, RenderOptions(depth=1))
    shown = [name for name, i in groups.items() if data["open"]["blocks"][i]]
    assert shown == ["layer1", "layer2", "layer3", "layer4"]
    assert all(diagram(report, RenderOptions(depth=99))["open"]["blocks"])


def test_a_copy_is_opened_where_its_first_copy_is_drawn() -> None:
    graph = synthetic.resnet50().graph
    report = Report(graph=graph, structure=annotate(graph))
    folded = RenderOptions(fold_repeats=True, depth=1, expand=("layer3.4",))
    data = diagram(report, folded)
    shown = {g["module"] for g, o in zip(data["groups"], data["open"]["blocks"], strict=True) if o}
    assert "layer3.1" in shown
    assert "layer2.1" not in shown


def test_options_out_of_range_are_refused_in_python_too() -> None:
    for wrong in ({"theme": "pink"}, {"dpi": 3}, {"width": -1}, {"depth": -2}, {"font_size": 0}):
        ((name, value),) = wrong.items()
        with pytest.raises(UserError, match=name) as raised:
            render(synthetic.resnet18(), "mmd", RenderOptions(**wrong))
        assert str(value) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_pdf_without_dot_is_refused_before_the_model_is_loaded(
    viz: Viz, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    ran = viz("report", "resnet20", "-o", "a.pdf")
    assert ran.code == 2
    assert "install Graphviz" in ran.error
    assert ".html and print it" in ran.error
    assert "loading" not in ran.err
