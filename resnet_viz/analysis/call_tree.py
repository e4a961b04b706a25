"""The forward as a tree of parts: ops inside blocks inside module calls.

Each part gets a number, and two parts get the same number exactly where they are
built alike. The number is no hash that could collide: it stands for a tuple of
everything that counts, in which the parts inside stand as their own numbers. Names
do not count: parameters and tensors from outside stand as the place of their first
use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from resnet_viz.core.graph import Arg, ModelGraph, ParameterSpec, Ref
from resnet_viz.core.structure import Block

Span = tuple[int, int]


@dataclass(slots=True, eq=False)
class Part:
    """A stretch of ops: one op, a block, or an uninterrupted stretch in one module.

    Attributes:
        low: Position of its first op in ``ModelGraph.nodes()``.
        high: One past its last op.
        items: The parts right inside it, in order; none in an op.
        number: Equal exactly for parts that are built alike.
        reads: Tensors it takes from outside, by first use.
        state: Parameters and buffers it reads, by first use.
    """

    low: int
    high: int
    items: list[Part] = field(default_factory=list)
    number: int = -1
    reads: tuple[int, ...] = ()
    state: tuple[str, ...] = ()


class CallTree:
    """The parts of one graph.

    Attributes:
        parts: All parts with items, each after the one around it.
        tensor: Per op, and for what would come after the last, the number of its first
            output; its other outputs follow.
        last_use: Per tensor the position of its last reader; for an output of the
            model one past the last op.
        readers: How many ops read each parameter and buffer.
        parameters: Names of all parameters.
    """

    def __init__(self, graph: ModelGraph, blocks: Iterable[Block]) -> None:
        self.graph = graph
        self._nodes = tuple(graph.nodes())
        self._numbers: dict[object, int] = {}
        self.parameters = frozenset(s.name for m in graph.modules for s in m.parameters)
        self._specs = {s.name: s for m in graph.modules for s in (*m.parameters, *m.buffers)}
        self.tensor: list[int] = []
        count = 0
        for op in self._nodes:
            self.tensor.append(count)
            count += max(1, len(op.outputs))
        self.tensor.append(count)
        self.last_use = [-1] * count
        self.readers: dict[str, int] = {}
        first, end = len(graph.inputs), len(self._nodes)
        leaves = [self._leaf(place) for place in range(first, end)]
        for place, leaf in enumerate(leaves, start=first):
            for tensor in leaf.reads:
                self.last_use[tensor] = place
            for name in leaf.state:
                self.readers[name] = self.readers.get(name, 0) + 1
        for output in graph.outputs:
            self.last_use[self.tensor[graph.position(output.src)] + output.out_slot] = end
        modules = [op.module for op in graph.ops]
        self.parts = _nested(_spans(modules, first), _block_spans(graph, blocks), leaves, first)
        for part in reversed(self.parts):
            self.number(part)

    def number(self, part: Part) -> None:
        """Fills in what follows from the part's items: number, reads and state."""
        start = self.tensor[part.low]
        ports: dict[int, int] = {}
        state: dict[str, int] = {}
        inside = []
        for item in part.items:
            ways = [
                t - start if t >= start else -1 - ports.setdefault(t, len(ports))
                for t in item.reads
            ]
            names = [state.setdefault(name, len(state)) for name in item.state]
            inside.append((item.number, tuple(ways), tuple(names)))
        part.number = self._number(tuple(inside))
        part.reads, part.state = tuple(ports), tuple(state)

    def _number(self, key: object) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def _leaf(self, place: int) -> Part:
        graph, op = self.graph, self._nodes[place]
        tensors = [self.tensor[graph.position(e.src)] + e.out_slot for e in graph.edges_in(op.id)]
        ports: dict[int, int] = {}
        taken = []
        for edge, tensor in zip(graph.edges_in(op.id), tensors, strict=True):
            spec = graph[edge.src].outputs[edge.out_slot : edge.out_slot + 1]
            taken.append(
                (ports.setdefault(tensor, len(ports)), *((s.shape, s.dtype) for s in spec))
            )
        state: dict[str, int] = {}

        def code(value: Arg) -> object:
            if isinstance(value, Ref):
                if isinstance(value.key, int):
                    return ("in", value.key)
                if value.kind in ("param", "buffer"):
                    return (value.kind, state.setdefault(value.key, len(state)))
                return (value.kind, value.key)
            if isinstance(value, tuple):
                return tuple([code(item) for item in value])
            # 1, 1.0 and True are equal to Python and different to torch.
            return value if isinstance(value, str) else (type(value).__name__, repr(value))

        given = tuple([code(value) for value in op.args])
        named = tuple([(name, code(value)) for name, value in op.kwargs])
        for name in op.parameters:
            state.setdefault(name, len(state))
        number = self._number(
            (
                "op", op.kind, op.target, op.inplace, op.macs, given, named, tuple(taken),
                tuple([(s.shape, s.dtype) for s in op.outputs]),
                tuple([_state_key(self._specs.get(name)) for name in state]),
            )
        )  # fmt: skip
        return Part(place, place + 1, [], number, tuple(ports), tuple(state))


def _state_key(spec: ParameterSpec | None) -> object:
    return spec and (spec.spec.shape, spec.spec.dtype, spec.trainable)


def _spans(modules: Sequence[str], first: int) -> list[Span]:
    """The stretches of more than one op that run in one module without a break."""
    found: list[Span] = []
    starts: list[int] = []
    names: list[str] = []
    for place, path in enumerate([*modules, ""], start=first):
        parts = path.split(".") if path else []
        keep = 0
        while keep < min(len(parts), len(names)) and parts[keep] == names[keep]:
            keep += 1
        found += [(low, place) for low in starts[keep:] if place - low > 1]
        starts = starts[:keep] + [place] * (len(parts) - keep)
        names = parts
    return found


def _block_spans(graph: ModelGraph, blocks: Iterable[Block]) -> list[Span]:
    # The units of a dense block hold all that came before them: no parts beside each other.
    spans = []
    for block in blocks:
        if block.kind != "dense":
            places = [graph.position(op) for op in block.ops]
            spans.append((min(places), max(places) + 1))
    return spans


def _nested(
    modules: Sequence[Span], blocks: Sequence[Span], leaves: Sequence[Part], first: int
) -> list[Part]:
    """The parts that the spans make; a block that cuts through another span is left out."""
    end = first + len(leaves)
    keep = {(first, end), *modules}
    fits = _fitting(sorted(keep, key=_outer_first), len(leaves), first)
    keep |= {span for span in blocks if fits(*span)}
    parts: list[Part] = []
    stack: list[Part] = []
    starting: dict[int, list[Span]] = {}
    for span in sorted(keep, key=_outer_first):
        starting.setdefault(span[0], []).append(span)
    for place, leaf in enumerate(leaves, start=first):
        while stack and stack[-1].high <= place:
            stack.pop()
        for low, high in starting.get(place, ()):
            if stack and high > stack[-1].high:
                continue
            part = Part(low, high)
            if stack:
                stack[-1].items.append(part)
            stack.append(part)
            parts.append(part)
        stack[-1].items.append(leaf)
    return parts


def _outer_first(span: Span) -> Span:
    return span[0], -span[1]


def _fitting(spans: Sequence[Span], count: int, first: int) -> Callable[[int, int], bool]:
    """Tells whether a span cuts through none of these (nested, outermost first)."""
    parent = [-1] * len(spans)
    home = [-1] * count
    stack: list[int] = []
    upcoming = 0
    for place in range(first, first + count):
        while stack and spans[stack[-1]][1] <= place:
            stack.pop()
        while upcoming < len(spans) and spans[upcoming][0] == place:
            parent[upcoming] = stack[-1] if stack else -1
            stack.append(upcoming)
            upcoming += 1
        home[place - first] = stack[-1]

    def fits(low: int, high: int) -> bool:
        if high - low < 2 or low < first:
            return False
        at, last = home[low - first], home[high - 1 - first]
        while spans[at][1] < high:
            if spans[at][0] < low:
                return False
            at = parent[at]
        while spans[last][0] > low:
            if spans[last][1] > high:
                return False
            last = parent[last]
        return True

    return fits
