"""What formats promise: resolution, size, the same bytes, and options heeded or spoken of."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting import render
from resnet_viz.reporting.formats import to_png
from resnet_viz.reporting.formats.dot_labels import markup, scaled
from resnet_viz.reporting.formats.framing import framed
from resnet_viz.reporting.formats.to_dot import _undated
from resnet_viz.reporting.remarks import RenderWarning, remark, remarks
from tests.reporting import synthetic

REPORT = synthetic.resnet18()
ROOT = Path(__file__).resolve().parents[2]


def chunks(png: bytes) -> dict[bytes, bytes]:
    """The chunks of a PNG, each with a checksum that holds."""
    found, place = {}, 8
    while place < len(png):
        size = struct.unpack(">I", png[place : place + 4])[0]
        body = png[place + 4 : place + 8 + size]
        assert struct.unpack(">I", png[place + 8 + size : place + 12 + size])[0] == zlib.crc32(body)
        found.setdefault(body[:4], body[4:])
        place += size + 12
    return found


@pytest.mark.parametrize(("options", "dpi"), [({}, 192), ({"dpi": 50}, 50), ({"scale": 1.5}, 144)])
def test_a_png_says_its_resolution(options: dict[str, float], dpi: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RenderWarning)
        png = render(REPORT, "png", RenderOptions(**options))
    found = chunks(png)
    assert list(found)[:2] == [b"IHDR", b"pHYs"]
    across, down, unit = struct.unpack(">IIB", found[b"pHYs"])
    assert unit == 1
    assert across == down == round(dpi / 0.0254)
    svg = render(REPORT, "svg").decode()
    units = float(re.findall(r' width="([\d.]+)"', svg)[0])
    assert struct.unpack(">I", found[b"IHDR"][:4])[0] == pytest.approx(units * dpi / 96, abs=1)


def test_a_png_that_would_be_enormous_is_smaller_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(to_png, "_MOST_PIXELS", 1e5)
    with remarks() as heard:
        png = render(REPORT, "png", RenderOptions(dpi=600))
    width, height = struct.unpack(">II", chunks(png)[b"IHDR"][:8])
    assert 0.9e5 < width * height < 1.1e5
    assert re.match(r"the PNG has \d+ dpi in place of 600: at most 0 million pixels", heard[0])
    assert "px high and hard to read" in heard[1]


def test_the_width_scales_and_keeps_the_letters_in_proportion() -> None:
    svg = render(REPORT, "svg", RenderOptions(width=480)).decode()
    width, height = map(float, re.findall(r' (?:width|height)="([\d.]+)"', svg)[:2])
    _, _, across, down = map(float, re.findall(r'viewBox="([^"]*)"', svg)[0].split())
    assert width == 480
    assert height / width == pytest.approx(down / across, rel=1e-3)
    sheet = '<svg width="1120" height="700" viewBox="0 0 1120 700"><rect class="paper" width="1"/>'
    small = framed(sheet, RenderOptions(width=560, transparent=True))
    assert small == '<svg width="560" height="350" viewBox="0 0 1120 700">'
    assert framed(sheet, RenderOptions()) == sheet


def told() -> list[str]:
    """What is heard of two equal remarks and somebody else's warning."""
    with remarks() as heard:
        remark("small")
        remark("small")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    return heard


def test_what_is_remarked_is_heard_once_and_other_warnings_go_on() -> None:
    with pytest.warns(DeprecationWarning, match="old"):
        heard = told()
    assert heard == ["small"]


def test_dot_heeds_every_option() -> None:
    asked = RenderOptions(
        direction="LR", width=480, dpi=300, font_size=24, transparent=True, formulas=True,
        edge_shapes=True,
    )  # fmt: skip
    text = render(REPORT, "dot", asked).decode()
    head = text[: text.index("node [")]
    for said in ("rankdir=LR", 'size="5,10000!"', "dpi=300", "bgcolor=transparent", "fontsize=24"):
        assert said in head
    assert text.count('label="H(x) = F(x) + x"') == 5
    assert text.count('label="H(x) = F(x) + Wₛx"') == 3
    assert text.count('label=" F(x)"') == 8
    assert text.count("1×3×224×224") > render(REPORT, "dot").decode().count("1×3×224×224")
    plain = render(REPORT, "dot").decode()
    sizes = [int(n) for n in re.findall(r'POINT-SIZE="(\d+)"', plain)]
    assert [int(n) for n in re.findall(r'POINT-SIZE="(\d+)"', text)] == [2 * n for n in sizes]


@given(st.text(max_size=30))
def test_no_text_is_taken_for_a_size(text: str) -> None:
    label = f'<FONT POINT-SIZE="9">{markup(text)}</FONT>'
    assert scaled(label, 2) == f'<FONT POINT-SIZE="18">{markup(text)}</FONT>'
    hostile = markup('POINT-SIZE="9" WIDTH="3"')
    assert scaled(hostile, 2) == hostile


def test_a_pdf_has_no_date_and_keeps_its_length() -> None:
    for when in ("D:20261123035643Z", "D:20261123035643+03'30'"):
        pdf = f"xref /CreationDate ({when}) >> endobj".encode()
        made = _undated(pdf)
        assert len(made) == len(pdf)
        assert made.split() == b"xref /CreationDate (D:19700101000000Z) >> endobj".split()
    assert _undated(b"none") == b"none"


def test_graphml_is_read_back_with_plain_values() -> None:
    for report in (REPORT, synthetic.hostile()):
        graph = nx.parse_graphml(render(report, "graphml").decode(), force_multigraph=True)
        assert len(graph) == len(report.graph.inputs) + len(report.graph.ops)
        values = [v for _, data in graph.nodes(data=True) for v in data.values()]
        values += [v for *_, data in graph.edges(data=True) for v in data.values()]
        assert {type(value) for value in values} <= {str, int, float, bool}


def test_the_same_report_gives_the_same_bytes_in_every_process() -> None:
    script = (
        "import hashlib, tests.reporting.synthetic as s\n"
        "from resnet_viz.reporting import render\n"
        "r = s.measure(s.resnet18())\n"
        "for f in 'dot mmd graphml png json svg html'.split():\n"
        "    print(f, hashlib.sha256(render(r, f)).hexdigest())\n"
    )
    ran = [
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert ran[0] == ran[1]
    assert ran[0].count("\n") == 7
