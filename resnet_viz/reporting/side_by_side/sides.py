"""One of two models as the drawing needs it: parts as cards, with what was measured of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from resnet_viz.core import units
from resnet_viz.core.gradient_flow import combine
from resnet_viz.core.graph import Op, OpId
from resnet_viz.core.message import join, say
from resnet_viz.core.report import Report
from resnet_viz.core.structure import Block
from resnet_viz.core.terms import word
from resnet_viz.reporting.drawing.contents import channels, chips_of, gated_ops, plain_entry
from resnet_viz.reporting.drawing.glyphs import Entry, Glyph, block_glyph, box_glyph, chip_width
from resnet_viz.reporting.drawing.labels import block_family

_CHIPS, _INNER = 5, 2  # so many fit into a card
_TAPERS = 32
_LONG = 26  # letters of a name
_READ = 160  # letters of a name that is told in full
_TO = " … "

Look: TypeAlias = tuple[Any, ...]
Part: TypeAlias = tuple[str, str, tuple[OpId, ...]]
"""Name, kind and ops of a part."""


@dataclass(frozen=True, slots=True)
class Card:
    """A part, or several, as a box.

    Attributes:
        glyph: Its size and shapes.
        face: CSS classes of the box.
        times: How many parts it stands for that look like this one.
        names: What it is called.
    """

    glyph: Glyph
    face: str
    times: int
    names: str


class Side:
    """A model, and what is asked about its parts."""

    def __init__(self, report: Report, name: str) -> None:
        self.report, self.name, self.graph = report, brief(name), report.graph
        structure = report.structure
        self.blocks = structure.blocks
        self.skips = structure.skips
        self._at = {skip: k for k, skip in enumerate(structure.skips)}
        self._join: dict[str, list[int]] = {}
        for k, skip in enumerate(structure.skips):
            self._join.setdefault(skip.join, []).append(k)
        self._block = {block.skip.join: i for i, block in enumerate(structure.blocks)}
        self._stage = {op: k for k, stage in enumerate(structure.stages) for op in stage.ops}
        self._gates = gated_ops(structure.skips)
        self._entries: dict[tuple[OpId, ...], Entry] = {}
        self._shares: dict[OpId, dict[str, float]] = {}
        flow = report.gradient_flow
        for share in flow.shares if flow else ():
            self._shares.setdefault(share.src, {})[share.dst] = share.share
        self.chip_width = 0.0

    def ops(self, ids: Sequence[OpId]) -> list[Op]:
        """The ops that are in the graph."""
        return [self.graph[op] for op in ids if op in self.graph]

    def block(self, ops: Sequence[OpId], kind: str) -> Block | None:
        """The largest block in a part that is one."""
        found = [self.blocks[self._block[op]] for op in ops if op in self._block]
        return max((b for b in found if b.title == kind), key=lambda b: len(b.ops), default=None)

    def stage(self, ops: Sequence[OpId], kind: str) -> int:
        """Number of the stage a part is in: where a block ends, where a layer begins."""
        if not ops:
            return -1
        block = self.block(ops, kind)
        return self._stage.get(block.skip.join if block else ops[0], -1)

    def look(self, ops: Sequence[OpId], kind: str) -> Look:
        """Equal for parts that are drawn alike."""
        if not ops:
            return ()
        entry = self.entry(ops, kind)
        shape = self.graph[ops[-1]].shape[1:] if ops[-1] in self.graph else ()
        worn = tuple(self.skips[k].kind for k in entry.skips)
        return kind, entry.chips, entry.entry, worn, shape, self.params(ops)

    def entry(self, ops: Sequence[OpId], kind: str) -> Entry:
        """The weighted layers and the skips of a part."""
        key = tuple(ops)
        if key not in self._entries:
            self._entries[key] = self._entry(ops, self.block(ops, kind))
        return self._entries[key]

    def _entry(self, ops: Sequence[OpId], block: Block | None) -> Entry:
        if block is None:
            return plain_entry(self.graph, self.ops(ops), self._gates)
        gates = self._gates if block.skip.kind != "gate" else set()
        chips = chips_of(self.graph, block, None, gates)
        before = channels(self.graph[block.skip.fork], last=bool(chips) and not chips[0].kernel)
        return Entry(block=self._block[block.skip.join], entry=before, chips=chips,
                     skips=(self._at[block.skip],))  # fmt: skip

    def inner(self, ops: Sequence[OpId], entry: Entry) -> list[Entry]:
        """What else lies inside a block: gates, and skips within its branch."""
        joins = [k for op in ops for k in self._join.get(op, ()) if k not in entry.skips]
        return [Entry(skips=(k,)) for k in joins[:_INNER]] if entry.block >= 0 else []

    def params(self, ops: Sequence[OpId]) -> int:
        """Parameters that a part reads first."""
        return sum(op.params for op in self.ops(ops))

    def macs(self, ops: Sequence[OpId]) -> int:
        """Multiply-accumulates of a part, as far as they are known."""
        return sum(op.macs or 0 for op in self.ops(ops))

    def gradient(self, ops: Sequence[OpId]) -> float | None:
        """L2 norm of the loss's gradient at all parameters of a part; ``None`` if not measured."""
        flow = self.report.gradient_flow
        if flow is None:
            return None
        names = dict.fromkeys(name for op in self.ops(ops) for name in op.parameters)
        known = [stats for name in names if (stats := flow.get(name)) is not None]
        return combine(known).l2 if known else None

    def share(self, skip: int) -> float | None:
        """The part of its fork's gradient that comes back over a skip; ``None`` if unknown."""
        found = self._shares.get(self.skips[skip].fork, {})
        ends = (*self.skips[skip].shortcut, self.skips[skip].join)
        shares = [found[end] for end in ends if end in found and math.isfinite(found[end])]
        return sum(shares) if shares else None

    def card(self, parts: Sequence[Part], *, alike: bool) -> Card:
        """The parts as one box: one of them where they look alike, else a taper for each.

        Args:
            parts: One or more.
            alike: Whether they look the same.
        """
        names = brief(called([name for name, _, _ in parts]))
        params = sum(self.params(ops) for _, _, ops in parts)
        if alike:
            return self._one(parts, names)
        entries = [self.entry(ops, kind) for _, kind, ops in parts[:_TAPERS]]
        # A bare layer has its taper, too: the number behind the last block's.
        bare = len(self.blocks)
        entries = [replace(e, block=bare) if e.block < 0 else e for e in entries]
        cost = units.si(params) if params else ""
        kinds = _kinds([kind for _, kind, _ in parts])
        glyph = box_glyph(shortened(names), cost, kinds, entries, self.skips)
        return Card(glyph, "stage-quiet", 1, names)

    def _one(self, parts: Sequence[Part], names: str) -> Card:
        _, kind, ops = parts[0]
        entry = self.entry(ops, kind)
        chips = entry.chips
        if len(chips) > _CHIPS:
            # The glyph itself says how many more there are.
            chips = chips[:6] if len(chips) == _CHIPS + 1 else chips
        shown = Entry(block=entry.block, entry=entry.entry, chips=chips, skips=entry.skips)
        labels = {k: f"{share * 100:.0f} %" for k in entry.skips
                  if (share := self._mean_share(parts)) is not None}  # fmt: skip
        width = self.chip_width or chip_width([chip.text for chip in chips])
        glyph = block_glyph(
            shown, shortened(names), self._meta(ops), self.skips, labels, width,
            self.inner(ops, entry),
        )  # fmt: skip
        block = self.block(ops, kind)
        face = f"block f-{block_family(block.kind)}" if block else ""
        return Card(glyph, face, len(parts), names)

    def _mean_share(self, parts: Sequence[Part]) -> float | None:
        known = [share for _, kind, ops in parts for k in self.entry(ops, kind).skips
                 if (share := self.share(k)) is not None]  # fmt: skip
        return sum(known) / len(known) if known else None

    def _meta(self, ops: Sequence[OpId]) -> str:
        """Size of the last output's map, and the parameters."""
        shape = self.graph[ops[-1]].shape if ops and ops[-1] in self.graph else ()
        params = self.params(ops)
        parts = [units.shape(shape[2:])] if len(shape) > 3 else []
        return " · ".join([*parts, *([units.si(params)] if params else [])])


def called(names: Sequence[str]) -> str:
    """``layer1.0``; of several ``layer1.0–2``, or the first and the last."""
    first, last = names[0], names[-1]
    if len(names) == 1 or first == last:
        return first
    stem, number = _numbered(first)
    other, end = _numbered(last)
    if stem == other and number and end:
        return f"{first}–{end}"
    return f"{first}{_TO}{last}"


def brief(name: str) -> str:
    """A name as far as anybody reads it: it is told once in every row."""
    return name if len(name) <= _READ else f"{name[: _READ // 2]}…{name[-_READ // 2 :]}"


def _numbered(name: str) -> tuple[str, str]:
    stem = name.rstrip("0123456789")
    return stem, name[len(stem) :]


def shortened(name: str) -> str:
    """What is told of a name that is too long for a card: the ends of its paths."""
    if len(name) <= _LONG:
        return name
    first, between, last = name.partition(_TO)
    if between:
        shared = 0
        for i, (a, b) in enumerate(zip(first, last, strict=False)):
            if a != b:
                break
            shared = i + 1 if a == "." else shared
        return f"{_end(first, _LONG // 2)}{_TO}{_end(last[shared:], _LONG // 2)}"
    return _end(name, _LONG)


def _end(name: str, letters: int) -> str:
    """The last parts of a path."""
    if len(name) <= letters:
        return name
    kept = ""
    for part in reversed(name.split(".")):
        longer = f"{part}.{kept}" if kept else part
        if kept and len(longer) > letters:
            break
        kept = longer
    return f"…{kept[-2 * letters :]}"


def _kinds(kinds: Sequence[str]) -> str:
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return join(" · ", (say("{n} × {kind}", n=n, kind=word(kind)) for kind, n in counts.items()))
