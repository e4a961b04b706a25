"""Tables: flat rows with the documented columns, and sums that hold."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from pathlib import Path

import pytest
from hypothesis import given

from resnet_viz.analysis import annotate
from resnet_viz.core.attribution import Attributions
from resnet_viz.core.errors import UserError
from resnet_viz.core.record_columns import COLUMNS
from resnet_viz.core.report import Report
from tests.core.test_exchange import report
from tests.core.values import any_value, residual_graph

SCALARS = bool | int | float | str | None


def full_report() -> Report:
    made = report()
    return dataclasses.replace(made, structure=annotate(made.graph))


def check(table: str, rows: list[dict[str, object]]) -> None:
    for row in rows:
        assert list(row) == list(COLUMNS[table])
        assert all(isinstance(value, SCALARS) for value in row.values())


@given(any_value(Report))
def test_rows_are_flat_and_have_the_documented_columns(report):
    check("graph", report.graph.to_records())
    for table in ("ops", "skips", "blocks", "stages", "costs", "repeats", "parameters",
                  "calls", "shares", "skip_shares", "chain", "activities", "propagation",
                  "findings", "attributions", "relevance", "relevance_operands",
                  "relevance_groups"):  # fmt: skip
        check(table, report.to_records(table))


@given(any_value(Attributions))
def test_attributions_too(attributions):
    rows = attributions.to_records()
    check("attributions", rows)
    assert len(rows) == len(attributions.maps)


def test_the_columns_of_costs_add_up():
    made = full_report()
    rows = made.to_records("costs")
    (total,) = [row for row in rows if row["by"] == "total"]
    for by in ("op", "block", "stage", "kind"):
        for column in ("params", "macs", "flops", "activation_bytes"):
            assert sum(row[column] for row in rows if row["by"] == by) == total[column]


def test_an_op_knows_its_block_stage_and_gradients():
    rows = {row["id"]: row for row in report().to_records()}
    conv, outside = rows["block.conv/conv2d#0"], rows["flatten#0"]
    assert (conv["block"], conv["block_kind"]) == ("block/add#0", "pre-activation bottleneck")
    assert conv["stage"] == outside["stage"] == "stage 1"
    assert conv["param_grad_l2"] == 2.0
    assert conv["shape"] == "1x8x4x4"
    assert (outside["block"], outside["squeeze"], outside["grad_l2"]) == ("", None, None)


def test_a_skip_has_its_share_where_it_was_measured():
    (measured,) = full_report().to_records("skips")
    assert measured["share"] == 0.75
    (unmeasured,) = full_report().structure.to_records("skips")
    assert unmeasured["share"] is None


def test_gradients_by_block_stage_and_network():
    made = full_report()
    flow = made.gradient_flow
    rows = made.to_records("gradient_groups")
    assert list(dict.fromkeys(row["by"] for row in rows)) == ["block", "stage", "network"]
    read = {name for op in made.graph.ops for name in op.parameters}
    norms = [p.stats.l2 for p in flow.parameters if p.stats and p.name in read]
    assert rows[-1]["measured"] == len(norms) > 0
    assert rows[-1]["l2"] == pytest.approx(sum(x * x for x in norms) ** 0.5)
    (block,) = made.structure.blocks
    inside = {name for op in block.ops for name in made.graph[op].parameters}
    assert rows[0]["key"] == block.skip.join
    assert rows[0]["parameters"] == len(inside & {p.name for p in flow.parameters})
    assert rows[0]["shortcut"] == flow.share_of(block.skip) == 0.75


def test_what_was_not_measured_is_an_empty_table():
    made = dataclasses.replace(full_report(), measurements=())
    assert made.to_records("parameters") == made.to_records("shares") == []
    assert made.to_records("gradient_groups") == []


def test_rows_make_a_csv_file():
    rows = residual_graph().to_records()
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS["graph"]))
    writer.writeheader()
    writer.writerows(rows)
    text.seek(0)
    again = list(csv.DictReader(text))
    assert [row["id"] for row in again] == [row["id"] for row in rows]


def test_an_unknown_table_is_refused_in_one_line():
    made = full_report()
    for value in (made, made.structure, made.gradient_flow):
        with pytest.raises(UserError, match="there is no table 'layers'; there are") as caught:
            value.to_records("layers")
        assert "\n" not in str(caught.value)


def test_every_column_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    for table, columns in COLUMNS.items():
        section = re.split(r"\n##+ ", text.partition(f"\n### {table}\n")[2])[0]
        rows = [f"| `{column}` | {meaning} |" for column, meaning in columns.items()]
        assert [line for line in section.splitlines() if line.startswith("| `")] == rows
