"""Costs as a reader sees them: totals with what they leave out, bytes, and peaks."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from resnet_viz.analysis import annotate
from resnet_viz.core.graph import How, OpId
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.core.structure import Memory, SavedTensor
from resnet_viz.reporting.page.cost_wording import macs_text, memory_rows, uncounted_text
from resnet_viz.reporting.page.view import view
from resnet_viz.reporting.show import render, summary_line
from resnet_viz.reporting.text.to_text import summary_table
from tests.core.values import residual_graph

OPTIONS = RenderOptions()
SAVED = Memory(
    mode="train",
    saved=(
        SavedTensor(op=OpId("block/relu#0"), nbytes=512, made_by="block.conv/conv2d#0"),
        SavedTensor(op=OpId("block/add#0"), nbytes=64),
    ),
)


def reported(memory: Memory | None = SAVED) -> Report:
    graph = residual_graph()
    return Report(graph=graph, structure=annotate(graph, memory))


def printed(report: Report, width: int = 100, **options: bool) -> str:
    buffer = io.StringIO()
    Console(file=buffer, width=width).print(summary_table(report, **options))  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("macs", "unknown", "text"),
    [(0, 0, "0"), (4_089_184_256, 0, "4.09 G"), (9216, 1, "9.22 k + ?"), (0, 3, "?")],
)
def test_a_sum_that_lacks_something_says_so(macs: int, unknown: int, text: str) -> None:
    assert macs_text(macs, unknown) == text


def test_what_has_no_formula_stands_by_every_total() -> None:
    report = reported()
    line = "1 op without a formula: flatten#0"
    assert uncounted_text(report.graph) == line
    text = printed(report)
    assert "9.22 k + ? (18.4 k + ? FLOPs)" in text
    assert line in text
    assert "9.22 k MACs (+ 1 op without a formula)" in summary_line(report)
    page = view(report, OPTIONS)
    macs = next(kpi for kpi in page["header"]["kpis"] if kpi["label"] == "MACs")
    assert (macs["value"], macs["detail"]) == ("9.22 k + ?", "1 op without a formula")
    assert page["costs"]["macs"] == "9.22 k + ?"
    assert page["costs"]["uncounted"] == ["flatten#0"]
    for format_ in ("svg", "dot"):
        assert "9.22 k MACs (+ 1 op without a formula)" in render(report, format_, OPTIONS).decode()
    assert "flatten#0" in render(report, "html", OPTIONS).decode()


def test_many_are_told_by_their_kinds() -> None:
    graph = residual_graph()
    flatten = graph.ops[-1]
    more = [dataclasses.replace(flatten, id=OpId(f"x/flatten#{i}")) for i in range(9)]
    graph = dataclasses.replace(graph, ops=(*graph.ops, *more))
    assert uncounted_text(graph) == "10 ops without a formula: flatten × 10"


def test_rows_of_memory_in_text_and_page() -> None:
    report = reported()
    found = memory_rows(report.graph, report.structure.costs)
    rows = {name: (size, what) for name, size, what in found}
    assert rows["Saved for backward"] == ("576 B", "train mode")
    assert rows["Parameters"] == ("2.32 kB", "581, 576 trainable")
    assert rows["Input"][0] == "512 B"
    text = " ".join(printed(report).split())
    for size, _ in rows.values():
        assert size in text
    assert "for the backward 576 B (train mode)" in text
    assert "workspaces of kernels and the state of an optimizer" in text
    page = view(report, OPTIONS)["costs"]
    assert [(t["name"], t["size"], t["what"]) for t in page["totals"]] == [
        (name, *row) for name, row in rows.items()
    ]
    assert page["saved"]
    assert {row["name"]: row["saved"] for row in page["kinds"]}["relu"] == "512 B"


def test_without_a_measurement_there_is_no_column_of_what_is_saved() -> None:
    unknown = Memory(mode="train", unknown="fake raised X")
    for memory, why in ((None, "not measured"), (unknown, "fake raised X")):
        report = reported(memory)
        assert f"for the backward not known ({why})" in " ".join(printed(report).split())
        page = view(report, OPTIONS)
        assert not page["costs"]["saved"]
        html = render(report, "html", OPTIONS).decode()
        assert ">Saved</th>" not in html
        assert why in html
    assert ">Saved</th>" in render(reported(), "html", OPTIONS).decode()


def test_what_the_figure_leaves_open_is_said() -> None:
    memory = dataclasses.replace(
        SAVED,
        mode="eval",
        how=How(mode="meta", why="train mode on meta raised ValueError: one value"),
        hidden=3,
        saved=(*SAVED.saved, SavedTensor(op=OpId("aux/linear#0"), nbytes=1000)),
    )
    report = reported(memory)
    rows = memory_rows(report.graph, report.structure.costs)
    (found,) = (row for row in rows if row[0].startswith("Saved"))
    assert found[1] == "1.58 kB"
    assert found[2] == (
        "eval mode; train mode on meta raised ValueError: one value; 3 ops under checkpointing or "
        "offloading keep theirs elsewhere; 1.00 kB of it in ops that only this mode runs"
    )


def test_a_wide_terminal_gets_bytes_per_module() -> None:
    report = reported()
    narrow, wide = printed(report), printed(report, 140, memory=True)
    assert "activations" not in narrow.split("\n")[1]
    head = wide.split("\n")[1]
    assert "activations" in head
    assert "saved" in head
    block = next(line for line in wide.split("\n") if line.strip().startswith("block "))
    assert "1.02 kB" in block
    assert "576 B" in block


def test_the_note_on_training_memory_has_this_networks_numbers() -> None:
    notes = {note["key"]: note for note in view(reported(), OPTIONS)["meaning"]}
    here = notes["memory"]["here"]
    assert "keeps 576 B (train mode), most of it in relu (512 B) and add (64 B)" in here
    assert "memory" not in {n["key"] for n in view(reported(None), OPTIONS)["meaning"]}
