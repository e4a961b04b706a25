"""Where things stand, without sizes: order, columns, lanes and breaks in each box.

Nothing here depends on how large a box is drawn or which boxes are open, so it is
worked out once in Python and shipped; ``layout`` and its twin ``layout.js`` only
turn it into coordinates.

Networks are nearly serial. The heaviest path through a box is its column 0; what
runs beside it takes side columns; what jumps over ops takes lanes outside the
columns. Edges between boxes are lifted to the box that holds both ends, so each
box plans for itself: time and memory are linear in ops, edges and nesting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

IN, OUT = -1, -2
"""Ends of an edge that enters or leaves the box."""

LINE, FORK, JOIN, LANE = 0, 1, 2, 3
"""Routes: straight down; into a side column; out of one; around the columns."""

_HUB = 4  # so many long edges from one source run on the left, as a bus
_TRUNK = -9
_SIDE_LIMIT = 64


@dataclass(slots=True)
class LocalEdge:
    """An edge between two items of one box.

    Attributes:
        s: Index of the source item, or ``IN``.
        t: Index of the target item, or ``OUT``.
        route: One of the routes.
        lane: For ``LANE``: 1, 2, … to the right, -1, -2, … to the left. For ``JOIN``:
            1 where something stands beside the target, so that it enters from above.
        skips: Skips whose mark is this edge.
        part: A skip that passes here without being marked here; -1 for none.
        plain: Whether anything but skips passes here.
        trunk: Whether it may share one lane with its like (concatenations).
    """

    s: int
    t: int
    route: int = LINE
    lane: int = 0
    skips: list[int] = field(default_factory=list)
    part: int = -1
    plain: bool = False
    trunk: bool = False


@dataclass(slots=True)
class BoxPlan:
    """The plan of one box.

    Attributes:
        order: Items from top to bottom.
        col: Column per item.
        after: Per item, the items that must end above it.
        edges: Its edges, sorted.
        lanes: How many lanes run on the left and on the right.
        cuts: Items before which only one straight edge passes.
        breaks: Those of the cuts where the drawing may go on in another column.
    """

    order: list[int]
    col: list[int]
    after: list[list[int]]
    edges: list[LocalEdge]
    lanes: tuple[int, int]
    cuts: list[int]
    breaks: list[int]


def plan_box(
    weights: Sequence[float],
    edges: Iterable[LocalEdge],
    *,
    breakable: Callable[[int], bool],
) -> BoxPlan:
    """Plans one box.

    Args:
        weights: How much each item, in execution order, has in it.
        edges: Its edges, in any order.
        breakable: Whether the box may break before this item, where it is a cut.
    """
    ordered = sorted(edges, key=lambda e: (e.t == OUT, e.t, e.s))
    n = len(weights)
    succ: list[list[int]] = [[] for _ in range(n)]
    pred: list[list[int]] = [[] for _ in range(n)]
    for e in ordered:
        if e.s >= 0 and e.t >= 0:
            succ[e.s].append(e.t)
            pred[e.t].append(e.s)
    entered = {e.t for e in ordered if e.s == IN}
    rank = _ranks(succ, pred, entered)
    chains = _chains(weights, rank, succ, {e.s for e in ordered if e.t == OUT})
    col, reach = _columns(chains, rank, succ, pred, n)
    _route(ordered, col, rank, reach, n)
    lanes = _lanes(ordered, rank)
    cuts = _cuts(ordered, rank)
    order = sorted(range(n), key=lambda x: (rank[x], x))
    return BoxPlan(
        order=order,
        col=col,
        after=_constraints(order, col, rank, pred, reach, cuts),
        edges=ordered,
        lanes=lanes,
        cuts=cuts,
        breaks=[i for i in cuts if breakable(i)],
    )


def _ranks(succ: list[list[int]], pred: list[list[int]], entered: set[int]) -> list[int]:
    rank = [0] * len(succ)
    for x, targets in enumerate(succ):
        for y in targets:
            rank[y] = max(rank[y], rank[x] + 1)
    for x in range(len(succ) - 1, -1, -1):
        if not pred[x] and succ[x] and x not in entered:
            # A constant stands beside its first use, not at the top of the box.
            rank[x] = max(0, min(rank[y] for y in succ[x]) - 1)
    return rank


def _chains(
    weights: Sequence[float], rank: list[int], succ: list[list[int]], leaving: set[int]
) -> list[list[int]]:
    """A cover by paths, the heaviest first."""
    n = len(weights)
    best = [0.0] * n
    for x in range(n - 1, -1, -1):
        bonus = 0.5 if x in leaving else 0.0
        best[x] = weights[x] + max((best[y] for y in succ[x]), default=bonus)
    free = [True] * n
    starts = sorted(range(n), key=lambda x: (-best[x], x))[:1]
    starts += sorted(range(n), key=lambda x: (rank[x], -best[x], x))
    chains = []
    for start in starts:
        if not free[start]:
            continue
        chain, x = [], start
        while True:
            chain.append(x)
            free[x] = False
            onward = [y for y in succ[x] if free[y]]
            if not onward:
                break
            # max() keeps the first of equals, which is the one that ran first.
            x = max(onward, key=lambda y: best[y])
        chains.append(chain)
    return chains


def _columns(
    chains: list[list[int]], rank: list[int], succ: list[list[int]], pred: list[list[int]], n: int
) -> tuple[list[int], list[int]]:
    """Column per item, and per chain end the item down to which its column stays free."""
    col = [0] * n
    reach = [-1] * n
    taken: dict[int, list[tuple[int, int]]] = {}
    side = 1
    for k, chain in enumerate(chains):
        first, last = chain[0], chain[-1]
        low, high = rank[first], rank[last]
        if k and len(pred[first]) == 1:
            low = rank[pred[first][0]] + 1
        onward = [y for y in succ[last] if rank[y] > high]
        if k and len(onward) == 1:
            reach[last] = onward[0]
            high = rank[onward[0]]
        where = 0
        if k:
            ways = [c * s for c in range(1, _SIDE_LIMIT) for s in (side, -side)]
            where = next(
                (c for c in ways if all(high < a or b < low for a, b in taken.get(c, ()))),
                side * (_SIDE_LIMIT + k),
            )
            side = -side if where == side else side
        taken.setdefault(where, []).append((low, high))
        for x in chain:
            col[x] = where
    return _packed(col), reach


def _packed(col: list[int]) -> list[int]:
    used = sorted(set(col) | {0})
    zero = used.index(0)
    place = {c: i - zero for i, c in enumerate(used)}
    return [place[c] for c in col]


def _route(
    edges: list[LocalEdge], col: list[int], rank: list[int], reach: list[int], n: int
) -> None:
    columns: dict[int, list[int]] = {}
    for x in sorted(range(n), key=lambda x: (rank[x], x)):
        columns.setdefault(col[x], []).append(x)
    above: dict[int, int] = {}
    for stack in columns.values():
        above.update(zip(stack[1:], stack, strict=False))
    rows: dict[int, list[int]] = {}
    for x in range(n):
        rows.setdefault(rank[x], []).append(x)
    bottom = {stack[-1] for stack in columns.values()}
    for e in edges:
        if e.s == IN:
            across = e.t >= 0 and e.t not in above
            straight = across and col[e.t] == 0
        elif e.t == OUT:
            straight, across = e.s in bottom and col[e.s] == 0, e.s in bottom
        else:
            same = col[e.s] == col[e.t]
            straight = same and above.get(e.t) == e.s
            over = above.get(e.t, -1)
            across = not same and (reach[e.s] == e.t or over < 0 or rank[over] <= rank[e.s])
        e.route = LINE if straight else LANE
        if straight or not across:
            continue
        if e.s >= 0 and (e.t == OUT or reach[e.s] == e.t):
            e.route = JOIN
            if e.t >= 0:
                low, high = sorted((col[e.s], col[e.t]))
                beside = rows.get(rank[e.t], [])
                e.lane = int(any(low < col[x] < high for x in beside))
        elif e.t >= 0 and (e.s == IN or reach[e.s] != e.t) and col[e.t] != 0:
            e.route = FORK


def _lanes(edges: list[LocalEdge], rank: list[int]) -> tuple[int, int]:
    """Gives lane numbers; edges of one source, or of one trunk, share a lane.

    A concatenation with one source and one end of its own (a U-Net's) is no part of a
    trunk: in one lane with another it could not be told which leads where.
    """
    last = max(rank, default=0) + 1
    gathered = [e for e in edges if e.route == LANE and e.trunk]
    leaving, arriving = Counter(e.s for e in gathered), Counter(e.t for e in gathered)
    buses: dict[int, list[LocalEdge]] = {}
    for e in edges:
        if e.route == LANE:
            shared = e.trunk and (leaving[e.s] > 1 or arriving[e.t] > 1)
            buses.setdefault(_TRUNK if shared else e.s, []).append(e)
    spans = []
    for key, bus in buses.items():
        low = min(-1 if e.s == IN else rank[e.s] for e in bus)
        high = max(last if e.t == OUT else rank[e.t] for e in bus)
        left = key == _TRUNK or (len(bus) >= _HUB and not any(e.skips for e in bus))
        spans.append((high - low, low, high, left, bus))
    spans.sort(key=lambda s: s[:4])
    used: dict[bool, list[list[tuple[int, int]]]] = {True: [], False: []}
    for _, low, high, left, bus in spans:
        lanes = used[left]
        number = next(
            (i for i, lane in enumerate(lanes) if all(b <= low or high <= a for a, b in lane)),
            len(lanes),
        )
        if number == len(lanes):
            lanes.append([])
        lanes[number].append((low, high))
        for e in bus:
            e.lane = -(number + 1) if left else number + 1
    return len(used[True]), len(used[False])


def _constraints(
    order: list[int],
    col: list[int],
    rank: list[int],
    pred: list[list[int]],
    reach: list[int],
    cuts: list[int],
) -> list[list[int]]:
    after: list[list[int]] = [[] for _ in order]
    previous: dict[int, int] = {}
    spine: dict[int, int] = {}
    for x in order:
        up = previous.get(col[x], -1)
        held = {p for p in pred[x] if col[p] != col[x]}
        if up >= 0:
            held.add(up)
            if reach[up] >= 0 and rank[reach[up]] < rank[x]:
                held.add(reach[up])
        if not pred[x] and rank[x] > 0 and (beside := spine.get(rank[x] - 1, -1)) >= 0:
            held.add(beside)
        after[x] = sorted(held)
        previous[col[x]] = x
        if col[x] == 0:
            spine[rank[x]] = x
    ends = [0, *cuts, len(order)]
    for before, begin, end in zip(ends, ends[1:], ends[2:], strict=False):
        # All of it stands below all before it: the parts may then differ in width.
        lowest: dict[int, int] = {}
        for x in sorted(range(before, begin), key=lambda x: (rank[x], x)):
            lowest[col[x]] = x
        for x in range(begin, end):
            if not any(j >= begin for j in after[x]):
                after[x] = sorted({*after[x], *lowest.values()})
    return after


def _cuts(edges: list[LocalEdge], rank: list[int]) -> list[int]:
    n = len(rank)
    passing = [0] * (n + 1)
    for e in edges:
        low = 0 if e.s == IN else e.s + 1
        high = n - 1 if e.t == OUT else e.t
        weight = 1 if e.route == LINE else 2
        passing[low] += weight
        passing[high + 1] -= weight
    least = list(rank)
    for i in range(n - 2, -1, -1):
        least[i] = min(least[i], least[i + 1])
    cuts, crossing, most = [], 0, -1
    for i in range(n):
        crossing += passing[i]
        if i and crossing == 1 and most < least[i]:
            cuts.append(i)
        most = max(most, rank[i])
    return cuts
