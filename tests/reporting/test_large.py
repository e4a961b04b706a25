"""Networks too large to be drawn or listed at once: cut into ranges, opened step by step."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.drawing.diagram import diagram
from resnet_viz.reporting.page.data import read_page
from resnet_viz.reporting.page.first_paint import MOST, first_drawing, first_state
from resnet_viz.reporting.page.layer_table import ALL_ROWS, FIRST_ROWS, all_rows, first_rows
from resnet_viz.reporting.page.to_html import render_html
from resnet_viz.reporting.page.view import view
from tests.reporting import synthetic
from tests.reporting.synthetic import Net

LONG = 400


def flat(ops: int, *, inside: str = "", reach: int = 7) -> Report:
    """A chain of ops without modules, and an edge over the next few from every fifth."""
    net = Net("flat", (1, 16))
    last = [net.x]
    for i in range(ops):
        over = last[-reach] if i % 5 == 0 and len(last) > reach else None
        sources = [last[-1], *([over] if over else [])]
        last.append(net.op("add" if over else "relu", inside, *sources))
    return net.report(last[-1])


def layers(count: int) -> Report:
    """So many modules of two ops in one list, each of a width of its own."""
    net = Net("layers", (1, 16))
    x = net.x
    for i in range(count):
        x = net.op("linear", f"layers.{i}.fc", x, shape=(1, 16 + i), weights=[(16 + i, 15 + i)])
        x = net.op("relu", f"layers.{i}.act", x)
    return net.report(x)


@pytest.fixture(scope="module")
def chain() -> dict[str, Any]:
    return diagram(flat(3_000), RenderOptions(fold_repeats=False))


def test_no_box_of_a_flat_network_holds_more_than_can_be_drawn(chain: dict[str, Any]) -> None:
    assert all(len(plan["items"]) <= LONG for plan in chain["plans"])
    assert {g["kind"] for g in chain["groups"]} == {"range"}


def test_ranges_hold_every_op_once_and_in_order(chain: dict[str, Any]) -> None:
    reached: list[int] = []

    def walk(plan: int) -> None:
        for item in chain["plans"][plan]["items"]:
            if item >= 0:
                reached.append(item)
            else:
                walk(-item)

    walk(0)
    assert reached == list(range(len(chain["nodes"])))
    spans = [(g["low"], g["high"]) for g in chain["groups"]]
    assert all(a[1] == b[0] for a, b in pairwise(spans))
    assert chain["groups"][0]["label"].startswith("1 … ")
    assert chain["groups"][-1]["label"].endswith(" … 3,000")


def test_ranges_part_where_the_fewest_edges_pass() -> None:
    # Every 20 ops the chain is all there is; between, a skip passes.
    net = Net("waists", (1, 16))
    x = net.x
    for _ in range(100):
        fork = x = net.op("relu", "", x)
        for _ in range(18):
            x = net.op("relu", "", x)
        x = net.op("add", "", x, fork)
    data = diagram(net.report(x), RenderOptions(fold_repeats=False))
    # Place 0 is the input; a waist is after every twentieth op.
    assert [g["low"] % 20 for g in data["groups"]] == [1] * len(data["groups"])


def test_a_long_list_of_modules_is_cut_between_modules_and_called_by_them() -> None:
    data = drawing(True)
    ranges = [g for g in data["groups"] if g["kind"] == "range"]
    assert ranges[0]["label"].startswith("0 … ")
    assert ranges[-1]["label"].endswith(" … 899")
    assert all(len(plan["items"]) <= LONG for plan in data["plans"])
    ends = {g["low"] for g in data["groups"] if g["kind"] == "module"}
    assert all(g["low"] in ends for g in ranges)
    assert len({g["id"] for g in data["groups"]}) == len(data["groups"])


def test_what_can_be_drawn_at_once_is_not_cut() -> None:
    assert diagram(flat(380), RenderOptions(fold_repeats=False))["groups"] == []


@cache
def drawing(large: bool) -> dict[str, Any]:
    """Of ResNet-50, or of 900 modules."""
    report = layers(900) if large else synthetic.resnet50()
    return diagram(report, RenderOptions(fold_repeats=False))


def drawn_at(data: dict[str, Any], opened: list[bool]) -> int:
    def size(plan: int) -> int:
        items = data["plans"][plan]["items"]
        return sum(size(-i) if i < 0 and opened[-i - 1] else 1 for i in items)

    return size(0)


@given(st.integers(20, 3_000), st.sampled_from(["all", "blocks", "none"]))
def test_the_first_state_is_what_is_wanted_as_far_as_there_is_room(most: int, mode: str) -> None:
    data = drawing(mode == "none")
    wanted = data["open"][mode]
    opened = first_state(data, wanted, most)
    assert all(not is_open or want for is_open, want in zip(opened, wanted, strict=True))
    least = len(data["plans"][0]["items"])
    assert drawn_at(data, opened) <= max(most, least)
    if drawn_at(data, [bool(w) for w in wanted]) <= most:
        assert opened == [bool(w) for w in wanted]


def test_the_page_of_a_large_network_begins_with_what_can_be_drawn() -> None:
    data = drawing(True)
    still = first_drawing(data, "none")
    # A mark per op and box, and a path or text or two for each.
    assert still["markup"].count("<g ") <= 2 * MOST
    assert 0 < still["ops"] < still["all"] == len(data["nodes"])
    small = first_drawing(drawing(False), "none")
    assert small["ops"] == small["all"]
    assert small["markup"].count("data-op=") == len(drawing(False)["nodes"])


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    return view(layers(900), RenderOptions(diagram_only=True, fold_repeats=False))


def test_a_long_table_begins_with_weights_and_holds_all_in_the_data(page: dict[str, Any]) -> None:
    assert len(page["layers"]) == 1_800 > ALL_ROWS
    rows = first_rows(page)
    assert len(rows) == FIRST_ROWS
    assert all(row["weighted"] for row in rows)
    every = all_rows(page)
    assert every is not None
    assert every["ops"] == [row["op"] for row in page["layers"]]
    assert every["cells"][0] == [row["name"] for row in page["layers"]]
    assert {len(column) for column in every["cells"]} == {1_800}


def test_what_a_finding_names_is_listed_first(page: dict[str, Any]) -> None:
    last = page["layers"][-1]
    finding = {"where": [{"op": last["op"], "name": ""}]}
    assert first_rows(page | {"findings": {"items": [finding]}})[-1] is last


def test_a_short_table_is_in_the_markup_only() -> None:
    short = view(synthetic.resnet18(), RenderOptions())
    assert first_rows(short) is short["layers"]
    assert all_rows(short) is None


def test_the_page_of_a_large_network_is_small_and_says_what_it_leaves_out() -> None:
    report = layers(900)
    data = render_html(report, RenderOptions(diagram_only=True, fold_repeats=False))
    text = data.decode()
    assert "500 of 1,800 operations are listed here" in text
    assert read_page(data)["rows"]["ops"] == [str(op.id) for op in report.graph.ops]
    assert len(data) < 600_000 < len(json.dumps(read_page(data)))
