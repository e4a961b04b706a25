"""Whether two parts of two graphs are equal, and in which words they differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from resnet_viz.analysis.flow_graph import FlowGraph
from resnet_viz.core.comparison import Aspect
from resnet_viz.core.graph import Arg, ModelGraph, ParameterSpec, Ref
from resnet_viz.core.structure import Block
from resnet_viz.core.units import shape, si

Buffers: TypeAlias = dict[str, ParameterSpec]
_QUIET = frozenset({"view", "reshape", "flatten", "contiguous", "getattr", "size", "permute"})
_LISTED = 6


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


Fact: TypeAlias = tuple[Aspect, str, str]
"""What differs, and what it is in A and in B; empty for nothing."""


def facts_between(
    a: FlowGraph,
    ours: Sequence[int],
    our_block: Block | None,
    b: FlowGraph,
    theirs: Sequence[int],
    their_block: Block | None,
) -> tuple[Fact, ...]:
    """What differs between two parts, what matters most first; empty for arguments and wiring."""
    alike = (our_block is None) == (their_block is None)
    found: list[Fact] = [
        ("skip", _skip(our_block), _skip(their_block)),
        ("block", *_both(_title(our_block), _title(their_block))),
        ("layers", *_both(_layers(a, ours), _layers(b, theirs))),
        ("channels", *_both(_channels(a, ours), _channels(b, theirs))),
        ("resolution", *_both(_resolution(a, ours), _resolution(b, theirs))),
        ("ops", *(_operations(a, ours, b, theirs) if alike else ("", ""))),
        ("params", _params(a, ours, alike), _params(b, theirs, alike)),
    ]
    return tuple(fact for fact in found if fact[1] != fact[2])


def words_of(facts: Iterable[Fact]) -> tuple[str, ...]:
    """The facts as they are read; never empty."""
    return tuple(_said(*fact) for fact in facts) or ("other arguments or wiring",)


def _said(what: Aspect, ours: str, theirs: str) -> str:
    if what == "ops" and not (ours and theirs):
        return f"without {ours}" if ours else f"with {theirs}"
    return " → ".join(_named(what, text) for text in (ours, theirs))


def _named(what: Aspect, text: str) -> str:
    if what == "skip":
        return f"{text or 'no'} skip"
    if what == "channels":
        return f"{text} channels"
    return f"{si(int(text))} params" if what == "params" else text


def _both(ours: str, theirs: str) -> tuple[str, str]:
    """Told only where both sides have it."""
    return (ours, theirs) if ours and theirs else ("", "")


def _skip(block: Block | None) -> str:
    return "" if block is None else block.skip.kind


def _title(block: Block | None) -> str:
    return "" if block is None else block.title


def _layers(flow: FlowGraph, nodes: Iterable[int]) -> str:
    kinds = [_kernel(flow, n) for n in nodes if flow.is_weighted(n)]
    return ", ".join(kinds) if len(kinds) <= _LISTED else f"{len(kinds)} layers"


def _kernel(flow: FlowGraph, node: int) -> str:
    """``conv2d 3×3 64``."""
    shapes = [flow.graph.parameter(name).spec.shape for name in flow.weights[node]]
    kernel = max(shapes, key=len, default=())[2:]
    parts = (flow.nodes[node].kind, kernel and shape(kernel), flow.channels(node))
    return " ".join(str(part) for part in parts if part)


def _channels(flow: FlowGraph, nodes: Sequence[int]) -> str:
    return str(flow.channels(nodes[-1]) or "")


def _resolution(flow: FlowGraph, nodes: Sequence[int]) -> str:
    return shape(flow.resolution(nodes[-1])) if flow.resolution(nodes[-1]) else ""


def _params(flow: FlowGraph, nodes: Iterable[int], everything: bool) -> str:
    """Of all ops; of the weighted layers alone where one side is bare layers."""
    counted = (n for n in nodes if everything or flow.is_weighted(n))
    return str(sum(flow.nodes[n].params for n in counted))


def _operations(
    a: FlowGraph, ours: Sequence[int], b: FlowGraph, theirs: Sequence[int]
) -> tuple[str, str]:
    """Kinds of op that one side has more of."""
    mine = Counter(a.nodes[n].kind for n in ours if a.nodes[n].kind not in _QUIET)
    other = Counter(b.nodes[n].kind for n in theirs if b.nodes[n].kind not in _QUIET)
    return _several(mine - other), _several(other - mine)


def _several(kinds: Counter[str]) -> str:
    return ", ".join(kind if n == 1 else f"{n} {kind}" for kind, n in kinds.items())
