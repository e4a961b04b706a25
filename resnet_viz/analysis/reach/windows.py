"""Convolutions, pools and whatever else reads a window of places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import cast

from resnet_viz.analysis.reach.arguments import numbers, pair, weight_shape
from resnet_viz.analysis.reach.axes import grid_of
from resnet_viz.analysis.reach.values import (
    Operand,
    Reach,
    Role,
    Rule,
    Span,
    Step,
    Value,
    same,
    unknown,
    whole_of,
    window,
)
from resnet_viz.core.graph import ModelGraph, Op


def _on_map(op: Op, operands: Sequence[Operand]) -> Operand | None:
    """The operand that is a map ``(…, H, W)``, where it is the only one."""
    (first, *others) = operands
    fits = first.slot == 0 and not others and first.value.roles[-2:] == ("h", "w")
    return first if fits and len(op.shape) == len(first.shape) else None


def _resized(op: Op, operand: Operand, rows: Reach, columns: Reach, uneven: bool = False) -> Step:
    height, width = op.shape[-2:]
    value = Value(roles=operand.value.roles, grid=(height, width))
    return Step(value=value, reads={operand.slot: (rows, columns)}, uneven=uneven)


def _without_places(op: Op, operands: Sequence[Operand]) -> Step:
    """For layers over axes that are no places, such as a convolution along channels."""
    if any(o.value.spatial for o in operands):
        return unknown()
    return Step(value=whole_of(len(op.shape)))


def _conv(graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    given = _on_map(op, operands)
    kernel = weight_shape(graph, op)[2:]
    stride, dilation = (pair(op.argument(i, n, 1)) for i, n in ((3, "stride"), (5, "dilation")))
    if given is None or len(kernel) != 2 or stride is None or dilation is None:
        return _without_places(op, operands)
    padding = op.argument(4, "padding", 0)
    if padding == "same":
        pads: Sequence[int] | None = [
            d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)
        ]
    else:
        pads = (0, 0) if padding == "valid" else pair(padding)
    if pads is None:
        return unknown()
    rows, columns = (window(*a) for a in zip(kernel, stride, pads, dilation, strict=True))
    return _resized(op, given, rows, columns)


def _transposed_conv(graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    given = _on_map(op, operands)
    kernel = weight_shape(graph, op)[2:]
    found = [pair(op.argument(i, n, d)) for i, n, d in _OF_TRANSPOSED]
    if given is None or len(kernel) != 2 or any(pair is None for pair in found):
        return _without_places(op, operands)
    stride, padding, dilation = (cast("tuple[int, int]", pair) for pair in found)
    rows, columns = (_spread(*a) for a in zip(kernel, stride, padding, dilation, strict=True))
    return _resized(op, given, rows, columns, uneven=True)


_OF_TRANSPOSED = ((3, "stride", 1), (4, "padding", 0), (7, "dilation", 1))


def _spread(kernel: int, stride: int, padding: int, dilation: int) -> Reach:
    def reach(low: int, high: int) -> Span:
        first = -(-(low + padding - dilation * (kernel - 1)) // stride)
        return first, (high + padding) // stride

    return reach


def _pool(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    given = _on_map(op, operands)
    at = 2 if op.kind == "lp_pool2d" else 1
    kernel = pair(op.argument(at, "kernel_size"))
    stride = pair(op.argument(at + 1, "stride")) or kernel
    padding = pair(op.argument(3, "padding", 0)) if at == 1 else (0, 0)
    dilation = pair(op.argument(4, "dilation", 1)) if op.kind == "max_pool2d" else (1, 1)
    if given is None or not (kernel and stride and padding and dilation):
        return _without_places(op, operands)
    rows, columns = (window(*a) for a in zip(kernel, stride, padding, dilation, strict=True))
    return _resized(op, given, rows, columns)


def _adaptive_pool(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    given = _on_map(op, operands)
    if given is None:
        return _without_places(op, operands)
    sizes = list(zip(given.shape[-2:], op.shape[-2:], strict=True))
    if all(out == 1 for _, out in sizes):
        return Step(value=whole_of(len(op.shape)))
    rows, columns = (_parts(size, out) for size, out in sizes)
    return _resized(op, given, rows, columns, uneven=any(size % out for size, out in sizes))


def _parts(size: int, out: int) -> Reach:
    def reach(low: int, high: int) -> Span:
        return low * size // out, -(-(high + 1) * size // out) - 1

    return reach


def _interpolated(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    given = _on_map(op, operands)
    if given is None:
        return _without_places(op, operands)
    mode = op.argument(3, "mode", "nearest")
    if op.kind == "upsample_bilinear":
        mode = "bilinear"
    sizes = list(zip(given.shape[-2:], op.shape[-2:], strict=True))
    if mode == "area":
        rows, columns = (_parts(size, out) for size, out in sizes)
    elif mode in _TAPS:
        corners = op.argument(4, "align_corners") is True or op.kind == "upsample_bilinear"
        smooth = op.argument(6, "antialias", False) is True
        rows, columns = (
            _sampled(size, out, _TAPS[str(mode)], corners, smooth) for size, out in sizes
        )
    else:
        return unknown()
    return _resized(op, given, rows, columns, uneven=True)


_TAPS = {"nearest": 0, "nearest-exact": 0, "bilinear": 1, "bicubic": 2}
"""Places on each side of a point that its value is made from."""


def _sampled(size: int, out: int, taps: int, corners: bool, smooth: bool) -> Reach:
    ratio = Fraction(size - 1, max(out - 1, 1)) if corners and taps else Fraction(size, out)
    half = Fraction(1, 2)

    def ends(place: int) -> Span:
        if not taps:
            return math.floor(place * ratio), math.floor(place * ratio)
        if smooth and ratio > 1:
            middle, support = (place + half) * ratio, taps * ratio
            return math.floor(middle - support + half), math.floor(middle + support + half) - 1
        point = place * ratio if corners else (place + half) * ratio - half
        first = math.floor(point)
        if point == first:
            return first, first
        return first - taps + 1, first + taps

    return lambda low, high: (ends(low)[0], ends(high)[1])


def _padded(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    pads = op.argument(1, "pad")
    (given, *others) = operands
    if others or not isinstance(pads, tuple) or not all(isinstance(p, int) for p in pads):
        return unknown()
    value = given.value
    reach: dict[Role, Reach] = {"h": same, "w": same}
    for k, before in enumerate(pads[::2]):
        role = value.roles[len(value.roles) - 1 - k]
        if role in reach:
            reach[role] = window(1, 1, cast("int", before), 1)
    grid = grid_of(value.roles, op.shape) or value.grid
    return Step(value=replace(value, grid=grid), reads={given.slot: (reach["h"], reach["w"])})


def _shuffled(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    given, factor = _on_map(op, operands), op.argument(1, "upscale_factor")
    if given is None or not isinstance(factor, int):
        return unknown()

    def reach(low: int, high: int) -> Span:
        return low // factor, high // factor

    return _resized(op, given, reach, reach, uneven=True)


def _unshuffled(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    given, factor = _on_map(op, operands), op.argument(1, "downscale_factor")
    if given is None or not isinstance(factor, int):
        return unknown()
    reach = window(factor, factor, 0, 1)
    return _resized(op, given, reach, reach)


def _rolled(_graph: ModelGraph, op: Op, operands: Sequence[Operand]) -> Step:
    given = operands[0]
    shifts, dims = (
        numbers(a if isinstance(a, tuple) else (a,))
        for a in (op.argument(1, "shifts"), op.argument(2, "dims"))
    )
    reach: dict[Role, Reach] = {"h": same, "w": same}
    if len(shifts) != len(dims):
        return unknown()
    for shift, axis in zip(shifts, dims, strict=True):
        role = given.value.roles[axis]
        if role in reach:
            reach[role] = window(1, 1, shift, 1)
        elif role:
            return unknown()
    return Step(value=given.value, reads={given.slot: (reach["h"], reach["w"])})


WINDOWS: dict[str, Rule] = {
    "conv2d": _conv,
    "conv_transpose2d": _transposed_conv,
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "lp_pool2d"), _pool),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive_pool),
    **dict.fromkeys(
        ("interpolate", "upsample", "upsample_nearest", "upsample_bilinear"), _interpolated
    ),
    "pad": _padded,
    "pixel_shuffle": _shuffled,
    "pixel_unshuffle": _unshuffled,
    "roll": _rolled,
}
