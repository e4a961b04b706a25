"""Chain, path lengths and signal propagation for a terminal: words, a curve of blocks, tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from resnet_viz.core.chain import Link
from resnet_viz.core.paths import PathGradients
from resnet_viz.core.propagation import SignalPropagation
from resnet_viz.core.report import Report
from resnet_viz.core.units import scientific, seconds
from resnet_viz.reporting.experiments.chain_figures import chain_words, sparkline
from resnet_viz.reporting.experiments.path_view import CONTESTED, path_words
from resnet_viz.reporting.experiments.propagation_tables import (
    jacobian_table,
    propagation_words,
)
from resnet_viz.reporting.experiments.to_text import table_parts
from resnet_viz.reporting.page.times import times_note
from resnet_viz.reporting.text.sections import missing, section

_WIDEST = 60
_SLOWEST = 5


def chain_lines(chain: Sequence[Link]) -> list[str]:
    """Gains and their product as two curves from input to loss, and what they say."""
    if not chain:
        return []
    gains, products = [link.gain for link in chain], [link.product for link in chain]
    return [
        f"chain, input to loss: {_curve('factors', gains)}; {_curve('product', products)}",
        *chain_words(chain),
    ]


def path_text(report: Report) -> list[RenderableType]:
    """Gradient by path length; why not, where it was asked for."""
    found: PathGradients | None = report.path_gradients
    if found is None:
        return missing(report, "path gradients")
    total = found.lengths.total
    paths = [count / total if total else 0.0 for count in found.lengths.counts]
    lines = [
        f"lengths 0 to {found.lengths.longest}: {_curve('paths', paths)}; "
        f"{_curve('gradient', found.masses)}",
        *path_words(found),
        CONTESTED,
    ]
    return [section("path lengths", lines)]


def propagation_text(report: Report) -> list[RenderableType]:
    """Signal propagation; why not, where it was asked for."""
    found: SignalPropagation | None = report.signal_propagation
    if found is None:
        return missing(report, "signal propagation")
    lines = []
    if found.blocks:
        variances = [block.output.variance for block in found.blocks]
        ratios = [block.ratio for block in found.blocks]
        lines.append(f"blocks: {_curve('variance', variances)}; {_curve('‖F‖/‖x‖', ratios)}")
    parts = [section("signal propagation", [*lines, *propagation_words(found)])]
    table = jacobian_table(found.spectra)
    return [*parts, *(table_parts(table, table.title) if table else ())]


def times_text(report: Report) -> list[RenderableType]:
    """How the time of a forward spreads over its calls; why not, where it was asked for."""
    found = report.op_times
    if found is None:
        return missing(report, "op times")
    slowest = sorted(found.ops, key=lambda row: -row.seconds)[:_SLOWEST]
    told = ", ".join(f"{row.op} {seconds(row.seconds)}" for row in slowest)
    lines = [
        f"calls, in forward order: {_curve('seconds', [row.seconds for row in found.ops])}",
        f"slowest: {told}",
        str(times_note(found)),
    ]
    return [section("times", lines if found.ops else lines[2:])]


def _curve(name: str, values: Sequence[float]) -> str:
    """A curve on a log scale with its ends, of at most so many letters."""
    every = -(-len(values) // _WIDEST)
    drawn = sparkline(values[::every])
    return f"{name} {scientific(values[0])} {drawn} {scientific(values[-1])}"
