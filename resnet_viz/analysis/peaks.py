"""The largest memory in use at once: an estimate, from how long each tensor lives.

A tensor lives from the op that allocates it to the last op that reads it or a view of
it; and as long as a module call into which it was handed, because the caller's frame
holds the arguments. What the backward keeps lives until the op that saved it has been
differentiated. Gradients of activations live from the first consumer's backward to the
producer's. Not in it: fragmentation of the allocator, workspaces of kernels (cuDNN),
copies inside a kernel, recomputation under checkpointing, the state of an optimizer.

Against all storages alive on the CPU the whole peak is right within 5 %; without weights
and buffers that of training within 8 % and that of inference within 20 %, for what a
caller's local variables hold no graph can tell (``tests/analysis/test_peaks.py``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace

from resnet_viz.analysis.allocation import Allocations
from resnet_viz.analysis.kinds import CASTS, DROPOUTS, MAYBE_VIEWS, VALUELESS, VIEWS
from resnet_viz.analysis.lifetimes import Lifetimes, Slot
from resnet_viz.core.graph import Edge, ModelGraph, Op
from resnet_viz.core.structure import Memory, Peak

_MAX_POOLS = frozenset(f"{name}_pool{d}d" for name in ("max", "adaptive_max") for d in (1, 2, 3))


def inference_peak(graph: ModelGraph, allocations: Allocations) -> Peak:
    """The peak of one forward without gradients, from the graph alone."""
    lives = Lifetimes(graph, allocations)
    ledger = _Ledger(graph)
    for position, op in enumerate(graph.ops):
        ledger.working += sum(lives.nbytes[group] for group in lives.born[position])
        ledger.note(op, _indices(op))
        ledger.working -= sum(lives.nbytes[group] for group in lives.dying(position))
    return ledger.peak


def training_peak(graph: ModelGraph, allocations: Allocations, memory: Memory) -> Peak:
    """The peak of one forward and backward, with the gradients of all parameters.

    Args:
        graph: What ran.
        allocations: What its ops allocate.
        memory: What the backward keeps.
    """
    lives = Lifetimes(graph, allocations)
    kept = _Kept(graph, lives, memory)
    ledger = _Ledger(graph)
    for position, op in enumerate(graph.ops):
        born = lives.born[position]
        ledger.saved += kept.inside[position]
        ledger.saved += sum(lives.nbytes[group] for group in born if group in kept.until)
        ledger.working += sum(lives.nbytes[group] for group in born if group not in kept.until)
        ledger.note(op)
        gone = (group for group in lives.dying(position) if group not in kept.until)
        ledger.working -= sum(lives.nbytes[group] for group in gone)
    ledger.phase = "backward"
    # Heads that only train mode runs come last, so their gradients come first.
    read = {name for op in graph.ops for name in op.parameters}
    known = sum(p.spec.nbytes for p in graph.parameters if p.trainable and p.name in read)
    ledger.gradients = max(0, memory.gradient_bytes - known)
    _Backward(graph, allocations, ledger).run(
        lambda position: (
            kept.inside[position] + sum(lives.nbytes[group] for group in kept.released[position])
        )
    )
    return ledger.peak


class _Ledger:
    """What is in memory now, and the most there has been."""

    def __init__(self, graph: ModelGraph) -> None:
        self.saved = self.working = self.gradients = 0
        self.phase = "forward"
        self.peak = Peak(
            params=graph.param_bytes, buffers=graph.buffer_bytes, inputs=graph.input_bytes
        )
        self._most = -1

    def note(self, op: Op, extra: int = 0) -> None:
        """``op`` runs, with ``extra`` bytes for the moment."""
        now = self.saved + self.working + self.gradients + extra
        if now > self._most:
            self._most = now
            self.peak = replace(
                self.peak,
                at=op.id,
                phase="backward" if self.phase == "backward" else "forward",
                gradients=self.gradients,
                saved=self.saved,
                working=self.working + extra,
            )


class _Kept:
    """What autograd keeps, in terms of the graph's pieces.

    Attributes:
        until: Pieces kept, each to the position of the op that saved it.
        released: The same by that position.
        inside: Bytes that no op returned, by the position of the op that saved them.
    """

    def __init__(self, graph: ModelGraph, lives: Lifetimes, memory: Memory) -> None:
        self.until: dict[int, int] = {}
        self.inside: dict[int, int] = defaultdict(int)
        self.released: dict[int, list[int]] = defaultdict(list)
        ahead = len(graph.inputs)
        for row in memory.saved:
            # What a call saves that the traced forward does not make is there at its end.
            position = graph.position(row.op) - ahead if row.op in graph else len(graph.ops) - 1
            groups = list(_own(graph, lives, row.made_by))
            exact = [group for group in groups if lives.nbytes[group] == row.nbytes]
            if not groups:
                self.inside[position] += row.nbytes
            for group in exact[:1] or groups:
                self.until[group] = min(position, self.until.get(group, position))
        for group, position in self.until.items():
            self.released[position].append(group)


def _own(graph: ModelGraph, lives: Lifetimes, maker: str) -> Iterator[int]:
    """The pieces that this op allocates."""
    if maker in graph:
        op = graph[maker]
        born = lives.born[graph.position(maker) - len(graph.inputs)]
        shown = {lives.of.get((op.id, slot)) for slot in range(len(op.outputs))}
        yield from (group for group in born if group in shown)


class _Backward:
    """Walks the ops from last to first, with the gradients of their outputs."""

    def __init__(self, graph: ModelGraph, allocations: Allocations, ledger: _Ledger) -> None:
        self._graph = graph
        self._ledger = ledger
        self._allocations = allocations
        self._wanted = _differentiable(graph)
        self._buffers: list[list[int]] = []
        self._at: dict[Slot, int] = {}
        self._given: set[str] = set()

    def run(self, release: Callable[[int], int]) -> None:
        """Keeps the ledger; ``release`` gives the bytes set free after each position."""
        graph, ledger = self._graph, self._ledger
        for output in graph.outputs:
            slot = (output.src, output.out_slot)
            spec = graph[output.src].outputs[output.out_slot]
            if slot not in self._at and output.src in self._wanted and _floats(spec.dtype):
                self._at[slot] = self._new(spec.nbytes)
        for position in range(len(graph.ops) - 1, -1, -1):
            op = graph.ops[position]
            arrived = [
                self._at.pop((op.id, slot))
                for slot in range(len(op.outputs))
                if (op.id, slot) in self._at
            ]
            if arrived:
                sent = [(edge, self._send(op, edge, arrived)) for edge in self._edges(op)]
                ledger.note(op, self._parameters(op))
                for buffer in arrived:
                    self._drop(buffer)
            ledger.saved -= release(position)
            if arrived:
                for edge, buffer in sent:
                    self._arrive(edge, buffer, op)

    def _edges(self, op: Op) -> Iterator[Edge]:
        for edge in self._graph.edges_in(op.id):
            dtype = self._graph[edge.src].outputs[edge.out_slot].dtype
            if edge.src in self._wanted and _floats(dtype):
                yield edge

    def _send(self, op: Op, edge: Edge, arrived: list[int]) -> int:
        """The gradient of one operand: new memory, or that of the output's gradient."""
        spec = self._graph[edge.src].outputs[edge.out_slot]
        if _hands_on(op, spec.numel, self._allocations.nbytes[op.id]):
            self._buffers[arrived[0]][1] += 1
            return arrived[0]
        return self._new(spec.nbytes)

    def _parameters(self, op: Op) -> int:
        """Gradients of parameters: kept from now on, or added to what there is."""
        passing = 0
        for name in op.parameters:
            spec = self._graph.parameter(name)
            if not spec.trainable:
                continue
            if name in self._given:
                passing += spec.spec.nbytes
            else:
                self._given.add(name)
                self._ledger.gradients += spec.spec.nbytes
        return passing

    def _arrive(self, edge: Edge, buffer: int, op: Op) -> None:
        slot = (edge.src, edge.out_slot)
        before = self._at.get(slot)
        if before is None:
            self._at[slot] = buffer
        elif self._buffers[buffer][1] == 1:
            # Nobody else holds the newcomer: the other is added to it in place.
            self._drop(before)
            self._at[slot] = buffer
        else:
            self._at[slot] = self._new(self._buffers[buffer][0])
            self._ledger.note(op)
            self._drop(before)
            self._drop(buffer)

    def _new(self, nbytes: int) -> int:
        self._buffers.append([nbytes, 1])
        self._ledger.working += nbytes
        return len(self._buffers) - 1

    def _drop(self, buffer: int) -> None:
        self._buffers[buffer][1] -= 1
        if not self._buffers[buffer][1]:
            self._ledger.working -= self._buffers[buffer][0]


def _differentiable(graph: ModelGraph) -> set[str]:
    """Ops through which a gradient reaches a trainable parameter."""
    found: set[str] = set()
    for op in graph.ops:
        if op.kind in VALUELESS or op.kind == "detach":
            continue
        if not any(_floats(out.dtype) for out in op.outputs):
            continue
        if any(graph.parameter(name).trainable for name in op.parameters) or any(
            edge.src in found for edge in graph.edges_in(op.id)
        ):
            found.add(op.id)
    return found


def _indices(op: Op) -> int:
    """What max pooling writes and throws away where no backward wants it."""
    return 8 * op.outputs[0].numel if op.kind in _MAX_POOLS and len(op.outputs) == 1 else 0


def _floats(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat", "complex"))


def _hands_on(op: Op, numel: int, allocated: int) -> bool:
    """Whether the backward passes its gradient on as it is, or a view of it."""
    if op.kind in ("cat", "stack"):
        return True
    if not op.outputs or op.outputs[0].numel != numel:
        return False
    if op.kind in ("add", "clone", "contiguous") or op.kind in VIEWS | MAYBE_VIEWS:
        return True
    return not allocated and not op.inplace and op.kind in DROPOUTS | CASTS
