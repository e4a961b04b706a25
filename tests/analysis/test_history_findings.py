"""Findings over a training: made-up steps, one fault at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from resnet_viz.analysis.findings.history import diagnose_history
from resnet_viz.analysis.rules import Thresholds
from resnet_viz.core.history import (
    History,
    Step,
    StepFinding,
    WatchedActivation,
    WatchedParameter,
)

LAYERS = 12


def weight(i: int, l2: float | None = 1.0, ratio: float | None = 1e-3) -> WatchedParameter:
    return WatchedParameter(
        name=f"layer{i}.weight", l2=l2, weight_l2=10.0, update_ratio=ratio, axes=4
    )


def bias(i: int, l2: float | None = 1.0) -> WatchedParameter:
    return WatchedParameter(name=f"layer{i}.bias", l2=l2, weight_l2=0.0, axes=1)


def healthy(step: int) -> Step:
    rows = [row for i in range(LAYERS) for row in (weight(i), bias(i))]
    return Step(step=step, lr=0.1, l2=3.0, clipped_l2=3.0, loss=2.0, parameters=tuple(rows))


def over(steps: Sequence[Step]) -> History:
    return History(model="net", every=100, optimizers=("SGD(lr=0.1)",), steps=tuple(steps))


def judged(
    change: Callable[[Step], Step], at: Sequence[int] = range(10)
) -> tuple[StepFinding, ...]:
    """Ten steps, 100 apart, of which those ``at`` these places are changed."""
    steps = [healthy(100 * i) for i in range(10)]
    return diagnose_history(over([change(s) if i in at else s for i, s in enumerate(steps)]))


def with_rows(step: Step, change: Callable[[WatchedParameter], WatchedParameter]) -> Step:
    return replace(step, parameters=tuple(change(p) for p in step.parameters))


def test_a_healthy_training_and_an_empty_one_have_no_finding() -> None:
    assert judged(lambda step: step) == ()
    assert diagnose_history(over([])) == ()


def sloped(factor: float) -> Callable[[Step], Step]:
    def change(step: Step) -> Step:
        rows = [row for i in range(LAYERS) for row in (weight(i, factor**-i), bias(i, 1e6))]
        return replace(step, parameters=tuple(rows))

    return change


@pytest.mark.parametrize(
    ("factor", "what"),
    [(3.0, "exploding gradient"), (1 / 3, "vanishing gradient"), (1.5, None), (1 / 1.5, None)],
)
def test_gradients_that_change_from_layer_to_layer(factor: float, what: str | None) -> None:
    found = judged(sloped(factor))
    assert [f.finding.what for f in found] == ([what] if what else [])
    for f in found:
        assert f.finding.where == ("layer0.weight", "layer11.weight")
        assert "factor of 3 per weight" in f.finding.evidence
        assert (f.first, f.last, f.steps) == (0, 900, 10)


def test_what_passes_is_a_note_and_what_lasts_a_warning() -> None:
    (passing,) = judged(sloped(3.0), at=(2, 4))
    assert (passing.finding.severity, passing.first, passing.last, passing.steps) == (
        "note", 200, 400, 2,
    )  # fmt: skip
    (lasting,) = judged(sloped(3.0), at=range(5, 10))
    assert (lasting.finding.severity, lasting.steps) == ("warning", 5)


def test_nan_is_an_error_that_the_first_step_speaks_for() -> None:
    def broken(step: Step) -> Step:
        names = ("layer3.weight",) if step.step == 700 else ("layer3.weight", "layer4.weight")
        return replace(step, loss=math.nan, nonfinite=names)

    (found,) = judged(broken, at=(7, 8, 9))
    assert found.finding.severity == "error"
    assert (found.first, found.last, found.steps) == (700, 900, 3)
    assert "at step 700 the loss is NaN and the gradient of 1 parameter" in found.finding.evidence
    assert found.finding.where == ("layer3.weight", "layer4.weight")


def test_a_gradient_scaler_may_try_its_scale_out() -> None:
    def tried(step: Step) -> Step:
        return replace(step, scale=65536.0, nonfinite=("layer3.weight",))

    assert judged(tried, at=(0,)) == ()
    lost = judged(lambda step: replace(tried(step), loss=math.inf), at=(0,))
    assert [f.finding.what for f in lost] == ["non-finite gradient"]


def test_zero_gradients_are_excused_at_the_first_step_only() -> None:
    def zeroed(step: Step) -> Step:
        return with_rows(step, lambda p: replace(p, l2=0.0) if p.name == "layer2.weight" else p)

    assert judged(zeroed, at=(0,)) == ()
    (found,) = judged(zeroed)
    assert (found.finding.what, found.finding.where) == ("zero gradient", ("layer2.weight",))
    assert (found.first, found.steps) == (100, 9)


def activation(dead: float | None, saturated: float | None, units: int) -> Callable[[Step], Step]:
    row = WatchedActivation(name="act", dead=dead, saturated=saturated, units=units)
    return lambda step: replace(step, activations=(row,))


def test_dead_units_need_more_than_chance() -> None:
    # Three standard errors of 64 coins are 0.1875.
    assert judged(activation(0.68, None, 64)) == ()
    (found,) = judged(activation(0.70, None, 64))
    assert (found.finding.what, found.finding.where) == ("dead units", ("act",))
    assert "act has 70.0 % of its units dead" in found.finding.evidence
    assert judged(activation(1.0, None, 7)) == ()
    assert len(judged(activation(1.0, None, 8))) == 1


def test_saturated_units() -> None:
    assert judged(activation(None, 0.5, 0)) == ()
    (found,) = judged(activation(None, 0.51, 0))
    assert found.finding.what == "saturated units"


@pytest.mark.parametrize(("ratio", "what"), [(0.2, "update too large"), (1e-9, "update too small")])
def test_steps_of_the_wrong_size(ratio: float, what: str) -> None:
    def stepped(step: Step) -> Step:
        rows = (replace(p, update_ratio=ratio) if p.name == "layer5.weight" else p
                for p in step.parameters)  # fmt: skip
        return replace(step, parameters=tuple(rows))

    (found,) = judged(stepped)
    assert (found.finding.what, found.finding.where) == (what, ("layer5.weight",))
    loose = Thresholds(update_high=0.3, update_low=1e-10)
    steps = [stepped(healthy(i)) for i in range(3)]
    assert diagnose_history(over(steps), loose) == ()


def test_a_warm_up_from_a_learning_rate_of_zero_is_no_small_update() -> None:
    def cold(step: Step) -> Step:
        return replace(with_rows(step, lambda p: replace(p, update_ratio=0.0)), lr=0.0)

    assert judged(cold, at=(0,)) == ()


def test_parameters_that_never_get_a_gradient_or_a_step() -> None:
    def odd(step: Step) -> Step:
        def change(p: WatchedParameter) -> WatchedParameter:
            if p.name.startswith("layer0"):
                return replace(p, l2=None, update_ratio=None)
            return replace(p, update_ratio=None) if p.name == "layer1.weight" else p

        return with_rows(step, change)

    found = {f.finding.what: f for f in judged(odd)}
    assert set(found) == {"no gradient", "not in the optimizer"}
    assert found["no gradient"].finding.where == ("layer0.weight", "layer0.bias")
    assert found["no gradient"].finding.severity == "note"
    assert found["not in the optimizer"].finding.where == ("layer1.weight",)
    # One step with a gradient, or with an update, is enough to be seen.
    assert judged(odd, at=range(1, 10)) == ()


def test_two_optimizers_share_the_parameters() -> None:
    def halves(step: Step) -> Step:
        first = step.step % 200 == 0

        def change(p: WatchedParameter) -> WatchedParameter:
            mine = int(p.name.split(".")[0][5:]) < LAYERS // 2
            return p if mine == first else replace(p, l2=None, update_ratio=None)

        return with_rows(step, change)

    assert judged(halves) == ()
