"""What is not the same in two aligned models, thing by thing and by path.

An alignment says which part is which. For a gate in CI, a table or a picture each
difference is told by itself: of a part what it is and what it costs, and inside of it
the ops that were added, removed or changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import TypeAlias

from resnet_viz.analysis.flow_graph import flow_of
from resnet_viz.analysis.part_changes import buffers_of, facts_between, portrait
from resnet_viz.core.comparison import Alignment, Aspect, Difference, Pair
from resnet_viz.core.graph import ModelGraph, Op, OpId, Ref
from resnet_viz.core.structure import Block, Structure
from resnet_viz.core.units import shape

_CELLS = 40_000
"""Ops of A times ops of B in a part that are matched by kind; larger parts by name alone."""
_LETTERS = 80

Match: TypeAlias = tuple[Op | None, Op | None]


def differences(
    a: ModelGraph,
    a_structure: Structure,
    b: ModelGraph,
    b_structure: Structure,
    alignment: Alignment,
) -> tuple[Difference, ...]:
    """Everything that is not the same, in the order of the pairs; nothing for equal models.

    Args:
        a: The first graph.
        a_structure: Its blocks.
        b: The second.
        b_structure: Its blocks.
        alignment: What ``align`` gives for them.
    """
    sides = _Side(a, a_structure), _Side(b, b_structure)
    found = [
        told
        for k, pair in enumerate(alignment.pairs)
        if pair.same != "equal"
        for told in _of_pair(k, pair, *sides)
    ]
    if not found and sides[0].whole() != sides[1].whole():
        found.append(Difference(kind="changed", path_a="", path_b="", what="wiring"))
    return tuple(found)


class _Side:
    """One model: its flow, and its blocks by their ops."""

    def __init__(self, graph: ModelGraph, structure: Structure) -> None:
        self.graph, self.flow = graph, flow_of(graph)
        self.blocks = {block.skip.join: block for block in structure.blocks}

    def block(self, name: str, kind: str, ops: Sequence[OpId]) -> Block | None:
        """The block that is a part: of those whose join is in it the one of its name."""
        near = [self.blocks[op] for op in ops if op in self.blocks]
        named = (b for b in near if (b.module or b.skip.join) == name and b.title == kind)
        return max(named, key=lambda b: len(b.ops), default=None)

    def whole(self) -> tuple[object, ...]:
        """What nets have in common that compute the same in the same order."""
        buffers, nodes = buffers_of(self.graph), range(len(self.flow.nodes))
        ends = [(self.graph.position(o.src), o.out_slot) for o in self.graph.outputs]
        return portrait(self.flow, nodes, buffers), ends


def _of_pair(k: int, pair: Pair, a: _Side, b: _Side) -> Iterator[Difference]:
    ours = [a.graph[op] for op in pair.a_ops]
    theirs = [b.graph[op] for op in pair.b_ops]
    if pair.same == "only":
        added = bool(pair.b)
        yield Difference(
            kind="added" if added else "removed", path_a=pair.a, path_b=pair.b, what="part",
            a=pair.a_kind, b=pair.b_kind, pair=k,
            delta=sum(op.params for op in theirs) - sum(op.params for op in ours),
        )  # fmt: skip
        return

    def changed(what: Aspect, before: str, after: str) -> Difference:
        delta = int(after) - int(before) if what in ("params", "macs") else None
        return Difference(kind="changed", path_a=pair.a, path_b=pair.b, what=what, a=before,
                          b=after, delta=delta, pair=k)  # fmt: skip

    facts = facts_between(
        *(a.flow, a.flow.positions(pair.a_ops), a.block(pair.a, pair.a_kind, pair.a_ops)),
        *(b.flow, b.flow.positions(pair.b_ops), b.block(pair.b, pair.b_kind, pair.b_ops)),
    )
    yield from (changed(*fact) for fact in facts)
    macs = [str(sum(op.macs or 0 for op in ops)) for ops in (ours, theirs)]
    if macs[0] != macs[1]:
        yield changed("macs", *macs)
    inside = [told for match in _matched(ours, pair.a, theirs, pair.b)
              for told in _of_ops(k, match, a.graph, b.graph)]  # fmt: skip
    yield from inside
    if not facts and not inside:
        yield changed("wiring", "", "")


def _matched(ours: Sequence[Op], a: str, theirs: Sequence[Op], b: str) -> list[Match]:
    """Ops of two parts, in order: by name where most names are the same, else by kind."""
    mine, other = _names(ours, a), _names(theirs, b)
    common = len(set(mine) & set(other))
    if 2 * common < min(len(mine), len(other)) and len(mine) * len(other) <= _CELLS:
        mine, other = [op.kind for op in ours], [op.kind for op in theirs]
        found: list[Match] = []
        steps = SequenceMatcher(a=mine, b=other, autojunk=False).get_opcodes()
        for what, i, i_end, j, j_end in steps:
            if what == "equal" or i_end - i == j_end - j:
                found += zip(ours[i:i_end], theirs[j:j_end], strict=True)
            else:
                found += [(op, None) for op in ours[i:i_end]]
                found += [(None, op) for op in theirs[j:j_end]]
        return found
    named = dict(zip(other, theirs, strict=True))
    there = set(mine)
    rest = iter(list(zip(other, theirs, strict=True)))
    found = []
    for name, op in zip(mine, ours, strict=True):
        if name in named:
            for before, new in rest:
                if before not in there:
                    found.append((None, new))
                if before == name:
                    break
        found.append((op, named.get(name)))
    seen = {op.id for _, op in found if op is not None}
    return found + [(None, op) for op in theirs if op.id not in seen]


def _names(ops: Sequence[Op], part: str) -> list[str]:
    """What each op is called below its part: its module where that makes one call, else its id.

    An activation that was exchanged for another one is so still the same op.
    """
    calls = Counter(op.module for op in ops)
    found = (op.module if op.module and calls[op.module] == 1 else op.id for op in ops)
    return [name.removeprefix(f"{part}.") for name in found]


def _of_ops(k: int, match: Match, a: ModelGraph, b: ModelGraph) -> Iterator[Difference]:
    ours, theirs = match
    if ours is None and theirs is not None:
        yield Difference(kind="added", path_a="", path_b=theirs.id, what="op",
                         b=_told(b, theirs), delta=theirs.params, pair=k)  # fmt: skip
    elif theirs is None and ours is not None:
        yield Difference(kind="removed", path_a=ours.id, path_b="", what="op",
                         a=_told(a, ours), delta=-ours.params, pair=k)  # fmt: skip
    elif ours is not None and theirs is not None:
        delta = theirs.params - ours.params
        pairs: list[tuple[Aspect, str, str, int | None]] = [
            ("op", _told(a, ours), _told(b, theirs), delta or None)
        ]
        if ours.kind == theirs.kind:
            pairs.append(("arguments", *_arguments(ours, theirs), None))
        for what, before, after, more in pairs:
            if before != after:
                yield Difference(kind="changed", path_a=ours.id, path_b=theirs.id, what=what,
                                 a=before, b=after, delta=more, pair=k)  # fmt: skip


def _told(graph: ModelGraph, op: Op) -> str:
    """``conv2d 64×3×3×3 → 1×64×112×112``: kind, largest weight, output."""
    weights = [graph.parameter(name).spec.shape for name in op.parameters]
    weight = max(weights, key=len, default=())
    return f"{op.kind} {shape(weight)}".removesuffix(" scalar") + f" → {shape(op.shape)}"


def _arguments(ours: Op, theirs: Op) -> tuple[str, str]:
    """The arguments that are no tensors and differ."""
    mine, other = _plain(ours), _plain(theirs)
    names = [n for n in dict.fromkeys((*mine, *other)) if mine.get(n) != other.get(n)]
    a, b = (", ".join(side[name] for name in names if name in side) for side in (mine, other))
    return _cut(a), _cut(b)


def _plain(op: Op) -> dict[str, str]:
    """Arguments that are no tensors, by name or place."""
    placed = {str(i): repr(v) for i, v in enumerate(op.args) if not isinstance(v, Ref)}
    return placed | {n: f"{n}={v!r}" for n, v in op.kwargs if not isinstance(v, Ref)}


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}…"
