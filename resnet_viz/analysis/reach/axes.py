"""Views: where rows and columns lie afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from resnet_viz.analysis.kinds import MAYBE_VIEWS
from resnet_viz.analysis.reach.arguments import numbers
from resnet_viz.analysis.reach.values import (
    Operand,
    Reach,
    Role,
    Rule,
    Step,
    Value,
    same,
    unknown,
    window,
)
from resnet_viz.core.graph import ModelGraph, Op, Ref


def grid_of(roles: Sequence[Role], shape: Sequence[int]) -> tuple[int, int] | None:
    """Sizes of the axes of rows and of columns, where there are both."""
    if "h" in roles and "w" in roles:
        return shape[roles.index("h")], shape[roles.index("w")]
    return None


def _permuted(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    value = operands[0].value
    rank = len(value.roles)
    order = list(range(rank))
    if op.kind == "permute":
        dims = op.argument(1, "dims")
        order = list(numbers(dims if isinstance(dims, tuple) else op.args[1:]))
    elif op.kind in ("transpose", "swapaxes", "swapdims"):
        a, b = numbers((op.argument(1, "dim0"), op.argument(2, "dim1"))) or (0, 0)
        order[a], order[b] = order[b], order[a]
    elif op.kind in ("mT", "mH", "adjoint", "t", "T", "H"):
        order = order if rank < 2 else [*order[:-2], rank - 1, rank - 2]
    else:
        return unknown()
    if len(order) != rank:
        return unknown()
    return Step(value=replace(value, roles=tuple(value.roles[i] for i in order)))


def _regrouped(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    given = operands[0]
    found = _roles_after(given, op.shape)
    if found is None:
        return unknown()
    roles, merged = found
    return Step(value=replace(given.value, roles=roles, merged=merged))


def _roles_after(given: Operand, shape: tuple[int, ...]) -> tuple[tuple[Role, ...], int] | None:
    """Roles of the axes in another shape, and ``merged``; axes of size 1 play no role."""
    value = given.value
    old = [(s, r) for s, r in zip(given.shape, value.roles, strict=True) if s > 1]
    new = [(i, size) for i, size in enumerate(shape) if size > 1]
    roles: list[Role] = [""] * len(shape)
    merged = value.merged
    while old or new:
        taken, places = [old.pop(0)] if old else [], [new.pop(0)] if new else []
        while (left := math.prod(s for s, _ in taken)) != (
            right := math.prod(s for _, s in places)
        ):
            if left < right and old:
                taken.append(old.pop(0))
            elif left > right and new:
                places.append(new.pop(0))
            else:
                return None
        found = _group([r for _, r in taken], [s for _, s in places], value)
        if found is None:
            return None
        if found == ["all"] and len(taken) > 1:
            tokens = [s for s, r in taken if r == "hw"]
            alone = len(tokens) == sum(bool(r) for _, r in taken) == 1
            merged = tokens[0] if alone else 0
        for (i, _), role in zip(places, found, strict=True):
            roles[i] = role
    return tuple(roles), merged


def _group(roles: list[Role], sizes: list[int], value: Value) -> list[Role] | None:
    """Roles of axes that were made of others."""
    if not any(roles):
        return [""] * len(sizes)
    if len(roles) == len(sizes) == 1:
        return roles
    if roles == ["h", "w"] and len(sizes) == 1:
        return ["hw"]
    if roles == ["hw"] and tuple(sizes) == value.grid:
        return ["h", "w"]
    if roles == ["all"] and sizes.count(value.merged) == 1:
        return ["hw" if size == value.merged else "" for size in sizes]
    return ["all"] if len(sizes) == 1 else None


def _expanded(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    value = operands[0].value
    none: tuple[Role, ...] = ("",)
    ahead = none * (len(op.shape) - len(value.roles))
    return Step(value=replace(value, roles=(*ahead, *value.roles)))


def _cut(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    """Parts along an axis that is none of places, each with all axes."""
    value = operands[0].value
    axis = op.argument(1 if op.kind in ("narrow", "index_select") else 2, "dim", 0)
    if not isinstance(axis, int) or value.roles[axis] not in ("", "hw"):
        return unknown()
    return Step(value=value)


def _picked(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    """One of an axis, which is gone then."""
    value = operands[0].value
    axis = op.argument(1, "dim", 0)
    if not isinstance(axis, int) or not value.roles:
        return unknown()
    return gone(value, {axis % len(value.roles)})


def gone(value: Value, axes: set[int]) -> Step:
    """Without these axes; what is left of one place or pooled is no map any more."""
    roles = tuple(r for i, r in enumerate(value.roles) if i not in axes)
    if not any(value.roles[i] for i in axes):
        return Step(value=replace(value, roles=roles))
    if any(roles):
        return unknown()
    return Step(value=Value(roles=roles, whole=True))


def _indexed(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    (given, *others) = operands
    value, index = given.value, op.argument(1, "index")
    items = list(index) if isinstance(index, tuple) else [index]
    if others or any(isinstance(i, Ref | tuple | bool) for i in items):
        return unknown()
    if "..." in items:
        at = items.index("...")
        named = sum(i is not None for i in items) - 1
        items[at : at + 1] = [":"] * (len(value.roles) - named)
    items += [":"] * (len(value.roles) - sum(i is not None for i in items))
    roles: list[Role] = []
    reach: dict[Role, Reach] = {"h": same, "w": same}
    axis = 0
    picked: set[int] = set()
    for item in items:
        if item is None:
            roles.append("")
            continue
        if isinstance(item, str):
            role, size = value.roles[axis], given.shape[axis]
            roles.append(role)
            if role in reach:
                start, _, step = _slice(item).indices(size)
                reach[role] = window(1, step, -start, 1)
        else:
            picked.add(axis)
        axis += 1
    if any(value.roles[i] for i in picked):
        return gone(value, picked) if not any(roles) else unknown()
    grid = grid_of(roles, op.shape) or value.grid
    made = replace(value, roles=tuple(roles), grid=grid)
    return Step(value=made, reads={given.slot: (reach["h"], reach["w"])})


def _slice(text: str) -> slice:
    parts = [int(p) if p.lstrip("-").isdigit() else None for p in text.split(":")]
    return slice(*parts) if len(parts) > 1 else slice(None)


VIEWS: dict[str, Rule] = {
    **dict.fromkeys(
        ("permute", "transpose", "swapaxes", "swapdims", "t", "T", "mT", "H", "mH", "adjoint"),
        _permuted,
    ),
    **dict.fromkeys(MAYBE_VIEWS - {"contiguous"}, _regrouped),
    **dict.fromkeys(("view", "view_as", "unflatten", "squeeze", "unsqueeze"), _regrouped),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expanded),
    **dict.fromkeys(("chunk", "split", "tensor_split", "split_with_sizes"), _cut),
    **dict.fromkeys(("narrow", "index_select"), _cut),
    **dict.fromkeys(("select", "unbind"), _picked),
    "getitem": _indexed,
}
