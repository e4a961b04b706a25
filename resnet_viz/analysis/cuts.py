"""Cuts: the ops that every way from the input to the output goes through.

At a cut all of a model passes one tensor, so what is attributed there can account for the
whole score: conductance and layer integrated gradients sum to F(x) − F(x′) (Dhamdhere et
al. 2018). Inside a residual branch part of the score goes past on the shortcut.
"""

from __future__ import annotations

from collections.abc import Collection

from resnet_viz.analysis.dominators import ROOT, DominatorTree
from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.core.graph import ModelGraph, OpId


def cuts_of(
    graph: ModelGraph, output: OpId | None = None, *, inputs: Collection[OpId] | None = None
) -> frozenset[OpId]:
    """Ops that every way of a gradient from the inputs to the output goes through.

    Args:
        graph: A traced model.
        output: The op whose value is explained; ``None``: whatever ``forward`` returns.
        inputs: What is attributed; ``None``: every floating input and every embedding.
            Where token ids are attributed at their embedding, that is the op to give. What
            does not depend on the inputs is constant between x and x′ and counts as no way.

    Returns:
        The cuts, ``output`` among them and the input too where there is only one; empty
        where nothing leads from the inputs to the output.

    Raises:
        KeyError: If ``output`` or one of ``inputs`` is not in the graph.
    """
    flow = flow_of(graph)
    ways = _ways_from(flow, inputs)
    tree = DominatorTree()
    for node, sources in ways.items():
        tree.add(node, sources)
    met = [node for node in flow.positions(_ends(graph, output)) if node in ways]
    if not met:
        return frozenset()
    last = met[0]
    for node in met[1:]:
        last = tree.common(last, node)
    return frozenset(flow.ids(tree.chain(last, ROOT)))


def between(
    graph: ModelGraph, output: OpId | None = None, *, inputs: Collection[OpId] | None = None
) -> tuple[OpId, ...]:
    """Ops on any way of a gradient from the inputs to the output, both included, in order.

    Args:
        graph: A traced model.
        output: As ``cuts_of`` takes it.
        inputs: As ``cuts_of`` takes it.

    Raises:
        KeyError: If ``output`` or one of ``inputs`` is not in the graph.
    """
    flow = flow_of(graph)
    ways = _ways_from(flow, inputs)
    stack = [node for node in flow.positions(_ends(graph, output)) if node in ways]
    found = set(stack)
    while stack:
        new = set(ways[stack.pop()]) - found
        found |= new
        stack += new
    return flow.ids(found)


def _ends(graph: ModelGraph, output: OpId | None) -> list[OpId]:
    return [output] if output is not None else [o.src for o in graph.outputs]


def _ways_from(flow: FlowGraph, inputs: Collection[OpId] | None) -> dict[int, list[int]]:
    """Every node that depends on the inputs, in order, and the operands by which it does."""
    starts = None if inputs is None else set(flow.positions(inputs))
    found: dict[int, list[int]] = {}
    for node in range(len(flow.nodes)):
        # Token ids are no activation, but what embeds them depends on them all the same.
        silent = [s for s in flow.sources[node] if not flow.active[s]]
        ways = [p for p in flow.preds[node] or silent if p in found]
        begins = (flow.active[node] and not flow.preds[node]) if starts is None else node in starts
        if begins or ways:
            # What begins here owes nothing to the ops before it.
            found[node] = [] if begins else ways
    return found
