"""Shattered gradients: closed forms of Balduzzi et al. 2017, and explicit gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.measuring.test_propagation import Branch, Tokens, measured


def calibrated(model: nn.Module, x: Tensor) -> nn.Module:
    """In eval mode with the batch's own statistics in every batch norm."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = None  # the running statistics are the mean of all batches: one
            module.reset_running_stats()
    model.train()(x)
    return model.eval()


def feedforward(depth: int, width: int) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 1))


def test_with_norm_and_without_skips_the_correlation_halves_per_layer() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 512)
    found = measured(calibrated(feedforward(6, 512), x), x).shattering
    assert found is not None
    assert found.samples == 64
    assert found.places == ("15", "12", "9", "6", "3", "0", "input")
    for depth, correlation in enumerate(found.correlations[:-1], 1):
        assert correlation == pytest.approx(2**-depth, abs=0.012), depth
    assert found.correlations[-1] == pytest.approx(found.correlations[-2], abs=0.01)


def residual(depth: int, order: str, width: int) -> nn.Module:
    blocks = [Branch(width, order, conv=False) for _ in range(depth)]
    return nn.Sequential(*blocks, nn.Linear(width, 1))


def test_without_norm_a_block_keeps_three_quarters() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 512)
    found = measured(residual(4, "relu", 512).eval(), x).shattering
    assert found is not None
    assert found.places == ("3", "2", "1", "input")
    first, second, _, fourth = found.correlations
    # The last blocks' inputs correlate already, and then they keep more.
    assert 0.75 <= first < 0.90
    assert found.correlations == tuple(sorted(found.correlations, reverse=True))
    assert 0.75**4 <= fourth < 0.75**4 + 0.10
    assert second > fourth
    alone = measured(residual(1, "relu", 512).eval(), x).shattering
    assert alone is not None
    assert alone.correlations[-1] == pytest.approx(0.75, abs=0.02)


def test_with_norm_and_skips_it_falls_like_one_over_the_root_of_depth() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 512)
    for depth, measured_before in ((1, 0.739), (2, 0.620), (4, 0.458)):
        net = calibrated(residual(depth, "norm relu", 512), x)
        found = measured(net, x).shattering
        assert found is not None
        theory = math.prod(1 - 1 / (2 * (n + 1)) for n in range(1, depth + 1))
        assert found.correlations[-1] == pytest.approx(theory, abs=0.06)
        assert found.correlations[-1] == pytest.approx(measured_before, abs=0.03)


def test_against_the_gradient_of_each_sample_alone() -> None:
    torch.manual_seed(0)
    model, ids = Tokens().eval(), torch.randint(20, (3, 4))
    found = measured(model, ids, seed=7).shattering
    assert found is not None
    readout = torch.randn((4, 20), generator=torch.Generator().manual_seed(7))
    embedded = model.embedding(ids).detach()
    model.embedding = nn.Identity()
    rows = []
    for one in embedded:
        one = one[None].requires_grad_()
        (gradient,) = torch.autograd.grad((model(one) * readout).sum(), one)
        rows.append(gradient.flatten())
    cosines = [F.cosine_similarity(rows[i - 1], rows[i], dim=0) for i in range(3)]
    assert found.correlations[-1] == pytest.approx(float(sum(cosines)) / 3, rel=1e-4)
