"""Where a stage is looked at: at the last map of places that it hands on."""

from __future__ import annotations

from dataclasses import dataclass

from resnet_viz.analysis.receptive_fields import receptive_fields
from resnet_viz.core.depth_views import ReceptiveField
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.structure import Stage, Structure
from resnet_viz.measuring.layers import Layout, Reading, find_map, main_output
from resnet_viz.measuring.layers.outputs import before, is_float
from resnet_viz.measuring.layers.places import outputs_of_modules


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One stage's last map.

    Attributes:
        name: The stage's.
        op: Whose output it is.
        module: The outermost module that gives it out, else the one that its call is in.
        layout: How that output holds a map.
        field: What a place of it depends on; ``None`` where the graph does not tell.
    """

    name: str
    op: OpId
    module: str
    layout: Layout
    field: ReceptiveField | None


def spots_of(graph: ModelGraph, structure: Structure, source: OpId) -> tuple[Spot, ...]:
    """One spot per stage that has maps of the image, from the stem to the last stage.

    Of stages after the stem whose maps are alike in size, the last in a row stands for all.

    What makes the explained output out of the last map is no stage to look at. Where the
    places of a stage's last map reach no score (a transformer reads its class token alone),
    the last one whose places do is taken.

    Args:
        graph: Any graph.
        structure: What was found in it.
        source: The image that goes in.
    """
    output = main_output(graph)
    if output is None:
        return ()
    reading = Reading(graph)
    inside = before(graph, output.src) & _after(graph, source)
    live = reading.live_edges(output.src, output.out_slot)
    found: dict[Stage, OpId] = {}
    for stage in structure.stages:
        own = set(stage.ops)
        maps = [
            op
            for op in stage.ops
            if op in inside and is_float(graph[op]) and reading.layout(op) is not None
        ]
        read = [op for op in maps if any(e in live for e in graph.edges_out(op))]
        handed_on = [op for op in read if any(e.dst not in own for e in graph.edges_out(op))]
        chosen = find_map(graph, reading).op if read and not handed_on else None
        if handed_on:
            found[stage] = handed_on[-1]
        elif chosen in own:
            found[stage] = chosen
        elif maps:
            found[stage] = (read or maps)[-1]
    heads = [s for s in found if output.src in s.ops and not s.blocks]
    if len(found) > len(heads):
        found = {s: op for s, op in found.items() if s not in heads}
    # Windows of tokens change resolution and back: of maps of one size only the last is shown,
    # the stem's beside it.
    order = list(found.items())
    sizes = {op: _size(graph, reading, op) for op in found.values()}
    found = {
        stage: op
        for i, (stage, op) in enumerate(order)
        if i in (0, len(order) - 1) or sizes[op] != sizes[order[i + 1][1]]
    }
    fields = receptive_fields(graph, found.values(), source)
    modules = outputs_of_modules(graph)
    spots = []
    for stage, op in found.items():
        layout = reading.layout(op)
        assert layout is not None
        module = next(iter(modules.get(op, ())), graph[op].module)
        spots.append(Spot(name=stage.name, op=op, module=module, layout=layout, field=fields[op]))
    return tuple(spots)


def _size(graph: ModelGraph, reading: Reading, op: OpId) -> tuple[int, tuple[int, int]]:
    """Values of a map, and its rows and columns."""
    layout = reading.layout(op)
    return graph[op].outputs[0].numel, layout.grid if layout else (0, 0)


def _after(graph: ModelGraph, source: OpId) -> set[OpId]:
    """What depends on an input."""
    reached = {source}
    for op in graph.ops:
        if any(e.src in reached for e in graph.edges_in(op.id)):
            reached.add(op.id)
    return reached
