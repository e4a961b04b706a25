"""The checks of the degradation experiment hold where they should, and only there."""

from __future__ import annotations

import math

import pytest

from resnet_viz.core.experiments.common import LayerNorms
from resnet_viz.core.experiments.degradation import Epoch, TrainedNet
from resnet_viz.experiments.degradation.checks import (
    FACTOR_PER_LAYER,
    backward_factor,
    check_nets,
)


def _norms(depth: int, factor: float) -> LayerNorms:
    """Norms that grow by a factor per layer on the way back."""
    stages = [
        f"layer{stage}.{block}.conv{conv}"
        for stage in (1, 2, 3)
        for block in range((depth - 2) // 6)
        for conv in (1, 2)
    ]
    layers = ("conv1", *stages, "fc")
    return LayerNorms(
        step=0, layers=layers, norms=tuple(factor ** (depth - i) for i in range(depth))
    )


def _net(
    depth: int, residual: bool, *, loss: float, error: float, factor: float, seed: int = 0
) -> TrainedNet:
    epoch = Epoch(
        number=1, train_loss=loss, train_error=error, eval_train_loss=loss,
        eval_train_error=error, test_loss=loss, test_error=error, learning_rate=0.1,
    )  # fmt: skip
    return TrainedNet(
        variant="", depth=depth, residual=residual, seed=seed, params=depth,
        weights_digest=f"{depth}-{seed}", gradients=(_norms(depth, factor),), epochs=(epoch,),
        seconds=0.0,
    )  # fmt: skip


def _as_published(seed: int = 0) -> list[TrainedNet]:
    return [
        _net(20, False, loss=0.005, error=0.001, factor=FACTOR_PER_LAYER, seed=seed),
        _net(56, False, loss=1.5, error=0.6, factor=FACTOR_PER_LAYER, seed=seed),
        _net(20, True, loss=0.001, error=0.0, factor=1.04, seed=seed),
        _net(56, True, loss=0.0005, error=0.0, factor=1.03, seed=seed),
    ]


def test_all_hold_for_the_published_order():
    checks = check_nets([*_as_published(0), *_as_published(1)])
    assert len(checks) == 8
    assert all(check.holds for check in checks)
    slope = next(check for check in checks if check.expected == FACTOR_PER_LAYER)
    assert slope.measured == pytest.approx(1.2111, abs=1e-4)
    assert math.isclose(FACTOR_PER_LAYER**2, 1.4669, abs_tol=1e-4)


@pytest.mark.parametrize(
    ("index", "change", "missed"),
    [
        (1, {"loss": 0.004, "error": 0.0, "factor": 1.21}, 2),
        (1, {"loss": 0.02, "error": 0.01, "factor": 1.21}, 1),
        (3, {"loss": 0.5, "error": 0.2, "factor": 1.03}, 2),
        (3, {"loss": float("nan"), "error": 0.9, "factor": 1.03}, 2),
        (1, {"loss": 1.5, "error": 0.6, "factor": 1.0}, 3),
        (3, {"loss": 0.0005, "error": 0.0, "factor": 1.5}, 1),
    ],
)
def test_one_bad_seed_is_enough_to_miss(index, change, missed):
    nets = _as_published(1)
    nets[index] = _net(nets[index].depth, nets[index].residual, seed=1, **change)
    checks = check_nets([*_as_published(0), *nets])
    assert sum(not check.holds for check in checks) == missed


def test_a_plain_net_that_diverged_is_worse_than_any():
    nets = _as_published()
    nets[1] = _net(56, False, loss=float("nan"), error=0.9, factor=FACTOR_PER_LAYER)
    assert all(check.holds for check in check_nets(nets))


def test_there_are_only_checks_of_what_was_trained():
    plain, _, residual, _ = _as_published()
    assert check_nets([]) == ()
    assert check_nets([residual]) == ()
    assert len(check_nets([plain])) == 1
    assert len(check_nets([plain, residual])) == 3
    shallow = [_net(8, kind, loss=1, error=0, factor=1.1) for kind in (False, True)]
    assert len(check_nets(shallow)) == 1
    other = _net(20, True, loss=1, error=0, factor=1, seed=0)
    unlike = [plain, TrainedNet(**{**_fields(other), "weights_digest": "other"})]
    assert not check_nets(unlike)[-1].holds


def _fields(net: TrainedNet) -> dict[str, object]:
    return {name: getattr(net, name) for name in net.__dataclass_fields__}


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.2111])
def test_the_backward_factor_of_a_geometric_chain_is_its_factor(factor):
    assert backward_factor(_norms(20, factor)) == pytest.approx(factor)
    assert math.isnan(backward_factor(LayerNorms(step=0, layers=("fc",), norms=(1.0,))))
