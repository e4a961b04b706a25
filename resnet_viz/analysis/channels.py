"""Which axis of a tensor holds its features.

Shapes alone do not say it: ``(8, 56, 56, 96)`` is channels-last in Swin and would be
56 channels elsewhere. Layers do: a convolution writes axis 1, a linear layer the
last; permutations and reshapes are followed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from resnet_viz.analysis.kinds import ATTENTION, PRODUCTS, words
from resnet_viz.core.graph import Arg, Op

_SPATIAL = re.compile(r"(?:conv|conv_transpose|\w+_pool)([123])d$")
_AXIS_ONE = words("batch_norm group_norm instance_norm pixel_shuffle pixel_unshuffle interpolate")
_AXIS_LAST = (
    ATTENTION
    | PRODUCTS
    | {"linear", "bilinear", "embedding", "lstm", "gru", "rnn_tanh", "rnn_relu"}
)
_SWAPS = frozenset({"transpose", "swapaxes", "swapdims"})
_REDUCTIONS = words("mean sum amax amin max min std var norm logsumexp prod")
_USUAL = {1: 0, 2: 1, 3: 2, 4: 1, 5: 1}


def channel_axes(nodes: Sequence[Op], sources: Sequence[Sequence[int]]) -> tuple[int | None, ...]:
    """The feature axis of each node's first output; ``None`` where it has no axes."""
    found: list[int | None] = []
    known: list[bool] = []
    for op, feeds in zip(nodes, sources, strict=True):
        origin = max(feeds, key=lambda i: len(nodes[i].shape), default=None)
        before = None if origin is None else found[origin]
        axis = _written(op) if op.shape else None
        sure = axis is not None and op.kind not in PRODUCTS
        if origin is not None and before is not None and op.shape:
            if axis is None:
                axis = _moved(op, nodes[origin].shape, before)
                sure = known[origin] and axis is not None
            elif op.kind == "linear" and known[origin] and before < len(op.shape) - 1:
                # A linear layer along the tokens (MLP-Mixer) leaves the features alone.
                axis = before
        if axis is None and op.shape:
            axis = _USUAL.get(len(op.shape), 1)
        found.append(axis)
        known.append(sure)
    return tuple(found)


def _written(op: Op) -> int | None:
    ndim = len(op.shape)
    spatial = _SPATIAL.fullmatch(op.kind)
    if spatial:
        return max(0, ndim - 1 - int(spatial[1]))
    if op.kind in _AXIS_ONE:
        return min(1, ndim - 1)
    if op.kind in _AXIS_LAST:
        return ndim - 1
    if op.kind in ("layer_norm", "rms_norm"):
        over = op.argument(1, "normalized_shape")
        return ndim - 1 if isinstance(over, tuple) and len(over) == 1 else None
    return None


def _moved(op: Op, before: tuple[int, ...], axis: int) -> int | None:
    shape, ndim = op.shape, len(before)
    order = permutation(op, ndim)
    if order:
        return order.index(axis)
    if len(shape) == ndim:
        if op.kind not in ("view", "reshape") or shape[axis] == before[axis]:
            return axis
    elif op.kind in _REDUCTIONS and len(shape) < ndim:
        numbers = _numbers(op.args[1:] or tuple(value for _, value in op.kwargs))
        gone = {n % ndim for n in numbers if -ndim <= n < ndim}
        return None if axis in gone else axis - sum(n < axis for n in gone)
    return _reshaped(before, axis, shape)


def permutation(op: Op, ndim: int) -> list[int]:
    """For each axis of the output the axis of the operand; empty if it is no permutation."""
    given = op.args[1:] or tuple(value for _, value in op.kwargs)
    numbers = [n % ndim for n in _numbers(given) if ndim]
    order = list(range(ndim))
    if op.kind == "permute" and sorted(numbers) == order:
        return numbers
    if op.kind in _SWAPS and len(numbers) == 2:
        a, b = numbers
    elif op.kind in ("t", "T", "mT", "adjoint") and ndim >= 2:
        a, b = ndim - 2, ndim - 1
    else:
        return []
    order[a], order[b] = order[b], order[a]
    return order


def _reshaped(before: tuple[int, ...], axis: int, after: tuple[int, ...]) -> int | None:
    ahead = math.prod(before[:axis])
    for i, size in enumerate(after):
        if size == before[axis] and math.prod(after[:i]) == ahead:
            return i
    if axis == len(before) - 1 and after[-1] == before[-1]:
        return len(after) - 1
    return None


def _numbers(values: Sequence[Arg]) -> list[int]:
    found: list[int] = []
    for value in values:
        if isinstance(value, tuple):
            found += _numbers(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            found.append(value)
    return found
