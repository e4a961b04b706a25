"""The table of methods in words, told a model where there is one."""

from __future__ import annotations

from resnet_viz.analysis import annotate
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.method_entry import MethodEntry
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.attributions.looking import auto_wish
from resnet_viz.measuring.attributions.methods import METHODS, Method
from resnet_viz.measuring.attributions.validity import refusal


def method_entries(graph: ModelGraph | None = None) -> tuple[MethodEntry, ...]:
    """Every row of ``METHODS``, and why it is refused on a model, if it is.

    Args:
        graph: Trace of the model; a method that looks at a layer is asked for the layer that
            ``auto`` takes.
    """
    structure = annotate(graph) if graph is not None else None
    return tuple(
        MethodEntry(
            name=row.name,
            title=row.title,
            source=row.source,
            says=row.says,
            needs=_needs(row),
            valid_on=row.valid_on,
            refused=_refused(row, graph, structure) if graph and structure else "",
        )
        for row in METHODS.values()
    )


def _needs(row: Method) -> str:
    needs = {
        "a layer": row.needs_layer,
        "a baseline": row.needs_baseline,
        "one module per call": row.rewrites,
    }
    return ", ".join(words for words, needed in needs.items() if needed)


def _refused(row: Method, graph: ModelGraph, structure: Structure) -> str:
    layer = ""
    if row.needs_layer:
        wish = auto_wish(graph)
        paths = wish.cuts if row.needs_cut else wish.modules
        if not paths:
            return wish.reason or "nothing that all of the model goes through is a module"
        layer = paths[0]
    return row.valid_when(graph, structure) or refusal(row, graph, structure, layer)
