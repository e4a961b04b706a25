"""What the commonest calls return, told without running them.

A meta kernel of torch is a Python decomposition of up to half a millisecond; the
output of a convolution is one line of arithmetic. A rule speaks only where it is
certain (plain contiguous tensors whose shapes fit) and is silent (``None``)
everywhere else: then the call runs, errors and odd layouts included. Tests hold every
rule against the call itself, and the tracer's law holds them all: a trace without
rules is equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layout = tuple[tuple[int, ...], tuple[int, ...], torch.dtype]
"""Shape, strides and dtype of one output."""


class Told(NamedTuple):
    """Outputs of a call, and its multiply-accumulates."""

    outputs: tuple[Layout, ...]
    macs: int = 0
    single: bool = True


Rule = Callable[..., Told | None]


def _certain(*tensors: Any) -> bool:
    """Whether all are plain, not empty, and contiguous in one way only."""
    for t in tensors:
        if type(t) is not Tensor and type(t) is not nn.Parameter:
            return False
        if not t.is_contiguous() or t.numel() == 0:
            return False
        # A map of one pixel is channels-last too, and kernels differ in what they make of it.
        dim = t.dim()
        if dim == 4 and t.is_contiguous(memory_format=torch.channels_last):
            return False
        if dim == 5 and t.is_contiguous(memory_format=torch.channels_last_3d):
            return False
    return True


def _rows(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a contiguous tensor."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def _like(t: Tensor) -> Told:
    shape = tuple(t.shape)
    return Told(((shape, _rows(shape), t.dtype),))


def _elementwise(input: Any, *options: Any, inplace: bool = False, **_: Any) -> Told | None:
    if inplace or any(isinstance(o, bool) and o for o in options) or not _certain(input):
        return None
    return _like(input) if input.is_floating_point() else None


def _arithmetic(input: Any, other: Any) -> Told | None:
    if not _certain(input) or not input.is_floating_point():
        return None
    if isinstance(other, Tensor):
        if not _certain(other) or other.shape != input.shape or other.dtype != input.dtype:
            return None
    elif type(other) not in (int, float):
        return None
    return _like(input)


def _batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Told | None:
    state = [t for t in (running_mean, running_var, weight, bias) if t is not None]
    if training or running_mean is None or running_var is None or not _certain(input, *state):
        return None
    if input.dim() < 2 or any(t.shape != input.shape[1:2] for t in state):
        return None
    return _like(input) if all(t.dtype == input.dtype for t in state) else None


def _layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Told | None:
    state = [t for t in (weight, bias) if t is not None]
    shape = tuple(normalized_shape)
    if not _certain(input, *state) or not shape or tuple(input.shape[-len(shape) :]) != shape:
        return None
    fits = all(tuple(t.shape) == shape and t.dtype == input.dtype for t in state)
    return _like(input) if fits and input.is_floating_point() else None


def _linear(input: Any, weight: Any, bias: Any = None) -> Told | None:
    given = [input, weight] + ([] if bias is None else [bias])
    if not _certain(*given) or input.dim() < 2 or weight.dim() != 2:
        return None
    if input.shape[-1] != weight.shape[1] or any(t.dtype != input.dtype for t in given):
        return None
    if bias is not None and bias.shape != weight.shape[:1]:
        return None
    shape = (*input.shape[:-1], weight.shape[0])
    return Told(((shape, _rows(shape), input.dtype),), math.prod(shape) * weight.shape[1])


def _convolution(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Told | None:
    given = [input, weight] + ([] if bias is None else [bias])
    # A 1x1 kernel is channels-last too, which changes nothing: only its input's layout counts.
    if not _certain(input) or not all(type(t) in (Tensor, nn.Parameter) for t in given):
        return None
    if not weight.is_contiguous() or input.dim() != weight.dim() or weight.numel() == 0:
        return None
    if any(t.dtype != input.dtype for t in given) or not input.is_floating_point():
        return None
    channels, width = weight.shape[0], weight.shape[1]
    if input.shape[1] != width * groups or channels % groups:
        return None
    if bias is not None and bias.shape != weight.shape[:1]:
        return None
    kernel = weight.shape[2:]
    sizes = []
    steps, pads, gaps = (_each(option, len(kernel)) for option in (stride, padding, dilation))
    if steps is None or pads is None or gaps is None:
        return None
    for size, k, s, p, d in zip(input.shape[2:], kernel, steps, pads, gaps, strict=True):
        if s < 1 or p < 0 or d < 1:
            return None
        sizes.append((size + 2 * p - d * (k - 1) - 1) // s + 1)
    if min(sizes) < 1:
        return None
    shape = (input.shape[0], channels, *sizes)
    macs = math.prod(shape) * width * math.prod(kernel)
    return Told(((shape, _rows(shape), input.dtype),), macs)


def _each(option: Any, count: int) -> tuple[int, ...] | None:
    if type(option) is int:
        return (option,) * count
    if isinstance(option, tuple | list) and all(type(o) is int for o in option):
        return tuple(option) * count if len(option) == 1 else tuple(option)[:count]
    return None


def _cat(tensors: Any, dim: Any = 0) -> Told | None:
    if not isinstance(tensors, tuple | list) or not tensors or type(dim) is not int:
        return None
    if not _certain(*tensors):
        return None
    first = tensors[0]
    rank, dtype = first.dim(), first.dtype
    if not -rank <= dim < rank:
        return None
    shape = list(first.shape)
    dim %= rank
    total = 0
    for t in tensors:
        sizes = list(t.shape)
        if len(sizes) != rank or t.dtype != dtype:
            return None
        total += sizes[dim]
        sizes[dim] = shape[dim]
        if sizes != shape:
            return None
    shape[dim] = total
    return Told(((tuple(shape), _rows(shape), dtype),))


def _recurrent(gates: int) -> Rule:
    """Of ``torch.lstm``, ``gru``, ``rnn_tanh`` and ``rnn_relu``: ``gates`` products each.

    Per layer and direction, gates × hidden × (input + hidden) for every element of the
    sequence (Hochreiter & Schmidhuber 1997; Cho et al. 2014).
    """

    def rule(
        input: Any,
        hidden: Any,
        weights: Any,
        has_biases: Any = None,
        num_layers: Any = None,
        dropout: Any = 0.0,
        train: Any = False,
        bidirectional: Any = False,
        batch_first: Any = None,
    ) -> Told | None:
        states = hidden if isinstance(hidden, tuple | list) else (hidden,)
        # Packed sequences have other arguments in these places.
        if not isinstance(weights, tuple | list) or type(batch_first) is not bool:
            return None
        if (train and dropout) or not _certain(input, *states, *weights) or input.dim() != 3:
            return None
        runs = num_layers * (2 if bidirectional else 1)
        # With a projection there are more weights, and the state is narrower.
        if len(weights) != runs * (4 if has_biases else 2):
            return None
        batch, steps = (0, 1) if batch_first else (1, 0)
        width, size = states[0].shape[-1], input.shape[-1]
        state = (runs, input.shape[batch], width)
        if any(tuple(s.shape) != state for s in states) or weights[1].shape[1] != width:
            return None
        if any(t.dtype != input.dtype for t in (*states, *weights)):
            return None
        length = input.shape[steps]
        across = width * (2 if bidirectional else 1)
        wanted = [
            shape
            for run in range(runs)
            for shape in _gate_shapes(
                gates, width, size if run < runs // num_layers else across, bool(has_biases)
            )
        ]
        if [tuple(w.shape) for w in weights] != wanted:
            return None
        time_first = _rows((length, state[1], across))
        macs = length * state[1] * sum(math.prod(shape) for shape in wanted if len(shape) == 2)
        shape, strides = (length, state[1], across), (*time_first,)
        if batch_first:
            shape = (state[1], length, across)
            strides = (time_first[1], time_first[0], time_first[2])
        last = (state, _rows(state), input.dtype)
        return Told(((shape, strides, input.dtype), *(last for _ in states)), macs, single=False)

    return rule


def _gate_shapes(gates: int, width: int, size: int, biases: bool) -> list[tuple[int, ...]]:
    rows = gates * width
    return [(rows, size), (rows, width), *([(rows,), (rows,)] if biases else [])]


_UNARY = (
    *(F.relu, F.silu, torch.relu, torch.sigmoid, torch.tanh, torch.nn.functional.gelu),
    *(torch.Tensor.relu, torch.Tensor.sigmoid, torch.Tensor.tanh),
)
_BINARY = (
    *(torch.add, torch.mul, torch.sub, torch.Tensor.add, torch.Tensor.mul, torch.Tensor.sub),
    *(torch.Tensor.__add__, torch.Tensor.__mul__, torch.Tensor.__sub__),
    *(torch.Tensor.__radd__, torch.Tensor.__rmul__),
)

RULES: dict[Callable[..., Any], Rule] = {
    **dict.fromkeys(_UNARY, _elementwise),
    **dict.fromkeys(_BINARY, _arithmetic),
    F.batch_norm: _batch_norm,
    F.layer_norm: _layer_norm,
    F.linear: _linear,
    torch.conv1d: _convolution,
    torch.conv2d: _convolution,
    torch.conv3d: _convolution,
    torch.cat: _cat,
    torch.lstm: _recurrent(4),
    torch.gru: _recurrent(3),
    torch.rnn_tanh: _recurrent(1),
    torch.rnn_relu: _recurrent(1),
}
