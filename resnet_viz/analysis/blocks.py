"""Residual and dense units, told apart by the shape of their branch.

Kinds follow the field: He et al. 2015 (basic, bottleneck), He et al. 2016
(pre-activation), Sandler et al. 2018 (inverted bottleneck: wide inside, narrow at
the join, a spatial kernel), Huang et al. 2017 (dense), Vaswani et al. 2017
(attention, mlp). No class name is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.kinds import ACTIVATIONS, ATTENTION, CONVOLUTIONS, NORMS, PRODUCTS
from resnet_viz.analysis.skips import same_part, skips_in
from resnet_viz.core.graph import ModelGraph, is_inside, module_of
from resnet_viz.core.structure import Block, BlockKind, Skip

_PREACTIVATED: tuple[BlockKind, ...] = ("basic", "bottleneck", "inverted bottleneck")


def find_blocks(graph: ModelGraph) -> tuple[Block, ...]:
    """Every residual or dense unit of the graph, in the order of their joins."""
    flow = flow_of(graph)
    return blocks_in(flow, skips_in(flow))


def blocks_in(flow: FlowGraph, skips: Sequence[Skip]) -> tuple[Block, ...]:
    """Like ``find_blocks`` where flow graph and skips are at hand.

    A gate is part of the block around it. A concatenation whose branch works at
    another resolution (U-Net) joins distant parts of a network; it is no unit.
    """
    regions = [_Region(flow, skip) for skip in skips]
    by_join = {region.join: region for region in regions}
    inner = {r.join: [by_join[n] for n in sorted(r.branch) if n in by_join] for r in regions}
    # Splitting the channels and passing one part on is a detail of the unit around it.
    details = {r.join for ring in inner.values() for r in ring if r.summing is False and r.partial}
    return tuple(
        _block(region, [r for r in inner[region.join] if r.skip.kind != "concat"])
        for region in regions
        if region.skip.kind != "gate"
        and region.join not in details
        and (region.summing or region.keeps_resolution())
    )


class _Region:
    """A skip as node numbers."""

    __slots__ = ("branch", "end", "flow", "fork", "join", "partial", "shortcut", "skip", "summing")

    def __init__(self, flow: FlowGraph, skip: Skip) -> None:
        self.flow = flow
        self.skip = skip
        self.fork, self.join = flow.positions((skip.fork, skip.join))
        self.branch = set(flow.positions(skip.branch))
        self.shortcut = set(flow.positions(skip.shortcut))
        self.end = max(p for p in flow.preds[self.join] if p in self.branch)
        self.summing = skip.kind != "concat"
        entry = min(self.shortcut, default=self.join)
        self.partial = not same_part(flow, self.fork, entry, self.branch)

    def keeps_resolution(self) -> bool:
        """Whether nothing in the branch is larger or smaller than the join."""
        flow = self.flow
        size = flow.resolution(self.join)
        return all(flow.resolution(n) == size for n in self.branch if flow.is_weighted(n))


def _block(region: _Region, inner: Sequence[_Region]) -> Block:
    flow = region.flow
    nested = {n for r in inner for n in r.branch}
    own = sorted(region.branch - nested)
    weighted = [n for n in own if flow.is_weighted(n)]
    widths = tuple(flow.channels(n) for n in weighted)
    kernels = tuple(_kernel(flow, n) for n in weighted)
    squeeze = _squeeze(region, nested)
    after = _activation_after(region)
    kind = _kind(region, inner, own, widths, kernels, squeeze)
    ops = _with_helpers(flow, region.branch | region.shortcut | {region.join, *after})
    # A dense unit's join is the next unit's first op; its place is where its weights are.
    home = region.branch if kind == "dense" else ops
    return Block(
        kind=kind,
        preactivation=kind in _PREACTIVATED and not after and _activates_first(region, weighted),
        module=common_module(module_of(flow.nodes[n].id) for n in home),
        ops=flow.ids(ops),
        skip=region.skip,
        squeeze=squeeze,
        widths=widths,
        kernels=kernels,
    )


def _kind(
    region: _Region,
    inner: Sequence[_Region],
    own: Sequence[int],
    widths: Sequence[int],
    kernels: Sequence[int],
    squeeze: float,
) -> BlockKind:
    flow = region.flow
    if any(_attends(flow, n) for n in own):
        return "attention"
    if region.summing and widths and max(kernels) == 1:
        return "mlp"
    if not region.summing:
        return "other" if region.partial else "dense"
    # A sum around whole residual units (a hourglass, a long skip) is none itself.
    if not widths or any(r.skip.kind != "gate" for r in inner):
        return "other"
    if max(widths) > flow.channels(region.join):
        return "inverted bottleneck"
    return "bottleneck" if squeeze < 1 else "basic"


def _attends(flow: FlowGraph, node: int) -> bool:
    kind = flow.nodes[node].kind
    return kind in ATTENTION or (kind in PRODUCTS and len(flow.preds[node]) >= 2)


def _kernel(flow: FlowGraph, node: int) -> int:
    if flow.nodes[node].kind not in CONVOLUTIONS:
        return 1
    return max(flow.operand_shape(node, 1, "weight")[2:], default=1)


def _squeeze(region: _Region, nested: set[int]) -> float:
    # Only ops that the whole branch passes: the arms of a split are narrow one by
    # one, the query heads of an attention too, and a gate is not passed at all.
    flow = region.flow
    passed = flow.spine(region.fork, region.branch, region.end)
    widths = [
        flow.channels(n)
        for n in passed
        if n not in nested and (flow.is_weighted(n) or flow.nodes[n].kind == "cat")
    ]
    whole = flow.channels(region.join)
    return min(widths, default=whole) / whole if whole else 1.0


def _activation_after(region: _Region) -> list[int]:
    flow = region.flow
    users = flow.users[region.join]
    if len(users) != 1 or flow.nodes[users[0]].kind not in ACTIVATIONS:
        return []
    # In the next unit's module it is that unit's first op (pre-activation).
    inside = region.branch | {region.join}
    home = common_module(module_of(flow.nodes[n].id) for n in inside)
    return [users[0]] if is_inside(module_of(flow.nodes[users[0]].id), home) else []


def _activates_first(region: _Region, weighted: Sequence[int]) -> bool:
    flow = region.flow
    if not weighted:
        return False
    ahead = [n for n in region.branch if n < weighted[0]]
    if flow.nodes[region.fork].kind in ACTIVATIONS and region.skip.kind == "projection":
        # Units that change the dimensions share norm and activation with the shortcut.
        ahead += [region.fork, *flow.preds[region.fork]]
    kinds = {flow.nodes[n].kind for n in ahead}
    return bool(kinds & NORMS) and bool(kinds & ACTIVATIONS)


def _with_helpers(flow: FlowGraph, ops: set[int]) -> set[int]:
    # Ops that only parameters reach (weight standardisation) and that only serve here.
    whole = set(ops)
    stack = list(ops)
    while stack:
        for source in flow.sources[stack.pop()]:
            if source in whole or flow.active[source] or source < len(flow.graph.inputs):
                continue
            if all(user in whole for user in flow.users[source]):
                whole.add(source)
                stack.append(source)
    return whole


def common_module(paths: Iterable[str]) -> str:
    """The longest module path that all paths share; empty for the root."""
    shared: list[str] | None = None
    for path in set(paths):
        parts = path.split(".") if path else []
        if shared is None:
            shared = parts
        else:
            same = 0
            while same < min(len(shared), len(parts)) and shared[same] == parts[same]:
                same += 1
            shared = shared[:same]
    return ".".join(shared or ())
