"""Attributions as files: contact sheet, raw numbers, a page of their own, and notebooks."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from resnet_viz.core.attribution import Attribution, Attributions
from resnet_viz.core.errors import UserError
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.schema import from_json
from resnet_viz.reporting import attribute_renderers, mimebundle, render
from tests.reporting import attributed, synthetic
from tests.reporting.test_html import Page

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def report() -> Report:
    return attributed.everything(synthetic.resnet18())


@pytest.fixture(scope="module")
def found(report: Report) -> Attributions:
    assert report.attributions is not None
    return report.attributions


def load(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def test_the_sheet_has_a_cell_per_input_method_and_target(found: Attributions) -> None:
    root = ElementTree.fromstring(render(found, "svg"))
    texts = ["".join(t.itertext()) for t in root.iter(f"{SVG}text")]
    for title in ("Integrated gradients", "Guided backprop", "Layer Grad-CAM", "LRP"):
        assert texts.count(title) == 4
    assert texts.count("FORCED") == 4
    assert texts.count("signed map") == sum(m.signed for m in found.maps)
    assert texts.count("masked") == texts.count("heat map") == len(found.maps)
    assert texts.count("-0.0259") >= 4  # the ends of the scale, as numbers
    shown = " ".join(texts)
    for told in ("hardly changes when", "81.0 %", "Infidelity: 0.97", "tabby.png"):
        assert told in shown


def test_the_sheet_stands_alone_and_its_pictures_can_be_read(found: Attributions) -> None:
    data = render(found, "svg").decode()
    root = ElementTree.fromstring(data)
    images = list(root.iter(f"{SVG}image"))
    # The photograph, and overlay with heat map, masked and (where signed) signed map.
    assert len(images) == 2 + sum(4 if m.signed else 3 for m in found.maps)
    for image in images:
        kind, _, body = image.attrib["href"].partition(";base64,")
        assert kind in ("data:image/jpeg", "data:image/png")
        opened = Image.open(io.BytesIO(base64.b64decode(body)))
        assert max(opened.size) <= 256
    assert not re.search(r'(?:href|src)="(?!data:|#)', data)
    assert "<script" not in data
    assert "<img src=x onerror" not in data
    assert "&lt;img src=x" in data


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_sheet_as_png_is_as_large_as_its_svg(found: Attributions, theme: str) -> None:
    options = RenderOptions(theme=theme, scale=1)  # type: ignore[arg-type]
    image = Image.open(io.BytesIO(render(found, "png", options))).convert("RGB")
    root = ElementTree.fromstring(render(found, "svg", options))
    assert image.size == (int(float(root.attrib["width"])), int(root.attrib["height"]))
    corner = image.getpixel((2, 2))
    assert isinstance(corner, tuple)
    assert (min(corner) > 240) == (theme == "light")


def test_texts_of_the_sheet_stay_in_their_columns(found: Attributions) -> None:
    from resnet_viz.reporting.attributions import sheet
    from resnet_viz.reporting.fonts import text_width

    root = ElementTree.fromstring(render(found, "svg"))
    for text in root.iter(f"{SVG}text"):
        if text.get("class") in ("key", "caption") and text.get("text-anchor") is None:
            x = float(text.attrib["x"])
            if x > sheet.MARGIN:
                assert text_width(text.text or "", 12) <= sheet._CELL + 0.5


def test_bars_of_tokens_are_in_the_sheet_in_reading_order() -> None:
    root = ElementTree.fromstring(render(attributed.tokens(), "svg"))
    texts = [t.text or "" for t in root.iter(f"{SVG}text")]
    words = [bar.label for bar in attributed.tokens().maps[0].bars]
    assert [t for t in texts if t in words] == words


def test_raw_numbers_are_those_of_the_values(found: Attributions) -> None:
    arrays = load(render(found, "npz"))
    for method, key in (("integrated_gradients", "x"), ("layer_grad_cam", "layer4")):
        for rank in (0, 1):
            wanted = found.arrays(method, rank=rank)[key]
            assert np.array_equal(arrays[f"{method}/{rank}/{key}"], wanted)
            assert arrays[f"{method}/{rank}/{key}"].dtype == wanted.dtype
    assert arrays["inputs"].tolist() == [p.name for p in found.pictures]
    assert arrays["targets"].tolist() == [list(attributed.TARGETS)] * 2
    assert arrays["scores"].tolist() == [[12.3, 11.3]] * 2
    assert arrays["probabilities"][:, 1].tolist() == [0.07] * 2
    assert found.relevance is not None
    assert arrays["relevance/signed"].tolist() == [r.amount.signed for r in found.relevance.ops]


def test_a_sample_without_values_is_nan_and_names_cannot_leave_a_folder(
    found: Attributions,
) -> None:
    maps = tuple(
        replace(m, layer="../../evil\\x") if m.layer else m
        for m in found.maps
        if not (m.input == 1 and m.name == "integrated_gradients")
    )
    arrays = load(render(replace(found, maps=maps), "npz"))
    assert not [key for key in arrays if "evil" in key and ("/evil" in key or "\\" in key)]
    assert "layer_grad_cam/0/.._.._evil_x" in arrays
    kept = arrays["integrated_gradients/0/x"]
    assert not np.isnan(kept[0]).any()
    assert np.isnan(kept[1]).all()


def test_attributions_from_json_have_no_raw_numbers_to_write(found: Attributions) -> None:
    again = from_json(found.to_json())
    assert isinstance(again, Attributions)
    with pytest.raises(UserError, match="JSON leaves them out"):
        render(again, "npz")
    assert render(again, "svg")


def test_saving_picks_the_format_by_suffix(found: Attributions, tmp_path: Path) -> None:
    heads = {".svg": b"<svg", ".png": b"\x89PNG", ".npz": b"PK", ".html": b"<!doctype html>",
             ".json": b"{", ".txt": b"attributions"}  # fmt: skip
    for suffix, head in heads.items():
        saved = found.save(tmp_path / f"maps{suffix}", RenderOptions(scale=0.3))
        assert saved.read_bytes().startswith(head)
    with pytest.raises(UserError, match=r"unknown suffix '\.dot'"):
        found.save(tmp_path / "maps.dot")
    assert len(list(tmp_path.iterdir())) == len(heads)


def test_a_report_that_was_asked_for_attributions_is_written_as_them(report: Report) -> None:
    known = attribute_renderers()
    assert known[".png"](report, RenderOptions(scale=0.3)).startswith(b"\x89PNG")
    assert b"resnet18: attributions" in known[".svg"](report)
    assert set(load(known[".npz"](report))) > {"inputs", "targets"}
    assert b'<section id="diagram"' in known[".html"](report)
    with pytest.raises(UserError, match="no attributions to write"):
        known[".npz"](replace(report, measurements=()))


def test_a_notebook_shows_the_sheet_itself(found: Attributions) -> None:
    bundle = mimebundle(found)
    assert bundle["text/plain"] == (
        "attributions: 16 maps of 2 inputs and 4 targets by integrated gradients, "
        "guided backprop, layer Grad-CAM, LRP"
    )
    assert bundle["image/svg+xml"].startswith("<svg")
    assert 'sandbox="allow-scripts' in bundle["text/html"]
    assert "view-masked" in bundle["text/html"]
    assert found._repr_mimebundle_().keys() == bundle.keys()


def test_the_page_of_attributions_alone_is_whole(found: Attributions) -> None:
    page = Page(render(found, "html", RenderOptions(title="Mine & yours")))
    assert [a["id"] for a in page.all("section")] == ["attributions"]
    assert "Mine & yours · resnet-viz" in page.text
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_few_pixels_are_drawn_as_exact_squares_and_no_png_is_larger_than_its_pictures() -> None:
    picture = attributed.photo("few.png", 16, 16)
    heat = attributed.heat(16, signed=True)
    item = Attribution(method="saliency", target="class 1", input=0, heatmap=heat, signed=True)
    sheet = Attributions(pictures=(picture,), maps=(item,))
    root = ElementTree.fromstring(render(sheet, "svg"))
    images = list(root.iter(f"{SVG}image"))
    assert len(images) == 5
    for image in images:
        kind, data = image.attrib["href"].split(";base64,")
        assert kind == "data:image/png"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (16, 16)
        assert "pixelated" in image.attrib["style"]
    drawn = Image.open(io.BytesIO(render(sheet, "png", RenderOptions(scale=9)))).convert("RGB")
    assert drawn.width == round(1.5 * float(root.attrib["width"]))
    at = [round(1.5 * float(images[1].attrib[key])) for key in ("x", "y", "width", "height")]
    part = drawn.crop((at[0] + 2, at[1] + 2, at[0] + at[2] - 2, at[1] + at[3] - 2))
    # Sixteen by sixteen squares: smoothing would make thousands of colours of them.
    assert len(part.getcolors(1 << 20) or ()) <= 256


def test_long_names_of_classes_are_whole_and_pictures_stay_in_a_line(found: Attributions) -> None:
    name = "class 238 (Greater Swiss Mountain dog of an unreasonably long name)"
    maps = tuple(replace(m, target=name) if m.rank else m for m in found.maps if not m.input)
    root = ElementTree.fromstring(render(replace(found, maps=maps), "svg"))
    said = " ".join(t.text or "" for t in root.iter(f"{SVG}text"))
    assert "\u2026" not in said
    assert "..." not in said
    large = [i.attrib for i in root.iter(f"{SVG}image") if float(i.attrib["width"]) > 200]
    assert len(large) == len(maps)
    assert len({a["y"] for a in large}) == 1
