"""What can be asked of attributions: ``rv.attribution_layers`` and ``rv.attribution_methods``."""

from __future__ import annotations

from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.layer_candidate import LayerCandidate
from resnet_viz.core.method_entry import MethodEntry
from resnet_viz.pipeline.checking import expect

_WANTED = "expected a graph: rv.trace(model) makes one"


def attribution_layers(graph: ModelGraph) -> tuple[LayerCandidate, ...]:
    """Every layer that ``layer=`` takes, with its shape and how it holds a map.

    Args:
        graph: As ``trace`` gives it.
    """
    from resnet_viz.measuring.layers import candidates

    expect(graph, ModelGraph, _WANTED)
    return candidates(graph)


def attribution_methods(graph: ModelGraph | None = None) -> tuple[MethodEntry, ...]:
    """Every method that ``method=`` takes, what it needs and where it holds.

    Args:
        graph: As ``trace`` gives it; methods that would be wrong on its model say why.
    """
    from resnet_viz.measuring.attributions.listing import method_entries

    if graph is not None:
        expect(graph, ModelGraph, _WANTED)
    return method_entries(graph)
