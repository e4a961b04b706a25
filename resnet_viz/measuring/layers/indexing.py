"""What indexing and splitting leave of the axes: how a class token is taken, or left out."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.core.graph import Arg
from resnet_viz.measuring.layers.axes import Axes, Axis, plain, unknown
from resnet_viz.measuring.layers.flows import BESIDE, Flow, Links, cut, selected


def indexed(slot: int, axes: Axes, index: tuple[Arg, ...], shape: Sequence[int]) -> Flow:
    """``x[index]`` of integers, slices, ``None`` and ``...``; lists and tensors move places."""
    ahead = sum(item is not None and item != "..." for item in index)
    if "..." in index:
        at = index.index("...")
        index = (*index[:at], *("::",) * (len(axes) - ahead), *index[at + 1 :])
    found: list[Axis] = []
    links: Links = {}
    j = 0
    for item in index:
        if item is None:
            found.append(plain(1))
            continue
        if j >= len(axes) or isinstance(item, bool):
            return Flow(unknown(shape))
        axis = axes[j]
        if isinstance(item, int):
            if selected(axis, item):
                links[slot, j] = BESIDE
        elif isinstance(item, str) and ":" in item:
            part, beside = _sliced(axis, item)
            links[slot, j] = BESIDE if beside else len(found)
            found.append(part)
        else:
            return Flow(unknown(shape))
        j += 1
    for k in range(j, len(axes)):
        links[slot, k] = len(found)
        found.append(axes[k])
    return Flow(tuple(found), links)


def _sliced(axis: Axis, text: str) -> tuple[Axis, bool]:
    start, stop, step = (int(part) if part else None for part in text.split(":"))
    steps = range(*slice(start, stop, step).indices(axis.size))
    if steps.step < 0 or not steps:
        return plain(len(steps)), False
    return cut(axis, steps.start, len(steps), steps.step)


def pieces(
    slot: int, axes: Axes, along: int, shapes: Sequence[tuple[int, ...]], *, single: bool
) -> list[Flow]:
    """The pieces of a tensor that was split along an axis; ``single``: into its steps."""
    found: list[Flow] = []
    start = 0
    for shape in shapes:
        if single:
            index: Arg = start
            start += 1
        else:
            index = f"{start}:{start + shape[along]}:"
            start += shape[along]
        found.append(indexed(slot, axes, (*("::",) * along, index), shape))
    return found
