"""Ops as the nodes of a diagram: label, colour class, size and numbers."""

from __future__ import annotations

from typing import Any

from resnet_viz.core import units
from resnet_viz.core.graph import Op
from resnet_viz.core.message import say
from resnet_viz.core.report import Report
from resnet_viz.core.structure import Skip
from resnet_viz.reporting.drawing.extents import PLAIN, Extents
from resnet_viz.reporting.drawing.formulas import formula_of
from resnet_viz.reporting.drawing.labels import kernel_of, op_class, op_label
from resnet_viz.reporting.fonts import fit, text_width
from resnet_viz.reporting.raised import mark

_FONT, _WIDTH, _MOST, _AROUND = 12.0, 120.0, 260.0, 34.0
_JOINT = 22.0  # room of the sign of a join, at the right end of its box
_SHAPE_OPS = frozenset(
    [
        "reshape",
        "view",
        "permute",
        "transpose",
        "flatten",
        "unflatten",
        "getitem",
        "expand",
        "unbind",
        "chunk",
        "split",
        "squeeze",
        "unsqueeze",
        "contiguous",
        "movedim",
        "stack",
        "pad",
        "roll",
        "narrow",
        "select",
        "to",
        "float",
    ]
)


def node_of(report: Report, op: Op, context: bool, extents: Extents) -> dict[str, Any]:
    """One op; ``context`` for one that only feeds what is drawn."""
    kind = "io" if context else _kind(report, op)
    label = op_label(report.graph, op)
    if context and op.kind != "input":
        label = f"from {op.id.rpartition('/')[0] or op.id}"
    label = fit(label, _FONT, _MOST - _AROUND, tail=context)
    node: dict[str, Any] = {
        "id": str(op.id),
        "label": label,
        "kind": kind,
        "module": op.module,
        "w": max(extents.width(op.id) or _WIDTH, text_width(label, _FONT) + _AROUND),
        "h": extents.height(op.id),
    }
    if op.outputs:
        node["shape"] = units.shape(op.shape)
    if op.params:
        node["params"] = op.params
    if op.macs or op.macs is None:
        node["macs"] = op.macs or 0
    if op.macs is None:
        node["uncounted"] = 1
    stats = report.gradient_flow.get(op.id) if report.gradient_flow else None
    if stats is not None:
        node |= {"l2": stats.l2, "rms": stats.rms}
    failure = report.graph.failure
    return mark(node, failure) if failure is not None and op.id == failure.op else node


def output_of(k: int, report: Report, name: str, src: str) -> dict[str, Any]:
    """The ``k``-th output of the model, as a node of its own: ``output#k``."""
    label = fit(name or say("output"), _FONT, _MOST - _AROUND)
    return {
        "id": f"output#{k}",
        "label": label,
        "kind": "io",
        "module": "",
        "shape": units.shape(report.graph[src].shape),
        "w": max(_WIDTH, text_width(label, _FONT) + _AROUND),
        "h": PLAIN,
    }


def mark_join(node: dict[str, Any], report: Report, skip: Skip, written: bool) -> None:
    """Gives the node where a skip joins its sign, and what to write there as a formula.

    ``formula`` is written in place of the label where formulas are asked for (``written``);
    ``other`` is the width for the other case.
    """
    formula = formula_of(report.graph, skip).join
    node |= {"join": skip.kind, "formula": formula}
    wide = [
        max(node["w"], text_width(text, _FONT) + _AROUND + _JOINT)
        for text in (node["label"], formula)
    ]
    node |= {"w": wide[written], "other": {"w": wide[not written]}}


def _kind(report: Report, op: Op) -> str:
    """The colour class: finer than the charts' where ops stand side by side."""
    kind = op_class(report.graph, op)
    if kind == "join":
        return op.kind
    if kind == "conv3":
        return "conv3" if set(kernel_of(report.graph, op)) == {3} else "conv"
    if "attention" in op.kind or op.kind in ("softmax", "matmul", "bmm"):
        return "attention"
    return "shape" if kind == "other" and op.kind.strip("_") in _SHAPE_OPS else kind
