"""Pure facts about a ``ModelGraph``: skips, blocks, stages, costs, repeats and findings.

No torch in here: everything follows from the ops and the edges between them.
A new analysis is a function ``(ModelGraph) -> facts`` in ``ANALYSES``.
"""

from __future__ import annotations

from collections.abc import Callable

from resnet_viz.analysis.blocks import blocks_in, find_blocks
from resnet_viz.analysis.costs import find_costs
from resnet_viz.analysis.flow_graph import flow_of
from resnet_viz.analysis.paths import path_lengths
from resnet_viz.analysis.repeats import find_repeats, repeats_in
from resnet_viz.analysis.skips import find_skips, skips_in
from resnet_viz.analysis.stages import find_stages, stages_in
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Memory, Structure


def annotate(graph: ModelGraph, memory: Memory | None = None) -> Structure:
    """Skips, blocks, stages, costs and repeats of a graph; pure and deterministic.

    Args:
        graph: What ran.
        memory: What the backward keeps, where that was measured; goes into the costs.
    """
    flow = flow_of(graph)
    skips = skips_in(flow)
    blocks = blocks_in(flow, skips)
    stages = stages_in(flow, skips, blocks)
    return Structure(
        skips=skips,
        blocks=blocks,
        stages=stages,
        costs=find_costs(graph, blocks, stages, memory),
        repeats=repeats_in(graph, blocks),
    )


ANALYSES: dict[str, Callable[[ModelGraph], object]] = {
    "structure": annotate,
    "skips": find_skips,
    "blocks": find_blocks,
    "stages": find_stages,
    "repeats": find_repeats,
    "paths": path_lengths,
}

__all__ = ["ANALYSES", "annotate", "find_blocks", "find_repeats", "find_skips", "find_stages"]
