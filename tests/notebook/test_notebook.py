"""The example notebook, executed: what each value gives Jupyter, and that it runs in a page."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
SHOWN = (
    "<ModelGraph ResNet: 73 ops",
    "Gradient flow",
    "ResNet: gradient by path length",
    "ResNet: signal propagation",
    "ResNet: 73 ops, 270 k params",
    "ResNet",
    "attributions: 4 maps",
    "attributions: 1 map",
)
"""How the line of each value begins, in the order of the cells."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What the cells of the example gave, each executed in a kernel of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        ran = nbclient.NotebookClient(
            nbformat.read(NOTEBOOK, as_version=4),
            timeout=300,
            resources={"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}},
        ).execute()
    outputs = [out for cell in ran.cells for out in cell.get("outputs", ())]
    return [dict(out.data) for out in outputs if out.output_type == "execute_result"]


def test_the_example_is_stored_without_what_it_gives() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def test_every_value_shows_itself_in_a_frame_a_picture_and_a_line(
    bundles: list[dict[str, str]],
) -> None:
    *values, paper = bundles
    assert len(values) == len(SHOWN)
    for bundle, line in zip(values, SHOWN, strict=True):
        assert bundle.keys() == {"text/html", "image/svg+xml", "text/plain"}
        assert bundle["text/plain"].startswith(line)
        assert "\n" not in bundle["text/plain"]
        assert ElementTree.fromstring(bundle["image/svg+xml"]).tag.endswith("svg")
        page = bundle["text/html"]
        (sandbox,) = re.findall(r' sandbox="([^"]*)"', page)
        assert "allow-scripts" in sandbox
        assert "same-origin" not in sandbox
        (source,) = re.findall(r' srcdoc="([^"]*)"', page)
        assert html.unescape(source).lower().startswith("<!doctype html>")
        # Where frames are taken out, the still picture behind it is left.
        (still,) = re.findall(r'<img alt="[^"]*" src="data:image/svg\+xml;base64,([^"]*)"', page)
        assert base64.b64decode(still).decode() == bundle["image/svg+xml"]
        assert len(page) < 700_000
    graph, report = values[0]["text/html"], values[4]["text/html"]
    assert len(graph) < len(report)
    assert 'width="700"' in paper["image/svg+xml"]


@pytest.mark.browser
def test_the_frames_run_in_a_page_without_complaint_or_request(
    open_page: Callable[..., Any], bundles: list[dict[str, str]]
) -> None:
    frames = "".join(bundle["text/html"] for bundle in bundles[:-1])
    opened = open_page(f"<!doctype html><title>notebook</title>{frames}".encode(), height=700)
    page = opened.page
    for place, bundle in enumerate(bundles[:-1]):
        frame = page.frame_locator("iframe").nth(place)
        page.locator("iframe").nth(place).scroll_into_view_if_needed()
        frame.locator("svg, canvas, img").first.wait_for(state="attached")
        if "data-ready" in bundle["text/html"]:
            frame.locator("html[data-ready]").wait_for(state="attached")
    graph = page.frame_locator("iframe").first
    drawn = graph.locator("#graph [data-key]")
    drawn.first.wait_for()
    before = drawn.count()
    graph.locator('[data-level="none"]').click()
    graph.locator("#graph [data-key]").nth(before).wait_for()
    assert drawn.count() > before
    assert opened.complaints == []
    assert [url for url in opened.requests if url.startswith(("http:", "https:", "ws"))] == []
