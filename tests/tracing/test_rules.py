"""A rule is silent, or it tells what the call itself does on meta: outputs and MACs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from resnet_viz.tracing.kernels import KernelCounter
from resnet_viz.tracing.rules import RULES, Told

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
DTYPES = st.sampled_from((torch.float32, torch.float64, torch.bfloat16, torch.int64))
SIZES = st.sampled_from((0, 1, 1, 1, 2, 3, 4))


def test_every_rule_is_held_against_its_call() -> None:
    assert set(RULES) == {
        f for calls in (UNARY, BINARY, CONVOLUTIONS, RECURRENT) for f in calls
    } | {
        F.batch_norm,
        F.layer_norm,
        F.linear,
        torch.cat,
    }


def _really(call: Call) -> Told | None:
    """What the call does on meta; ``None`` where it raises."""
    func, args, kwargs = call
    counter = KernelCounter()
    try:
        with torch.no_grad(), counter:
            result = func(*args, **kwargs)
    except (RuntimeError, ValueError, IndexError, TypeError):
        return None
    assert counter.macs is not None
    single = isinstance(result, torch.Tensor)
    outputs = (result,) if single else result
    return Told(tuple((tuple(o.shape), o.stride(), o.dtype) for o in outputs), counter.macs, single)


def _is_silent_or_right(call: Call) -> None:
    func, args, kwargs = call
    try:
        told = RULES[func](*args, **kwargs)
    except TypeError:
        return  # As the executor takes it: a form of arguments the rule does not know.
    if told is not None:
        assert told == _really(call)


@st.composite
def tensors(
    draw: st.DrawFn, shape: tuple[int, ...] | None = None, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Contiguous, transposed, sliced or channels-last, with empty and one-sized axes."""
    sizes = shape if shape is not None else tuple(draw(st.lists(SIZES, min_size=1, max_size=5)))
    made = torch.empty(sizes, dtype=dtype or draw(DTYPES), device="meta")
    layout = draw(st.sampled_from(("plain", "plain", "plain", "transposed", "strided", "last")))
    if layout == "transposed" and made.dim() > 1:
        return made.transpose(0, 1).contiguous().transpose(0, 1)
    if layout == "strided":
        return torch.empty((*sizes[:-1], 2 * sizes[-1]), dtype=made.dtype, device="meta")[..., ::2]
    if layout == "last" and made.dim() == 4:
        return made.contiguous(memory_format=torch.channels_last)
    return made


UNARY = (F.relu, F.silu, F.gelu, torch.relu, torch.sigmoid, torch.tanh)
UNARY += (torch.Tensor.relu, torch.Tensor.sigmoid, torch.Tensor.tanh)
T = torch.Tensor
BINARY = (torch.add, torch.mul, torch.sub, T.add, T.mul, T.sub, T.__add__, T.__mul__)
BINARY += (T.__sub__, T.__radd__, T.__rmul__)
CONVOLUTIONS = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}
RECURRENT = {
    torch.lstm: nn.LSTM,
    torch.gru: nn.GRU,
    torch.rnn_tanh: nn.RNN,
    torch.rnn_relu: lambda *args, **kwargs: nn.RNN(*args, nonlinearity="relu", **kwargs),
}


@given(st.sampled_from(UNARY), tensors())
def test_elementwise(func: Any, x: torch.Tensor) -> None:
    _is_silent_or_right((func, (x,), {}))


@settings(max_examples=300)
@given(st.sampled_from(BINARY), tensors(), st.data())
def test_arithmetic(func: Any, x: torch.Tensor, data: st.DataObject) -> None:
    shape = tuple(data.draw(st.sampled_from((size, size, size, 1))) for size in x.shape)
    near = tensors(shape=shape, dtype=x.dtype)
    other = data.draw(near | tensors() | st.integers(-3, 3) | st.floats(0, 1) | st.booleans())
    _is_silent_or_right((func, (x, other), {}))


@settings(max_examples=300)
@given(tensors(), st.data())
def test_batch_norm(x: torch.Tensor, data: st.DataObject) -> None:
    width = x.shape[1] if x.dim() > 1 else 1
    # In most draws everything fits, in some one thing does not.
    odd = data.draw(st.integers(0, 9))
    state = [
        data.draw(
            tensors(shape=(width + (odd == i),), dtype=torch.float64 if odd == 4 + i else x.dtype)
        )
        for i in range(4)
    ]
    missing = data.draw(st.sampled_from(((), (2, 3), (3,), (0,))))
    args = (x, *(None if i in missing else t for i, t in enumerate(state)))
    _is_silent_or_right((F.batch_norm, args, {}))
    assert RULES[F.batch_norm](*args, training=True) is None


@given(tensors(), st.integers(1, 3), st.data())
def test_layer_norm(x: torch.Tensor, rank: int, data: st.DataObject) -> None:
    shape = tuple(x.shape[-rank:]) if data.draw(st.integers(0, 3)) else (4,)
    state = st.none() | tensors(shape=shape, dtype=x.dtype)
    _is_silent_or_right((F.layer_norm, (x, shape, data.draw(state), data.draw(state)), {}))


@given(tensors(), st.integers(0, 4), st.data())
def test_linear(x: torch.Tensor, width: int, data: st.DataObject) -> None:
    inner = x.shape[-1] if data.draw(st.booleans()) else 3
    dtype = data.draw(st.none() | st.just(x.dtype))
    weight = data.draw(tensors(shape=(width, inner), dtype=dtype))
    bias = data.draw(st.none() | tensors(shape=(width,), dtype=weight.dtype))
    _is_silent_or_right((F.linear, (x, weight, bias), {}))


@settings(max_examples=300)
@given(st.sampled_from(tuple(CONVOLUTIONS)), st.data())
def test_convolution(func: Any, data: st.DataObject) -> None:
    rank = CONVOLUTIONS[func]
    groups, width = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))
    space = tuple(
        data.draw(st.lists(st.sampled_from((1, 1, 1, 2, 5, 7)), min_size=rank, max_size=rank))
    )
    kernel = tuple(data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank)))
    option = (
        st.integers(0, 2)
        | st.tuples(*[st.integers(0, 2)] * rank)
        | st.sampled_from(("same", "valid", (1,), [2]))
    )
    x = data.draw(tensors(shape=(data.draw(st.integers(1, 2)), width * groups, *space)))
    weight = data.draw(tensors(shape=(2 * groups, width, *kernel), dtype=x.dtype))
    bias = data.draw(st.none() | tensors(shape=(2 * groups,), dtype=x.dtype))
    options = (data.draw(option), data.draw(option), data.draw(option))
    _is_silent_or_right((func, (x, weight, bias, *options, groups), {}))


@given(st.lists(tensors(), max_size=3), st.integers(-5, 5))
def test_cat(parts: list[torch.Tensor], dim: int) -> None:
    _is_silent_or_right((torch.cat, (parts, dim), {}))


@given(tensors(dtype=torch.float32), st.integers(-4, 4), st.integers(1, 4))
def test_cat_of_likes(x: torch.Tensor, dim: int, count: int) -> None:
    _is_silent_or_right((torch.cat, ((x,) * count, dim), {}))


@pytest.mark.parametrize("func", RECURRENT)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_recurrent(func: Any, layers: int, both_ways: bool, batch_first: bool, bias: bool) -> None:
    with torch.device("meta"):
        net = RECURRENT[func](
            5, 3, layers, bidirectional=both_ways, batch_first=batch_first, bias=bias
        )
        x = torch.empty(2, 4, 5)
        state = torch.zeros(layers * (1 + both_ways), 2 if batch_first else 4, 3)
    hidden = (state, state) if func is torch.lstm else state
    call = (func, (x, hidden, net._flat_weights, bias, layers, 0.0, False, both_ways), {})
    call = (func, (*call[1], batch_first), {})
    assert RULES[func](*call[1]) == _really(call) is not None


def test_what_a_rule_must_not_touch() -> None:
    x = torch.empty(2, 3, 4, 4, device="meta")
    with torch.device("meta"):
        projected = nn.LSTM(3, 4, proj_size=2)
    assert RULES[F.relu](x, inplace=True) is None
    assert RULES[F.batch_norm](x, None, None, training=True) is None
    state = torch.empty(1, 2, 2, device="meta"), torch.empty(1, 2, 4, device="meta")
    weights = projected._flat_weights
    told = RULES[torch.lstm](torch.empty(5, 2, 3, device="meta"), state, weights, True, 1, 0.0)
    assert told is None
