"""The model and the input stay as they were, whatever happens."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from resnet_viz.analysis import annotate
from resnet_viz.core.errors import ModelError
from resnet_viz.measuring.attributions.measure import METHODS
from resnet_viz.tracing.tracer import trace_model
from tests.measuring.attributions.explaining import (
    Net,
    assert_unchanged,
    attribute_inputs,
    explain,
    half_trained,
    state_of,
)


class Fuse(nn.Module):
    """Passes values on and raises after some calls."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 10**9

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the fuse blew")
        return x


def test_nothing_is_left_behind(net: Net, images: Tensor) -> None:
    """By any method, forced or not, at several layers, with every test of trust."""
    half_trained(net)
    graph = trace_model(net, (images,))
    before, copy, version = state_of(net), images.clone(), images._version
    attributes = {path: set(vars(m)) for path, m in net.named_modules()}
    drawn = np.random.get_state()[1].copy()
    attribute_inputs(
        net, (images,), graph=graph, structure=annotate(graph), n_steps=3, n_samples=2,
        methods=tuple(METHODS), force=True, layer=("norm", "body"), target="top2",
        relevance=True, stages=True, trust="quick",
    )  # fmt: skip
    assert_unchanged(net, before)
    assert {path: set(vars(m)) for path, m in net.named_modules()} == attributes
    assert np.array_equal(np.random.get_state()[1], drawn)
    assert torch.equal(images, copy)
    assert images._version == version
    assert not images.requires_grad


def test_nothing_is_left_behind_by_an_exception(net: Net, images: Tensor) -> None:
    fuse = Fuse()
    net.drop = nn.Sequential(nn.Dropout(), fuse)
    half_trained(net)
    graph = trace_model(net, (images,))
    structure = annotate(graph)
    for calls in range(4):
        fuse.left = calls
        before = state_of(net)
        with pytest.raises(ModelError, match="the fuse blew") as caught:
            attribute_inputs(
                net, (images,), graph=graph, structure=structure, internal_batch_size=2
            )
        assert "\n" not in str(caught.value)
        assert_unchanged(net, before)
        assert fuse.left == calls
    fuse.left = 0
    with pytest.raises(ModelError, match=r"in drop\.1 "):
        attribute_inputs(net, (images,), graph=graph, structure=structure)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_fails_half_way_leaves_nothing(name: str) -> None:
    torch.manual_seed(0)
    fuse = Fuse()
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), fuse, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).double()
    x = torch.rand(2, 3, 6, 6).double()
    graph = trace_model(net, (x,))

    def ask(calls: int) -> None:
        fuse.left = calls
        attribute_inputs(
            net, (x,), graph=graph, structure=annotate(graph), methods=(name,), layer="1",
            internal_batch_size=2, perturbations_per_eval=1, n_steps=2, target=0,
        )  # fmt: skip

    before = state_of(net)
    attributes = {path: set(vars(m)) for path, m in net.named_modules()}
    with pytest.raises(ModelError, match="the fuse blew") as caught:
        ask(1)
    assert "\n" not in str(caught.value)
    # Some methods are done by then.
    for calls in (2, 3):
        with suppress(ModelError):
            ask(calls)
        fuse.left = 10**9
        assert_unchanged(net, before)
        assert {path: set(vars(m)) for path, m in net.named_modules()} == attributes


def test_tokens_leave_no_hook(bert: Any) -> None:
    ids = torch.tensor([[5, 9, 30]])
    graph = trace_model(bert, (ids,))
    before = state_of(bert)
    attribute_inputs(bert, (ids,), graph=graph, structure=annotate(graph), n_steps=2)
    assert_unchanged(bert, before)


def test_works_and_repeats_where_gradients_are_off(net: Net, images: Tensor) -> None:
    graph = trace_model(net, (images,))
    options: dict[str, Any] = {"graph": graph, "structure": annotate(graph), "n_steps": 4}
    with torch.inference_mode():
        first = attribute_inputs(net, (images.clone(),), **options)
    torch.manual_seed(99)
    with torch.no_grad():
        second = attribute_inputs(net, (images,), **options)
    assert first == second


def test_no_warning_reaches_the_user(net: Net, images: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(net, images, internal_batch_size=1, methods=tuple(METHODS), force=True)
