"""Which part of one network is which part of another: plain against residual, 50 against 101.

Weighted layers are matched in order, as sequences of genes are (Needleman & Wunsch 1970):
the matching of highest score, where alike layers score and gaps cost nothing. Blocks
follow their layers, so that a residual block meets the two bare layers of a plain net.
Names only decide between equals: a network compares with one that renames its modules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from resnet_viz.analysis.blocks import common_module
from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.part_changes import buffers_of, changes_between, portrait
from resnet_viz.core.comparison import Alignment, Pair
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Block, Structure

_CELLS = 4_000_000
"""Layers of A times layers of B that are matched by score; longer nets by place in their stage."""


def align(
    a: ModelGraph, a_structure: Structure, b: ModelGraph, b_structure: Structure
) -> Alignment:
    """Every outermost block and every weighted layer outside of blocks, each in one pair.

    Args:
        a: The first graph.
        a_structure: Its blocks.
        b: The second.
        b_structure: Its blocks.
    """
    left, right = _Net(a, a_structure), _Net(b, b_structure)
    matched = _match(left.layers, right.layers)
    groups = _grouped(left, right, matched)
    pairs = [_pair(left, right, ours, theirs) for ours, theirs in groups]
    return Alignment(pairs=tuple(pairs))


@dataclass(frozen=True, slots=True)
class _Layer:
    """What layers are matched by."""

    node: int = field(compare=False)
    kind: str
    weight: tuple[int, ...]
    channels: int
    resolution: tuple[int, ...]
    module: str

    def likeness(self, other: _Layer) -> float:
        if self.kind != other.kind:
            return 0.0
        if self.weight != other.weight and self.channels != other.channels:
            return 0.0
        return (
            1.0
            + 4.0 * (self.weight == other.weight)
            + 2.0 * (self.channels == other.channels)
            + 2.0 * (self.resolution == other.resolution)
            + 0.5 * (self.module == other.module)
        )


class _Net:
    """One side: its layers in order, and the part that each belongs to."""

    def __init__(self, graph: ModelGraph, structure: Structure) -> None:
        self.graph = graph
        self.flow = flow_of(graph)
        self.blocks = _outermost(graph, structure)
        owner = {graph.position(op): k for k, block in enumerate(self.blocks) for op in block.ops}
        self.layers = [_layer(self.flow, n) for n in _weighted(self.flow)]
        self.part = [owner.get(layer.node) for layer in self.layers]
        self._buffers = buffers_of(graph)
        self._inside: dict[str, list[int]] = {}
        for n, op in enumerate(self.flow.nodes):
            path = op.module
            while path:
                self._inside.setdefault(path, []).append(n)
                path = path.rpartition(".")[0]

    def loose(self, index: int) -> bool:
        """Whether the layer is in no block."""
        return self.part[index] is None

    def inside(self, module: str) -> tuple[int, ...]:
        """The nodes in a module; none for the root."""
        return tuple(self._inside.get(module, ()))

    def portrait(self, nodes: Sequence[int]) -> list[Any]:
        """What equal parts have in common."""
        return portrait(self.flow, nodes, self._buffers)


def _outermost(graph: ModelGraph, structure: Structure) -> list[Block]:
    """Blocks that lie in no other, in forward order."""
    kept: list[Block] = []
    taken: set[str] = set()
    for block in sorted(structure.blocks, key=lambda b: (-len(b.ops), graph.position(b.skip.join))):
        if not taken.intersection(block.ops):
            taken.update(block.ops)
            kept.append(block)
    return sorted(kept, key=lambda b: graph.position(b.skip.join))


def _weighted(flow: FlowGraph) -> Iterable[int]:
    return (n for n in range(len(flow.nodes)) if flow.is_weighted(n))


def _layer(flow: FlowGraph, node: int) -> _Layer:
    op = flow.nodes[node]
    known = [flow.graph.parameter(name).spec.shape for name in flow.weights[node]]
    return _Layer(
        node=node,
        kind=op.kind,
        weight=max(known, key=len, default=()),
        channels=flow.channels(node),
        resolution=flow.resolution(node),
        module=op.module,
    )


def _match(ours: Sequence[_Layer], theirs: Sequence[_Layer]) -> list[tuple[int, int]]:
    """Index pairs, rising on both sides, of the highest total likeness."""
    head = 0
    while head < min(len(ours), len(theirs)) and ours[head] == theirs[head]:
        head += 1
    tail = 0
    most = min(len(ours), len(theirs)) - head
    while tail < most and ours[-1 - tail] == theirs[-1 - tail]:
        tail += 1
    middle = _best(ours[head : len(ours) - tail], theirs[head : len(theirs) - tail])
    return [
        *((i, i) for i in range(head)),
        *((head + i, head + j) for i, j in middle),
        *((len(ours) - k, len(theirs) - k) for k in range(tail, 0, -1)),
    ]


def _best(ours: Sequence[_Layer], theirs: Sequence[_Layer]) -> list[tuple[int, int]]:
    if len(ours) * len(theirs) > _CELLS:
        return _by_place(ours, theirs)
    width = len(theirs) + 1
    scores = [[0.0] * width for _ in range(len(ours) + 1)]
    for i, one in enumerate(ours):
        above, row = scores[i], scores[i + 1]
        for j, other in enumerate(theirs):
            gain = one.likeness(other)
            met = above[j] + gain if gain else 0.0
            row[j + 1] = max(met, above[j + 1], row[j])
    found = []
    i, j = len(ours), len(theirs)
    while i and j:
        here = scores[i][j]
        if here == scores[i - 1][j]:
            i -= 1
        elif here == scores[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            found.append((i, j))
    return found[::-1]


def _by_place(ours: Sequence[_Layer], theirs: Sequence[_Layer]) -> list[tuple[int, int]]:
    """The k-th layer of a weight shape with the k-th of the same shape, in rising order."""
    places: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for j, other in enumerate(theirs):
        places.setdefault((other.kind, other.weight), []).append(j)
    found, last = [], -1
    for i, one in enumerate(ours):
        waiting = places.get((one.kind, one.weight), [])
        while waiting and waiting[0] <= last:
            waiting.pop(0)
        if waiting:
            last = waiting.pop(0)
            found.append((i, last))
    return found


_Side = tuple[int | None, tuple[int, ...]]
"""A block's index, or ``None``, and the layers beside or in it."""


def _grouped(
    left: _Net, right: _Net, matched: Sequence[tuple[int, int]]
) -> list[tuple[_Side, _Side]]:
    """Parts of both sides that belong together, in the order of both networks."""
    blocks = _blocks_met(left, right, matched)
    met_by = {theirs: ours for ours, theirs in blocks.items()}
    free_left: dict[int, list[int]] = {}
    free_right: dict[int, list[int]] = {}
    loose: list[tuple[int, int]] = []
    for i, j in matched:
        mine, other = left.part[i], right.part[j]
        if mine is None and other is None:
            loose.append((i, j))
        elif mine is None and other is not None and other not in met_by:
            free_left.setdefault(other, []).append(i)
        elif other is None and mine is not None and mine not in blocks:
            free_right.setdefault(mine, []).append(j)
    taken_left = {i for group in free_left.values() for i in group} | {i for i, _ in loose}
    taken_right = {j for group in free_right.values() for j in group} | {j for _, j in loose}
    none: _Side = (None, ())
    placed: list[tuple[float, float, _Side, _Side]] = []
    for k, block in enumerate(left.blocks):
        at = left.graph.position(block.skip.join)
        if k in blocks:
            other = blocks[k]
            there = right.graph.position(right.blocks[other].skip.join)
            placed.append((at, there, (k, ()), (other, ())))
        else:
            group = tuple(free_right.get(k, ()))
            there = right.layers[group[-1]].node if group else -1
            placed.append((at, there, (k, ()), (None, group)))
    for k, block in enumerate(right.blocks):
        if k not in met_by:
            group = tuple(free_left.get(k, ()))
            at = left.layers[group[-1]].node if group else -1
            placed.append((at, right.graph.position(block.skip.join), (None, group), (k, ())))
    placed += [
        (left.layers[i].node, right.layers[j].node, (None, (i,)), (None, (j,))) for i, j in loose
    ]
    for i, layer in enumerate(left.layers):
        if left.loose(i) and i not in taken_left:
            placed.append((layer.node, -1, (None, (i,)), none))
    for j, layer in enumerate(right.layers):
        if right.loose(j) and j not in taken_right:
            placed.append((-1, layer.node, none, (None, (j,))))
    return _in_order(placed)


def _blocks_met(left: _Net, right: _Net, matched: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Blocks of A and B that hold most of each other's matched layers."""
    votes: Counter[tuple[int, int]] = Counter()
    for i, j in matched:
        mine, other = left.part[i], right.part[j]
        if mine is not None and other is not None:
            votes[mine, other] += 1
    best: dict[int, int] = {}
    used: set[int] = set()
    for (mine, other), _ in sorted(votes.items(), key=lambda item: (-item[1], item[0])):
        if mine not in best and other not in used:
            best[mine] = other
            used.add(other)
    return best


def _in_order(placed: list[tuple[float, float, _Side, _Side]]) -> list[tuple[_Side, _Side]]:
    """The order of A; what only B has stands where B has it."""
    ours = sorted((p for p in placed if p[0] >= 0), key=lambda p: p[0])
    extra = sorted((p for p in placed if p[0] < 0), key=lambda p: p[1])
    out: list[tuple[_Side, _Side]] = []
    for _, there, mine, other in ours:
        while extra and there >= 0 and extra[0][1] < there:
            out.append(extra.pop(0)[2:])
        out.append((mine, other))
    return out + [p[2:] for p in extra]


def _pair(left: _Net, right: _Net, mine: _Side, other: _Side) -> Pair:
    a_name, a_kind, a_ops = _part(left, mine)
    b_name, b_kind, b_ops = _part(right, other)
    both = bool(a_ops and b_ops)
    equal = both and left.portrait(a_ops) == right.portrait(b_ops)
    ours, theirs = _block_of(left, mine), _block_of(right, other)
    return Pair(
        a=a_name,
        b=b_name,
        a_ops=left.flow.ids(a_ops),
        b_ops=right.flow.ids(b_ops),
        a_kind=a_kind,
        b_kind=b_kind,
        same="equal" if equal else "changed" if both else "only",
        changes=changes_between(left.flow, a_ops, ours, right.flow, b_ops, theirs)
        if both and not equal
        else (),
    )


def _block_of(net: _Net, side: _Side) -> Block | None:
    return None if side[0] is None else net.blocks[side[0]]


def _part(net: _Net, side: _Side) -> tuple[str, str, tuple[int, ...]]:
    """Name, kind and nodes of one side; empty where there is none."""
    block, layers = _block_of(net, side), side[1]
    if block is not None:
        nodes = tuple(net.graph.position(op) for op in block.ops)
        return block.module or block.skip.join, block.title, nodes
    if not layers:
        return "", "", ()
    nodes = tuple(net.layers[i].node for i in layers)
    name = common_module(net.layers[i].module for i in layers)
    kind = "layer" if len(layers) == 1 else f"{len(layers)} layers"
    return name or net.flow.nodes[nodes[0]].id, kind, _whole(net, name, nodes)


def _whole(net: _Net, module: str, layers: tuple[int, ...]) -> tuple[int, ...]:
    """The layers with all else in their module, norms and activations, if that is all theirs."""
    inside = net.inside(module)
    alone = [i for i in inside if net.flow.is_weighted(i)] == list(layers)
    return inside if alone else layers
