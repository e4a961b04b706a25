"""Skip paths, found from data flow alone.

A *join* is an ``add``, ``mul`` or ``cat`` with at least two activation operands;
its *fork* is its immediate dominator. What makes it a skip:

* ``add``: one operand is the fork (identity), the fork times something (scaled) or
  a projection of it, and the branch that makes the other operand holds at least one
  parameterised op. Where the shortcut has weights of its own the branch must hold a
  nonlinearity: two parallel linear maps (LoRA, additive attention) are one linear map.
* ``mul``, ``cat``: one operand is the fork, the other needs weights (gate, concat). For
  a ``cat`` it may be the fork times a gate (Oktay et al. 2018, attention U-Net). A
  ``cat`` must be along the channels: along another axis it adds tokens or steps.

The two ways share no op but views, and a branch takes the part of the fork that its shortcut
carries. A projection inside the branch of a gate of the same fork computes that gate.

A branch may take in more than the fork: a mask, an encoder's output, a time
embedding. Then nothing near dominates the join, and the fork is the nearest place on
an operand's shortcut from which the other operand is computed as well. That reading
is only used for shortcuts that are beyond doubt: identities, constant factors,
poolings and 1×1 convolutions. (A weighted sum such as ``W x + r * U h`` in a GRU cell
is no skip.) An identity found so comes first: where the side input is made from the
same source, the dominator is that source, and the shortcut to it would run past every
block before.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple

from resnet_viz.analysis.dominators import ROOT
from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.kinds import CONVOLUTIONS, IDENTITIES, JOINS, LINEAR, NORMS, POOLINGS
from resnet_viz.analysis.parts import Partings, same_part
from resnet_viz.analysis.shortcuts import Way, trace, walk
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Skip, SkipKind

_PREFERENCE: tuple[SkipKind, ...] = ("identity", "scaled", "projection")
_KEEPS_LINEAR = IDENTITIES | LINEAR | NORMS | POOLINGS | {"add", "sub", "cat", "pad"}


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
    partings = Partings(flow)
    for node, preds in enumerate(flow.preds):
        kind = flow.nodes[node].kind
        if len(preds) < 2 or kind not in JOINS:
            continue
        if kind == "add":
            skip = _residual(flow, node, residuals, partings)
            if skip is not None:
                residuals[node] = skip.way
        elif kind == "mul":
            skip = _gate(flow, node, residuals)
        else:
            skip = _concat(flow, node, residuals, dense, partings)
        if skip is not None:
            found.append(skip)
    # The product on a Highway's carry path belongs to that shortcut.
    carried = {n for skip in found if skip.kind == "scaled" for n in skip.way.passed}
    gating = {(s.fork, n) for s in found if s.kind == "gate" for n in s.branch}
    return tuple(
        _skip(flow, skip)
        for skip in found
        if not (skip.kind == "gate" and skip.join in carried)
        and not (skip.kind == "projection" and (skip.fork, skip.join) in gating)
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


def _residual(
    flow: FlowGraph, join: int, residuals: dict[int, Way], partings: Partings
) -> _Found | None:
    near = _best(flow, join, list(_near(flow, join, residuals, partings)))
    if near is not None and near.kind == "identity":
        return near
    fork = flow.idom[join]
    ways: list[tuple[Way, int]] = []
    if fork != ROOT:
        for operand, other in _pairs(flow.preds[join]):
            way = trace(flow, operand, fork, residuals)
            if way is not None and partings.leaves(way.steps(join)):
                ways.append((way, other))
    return _best(flow, join, ways) or near


def _best(flow: FlowGraph, join: int, ways: list[tuple[Way, int]]) -> _Found | None:
    for kind in _PREFERENCE:
        for way, other in ways:
            if way.kind == kind:
                # Nothing but a view may be common to both ways.
                own = [n for n in way.passed if flow.nodes[n].kind not in IDENTITIES]
                branch = flow.between(way.at, [other], without=own)
                if _is_residual(flow, way, join, branch):
                    return _Found(way.at, join, kind, branch, way)
    return None


def _is_residual(flow: FlowGraph, way: Way, join: int, branch: set[int]) -> bool:
    if not any(flow.is_parameterised(node) for node in branch):
        return False
    # Where the ways part, after a common view or none, both take the same part.
    parting = [(a, b) for a, b in pairwise(way.steps(join)) if b == way.at or b in branch]
    if not all(same_part(flow, b, a, branch) for a, b in parting):
        return False
    return not way.weighted or any(not keeps_linear(flow, node) for node in branch)


def keeps_linear(flow: FlowGraph, node: int) -> bool:
    """Whether the op is linear in its only active operand, or a sum of such."""
    kind = flow.nodes[node].kind
    if kind in ("mul", "div") or kind in LINEAR:
        return len(flow.preds[node]) == 1
    return kind in _KEEPS_LINEAR


def _near(
    flow: FlowGraph, join: int, residuals: dict[int, Way], partings: Partings
) -> Iterator[tuple[Way, int]]:
    for operand, other in _pairs(flow.preds[join]):
        above = _Ancestors(flow, other)
        for way in walk(flow, operand, residuals):
            if way.at < flow.idom[join]:
                break
            if not (_beyond_doubt(flow, way) and partings.leaves(way.steps(join))):
                continue
            if way.at != other and (way.at == flow.idom[join] or way.at in above):
                yield way, other
                break


def _beyond_doubt(flow: FlowGraph, way: Way) -> bool:
    if not way.weighted:
        return True
    layer = next(n for n in way.passed if flow.is_weighted(n))
    kernel = flow.operand_shape(layer, 1, "weight")[2:]
    pointwise = flow.nodes[layer].kind in CONVOLUTIONS and set(kernel) == {1}
    return pointwise and not way.filters and not way.scaled


class _Ancestors:
    """The nodes that a node is computed from, looked up from the latest on."""

    __slots__ = ("_ahead", "_flow", "_seen")

    def __init__(self, flow: FlowGraph, node: int) -> None:
        self._flow = flow
        self._seen = {node}
        self._ahead = [-node]

    def __contains__(self, node: int) -> bool:
        # What lies before the node asked for is looked at when somebody asks for it.
        while self._ahead and -self._ahead[0] > node:
            for pred in self._flow.preds[-heappop(self._ahead)]:
                if pred not in self._seen:
                    self._seen.add(pred)
                    heappush(self._ahead, -pred)
        return node in self._seen


def _gate(flow: FlowGraph, join: int, residuals: dict[int, Way]) -> _Found | None:
    fork = flow.idom[join]
    if fork == ROOT:
        return None
    for operand, other in _pairs(flow.preds[join]):
        way = trace(flow, operand, fork, residuals)
        if way is not None and way.kind == "identity" and not _sums(way, residuals):
            branch = flow.between(fork, [other])
            if not same_part(flow, fork, way.steps(join)[-2], branch):
                continue
            if any(_has_weights(flow, node) for node in branch):
                return _Found(fork, join, "gate", branch, way)
    return None


def _concat(
    flow: FlowGraph,
    join: int,
    residuals: dict[int, Way],
    dense: dict[int, set[int]],
    partings: Partings,
) -> _Found | None:
    preds = flow.preds[join]
    if not _joins_channels(flow, join):
        return None
    fork = flow.idom[join]
    ways = [trace(flow, p, fork, residuals) for p in preds] if fork != ROOT else []
    exact = [w for kind in ("identity", "scaled") for w in ways if w and w.kind == kind]
    near = (w for w, _ in _near(flow, join, residuals, partings) if w.kind == "identity")
    # A sum that holds the fork is a feature of its own here, as in a reversible net.
    way = next((w for w in exact or near if not _sums(w, residuals)), None)
    if way is None:
        return None
    operand = way.passed[0] if way.passed else way.at
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
