"""Where and how a trace is called: contexts, interrupts, other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from resnet_viz.core.errors import TraceError
from resnet_viz.core.graph import ModelGraph
from resnet_viz.tracing.tracer import trace_model
from tests.gauntlet.checks import difference
from tests.gauntlet.portrait import changes, portrait, world


class Remembering(nn.Module):
    """Caches, counts, keeps statistics, and raises what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.cache: Tensor | None = None
        self.calls = 0
        self.raising: BaseException | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.cache is None:
            self.cache = torch.arange(4, device=x.device, dtype=x.dtype)
        y = torch.relu(self.norm(self.layer(x))) + x
        if self.raising is not None:
            raise self.raising
        return y * self.cache


X = torch.randn(3, 4)


def traced(model: nn.Module, **options: Any) -> ModelGraph:
    return trace_model(model, (X,), **options)


@pytest.mark.parametrize(
    "context",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.device("meta"),
        lambda: FlopCounterMode(display=False),
        torch.autograd.detect_anomaly,
    ],
    ids=["no_grad", "inference_mode", "meta by default", "counting", "anomalies"],
)
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_the_users_context_changes_nothing(
    context: Callable[[], AbstractContextManager[Any]],
) -> None:
    model = Remembering()
    graph = traced(model)
    before = world()
    with context():
        within = traced(model)
    assert difference(graph, within) is None
    assert changes(before, world()) == []


def test_the_users_autocast_is_part_of_the_forward() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        graph = traced(Remembering())
        (real,) = (traced(Remembering(), modes=("real",)),)
    assert graph["layer/linear#0"].outputs[0].dtype == "bfloat16"
    assert difference(graph, real) is None


@pytest.mark.parametrize("mode", ["meta", "fake", "real"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RecursionError, MemoryError])
def test_whatever_ends_a_forward_leaves_all_as_it_was(
    error: type[BaseException], mode: Any
) -> None:
    model = Remembering()
    model.raising = error()
    before, outside = portrait(model, X), world()
    with pytest.raises((TraceError, KeyboardInterrupt)):
        traced(model, modes=(mode,))
    assert changes(before, portrait(model, X)) == []
    assert changes(outside, world()) == []


def test_threads_trace_one_after_the_other() -> None:
    models = [Remembering() for _ in range(4)]
    graph, before = traced(models[0]), world()
    found: list[tuple[str | None, tuple[str, ...]]] = []

    def work(model: nn.Module) -> None:
        for _ in range(5):
            other = traced(model)
            found.append((difference(graph, other), other.warnings))

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(None, ())] * 20
    assert changes(before, world()) == []
