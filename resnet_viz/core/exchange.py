"""A graph or a report as a fresh ``networkx.MultiDiGraph``, for everybody else's tools.

Nodes are ``OpId`` texts, edges carry their slots. All attributes are plain
scalars and none is ``None``, so that GraphML takes the result as it is.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from resnet_viz.core.graph import Edge, ModelGraph, Op
from resnet_viz.core.report import Report
from resnet_viz.core.structure import Skip, Structure

if TYPE_CHECKING:
    import networkx as nx


def to_networkx(value: ModelGraph | Report) -> nx.MultiDiGraph:
    """The ops as nodes and the tensors between them as edges.

    Nodes of a graph: ``kind, target, module, shape, dtype, params, macs`` (-1 where
    unknown), ``inplace, source_line, label``. A report adds ``block`` (the join of the
    innermost one; empty for none), ``block_kind``, ``squeeze``, ``stage`` and, where
    measured, ``grad_l2``, ``grad_rms``, ``param_grad_l2`` to nodes; to edges ``skip``
    (``fork->join``; empty for none), ``skip_kind`` and, where measured, ``share`` (of
    the gradient at ``src`` that ``dst`` sends back).

    Raises:
        TypeError: For anything but a ``ModelGraph`` or a ``Report``.
    """
    import networkx as nx

    if isinstance(value, ModelGraph):
        graph, report = value, None
    elif isinstance(value, Report):
        graph, report = value.graph, value
    else:
        raise TypeError(f"expected a ModelGraph or a Report, not {type(value).__name__}")
    out = nx.MultiDiGraph(name=graph.name)
    for op in graph.nodes():
        out.add_node(str(op.id), **_node(op))
    for edge in graph.edges:
        out.add_edge(
            str(edge.src),
            str(edge.dst),
            key=_key(edge),
            out_slot=edge.out_slot,
            in_slot=edge.in_slot,
            shape=_shape(graph[edge.src], edge.out_slot),
        )
    if report is not None:
        _add_structure(out, graph, report.structure)
        _add_gradients(out, report)
    return out


def _key(edge: Edge) -> str:
    return f"{edge.out_slot}>{edge.in_slot}"


def _node(op: Op) -> dict[str, Any]:
    return {
        "kind": op.kind,
        "target": op.target,
        "module": op.module,
        "shape": _shape(op, 0),
        "dtype": op.outputs[0].dtype if op.outputs else "",
        "params": op.params,
        "macs": -1 if op.macs is None else op.macs,
        "inplace": op.inplace,
        "source_line": op.source_line,
        "label": op.label,
    }


def _shape(op: Op, slot: int) -> str:
    return json.dumps(op.outputs[slot].shape) if slot < len(op.outputs) else "[]"


def skip_edges(graph: ModelGraph, structure: Structure) -> dict[Edge, Skip]:
    """The edges that shortcuts run over, each with its skip.

    Where the shortcut of one skip runs over that of another, an edge of both has the
    one whose join comes first.
    """
    marks: dict[Edge, Skip] = {}
    for skip in structure.skips:
        way = {skip.fork, *skip.shortcut}
        for op in (*skip.shortcut, skip.join):
            for edge in graph.edges_in(op):
                if edge.src in way:
                    marks.setdefault(edge, skip)
    return marks


def _add_structure(out: nx.MultiDiGraph, graph: ModelGraph, structure: Structure) -> None:
    for _, data in out.nodes(data=True):
        data |= {"block": "", "block_kind": "", "squeeze": 1.0, "stage": ""}
    for op, block in structure.block_of().items():
        out.nodes[op]["block"] = str(block.skip.join)
        out.nodes[op]["block_kind"] = block.title
        out.nodes[op]["squeeze"] = float(block.squeeze)
    for stage in structure.stages:
        for op in stage.ops:
            out.nodes[op]["stage"] = stage.name
    marks = skip_edges(graph, structure)
    for edge in graph.edges:
        mark = marks.get(edge)
        data = out.edges[edge.src, edge.dst, _key(edge)]
        data["skip"] = mark.id if mark else ""
        data["skip_kind"] = mark.kind if mark else ""


def _add_gradients(out: nx.MultiDiGraph, report: Report) -> None:
    flow = report.gradient_flow
    if flow is None:
        return
    for call in flow.calls:
        if call.op in out:
            out.nodes[call.op]["grad_l2"] = call.stats.l2
            out.nodes[call.op]["grad_rms"] = call.stats.rms
    for op in report.graph.ops:
        found = [s.l2 for p in op.parameters if (s := flow.get(p))]
        if found:
            out.nodes[op.id]["param_grad_l2"] = sum(x * x for x in found) ** 0.5
    shares = {(s.src, s.dst): s.share for s in flow.shares}
    for src, dst, data in out.edges(data=True):
        if (src, dst) in shares:
            data["share"] = shares[src, dst]
