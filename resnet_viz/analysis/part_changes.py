"""Whether two parts of two graphs are equal, and in which words they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from resnet_viz.analysis.flow_graph import FlowGraph
from resnet_viz.core.graph import Arg, ModelGraph, ParameterSpec, Ref
from resnet_viz.core.structure import Block
from resnet_viz.core.units import count, shape, si

Buffers: TypeAlias = dict[str, ParameterSpec]
_QUIET = frozenset({"view", "reshape", "flatten", "contiguous", "getattr", "size", "permute"})


def buffers_of(graph: ModelGraph) -> Buffers:
    """The buffers of a graph by name."""
    return {spec.name: spec for module in graph.modules for spec in module.buffers}


def portrait(flow: FlowGraph, nodes: Sequence[int], buffers: Buffers) -> list[Any]:
    """Kinds, arguments, shapes, parameters and the wiring inside: equal for equal parts.

    Names, source lines and what lies around the part play no role.

    Args:
        flow: Where the part lies.
        nodes: The part, in order.
        buffers: See ``buffers_of``.
    """
    graph, everything = flow.graph, flow.nodes
    place = {node: k for k, node in enumerate(nodes)}
    outside: dict[tuple[int, int], int] = {}
    drawn = []
    for node in nodes:
        op = everything[node]
        edges = graph.edges_in(op.id)

        def told(value: Arg, edges: Any = edges) -> Any:
            if isinstance(value, tuple):
                return tuple(told(item) for item in value)
            if not isinstance(value, Ref):
                return value
            if isinstance(value.key, int):
                edge = edges[value.key]
                source = graph.position(edge.src)
                if source in place:
                    return "inside", place[source], edge.out_slot
                key = (source, edge.out_slot)
                return "outside", outside.setdefault(key, len(outside))
            if value.kind in ("param", "buffer"):
                name = str(value.key)
                spec = buffers.get(name) if value.kind == "buffer" else graph.parameter(name)
                return value.kind, spec and (spec.spec, spec.trainable)
            return value.kind, value.key

        named_args = tuple((name, told(value)) for name, value in op.kwargs)
        drawn.append((op.kind, told(op.args), named_args, op.outputs))
    return drawn


def changes_between(
    a: FlowGraph,
    ours: Sequence[int],
    our_block: Block | None,
    b: FlowGraph,
    theirs: Sequence[int],
    their_block: Block | None,
) -> tuple[str, ...]:
    """What differs between two parts, in words, what matters most first."""
    blocks = our_block is not None and their_block is not None
    found = [
        _differ(_skip(our_block), _skip(their_block)),
        _differ(_title(our_block), _title(their_block)),
        _differ(_layers(a, ours), _layers(b, theirs)),
        _differ(_channels(a, ours), _channels(b, theirs)),
        _differ(_resolution(a, ours), _resolution(b, theirs)),
        *(_operations(a, ours, b, theirs) if blocks else ()),
        _differ(_params(a, ours, blocks), _params(b, theirs, blocks)),
    ]
    words = tuple(text for text in found if text)
    return words or ("other arguments or wiring",)


def _differ(ours: str, theirs: str) -> str:
    return f"{ours} → {theirs}" if ours != theirs and ours and theirs else ""


def _skip(block: Block | None) -> str:
    return "no skip" if block is None else f"{block.skip.kind} skip"


def _title(block: Block | None) -> str:
    return "" if block is None else block.title


def _layers(flow: FlowGraph, nodes: Iterable[int]) -> str:
    kinds = [_kernel(flow, n) for n in nodes if flow.is_weighted(n)]
    return ", ".join(kinds) if len(kinds) <= 4 else count(len(kinds), "layer")


def _kernel(flow: FlowGraph, node: int) -> str:
    shapes = [flow.graph.parameter(name).spec.shape for name in flow.weights[node]]
    kernel = max(shapes, key=len, default=())[2:]
    return f"{flow.nodes[node].kind} {shape(kernel)}" if kernel else flow.nodes[node].kind


def _channels(flow: FlowGraph, nodes: Sequence[int]) -> str:
    return f"{flow.channels(nodes[-1])} channels" if flow.channels(nodes[-1]) else ""


def _resolution(flow: FlowGraph, nodes: Sequence[int]) -> str:
    return shape(flow.resolution(nodes[-1])) if flow.resolution(nodes[-1]) else ""


def _params(flow: FlowGraph, nodes: Iterable[int], everything: bool) -> str:
    """Of all ops; of the weighted layers alone where one side is bare layers."""
    counted = (n for n in nodes if everything or flow.is_weighted(n))
    return f"{si(sum(flow.nodes[n].params for n in counted))} params"


def _operations(
    a: FlowGraph, ours: Sequence[int], b: FlowGraph, theirs: Sequence[int]
) -> list[str]:
    """Kinds of op that one side has more of."""
    mine = Counter(a.nodes[n].kind for n in ours if a.nodes[n].kind not in _QUIET)
    other = Counter(b.nodes[n].kind for n in theirs if b.nodes[n].kind not in _QUIET)
    gone, new = mine - other, other - mine
    told = [_several(kind, n) for kind, n in gone.items()]
    came = [_several(kind, n) for kind, n in new.items()]
    if told and came:
        return [f"{', '.join(told)} → {', '.join(came)}"]
    return [f"without {', '.join(told)}"] if told else [f"with {', '.join(came)}"] if came else []


def _several(kind: str, number: int) -> str:
    return kind if number == 1 else f"{number} {kind}"
