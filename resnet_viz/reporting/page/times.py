"""How long things take, for the tables of costs: sums of the times of their ops."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from resnet_viz.core.message import Message, join, say, say_n
from resnet_viz.core.op_times import OpTimes
from resnet_viz.core.report import Report
from resnet_viz.core.terms import word
from resnet_viz.core.units import percent, seconds

NOTHING = "–"


class Times:
    """The times of one report's ops, as cells of a table; empty where none were measured."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._times = report.op_times

    @property
    def measured(self) -> bool:
        """Whether there are any."""
        return self._times is not None

    @property
    def notes(self) -> list[Message]:
        """How they were measured, or why not."""
        if self._times is not None:
            return [times_note(self._times)]
        reasons = [m.reason for m in self._report.missing if m.section == "op times"]
        return [say("Times are missing: {reason}", reason=reason) for reason in reasons]

    def of_op(self, op: str) -> str:
        """The time of one call as text."""
        found = self._times.get(op) if self._times else None
        return NOTHING if found is None else seconds(found)

    def of_ops(self, ops: Iterable[str]) -> dict[str, Any]:
        """The time of all of these: as text, and its part of the whole in percent."""
        if self._times is None:
            return {}
        found = [value for op in ops if (value := self._times.get(op)) is not None]
        total, whole = math.fsum(found), self._times.total
        return {
            "time": seconds(total) if found else NOTHING,
            "time_part": round(100 * total / whole, 2) if whole else 0.0,
        }

    def of_block(self, join: str) -> dict[str, Any]:
        """The same of the ops whose innermost block ends in this join."""
        return self.of_ops(self._members[0].get(join, ()))

    def of_kind(self, kind: str) -> dict[str, Any]:
        """The same of all calls of one kind."""
        return self.of_ops(self._members[1].get(kind, ()))

    @cached_property
    def _members(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Ops by their innermost block's join, and by their kind."""
        blocks: dict[str, list[str]] = {}
        kinds: dict[str, list[str]] = {}
        block_of = self._report.structure.block_of()
        for op in self._report.graph.ops:
            if (block := block_of.get(op.id)) is not None:
                blocks.setdefault(str(block.skip.join), []).append(op.id)
            kinds.setdefault(op.kind, []).append(op.id)
        return blocks, kinds


def times_note(times: OpTimes) -> Message:
    """How times were measured, and how far their sum is from a forward that nobody watched."""
    how = say(
        "Times are medians of {n} forwards without gradients, in {mode} mode on {device} "
        "({input}).",
        n=times.repeats,
        mode=word(times.mode),
        device=_device(times),
        input=times.data,
    )
    if not times.forward:
        return how
    sums = say(
        "They add up to {total}; a forward that nobody watches takes {forward} ({part} of it), "
        "a watched one {watched}.",
        total=seconds(times.total),
        forward=seconds(times.forward),
        part=percent(times.total / times.forward),
        watched=seconds(times.watched),
    )
    return join(" ", (how, sums))


def _device(times: OpTimes) -> Message | str:
    amp = ", bfloat16 autocast" if times.autocast else ""
    if times.device != "cpu":
        return f"{times.device}{amp}"
    device = f"{times.device}{amp}"
    return say_n("{device}, {n} thread", "{device}, {n} threads", times.threads, device=device)
