"""Edges between ops as edges between the items of each box, and where skips show.

An edge is cut where it crosses the wall of a box: out of the boxes around its
source, across the box that holds both ends, into the boxes around its target. The
pieces of all edges are shared, so every box draws each way once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from resnet_viz.core.structure import Skip
from resnet_viz.reporting.layout.grouping import Group
from resnet_viz.reporting.layout.pieces import IN, OUT, LocalEdge

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Lifted:
    """The pieces of all edges.

    Attributes:
        local: Per box (the drawing, then each group), its edges.
        ways: Per edge between ops, its pieces from source to target.
        mark: Per skip that is drawn, the group whose edge marks it (-1: the drawing).
    """

    local: list[list[LocalEdge]]
    ways: dict[Pair, list[LocalEdge]]
    mark: dict[int, int]


def around(groups: Sequence[Group], group: int) -> list[int]:
    """The group and those around it, outermost first."""
    chain = []
    while group >= 0:
        chain.append(group)
        group = groups[group].parent
    return chain[::-1]


def lift(
    groups: Sequence[Group],
    root: Sequence[int],
    home: Sequence[int],
    edges: Sequence[Pair],
    skips: Sequence[Skip],
    position: dict[str, int],
) -> Lifted:
    """Cuts the edges and gives each skip one piece as its mark.

    Args:
        groups: All boxes.
        root: Items of the drawing itself.
        home: Innermost box per op; -1 for the drawing.
        edges: Pairs of positions.
        skips: All skips; those with ends that are not drawn are left out.
        position: Op id -> position.
    """
    content = [root, *(g.items for g in groups)]
    place: dict[int, int] = {}
    for items in content:
        place.update((item, i) for i, item in enumerate(items))
    chains = _Chains(groups)
    main = _main_inputs(chains, home, edges, skips, position)
    local: list[dict[object, LocalEdge]] = [{} for _ in content]
    ways: dict[Pair, list[LocalEdge]] = {}
    owner: dict[int, int] = {}

    def piece(group: int, key: object, s: int, t: int) -> LocalEdge:
        found = local[group + 1].get(key)
        if found is None:
            found = local[group + 1][key] = LocalEdge(s, t)
            owner[id(found)] = group
        way.append(found)
        return found

    for src, dst in edges:
        way = ways[src, dst] = []
        a, b = chains[home[src]], chains[home[dst]]
        i = 0
        while i < min(len(a), len(b)) and a[i] == b[i]:
            i += 1
        item = src
        for group in reversed(a[i:]):
            piece(group, (place[item], OUT), place[item], OUT)
            item = -1 - group
        s, around = place[item], a[i - 1] if i else -1
        via: LocalEdge | None = None
        for group in (*b[i:], -1):
            item = -1 - group if group >= 0 else dst
            beside = group >= 0 and main[group] != src
            entry: object = s if via is None else id(via)
            found = piece(around, (entry, place[item], beside), s, place[item])
            found.beside, found.via = beside, via
            via, s, around = (found if beside else None), IN, group
    lifted = Lifted([list(edges.values()) for edges in local], ways, {})
    _mark(lifted, owner, skips, position)
    return lifted


class _Chains:
    """The boxes around each box, outermost first and itself last."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._known: dict[int, list[int]] = {-1: []}
        self._groups = groups

    def __getitem__(self, group: int) -> list[int]:
        if group not in self._known:
            self._known[group] = around(self._groups, group)
        return self._known[group]


def _main_inputs(
    chains: _Chains,
    home: Sequence[int],
    edges: Sequence[Pair],
    skips: Sequence[Skip],
    position: dict[str, int],
) -> dict[int, int]:
    """Per box the op outside of it whose output is its main input.

    That is what a skip inside adds to; else what fewest others read (a mask has many
    readers); else what was made last.
    """
    added: set[Pair] = set()
    for skip in skips:
        fork, join = position.get(skip.fork, -1), position.get(skip.join, -1)
        if skip.kind != "concat" and fork >= 0 and join >= 0:
            added.update((group, fork) for group in chains[home[join]])
    readers = Counter(src for src, _ in edges)
    best: dict[int, tuple[bool, int, int]] = {}
    for src, dst in edges:
        a, b = chains[home[src]], chains[home[dst]]
        for depth, group in enumerate(b):
            if depth >= len(a) or a[depth] != group:
                claim = ((group, src) in added, -readers[src], src)
                best[group] = max(best.get(group, claim), claim)
    return {group: claim[2] for group, claim in best.items()}


def _mark(
    lifted: Lifted, owner: dict[int, int], skips: Sequence[Skip], position: dict[str, int]
) -> None:
    ways = lifted.ways
    into: dict[int, list[Pair]] = {}
    for pair in ways:
        into.setdefault(pair[1], []).append(pair)
    special: set[Pair] = set()
    for k, skip in enumerate(skips):
        join = position.get(skip.join, -1)
        branch = {position.get(op, -1) for op in skip.branch}
        stops = [position.get(op, -1) for op in (skip.fork, *skip.shortcut)]
        last = [(a, join) for a in stops if (a, join) in ways]
        last = last or [pair for pair in into.get(join, []) if pair[0] not in branch]
        if not last:
            continue
        # Dense branches hold the earlier concatenations; only the newest part is direct.
        newest = max((pair for pair in into[join] if pair[0] in branch), default=None)
        direct = [newest] if newest and skip.kind == "concat" else into[join]
        beside = {id(e) for pair in direct if pair[0] in branch for e in ways[pair]}
        way = ways[last[-1]]
        alone = [e for e in way if id(e) not in beside] or way
        # The piece that goes around something shows a skip best; else the last one.
        best = alone[-1]
        best.skips.append(k)
        lifted.mark[k] = owner[id(best)]
        hops = [(a, b) for i, a in enumerate(stops) for b in stops[i + 1 :] if (a, b) in ways]
        hops.append(last[-1])
        if skip.kind == "concat":
            hops += [pair for pair in into[join] if pair != newest]
            for pair in hops:
                for e in ways[pair]:
                    e.trunk = e.trunk or id(e) not in beside
        special.update(hops)
        for pair in hops:
            for e in ways[pair]:
                if e is not best:
                    e.part = k
    for pair, way in ways.items():
        if pair not in special:
            for e in way:
                e.plain = True
