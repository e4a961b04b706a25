"""The HTML page: self-contained, safe against names, small, readable without scripts."""

from __future__ import annotations

import base64
import hashlib
import html.parser
from typing import Any

import pytest

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.page.data import read_page
from resnet_viz.reporting.page.to_html import render_html
from tests.reporting import laboratory, synthetic

SECTIONS = [
    "top", "findings", "diagram", "gradient-flow", "skips", "attributions", "costs", "meaning",
    "provenance",
]  # fmt: skip


class Page(html.parser.HTMLParser):
    """What a browser would see: elements with attributes, scripts, styles, visible text."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.raw: dict[str, list[tuple[dict[str, str], str]]] = {"script": [], "style": []}
        self.text: list[str] = []
        self._inside: tuple[str, dict[str, str]] | None = None
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {k: v or "" for k, v in attrs}
        self.elements.append((tag, found))
        self._inside = (tag, found) if tag in self.raw else None

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside[0]].append((self._inside[1], data))
        else:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.elements if name == tag]


def page_of(report: Report, **options: Any) -> Page:
    return Page(render_html(report, RenderOptions(**options)))


@pytest.fixture(scope="module")
def resnet50() -> Page:
    return page_of(synthetic.resnet50())


def test_every_section_is_there_in_order(resnet50: Page) -> None:
    assert [a["id"] for a in resnet50.all("section")] == SECTIONS


def test_a_diagram_only_page_has_diagram_and_table() -> None:
    page = page_of(synthetic.resnet18(), diagram_only=True)
    assert [a["id"] for a in page.all("section")] == ["top", "diagram", "costs", "provenance"]
    assert any(a.get("data-op") == "fc/linear#0" for a in page.all("tr"))


@pytest.mark.parametrize("name", sorted(synthetic.ALL))
def test_the_page_loads_nothing_and_runs_nothing_but_its_hashed_scripts(name: str) -> None:
    data = render_html(synthetic.ALL[name](), RenderOptions())
    page = Page(data)
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    code = read_page(data, "code")
    runs = {"script": [*page.raw["script"], ({}, code)], "style": page.raw["style"]}
    for kind, source in (("script", "script-src"), ("style", "style-src")):
        assert len(rules[source].split()) == sum("type" not in a for a, _ in runs[kind])
        for attrs, text in runs[kind]:
            if attrs.get("type") == "application/json":
                continue
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in rules[source].split()
    assert "unsafe" not in policy
    for tag, attrs in page.elements:
        assert tag not in ("iframe", "object", "embed", "form", "base")
        assert "style" not in attrs, (tag, attrs)
        assert not [key for key in attrs if key.startswith("on")]
        if attrs.get("href", "").startswith("https://"):
            # A paper, if somebody asks for it; nothing is loaded.
            assert (tag, attrs.pop("rel")) == ("a", "noopener noreferrer")
            del attrs["href"]
        for key in ("src", "href"):
            assert attrs.get(key, "#").startswith(("#", "data:image/")), attrs[key]


def test_hostile_names_are_only_text() -> None:
    data = render_html(synthetic.hostile(), RenderOptions())
    page = Page(data)
    assert all("onerror" not in attrs for _, attrs in page.elements)
    assert [a for a in page.all("img") if not a["src"].startswith("data:image/webp")] == []
    assert "</script><img src=x onerror=alert(1)>" in "".join(page.text)
    assert len(page.raw["script"]) == 4
    assert b"<img src=x" not in data


def test_the_numbers_are_in_the_markup_and_not_only_in_the_data(resnet50: Page) -> None:
    text = " ".join("".join(resnet50.text).split())
    for wanted in ("25.6 M", "4.09 G", "12 identity, 4 projection", "exploding gradient",
                   "more than 0.1 decades per block", "He et al. 2015", "cross entropy",
                   "2¹⁶ = 65,536", "Completeness delta0.002 (1.0 %)",
                   "The weights are random"):  # fmt: skip
        assert wanted in text, wanted


def test_rows_carry_every_op_and_every_join(resnet50: Page) -> None:
    report = synthetic.resnet50()
    rows = [a["data-op"] for a in resnet50.all("tr") if "data-op" in a]
    ops, joins = [op.id for op in report.graph.ops], [s.join for s in report.structure.skips]
    assert rows == [*joins, *joins, *ops]  # shares, costs by block, costs by layer


def test_missing_sections_give_their_reason_in_the_page() -> None:
    text = "".join(page_of(synthetic.resnet(measured=False)).text)
    assert "Gradient flow was not measured" in text
    assert "No attributions were computed" in text


def test_no_findings_says_which_rules_ran() -> None:
    text = "".join(page_of(synthetic.resnet18().with_findings([])).text)
    assert "No findings." in text
    assert "depth slope (vanishing or exploding gradient)" in text


def test_a_full_resnet50_page_is_small() -> None:
    assert len(render_html(synthetic.resnet50(), RenderOptions())) < 350_000
    everything = laboratory.equipped(synthetic.resnet50())
    assert len(render_html(everything, RenderOptions())) < 530_000


@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_the_theme_is_chosen_without_scripts_where_it_is_fixed(theme: str) -> None:
    (root,) = page_of(synthetic.resnet18(), theme=theme).all("html")
    assert root["data-theme"] == theme
    assert ("dark" in root["class"].split()) == (theme == "dark")


def test_the_title_option_names_the_page() -> None:
    page = page_of(synthetic.resnet18(), title="Mine & yours")
    assert "Mine & yours · resnet-viz" in page.text


def test_ids_and_labels_hold_together(resnet50: Page) -> None:
    ids = [a["id"] for _, a in resnet50.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attrs in resnet50.elements:
        for key in ("for", "aria-describedby"):
            assert attrs.get(key, ids[0]) in ids
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in ids
    for image in resnet50.all("img"):
        assert image["alt"]
