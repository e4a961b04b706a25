"""While it runs: progress, batches, memory that runs out, other devices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from resnet_viz.analysis import annotate
from resnet_viz.measuring.attributions.measure import METHODS
from resnet_viz.tracing.tracer import trace_model
from tests.measuring.attributions.explaining import (
    IG,
    Net,
    Recurrent,
    attribute_inputs,
    bars,
    explain,
)


def test_batching_changes_nothing(net: Net, images: Tensor) -> None:
    whole = explain(net, images, internal_batch_size=1000)[IG]
    for rows in (1, 3, 4):
        parts = explain(net, images, internal_batch_size=rows)[IG]
        for a, b in zip(whole, parts, strict=True):
            assert a.delta == pytest.approx(b.delta, rel=1e-6, abs=1e-12)
            assert a.heatmap is not None
            assert b.heatmap is not None
            assert a.heatmap.high == pytest.approx(b.heatmap.high, rel=1e-6)


@pytest.mark.parametrize("rows", [None, 1, 2, 5, 100])
def test_progress_counts_every_forward(net: Net, images: Tensor, rows: int | None) -> None:
    class Counter:
        total, done, finished = 0, 0, False

        def start(self, label: str, total: int | None = None) -> None:
            self.total = total or 0

        def advance(self, parts: int = 1) -> None:
            self.done += parts

        def finish(self) -> None:
            self.finished = True

    counter = Counter()
    explain(
        net, images, internal_batch_size=rows, n_steps=7, progress=counter,
        methods=tuple(METHODS), layer="norm", force=True,
    )  # fmt: skip
    assert counter.done == counter.total > len(METHODS)
    assert counter.finished


MANY_ROWS = [
    "integrated_gradients", "smoothgrad", "gradient_shap", "deep_lift_shap", "layer_conductance",
    "layer_integrated_gradients", "internal_influence", "occlusion", "feature_ablation",
]  # fmt: skip


@pytest.mark.parametrize("name", MANY_ROWS)
def test_fewer_rows_are_tried_where_memory_runs_out(net: Net, images: Tensor, name: str) -> None:
    options: dict[str, Any] = {
        "methods": (name,), "n_steps": 8, "n_samples": 8, "layer": "norm", "target": (0, 3),
        "internal_batch_size": 32,
    }  # fmt: skip
    whole = explain(net, images, **options)
    graph = trace_model(net, (images,))
    sizes: list[int] = []

    def refuse(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        sizes.append(len(args[0]))
        if len(args[0]) > 8:
            raise torch.OutOfMemoryError("too much")

    handle = net.stem.register_forward_pre_hook(refuse)
    parts = attribute_inputs(net, (images,), graph=graph, structure=annotate(graph), **options)
    handle.remove()
    assert max(sizes) > 8
    assert sizes.count(max(sizes)) <= 2
    (a,), (b,) = (found.arrays(name).values() for found in (whole, parts))
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9 * np.abs(a).max())


@pytest.mark.gpu
def test_an_accelerator_gives_the_same_and_the_model_stays_where_it_is(net: Net) -> None:
    device = torch.accelerator.current_accelerator()
    model = Recurrent(True).float()
    x = torch.randn(2, 5, 4)
    here, there = (explain(model, x, device=d) for d in (torch.device("cpu"), device))
    assert next(model.parameters()).device.type == "cpu"
    assert there.device.startswith(str(device.type))
    for a, b in zip(here.maps, there.maps, strict=True):
        torch.testing.assert_close(bars(a), bars(b), rtol=1e-3, atol=1e-5)
    images = torch.rand(2, 3, 16, 16)
    here, there = (explain(net.float(), images, device=d) for d in (torch.device("cpu"), device))
    for a, b in zip(here.maps, there.maps, strict=True):
        assert a.heatmap is not None
        assert b.heatmap is not None
        assert a.heatmap.high == pytest.approx(b.heatmap.high, rel=1e-2, abs=1e-6)
