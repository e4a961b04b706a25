"""Which outputs have memory of their own, against the storages of real forwards."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from resnet_viz.analysis.allocation import Allocations
from resnet_viz.analysis.strides import contiguous, expanded, indexed, is_contiguous, like, viewed
from resnet_viz.core.graph import TensorSpec
from resnet_viz.tracing.calls import CallObserver, state_names
from resnet_viz.tracing.tracer import trace_model
from resnet_viz.tracing.trees import tensors_in
from resnet_viz.tracing.walk import Walk
from tests.analysis import zoo

SIZES = st.lists(st.integers(1, 4), min_size=0, max_size=5)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Any strided tensor: permuted, sliced, expanded."""
    base = torch.empty(draw(SIZES), device="meta")
    base = base.permute(draw(st.permutations(range(base.ndim))))
    for axis in range(base.ndim):
        start = draw(st.integers(0, base.shape[axis] - 1))
        base = base.narrow(axis, start, draw(st.integers(1, base.shape[axis] - start)))
        if base.shape[axis] == 1 and draw(st.booleans()):
            base = base.expand([3 if a == axis else -1 for a in range(base.ndim)])
    return base


@given(tensors(), st.randoms())
def test_a_view_is_possible_where_torch_says_so(x: Tensor, random: Any) -> None:
    # Another shape of as many elements: its prime factors dealt out anew.
    factors, rest = [1, 1], x.numel()
    for prime in (2, 3):
        while rest % prime == 0:
            factors.append(prime)
            rest //= prime
    new = [1] * random.randint(1, 5)
    for factor in factors:
        new[random.randrange(len(new))] *= factor
    assume(math.prod(new) == x.numel())
    found = viewed(tuple(x.shape), x.stride(), tuple(new))
    try:
        expected = x.view(new)
    except RuntimeError:
        assert found is None
        return
    assert found is not None
    # Where an axis of size one lies is nobody's business.
    assert [s for s, n in zip(found, new, strict=True) if n > 1] == [
        s for s, n in zip(expected.stride(), new, strict=True) if n > 1
    ]


@given(tensors())
def test_contiguous_where_torch_says_so(x: Tensor) -> None:
    assert is_contiguous(tuple(x.shape), x.stride()) == x.is_contiguous()
    assert contiguous(tuple(x.shape)) == torch.empty(x.shape, device="meta").stride()


@given(SIZES, st.data())
def test_elementwise_results_keep_the_order_of_axes(sizes: list[int], data: st.DataObject) -> None:
    x = torch.empty(sizes, device="meta").permute(data.draw(st.permutations(range(len(sizes)))))
    found, expected = like(tuple(x.shape), x.stride()), x.relu().stride()
    assert [s for s, n in zip(found, x.shape, strict=True) if n > 1] == [
        s for s, n in zip(expected, x.shape, strict=True) if n > 1
    ]


@given(tensors(), st.lists(st.integers(2, 3), max_size=2))
def test_expansion(x: Tensor, ahead: list[int]) -> None:
    new = (*ahead, *x.shape)
    assert expanded(tuple(x.shape), x.stride(), new) == (
        *(0 for _ in ahead), *x.stride(),
    )  # fmt: skip
    assert x.expand(new).stride() == expanded(tuple(x.shape), x.stride(), new)


@given(tensors(), st.data())
def test_indexing_by_numbers_and_slices(x: Tensor, data: st.DataObject) -> None:
    real: list[Any] = []
    told: list[Any] = []
    axes = data.draw(st.integers(0, x.ndim))
    # With "..." in front the indexed axes are the last ones.
    behind = data.draw(st.booleans())
    for size in x.shape[x.ndim - axes :] if behind else x.shape[:axes]:
        kind = data.draw(st.sampled_from(["all", "number", "step", "new"]))
        if kind == "new":
            real.append(None)
            told.append(None)
        if kind == "number":
            real.append(size - 1)
            told.append(size - 1)
        elif kind == "step":
            real.append(slice(0, None, 2))
            told.append("0::2")
        else:
            real.append(slice(None))
            told.append("::")
    if behind:
        real.insert(0, ...)
        told.insert(0, "...")
    found, expected = indexed(tuple(x.shape), x.stride(), tuple(told)), x[tuple(real)]
    assert found is not None
    assert len(found) == expected.ndim
    for stride, wanted, size in zip(found, expected.stride(), expected.shape, strict=True):
        assert stride == wanted or size == 1


class Storages(CallObserver):
    """Bytes of the storages that each op makes."""

    def __init__(self, model: nn.Module, given: Any) -> None:
        super().__init__(state_names(model))
        self.made: dict[str, int] = {}
        self._held: dict[int, torch.UntypedStorage] = {}
        for tensor in (*model.parameters(), *model.buffers(), *tensors_in(given)):
            self._new(tensor)

    def _new(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        if storage._cdata in self._held:
            return 0
        self._held[storage._cdata] = storage
        return storage.nbytes()

    def record(
        self,
        walk: Walk,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
        written: list[Tensor],
    ) -> None:
        for tensor in tensors_in((args, kwargs)):
            self._new(tensor)
        self.made[walk.next_id(func)] = sum(self._new(tensor) for tensor in outputs)


@pytest.mark.parametrize(
    "name",
    [
        "tv:resnet18", "tv:densenet121", "tv:mobilenet_v2", "tv:swin_t",
        "tv:convnext_tiny", "tv:googlenet", "tv:shufflenet_v2_x1_0", "timm:resnest14d",
        "timm:levit_128s", "timm:xcit_nano_12_p16_224", "hf:gpt2", "hf:llama", "hf:bert",
    ],
)  # fmt: skip
def test_every_op_allocates_what_it_allocates_for_real(name: str) -> None:
    if name in ("timm:levit_128s", "timm:xcit_nano_12_p16_224"):
        model, args, kwargs = zoo.model(name), (torch.zeros(1, 3, 224, 224),), {}
        graph = trace_model(model, args)
    else:
        (args, kwargs), model, graph = zoo._inputs(name), zoo.model(name), zoo.graph(name)
    storages = Storages(model, (args, kwargs))
    with torch.no_grad(), Walk(model, storages).watching():
        model(*args, **kwargs)
    expected = storages.made
    found: dict[str, int] = {**Allocations(graph).nbytes}
    # A constant that a module makes outside any op is nobody's.
    assert {k: v for k, v in found.items() if v != expected[k]} == {}


class Calls(nn.Module):
    """Views and copies of all sorts."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(5, 4))
        self.register_buffer("index", torch.tensor([0, 2, 2]))

    def forward(self, x: Tensor) -> list[Tensor]:
        y = x * 2
        z = y.transpose(1, 2)
        return [
            y[:, 0], y[:, [0, 1]], y[y > 0], y[self.index[:1]], self.table[self.index],
            self.table[1], self.table.expand(2, 5, 4), self.table.t().reshape(20),
            z.reshape(-1), z.contiguous().transpose(1, 2).reshape(-1), z.relu().reshape(-1),
            z.flatten(1).view(2, -1), y.unfold(1, 2, 1), y.repeat(1, 2, 1), y.expand_as(y),
            y.chunk(2, 1)[0].reshape(-1), y.split([1, 2], 1)[1], y.unbind(0)[1].t().contiguous(),
            y.to(torch.float32), y.to(torch.float64), y.half(), y.clone(), y.contiguous(),
            y.max(1)[1], y.argmax(), torch.complex(y, y), torch.view_as_real(torch.complex(y, y)),
            y.add_(1), y.squeeze(0), y[None], y[..., 0], y[..., ::2].reshape(2, -1),
            torch.stack([y, y]), torch.fft.fft(y), y.detach(), y.bool(), y.roll(1), y.real,
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (Calls(), torch.randn(2, 3, 4)),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.randn(2, 5, 8)),
        (nn.TransformerEncoderLayer(8, 2, 16).eval(), torch.randn(5, 2, 8)),
        (nn.LSTM(8, 4, 2, batch_first=True), torch.randn(2, 5, 8)),
    ],
    ids=["calls", "batch first", "batch second", "lstm"],
)
def test_views_and_copies_of_all_sorts(model: nn.Module, x: Tensor) -> None:
    storages = Storages(model, x)
    with torch.no_grad(), Walk(model, storages).watching():
        model(x)
    graph = trace_model(model, (x,), modes=("real",))
    assert dict(Allocations(graph).nbytes) == storages.made


@pytest.mark.parametrize(
    "dtype", [d for d in vars(torch).values() if isinstance(d, torch.dtype)], ids=str
)
def test_bytes_of_a_dtype_are_torchs(dtype: torch.dtype) -> None:
    name = str(dtype).removeprefix("torch.")
    assert TensorSpec(shape=(8, 3), dtype=name).nbytes == 24 * dtype.itemsize
