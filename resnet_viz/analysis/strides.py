"""How a tensor lies in memory: enough of torch's rules to tell a view from a copy.

Strides count elements. ``reshape`` and ``contiguous`` copy or do not copy because of
them, and a graph holds shapes only; so they are worked out from the calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from resnet_viz.core.graph import Arg

Shape: TypeAlias = tuple[int, ...]
Strides: TypeAlias = tuple[int, ...]


def contiguous(shape: Shape) -> Strides:
    """Strides of a tensor in the order of its axes."""
    return dense(shape, range(len(shape)))


def dense(shape: Shape, order: Sequence[int]) -> Strides:
    """Strides without gaps; ``order`` lists the axes from the slowest to the fastest."""
    found = [0] * len(shape)
    step = 1
    for axis in reversed(order):
        found[axis] = step
        step *= max(shape[axis], 1)
    return tuple(found)


def like(shape: Shape, strides: Strides) -> Strides:
    """Strides of a new tensor that keeps another's order of axes."""
    if 0 in strides:
        return contiguous(shape)
    return dense(shape, sorted(range(len(shape)), key=lambda axis: -strides[axis]))


def is_contiguous(shape: Shape, strides: Strides) -> bool:
    """Whether it lies in the order of its axes; axes of size one may lie anywhere."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def channels_last(shape: Shape, strides: Strides) -> bool:
    """Whether an image batch lies as N, H, W, C (or N, D, H, W, C)."""
    if len(shape) not in (4, 5) or is_contiguous(shape, strides):
        return False
    order = (0, *range(2, len(shape)), 1)
    moved = tuple(shape[axis] for axis in order)
    return is_contiguous(moved, tuple(strides[axis] for axis in order))


def viewed(shape: Shape, strides: Strides, new: Shape) -> Strides | None:
    """Strides of a view of another shape; ``None`` where it takes a copy.

    The rule of ``Tensor.view``: axes may be merged only where they lie one in another.
    """
    if 0 in shape:
        return contiguous(new)
    found: list[int] = []
    axis = len(new) - 1
    run, base = 1, strides[-1] if strides else 1
    for i in reversed(range(len(shape))):
        run *= shape[i]
        joined = i > 0 and (shape[i - 1] == 1 or strides[i - 1] == run * base)
        if joined:
            continue
        taken = 1
        while axis >= 0 and (taken < run or new[axis] == 1):
            found.append(taken * base)
            taken *= new[axis]
            axis -= 1
        if taken != run:
            return None
        if i > 0:
            run, base = 1, strides[i - 1]
    while axis >= 0:  # Only axes of size one are left.
        found.append(base)
        axis -= 1
    return tuple(reversed(found))


def expanded(shape: Shape, strides: Strides, new: Shape) -> Strides:
    """Strides after ``expand``: repeated axes do not move."""
    ahead = len(new) - len(shape)
    kept = (
        0 if before != after else stride
        for before, after, stride in zip(shape, new[ahead:], strides, strict=True)
    )
    return (*(0 for _ in range(ahead)), *kept)


def indexed(shape: Shape, strides: Strides, index: Arg) -> Strides | None:
    """Strides after ``x[index]`` with numbers, slices, ``None`` and ``...``."""
    items = index if isinstance(index, tuple) else (index,)
    found: list[int] = []
    axis = 0
    for item in items:
        if item is None:
            found.append(0)
        elif item == "...":
            named = sum(i is not None and i != "..." for i in items)
            until = (
                len(shape) - named + axis - sum(i is not None for i in items[: items.index("...")])
            )
            found += strides[axis:until]
            axis = until
        elif isinstance(item, str):
            parts = item.split(":")
            step = int(parts[2]) if len(parts) == 3 and parts[2].lstrip("-").isdigit() else 1
            if axis >= len(shape):
                return None
            found.append(strides[axis] * step)
            axis += 1
        elif isinstance(item, int) and not isinstance(item, bool):
            axis += 1
        else:
            return None
    return (*found, *strides[axis:])
