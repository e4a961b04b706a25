"""What of a model is explained, and which inputs lead to it: found in the graph."""

from __future__ import annotations

from resnet_viz.core.graph import GraphOutput, ModelGraph, Op, OpId

SCORES = ("logits", "scores", "out", "pred", "predictions")
"""What makers call the scores, where a model returns several things: transformers,
torchvision."""


def main_output(graph: ModelGraph) -> GraphOutput | None:
    """The output that is explained: scores or a map if there are any, else the first.

    Integer outputs never count, and scalars only as a last resort. Of the others the one
    counts that is called ``logits`` or like it; then those at the top of what ``forward``
    returns before those deeper inside, which are caches, hidden states and attentions;
    then scores ``(N, C)`` and maps ``(N, C, H, W)`` before sequences; then the one that most
    of the model leads to. The first, where several are alike in all of that.
    """
    floating = [(i, o) for i, o in enumerate(graph.outputs) if is_float(graph[o.src], o.out_slot)]
    if len(floating) < 2:
        return floating[0][1] if floating else None
    shallowest = min(_depth(o) for _, o in floating)

    def rank(item: tuple[int, GraphOutput]) -> tuple[bool, bool, bool, bool, int, int]:
        place, output = item
        axes = len(graph[output.src].outputs[output.out_slot].shape)
        return (
            axes == 0,
            output.name.rpartition(".")[2] not in SCORES,
            _depth(output) > shallowest,
            axes not in (2, 4),
            -len(before(graph, output.src)),
            place,
        )

    return min(floating, key=rank)[1]


def reaching_inputs(graph: ModelGraph) -> tuple[OpId, ...]:
    """The floating inputs, scalars left out, that lead to the explained output."""
    output = main_output(graph)
    if output is None:
        return ()
    inside = before(graph, output.src)
    return tuple(i.id for i in graph.inputs if i.id in inside and i.shape and is_float(i))


def embedding_of(graph: ModelGraph) -> tuple[OpId, str] | None:
    """The first token input that an embedding module reads, and the module's path."""
    for given in graph.inputs:
        if is_float(given) or not given.shape:
            continue
        reached = {given.id}
        for op in graph.ops:
            if not any(e.src in reached for e in graph.edges_in(op.id)):
                continue
            if op.kind == "embedding":
                node = graph.module(op.module)
                # Only a leaf's output is what stands for its tokens.
                if op.module and not node.children and node.calls == 1:
                    return given.id, op.module
            elif not is_float(op):
                reached.add(op.id)
    return None


def before(graph: ModelGraph, end: OpId) -> set[OpId]:
    """``end`` and everything it depends on."""
    seen = {end}
    stack = [end]
    while stack:
        for edge in graph.edges_in(stack.pop()):
            if edge.src not in seen:
                seen.add(edge.src)
                stack.append(edge.src)
    return seen


def is_float(op: Op, slot: int = 0) -> bool:
    """Whether an output holds floating numbers."""
    return slot < len(op.outputs) and "float" in op.outputs[slot].dtype


def _depth(output: GraphOutput) -> int:
    return output.name.count(".")
