"""The part of a graph through which a gradient can flow, as plain integer lists.

Nodes are positions in ``ModelGraph.nodes()``. An *activation* is a floating
tensor that depends on an input and through which a gradient can flow: token ids,
masks and rotary tables made from positions are not, the embedding of token ids
is. Weights are those an op reads itself or through ops that only parameters
reach (weight standardisation, weight norm). A tensor without elements carries
nothing: the empty part of a split is no operand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from resnet_viz.analysis.channels import channel_axes
from resnet_viz.analysis.dominators import ROOT, DominatorTree
from resnet_viz.analysis.kinds import CONVOLUTIONS, ELEMENTWISE, LINEAR, VALUELESS
from resnet_viz.core.graph import Edge, ModelGraph, Op, OpId, Ref

_CUTS_GRADIENT = frozenset({"detach", "data"})
# Parts of the names of dtypes that stand for real or complex numbers.
_CONTINUOUS = ("float", "complex", "qint", "quint")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowGraph:
    """Activations of a graph and how they depend on each other.

    Attributes:
        graph: Where it comes from.
        nodes: Inputs, then ops, in order.
        active: Whether the node's value is an activation.
        preds: Distinct active operands, in argument order.
        succs: Distinct active consumers, in order.
        sources: All operands, active or not, in argument order.
        users: All consumers, active or not.
        weights: Names of the parameters read (see the module's text).
        idom: Immediate dominator among activations; ``ROOT`` where there is none.
        channel_axis: Axis of the features in the first output; ``None`` if unknown.
    """

    graph: ModelGraph
    nodes: tuple[Op, ...]
    active: tuple[bool, ...]
    preds: tuple[tuple[int, ...], ...]
    succs: tuple[tuple[int, ...], ...]
    sources: tuple[tuple[int, ...], ...]
    users: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[str, ...], ...]
    idom: tuple[int, ...]
    channel_axis: tuple[int | None, ...]

    def channels(self, node: int) -> int:
        """Number of features in the node's first output; 0 where it has none."""
        axis = self.channel_axis[node]
        return 0 if axis is None else self.nodes[node].shape[axis]

    def resolution(self, node: int) -> tuple[int, ...]:
        """Sizes of all axes but batch and features: pixels, tokens or time steps."""
        axis, shape = self.channel_axis[node], self.nodes[node].shape
        if axis is None or len(shape) < 3:
            return ()
        return tuple(size for i, size in enumerate(shape) if i not in (0, axis))

    def ids(self, nodes: Iterable[int]) -> tuple[OpId, ...]:
        """The op ids of these nodes, in order."""
        return tuple(self.nodes[i].id for i in sorted(nodes))

    def positions(self, ops: Iterable[str]) -> list[int]:
        """The nodes of these ops, in the order given."""
        return [self.graph.position(op) for op in ops]

    def is_parameterised(self, node: int) -> bool:
        """Whether the op is a layer with parameters: weights or a norm's affine part."""
        return bool(self.weights[node]) and self.nodes[node].kind not in ELEMENTWISE

    def is_weighted(self, node: int) -> bool:
        """Whether the op multiplies an activation by a weight matrix or kernel."""
        return bool(self.weights[node]) and self.nodes[node].kind in LINEAR

    def is_depthwise(self, node: int) -> bool:
        """Whether the op is a convolution that filters each channel by itself."""
        if self.nodes[node].kind not in CONVOLUTIONS:
            return False
        shape = self.operand_shape(node, 1, "weight")
        return shape[1:2] == (1,) and shape[0] == self.channels(node) > 1

    def between(self, fork: int, ends: Sequence[int], without: Collection[int] = ()) -> set[int]:
        """Nodes on the ways from ``fork`` (left out) to ``ends`` (included).

        What enters from the side (an encoder's output, a mask) is left out.

        Args:
            fork: Where the ways start.
            ends: Where they end.
            without: Nothing is found where one of these lies on a way.
        """
        reached: set[int] = set()
        # Side by side, not down one way first: what rules a join out is often near.
        ahead = deque(end for end in ends if end > fork)
        while ahead:
            node = ahead.popleft()
            if node in without:
                return set()
            if node not in reached:
                reached.add(node)
                ahead.extend(p for p in self.preds[node] if p > fork and p not in reached)
        inside: set[int] = set()
        for node in sorted(reached):
            if any(p == fork or p in inside for p in self.preds[node]):
                inside.add(node)
        return inside

    def spine(self, fork: int, region: set[int], end: int) -> list[int]:
        """Nodes of ``region`` that every way from ``fork`` to ``end`` passes, last first."""
        tree = DominatorTree()
        tree.add(fork, ())
        for node in sorted(region):
            tree.add(node, [p for p in self.preds[node] if p == fork or p in region])
        return tree.chain(end, fork)

    def operand_shape(self, node: int, index: int, name: str) -> tuple[int, ...]:
        """Shape of a tensor argument by position or name; empty where there is none."""
        op = self.nodes[node]
        value = op.argument(index, name)
        if not isinstance(value, Ref):
            return ()
        if isinstance(value.key, int):
            edge = self.graph.edges_in(op.id)[value.key]
            return self.graph[edge.src].outputs[edge.out_slot].shape
        return self.graph.parameter(value.key).spec.shape if value.kind == "param" else ()


def flow_of(graph: ModelGraph) -> FlowGraph:
    """The activations of ``graph`` with their dominators. Linear up to a logarithm."""
    nodes = tuple(graph.nodes())
    count = len(nodes)
    sources: list[tuple[int, ...]] = []
    weights: list[tuple[str, ...]] = []
    preds: list[tuple[int, ...]] = []
    users: list[list[int]] = [[] for _ in range(count)]
    succs: list[list[int]] = [[] for _ in range(count)]
    depends = [False] * count
    active = [False] * count
    idom = [ROOT] * count
    tree = DominatorTree()
    for i, op in enumerate(nodes):
        feeds = tuple(
            dict.fromkeys(graph.position(e.src) for e in graph.edges_in(op.id) if carries(graph, e))
        )
        read = dict.fromkeys(op.parameters)
        for source in feeds:
            users[source].append(i)
            if not depends[source]:
                read.update(dict.fromkeys(weights[source]))
        sources.append(feeds)
        weights.append(tuple(read))
        depends[i] = i < len(graph.inputs) or (
            op.kind not in VALUELESS and any(depends[s] for s in feeds)
        )
        ways = tuple(s for s in feeds if active[s])
        active[i] = (
            depends[i]
            and op.kind not in _CUTS_GRADIENT
            and any(kind in o.dtype for o in op.outputs for kind in _CONTINUOUS)
            and (i < len(graph.inputs) or bool(ways) or bool(read))
        )
        preds.append(ways if active[i] else ())
        if active[i]:
            idom[i] = tree.add(i, ways)
            for way in ways:
                succs[way].append(i)
    return FlowGraph(
        graph=graph,
        nodes=nodes,
        active=tuple(active),
        preds=tuple(preds),
        succs=tuple(map(tuple, succs)),
        sources=tuple(sources),
        users=tuple(map(tuple, users)),
        weights=tuple(weights),
        idom=tuple(idom),
        channel_axis=channel_axes(nodes, sources),
    )


def carries(graph: ModelGraph, edge: Edge) -> bool:
    """Whether a tensor with elements flows over the edge."""
    # A split by a ratio of one leaves a part without channels, to be concatenated again.
    outputs = graph[edge.src].outputs
    part = outputs[edge.out_slot] if edge.out_slot < len(outputs) else None
    return part is None or part.numel > 0 or all(spec.numel == 0 for spec in outputs)
