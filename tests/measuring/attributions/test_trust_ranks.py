"""Rank correlation and overlap: equal to the textbook, ties and constant maps included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.measuring.attributions.trust.ranks import (
    rank_correlation,
    ranks,
    strongest_overlap,
)

NUMBERS = st.lists(st.integers(-4, 4), min_size=2, max_size=30)


def mean_ranks(values: list[int]) -> list[float]:
    """By definition: how many are smaller, and the middle of those that are equal."""
    return [sum(o < v for o in values) + (sum(o == v for o in values) + 1) / 2 for v in values]


@given(NUMBERS)
def test_equal_values_share_the_mean_of_their_ranks(values: list[int]) -> None:
    assert ranks(torch.tensor(values, dtype=torch.float64)).tolist() == mean_ranks(values)


@given(NUMBERS, st.randoms(use_true_random=False))
def test_is_pearson_of_mean_ranks(values: list[int], random: object) -> None:
    others = [random.randint(-3, 3) for _ in values]  # type: ignore[attr-defined]
    a, b = torch.tensor(mean_ranks(values)), torch.tensor(mean_ranks(others))
    found = rank_correlation(torch.tensor(values).double(), torch.tensor(others).double())
    if len(set(values)) == 1 or len(set(others)) == 1:
        assert found == 0
    else:
        assert found == pytest.approx(float(torch.corrcoef(torch.stack([a, b]))[0, 1]), abs=1e-6)


def test_the_textbook_formula_without_ties() -> None:
    # 1 − 6 Σ d² / (n (n² − 1)) with d = (0, 1, −2, 1): 1 − 36/60.
    a, b = torch.tensor([1.0, 2, 3, 4]), torch.tensor([10.0, 30, 5, 40])
    d = ranks(a) - ranks(b)
    expected = 1 - 6 * float(d.square().sum()) / (4 * 15)
    assert rank_correlation(a, b) == pytest.approx(expected)


def test_only_order_counts() -> None:
    a = torch.rand(50, dtype=torch.float64)
    b = torch.rand(50, dtype=torch.float64)
    assert rank_correlation(a, a.exp() * 7) == pytest.approx(1)
    assert rank_correlation(a, -a) == pytest.approx(-1)
    assert rank_correlation(a, b) == pytest.approx(rank_correlation(b, a))


def test_what_has_no_order_gets_zero() -> None:
    a = torch.rand(9)
    assert rank_correlation(a, torch.ones(9)) == rank_correlation(torch.ones(9), a) == 0
    assert rank_correlation(a, torch.full((9,), float("nan"))) == 0
    assert rank_correlation(a, a / 0) == 0


def test_overlap_of_the_strongest_tenth() -> None:
    a = torch.zeros(40)
    a[:4] = 1
    b = torch.zeros(40)
    b[2:6] = 1
    assert strongest_overlap(a, a) == 1
    assert strongest_overlap(a, b) == 0.5
    assert strongest_overlap(a, torch.arange(40.0)) == 0
    # A map that ranks nothing finds what chance finds.
    assert strongest_overlap(a, torch.ones(40)) == pytest.approx(0.1)
    assert strongest_overlap(torch.ones(1), torch.ones(1)) == 1
