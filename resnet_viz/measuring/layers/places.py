"""Modules by what they give out: which op's value is a module's output."""

from __future__ import annotations

from collections.abc import Iterator

from resnet_viz.core.graph import ModelGraph, OpId


def outputs_of_modules(graph: ModelGraph) -> dict[OpId, tuple[str, ...]]:
    """Paths of modules that run once and give one op's value to the rest; outermost first.

    The root, whose output is the model's, is left out.
    """
    exits: dict[str, set[tuple[OpId, int]]] = {}
    for op in graph.ops:
        around = list(_around(op.module))
        for edge in graph.edges_out(op.id):
            inside = set(_around(graph[edge.dst].module))
            for path in around:
                if path not in inside:
                    exits.setdefault(path, set()).add((op.id, edge.out_slot))
    for output in graph.outputs:
        for path in _around(graph[output.src].module):
            exits.setdefault(path, set()).add((output.src, output.out_slot))
    found: dict[OpId, list[str]] = {}
    for path in sorted(exits, key=lambda p: p.count(".")):
        if len(exits[path]) == 1 and graph.module(path).calls == 1:
            ((op_id, slot),) = exits[path]
            if slot == 0:
                found.setdefault(op_id, []).append(path)
    return {op: tuple(paths) for op, paths in found.items()}


def output_of_module(graph: ModelGraph, path: str) -> OpId | None:
    """The op whose value a module gives out, by any of its paths; ``None`` where not one."""
    first = {alias: node.path for node in graph.modules for alias in node.aliases}.get(path, path)
    outputs = outputs_of_modules(graph)
    return next((op for op, paths in outputs.items() if first in paths), None)


def _around(module: str) -> Iterator[str]:
    """A module's path and those of the modules around it, but not the root's."""
    while module:
        yield module
        module = module.rpartition(".")[0]
