"""Where two graphs of one model first differ, in one line that names the op."""

from __future__ import annotations

from dataclasses import fields
from itertools import zip_longest

from resnet_viz.core.errors import spelled
from resnet_viz.core.graph import Edge, ModelGraph, ModuleNode, Op

_LONGEST = 80


def first_difference(given: ModelGraph, traced: ModelGraph) -> str:
    """The first difference, by position; empty where the graphs are equal."""
    pairs = zip_longest(given.nodes(), traced.nodes())
    for one, other in pairs:
        if one != other:
            return _op_difference(given, traced, one, other)
        if one is not None and given.edges_in(one.id) != traced.edges_in(one.id):
            return _edge_difference(one, given.edges_in(one.id), traced.edges_in(one.id))
    for mine, its in zip_longest(given.modules, traced.modules):
        if mine != its:
            return _module_difference(mine, its)
    for out, again in zip_longest(given.outputs, traced.outputs):
        if out != again:
            names = [
                f"{o.name or 'the result'!s} from {o.src!r}" if o else "none" for o in (out, again)
            ]
            return f"an output is {names[0]} in the graph, {names[1]} when traced again"
    return "" if given == traced else "the graphs differ in name or order"


def _op_difference(given: ModelGraph, traced: ModelGraph, one: Op | None, other: Op | None) -> str:
    if one is not None and (other is None or one.id != other.id) and one.id not in traced:
        return f"{one.id!r} is in the graph and did not run when traced again"
    if other is not None and (one is None or one.id != other.id) and other.id not in given:
        return f"{other.id!r} ran when traced again and is not in the graph"
    if one is None or other is None or one.id != other.id:
        names = [repr(op.id) if op else "nothing" for op in (one, other)]
        return f"{names[0]} stands where {names[1]} ran when traced again"
    return f"{one.id!r}: {_field(one, other)}"


def _edge_difference(op: Op, mine: tuple[Edge, ...], its: tuple[Edge, ...]) -> str:
    for slot, (one, other) in enumerate(zip_longest(mine, its)):
        if one != other:
            names = [f"{e.src!r} (output {e.out_slot})" if e else "nowhere" for e in (one, other)]
            return (
                f"{op.id!r}: input {slot} comes from {names[0]} in the graph, "
                f"from {names[1]} when traced again"
            )
    raise AssertionError("the edges are equal")


def _module_difference(one: ModuleNode | None, other: ModuleNode | None) -> str:
    if one is None or other is None or one.path != other.path:
        names = [repr(m.path) if m else "none" for m in (one, other)]
        return f"a module is {names[0]} in the graph, {names[1]} when traced again"
    return f"module {one.path!r}: {_field(one, other)}"


def _field(one: Op | ModuleNode, other: Op | ModuleNode) -> str:
    for field in fields(one):
        name, mine, its = field.name, getattr(one, field.name), getattr(other, field.name)
        if mine != its:
            if name == "kwargs" and [k for k, _ in mine] == [k for k, _ in its]:
                name = next(k for (k, a), (_, b) in zip(mine, its, strict=True) if a != b)
                mine, its = dict(mine)[name], dict(its)[name]
            mine, its = _first_unequal(mine, its)
            return f"{name} is {_short(mine)} in the graph, {_short(its)} when traced again"
    raise AssertionError("the values are equal")


def _first_unequal(mine: object, its: object) -> tuple[object, object]:
    """The first two unequal parts of trees of tuples that have the same form so far."""
    if isinstance(mine, tuple) and isinstance(its, tuple) and len(mine) == len(its):
        pairs = zip(mine, its, strict=True)
        return next(_first_unequal(one, other) for one, other in pairs if one != other)
    return mine, its


def _short(value: object) -> str:
    text = spelled(repr(value))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
