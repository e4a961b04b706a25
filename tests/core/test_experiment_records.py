"""Rows of experiments: every table is flat, documented, and refused by name where unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnet_viz.core.errors import UserError
from resnet_viz.core.experiments.common import Result
from resnet_viz.core.experiments.records import tables_of
from tests.reporting import experiments_synthetic as made
from tests.reporting import laboratory

DATA = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
RESULTS = [
    *(made.degradation(), made.identity(), made.depth(), made.lesions()),
    *(laboratory.history(), laboratory.comparison()),
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_every_table_is_flat_and_documented(result: Result) -> None:
    for table in tables_of(result):
        rows = result.to_records(table)
        columns = list(dict.fromkeys(column for row in rows for column in row))
        told = f"| `{type(result).__name__}` | `{table}` |"
        (line,) = [line for line in DATA.splitlines() if line.startswith(told)]
        assert line.split("|")[-2].strip() == ", ".join(f"`{column}`" for column in columns)
        assert all(
            value is None or isinstance(value, str | int | float)
            for row in rows
            for value in row.values()
        )
    assert result.to_records() == result.to_records(next(iter(tables_of(result))))


def test_a_layers_gradient_does_not_hide_which_norm_the_net_has() -> None:
    study = made.depth()
    rows = study.to_records("layers")
    assert {row["norm"] for row in rows} == {kind.norm for kind in study.kinds}
    assert [row["l2"] for row in rows] == [n for run in study.runs for n in run.weights.norms]


def test_an_unknown_table_is_answered_with_those_there_are() -> None:
    with pytest.raises(UserError, match="known: epochs gradients lesions"):
        made.degradation().to_records("layers")
