"""Joins, norms, products and attention: what stays place for place, and what mixes places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from resnet_viz.analysis.reach.arguments import numbers
from resnet_viz.analysis.reach.axes import gone
from resnet_viz.analysis.reach.values import Operand, Role, Rule, Step, Value, unknown
from resnet_viz.core.graph import ModelGraph, Op


def elementwise(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    """Each place from the same place of every operand; what has no places goes to all."""
    rank = len(op.shape)
    roles: list[Role] = [""] * rank
    grid, merged = None, 0
    for operand in operands:
        value = operand.value
        if not value.spatial:
            continue
        ahead = rank - len(value.roles)
        if ahead < 0:
            return unknown()
        for i, role in enumerate(value.roles, ahead):
            if role and roles[i] not in ("", role):
                return unknown()
            roles[i] = role or roles[i]
        grid, merged = grid or value.grid, merged or value.merged
        # A map of one place spreads over another's places.
        if value.grid != grid:
            return unknown()
    return Step(value=Value(roles=tuple(roles), grid=grid, merged=merged))


def _joined(graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    axis = op.argument(1, "dim", 0)
    mapped = [o.value for o in operands if o.value.spatial]
    if not isinstance(axis, int) or len({(v.roles, v.grid) for v in mapped}) != 1:
        return elementwise(graph, op, operands) if not mapped else unknown()
    # Tokens put before or behind the places leave each place what it is.
    ok = mapped[0].roles[axis] in ("", "hw")
    return Step(value=mapped[0]) if ok else unknown()


def _stacked(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    axis = op.argument(1, "dim", 0)
    mapped = [o.value for o in operands if o.value.spatial]
    if not isinstance(axis, int) or len({(v.roles, v.grid) for v in mapped}) != 1:
        return unknown()
    roles = list(mapped[0].roles)
    roles.insert(axis % (len(roles) + 1), "")
    return Step(value=replace(mapped[0], roles=tuple(roles)))


def _reduced(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    value = operands[0].value
    rank = len(value.roles)
    dims = op.argument(1, "dim")
    axes = {d % rank for d in numbers(dims if isinstance(dims, tuple) else (dims,))}
    axes = axes or set(range(rank))
    made = gone(value, axes)
    if len(op.shape) != rank or not made.value.known:
        return made
    roles = tuple("" if i in axes else role for i, role in enumerate(value.roles))
    return Step(value=replace(made.value, roles=roles))


def _normed(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    value = operands[0].value
    if op.kind == "batch_norm":
        over = op.argument(5, "training", False) is True
    elif op.kind in ("layer_norm", "rms_norm"):
        shape = op.argument(1, "normalized_shape")
        count = len(shape) if isinstance(shape, tuple) else 1
        over = any(value.roles[len(value.roles) - count :])
    else:
        over = op.kind != "local_response_norm"
    return Step(value=replace(value, whole=value.whole or over))


def _linear(_graph: ModelGraph, _op: Op, operands: Sequence[Operand]) -> Step:
    return _contracted(operands[0].value, -1) if len(operands) == 1 else unknown()


def _contracted(value: Value, axis: int) -> Step:
    """After a weight matrix along an axis: its places, if it has any, are mixed."""
    roles = list(value.roles)
    mixes, roles[axis] = bool(roles[axis]), ""
    whole = value.whole or mixes
    if mixes and any(roles):
        return unknown()
    return Step(value=replace(value, roles=tuple(roles), whole=whole))


def _product(_graph: ModelGraph, _op: Op, operands: Sequence[Operand]) -> Step:
    if len(operands) == 1:
        return _contracted(operands[0].value, -1 if operands[0].slot == 0 else -2)
    left, right = operands[:2]
    if min(len(left.value.roles), len(right.value.roles)) < 2 or len(operands) > 2:
        return unknown()
    roles = (*left.value.roles[:-1], right.value.roles[-1])
    grid = left.value.grid or right.value.grid
    value = Value(roles=roles, grid=grid, whole=True)
    return Step(value=value, reads={left.slot: None, right.slot: None})


def _attended(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    query = operands[0]
    if query.slot != 0 or len(op.shape) != len(query.value.roles):
        return unknown()
    value = replace(query.value, whole=True)
    return Step(value=value, reads={o.slot: None for o in operands})


def _along(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    """Functions that keep the shape and mix along one axis."""
    value = operands[0].value
    axis = op.argument(1, "dim", -1)
    mixes = not isinstance(axis, int) or bool(value.roles[axis])
    if not mixes:
        return Step(value=value)
    return Step(value=replace(value, whole=True), reads={operands[0].slot: None})


MIXING: dict[str, Rule] = {
    "cat": _joined,
    "stack": _stacked,
    **dict.fromkeys(("mean", "sum", "amax", "amin", "var", "std"), _reduced),
    **dict.fromkeys(("batch_norm", "layer_norm", "rms_norm"), _normed),
    **dict.fromkeys(("group_norm", "instance_norm", "local_response_norm"), _normed),
    "linear": _linear,
    **dict.fromkeys(("matmul", "bmm"), _product),
    **dict.fromkeys(("scaled_dot_product_attention", "multi_head_attention_forward"), _attended),
    **dict.fromkeys(("softmax", "log_softmax"), _along),
}
