"""Memory that runs out makes the parts smaller, and the answer the same."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from captum.attr import IntegratedGradients
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from resnet_viz.core.errors import ModelError
from resnet_viz.measuring.attributions.answers import answer
from resnet_viz.measuring.attributions.methods import METHODS
from resnet_viz.measuring.attributions.rows import (
    MemoryUse,
    in_fewer_rows,
    is_out_of_memory,
    row_scores,
)
from tests.measuring.attributions.explaining import explain
from tests.measuring.attributions.test_rows import Net, close, questions

CPU = "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"
ERRORS = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(CPU), MemoryError()]


def fails_above(model: nn.Module, rows: int, error: BaseException) -> list[int]:
    """Lets a model run out of memory on more rows; what it was given."""
    seen: list[int] = []

    def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
        seen.append(len(args[0]))
        if len(args[0]) > rows:
            raise error

    model.register_forward_pre_hook(hook)
    return seen


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_out_of_memory_halves_the_rows_and_changes_nothing(error: BaseException) -> None:
    torch.manual_seed(0)
    model = Net().double().eval()
    x = torch.randn(1, 3, 6, 6).double()
    expected = IntegratedGradients(model).attribute(x, target=2, n_steps=20)
    with questions(model, x, internal_batch_size=16, target=2) as question:
        seen = fails_above(model, 5, error)
        values = IntegratedGradients(row_scores(question)).attribute(x, n_steps=20)
        assert seen == [16, 8, 4, 4, 4, 4, 4]
        assert (question.use.rows, question.use.limit) == (4, 8)
        # What did not fit is not tried again.
        row_scores(question)(x.repeat(8, 1, 1, 1).requires_grad_())
        assert seen[7:] == [4, 4]
    close(values, expected, 1e-6)


def test_another_error_is_not_taken_for_memory() -> None:
    model = Net().eval()
    with questions(model, torch.randn(1, 3, 6, 6), internal_batch_size=8, target=0) as question:
        seen = fails_above(model, 1, RuntimeError("shapes do not match"))
        with pytest.raises(RuntimeError, match="shapes"):
            row_scores(question)(torch.randn(8, 3, 6, 6, requires_grad=True))
        assert seen == [8]


def test_where_no_row_fits_the_error_is_one_line() -> None:
    model = Net().eval()
    with questions(model, torch.randn(1, 3, 6, 6), target=0) as question:
        fails_above(model, 0, torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate"))
        with pytest.raises(ModelError, match="out of memory") as caught:
            answer(question, METHODS["saliency"])
        assert "\n" not in str(caught.value)


@given(rows=st.integers(1, 70), fits=st.integers(1, 70), least=st.integers(1, 4))
def test_halving_ends_and_remembers(rows: int, fits: int, least: int) -> None:
    use, tried = MemoryUse(), []

    def call(count: int) -> int:
        tried.append(count)
        if count > fits:
            raise torch.OutOfMemoryError
        return count

    if fits < least:
        with pytest.raises(torch.OutOfMemoryError):
            in_fewer_rows(call, rows, least=least, use=use)
        return
    found = in_fewer_rows(call, rows, least=least, use=use)
    assert found == tried[-1] == use.rows <= max(rows, least)
    assert tried == sorted(tried, reverse=True)
    assert len(tried) <= 8
    # Once known, it fits at once.
    tried.clear()
    if found > least:
        assert in_fewer_rows(call, rows, least=least, use=use) <= found
        assert len(tried) == 1


def test_what_failed_is_let_go_before_the_next_try() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def call(count: int) -> int:
        gc.collect()
        assert not any(ref() is not None for ref in alive)
        activations = torch.zeros(count)
        alive.append(weakref.ref(activations))
        if count > 1:
            raise torch.OutOfMemoryError
        return count

    assert in_fewer_rows(call, 8) == 1
    assert len(alive) == 4


def test_errors_of_memory_are_told_from_others() -> None:
    assert all(map(is_out_of_memory, ERRORS))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


class Deep(nn.Module):
    """Every layer keeps its input where its weight is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x).relu()
        return x


def test_no_more_is_kept_than_one_part_needs() -> None:
    """Frozen weights need no inputs: of a linear layer and a ReLU only the ReLU's output stays."""
    rows = 4
    with questions(Deep(), torch.randn(1, 64), internal_batch_size=rows, target=0) as question:
        x = torch.randn(40, 64, requires_grad=True)
        scores = row_scores(question)(x)
        # Six outputs of ReLUs and the index of the target.
        assert question.use.held == pytest.approx(6 * rows * 64 * 4, rel=0.1)
        kept = [t for t in scores.grad_fn.saved_tensors if t is not None]  # type: ignore[union-attr]
        assert [t.shape for t in kept] == [x.shape]
        assert question.use.peak(question.device) == question.use.held


def test_no_gradient_of_a_parameter_is_computed() -> None:
    model = Deep()
    with questions(model, torch.randn(1, 64), target=0) as question:
        x = torch.randn(8, 64, requires_grad=True)
        with torch.profiler.profile() as profile:
            row_scores(question)(x).sum().backward()
        products = sum(e.count for e in profile.key_averages() if e.key in ("aten::mm",))
        assert products == len(model.layers)
        assert not any(p.requires_grad for p in model.parameters())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.gpu
def test_on_a_gpu_the_parts_change_nothing_and_the_peak_is_measured() -> None:
    torch.manual_seed(0)
    model = Net().double().cuda().eval()
    x = torch.randn(1, 3, 64, 64).double().cuda()
    expected = IntegratedGradients(model).attribute(x, target=2, n_steps=64)
    with questions(model, x, internal_batch_size=64, target=2) as question:
        whole = IntegratedGradients(row_scores(question)).attribute(x, n_steps=64)
        most = question.use.peak(question.device)
    with questions(model, x, internal_batch_size=4, target=2) as question:
        seen = fails_above(model, 3, torch.OutOfMemoryError("CUDA out of memory"))
        values = IntegratedGradients(row_scores(question)).attribute(x, n_steps=64)
        least = question.use.peak(question.device)
        assert max(seen[1:]) == 2
    assert most is not None
    assert least is not None
    assert least < most
    close(whole, expected, 1e-6)
    close(values, expected, 1e-6)


def test_methods_that_hook_modules_say_a_peak_too() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    found = explain(model, torch.rand(2, 3, 8, 8), methods=("deep_lift",))
    # What convolution, ReLU and head put out; flattening allocates nothing.
    assert found.peak_bytes == 4 * 2 * (144 + 144 + 2)
