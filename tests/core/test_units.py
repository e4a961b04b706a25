"""Numbers as people read them."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.core.units import count, nbytes, percent, scientific, shape, si

_PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (11_689_512, "11.7 M"),
        (25_557_032, "25.6 M"),
        (4_089_184_256, "4.09 G"),
        (1.2e13, "12.0 T"),
        (-25_557_032, "-25.6 M"),
    ],
)
def test_si(value, text):
    assert si(value) == text


@given(st.integers(0, 10**15))
def test_si_is_within_half_a_percent_and_reads_back(value):
    number, _, prefix = si(value).partition(" ")
    assert math.isclose(float(number) * _PREFIX[prefix], value, rel_tol=0.005)


@pytest.mark.parametrize(
    ("value", "text"), [(12, "12 B"), (4096, "4.10 kB"), (102_228_128, "102 MB")]
)
def test_bytes(value, text):
    assert nbytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3.1e-5, "3.10e-05"),
        (0.0123, "0.0123"),
        (1.0, "1"),
        (1234.5, "1234"),
        (5e7, "5.00e+07"),
        (math.nan, "NaN"),
        (math.inf, "∞"),
        (-math.inf, "-∞"),
    ],
)
def test_scientific(value, text):
    assert scientific(value) == text


@given(st.floats(-1e300, 1e300))
def test_scientific_keeps_three_digits(value):
    assert math.isclose(float(scientific(value)), value, rel_tol=0.006, abs_tol=5e-324)


def test_percent():
    assert percent(0.4321) == "43.2 %"
    assert percent(-0.05) == "-5.0 %"


def test_shape():
    assert shape((1, 64, 56, 56)) == "1×64×56×56"
    assert shape(()) == "scalar"


@pytest.mark.parametrize(
    ("number", "noun", "plural", "text"),
    [
        (0, "skip", None, "0 skips"),
        (1, "skip", None, "1 skip"),
        (16, "skip", None, "16 skips"),
        (2, "branch", "branches", "2 branches"),
        (12345, "op", None, "12,345 ops"),
    ],
)
def test_count(number, noun, plural, text):
    assert count(number, noun, plural) == text


@given(st.integers(0, 10**15))
def test_no_number_wraps_a_line(value):
    assert not re.search(r"[\n\t]", si(value) + nbytes(value) + scientific(value))
