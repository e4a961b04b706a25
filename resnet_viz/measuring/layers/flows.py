"""``Flow``: what an op makes of the axes of its operands; the tools that rules share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from resnet_viz.core.graph import Arg, Op, Ref, refs_in
from resnet_viz.measuring.layers.axes import (
    Axes,
    Axis,
    joined,
    plain,
    regrouped,
    unknown,
    whole,
)

BESIDE: Final = -1
"""In place of an axis: of this one only the tokens beside the places are read."""

Links = dict[tuple[int, int], int]


@dataclass(frozen=True, slots=True)
class Flow:
    """An output of an op.

    Attributes:
        axes: What its axes are.
        links: (operand, axis) to the axis of the output along which places stay apart. An
            axis that is missing here is mixed: each output may read all of its places.
    """

    axes: Axes
    links: Links = field(default_factory=dict)


Operands = Mapping[int, Axes]
"""Axes of the operands by ``in_slot``."""

Rule = Callable[[Op, Operands, tuple[int, ...]], Flow | list[Flow]]
"""What becomes of axes: from an op, its operands and the shape of its first output, to one
flow, or to one per output."""


def sizes(axes: Axes) -> tuple[int, ...]:
    """The shape."""
    return tuple(a.size for a in axes)


def dim_of(value: Arg, ndim: int) -> int | None:
    """An axis that may be counted from the end."""
    if isinstance(value, bool) or not isinstance(value, int) or not -ndim <= value < max(ndim, 1):
        return None
    return value % max(ndim, 1)


def dims_of(value: Arg, ndim: int) -> tuple[int, ...] | None:
    """One axis or several."""
    found = [dim_of(v, ndim) for v in (value if isinstance(value, tuple) else (value,))]
    return None if None in found else tuple(d for d in found if d is not None)


def first(op: Op, operands: Operands) -> tuple[int, Axes] | None:
    """The tensor an op is called with, where it is an activation."""
    given = op.argument(0, "input")
    if isinstance(given, Ref) and given.kind == "in" and isinstance(given.key, int):
        axes = operands.get(given.key)
        return None if axes is None else (given.key, axes)
    return None


def slots_of(value: Arg, operands: Operands) -> list[tuple[int, Axes]]:
    """The activations in an argument, in order."""
    keys = [r.key for r in refs_in(value) if r.kind == "in" and isinstance(r.key, int)]
    return [(key, operands[key]) for key in keys if key in operands]


def elementwise(operands: Operands, shape: Sequence[int], mixed: Sequence[int] = ()) -> Flow:
    """Operands broadcast against each other; along ``mixed`` places do not stay apart."""
    candidates: list[list[Axis]] = [[] for _ in shape]
    links: Links = {}
    for slot, axes in operands.items():
        ahead = len(shape) - len(axes)
        if ahead < 0 or any(
            a.size not in (1, size) for a, size in zip(axes, shape[ahead:], strict=True)
        ):
            return Flow(unknown(shape))
        for j, axis in enumerate(axes):
            candidates[ahead + j].append(axis)
            if ahead + j not in mixed:
                links[slot, j] = ahead + j
    found = [joined(some, size) for some, size in zip(candidates, shape, strict=True)]
    return Flow(tuple(found), links)


def reordered(slot: int, axes: Axes, order: Sequence[int]) -> Flow:
    """Axis ``i`` of the output is ``order[i]`` of the operand."""
    return Flow(tuple(axes[j] for j in order), {(slot, j): i for i, j in enumerate(order)})


def reshaped(slot: int, axes: Axes, shape: Sequence[int]) -> Flow:
    """Any reshape."""
    found, links = regrouped(axes, shape)
    return Flow(found, {(slot, j): i for j, i in links.items()})


def dropped(slot: int, axes: Axes, gone: Sequence[int], keep: bool = False) -> Flow:
    """Some axes reduced away."""
    found: list[Axis] = []
    links: Links = {}
    for j, axis in enumerate(axes):
        if j in gone:
            found += [plain(1)] if keep else []
        else:
            links[slot, j] = len(found)
            found.append(axis)
    return Flow(tuple(found), links)


def resized(axis: Axis, size: int) -> Axis:
    """Rows or columns after a convolution, a pool or padding."""
    if axis.size == size:
        return axis
    alone = axis.factors[0] if len(axis.factors) == 1 else None
    if alone is None or axis.front or axis.behind or not alone.outermost or alone.shift:
        return plain(size)  # also what is no direction: its extent is 0
    return whole(alone.role, size)


def cut(axis: Axis, start: int, length: int, step: int = 1) -> tuple[Axis, bool]:
    """A slice of an axis, and whether all it holds are tokens beside the places."""
    if start == 0 and length == axis.size and step == 1:
        return axis, False
    if not axis.spatial:
        return plain(length), False
    places = axis.size - axis.front - axis.behind
    end = start + length * step
    if step == 1 and (end <= axis.front or start >= axis.front + places):
        return plain(length), True
    if step == 1 and start <= axis.front and end >= axis.front + places:
        kept = Axis(axis.factors, axis.front - start, end - axis.front - places)
        return kept, False
    # A part of the image is no map of it; every other row is.
    every = step > 1 and start < step and end > axis.size - step
    if not every or axis.front or axis.behind:
        return plain(length), False
    return resized(axis, length), False


def selected(axis: Axis, index: int) -> bool:
    """Whether one step of an axis is a token beside the places."""
    index %= axis.size
    return axis.spatial and not axis.front <= index < axis.size - axis.behind


def rolled(axis: Axis, by: int) -> Axis:
    """An axis whose places were pushed around its end."""
    alone = axis.factors[0] if len(axis.factors) == 1 else None
    if not axis.spatial:
        return axis
    if alone is None or axis.front or axis.behind or not alone.outermost or alone.stride != 1:
        return plain(axis.size)
    return Axis((replace(alone, shift=(alone.shift + by) % alone.extent),))
