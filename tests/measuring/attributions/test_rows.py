"""Rows in parts: the same scores and gradients, whatever the parts; nothing kept beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from captum.attr import GradientShap, IntegratedGradients, NoiseTunnel, Saliency
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from resnet_viz.analysis import annotate
from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.measuring.attributions.question import Question, asking
from resnet_viz.measuring.attributions.rows import kernels, row_scores
from resnet_viz.tracing.tracer import trace_model


class Net(nn.Module):
    """Convolution, batch norm in eval mode, a skip, in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.body = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.stem(x)).relu_()
        y = y + self.body(y).tanh()
        result: Tensor = self.head(y.mean((2, 3)))
        return result


class Masked(nn.Module):
    """A second tensor that grows with the batch and is not attributed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        result: Tensor = self.layer(x.tanh() * mask[..., None]).sum(1)
        return result


@contextmanager
def questions(model: nn.Module, *args: Tensor, **options: Any) -> Iterator[Question]:
    graph = trace_model(model, args)
    asked = AttributionOptions(**options)
    with asking(model, args, graph=graph, structure=annotate(graph), options=asked) as found:
        yield found[0]


def close(found: Tensor, expected: Tensor, part: float) -> None:
    """Equal to a part of the largest value."""
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= part * float(expected.abs().max())


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    net = Net()
    nn.init.normal_(net.norm.running_mean)
    return net.eval()


@given(
    rows=st.integers(1, 9),
    samples=st.integers(1, 3),
    times=st.integers(1, 4),
    double=st.booleans(),
)
def test_scores_and_gradients_do_not_depend_on_the_parts(
    net: nn.Module, rows: int, samples: int, times: int, double: bool
) -> None:
    dtype = torch.float64 if double else torch.float32
    model = net.to(dtype)
    x = torch.randn(samples, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=dtype)
    target = [3, 1, 4][:samples]
    with questions(model, x, internal_batch_size=rows, target=target) as question:
        many = torch.cat([x * (k + 1) / times for k in range(times)])
        whole, parts = (many.clone().requires_grad_() for _ in range(2))
        expected, found = question.forward(whole), row_scores(question)(parts)
        weights = torch.arange(1, len(many) + 1, dtype=dtype)
        (expected * weights).sum().backward()
        (found * weights).sum().backward()
        part = 1e-12 if double else 1e-5
        close(found.detach(), expected.detach(), part)
        assert whole.grad is not None
        assert parts.grad is not None
        close(parts.grad, whole.grad, part)
        assert question.use.rows <= max(rows, 1)
        with torch.no_grad():
            close(row_scores(question)(many), expected.detach(), part)


METHODS: dict[str, Callable[[Any, Any], Any]] = {
    "saliency": lambda f, x: Saliency(f).attribute(x.clone().requires_grad_()),
    "integrated": lambda f, x: IntegratedGradients(f).attribute(x, n_steps=7),
    "smooth": lambda f, x: NoiseTunnel(Saliency(f)).attribute(x, nt_samples=5, stdevs=0.2),
    "shap": lambda f, x: GradientShap(f).attribute(
        x, n_samples=5, stdevs=0.1, baselines=torch.cat([x * 0, x])
    ),
}


def draws(seed: int) -> None:
    """Captum draws noise by torch, baselines and places between them by NumPy."""
    torch.manual_seed(seed)
    np.random.seed(seed)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("dtype", "part"), [(torch.float32, 1e-4), (torch.float64, 1e-6)])
def test_equals_captum_with_the_same_draws(
    net: nn.Module, name: str, dtype: torch.dtype, part: float
) -> None:
    model = net.to(dtype)
    x = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(2)).to(dtype)
    draws(3)
    expected = METHODS[name](lambda t: model(t)[:, 2], x).detach()
    with questions(model, x, internal_batch_size=2, target=2) as question:
        draws(3)
        close(METHODS[name](row_scores(question), x).detach(), expected, part)


def test_what_grows_with_the_batch_is_taken_apart_with_it() -> None:
    torch.manual_seed(0)
    model = Masked().double()
    x, mask = torch.randn(2, 5, 4).double(), torch.rand(2, 5).round().double()
    with questions(model, x, mask, internal_batch_size=1, target=0) as question:
        many = tuple(torch.cat([t, 2 * t, 3 * t]) for t in question.subject.inputs)
        extras = tuple(torch.cat([t] * 3) for t in question.subject.extras)
        whole, parts = (tuple(t.clone().requires_grad_() for t in many) for _ in range(2))
        expected = torch.autograd.grad(question.forward(*whole, *extras).sum(), whole)
        found = torch.autograd.grad(row_scores(question)(*parts, *extras).sum(), parts)
        for a, b in zip(found, expected, strict=True):
            close(a, b, 1e-12)


def test_samples_that_do_not_come_first_are_taken_apart_where_they_are() -> None:
    class TimeFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.lstm(x)[0]
            return result

    torch.manual_seed(0)
    model = TimeFirst().double()
    with questions(model, torch.randn(6, 2, 3).double(), internal_batch_size=1) as question:
        assert question.subject.axis == 1
        many = torch.randn(6, 4, 3).double()
        whole, parts = (many.clone().requires_grad_() for _ in range(2))
        (expected,) = torch.autograd.grad(question.forward(whole).sum(), whole)
        (found,) = torch.autograd.grad(row_scores(question)(parts).sum(), parts)
        close(found, expected, 1e-12)


def test_a_second_derivative_is_refused_not_wrong(net: nn.Module) -> None:
    with questions(net.float(), torch.randn(1, 3, 6, 6), target=0) as question:
        x = question.inputs[0].requires_grad_()
        score = row_scores(question)(x)
        with pytest.raises(RuntimeError, match="no second derivative"):
            torch.autograd.grad(score.sum(), x, create_graph=True)


def test_where_samples_meet_the_batch_stays_whole() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten()
    ).double()
    x = torch.randn(3, 3, 4, 4).double()
    with questions(model, x, internal_batch_size=1, target=0) as question:
        whole, parts = (x.clone().requires_grad_() for _ in range(2))
        (expected,) = torch.autograd.grad(question.forward(whole).sum(), whole)
        (found,) = torch.autograd.grad(row_scores(question)(parts).sum(), parts)
        assert torch.equal(found, expected)


def test_an_input_used_by_some_rows_only_gets_zeros_for_the_others() -> None:
    class Choosy(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            total = x.sum(1, keepdim=True)
            return torch.cat([total, total * y[:, :1]], 1) if bool((y[:, 0] > 0).any()) else total

    model = Choosy()
    x, y = torch.ones(1, 2), torch.ones(1, 2)
    with questions(model, x, y, internal_batch_size=1, target=0) as question:
        many = torch.ones(2, 2).requires_grad_(), torch.tensor([[1.0, 1], [-1, 1]]).requires_grad_()
        grads = torch.autograd.grad(row_scores(question)(*many).sum(), many)
        assert torch.equal(grads[0], torch.ones(2, 2))
        assert torch.equal(grads[1], torch.zeros(2, 2))


# -- oneDNN's products --------------------------------------------------------------


@pytest.mark.parametrize("norm_first", [True, False])
def test_products_of_onednn_change_nothing(
    norm_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_MACS", 1)
    monkeypatch.setattr(kernels, "_MACS_PER_OP", 0)
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        16, 2, 32, dropout=0.0, batch_first=True, norm_first=norm_first
    )
    # The choice of one token leaves the others without a gradient.
    model = nn.Sequential(layer, _First(), nn.Linear(16, 4))
    x = torch.randn(1, 40, 16)
    count = _same_by_parts(model, x, monkeypatch)
    assert bool(count) is kernels._works()


@pytest.mark.parametrize(("window", "stride", "goes"), [(4, 4, True), (4, 2, False), (3, 4, False)])
def test_patches_are_one_product(
    window: int, stride: int, goes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_MACS", 1)
    monkeypatch.setattr(kernels, "_MACS_PER_OP", -1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, window, stride), nn.Tanh(), nn.Flatten())
    count = _same_by_parts(model, torch.randn(1, 3, 16, 24), monkeypatch)
    assert bool(count) is (goes and kernels._works())


def _same_by_parts(model: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many products oneDNN did; gradients are the same as without."""
    with questions(model, x, internal_batch_size=2, target=1) as question:
        many = torch.randn(7, *x.shape[1:])
        whole, parts = (many.clone().requires_grad_() for _ in range(2))
        (expected,) = torch.autograd.grad(question.forward(whole).sum(), whole)
        with _counting(monkeypatch) as calls:
            (found,) = torch.autograd.grad(row_scores(question)(parts).sum(), parts)
        close(found, expected, 1e-5)
        return len(calls)


class _First(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


@contextmanager
def _counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    calls: list[int] = []
    product = kernels._product

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        calls.append(len(x))
        return product(x, weight, bias)

    monkeypatch.setattr(kernels, "_product", counted)
    yield calls


# -- layout and precision -----------------------------------------------------------


def test_channels_last_changes_no_value_and_no_memory() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18().eval()
    before = [(p, p.data_ptr(), p.stride()) for p in model.parameters()]
    x = torch.randn(1, 3, 64, 64)
    found = []
    for wish in (False, True):
        with questions(model, x, channels_last=wish, target=0) as question:
            laid_out = model.conv1.weight.is_contiguous(memory_format=torch.channels_last)
            assert laid_out is wish
            assert question.settings == ("channels last" if laid_out else "")
            found.append(question.value)
        assert [(p, p.data_ptr(), p.stride()) for p in model.parameters()] == before
    for values in found[1:]:
        close(values, found[0], 1e-5)


def test_bfloat16_autocast_is_near_and_said(net: nn.Module) -> None:
    x = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(4))
    grads = []
    for autocast in (False, True):
        with questions(net.float(), x, autocast=autocast, target=0) as question:
            assert ("bfloat16" in question.settings) is autocast
            leaf = x.clone().requires_grad_()
            scores = row_scores(question)(leaf)
            assert scores.dtype == torch.float32
            grads.append(torch.autograd.grad(scores.sum(), leaf)[0])
    assert not torch.equal(grads[0], grads[1])
    close(grads[1], grads[0], 0.05)
