"""The closed forms against SCIENCE's anchors, and the mean field against matrices and nets."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_viz.core.experiments.depth import NetKind
from resnet_viz.experiments.depth.checks import closed_forms
from resnet_viz.experiments.depth.closed_theory import (
    chi,
    fixed_point,
    moments,
    normed_factor,
    normed_residual_factor,
)
from resnet_viz.experiments.depth.conv_gain import conv_gain
from resnet_viz.experiments.depth.mean_field import (
    WideBlock,
    WideConv,
    predicted_factors,
    textbook_factor,
)
from resnet_viz.sources.family.parts import ACTIVATIONS


def _kind(activation: str, norm: str = "none", residual: bool = False, init: str = "he") -> NetKind:
    return NetKind(activation=activation, init=init, norm=norm, residual=residual)


@pytest.mark.parametrize(
    ("weight", "factor"), [(1.3, 0.880164), (2.5, 1.133516), (4.0, 1.342402), (1.76095, 1.0)]
)
def test_tanh_has_the_published_mean_field(weight: float, factor: float) -> None:
    assert chi("tanh", weight, fixed_point("tanh", weight, 0.05)) == pytest.approx(factor, abs=2e-6)


def test_tanh_is_critical_where_it_should_be() -> None:
    low, high = 1.0, 4.0
    for _ in range(30):
        middle = (low + high) / 2
        below = chi("tanh", middle, fixed_point("tanh", middle, 0.05)) < 1
        low, high = (middle, high) if below else (low, middle)
    assert low == pytest.approx(1.76095, abs=5e-6)
    assert fixed_point("tanh", low, 0.05) == pytest.approx(0.57005, abs=5e-6)


@given(q=st.floats(1e-3, 100))
@settings(max_examples=20, deadline=None)
def test_relu_has_its_known_moments(q: float) -> None:
    found = moments("relu", q)
    assert float(found.mean) == pytest.approx(math.sqrt(q / (2 * math.pi)), rel=1e-12)
    assert float(found.second) == pytest.approx(q / 2, rel=1e-12)
    assert float(found.slope) == pytest.approx(1 / 2, rel=1e-12)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "gelu", "elu"])
def test_moments_are_the_integrals(activation: str) -> None:
    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    function = getattr(torch.nn.functional, activation)
    step = 1e-5
    values = function(2 * z)
    slopes = (function(2 * z + step) - function(2 * z - step)) / (2 * step)
    found = moments(activation, 4.0)
    for got, of in ((found.mean, values), (found.second, values**2), (found.slope, slopes**2)):
        assert float(got) == pytest.approx(float(torch.trapezoid(of * density, z)), abs=1e-5)


def test_batch_norm_explodes_by_the_published_factor() -> None:
    assert normed_factor("relu") == pytest.approx(math.pi / (math.pi - 1), rel=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_batch_norm_never_vanishes(activation: str) -> None:
    # The Gaussian Poincaré inequality.
    assert normed_factor(activation) >= 1


def test_the_first_residual_block_doubles_and_late_ones_hardly_grow() -> None:
    assert normed_residual_factor(1) == 2
    assert normed_residual_factor(1000) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("form", closed_forms(), ids=lambda form: form.what)
def test_wide_layers_meet_the_closed_form(form) -> None:  # type: ignore[no-untyped-def]
    # Not the seed that the experiment has by default.
    assert form.check(seed=3).holds


def test_a_wrong_closed_form_is_not_met() -> None:
    form = closed_forms()[0]
    check = replace(form, expected=form.expected * 1.1).check(seed=0)
    assert not check.holds
    assert check.allowed == "within 3 % (finite width, 2 draws)"


def test_textbook_factors_are_those_of_two_layers() -> None:
    assert textbook_factor(_kind("relu")) == pytest.approx(1)
    assert textbook_factor(_kind("relu", init="xavier")) == pytest.approx(1 / 2)
    assert textbook_factor(_kind("relu", "batch")) == pytest.approx(math.pi / (math.pi - 1))
    assert textbook_factor(_kind("relu", residual=True)) is None
    assert textbook_factor(_kind("relu", init="normal")) is None


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [5, 8])
def test_gradients_go_back_by_the_adjoint(stride: int, side: int) -> None:
    conv = WideConv(gain=1.7, taps=9, stride=stride)
    x = torch.rand(side, side, dtype=torch.float64)
    y = conv.forward(x)
    g = torch.rand_like(y)
    assert float((y * g).sum()) == pytest.approx(float((x * conv.backward(g, x.shape)).sum()))


def _blocks(taps: int, gain: float, count: int = 3) -> list[WideBlock]:
    conv = WideConv(gain=gain, taps=taps, stride=1)
    return [WideBlock(conv, conv, 4, 4)] * count


@pytest.mark.parametrize(("gain", "factor"), [(2.0, 1.0), (1.0, 0.5)])
def test_without_borders_relu_has_the_textbook_factor(gain: float, factor: float) -> None:
    conv = WideConv(gain=gain, taps=1, stride=1)
    found, _ = predicted_factors(_kind("relu"), conv, _blocks(1, gain), torch.randn(4, 2, 6, 6))
    assert found == pytest.approx((factor,) * 3)


def test_maps_of_two_by_two_lose_five_of_nine_taps() -> None:
    conv = WideConv(gain=2.0, taps=9, stride=1)
    found, source = predicted_factors(_kind("relu"), conv, _blocks(9, 2.0), torch.ones(1, 1, 2, 2))
    # |g|² loses 5/9 in each of two layers.
    assert found == pytest.approx((4 / 9,) * 3)
    assert "borders" in source


def test_a_sigmoid_on_the_shortcut_leaves_a_quarter_at_most() -> None:
    silent = _blocks(1, 1e-9)
    found, _ = predicted_factors(
        _kind("sigmoid", residual=True), silent[0].first, silent, torch.zeros(1, 1, 4, 4)
    )
    assert all(factor < 1 / 4 for factor in found)
    # The first block's sum is sigmoid(0) = 1/2, the same in every channel.
    half = torch.tensor(0.5, dtype=torch.float64).sigmoid()
    assert found[-1] == pytest.approx(float(half * (1 - half)), rel=1e-6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(3, 2, 3, 3), (2, 5, 3, 3)])
def test_no_convolution_stretches_more_than_its_bound(
    stride: int, shape: tuple[int, int, int, int]
) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    side = 8

    def conv(x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(1, shape[1], side, side)
        return torch.nn.functional.conv2d(x, weight, stride=stride, padding=1).flatten()

    matrix = torch.autograd.functional.jacobian(
        conv, torch.zeros(shape[1] * side**2, dtype=torch.float64)
    )
    true = float(torch.linalg.matrix_norm(matrix, 2))
    assert true <= conv_gain(weight)
    if stride == 1:
        assert conv_gain(weight) < 1.4 * true
