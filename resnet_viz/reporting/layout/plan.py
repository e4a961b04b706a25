"""Where things stand, without sizes: order, columns, lanes and breaks in each box.

Nothing here depends on how large a box is drawn, which boxes are open or which way
the drawing runs, so it is worked out once in Python and shipped; ``coordinates`` and its
twin ``layout.js`` only turn it into coordinates.

Networks are nearly serial. The heaviest path through a box is its column 0; what
runs beside it takes side columns; what jumps over ops takes lanes outside the
columns. Edges between boxes are lifted to the box that holds both ends, so each
box plans for itself: time and memory are linear in ops, edges and nesting.

Words here are those of a drawing from top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from resnet_viz.reporting.layout.lanes import number_lanes
from resnet_viz.reporting.layout.pieces import (
    FORK,
    IN,
    JOIN,
    LANE,
    LEFT,
    LINE,
    OUT,
    RIGHT,
    LocalEdge,
)
from resnet_viz.reporting.layout.sweep import Bar, sweep

_SIDE_LIMIT = 64


@dataclass(slots=True)
class BoxPlan:
    """The plan of one box.

    Attributes:
        order: Items, and bars (numbered after the items), from top to bottom.
        col: Column per item.
        after: Per item, then per bar, what must end above it.
        bars: Stretches kept free for edges that run across columns.
        edges: Its edges, sorted.
        cuts: Items before which only one straight edge passes.
        breaks: Those of the cuts where the drawing may go on in another column.
        ports: 1 where an edge comes in at a side, so that it needs room there.
    """

    order: list[int]
    col: list[int]
    after: list[list[int]]
    bars: list[Bar]
    edges: list[LocalEdge]
    cuts: list[int]
    breaks: list[int]
    ports: int


def plan_box(
    weights: Sequence[float],
    edges: Iterable[LocalEdge],
    *,
    boxes: Collection[int],
    breakable: Callable[[int], bool],
) -> BoxPlan:
    """Plans one box; the one around it must be planned already.

    Args:
        weights: How much each item, in execution order, has in it.
        edges: Its edges, in any order; each gets its route, lane and port.
        boxes: The items that are boxes.
        breakable: Whether the box may break before this item, where it is a cut.
    """
    edges = list(edges)
    for e in edges:
        if e.via is not None:
            e.s = (IN, RIGHT, LEFT)[e.via.port]
    ordered = sorted(edges, key=lambda e: (e.t == OUT, e.t, e.s, e.beside))
    n = len(weights)
    succ: list[list[int]] = [[] for _ in range(n)]
    pred: list[list[int]] = [[] for _ in range(n)]
    onward: list[list[int]] = [[] for _ in range(n)]
    for e in ordered:
        if e.s >= 0 and e.t >= 0:
            succ[e.s].append(e.t)
            pred[e.t].append(e.s)
            if not e.beside:
                onward[e.s].append(e.t)
    entered = {e.t for e in ordered if e.s == IN}
    rank = _ranks(succ, pred, entered)
    chains = _chains(weights, rank, onward, {e.s for e in ordered if e.t == OUT})
    hubs = {x for x in range(n) if succ[x] and not onward[x]}
    col = _columns(chains, rank, succ, pred, hubs)
    order = sorted(range(n), key=lambda x: (rank[x], x))
    _route(ordered, order, col, boxes)
    number_lanes(ordered, order, col)
    cuts = _cuts(ordered, col, rank)
    # What comes in from the right would run through the columns that follow.
    walled = any(e.s == RIGHT for e in ordered)
    events, after, bars = sweep(ordered, order, col, rank, boxes, cuts, entered)
    return BoxPlan(
        order=events,
        col=col,
        after=after,
        bars=bars,
        edges=ordered,
        cuts=cuts,
        breaks=[i for i in cuts if breakable(i) and not walled],
        ports=int(any(e.s in (LEFT, RIGHT) for e in ordered)),
    )


def _ranks(succ: list[list[int]], pred: list[list[int]], entered: set[int]) -> list[int]:
    rank = [0] * len(succ)
    for x, targets in enumerate(succ):
        for y in targets:
            rank[y] = max(rank[y], rank[x] + 1)
    free = [False] * len(succ)
    for x, sources in enumerate(pred):
        free[x] = x not in entered and all(free[y] for y in sources)
    for x in range(len(succ) - 1, -1, -1):
        if free[x] and succ[x]:
            # What comes from constants stands beside its first use, not at the top.
            rank[x] = max(rank[x], min(rank[y] for y in succ[x]) - 1)
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
    chains: list[list[int]],
    rank: list[int],
    succ: list[list[int]],
    pred: list[list[int]],
    hubs: set[int],
) -> list[int]:
    """Column per item: 0 for the heaviest chain, then right and left in turn.

    What ends in ``hubs``, which only feed boxes at their side, stands to the right, so
    that all of it comes in by the same wall.
    """
    col = [0] * len(rank)
    taken: dict[int, int] = {}
    turn = 1
    for k, chain in enumerate(chains):
        first, last = chain[0], chain[-1]
        low, high = rank[first], rank[last]
        if k and len(pred[first]) == 1:
            low = rank[pred[first][0]] + 1
        onward = [y for y in succ[last] if rank[y] > high]
        if k and onward:
            high = min(rank[y] for y in onward)
        where = 0
        if k:
            side = 1 if last in hubs else turn
            sides = (side,) if last in hubs else (side, -side)
            ways = (c * s for c in range(1, _SIDE_LIMIT) for s in sides)
            where = next((c for c in ways if taken.get(c, -1) < low), side * (_SIDE_LIMIT + k))
            turn = -turn if where == turn else turn
        taken[where] = max(taken.get(where, -1), high)
        for x in chain:
            col[x] = where
    used = sorted(set(col) | {0})
    zero = used.index(0)
    place = {c: i - zero for i, c in enumerate(used)}
    return [place[c] for c in col]


def _route(
    edges: list[LocalEdge], order: list[int], col: list[int], boxes: Collection[int]
) -> None:
    """Gives routes, and ports at the walls that a piece meets at the side."""
    place = {x: i for i, x in enumerate(order)}
    above: dict[int, int] = {}
    below: dict[int, int] = {}
    bottom: dict[int, int] = {}
    for x in order:
        if col[x] in bottom:
            above[x] = bottom[col[x]]
            below[above[x]] = x
        bottom[col[x]] = x
    # Down to which place the way below an item is taken by one that leads aside.
    taken: dict[int, int] = {}
    forks = []
    for e in edges:
        e.route = LANE
        if e.s in (LEFT, RIGHT):
            e.port = e.via.port if e.via and e.beside else 0
        elif e.s == IN:
            if e.t >= 0 and e.t not in above and not e.beside:
                e.route = FORK if col[e.t] else LINE
        elif e.t == OUT:
            if e.s not in below:
                e.route = JOIN if col[e.s] else LINE
        elif col[e.s] == col[e.t]:
            if above.get(e.t) == e.s and not e.beside:
                e.route = LINE
        else:
            down = below.get(e.s)
            joins = down is None or place[down] > place[e.t]
            if joins and (e.beside or abs(col[e.t]) < abs(col[e.s])):
                e.route = JOIN
                e.port = (1 if col[e.s] > col[e.t] else -1) if e.beside else 0
                taken[e.s] = max(taken.get(e.s, 0), place[e.t])
            elif not e.beside:
                forks.append((e, joins))
    forked: dict[int, int] = {}
    for e, joins in forks:
        over = above.get(e.t)
        if over is None or max(place[over], taken.get(over, 0)) < place[e.s]:
            e.route = FORK
            forked[e.t] = min(forked.get(e.t, place[e.s]), place[e.s])
        elif joins and forked.get(below.get(e.s, -1), place[e.t]) >= place[e.t]:
            e.route = JOIN
            taken[e.s] = max(taken.get(e.s, 0), place[e.t])


def _cuts(edges: list[LocalEdge], col: list[int], rank: list[int]) -> list[int]:
    n = len(rank)
    passing = [0] * (n + 1)
    for e in edges:
        low = e.s + 1 if e.s >= 0 else 0
        high = n - 1 if e.t == OUT else e.t
        within = e.s >= 0 and e.t >= 0 and e.route == LINE and col[e.t] == 0
        passing[low] += 1 if within else 2
        passing[high + 1] -= 1 if within else 2
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
