"""What lies inside each closed box: its blocks and skips, each named exactly once."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.core.graph import ModelGraph, Op
from resnet_viz.core.structure import Block, Skip
from resnet_viz.reporting.drawing.glyphs import Chip, Entry
from resnet_viz.reporting.drawing.labels import kernel_of
from resnet_viz.reporting.layout.grouping import Grouping
from resnet_viz.reporting.layout.lifting import around


def channels(op: Op, *, last: bool = False) -> int:
    """Size of the feature axis: the second of four, else (or where ``last``) the last."""
    if not op.shape:
        return 0
    return op.shape[-1] if last or op.kind == "linear" or len(op.shape) < 4 else op.shape[1]


def chips_of(
    graph: ModelGraph, block: Block, inside: set[str] | None, gates: set[str]
) -> tuple[Chip, ...]:
    """The block's weighted layers, those of ``gates`` left out, as for its squeeze.

    Only those ``inside`` its box, where blocks nest.
    """
    found = []
    for key in block.skip.branch:
        op = graph[key]
        if key in gates or not (inside is None or key in inside):
            continue
        if op.kind.startswith(("conv", "linear")):
            kernel = kernel_of(graph, op)
            found.append(Chip(max(kernel, default=0), channels(op)))
    if found:
        return tuple(found)
    images = len(graph[block.skip.join].shape) >= 4
    return tuple(
        Chip(k if images else 0, c) for k, c in zip(block.kernels, block.widths, strict=False)
    )


def gated_ops(skips: Sequence[Skip]) -> set[str]:
    """Ids of the ops that compute a gate."""
    return {op for skip in skips if skip.kind == "gate" for op in skip.branch}


def plain_entry(graph: ModelGraph, ops: Sequence[Op], gates: set[str]) -> Entry:
    """The weighted layers of a module without a block, to show how it narrows and widens."""
    heavy = [op for op in ops if op.kind.startswith(("conv", "linear")) and op.id not in gates]
    chips = tuple(Chip(max(kernel_of(graph, op), default=0), channels(op)) for op in heavy)
    before = _before(graph, [op.id for op in heavy])
    linear = bool(chips) and not chips[0].kernel
    return Entry(entry=channels(before, last=linear) if before else 0, chips=chips)


def _before(graph: ModelGraph, ops: Sequence[str]) -> Op | None:
    """What the first weighted layer of these ops reads."""
    first = next((o for o in ops if graph[o].kind.startswith(("conv", "linear"))), None)
    fed = graph.edges_in(first) if first else ()
    return graph[fed[0].src] if fed else None


def entries(
    graph: ModelGraph,
    blocks: Sequence[Block],
    skips: Sequence[Skip],
    grouping: Grouping,
    home: Sequence[int],
    mark: dict[int, int],
    position: dict[str, int],
) -> tuple[dict[int, Entry], list[list[Entry]]]:
    """Per block its own entry, and per group the entries of what is inside it.

    A group that carries a block does not list that block, but lists its skip, with
    the skips that have no block of their own.
    """
    groups, carrier = grouping.groups, grouping.carrier
    inside_group: list[list[tuple[int, int]]] = [[] for _ in groups]
    own: dict[int, Entry] = {}
    gated = gated_ops(skips)
    block_at = {block.skip: i for i, block in enumerate(blocks)}
    for i, block in enumerate(blocks):
        join = position.get(block.skip.join, -1)
        if join < 0:
            continue
        box = carrier.get(i, -1)
        span = groups[box] if box >= 0 else None
        within: set[str] | None = None
        if block.kind == "dense" and span is not None:
            within = {
                str(o) for o in block.skip.branch if span.low <= position.get(o, -1) < span.high
            }
        chips = chips_of(graph, block, within, gated if block.skip.kind != "gate" else set())
        entry = graph[block.skip.fork]
        if within:
            entry = _before(graph, [o for o in block.skip.branch if o in within]) or entry
        linear = bool(chips) and not chips[0].kernel
        own[i] = Entry(block=i, entry=channels(entry, last=linear), chips=chips)
        for g in around(groups, groups[box].parent if box >= 0 else home[join]):
            inside_group[g].append((join, i))
    skips_at: list[list[int]] = [[] for _ in groups]
    for k, group in mark.items():
        for g in around(groups, group):
            skips_at[g].append(k)
    listed: list[list[Entry]] = []
    for g in range(len(groups)):
        wears: dict[int, list[int]] = {}
        loose: list[tuple[int, Entry]] = []
        known = {i for _, i in inside_group[g]}
        for k in skips_at[g]:
            mine = block_at.get(skips[k], -1)
            if mine not in known:
                chain = [groups[x].block for x in around(groups, mark[k]) if x > g]
                mine = next((b for b in reversed(chain) if b in known), -1)
            if mine >= 0:
                wears.setdefault(mine, []).append(k)
            else:
                loose.append((position[skips[k].join], Entry(skips=(k,))))
        found = [
            (
                join,
                Entry(
                    block=i, entry=own[i].entry, chips=own[i].chips, skips=tuple(wears.get(i, ()))
                ),
            )
            for join, i in inside_group[g]
        ]
        listed.append([entry for _, entry in sorted(found + loose, key=lambda e: e[0])])
    return own, listed
