"""``candidates``: every layer where attributions can be taken, with its layout."""

from __future__ import annotations

from resnet_viz.analysis.cuts import cuts_of
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.layer_candidate import LayerCandidate
from resnet_viz.measuring.layers.choosing import find_map
from resnet_viz.measuring.layers.layouts import Layout
from resnet_viz.measuring.layers.outputs import before, is_float, main_output
from resnet_viz.measuring.layers.places import output_of_module, outputs_of_modules
from resnet_viz.measuring.layers.reading import Reading


def candidates(graph: ModelGraph) -> tuple[LayerCandidate, ...]:
    """Modules that run once and give one tensor on the way to the score, in order of running.

    Where one value is the output of several modules, the outermost stands for them.

    Args:
        graph: Any graph.
    """
    output = main_output(graph)
    if output is None:
        return ()
    reading = Reading(graph)
    chosen = find_map(graph, reading)
    inside = before(graph, output.src)
    moved = {i.id for i in graph.inputs}
    for op in graph.ops:
        if any(e.src in moved for e in graph.edges_in(op.id)):
            moved.add(op.id)
    known = outputs_of_modules(graph)
    cuts = cuts_of(graph, output.src)
    live = {e.src for e in reading.live_edges(output.src, output.out_slot)} | {output.src}
    found: list[LayerCandidate] = []
    for op in graph.ops:
        if op.id not in known or op.id not in inside & moved or not is_float(op):
            continue
        layout = reading.layout(op.id)
        found.append(
            LayerCandidate(
                path=known[op.id][0],
                also=known[op.id][1:],
                type_name=graph.module(known[op.id][0]).type_name,
                op=op.id,
                shape=op.shape,
                layout=layout.words if layout is not None else "",
                grid=layout.grid if layout is not None else (),
                cut=op.id in cuts,
                reaches=layout is None or op.id in live,
                auto=op.id == chosen.op,
            )
        )
    return tuple(found)


def layout_at(graph: ModelGraph, path: str, reading: Reading | None = None) -> Layout | None:
    """How a module's output holds a map of each sample; ``None`` where it does not.

    Args:
        graph: Any graph.
        path: A module that runs once.
        reading: The graph's axes, where they are at hand.
    """
    op = output_of_module(graph, path)
    return None if op is None else (reading or Reading(graph)).layout(op)
