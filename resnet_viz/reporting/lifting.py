"""Edges between ops as edges between the items of each box, and where skips show.

An edge is cut where it crosses the wall of a box: out of the boxes around its
source, across the box that holds both ends, into the boxes around its target. The
pieces of all edges are shared, so every box draws each way once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resnet_viz.core.structure import Skip
from resnet_viz.reporting.grouping import Group
from resnet_viz.reporting.plan import IN, OUT, LocalEdge

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
    place = [{item: i for i, item in enumerate(items)} for items in content]
    local: list[dict[Pair, LocalEdge]] = [{} for _ in content]
    ways: dict[Pair, list[LocalEdge]] = {}
    owner: dict[int, int] = {}
    for src, dst in edges:
        way = ways[src, dst] = []
        a, b = around(groups, home[src]), around(groups, home[dst])
        i = 0
        while i < min(len(a), len(b)) and a[i] == b[i]:
            i += 1
        out = [-1 - g for g in a[i:]] + [src]
        into = [-1 - g for g in b[i:]] + [dst]
        steps: list[tuple[int, int | None, int | None]]
        steps = [(a[i + k], out[k + 1], None) for k in range(len(out) - 2, -1, -1)]
        steps.append((a[i - 1] if i else -1, out[0], into[0]))
        steps += [(b[i + k], None, into[k + 1]) for k in range(len(into) - 1)]
        for group, first, last in steps:
            where = place[group + 1]
            s = IN if first is None else where[first]
            t = OUT if last is None else where[last]
            piece = local[group + 1].setdefault((s, t), LocalEdge(s, t))
            owner[id(piece)] = group
            way.append(piece)
    lifted = Lifted([list(edges.values()) for edges in local], ways, {})
    _mark(lifted, owner, skips, position)
    return lifted


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
