"""The river of relevance: what every edge carries of F(x) − F(x′), like the gradient's river.

Relevance is ∂F/∂h · Δh along a path, so where a tensor parts, the parts add up to it, and
where tensors meet, their parts were measured. An edge into an op with one operand carries
that op's relevance; an edge into a join what was measured of that operand; of a tensor's
last unknown edge what the others leave.
"""

from __future__ import annotations

import math

from resnet_viz.analysis.flow_graph import flow_of
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.relevance import Relevance
from resnet_viz.reporting.drawing.river import OUTPUT, Pair, River, spine_of

_LEAST = 1e-3  # of the largest relevance: below this the score did not move


def relevance_river(graph: ModelGraph, relevance: Relevance) -> River:
    """What every edge carries, as a part of F(x) − F(x′).

    Where the score did not move, parts are of the largest relevance of an operand.
    """
    shape = flow_of(graph)
    names = [str(op.id) for op in shape.nodes]
    scale = scale_of(relevance)
    known = {str(r.op): r.amount.signed / scale for r in relevance.ops}
    known = {op: amount for op, amount in known.items() if math.isfinite(amount)}
    operands: dict[Pair, float] = {}
    for o in relevance.operands:
        pair = str(o.src), str(o.join)
        operands[pair] = operands.get(pair, 0.0) + o.amount.signed / scale
    spine = spine_of(shape)
    ends = {str(output.src) for output in graph.outputs}
    amounts: dict[Pair, float] = {}
    whole: dict[str, frozenset[Pair]] = {}
    for node, name in enumerate(names):
        if not shape.active[node]:
            continue
        pairs = [(name, names[s]) for s in shape.succs[node]]
        if not pairs and name in ends:
            pairs = [(name, OUTPUT)]
        if node in spine:
            whole[name] = frozenset(pairs)
        found: dict[Pair, float] = {}
        for pair, succ in zip(pairs, shape.succs[node], strict=False):
            alone = len(shape.preds[succ]) == 1
            amount = operands.get(pair, known.get(pair[1]) if alone else None)
            if amount is not None and math.isfinite(amount):
                found[pair] = amount
        unknown = [pair for pair in pairs if pair not in found]
        if len(unknown) == 1 and name in known:
            found[unknown[0]] = known[name] - sum(found.values())
        amounts |= found
    return River(amounts, whole, known)


def scale_of(relevance: Relevance) -> float:
    """What relevances are parts of: the change of the score, or else the largest of them."""
    sizes = [abs(o.amount.signed) for o in relevance.operands]
    sizes = sizes or [abs(r.amount.signed) for r in relevance.ops]
    most = max((v for v in sizes if math.isfinite(v)), default=0.0)
    moved = relevance.difference
    return moved if math.isfinite(moved) and abs(moved) > _LEAST * most else most or 1.0
