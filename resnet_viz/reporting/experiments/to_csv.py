"""The raw numbers of an experiment or a measurement as CSV."""

from __future__ import annotations

import csv
import io

from resnet_viz.core.display import Savable
from resnet_viz.core.errors import UserError
from resnet_viz.core.experiments.common import Result
from resnet_viz.core.experiments.records import records
from resnet_viz.core.flow_records import flow_records, path_records, propagation_records
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.op_times import OpTimes
from resnet_viz.core.paths import PathGradients
from resnet_viz.core.propagation import SignalPropagation
from resnet_viz.core.report import RenderOptions
from resnet_viz.reporting.escaping import xml_safe

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def render_csv(value: Savable, options: RenderOptions) -> bytes:
    """The main table as CSV (RFC 4180, UTF-8); ``options.focus`` names another.

    Numbers are written in full, so that reading them gives the same floats back
    (``inf`` and ``nan`` included). A text that a spreadsheet would take for a formula
    gets an apostrophe before it.

    Raises:
        UserError: If the result has no such table.
    """
    rows = _rows(value, options.focus)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    head = list(dict.fromkeys(key for row in rows for key in row))
    writer.writerow(head)
    writer.writerows([_cell(row.get(key)) for key in head] for row in rows)
    return buffer.getvalue().encode()


def _rows(value: Savable, table: str) -> list[dict[str, object]]:
    if isinstance(value, Result):
        return records(value, table)
    if isinstance(value, GradientFlow):
        return flow_records(value, table or "parameters")
    if table:
        raise UserError(f"{type(value).__name__} has one table only; leave {table!r} out")
    if isinstance(value, PathGradients):
        return path_records(value)
    if isinstance(value, OpTimes):
        return value.to_records()
    assert isinstance(value, SignalPropagation)
    return propagation_records(value)


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return "" if value is None else value
    text = xml_safe(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
