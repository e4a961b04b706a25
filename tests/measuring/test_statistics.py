"""Statistics of a tensor against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from resnet_viz.core.gradient_flow import GradientStats
from resnet_viz.core.magnitudes import (
    BINS,
    BINS_PER_DECADE,
    HIGH_DECADE,
    LOW_DECADE,
    QUANTILES,
)
from resnet_viz.measuring.device import to_host
from resnet_viz.measuring.gradients.products import PIECE, dot, flat
from resnet_viz.measuring.gradients.statistics import (
    SAMPLE,
    Detail,
    measure,
    measure_units,
    measure_weight,
    read,
    read_units,
    unit_norms,
)

BIN = 10 ** (1 / BINS_PER_DECADE)


def stats_of(gradient: Tensor, detail: Detail = "sampled") -> GradientStats:
    rest = iter(to_host(measure(gradient, detail)))
    result = read(rest, gradient.numel(), detail)
    assert list(rest) == []
    return result


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=200),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_all_statistics_equal_numpy(values: list[float], dtype: torch.dtype) -> None:
    gradient = torch.tensor(values, dtype=dtype)
    g = gradient.double().numpy()
    stats, call, exact = (stats_of(gradient, detail) for detail in ("sampled", "range", "exact"))
    assert stats_of(gradient, "norm").l2 == call.l2
    weight = math.sqrt(measure_weight(gradient).item())
    norm = math.sqrt((g * g).sum())
    tiny = 1e-18
    for found in (stats, call, exact):
        assert found.numel == g.size
        assert found.l2 == pytest.approx(norm, rel=1e-5, abs=tiny)
        assert found.rms == pytest.approx(norm / math.sqrt(g.size), rel=1e-5, abs=tiny)
        assert (found.low, found.high) == (g.min(), g.max())
    assert weight == pytest.approx(norm, rel=1e-5, abs=tiny)
    assert stats.mean == pytest.approx(g.mean(), rel=1e-4, abs=1e-6 * np.abs(g).max() + tiny)
    assert stats.mean_abs == pytest.approx(np.abs(g).mean(), rel=1e-5, abs=tiny)
    assert stats.zero_fraction == pytest.approx((g == 0).mean())
    assert sum(stats.histogram) == (g != 0).sum()
    assert len(stats.histogram) == BINS
    wanted = np.quantile(np.abs(g), QUANTILES)
    assert [q.value for q in exact.quantiles] == pytest.approx(wanted, rel=1e-5, abs=tiny)


@given(
    st.integers(0, 2**31), st.floats(-9, 2), st.floats(0.0, 2.0), st.sampled_from([0.0, 0.3, 0.97])
)
def test_quantiles_are_right_within_one_bin(
    seed: int, middle: float, spread: float, zeros: float
) -> None:
    g = torch.Generator().manual_seed(seed)
    gradient = 10 ** (middle + spread * torch.randn(2000, generator=g).clamp(-2, 1))
    gradient[torch.rand(2000, generator=g) < zeros] = 0
    stats = stats_of(gradient)
    found = {q.p: q.value for q in stats.quantiles}
    assert list(found) == list(QUANTILES)
    for p, value in found.items():
        # Between two elements any value is a quantile.
        low, high = (np.quantile(gradient.numpy(), p, method=m) for m in ("lower", "higher"))
        assert low / BIN * 0.99 <= value <= high * BIN * 1.01


def test_a_sample_falls_into_step_with_no_axis() -> None:
    # A corner of every kernel is a million times larger than the rest: 1 in 9.
    gradient = torch.full((64, 64, 3, 3), 1e-6)
    gradient[..., 0, 0] = 1.0
    assert gradient.numel() // SAMPLE == 9
    stats = stats_of(gradient)
    size = sum(stats.histogram)
    big = sum(stats.histogram[-LOW_DECADE * BINS_PER_DECADE - 1 :])
    assert big / size == pytest.approx(1 / 9, rel=0.01)


def test_what_is_outside_the_histogram_goes_to_its_ends() -> None:
    stats = stats_of(torch.tensor([1e-30, 1e-30, 1e-30, 1e20], dtype=torch.float64))
    assert (stats.histogram[0], stats.histogram[-1]) == (3, 1)
    values = [q.value for q in stats.quantiles]
    assert values == sorted(values)
    assert values[0] <= 10 ** (LOW_DECADE + 1)
    assert values[-1] >= 10 ** (HIGH_DECADE - 1)


def test_zeros_nan_and_infinities_do_not_raise() -> None:
    zeros = stats_of(torch.zeros(5))
    assert (zeros.l2, zeros.zero_fraction, zeros.quantiles) == (0, 1, ())
    for bad in (math.nan, math.inf, -math.inf):
        stats = stats_of(torch.tensor([1.0, bad, 0.0]))
        assert not stats.finite
        assert stats.zero_fraction == pytest.approx(1 / 3)


@pytest.mark.parametrize("numel", [1, PIECE, PIECE + 1, 3 * PIECE, 3_000_001])
def test_dot_is_exact_to_a_few_parts_in_ten_million(numel: int) -> None:
    g = torch.Generator().manual_seed(numel)
    a, b = torch.randn(numel, generator=g), torch.randn(numel, generator=g)
    assert dot(a, a).item() == pytest.approx((a.double() @ a.double()).item(), rel=1e-6)
    scale = (a.norm() * b.norm()).item()
    assert dot(a, b).item() == pytest.approx((a.double() @ b.double()).item(), abs=1e-6 * scale)


def test_dot_remembers_what_is_small() -> None:
    """Rows of very different size: the class token of a transformer, a rare class."""
    g = torch.Generator().manual_seed(0)
    size = torch.exp(2 * torch.randn(3000, generator=g)).repeat_interleave(768)
    a = torch.randn(3000 * 768, generator=g) * size
    b = a * (1 + 0.1 * torch.randn(3000 * 768, generator=g))
    for left, right in ((a, a), (a, b)):
        exact = (left.double() @ right.double()).item()
        assert dot(left, right).item() == pytest.approx(exact, rel=1e-6)


def test_flat_rows_are_wide_enough() -> None:
    assert flat(torch.ones(2, 3, dtype=torch.bfloat16)).dtype == torch.float32
    assert flat(torch.ones(2, 3, dtype=torch.float64)).dtype == torch.float64
    assert flat(torch.tensor([3 + 4j])).tolist() == [3.0, 4.0]
    assert flat(torch.eye(2).to_sparse()).tolist() == [1, 0, 0, 1]
    x = torch.arange(6.0).view(2, 3).t()
    assert flat(x).tolist() == [0, 3, 1, 4, 2, 5]
    assert not flat(torch.ones(1, requires_grad=True)).requires_grad


def test_half_precision_does_not_overflow() -> None:
    stats = stats_of(torch.full((1000,), 300.0, dtype=torch.float16))
    assert stats.l2 == pytest.approx(300 * math.sqrt(1000))


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1.0, 1e25])
def test_norms_neither_underflow_nor_overflow(size: float) -> None:
    """A deep net of sigmoids has gradients of 1e-30, whose squares are no float32."""
    g = torch.Generator().manual_seed(0)
    gradient = size * torch.randn(3, 5000, generator=g)
    exact = gradient.double().norm().item()
    for detail in ("norm", "range", "sampled", "exact"):
        assert stats_of(gradient, detail).l2 == pytest.approx(exact, rel=1e-6)
    _, square, weight = measure_units(gradient, gradient)
    assert math.sqrt(square.item()) == pytest.approx(exact, rel=1e-6)
    assert math.sqrt(weight.item()) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    "shape", [(5, 3), (1, 7), (6, 4, 3, 3), (2, 25088), (3, 20011), (4, 16384), (1, 1)]
)
def test_unit_ratios_equal_numpy(shape: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(len(shape))
    weight = torch.randn(shape, generator=g)
    weight[0] = 0  # its norm counts as 1e-3
    gradient = (
        torch.randn(shape, generator=g)
        * 10 ** torch.randn(len(weight), generator=g).view(-1, *[1] * (len(shape) - 1))
        * 0.01
    )
    numbers, square, whole = measure_units(gradient, weight)
    found = read_units(iter(to_host(numbers)), len(weight))
    rows, sizes = (
        np.linalg.norm(t.double().numpy().reshape(len(t), -1), axis=1) for t in (gradient, weight)
    )
    ratios = rows / np.maximum(sizes, 1e-3)
    assert unit_norms(gradient).numpy() == pytest.approx(rows, rel=1e-6)
    assert found.units == len(weight)
    assert found.median == pytest.approx(np.median(ratios), rel=1e-5)
    assert found.high == pytest.approx(ratios.max(), rel=1e-5)
    assert found.above == pytest.approx((ratios > 0.01).mean())
    assert square.item() == pytest.approx((rows**2).sum(), rel=1e-6)
    assert whole.item() == pytest.approx((sizes**2).sum(), rel=1e-6)


def test_a_transposition_is_measured_as_what_it_shows() -> None:
    g = torch.Generator().manual_seed(0)
    gradient = torch.randn(300, 500, generator=g).t()
    image = torch.randn(4, 6, 9, 9, generator=g).to(memory_format=torch.channels_last)
    for tensor in (gradient, image, image[:, ::2], gradient[1:]):
        stats, same = stats_of(tensor, "exact"), stats_of(tensor.contiguous(), "exact")
        assert stats.l2 == pytest.approx(same.l2, rel=1e-6)
        assert stats.mean == pytest.approx(same.mean, rel=1e-3, abs=1e-6)
        assert (stats.low, stats.high) == (same.low, same.high)
        assert (stats.quantiles, stats.histogram) == (same.quantiles, same.histogram)
        assert torch.allclose(unit_norms(tensor), unit_norms(tensor.contiguous()), rtol=1e-6)
