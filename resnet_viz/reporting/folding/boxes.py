"""How a repeat that is drawn once looks: a stack of cards with its number of copies.

The cards lie inside the box's own size, so that no edge has to know of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from resnet_viz.analysis.blocks import common_module
from resnet_viz.core import units
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Repeat
from resnet_viz.reporting.drawing.glyphs import TITLE, Entry, Shape
from resnet_viz.reporting.folding.fold import Folded, from_to, name_of
from resnet_viz.reporting.fonts import text_width
from resnet_viz.reporting.layout.coordinates import METRICS
from resnet_viz.reporting.layout.grouping import Grouping, Span

_CARDS = METRICS["cards"]
_BADGE = 10.5


def spans(folded: Folded, position: dict[str, int]) -> list[Span]:
    """Where the first copy of each folded repeat is drawn; see ``group_ops``."""
    found = []
    for repeat in folded.repeats:
        places = [position[op] for op in repeat.copies[0] if op in position]
        found.append((min(places), max(places) + 1, common_module(repeat.modules)))
    return found


def fold_table(folded: Folded) -> list[list[int]]:
    """Per folded repeat its first op (as it ran), the ops of a copy, and the copies."""
    graph = folded.whole.graph
    first = len(graph.inputs)
    return [
        [graph.position(r.copies[0][0]) - first, len(r.copies[0]), r.count] for r in folded.repeats
    ]


def members_of(graph: ModelGraph, drawing: dict[str, Any]) -> dict[str, list[str]]:
    """Per drawn op the ops it stands for, itself first, where that is more than one."""
    ids = [str(op.id) for op in graph.ops]
    first = list(range(len(ids)))
    for start, size, times in drawing.get("folds", ()):
        for i in range(start + size, start + size * times):
            first[i] = start + (i - start) % size
    found: dict[str, list[str]] = {}
    for i, op in enumerate(ids):
        at = i
        while first[at] != at:
            at = first[at]
        found.setdefault(ids[at], []).append(op)
    return {op: ops for op, ops in found.items() if len(ops) > 1}


def stands_for(folded: Folded, node: dict[str, Any]) -> dict[str, Any]:
    """What to add to a drawn op's facts: of how many it is, and their gradients' range."""
    if (times := folded.times(node["id"])) == 1:
        return {}
    more: dict[str, Any] = {"times": times}
    if spread := folded.spread(node["id"]):
        more["spread"] = list(spread)
    if "uncounted" in node:
        more["uncounted"] = times * node["uncounted"]
    return more


def copies_row(group: dict[str, Any]) -> dict[str, str]:
    """What the inspector says of a box with copies: how many, what one of them costs."""
    if "of" not in group:
        return {}
    name, params = group.get("copies", ""), _each(group["params"], group["of"], group["shared"])
    each = f"{params} parameters · {units.si(group['macs'] // group['of'])} MACs"
    return {"copies": name, "of": f"{group['of']:,}", "each": each}


def in_copies(fact: dict[str, Any]) -> str:
    """What to write after a number of a drawn thing that is the sum of several."""
    times = fact.get("of") or fact.get("times")
    return f" in {times:,} copies" if times else ""


def title_of(group: dict[str, Any], name: str) -> str:
    """The box's name, or where it is the first of several, the first's and the last's."""
    return str(group.get("copies", name))


def times_of(group: dict[str, Any]) -> str:
    """``× 5`` to put behind what the box is; empty where it stands for itself."""
    return f" × {group['times']:,}" if "times" in group else ""


def inset(group: dict[str, Any]) -> float:
    """Width and height that the cards behind a box take off its own."""
    return _CARDS if "times" in group else 0.0


class Copies:
    """What the boxes of one drawing say of the copies they stand for."""

    def __init__(self, folded: Folded, grouping: Grouping) -> None:
        self._folded = folded
        self._groups = grouping.groups
        self._names = [name_of(repeat, folded.whole.graph) for repeat in folded.repeats]

    def times(self, index: int) -> int:
        """How many copies the box stands for, beside those of the boxes around it."""
        repeat = self._groups[index].repeat
        return self._folded.repeats[repeat].count if repeat >= 0 else 1

    def _repeat(self, index: int) -> Repeat:
        return self._folded.repeats[self._groups[index].repeat]

    def whole_name(self, index: int) -> str:
        """The box's copies in words; empty where it is none."""
        repeat = self._groups[index].repeat
        return from_to(*self._names[repeat]) if repeat >= 0 else ""

    def name(self, index: int) -> str:
        """Like ``whole_name``, below the path of the box around it."""
        name, parent = self.whole_name(index), self._groups[index].parent
        around = self._groups[parent].path if parent >= 0 else ""
        return name.removeprefix(f"{around}.") if around else name

    def cost(self, index: int, params: int) -> str:
        """The parameters of one copy times the copies; empty for a box that has none."""
        times, shared = self._of(index)
        if times == 1 or not params:
            return ""
        each = _each(params, times, shared)
        return each if shared else f"{times:,} × {each}"

    def _of(self, index: int) -> tuple[int, bool]:
        """Of how many copies the box is the first, and whether they share weights."""
        times, shared = 1, False
        while index >= 0:
            times *= self.times(index)
            shared = shared or (self.times(index) > 1 and bool(self._repeat(index).shared))
            index = self._groups[index].parent
        return times, shared

    def counted(self, index: int, entries: Sequence[Entry]) -> list[Entry]:
        """The entries of a closed box, each with how often it is in there."""
        if not self._folded.repeats:
            return list(entries)
        return [replace(entry, times=self._times_inside(index, entry)) for entry in entries]

    def _times_inside(self, index: int, entry: Entry) -> int:
        structure = self._folded.report.structure
        skip = structure.blocks[entry.block].skip if entry.block >= 0 else None
        skip = skip or structure.skips[entry.skips[0]]
        times = self._folded.times(skip.join)
        while index >= 0:
            times //= self.times(index)
            index = self._groups[index].parent
        return times

    def stack(self, index: int, fact: dict[str, Any]) -> dict[str, Any]:
        """The box's facts, with cards and a badge where it is the first of several."""
        of, shared = self._of(index)
        if of == 1:
            return fact
        fact |= {"of": of, "shared": int(shared)}
        if (times := self.times(index)) == 1:
            return fact
        words = f"× {times:,}"
        wide = text_width(words, _BADGE, bold=True) + 12
        title = next(s for s in fact["glyph"] if s[:2] == ["t", "title"])
        closed = 27 + text_width(title[4], TITLE, bold=True) + 8
        meta = [s for s in fact["glyph"] if s[:2] == ["t", "meta"]]
        taken = closed + wide + 8 + max((text_width(s[4], _BADGE) for s in meta), default=0.0) + 12
        for shape in meta:
            shape[2] += max(0.0, taken - fact["w"])
        head = fact["tw"] + 7 + 8
        return fact | {
            "times": times,
            "copies": " … ".join(dict.fromkeys(self._names[self._groups[index].repeat])),
            "w": max(fact["w"], taken) + _CARDS,
            "h": fact["h"] + _CARDS,
            "glyph": [*fact["glyph"], *_badge(closed, 6.8, wide, words)],
            "badge": _badge(head, 6.8, wide, words),
            "tw": fact["tw"] + wide + 8,
        }


def _each(params: int, times: int, shared: bool) -> str:
    return f"{units.si(params)} shared" if shared else units.si(params // times)


def _badge(x: float, y: float, wide: float, words: str) -> list[Shape]:
    d = f"M{x + 8:g},{y:g}h{wide - 16:g}a8,8 0 0 1 0,16h{16 - wide:g}a8,8 0 0 1 0,-16Z"
    return [["p", "times", d], ["t", "times-text", x + wide / 2, y + 11.8, words]]
