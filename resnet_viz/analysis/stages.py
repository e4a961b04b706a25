"""Stages: runs of ops that work at one resolution.

A block belongs where its join is, whatever its first ops still work at. What comes
before the first block is the *stem*; from the pooling that leaves no spatial axes
on, or after the last block where there is none, is the *head*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from resnet_viz.analysis.blocks import blocks_in, common_module
from resnet_viz.analysis.dominators import ROOT
from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.kinds import IDENTITIES, JOINS
from resnet_viz.analysis.skips import skips_in
from resnet_viz.core.graph import ModelGraph, is_inside, module_of
from resnet_viz.core.structure import Block, Skip, Stage

Run = list[int]


def find_stages(graph: ModelGraph) -> tuple[Stage, ...]:
    """The stages of the graph, in order; every op is in exactly one."""
    flow = flow_of(graph)
    skips = skips_in(flow)
    return stages_in(flow, skips, blocks_in(flow, skips))


def stages_in(flow: FlowGraph, skips: Sequence[Skip], blocks: Sequence[Block]) -> tuple[Stage, ...]:
    """Like ``find_stages`` where flow graph, skips and blocks are at hand."""
    first, count = len(flow.graph.inputs), len(flow.nodes)
    if first == count:
        return ()
    joins = _joins(flow, skips, blocks)
    block_ops = {flow.graph.position(op) for block in blocks for op in block.ops}
    start, stop = _body(flow, joins, block_ops)
    runs = _runs(flow, range(start, stop), joins)
    parts = [[*range(first, start)], *runs, [*range(stop, count)]]
    roles = ["stem", *[""] * len(runs), "head"]
    held = [(run, role) for run, role in zip(parts, roles, strict=True) if run]
    ends = Counter(flow.graph.position(block.skip.join) for block in blocks)
    owner = {node: i for i, (run, _) in enumerate(held) for node in run}
    inner: list[list[str]] = [[] for _ in held]
    for block in blocks:
        inner[owner[flow.graph.position(block.skip.join)]].append(block.module)
    names = _names(flow, held, inner)
    return tuple(
        Stage(
            name=name,
            ops=flow.ids(run),
            resolution=_resolution(flow, run, joins),
            blocks=sum(ends[node] for node in run),
        )
        for name, (run, _) in zip(names, held, strict=True)
    )


def _joins(flow: FlowGraph, skips: Sequence[Skip], blocks: Sequence[Block]) -> dict[int, int]:
    """For each op of a block or gate the join of the outermost unit that holds it."""
    position = flow.graph.position
    units = [(position(b.skip.join), set(flow.positions(b.ops))) for b in blocks]
    gates = ((position(s.join), set(flow.positions(s.branch))) for s in skips if s.kind == "gate")
    units += [(join, branch) for join, branch in gates if not _descends(flow, join, branch)]
    taken = {node for _, ops in units for node in ops} | {position(s.join) for s in skips}
    units += list(_parallel(flow, taken))
    joins: dict[int, int] = {}
    starts: dict[int, int] = {}
    for join, ops in sorted(units, key=lambda unit: unit[0]):
        for node in ops:
            # A unit's join may be the next dense unit's first op; it stays with its own.
            if joins.get(node) != node or starts[node] in ops:
                joins[node] = join
        starts[join] = min(ops)
    for node, join in joins.items():
        joins[node] = joins.get(join, join)
    _add_side_inputs(flow, joins)
    return joins


def _descends(flow: FlowGraph, join: int, branch: set[int]) -> bool:
    # What gates a U-Net's skip is computed by all the levels below.
    size, ndim = flow.resolution(join), len(flow.nodes[join].shape)
    return any(
        flow.resolution(n) != size
        and len(flow.nodes[n].shape) == ndim
        and max(flow.resolution(n), default=1) > 1
        for n in branch
        if flow.is_weighted(n)
    )


def _parallel(flow: FlowGraph, taken: set[int]) -> Iterator[tuple[int, set[int]]]:
    # Parallel ways that meet (an Inception module, a unit that halves the resolution
    # without a skip) are written one after the other and are still one place. From the
    # last join on: what is inside another unit, such as a step of a recurrence, is no
    # unit of its own.
    covered = set(taken)
    latest: list[int] = []
    for node, preds in enumerate(flow.preds):
        above = max((latest[p] for p in preds), default=ROOT)
        latest.append(node if node in taken else above)
    for join in range(len(flow.preds) - 1, -1, -1):
        preds, fork = flow.preds[join], flow.idom[join]
        if len(preds) < 2 or fork == ROOT or join in covered or flow.nodes[join].kind not in JOINS:
            continue
        if latest[join] <= fork:
            ways = flow.between(fork, preds) | {join}
            covered |= ways
            yield join, ways


def _add_side_inputs(flow: FlowGraph, joins: dict[int, int]) -> None:
    # Keys and values made from an encoder's output serve one block of the decoder and
    # stand there, whatever the encoder's resolution.
    first: dict[int, int] = {}
    for node, join in joins.items():
        first[join] = min(node, first.get(join, node))
    for node in range(len(flow.nodes) - 1, len(flow.graph.inputs) - 1, -1):
        homes = {joins.get(user, user) for user in flow.succs[node]}
        if node not in joins and len(homes) == 1:
            (home,) = homes
            if home in first and node > first[home]:
                joins[node] = home


def _body(flow: FlowGraph, joins: dict[int, int], block_ops: set[int]) -> tuple[int, int]:
    first, count = len(flow.graph.inputs), len(flow.nodes)
    start = min(block_ops, default=first)
    after = max(block_ops, default=first) + 1
    stop = count
    for node in range(count - 1, after - 1, -1):
        if flow.active[node] and max(flow.resolution(joins.get(node, node)), default=1) > 1:
            break
        stop = node
    if not block_ops:
        stop = stop if stop > after else count
        start = _plain_stem(flow, first, stop)
    elif stop == count:
        stop = after
    return start, stop


def _plain_stem(flow: FlowGraph, first: int, stop: int) -> int:
    # Without blocks the module tree says where the stem ends: at the first container.
    depths = [module_of(flow.nodes[n].id).count(".") for n in range(first, stop)]
    if not any(depths):
        return first
    return first + next(i for i, depth in enumerate(depths) if depth)


def _runs(flow: FlowGraph, body: range, joins: dict[int, int]) -> list[Run]:
    runs: list[Run] = []
    size: tuple[int, ...] = ()
    for node in body:
        here = _size(flow, joins.get(node, node))
        if not runs:
            runs.append([])
        elif here and size and here != size:
            runs.append(_taken_back(flow, runs[-1], node, joins))
        size = here or size
        runs[-1].append(node)
    return _merged(flow, runs, joins)


def _size(flow: FlowGraph, node: int) -> tuple[int, ...]:
    # A view may spread one tensor over other axes for a moment (channel shuffle,
    # window partition): only what computes sets the resolution.
    if not flow.active[node] or flow.nodes[node].kind in IDENTITIES:
        return ()
    return flow.resolution(node)


def _merged(flow: FlowGraph, runs: list[Run], joins: dict[int, int]) -> list[Run]:
    """The runs, those without weights joined to the one before, equals joined."""
    merged: list[Run] = []
    for run in runs:
        same = merged and _resolution(flow, run, joins) == _resolution(flow, merged[-1], joins)
        if merged and (same or not any(flow.is_weighted(node) for node in run)):
            merged[-1].extend(run)
        else:
            merged.append(run)
    return merged


def _taken_back(flow: FlowGraph, run: Run, node: int, joins: dict[int, int]) -> Run:
    # A transition or an unskipped block changes resolution half-way: it goes to the
    # new stage as a whole, if the module it runs in began after the last block.
    home = common_module(module_of(flow.nodes[n].id) for n in (run[-1], node))
    back: Run = []
    while home and run and run[-1] not in joins and _inside(flow, run[-1], home):
        back.append(run.pop())
    if not run or (run and _inside(flow, run[-1], home)):
        run.extend(reversed(back))
        return []
    return back[::-1]


def _inside(flow: FlowGraph, node: int, home: str) -> bool:
    return is_inside(module_of(flow.nodes[node].id), home)


def _resolution(flow: FlowGraph, run: Run, joins: dict[int, int]) -> tuple[int, ...]:
    for node in reversed(run):
        where = joins.get(node, node)
        if size := _size(flow, where):
            return size
    return ()


def _names(
    flow: FlowGraph, held: Sequence[tuple[Run, str]], inner: Sequence[Sequence[str]]
) -> list[str]:
    """Unique names: what a stage's ops share, its blocks share, its first to last child."""
    shared = [common_module(module_of(flow.nodes[n].id) for n in run) for run, _ in held]
    by_blocks = [common_module(paths) if len(paths) > 1 else "" for paths in inner]
    ranges = [_range(flow, run, path) for (run, _), path in zip(held, shared, strict=True)]
    inside = Counter(above for path in shared for above in _above(path))
    names: list[str] = []
    for i, (_, role) in enumerate(held):
        candidates = [shared[i]]
        if not role:
            candidates += [by_blocks[i], ranges[i]]
        inside.subtract(_above(shared[i]))
        unique = (c for c in candidates if c and not inside[c])
        names.append(next(unique, role or f"stage {i + 1 - (held[0][1] == 'stem')}"))
        inside.update([*_above(shared[i]), *_above(names[i])])
    return names


def _above(path: str) -> list[str]:
    parts = path.split(".") if path else []
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _range(flow: FlowGraph, run: Run, home: str) -> str:
    skip = len(home) + 1 if home else 0
    children = [c for n in run if (c := module_of(flow.nodes[n].id)[skip:].partition(".")[0])]
    if not home or not children:
        return ""
    first, last = children[0], children[-1]
    return f"{home}.{first}" if first == last else f"{home}.{first}–{last}"
