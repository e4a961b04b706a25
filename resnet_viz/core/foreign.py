"""Graphs that come back from networkx, or from other people's tools by way of it.

What ``exchange.to_networkx`` wrote is read back whole, also through GraphML. A graph
drawn by hand needs no more than a ``kind`` on every node: the rest has defaults, and
attributes of other tools are passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from resnet_viz.core.errors import UserError, one_line
from resnet_viz.core.graph import (
    Edge,
    Failure,
    GraphOutput,
    How,
    ModelGraph,
    ModuleNode,
    Op,
    OpId,
    ParameterSpec,
    Ref,
    TensorSpec,
    module_of,
)
from resnet_viz.core.schema import part_from_text

if TYPE_CHECKING:
    import networkx as nx

_Data = Mapping[str, Any]
_NUMBER = re.compile(r"\d+")


def from_networkx(graph: nx.DiGraph) -> ModelGraph:
    """The graph of a model in a directed networkx graph.

    ``from_networkx(graph.to_networkx()) == graph``, also through ``nx.write_graphml`` and
    ``nx.read_graphml`` and from the ``graphml`` of a report. For graphs of other tools a
    node needs its ``kind`` (``conv2d``, ``add``, ``input``, …); it may have any of the
    attributes that ``to_networkx`` documents. Without ``outputs``, ``shape`` is
    ``"[1, 8, 4, 4]"`` or ``1x8x4x4`` and ``dtype`` float32; without ``parameters`` a node
    with ``params`` has one; without ``index`` the order is that of the nodes if all edges
    go forward in it, else a topological one; without ``in_slot`` edges come in the
    order they were added.

    Raises:
        UserError: If it is no directed acyclic graph, or an attribute cannot be read.
    """
    import networkx as nx

    if not isinstance(graph, nx.DiGraph):
        raise UserError(
            f"a directed networkx graph is needed, not {type(graph).__name__}: "
            "make an nx.DiGraph or nx.MultiDiGraph"
        )
    names = _in_order(graph)
    nodes = {name: cast("_Data", graph.nodes[name]) for name in names}
    edges = _edges(graph, names)
    slots: dict[str, int] = {}
    for edge in edges:
        slots[edge.dst] = slots.get(edge.dst, 0) + 1
    ops = {name: _op(str(name), nodes[name], slots.get(str(name), 0)) for name in names}
    try:
        return ModelGraph(
            name=str(graph.graph.get("name", "graph")),
            ops=tuple(op for name, op in ops.items() if not _is_input(nodes[name])),
            edges=tuple(edges),
            modules=_modules(graph.graph, ops.values()),
            inputs=tuple(op for name, op in ops.items() if _is_input(nodes[name])),
            outputs=_outputs(nodes, {edge.src for edge in edges}),
            failure=_failure(graph.graph),
            how=_how(graph.graph),
            warnings=_text(graph.graph, "the graph", "warnings", ModelGraph, "warnings", ()),
        )
    except ValueError as error:
        raise UserError(f"no graph of a model: {one_line(error)}") from error


def _in_order(graph: nx.DiGraph) -> list[Any]:
    import networkx as nx

    names = list(graph)
    if len({str(name) for name in names}) < len(names):
        raise UserError("two nodes have the same name as text: rename one of them")
    if all("index" in data for _, data in graph.nodes(data=True)):
        names.sort(key=lambda name: _number(graph.nodes[name], name, "index", 0))
    else:
        names.sort(key=lambda name: not _is_input(graph.nodes[name]))
    place = {name: i for i, name in enumerate(names)}
    if all(place[a] < place[b] for a, b in graph.edges()):
        return names
    try:
        return list(nx.lexicographical_topological_sort(graph, key=place.__getitem__))
    except nx.NetworkXUnfeasible as error:
        cycle = nx.find_cycle(graph)
        raise UserError(
            f"the graph has a cycle through {str(cycle[0][0])!r}: what ran has none; "
            "make one node per call"
        ) from error


def _is_input(data: _Data) -> bool:
    return bool(data.get("is_input", data.get("kind") == "input"))


def _edges(graph: nx.DiGraph, names: list[Any]) -> list[Edge]:
    place = {name: i for i, name in enumerate(names)}
    found: list[tuple[int, Edge]] = []
    taken: dict[Any, int] = {}
    for src, dst, data in graph.edges(data=True):
        where = f"the edge from {src} to {dst}"
        slot = _number(data, where, "in_slot", taken.get(dst, 0))
        taken[dst] = max(taken.get(dst, 0), slot + 1)
        out = _number(data, where, "out_slot", 0)
        found.append(
            (place[dst], Edge(src=OpId(str(src)), out_slot=out, dst=OpId(str(dst)), in_slot=slot))
        )
    return [edge for _, edge in sorted(found, key=lambda pair: (pair[0], pair[1].in_slot))]


def _op(name: str, data: _Data, slots: int) -> Op:
    kind = data.get("kind")
    if not isinstance(kind, str) or not kind:
        raise UserError(
            f"node {name!r} has no kind: give every node one, as in "
            "nx.set_node_attributes(graph, {...}, 'kind')"
        )
    params = _number(data, name, "params", 0)
    macs = _number(data, name, "macs", 0)
    given = tuple(Ref(kind="in", key=slot) for slot in range(slots))
    owned = (f"{name}.weight",) if params else ()
    return Op(
        id=OpId(name),
        kind=kind,
        target=str(data.get("target", kind)),
        module=str(data.get("module", module_of(OpId(name)))),
        args=_text(data, name, "args", Op, "args", given),
        kwargs=_text(data, name, "kwargs", Op, "kwargs", ()),
        outputs=_text(data, name, "outputs", Op, "outputs", _shaped(data)),
        inplace=bool(data.get("inplace", False)),
        parameters=_text(data, name, "parameters", Op, "parameters", owned),
        params=params,
        macs=None if macs < 0 else macs,
        source_line=str(data.get("source_line", "")),
        label=str(data.get("label", "")),
    )


def _shaped(data: _Data) -> tuple[TensorSpec, ...]:
    shape = tuple(int(size) for size in _NUMBER.findall(str(data.get("shape", ""))))
    return (TensorSpec(shape=shape, dtype=str(data.get("dtype") or "float32")),)


def _number(data: _Data, where: object, key: str, default: int) -> int:
    value = data.get(key, default)
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"{key} of {where} is {value!r}: a whole number is needed") from error


def _text(data: _Data, where: str, key: str, owner: type, field: str, default: object) -> Any:
    if key not in data:
        return default
    try:
        return part_from_text(data[key], owner, field)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{key} of {where} cannot be read ({one_line(error)}): JSON text as to_networkx "
            "writes it is needed, or no such attribute"
        ) from error


def _how(data: _Data) -> How:
    mode = data.get("mode")
    return How(mode=mode if mode in ("meta", "fake") else "real", why=str(data.get("why", "")))


def _modules(data: _Data, ops: Iterable[Op]) -> tuple[ModuleNode, ...]:
    if "modules" in data:
        found: tuple[ModuleNode, ...] = _text(
            data, "the graph", "modules", ModelGraph, "modules", ()
        )
        return found
    owned: dict[str, list[ParameterSpec]] = {"": []}
    for op in ops:
        path = op.module
        while path not in owned:
            owned[path] = []
            path = path.rpartition(".")[0]
        if op.params and op.parameters:
            spec = TensorSpec(shape=(op.params,), dtype="float32")
            owned[op.module].append(ParameterSpec(name=op.parameters[0], spec=spec))
    children: dict[str, list[str]] = {path: [] for path in owned}
    for path in sorted(owned)[1:]:
        children[path.rpartition(".")[0]].append(path)
    return tuple(
        ModuleNode(
            path=path,
            type_name="Module",
            children=tuple(children[path]),
            parameters=tuple(owned[path]),
        )
        for path in sorted(owned)
    )


def _outputs(nodes: Mapping[Any, _Data], used: set[OpId]) -> tuple[GraphOutput, ...]:
    if not any("returned" in data for data in nodes.values()):
        ends = [OpId(str(name)) for name, data in nodes.items() if not _is_input(data)]
        return tuple(GraphOutput(name=end, src=end) for end in ends if end not in used)
    places: list[tuple[int, GraphOutput]] = []
    for name, data in nodes.items():
        try:
            for place, label, slot in json.loads(data.get("returned", "[]")):
                output = GraphOutput(name=label, src=OpId(str(name)), out_slot=slot)
                places.append((place, output))
        except (ValueError, TypeError) as error:
            raise UserError(f"returned of {name} cannot be read: {one_line(error)}") from error
    return tuple(output for _, output in sorted(places, key=lambda pair: pair[0]))


def _failure(data: _Data) -> Failure | None:
    if "failure" not in data:
        return None
    return Failure(
        error=str(data["failure"]),
        op=OpId(str(data.get("failure_op", ""))),
        module=str(data.get("failure_module", "")),
        source_line=str(data.get("failure_source_line", "")),
        inputs=_text(data, "the graph", "failure_inputs", Failure, "inputs", ()),
        hint=str(data.get("failure_hint", "")),
    )
