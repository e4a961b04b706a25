"""Modules, blocks and stages as the boxes of a diagram, open and closed."""

from __future__ import annotations

from typing import Any

from resnet_viz.core import units
from resnet_viz.core.message import say_n
from resnet_viz.core.report import Report
from resnet_viz.reporting.drawing.contents import gated_ops, plain_entry
from resnet_viz.reporting.drawing.extents import Extents
from resnet_viz.reporting.drawing.formulas import formula_of
from resnet_viz.reporting.drawing.glyphs import (
    TITLE,
    Entry,
    Glyph,
    block_glyph,
    box_glyph,
    chip_width,
    cost_text,
)
from resnet_viz.reporting.drawing.kind_words import named
from resnet_viz.reporting.drawing.labels import kernel_of
from resnet_viz.reporting.folding.boxes import Copies
from resnet_viz.reporting.folding.fold import Folded
from resnet_viz.reporting.fonts import fit, text_width
from resnet_viz.reporting.language import spoken
from resnet_viz.reporting.layout.grouping import Group, Grouping

_LONG = 18  # letters; a longer path of a closed block is cut to its name
_TITLE_ROOM = 150.0
_CHIPS, _INNER = 6, 4  # so many fit into one block glyph


class BoxMaker:
    """Makes the facts of each box; holds what the boxes of one drawing share."""

    def __init__(
        self,
        folded: Folded,
        grouping: Grouping,
        own: dict[int, Entry],
        inside: list[list[Entry]],
        nodes: list[dict[str, Any]],
        skips: list[dict[str, Any]],
        extents: Extents,
        formulas: bool,
    ) -> None:
        report = folded.report
        self.folded, self.report, self.groups = folded, report, grouping.groups
        self.own, self.inside, self.nodes = own, inside, nodes
        graph = report.graph
        self.types = {m.path: m.type_name for m in graph.modules}
        known = {str(op.id): op for op in graph.nodes()}
        self.ops = [known.get(n["id"]) for n in nodes]
        self.gates = gated_ops(report.structure.skips)
        self.chip_width = chip_width([c.text for e in own.values() for c in e.chips])
        self.labels = {k: _arc_label(report, k, fact) for k, fact in enumerate(skips)}
        self.copies = Copies(folded, grouping)
        self.skips, self.extents, self.formulas = skips, extents, formulas

    def boxes(self) -> list[dict[str, Any]]:
        """All boxes, each after the one around it."""
        out: list[dict[str, Any]] = []
        stages = 0
        for i, group in enumerate(self.groups):
            out.append(self._box(i, group))
            if group.kind == "stage":
                out[-1]["tint"] = stages % 6
                stages += 1
        return out

    def _box(self, i: int, group: Group) -> dict[str, Any]:
        members = self.nodes[group.low : group.high]
        params = sum(n.get("params", 0) for n in members)
        name = self.copies.name(i) or _name(self.groups, i)
        room = _TITLE_ROOM if group.repeat < 0 else 1.6 * _TITLE_ROOM
        title = fit(name + self._kind_word(group, name), TITLE, room, bold=True)
        cost = self.copies.cost(i, params) or cost_text(params)
        glyph = self._glyph(i, group, name, cost, self.formulas)
        fact: dict[str, Any] = {
            "id": group.id,
            "module": group.path,
            "parent": group.parent,
            "label": name,
            "title": title,
            "tw": text_width(title, TITLE, bold=True) + 18,
            "type_name": self.types.get(group.path, ""),
            "kind": group.kind,
            "low": group.low,
            "high": group.high,
            "params": params,
            "macs": sum(n.get("macs", 0) for n in members),
            "uncounted": sum(n.get("uncounted", 0) for n in members),
            "w": glyph.w,
            "h": glyph.h,
            "glyph": glyph.shapes,
        }
        if group.block >= 0:
            block = self.report.structure.blocks[group.block]
            fact |= {
                "block": group.block,
                "title_kind": block.title,
                "squeeze": block.squeeze,
                "skip": block.skip.id,
                "chips": [{"k": c.kernel, "c": c.channels} for c in self.own[group.block].chips],
            }
        plain = dict(fact)
        whole = self.copies.stack(i, fact)
        if group.block < 0:
            return whole
        other = self._glyph(i, group, name, cost, not self.formulas)
        if other.shapes != glyph.shapes:
            face = {"w": other.w, "h": other.h, "glyph": other.shapes}
            turned = self.copies.stack(i, plain | face)
            whole = whole | {"other": {key: turned[key] for key in ("w", "h", "glyph")}}
        return whole

    def _kind_word(self, group: Group, name: str) -> str:
        structure = self.report.structure
        if group.kind == "stage":
            resolution = structure.stages[group.stage].resolution
            return f" · {units.shape(resolution)}" if len(resolution) > 1 else ""
        if group.block >= 0 and structure.blocks[group.block].title not in name:
            return f" · {spoken(named(structure.blocks[group.block].title))}"
        return ""

    def _glyph(self, i: int, group: Group, name: str, meta: str, written: bool) -> Glyph:
        skips, found = self.report.structure.skips, self.copies.counted(i, self.inside[i])
        if group.block >= 0 and len(found) <= _INNER:
            block, entry = self.report.structure.blocks[group.block], self.own[group.block]
            mine = [e for e in found if e.block < 0 and skips[e.skips[0]] == block.skip]
            rest = [e for e in found if e not in mine]
            worn = tuple(k for e in mine for k in e.skips)
            entry = Entry(block=entry.block, entry=entry.entry, chips=entry.chips, skips=worn)
            whole = self.copies.whole_name(i) or group.path
            title = whole if len(whole) <= _LONG else name
            if group.id != group.path and group.repeat < 0 and block.kind not in title:
                title = f"{title} {spoken(named(block.kind))}"
            return block_glyph(
                entry, title, meta, skips, self.labels,
                self.chip_width * self.extents.stretch(block.skip.join), rest, self.skips,
                half=self.extents.half(block.skip.join),
                formula=formula_of(self.report.graph, block.skip) if written else None,
            )  # fmt: skip
        plain = plain_entry(
            self.report.graph, [o for o in self.ops[group.low : group.high] if o], self.gates
        )
        serial = len(found) <= 2 and all(e.block < 0 for e in found)
        if serial and 1 <= len(plain.chips) <= _CHIPS and group.kind == "module":
            width = max(self.chip_width, chip_width([c.text for c in plain.chips]))
            last = self.nodes[group.high - 1]["id"]
            half, width = self.extents.half(last), width * self.extents.stretch(last)
            return block_glyph(plain, name, meta, skips, self.labels, width, found, half=half)
        return box_glyph(name, meta, self._subtitle(group, found), found, skips)

    def _subtitle(self, group: Group, found: list[Entry]) -> str:
        joins: dict[str, int] = {}
        if group.repeat >= 0:
            blocks = self.report.structure.blocks
            for entry in found:
                if entry.block >= 0:
                    title = blocks[entry.block].title
                    joins[title] = joins.get(title, 0) + entry.times
        for block in self.folded.whole.structure.blocks if group.repeat < 0 else ():
            if f"{block.module}.".startswith(f"{group.path}."):
                joins[block.title] = joins.get(block.title, 0) + 1
        if joins:
            return " · ".join(f"{n} × {spoken(named(kind))}" for kind, n in joins.items())
        count = spoken(say_n("{n} op", "{n} ops", group.high - group.low))
        return f"{self.types.get(group.path, '')} · {count}".strip(" ·")


def _name(groups: list[Group], index: int) -> str:
    """The path below the box around it: ``denselayer1`` inside ``denseblock1``."""
    group = groups[index]
    if group.id != group.path and ":" in group.id:
        return group.id.rpartition(":")[2]
    around = groups[group.parent].path if group.parent >= 0 else ""
    name = group.path
    if around and name.startswith(f"{around}."):
        name = name[len(around) + 1 :]
    return name + group.id[len(group.path) :]


def _arc_label(report: Report, k: int, fact: dict[str, Any]) -> str:
    skip = report.structure.skips[k]
    parts = []
    for op in skip.shortcut:
        if kernel := kernel_of(report.graph, report.graph[op]):
            parts.append("×".join(str(s) for s in kernel))
            break
    if "share" in fact:
        parts.append(f"{fact['share'] * 100:.0f} %")
    return " · ".join(parts)
