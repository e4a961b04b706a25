"""Single rules at their edges, and how a cause silences its symptoms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace

import pytest

from resnet_viz.analysis import annotate
from resnet_viz.analysis.diagnose import RULES, diagnose
from resnet_viz.analysis.findings.explaining import unexplained
from resnet_viz.analysis.rules import Thresholds
from resnet_viz.core.errors import UserError
from resnet_viz.core.finding import Finding
from resnet_viz.core.forward_facts import Activity, Detached, NonFinite, NormMode
from resnet_viz.core.gradient_flow import (
    CallGradient,
    EdgeShare,
    GradientFlow,
    Loss,
    ParameterGradient,
)
from resnet_viz.core.graph import ModelGraph, OpId
from tests.analysis.builder import Builder
from tests.analysis.test_diagnose import a_flow, chain, made, whats


@pytest.mark.parametrize(
    ("name", "value"),
    [("dead_units", 50.0), ("saturated", -0.1), ("depth_factor", math.nan), ("update_low", -1.0)],
)
def test_a_threshold_that_means_nothing_is_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"threshold {name}="):
        Thresholds(**{name: value})


def a_net() -> ModelGraph:
    """A linear layer, a tanh, a hand-written GELU, a ReLU, a head."""
    b = Builder()
    x = b.linear(b.input(8, 16), 16, module="a")
    x = b.op("tanh", x, module="plain")
    t = b.op("tanh", b.mul(x, 0.8, module="gelu"), module="gelu")
    x = b.mul(x, b.add(t, 1.0, module="gelu"), module="gelu")
    x = b.relu(x, module="cut")
    return b.build(b.op("sigmoid", b.linear(x, 4, module="head"), module="answer"))


def judged(
    graph: ModelGraph, flow: GradientFlow, thresholds: Thresholds | None = None
) -> tuple[Finding, ...]:
    return diagnose(graph, annotate(graph), (flow,), thresholds)


def with_activity(**activity: float) -> GradientFlow:
    row = Activity(op=OpId("cut/relu#0"), units=64, **activity)  # type: ignore[arg-type]
    return replace(a_flow(), activities=(row,))


@pytest.mark.parametrize(
    ("dead", "limit", "found"),
    [(0.68, 0.5, False), (0.70, 0.5, True), (0.5, 0.25, True), (0.25, 0.25, False), (1, 1, True)],
)
def test_dead_units_need_three_standard_errors_more_than_the_threshold(
    dead: float, limit: float, found: bool
) -> None:
    flags = judged(a_net(), with_activity(dead=dead), Thresholds(dead_units=limit))
    assert bool(flags) == found


def test_saturation_of_gates_counts_that_of_answers_and_of_gelu_does_not() -> None:
    ops = ("plain/tanh#0", "gelu/tanh#0", "answer/sigmoid#0")
    rows = tuple(Activity(op=OpId(op), units=16, saturated=0.9) for op in ops)
    (finding,) = judged(a_net(), replace(a_flow(), activities=rows))
    assert finding.where == ("plain/tanh#0",)
    assert "90.0 %" in finding.evidence


def test_saturation_explains_a_slope() -> None:
    graph, _, flow = chain([0.3**i for i in range(12, 0, -1)])
    assert whats(judged(graph, flow)) == ["vanishing gradient"]
    row = Activity(op=OpId("relu#11"), units=16, saturated=0.9)
    assert whats(judged(graph, replace(flow, activities=(row,)))) == ["saturated units"]


# --- normalisation --------------------------------------------------------------------------


def norm(**changes: object) -> NormMode:
    row = NormMode(module="bn", type_name="BatchNorm2d", statistics="running", training=False)
    return replace(row, **changes)  # type: ignore[arg-type]


def in_mode(mode: str, *norms: NormMode) -> list[tuple[str, str]]:
    flow = replace(a_flow(), mode=mode, norms=norms)
    return [(f.what, f.severity) for f in judged(a_net(), flow)]


WRONG = "normalisation in the wrong mode"


def test_frozen_statistics_are_a_way_to_fine_tune() -> None:
    assert in_mode("train", norm(steps=100, frozen=True)) == []
    assert in_mode("train", norm(steps=100)) == [(WRONG, "note")]
    assert in_mode("train", norm(fresh=True, frozen=True)) == [(WRONG, "warning")]
    assert in_mode("eval", norm(steps=100)) == []
    assert in_mode("eval", norm(fresh=True)) == [(WRONG, "warning")]


def test_train_mode_is_right_in_a_net_in_train_mode() -> None:
    by_batch = norm(statistics="batch", training=True, places=64)
    assert in_mode("train", by_batch) == []
    assert in_mode("eval", by_batch) == [(WRONG, "warning")]
    # Without running statistics it always takes the batch's.
    assert in_mode("eval", replace(by_batch, training=False)) == []


@pytest.mark.parametrize(("places", "found"), [(2, True), (3, True), (4, False)])
def test_few_values(places: int, found: bool) -> None:
    row = norm(statistics="batch", training=True, places=places)
    assert bool(in_mode("train", row)) == found


# --- NaN and infinity -----------------------------------------------------------------------


def test_a_mask_of_infinity_is_none_of_our_business() -> None:
    b = Builder()
    x = b.op("masked_fill", b.linear(b.input(8, 16), 16), -math.inf)
    graph = b.build(b.op("softmax", x))
    row = NonFinite(direction="forward", op=OpId("masked_fill#0"), value="infinity")
    assert judged(graph, replace(a_flow(), nonfinite=(row,))) == ()
    broken = replace(a_flow(), nonfinite=(row,), loss=Loss(name="own", value=math.nan))
    (finding,) = judged(graph, broken)
    assert (finding.what, finding.where) == ("non-finite value", ("loss",))


# --- detached ------------------------------------------------------------------------------


def test_a_cut_that_costs_nothing_is_no_finding() -> None:
    row = Detached(op=OpId("plain/tanh#0"), how="detach", parameters=("a.w0",))
    lost = ParameterGradient(name="a.w0", stats=None, weight_l2=1.0, reason="not on a path")
    moved = replace(lost, stats=made(1.0), reason="")
    cut = replace(a_flow(), detached=(row,))
    assert judged(a_net(), replace(cut, parameters=(moved,))) == ()
    (finding,) = judged(a_net(), replace(cut, parameters=(lost,)))
    assert (finding.what, finding.explains) == ("detached", ("a.w0",))


# --- explaining ----------------------------------------------------------------------------


def full_flow() -> GradientFlow:
    return replace(
        a_flow(
            calls=tuple(
                CallGradient(op=OpId(op), stats=made(1.0)) for op in ("a.b/relu#0", "ab/relu#0")
            ),
            parameters=(
                ParameterGradient(name="a.b.weight", stats=made(1.0), weight_l2=1.0),
                ParameterGradient(name="a.frozen", stats=None, weight_l2=1.0, reason="frozen"),
                ParameterGradient(name="ab.weight", stats=made(1.0), weight_l2=1.0),
            ),
            shares=(
                EdgeShare(src=OpId("a.b/relu#0"), dst=OpId("ab/relu#0"), share=1.0, norm_ratio=1.0,
                          cosine=1.0),
            ),
        ),
        activities=(Activity(op=OpId("a.b/relu#0"), units=4),),
        norms=(norm(module="a.norm"),),
    )  # fmt: skip


def left(flow: GradientFlow, explained: Sequence[str]) -> tuple[int, ...]:
    (rest,) = unexplained((flow,), explained)
    assert isinstance(rest, GradientFlow)
    return tuple(
        len(rows)
        for rows in (rest.calls, rest.parameters, rest.shares, rest.activities, rest.norms)
    )


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        ((), (2, 3, 1, 1, 1)),
        (("a.b/relu#0",), (1, 3, 0, 0, 1)),
        (("ab.weight",), (2, 2, 1, 1, 1)),
        (("a",), (1, 2, 0, 0, 1)),
        (("",), (0, 1, 0, 0, 1)),
        (("a.frozen", "a.norm"), (2, 2, 1, 1, 0)),
    ],
)
def test_what_is_explained_is_gone(names: tuple[str, ...], counts: tuple[int, ...]) -> None:
    assert left(full_flow(), names) == counts


def test_later_rules_do_not_see_what_an_earlier_one_explains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph, structure, flow = chain([1.4**-i for i in range(30)])
    cause = Finding(severity="error", what="cause", where=(), evidence="", threshold="",
                    source="", remedy="", explains=("",))  # fmt: skip
    rules = {"cause": lambda *_: (cause,), **RULES}
    monkeypatch.setattr("resnet_viz.analysis.diagnose.RULES", rules)
    assert whats(diagnose(graph, structure, (flow,))) == ["cause"]


def test_every_threshold_is_told_what_it_is() -> None:
    words = Thresholds.__doc__ or ""
    assert all(f"        {field.name}: " in words for field in fields(Thresholds))
