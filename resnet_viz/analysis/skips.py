"""Skip paths, found from data flow alone.

A *join* is an ``add``, ``mul`` or ``cat`` with at least two activation operands;
its *fork* is its immediate dominator. What makes it a skip:

* ``add``: one operand is the fork (identity), the fork times something (scaled) or
  a projection of it, and the branch that makes the other operand holds at least one
  parameterised op. Where the shortcut has weights of its own the branch must hold a
  nonlinearity: two parallel linear maps (LoRA, additive attention) are one linear map.
* ``mul``, ``cat``: one operand is the fork, the other needs weights (gate, concat).
  A ``cat`` must be along the channels: along another axis it adds tokens or steps.

A branch may take in more than the fork: a mask, an encoder's output, a time
embedding. Then nothing near dominates the join, and the fork is the nearest place on
an operand's shortcut from which the other operand is computed as well. That reading
is only used for shortcuts that are beyond doubt: identities, poolings and 1×1
convolutions. (A weighted sum such as ``W x + r * U h`` in a GRU cell is no skip.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from resnet_viz.analysis.dominators import ROOT
from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.kinds import CONVOLUTIONS, IDENTITIES, JOINS, LINEAR, NORMS, POOLINGS
from resnet_viz.analysis.shortcuts import Way, trace, walk
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Skip, SkipKind

_PREFERENCE: tuple[SkipKind, ...] = ("identity", "scaled", "projection")
_KEEPS_LINEAR = IDENTITIES | LINEAR | NORMS | POOLINGS | {"add", "sub", "cat", "pad"}
_SELECTORS = frozenset({"getitem", "narrow", "select"})


class _Found(NamedTuple):
    fork: int
    join: int
    kind: SkipKind
    branch: set[int]
    way: Way


def find_skips(graph: ModelGraph) -> tuple[Skip, ...]:
    """Every skip of the graph, in the order of their joins."""
    return skips_in(flow_of(graph))


def skips_in(flow: FlowGraph) -> tuple[Skip, ...]:
    """Like ``find_skips`` where the flow graph is at hand."""
    found: list[_Found] = []
    residuals: dict[int, Way] = {}
    dense: dict[int, set[int]] = {}
    for node, preds in enumerate(flow.preds):
        kind = flow.nodes[node].kind
        if len(preds) < 2 or kind not in JOINS:
            continue
        if kind == "add":
            skip = _residual(flow, node, residuals)
            if skip is not None:
                residuals[node] = skip.way
        elif kind == "mul":
            skip = _gate(flow, node, residuals)
        else:
            skip = _concat(flow, node, residuals, dense)
        if skip is not None:
            found.append(skip)
    # The product on a Highway's carry path belongs to that shortcut.
    carried = {n for skip in found if skip.kind == "scaled" for n in skip.way.passed}
    return tuple(
        _skip(flow, skip) for skip in found if not (skip.kind == "gate" and skip.join in carried)
    )


def _skip(flow: FlowGraph, found: _Found) -> Skip:
    shortcut = set(found.way.passed)
    if found.kind in ("gate", "scaled"):
        # What computes a gate on the shortcut belongs to it.
        shortcut = flow.between(found.fork, found.way.passed[:1]) - found.branch
    return Skip(
        fork=flow.nodes[found.fork].id,
        join=flow.nodes[found.join].id,
        kind=found.kind,
        branch=flow.ids(found.branch - shortcut),
        shortcut=flow.ids(shortcut),
    )


def _residual(flow: FlowGraph, join: int, residuals: dict[int, Way]) -> _Found | None:
    fork = flow.idom[join]
    ways: list[tuple[Way, int]] = []
    if fork != ROOT:
        for operand, other in _pairs(flow.preds[join]):
            way = trace(flow, operand, fork, residuals)
            if way is not None:
                ways.append((way, other))
    exact = _best(flow, join, ways)
    if exact is not None and exact.kind == "identity":
        return exact
    near = _best(flow, join, list(_near(flow, join, residuals)))
    if near is not None and (exact is None or near.kind == "identity"):
        return near
    return exact


def _best(flow: FlowGraph, join: int, ways: list[tuple[Way, int]]) -> _Found | None:
    for kind in _PREFERENCE:
        for way, other in ways:
            if way.kind == kind:
                branch = flow.between(way.at, [other])
                if _is_residual(flow, way, join, branch):
                    return _Found(way.at, join, kind, branch, way)
    return None


def _is_residual(flow: FlowGraph, way: Way, join: int, branch: set[int]) -> bool:
    if not any(flow.is_parameterised(node) for node in branch):
        return False
    if not same_part(flow, way.at, _entry(way, join), branch):
        return False
    return way.layers == 0 or any(not _keeps_linear(flow, node) for node in branch)


def same_part(flow: FlowGraph, fork: int, entry: int, branch: set[int]) -> bool:
    """Whether the branch takes what the shortcut carries, not another slice of the fork.

    ``u * gate(v)`` and ``u + f(v)`` with ``u, v = x.chunk(2)`` go past nothing.

    Args:
        flow: The activations.
        fork: Where both ways start.
        entry: The first op of the shortcut; the join where there is none.
        branch: The ops of the branch.
    """
    mine = _parts(flow, fork, entry)
    theirs = [_parts(flow, fork, node) for node in branch if fork in flow.preds[node]]
    return None in mine or any(None in part or mine & part for part in theirs)


def _entry(way: Way, join: int) -> int:
    return way.passed[-1] if way.passed else join


def _parts(flow: FlowGraph, fork: int, node: int) -> set[object]:
    op = flow.nodes[node]
    if len(flow.nodes[fork].outputs) > 1:
        edges = flow.graph.edges_in(op.id)
        return {edge.out_slot for edge in edges if edge.src == flow.nodes[fork].id}
    return {(op.args[1:], op.kwargs) if op.kind in _SELECTORS else None}


def _keeps_linear(flow: FlowGraph, node: int) -> bool:
    kind = flow.nodes[node].kind
    if kind in ("mul", "div") or kind in LINEAR:
        return len(flow.preds[node]) == 1
    return kind in _KEEPS_LINEAR


def _near(flow: FlowGraph, join: int, residuals: dict[int, Way]) -> Iterator[tuple[Way, int]]:
    for operand, other in _pairs(flow.preds[join]):
        ways = [w for w in walk(flow, operand, residuals) if _beyond_doubt(flow, w)]
        above = _ancestors(flow, other, min((w.at for w in ways), default=other))
        for way in ways:
            if way.at != other and way.at in above:
                yield way, other
                break


def _beyond_doubt(flow: FlowGraph, way: Way) -> bool:
    if way.layers == 0:
        return not way.scaled
    layer = next(n for n in way.passed if flow.is_weighted(n))
    kernel = flow.operand_shape(layer, 1, "weight")[2:]
    return not way.scaled and flow.nodes[layer].kind in CONVOLUTIONS and set(kernel) == {1}


def _ancestors(flow: FlowGraph, node: int, down_to: int) -> set[int]:
    seen = {node}
    stack = [node]
    while stack:
        for pred in flow.preds[stack.pop()]:
            if pred >= down_to and pred not in seen:
                seen.add(pred)
                stack.append(pred)
    return seen


def _gate(flow: FlowGraph, join: int, residuals: dict[int, Way]) -> _Found | None:
    fork = flow.idom[join]
    if fork == ROOT:
        return None
    for operand, other in _pairs(flow.preds[join]):
        way = trace(flow, operand, fork, residuals)
        if way is not None and way.kind == "identity" and not _sums(way, residuals):
            branch = flow.between(fork, [other])
            if not same_part(flow, fork, _entry(way, join), branch):
                continue
            if any(_has_weights(flow, node) for node in branch):
                return _Found(fork, join, "gate", branch, way)
    return None


def _concat(
    flow: FlowGraph, join: int, residuals: dict[int, Way], dense: dict[int, set[int]]
) -> _Found | None:
    preds = flow.preds[join]
    if not _joins_channels(flow, join):
        return None
    fork = flow.idom[join]
    ways = [(trace(flow, p, fork, residuals), p) for p in preds] if fork != ROOT else []
    pure = [(w, p) for w, p in ways if w is not None and w.kind == "identity"]
    if not pure:
        near = (w for w, _ in _near(flow, join, residuals) if w.kind == "identity")
        way = next((w for w in near if not _sums(w, residuals)), None)
        if way is None:
            return None
        operand = way.passed[0] if way.passed else way.at
    else:
        way, operand = next((x for x in pure if not _sums(x[0], residuals)), (None, 0))
        if way is None:
            return None
    # A dense unit hands on all earlier features: what earlier joins of the same fork
    # already hold belongs to the earlier units.
    known = dense.setdefault(way.at, set())
    branch = flow.between(way.at, [p for p in preds if p != operand]) - known
    if not any(_has_weights(flow, node) for node in branch):
        return None
    known |= branch | {join}
    return _Found(way.at, join, "concat", branch, way)


def _joins_channels(flow: FlowGraph, join: int) -> bool:
    axis = flow.nodes[join].argument(1, "dim", 0)
    ndim = len(flow.nodes[join].shape)
    channels = flow.channel_axis[join]
    return channels is None or not isinstance(axis, int) or axis % max(ndim, 1) == channels


def _sums(way: Way, residuals: dict[int, Way]) -> bool:
    return any(node in residuals for node in way.passed)


def _has_weights(flow: FlowGraph, node: int) -> bool:
    return flow.is_parameterised(node) and flow.nodes[node].kind not in NORMS


def _pairs(preds: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    for operand in preds:
        for other in preds:
            if other != operand:
                yield operand, other
