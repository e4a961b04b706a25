"""Merged flows are what one process would have measured over all their batches."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnet_viz.core.chain import Link
from resnet_viz.core.forward_facts import Activity, Detached, NonFinite, NormMode
from resnet_viz.core.gradient_flow import (
    CallGradient,
    Cosine,
    EdgeShare,
    GradientFlow,
    GradientStats,
    Loss,
    NotSeparable,
    ParameterGradient,
    UnitRatios,
)
from resnet_viz.core.graph import OpId
from resnet_viz.core.magnitudes import BINS, quantiles_of
from resnet_viz.core.merging import merge_flows

FORK, LEFT, RIGHT, OTHER = (OpId(name) for name in ("fork", "left", "right", "other"))


def stats(l2: float, **fields: Any) -> GradientStats:
    return GradientStats(numel=4, l2=l2, rms=l2 / 2, **fields)


def one_batch(loss: float = 1.0, **fields: Any) -> GradientFlow:
    given: dict[str, Any] = {"calls": (), "parameters": (), "shares": ()} | fields
    return GradientFlow(
        loss=Loss(name="mse", value=loss),
        mode="train",
        device="cpu",
        batch_size=8,
        data="noise",
        **given,
    )


def batch_of(seed: int) -> GradientFlow:
    """One batch of a net of two calls, two parameters and a fork; not all is in every batch."""
    rng = random.Random(seed)
    share, zeros = rng.uniform(-5, 5), rng.random()

    def norm() -> float:
        return float(10 ** rng.uniform(-6, 6))

    full = stats(
        norm(),
        low=rng.uniform(-9, 0),
        high=rng.uniform(0, 9),
        mean=rng.uniform(-1, 1),
        mean_abs=norm(),
        zero_fraction=zeros,
        histogram=tuple(rng.randrange(50) for _ in range(BINS)),
    )
    separable, used, ran, three = (rng.random() < 0.5 for _ in range(4))
    edges = {LEFT: share, RIGHT: 1 - share}
    if three:
        edges = {LEFT: share, RIGHT: 0.25 - share, OTHER: 0.75}
    return one_batch(
        rng.uniform(-1e3, 1e3),
        calls=(
            CallGradient(op=FORK, stats=stats(norm())),
            *((CallGradient(op=LEFT, stats=stats(norm())),) if ran else ()),
            CallGradient(op=RIGHT, stats=stats(norm())),
        ),
        parameters=(
            ParameterGradient(
                name="w",
                stats=full,
                weight_l2=2.0,
                units=UnitRatios(
                    units=4, median=norm(), high=norm(), above=rng.random()
                ),
                update_ratio=norm(),
                cosine=Cosine(mean=rng.uniform(-1, 1), count=rng.randint(1, 5)),
            ),
            ParameterGradient(
                name="b",
                stats=stats(norm()) if used else None,
                weight_l2=0.0,
                reason="" if used else "never used in the forward",
            ),
        ),
        shares=tuple(
            EdgeShare(src=FORK, dst=dst, share=s, norm_ratio=abs(s), cosine=math.tanh(s))
            for dst, s in (edges.items() if separable else ())
        ),
        not_separable=() if separable else (NotSeparable(fork=FORK, reason="zero"),),
        activities=(
            (Activity(op=LEFT, units=3, active=zeros, dead=zeros / 2, exact=True),) if ran else ()
        ),
        chain=(
            Link(
                name="", kind="layer", start=FORK, end=RIGHT, depth=1,
                gradient_in=math.nan, gradient_out=math.nan, gain=math.nan, product=math.nan,
            ),
        ),
        notes=(f"note {rng.randrange(3)}",),
    )  # fmt: skip


flows = st.builds(batch_of, st.integers(0, 10**9))


def close(a: object, b: object) -> bool:
    """Whether two values are equal, their floats to 1e-12."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(close, a, b))
    if type(a) is type(b) and hasattr(a, "__dataclass_fields__"):
        names = [n for n, f in a.__dataclass_fields__.items() if f.init]
        return all(close(getattr(a, n), getattr(b, n)) for n in names)
    return a == b


@settings(max_examples=60, deadline=None)
@given(st.lists(flows, min_size=2, max_size=6), st.data())
def test_merging_merged_flows_is_merging_all_at_once(
    batches: list[GradientFlow], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(batches) - 1))
    parts = [merge_flows(batches[:cut]), merge_flows(batches[cut:])]
    assert close(merge_flows(parts), merge_flows(batches))


@settings(max_examples=60, deadline=None)
@given(st.lists(flows, min_size=2, max_size=6))
def test_means_and_spreads_are_those_of_the_batches(batches: list[GradientFlow]) -> None:
    merged = merge_flows(batches)
    assert merged.batches == len(batches)

    def same(mean: float, spread: float | None, values: list[float]) -> None:
        assert mean == pytest.approx(statistics.fmean(values), rel=1e-12, abs=1e-12)
        if len(values) == 1:
            assert spread is None
        else:
            scale = max(map(abs, values))
            assert spread == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-9 * scale)

    same(merged.loss.value, merged.loss.spread, [f.loss.value for f in batches])
    for call in merged.calls:
        there = [s for f in batches if (s := f.get(call.op)) is not None]
        same(call.stats.l2, call.stats.spread, [s.l2 for s in there])
        assert call.stats.batches == len(there)
    weight = merged["w"]
    each = [f["w"] for f in batches]
    for name in ("rms", "mean", "mean_abs", "zero_fraction"):
        values = [getattr(s, name) for s in each]
        assert getattr(weight, name) == pytest.approx(statistics.fmean(values), rel=1e-12)
    assert weight.low == min(s.low for s in each if s.low is not None)
    assert weight.high == max(s.high for s in each if s.high is not None)
    assert weight.histogram == tuple(map(sum, zip(*(s.histogram for s in each), strict=True)))
    assert weight.zero_fraction is not None
    assert [(q.p, q.value) for q in weight.quantiles] == list(
        quantiles_of(weight.histogram, weight.zero_fraction)
    )
    for edge in merged.shares:
        at_fork = [f for f in batches if f.shares]
        found = [next((e.share for e in f.shares if e.dst == edge.dst), 0.0) for f in at_fork]
        same(edge.share, edge.spread, found)
    parameter = merged.parameters[0]
    cosines = [p.cosine for f in batches if (p := f.parameters[0]).cosine]
    assert parameter.cosine is not None
    assert parameter.cosine.count == sum(c.count for c in cosines)
    assert parameter.cosine.mean == pytest.approx(
        sum(c.mean * c.count for c in cosines) / parameter.cosine.count
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(flows, min_size=2, max_size=6))
def test_what_only_some_batches_have(batches: list[GradientFlow]) -> None:
    merged = merge_flows(batches)
    separable = sum(bool(f.shares) for f in batches)
    if separable:
        assert sum(e.share for e in merged.shares) == pytest.approx(1)
        assert {e.batches for e in merged.shares} == {separable}
    assert sum(n.batches for n in merged.not_separable) == len(batches) - separable
    bias = merged.parameters[1]
    used = sum(f.parameters[1].stats is not None for f in batches)
    assert (bias.stats.batches if bias.stats else 0) == used
    assert (bias.reason == "") == (used > 0)
    ran = sum(bool(f.activities) for f in batches)
    assert [a.batches for a in merged.activities] == ([ran] if ran else [])


def test_the_chain_is_of_the_merged_norms() -> None:
    calls = [
        tuple(CallGradient(op=op, stats=stats(l2)) for op, l2 in pairs)
        for pairs in (((FORK, 4.0), (RIGHT, 2.0)), ((FORK, 8.0), (RIGHT, 1.0)))
    ]
    link = Link(
        name="", kind="block", start=FORK, end=RIGHT, depth=3,
        gradient_in=4.0, gradient_out=2.0, gain=2.0, product=2.0,
    )  # fmt: skip
    merged = merge_flows([one_batch(calls=c, chain=(link,)) for c in calls])
    (found,) = merged.chain
    assert (found.gradient_in, found.gradient_out, found.gain) == (6.0, 1.5, 4.0)


def test_facts_of_the_forward_are_united() -> None:
    norm = NormMode(
        module="n", type_name="BatchNorm2d", statistics="batch", training=True, places=8
    )
    first = one_batch(norms=(norm,), notes=("a",), detached=(Detached(op=LEFT, how="detach"),))
    bad = NonFinite(direction="forward", op=LEFT, value="NaN", low=1.0, later=2)
    second = one_batch(
        norms=(replace(norm, places=3),),
        notes=("b", "a"),
        detached=first.detached,
        nonfinite=(bad,),
    )
    third = one_batch(nonfinite=(replace(bad, low=-1.0, later=1),))
    merged = merge_flows([first, second, third])
    assert merged.notes == ("a", "b")
    assert merged.detached == first.detached
    assert merged.norms == (replace(norm, places=3),)
    assert merged.nonfinite == (replace(bad, low=-1.0, later=2),)


def test_a_gradient_that_is_not_finite_stays_so() -> None:
    for value in (math.inf, math.nan):
        parts = [1.0, value, 2.0]
        made = [
            one_batch(calls=(CallGradient(op=LEFT, stats=stats(v, low=v, high=v)),)) for v in parts
        ]
        assert not merge_flows(made)[LEFT].finite


def test_a_ratio_that_is_not_a_number_stays_none() -> None:
    full = UnitRatios(units=2, median=0.5, high=1.0, above=0.0)
    parts = [
        ParameterGradient(name="w", stats=stats(1.0), weight_l2=1.0, units=units)
        for units in (full, replace(full, high=math.nan), full)
    ]
    merged = merge_flows([one_batch(parameters=(part,)) for part in parts]).parameters[0].units
    assert merged is not None
    assert math.isnan(merged.high)


def test_parameters_without_gradient_in_any_batch_keep_the_reason() -> None:
    frozen = ParameterGradient(name="w", stats=None, weight_l2=1.0, reason="frozen")
    zero = ParameterGradient(name="w", stats=stats(0.0), weight_l2=1.0, reason="exactly zero")
    for rows, reason in (((frozen, frozen), "frozen"), ((zero, frozen, zero), "exactly zero")):
        merged = merge_flows([one_batch(parameters=(row,)) for row in rows])
        assert merged.parameters[0].reason == reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "eval"}, "mode"),
        ({"stats": "full"}, "stats"),
        ({"loss": Loss(name="l1", value=1.0)}, "losses"),
        ({"parameters": ()}, "parameters"),
        (
            {"parameters": (ParameterGradient(name="w", stats=None, weight_l2=1.01),)},
            "norm of w is 1 and 1.01",
        ),
    ],
)
def test_flows_of_different_models_are_refused(changes: dict[str, Any], words: str) -> None:
    flow = one_batch(parameters=(ParameterGradient(name="w", stats=None, weight_l2=1.0),))
    with pytest.raises(ValueError, match=words):
        merge_flows([flow, replace(flow, **changes)])
    with pytest.raises(ValueError, match="no flow"):
        merge_flows([])


def test_one_flow_is_itself_and_loses_nothing() -> None:
    flow = one_batch(notes=("a",))
    assert merge_flows([flow]) is flow
