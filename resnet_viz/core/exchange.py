"""A graph or a report as a fresh ``networkx.MultiDiGraph``, for everybody else's tools.

Nodes are ``OpId`` texts, edges carry their slots. All attributes are plain
scalars and none is ``None``, so that GraphML takes the result as it is. What is no
scalar is JSON text. ``foreign.from_networkx`` reads all of it back.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from resnet_viz.core.graph import Edge, Failure, ModelGraph, Op
from resnet_viz.core.report import Report
from resnet_viz.core.schema import part_to_text
from resnet_viz.core.structure import Skip, Structure

if TYPE_CHECKING:
    import networkx as nx


def to_networkx(value: ModelGraph | Report) -> nx.MultiDiGraph:
    """The ops as nodes and the tensors between them as edges.

    Nodes of a graph: ``index`` (in the order they ran), ``is_input``, ``kind, target,
    module, shape, dtype`` (of the first output), ``params, macs, flops`` (-1 where
    unknown), ``inplace, source_line, label``; as JSON text ``args, kwargs, outputs,
    parameters``, and ``returned`` (place, name and slot of what ``forward`` returned of
    it). The graph: ``name, mode, why`` and, as JSON text, ``modules, warnings``. Edges:
    ``out_slot, in_slot, shape``. A report adds ``block`` (the join of
    the innermost one; empty for none), ``block_kind``, ``squeeze``, ``stage``,
    ``activation_bytes``, ``saved_bytes`` (for the backward; -1 where not measured) and,
    where measured, ``grad_l2``, ``grad_rms``, ``param_grad_l2``, ``relevance`` and
    ``relevance_absolute`` to nodes; to edges ``relevance`` (of an operand of a join),
    ``skip`` (``fork->join``; empty for none), ``skip_kind`` and, where measured,
    ``share`` (of the gradient at ``src`` that ``dst`` sends back). Where ``forward``
    raised, the graph has ``failure`` (the exception), ``failure_op``, ``failure_module``,
    ``failure_source_line``, ``failure_hint`` and ``failure_inputs``, and every node says
    if it ``raised``.

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
    out = nx.MultiDiGraph(
        name=graph.name,
        mode=graph.how.mode,
        why=graph.how.why,
        modules=part_to_text(graph.modules),
        warnings=part_to_text(graph.warnings),
    )
    returned: dict[str, list[tuple[int, str, int]]] = {}
    for place, output in enumerate(graph.outputs):
        returned.setdefault(output.src, []).append((place, output.name, output.out_slot))
    for index, op in enumerate(graph.nodes()):
        data = {"index": index, "is_input": index < len(graph.inputs), **_node(op)}
        out.add_node(str(op.id), **data, returned=json.dumps(returned.get(op.id, [])))
    for edge in graph.edges:
        out.add_edge(
            str(edge.src),
            str(edge.dst),
            key=_key(edge),
            out_slot=edge.out_slot,
            in_slot=edge.in_slot,
            shape=_shape(graph[edge.src], edge.out_slot),
        )
    if graph.failure is not None:
        _add_failure(out, graph.failure)
    if report is not None:
        _add_structure(out, graph, report.structure)
        _add_gradients(out, report)
        _add_relevance(out, report)
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
        "flops": -1 if op.macs is None else 2 * op.macs,
        "inplace": op.inplace,
        "source_line": op.source_line,
        "label": op.label,
        "args": part_to_text(op.args),
        "kwargs": part_to_text(op.kwargs),
        "outputs": part_to_text(op.outputs),
        "parameters": part_to_text(op.parameters),
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


def _add_relevance(out: nx.MultiDiGraph, report: Report) -> None:
    relevance = report.attributions.relevance if report.attributions else None
    for row in relevance.ops if relevance else ():
        if row.op in out:
            out.nodes[row.op]["relevance"] = float(row.amount.signed)
            out.nodes[row.op]["relevance_absolute"] = float(row.amount.absolute)
    for operand in relevance.operands if relevance else ():
        for key, data in (out.get_edge_data(operand.src, operand.join) or {}).items():
            if key.endswith(f">{operand.in_slot}"):
                data["relevance"] = float(operand.amount.signed)


def _add_failure(out: nx.MultiDiGraph, failure: Failure) -> None:
    out.graph |= {
        "failure": failure.error,
        "failure_op": str(failure.op),
        "failure_module": failure.module,
        "failure_source_line": failure.source_line,
        "failure_hint": failure.hint,
        "failure_inputs": part_to_text(failure.inputs),
    }
    for op, data in out.nodes(data=True):
        data["raised"] = op == failure.op


def _add_structure(out: nx.MultiDiGraph, graph: ModelGraph, structure: Structure) -> None:
    for _, data in out.nodes(data=True):
        data |= {"block": "", "block_kind": "", "squeeze": 1.0, "stage": ""}
        data |= {"activation_bytes": 0, "saved_bytes": -1}
    for cost in structure.costs.ops:
        if cost.key in out:
            data = out.nodes[cost.key]
            data["activation_bytes"] = cost.activation_bytes
            data["saved_bytes"] = -1 if cost.saved_bytes is None else cost.saved_bytes
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
