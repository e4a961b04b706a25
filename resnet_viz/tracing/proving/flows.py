"""Which op's data each op reads, found a second time: from memory, not from names.

The recorder follows tensor objects and views. This follows storages on the tape: what
was written there last, by any call that a kernel's schema or a version counter says has
written, is what a later reader gets. Both must tell the same edges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from itertools import takewhile
from typing import NamedTuple

from resnet_viz.core.graph import Edge, ModelGraph, OpId
from resnet_viz.tracing.proving.bits import Region
from resnet_viz.tracing.proving.tape import Call, Read, Tape


class _Source(NamedTuple):
    """An output of an op (or an input), and when it got its value."""

    op: OpId
    slot: int
    time: int


class _Write(NamedTuple):
    source: _Source
    region: Region


class _Made(NamedTuple):
    source: _Source | None
    time: int
    storage: Hashable


class Flows:
    """Follows the data of a tape through memory, call by call."""

    def __init__(self, tape: Tape, graph: ModelGraph, state: Mapping[Hashable, str]) -> None:
        """Starts before the first call.

        Args:
            tape: What ran.
            graph: What is said to have run.
            state: Storages of the model's own tensors, each with a name.
        """
        self._tape = tape
        self._graph = graph
        self._state = state
        self._made: dict[int, _Made] = {}
        self._writes: dict[Hashable, list[_Write]] = defaultdict(list)
        # Where a call that is no op left an op's data in the model's own memory.
        self._hidden: dict[Hashable, list[_Write]] = defaultdict(list)
        for read, op in zip(tape.inputs, graph.inputs, strict=True):
            source = _Source(op.id, 0, -1)
            self._made[read.slot] = _Made(source, -1, read.region.storage)
            self._writes[read.region.storage].append(_Write(source, read.region))

    def check(self) -> str:
        """The first edge that is no flow, or flow that is no edge, in words; else empty."""
        for time, call in enumerate(self._tape.calls):
            if call.op is not None and (wrong := self._compare(call, call.op)):
                return wrong
            self._advance(time, call)
        return ""

    def _compare(self, call: Call, op: OpId) -> str:
        edges = self._graph.edges_in(op)
        slot = 0
        for read in call.reads:
            for write in self._hidden.get(read.region.storage, ()):
                if write.region.meets(read.region) and not _updates(call, read):
                    name = self._state.get(read.region.storage, "its own memory")
                    return (
                        f"data of {write.source.op!r} reach {op!r} through {name}, "
                        "and the graph has no such edge"
                    )
            answers = self._sources(read)
            given = edges[slot] if slot < len(edges) else None
            if any(
                s and given == Edge(src=s.op, out_slot=s.slot, dst=op, in_slot=slot)
                for s in answers
            ):
                slot += 1
            elif None not in answers:
                real = next(s for s in answers if s is not None)
                told = f"{given.src!r} (output {given.out_slot})" if given else "nowhere"
                return (
                    f"input {slot} of {op!r} comes from {real.op!r} (output {real.slot}) "
                    f"in memory, and from {told} in the graph"
                )
        if slot < len(edges):
            return f"the edge from {edges[slot].src!r} to {op!r} carries no data"
        return ""

    def _sources(self, read: Read) -> list[_Source | None]:
        """What wrote the value: one answer, or several that are all right.

        The last write of the bytes that it reads; ``None`` where no call wrote them. The
        last write of the memory at all is as right: it makes a new version of the whole.
        """
        made = self._made.get(read.slot)
        writes = self._writes.get(read.region.storage, [])
        if made is not None and made.storage == read.region.storage:
            later = list(takewhile(lambda w: w.source.time > made.time, reversed(writes)))
            first = made.source
        else:
            # No call made this tensor, or its memory was exchanged: only memory tells.
            later, first = writes[::-1], None
        answers: list[_Source | None] = [later[0].source] if later else []
        for write in later:
            meets = write.region.meets(read.region)
            if meets is not False:
                answers.append(write.source)
            if meets:
                return answers
        return [*answers, first]

    def _advance(self, time: int, call: Call) -> None:
        if call.op is None:
            self._advance_bookkeeping(time, call)
            return
        outputs: dict[Hashable, _Source] = {}
        regions = dict(zip(call.results, call.regions, strict=True))
        regions |= {read.slot: read.region for read in call.reads if read.slot not in regions}
        for out, slot in enumerate(call.outputs):
            source = _Source(call.op, out, time)
            region = regions[slot]
            outputs.setdefault(region.storage, source)
            if region.storage not in self._writes and region.storage not in self._state:
                # Fresh memory: whoever looks at it without being a view sees this.
                self._writes[region.storage].append(_Write(source, region))
            self._made[slot] = _Made(source, time, region.storage)
        for region in call.written:
            source = outputs.get(region.storage, _Source(call.op, 0, time))
            shown = region.storage in outputs
            (self._writes if shown else self._hidden)[region.storage].append(_Write(source, region))

    def _advance_bookkeeping(self, time: int, call: Call) -> None:
        if call.cast:
            source = self._sources(call.reads[0])[-1] if call.reads else None
            for slot, region in zip(call.results, call.regions, strict=True):
                self._made.setdefault(slot, _Made(source, time, region.storage))
            return
        sources = [s for read in call.reads if (s := self._sources(read)[-1]) is not None]
        for read in call.reads:
            hidden = self._hidden.get(read.region.storage, ())
            sources += [w.source for w in hidden if w.region.meets(read.region)]
        for region in call.written:
            self._hidden[region.storage] += [_Write(s, region) for s in sources]


def _updates(call: Call, read: Read) -> bool:
    """Whether the call only keeps statistics there: it writes what it reads, and shows it not."""
    shown = {region.storage for region in call.regions}
    storage = read.region.storage
    return storage not in shown and any(region.storage == storage for region in call.written)
