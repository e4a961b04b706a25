"""Where ``forward`` raised, for every picture and page: one mark, one banner, one wording.

The mark is the node of the call that raised, red and with the words ``raised here``.
Where plain Python raised there is no such call, so the drawing gets a node of its own
after the last one that ran, as it gets nodes for outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from resnet_viz.core import units
from resnet_viz.core.errors import listed
from resnet_viz.core.graph import Failure, ModelGraph, Op, Ref, is_inside, refs_in
from resnet_viz.core.message import join, say
from resnet_viz.core.report import RenderOptions, Report
from resnet_viz.reporting.fonts import fit, text_width

MARK = say("raised here")
STOP = "raised#0"
"""Id of the node that marks an exception of plain Python."""

KIND = "raised"
"""Colour class of the mark; also the name of its colours in the palette."""

_NOTE, _HEIGHT, _AROUND, _MOST = 10.5, 46.0, 28.0, 340.0


def mark(node: dict[str, Any], failure: Failure) -> dict[str, Any]:
    """The drawn node of the failing call: red, higher, with the mark and what met there."""
    return node | _face(node["label"], node["w"], [units.shape(s.shape) for s in failure.inputs])


def stop_node(failure: Failure) -> dict[str, Any]:
    """The node that stands where plain Python raised."""
    name = failure.error.partition(":")[0]
    return {
        "id": STOP,
        "label": fit(name, 12.0, 200.0),
        "module": failure.module,
    } | _face(name, 120.0, [failure.source_line] if failure.source_line else [])


def _face(label: str, width: float, told: list[str]) -> dict[str, Any]:
    note = fit(join(" · ", filter(None, (MARK, listed(told, 4)))), _NOTE, _MOST)
    return {
        "kind": KIND,
        "note": note,
        "w": max(width, text_width(note, _NOTE) + _AROUND),
        "h": _HEIGHT,
    }


def in_sight(report: Report, options: RenderOptions) -> RenderOptions:
    """The options, without a focus that would leave the failure out of the picture."""
    failure = report.graph.failure
    if failure is None or not options.focus:
        return options
    ran = any(is_inside(op.module, options.focus) for op in report.graph.ops)
    inside = bool(failure.op) and is_inside(failure.module, options.focus)
    return options if ran and inside else replace(options, focus="")


def banner(graph: ModelGraph) -> dict[str, Any] | None:
    """What happened, for the top of a page; ``None`` where nothing raised.

    Returns:
        ``error``; ``rows`` of (name, texts): module, operation, source line, the tensors
        that met, hint; ``op`` to point at (the stop's id where no op raised); ``ran``.
    """
    failure = graph.failure
    if failure is None:
        return None
    rows: list[tuple[str, list[str]]] = [
        (say("Module"), [_module(graph, failure)]),
        (say("Operation"), [failure.op or say("none: plain Python raised")]),
        (say("Source line"), [failure.source_line]),
        (say("What met there") if failure.op else say("Given to it"), list(_met(graph, failure))),
        (say("Hint"), [failure.hint]),
    ]
    return {
        "error": failure.error,
        "rows": [(name, texts) for name, texts in rows if any(texts)],
        "op": failure.op or STOP,
        "ran": _ran(graph, failure),
    }


def lines(graph: ModelGraph) -> list[str]:
    """The banner as sentences, for pictures; none where nothing raised."""
    failure = graph.failure
    if failure is None:
        return []
    shapes = listed([units.shape(spec.shape) for spec in failure.inputs], 4)
    met = {"place": failure.place, "error": failure.error}
    told: list[str] = [say("forward raised {place}: {error}", **met)]
    if shapes and failure.op:
        told = [say("forward raised {place} on {shapes}: {error}", **met, shapes=shapes)]
    return [*told, say("Hint: {hint}", hint=failure.hint)] if failure.hint else told


def _ran(graph: ModelGraph, failure: Failure) -> str:
    before = len(graph) - bool(failure.op)
    if not before:
        return say("Nothing ran before it: what follows is the model, not a forward.")
    return say(
        "What follows is what ran before it: {operations}.",
        operations=units.count(before, "operation"),
    )


def _module(graph: ModelGraph, failure: Failure) -> str:
    """The module, and which call of it, where it was called more than once."""
    calls = next((m.calls for m in graph.modules if m.path == failure.module), 0)
    if calls > 1 and failure.module:
        return say("{module} (call {n})", module=failure.module, n=calls)
    return failure.module or say("the root module")


def _met(graph: ModelGraph, failure: Failure) -> Iterator[str]:
    """The tensors that met, each with where it came from: ``3×6 float32 from 1/relu#0``."""
    sources = [""] * len(failure.inputs)
    if failure.op:
        op = graph[failure.op]
        found = [_source(graph, op, ref) for ref in refs_in((op.args, tuple(op.kwargs)))]
        sources = found if len(found) == len(sources) else sources
    for spec, source in zip(failure.inputs, sources, strict=True):
        yield f"{units.shape(spec.shape)} {spec.dtype}{f' from {source}' if source else ''}"


def _source(graph: ModelGraph, op: Op, ref: Ref) -> str:
    if ref.kind == "in":
        src = graph[graph.edges_in(op.id)[int(ref.key)].src]
        return f"input {src.label}".strip() if src.kind == "input" else src.id
    return "" if ref.kind == "const" else str(ref.key)
