"""Residual and dense units, told apart by the shape of their branch.

Kinds follow the field: He et al. 2015 (basic, bottleneck), He et al. 2016
(pre-activation), Sandler et al. 2018 (inverted bottleneck: wide inside, narrow at
the join, a spatial kernel), Huang et al. 2017 (dense), Vaswani et al. 2017
(attention, mlp). No class name is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.analysis.kinds import (
    ACTIVATIONS,
    ATTENTION,
    CONVOLUTIONS,
    IDENTITIES,
    NORMS,
    POOLINGS,
    PRODUCTS,
    SEQUENTIAL,
    SQUASHING,
)
from resnet_viz.analysis.parts import same_part
from resnet_viz.analysis.skips import keeps_linear, skips_in
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
    another resolution (U-Net), or a sum whose branch goes down and comes up again
    (FPN, hourglass), joins distant parts of a network; it is no unit.
    """
    regions = [_Region(flow, skip) for skip in skips]
    by_join = {region.join: region for region in regions}
    inner = {r.join: [by_join[n] for n in sorted(r.branch) if n in by_join] for r in regions}
    # Splitting the channels and passing one part on is a detail of the unit around it.
    details = {r.join for ring in inner.values() for r in ring if r.summing is False and r.partial}
    found = (
        _block(region, [r for r in inner[region.join] if r.skip.kind != "concat"])
        for region in regions
        if region.skip.kind != "gate" and region.join not in details
    )
    return tuple(block for block in found if block is not None)


class _Region:
    """A skip as node numbers."""

    __slots__ = (
        "branch", "end", "flow", "fork", "join", "linear", "partial", "shortcut", "skip",
        "summing", "width",
    )  # fmt: skip

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
        self.width = flow.channels(self.join)
        # Parallel linear maps that are summed (RepVGG) could be folded into one layer.
        self.linear = self.summing and all(keeps_linear(flow, n) for n in self.branch)

    def own(self, nested: Sequence[_Region]) -> list[int]:
        """The ops of the branch on ways that do not run through a nested branch."""
        flow, around = self.flow, {r.join: r.branch for r in nested}
        found: set[int] = set()
        stack = [p for p in flow.preds[self.join] if p in self.branch]
        while stack:
            node = stack.pop()
            if node in found:
                continue
            found.add(node)
            left_out = around.get(node, set())
            stack += [p for p in flow.preds[node] if p in self.branch and p not in left_out]
        return sorted(found)

    def units(self, inner: Sequence[_Region]) -> list[_Region]:
        """Those of ``inner`` that are units on this one's own stream.

        A gate, one layer in parallel parts, a term that is the same at all positions
        (global context) and one residual in the narrow part of a branch are details.
        """
        flow = self.flow
        whole = [
            r
            for r in inner
            if r.skip.kind != "gate"
            and not r.linear
            and _positions(flow, r.end) >= _positions(flow, r.join)
        ]
        # Heads and class tokens split off make a little difference, a bottleneck a large one.
        narrow = len(whole) == 1 and 4 * whole[0].elements <= 3 * self.elements
        return [] if narrow else whole

    @property
    def elements(self) -> int:
        """Elements of the join's value."""
        return math.prod(self.flow.nodes[self.join].shape)

    def is_distant(self, own: Sequence[int]) -> bool:
        """Whether fork and join are parts of a network that works elsewhere in between."""
        flow = self.flow
        if not self.summing:
            size = flow.resolution(self.join)
            return any(flow.resolution(n) != size for n in own if flow.is_weighted(n))
        # A token mixer has fewer hidden positions than tokens and stays where it is.
        if not any(flow.nodes[n].kind in CONVOLUTIONS | POOLINGS for n in self.branch):
            return False
        ends = min(_positions(flow, self.fork), _positions(flow, self.join))
        return ends <= _positions(flow, self.end) and any(
            _positions(flow, n) < ends
            for n in flow.spine(self.fork, self.branch, self.end)
            if flow.nodes[n].kind not in IDENTITIES
        )


def _positions(flow: FlowGraph, node: int) -> int:
    # Pixels or tokens of the whole batch: windows of attention only regroup them.
    return math.prod(flow.nodes[node].shape) // max(flow.channels(node), 1)


def _block(region: _Region, inner: Sequence[_Region]) -> Block | None:
    flow = region.flow
    nested = [r for r in inner if not r.linear]
    own = region.own(nested)
    weighted = [n for n in own if flow.is_weighted(n)]
    widths = tuple(flow.channels(n) for n in weighted)
    kernels = tuple(_kernel(flow, n) for n in weighted)
    squeeze = _squeeze(region, own)
    kind = _kind(region, own, widths, kernels, squeeze, region.units(inner))
    if kind != "attention" and region.is_distant(own):
        return None
    after = _activation_after(region)
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
    own: Sequence[int],
    widths: Sequence[int],
    kernels: Sequence[int],
    squeeze: float,
    units: Sequence[_Region],
) -> BlockKind:
    # Attention may have a residual of its own (MViTv2: attention(q, k, v) + q).
    if _attends(region.flow, own) or (
        region.summing and len(units) == 1 and _attends(region.flow, sorted(units[0].branch))
    ):
        return "attention"
    if not region.summing:
        return "other" if region.partial or units else "dense"
    # A sum around whole residual units (a long skip) is none itself.
    if not widths or units:
        return "other"
    if any(region.flow.nodes[n].kind in SEQUENTIAL for n in region.branch):
        return "other"
    if max(kernels) == 1:
        return "mlp"
    if max(widths) > region.width:
        return "inverted bottleneck"
    return "bottleneck" if squeeze < 1 else "basic"


def _attends(flow: FlowGraph, own: Sequence[int]) -> bool:
    """Whether values are mixed with weights that come from the values themselves.

    That is a product of two activations on top of another one (scores and values;
    without softmax in linear attention), or a softmax over positions.
    """
    mixed: set[int] = set()
    for node in own:
        op = flow.nodes[node]
        above = any(p in mixed for p in flow.preds[node])
        product = op.kind in PRODUCTS and len(flow.preds[node]) >= 2
        if op.kind in ATTENTION or (product and above) or _weighs_positions(flow, node):
            return True
        if product or above:
            mixed.add(node)
    return False


def _weighs_positions(flow: FlowGraph, node: int) -> bool:
    op, axis = flow.nodes[node], flow.channel_axis[node]
    over = op.argument(1, "dim")
    if op.kind != "softmax" or axis is None or not isinstance(over, int) or not op.shape:
        return False
    return over % len(op.shape) not in (0, axis)


def _kernel(flow: FlowGraph, node: int) -> int:
    if flow.nodes[node].kind not in CONVOLUTIONS:
        return 1
    return max(flow.operand_shape(node, 1, "weight")[2:], default=1)


def _squeeze(region: _Region, own: Sequence[int]) -> float:
    # Only ops that the whole branch passes: the arms of a split are narrow one by
    # one, the query heads of an attention too, and a gate is not passed at all. A
    # depthwise convolution has the width it is given: in front of the first layer that
    # mixes channels (Xception) it narrows nothing.
    flow, whole = region.flow, region.width
    passed = set(flow.spine(region.fork, region.branch, _before_gate(region))).intersection(own)
    widths = [
        flow.channels(n)
        for n in passed
        if (flow.is_weighted(n) and not flow.is_depthwise(n)) or flow.nodes[n].kind == "cat"
    ]
    return min(widths, default=whole) / whole if whole else 1.0


def _before_gate(region: _Region) -> int:
    """The end of the branch but for a gate read off the fork, beside the branch's layers."""
    flow, end = region.flow, region.end
    if flow.nodes[end].kind == "mul":
        gated = [p for p in flow.preds[end] if flow.nodes[p].kind not in SQUASHING]
        if len(gated) == 1 and gated[0] in region.branch:
            return gated[0]
    return end


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
    if region.shortcut:
        # Units that change the dimensions share norm and activation with the shortcut. What
        # ends the unit before is none of theirs.
        home = common_module(module_of(flow.nodes[n].id) for n in region.branch | {region.join})
        ahead += _alone(flow, region.fork, home)
    kinds = {flow.nodes[n].kind for n in ahead}
    normed = any(flow.nodes[n].kind in NORMS for n in region.branch)
    return bool(kinds & ACTIVATIONS) and (bool(kinds & NORMS) or not normed)


def _alone(flow: FlowGraph, node: int, home: str) -> list[int]:
    """``node`` and what it comes from in a line, inside the module ``home``."""
    found: list[int] = []
    while is_inside(module_of(flow.nodes[node].id), home) and not flow.is_weighted(node):
        found.append(node)
        if len(flow.preds[node]) != 1:
            break
        node = flow.preds[node][0]
    return found


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
