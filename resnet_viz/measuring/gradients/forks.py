"""Which backward edges come back to which fork of the traced graph, and by whom.

Autograd sums gradients at *places* (an output of one of its nodes); the traced graph
forks at *ops*. The two differ where

- an op has several outputs (``split``, ``chunk``, ``unbind``, an LSTM): its value is all
  of them taken as one vector, so it forks where they go to different consumers;
- several ops return one tensor (dropout in eval mode passes its input on): one place is
  the value of all of them, and the graph tells which of them a consumer reads;
- a consumer reads a value several times (``x + x``, attention with q = k = v): that is
  one edge;
- calls ran inside a custom ``Function`` or a reentrant checkpoint: of those that read the
  value the first stands for all, and the fork is listed with the others' names;
- a consumer sends nothing back, because it reads a shape or leads to no loss: its edge
  carries exactly zero.

A fork of the graph for which this cannot be told is listed with a reason, never left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from resnet_viz.analysis.flow_graph import flow_of
from resnet_viz.core.gradient_flow import NotSeparable
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.message import say
from resnet_viz.measuring.autograd_graph import Arrivals, NodeMap, Place

LOSS = OpId("loss")
"""The consumer that is no call: the loss reads the outputs."""


class Part(NamedTuple):
    """A place's share in one fork: by consumer, which of the place's edges are its."""

    fork: OpId
    ways: dict[OpId, tuple[int, ...]]


@dataclass(slots=True)
class Forks:
    """What is to be measured.

    Attributes:
        places: Places with the forks that they are (part of) the value of.
        silent: Per fork that is measured, the consumers that send exactly nothing back.
        reasons: Why a fork is not measured, or which of its edges are told as one.
    """

    places: list[tuple[Arrivals, list[Part]]] = field(default_factory=list)
    silent: dict[OpId, list[OpId]] = field(default_factory=dict)
    reasons: dict[OpId, str] = field(default_factory=dict)

    @property
    def not_separable(self) -> Iterator[NotSeparable]:
        """The reasons as values."""
        return (NotSeparable(fork=fork, reason=reason) for fork, reason in self.reasons.items())


def find_forks(found: Iterable[Arrivals], nodes: NodeMap, graph: ModelGraph) -> Forks:
    """All forks of ``graph`` through which a gradient can flow, and of this forward.

    Args:
        found: Where gradients arrive in this backward.
        nodes: Whose autograd nodes are whose.
        graph: What was traced, maybe in another mode than this forward ran in.
    """
    return _Finder(nodes, graph).find(found)


class _Finder:
    """One forward's autograd nodes next to the traced graph."""

    def __init__(self, nodes: NodeMap, graph: ModelGraph) -> None:
        self._nodes = nodes
        self._graph = graph
        self._inputs = {op.id for op in graph.inputs}
        self._families: dict[Place, dict[OpId, None]] = {}
        self._places: dict[OpId, set[Place]] = {}
        for produced in nodes.produced:
            self._families.setdefault(produced.place, {})[produced.op] = None
            self._places.setdefault(produced.op, set()).add(produced.place)
        ran = Counter(op.rpartition("#")[0] for op in nodes.ran)
        traced = Counter(op.id.rpartition("#")[0] for op in graph.ops)
        # Here an ordinal may mean another call than it did in the traced forward.
        self._doubtful = {name for name in ran.keys() & traced.keys() if ran[name] != traced[name]}

    def find(self, found: Iterable[Arrivals]) -> Forks:
        """See ``find_forks``."""
        forks, nodes = Forks(), self._nodes
        parts = [(a, self._parts(a)) for a in found if a.place in self._families]
        back: dict[OpId, dict[OpId, None]] = {}
        for _, mine in parts:
            for part in mine:
                back.setdefault(part.fork, {}).update(dict.fromkeys(part.ways))
        consumers = _consumers(self._graph)
        for fork in dict.fromkeys((*consumers, *back)):
            senders, readers = back.get(fork, {}), consumers.get(fork, [])
            strange = self._strange(fork, senders)
            if len(senders.keys() | set(readers)) < 2 or (
                strange and len(senders) < 2 and len(readers) < 2
            ):
                continue
            others = [c for c in readers if c not in senders and c in nodes.ran]
            silent = [c for c in others if c not in nodes.hidden]
            if reason := self._why_not(fork, list(senders), silent, strange):
                forks.reasons[fork] = reason
                continue
            forks.silent[fork] = silent
            if lost := [c for c in others if c in nodes.hidden]:
                forks.reasons[fork] = say(
                    "{ops}: ran inside a custom Function, a reentrant checkpoint or no_grad, with "
                    "no edge of its own",
                    ops=", ".join(lost),
                )
        for arrivals, mine in parts:
            if kept := [part for part in mine if part.fork in forks.silent]:
                forks.places.append((arrivals, kept))
        return forks

    def _parts(self, arrivals: Arrivals) -> list[Part]:
        """One place's edges, each given to the op of its family that the consumer reads.

        A family is the op that made a value, then those that passed it through unchanged;
        what comes back to one of these goes on to the one before.
        """
        family = list(self._families[arrivals.place])
        ways: dict[OpId, dict[OpId, list[int]]] = {}
        for position, (node, _) in enumerate(arrivals.edges):
            owner = self._nodes.owner(node) or LOSS
            member = self._member_read(owner, family)
            consumer = self._reader(owner, member)
            while True:
                if consumer != member:  # not what one output of an op sends to another
                    ways.setdefault(member, {}).setdefault(consumer, []).append(position)
                if member == family[0]:
                    break
                member, consumer = self._member_read(member, family), member
        return [
            Part(op, {dst: tuple(positions) for dst, positions in ends.items()})
            for op, ends in ways.items()
        ]

    def _member_read(self, consumer: OpId, family: list[OpId]) -> OpId:
        """The member of the family that the consumer reads: of several the one that ran last."""
        if len(family) > 1:
            if consumer == LOSS:
                read = {output.src for output in self._graph.outputs}
            elif consumer in self._graph:
                read = {edge.src for edge in self._graph.edges_in(consumer)}
            else:
                read = set()
            end = family.index(consumer) if consumer in family else len(family)
            for member in reversed(family[:end]):
                if member in read:
                    return member
        return family[0]

    def _reader(self, owner: OpId, fork: OpId) -> OpId:
        """The call that reads the fork on the way to the one that the backward comes from.

        The two differ where calls in between have no node: inside a custom function, and
        views that somebody then wrote through.
        """
        graph, hidden = self._graph, self._nodes.hidden
        if owner not in graph or fork not in graph:
            return owner
        start, ahead, seen = graph.position(fork), [owner], {owner}
        readers = []
        for op in ahead:
            before = {e.src: None for e in graph.edges_in(op) if graph.position(e.src) >= start}
            if fork in before:
                readers.append(op)
                if owner not in hidden:
                    break
            for src in before.keys() - seen:
                if owner not in hidden or (src in hidden and src not in self._places):
                    ahead.append(src)
                    seen.add(src)
        return min(readers, key=graph.position, default=owner)

    def _strange(self, fork: OpId, senders: Iterable[OpId]) -> list[OpId]:
        """Senders that did not read the fork in the traced forward."""
        traced = {edge.dst for edge in self._graph.edges_out(fork)} | {LOSS}
        return [op for op in senders if op not in traced]

    def _why_not(
        self, fork: OpId, senders: list[OpId], silent: list[OpId], strange: list[OpId]
    ) -> str:
        """Why this fork cannot be measured; empty where it can."""
        nodes = self._nodes
        if fork not in self._graph:
            return say("the traced forward did not run it: another mode or a backward hook does")
        if fork not in nodes.ran and fork not in self._inputs:
            return say("it did not run in this forward; the graph was traced in another mode")
        for op in (fork, *senders):
            name = op.rpartition("#")[0]
            if name in self._doubtful and op not in self._inputs:
                return say("{name} was not called as often as in the traced forward", name=name)
        places = self._places.get(fork, set())
        if not places and fork in nodes.hidden:
            return say("it ran inside a custom Function, a reentrant checkpoint or no_grad")
        if not places:
            return say("no gradient is recorded for it: nothing before it is trainable")
        if nodes.moved & places:
            return say("it is copied to another device, by no call of its own")
        if not senders:
            return say("no gradient comes back to it: it leads to no loss")
        if strange and (silent or any(op in self._graph for op in strange)):
            return say(
                "it went to {op}, which in the traced forward did not read it", op=strange[0]
            )
        if len(senders) + len(silent) < 2:
            return say(
                "only {op} has an edge: the other consumers did not run or ran inside a custom "
                "Function, a reentrant checkpoint or no_grad",
                op=senders[0],
            )
        return ""


def _consumers(graph: ModelGraph) -> dict[OpId, list[OpId]]:
    """Per value of the graph that a gradient can flow through: who consumes it."""
    flow = flow_of(graph)
    ids = [op.id for op in flow.nodes]
    return {
        ids[i]: [ids[j] for j in succs]
        for i, succs in enumerate(flow.succs)
        if flow.active[i] and succs
    }
