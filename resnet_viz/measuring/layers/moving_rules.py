"""Rules for ops that move values: reshapes, joins, slices, shifts."""

from __future__ import annotations

from dataclasses import replace

from resnet_viz.core.graph import Arg, Op
from resnet_viz.measuring.layers.axes import Axis, joined, plain, unknown
from resnet_viz.measuring.layers.flows import (
    Flow,
    Links,
    Operands,
    dim_of,
    dims_of,
    elementwise,
    first,
    reordered,
    reshaped,
    resized,
    rolled,
    slots_of,
)
from resnet_viz.measuring.layers.indexing import indexed, pieces


def _variadic(op: Op, index: int, name: str) -> Arg:
    """``x.permute(0, 2, 1)`` and ``x.permute((0, 2, 1))`` alike."""
    value = op.argument(index, name)
    return value if isinstance(value, tuple) else op.args[index:]


def permute(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``permute``."""
    given = first(op, operands)
    order = dims_of(_variadic(op, 1, "dims"), len(shape))
    if given is None or order is None or len(order) != len(given[1]):
        return Flow(unknown(shape))
    return reordered(*given, order)


def transpose(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``transpose``, ``swapaxes``."""
    given = first(op, operands)
    if given is None or len(given[1]) != len(shape):
        return Flow(unknown(shape))
    names = (("dim0", "axis0"), ("dim1", "axis1"))
    order = list(range(len(shape)))
    ends: list[int] = []
    for i, (name, other) in enumerate(names):
        end = dim_of(op.argument(i + 1, name, op.argument(i + 1, other)), len(shape))
        if end is None:
            return Flow(unknown(shape))
        ends.append(end)
    order[ends[0]], order[ends[1]] = order[ends[1]], order[ends[0]]
    return reordered(*given, order)


def turn(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``t()``, ``mT``, ``T``, ``adjoint()``."""
    given = first(op, operands)
    if given is None or len(shape) < 2:
        return Flow(unknown(shape))
    order = list(range(len(shape)))
    order = order[::-1] if op.kind == "T" else [*order[:-2], order[-1], order[-2]]
    return reordered(*given, order)


def move(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``movedim``."""
    given = first(op, operands)
    source = dims_of(op.argument(1, "source"), len(shape))
    target = dims_of(op.argument(2, "destination"), len(shape))
    if given is None or source is None or target is None or len(source) != len(target):
        return Flow(unknown(shape))
    rest = iter([j for j in range(len(shape)) if j not in source])
    to = dict(zip(target, source, strict=True))
    return reordered(*given, [to[i] if i in to else next(rest) for i in range(len(shape))])


def reshape(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """Any reshape, such as ``view``, ``flatten`` and ``unsqueeze``."""
    given = first(op, operands)
    return Flow(unknown(shape)) if given is None else reshaped(*given, shape)


def expand(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``expand``."""
    given = first(op, operands)
    return Flow(unknown(shape)) if given is None else elementwise(dict([given]), shape)


def repeat(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``repeat``: axes that grow are known no more."""
    given = first(op, operands)
    if given is None or len(given[1]) > len(shape):
        return Flow(unknown(shape))
    slot, axes = given
    ahead = len(shape) - len(axes)
    found = list(unknown(shape))
    links: Links = {}
    for j, axis in enumerate(axes):
        if axis.size == shape[ahead + j]:
            found[ahead + j] = axis
            links[slot, j] = ahead + j
    return Flow(tuple(found), links)


def concatenate(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``cat``: what has no places stands in front of those that are, or behind."""
    parts = op.argument(0, "tensors")
    along = dim_of(op.argument(1, "dim", 0), len(shape))
    given = slots_of(parts, operands)
    if along is None or not given or any(len(a) != len(shape) for _, a in given):
        return Flow(unknown(shape))
    found: list[Axis] = []
    links: Links = {}
    for i, size in enumerate(shape):
        if i != along:
            found.append(joined([axes[i] for _, axes in given], size))
            links |= {(slot, i): i for slot, _ in given}
            continue
        grids = [(slot, axes[i]) for slot, axes in given if axes[i].spatial]
        if len(grids) != 1:
            found.append(plain(size))
            continue
        slot, grid = grids[0]
        front = _length_before(parts, slot, operands, along, size)
        if front is None:
            found.append(plain(size))
            continue
        behind = size - front - grid.size
        found.append(replace(grid, front=grid.front + front, behind=grid.behind + behind))
        links |= {(other, i): i for other, _ in given}
    return Flow(tuple(found), links)


def _length_before(parts: Arg, slot: int, operands: Operands, along: int, size: int) -> int | None:
    """What stands before an operand; a parameter's length is not in its argument."""
    items = parts if isinstance(parts, tuple) else ()
    lengths: list[int | None] = []
    at = 0
    for i, item in enumerate(items):
        inside = slots_of(item, operands)
        lengths.append(inside[0][1][along].size if inside else None)
        if inside and inside[0][0] == slot:
            at = i
    if None not in lengths[:at]:
        return sum(n for n in lengths[:at] if n is not None)
    if None not in lengths[at:]:
        return size - sum(n for n in lengths[at:] if n is not None)
    return None


def stack(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``stack``."""
    along = dim_of(op.argument(1, "dim", 0), len(shape))
    given = slots_of(op.argument(0, "tensors"), operands)
    if along is None or not given:
        return Flow(unknown(shape))
    inner = elementwise(dict(given), shape[:along] + shape[along + 1 :])
    axes = (*inner.axes[:along], plain(shape[along]), *inner.axes[along:])
    return Flow(axes, {key: i + (i >= along) for key, i in inner.links.items()})


def index(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``x[…]``, ``select``, ``narrow``."""
    given = first(op, operands)
    if given is None:
        return Flow(unknown(shape))
    if op.kind == "getitem":
        index = op.argument(1, "index")
        return indexed(*given, index if isinstance(index, tuple) else (index,), shape)
    slot, axes = given
    along = dim_of(op.argument(1, "dim"), len(axes))
    start, length = op.argument(2, "index" if op.kind == "select" else "start"), shape
    if along is None or not isinstance(start, int):
        return Flow(unknown(shape))
    start %= max(axes[along].size, 1)
    picked: Arg = start if op.kind == "select" else f"{start}:{start + length[along]}:"
    return indexed(slot, axes, (*("::",) * along, picked), shape)


def split(op: Op, operands: Operands, shape: tuple[int, ...]) -> list[Flow]:
    """``split``, ``chunk``, ``unbind``."""
    given = first(op, operands)
    if given is None:
        return []
    slot, axes = given
    single = op.kind == "unbind"
    along = dim_of(op.argument(1 if single else 2, "dim", 0), len(axes))
    if along is None:
        return []
    return pieces(slot, axes, along, [s.shape for s in op.outputs], single=single)


def roll(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``roll``: places are where they were only when rolled back."""
    given = first(op, operands)
    dims = dims_of(op.argument(2, "dims"), len(shape))
    shifts = op.argument(1, "shifts")
    steps = shifts if isinstance(shifts, tuple) else (shifts,)
    if given is None or dims is None or len(steps) != len(dims):
        return Flow(unknown(shape))
    slot, axes = given
    found = list(axes)
    for dim, by in zip(dims, steps, strict=True):
        if not isinstance(by, int):
            return Flow(unknown(shape))
        found[dim] = rolled(found[dim], by)
    return Flow(tuple(found), {(slot, j): j for j in range(len(axes)) if found[j].size})


def flip(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``flip``: the places turned round are known no more."""
    given = first(op, operands)
    dims = dims_of(_variadic(op, 1, "dims"), len(shape))
    if given is None or dims is None:
        return Flow(unknown(shape))
    kept = [plain(a.size) if j in dims else a for j, a in enumerate(given[1])]
    return Flow(tuple(kept), {(given[0], j): j for j in range(len(kept)) if j not in dims})


def pad(op: Op, operands: Operands, shape: tuple[int, ...]) -> Flow:
    """``pad``."""
    given = first(op, operands)
    pads = op.argument(1, "pad")
    if given is None or not isinstance(pads, tuple) or len(pads) > 2 * len(shape):
        return Flow(unknown(shape))
    slot, axes = given
    found: list[Axis] = list(axes)
    links: Links = {}
    for j, axis in enumerate(axes):
        at = 2 * (len(axes) - 1 - j)
        front, behind = (*pads, *(0,) * (2 * len(axes) - len(pads)))[at : at + 2]
        if front == behind == 0:
            links[slot, j] = j
        elif axis.front or axis.behind or len(axis.factors) > 1:
            found[j] = plain(shape[j])
        else:
            found[j] = resized(axis, shape[j])
    return Flow(tuple(found), links)
