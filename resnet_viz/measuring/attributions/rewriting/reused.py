"""Which activations captum's hooks would miss or mistake, known from the trace beforehand."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from resnet_viz.core.errors import listed
from resnet_viz.core.graph import ModelGraph, Op, OpId
from resnet_viz.measuring.attributions.rewriting.kinds import ELEMENTWISE, HOOKED, MAX_POOLS

_REWRITTEN = ELEMENTWISE | MAX_POOLS
_ACTIVATIONS = _REWRITTEN | {"softmax"}

WORDS = {
    "reused": "its module runs more than once",
    "functional": "a function call, which no hook sees",
    "unknown": "a module that captum has no rule for",
    "in_place": "writes in place",
}
"""What each reason of a ``Reuse`` means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """An activation call that captum would miss, or mistake for another.

    Attributes:
        op: The call.
        kind: Its kind.
        module: Path of the module that makes it.
        reasons: Keys of ``WORDS``, at least one.
        source_line: Where it is written.
    """

    op: OpId
    kind: str
    module: str
    reasons: tuple[str, ...]
    source_line: str

    def __str__(self) -> str:
        where = f" ({self.source_line})" if self.source_line else ""
        return f"{self.op}: {', '.join(WORDS[r] for r in self.reasons)}{where}"


def reuses(graph: ModelGraph) -> tuple[Reuse, ...]:
    """The activation calls that are reused, functional or in place, in order."""
    return tuple(
        Reuse(
            op=op.id,
            kind=op.kind,
            module=op.module,
            reasons=reasons,
            source_line=op.source_line,
        )
        for op in graph.ops
        if op.kind in _ACTIVATIONS and (reasons := _reasons(graph, op))
    )


def told(graph: ModelGraph) -> str:
    """What of it was rewritten, in one sentence; empty where nothing needed to be."""
    found = [reuse for reuse in reuses(graph) if reuse.kind in _REWRITTEN]
    if not found:
        return ""
    parts = []
    if modules := dict.fromkeys(r.module for r in found if "reused" in r.reasons):
        count = sum("reused" in r.reasons for r in found)
        parts.append(f"{count} run in modules that run more than once ({listed(modules, 3)})")
    for reason, one, many in (
        ("functional", "is a function call", "are function calls"),
        (
            "unknown",
            "is a module that captum has no rule for",
            "are modules that captum has no rule for",
        ),
        ("in_place", "writes in place", "write in place"),
    ):
        if count := sum(reason in r.reasons for r in found):
            parts.append(f"{count} {one if count == 1 else many}")
    total = sum(op.kind in _REWRITTEN for op in graph.ops)
    return f"Of {total} activations {', '.join(parts)}: each was given a module of its own."


def _reasons(graph: ModelGraph, op: Op) -> tuple[str, ...]:
    # A type's name says here no more than whether captum would hook the module.
    node = graph.module(op.module)
    reasons = []
    if node.children or not hasattr(nn, node.type_name):
        reasons.append("functional")
    else:
        if node.type_name not in HOOKED:
            reasons.append("unknown")
        if node.calls > 1:
            reasons.append("reused")
    if op.inplace:
        reasons.append("in_place")
    return tuple(reasons)
