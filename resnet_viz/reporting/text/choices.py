"""For a terminal: the layers and the methods that attributions can take."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from resnet_viz.core.layer_candidate import LayerCandidate
from resnet_viz.core.method_entry import MethodEntry
from resnet_viz.core.units import shape
from resnet_viz.reporting.text.sections import plain


def layers_table(layers: Sequence[LayerCandidate]) -> RenderableType:
    """The candidates for ``--layer``, in the order they run."""
    table = _table("layer", "shape", "layout")
    for layer in layers:
        marks = ["auto"] if layer.auto else []
        marks += [] if layer.cut else ["no cut"]
        marks += [] if layer.reaches else ["goes nowhere"]
        table.add_row(
            plain(layer.path),
            shape(layer.shape),
            plain(layer.layout or "no map"),
            ", ".join(marks),
            style="bold" if layer.auto else "",
        )
    foot = (
        "Give one of them with --layer. auto: what --layer auto takes. no cut: part of the "
        "model goes past it, so what is attributed there does not add up to the score. goes "
        "nowhere: its places do not reach the score."
    )
    return Group(table, Text(), Text(foot, style="dim"))


def methods_table(methods: Sequence[MethodEntry], model: str = "") -> RenderableType:
    """The rows of the table of methods; what is refused on the model at hand says why."""
    table = _table("method", "needs")
    for method in methods:
        state = Text(f"no: {method.refused}", style="yellow") if method.refused else Text("yes")
        table.add_row(method.name, method.needs or "nothing", state)
    if model:
        table.columns[-1].header = plain(f"on {model}")
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading == "method")
    table.add_column("")
    return table
