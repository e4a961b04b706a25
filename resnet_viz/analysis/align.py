"""Which part of one network is which part of another: plain against residual, 50 against 101.

Weighted layers are matched in order (see ``layer_matching``). Blocks follow their layers, so
that a residual block meets the two bare layers of a plain net. Names only decide between
equals: a network compares with one that renames its modules.
Ops without weights follow the layer or block that they stand beside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from resnet_viz.analysis.blocks import common_module
from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.layer_matching import Layer, match
from resnet_viz.analysis.part_changes import buffers_of, facts_between, portrait, words_of
from resnet_viz.analysis.unweighted import completed
from resnet_viz.core.comparison import Alignment, Pair
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Block, Structure


def align(
    a: ModelGraph, a_structure: Structure, b: ModelGraph, b_structure: Structure
) -> Alignment:
    """Every outermost block and every weighted layer outside of blocks, each in one pair.

    All other ops are in the pair of the part they stand beside.

    Args:
        a: The first graph.
        a_structure: Its blocks.
        b: The second.
        b_structure: Its blocks.
    """
    left, right = _Net(a, a_structure), _Net(b, b_structure)
    matched = match(left.layers, right.layers)
    groups = _grouped(left, right, matched) or [((None, ()), (None, ()))]
    ours, theirs = ([_part(net, group[k]) for group in groups]
                    for k, net in enumerate((left, right)))  # fmt: skip
    loose = [a.block is b.block is None for a, b in zip(ours, theirs, strict=True)]
    _complete(left, ours, loose)
    _complete(right, theirs, loose)
    pairs = [
        _pair(left, right, *both)
        for both in zip(ours, theirs, strict=True)
        if both[0].nodes or both[1].nodes
    ]
    return Alignment(pairs=tuple(pairs))


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


def _layer(flow: FlowGraph, node: int) -> Layer:
    op = flow.nodes[node]
    known = [flow.graph.parameter(name).spec.shape for name in flow.weights[node]]
    return Layer(
        node=node,
        kind=op.kind,
        weight=max(known, key=len, default=()),
        channels=flow.channels(node),
        resolution=flow.resolution(node),
        module=op.module,
    )


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


@dataclass(slots=True)
class _Part:
    """One side of a pair: name, kind, nodes in order, and its block where it is one."""

    name: str
    kind: str
    nodes: tuple[int, ...]
    block: Block | None = None


def _pair(left: _Net, right: _Net, mine: _Part, other: _Part) -> Pair:
    both = bool(mine.nodes and other.nodes)
    equal = both and left.portrait(mine.nodes) == right.portrait(other.nodes)
    changes: tuple[str, ...] = ()
    if both and not equal:
        changes = words_of(
            facts_between(left.flow, mine.nodes, mine.block, right.flow, other.nodes, other.block)
        )
    return Pair(
        a=mine.name,
        b=other.name,
        a_ops=left.flow.ids(mine.nodes),
        b_ops=right.flow.ids(other.nodes),
        a_kind=mine.kind,
        b_kind=other.kind,
        same="equal" if equal else "changed" if both else "only",
        changes=changes,
    )


def _part(net: _Net, side: _Side) -> _Part:
    """One side of a pair; without nodes where there is none."""
    index, layers = side
    if index is not None:
        block = net.blocks[index]
        found = tuple(net.graph.position(op) for op in block.ops)
        return _Part(block.module or block.skip.join, block.title, found, block)
    if not layers:
        return _Part("", "", ())
    nodes = tuple(net.layers[i].node for i in layers)
    name = common_module(net.layers[i].module for i in layers)
    kind = "layer" if len(layers) == 1 else f"{len(layers)} layers"
    return _Part(name or net.flow.nodes[nodes[0]].id, kind, _whole(net, name, nodes))


def _complete(net: _Net, parts: list[_Part], loose: Sequence[bool]) -> None:
    """Gives each op that no part holds to one beside it; to a part of their own without any."""
    first, size = len(net.graph.inputs), len(net.flow.nodes)
    if not any(part.nodes for part in parts):
        if size > first:
            parts[0] = _Part(net.graph.name, "no layers", tuple(range(first, size)))
        return
    held = completed(
        first,
        [op.module for op in net.flow.nodes],
        [part.nodes for part in parts],
        [part.name for part in parts],
        loose,
    )
    for part, nodes in zip(parts, held, strict=True):
        part.nodes = nodes


def _whole(net: _Net, module: str, layers: tuple[int, ...]) -> tuple[int, ...]:
    """The layers with all else in their module, norms and activations, if that is all theirs."""
    inside = net.inside(module)
    alone = [i for i in inside if net.flow.is_weighted(i)] == list(layers)
    return inside if alone else layers
