"""What is measured of one net, against leaves, finite differences and the bounds."""

from __future__ import annotations

import itertools
import math
import operator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_viz.core.experiments.depth import DepthRun, NetKind
from resnet_viz.experiments.depth.checks import grid_checks
from resnet_viz.experiments.depth.first_steps import LEARNING_RATES, take_first_steps
from resnet_viz.experiments.depth.probing import build_kind, norms_of, probe
from resnet_viz.experiments.gradient_norms import weight_layers

WIDTHS = (4, 6, 8)


def _kind(activation: str, init: str, norm: str, residual: bool) -> NetKind:
    return NetKind(activation=activation, init=init, norm=norm, residual=residual)


def _batch(count: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(count, 1, 8, 8, generator=generator)
    return inputs, torch.randint(10, (count,), generator=generator)


def _probe(kind: NetKind, depth: int, seed: int = 0, widths: tuple[int, ...] = WIDTHS) -> DepthRun:
    inputs, labels = _batch()
    return probe(
        kind, depth, widths=widths, inputs=inputs, labels=labels, classes=10, seed=seed
    )  # fmt: skip


def _split(model: nn.Module, inputs: Tensor) -> tuple[Tensor, list[nn.Module]]:
    """The first block's input, and the blocks."""
    stem = nn.Sequential(*(model.get_submodule(name) for name in ("conv1", "bn1", "relu")))
    blocks = [b for n in (1, 2, 3) for b in model.get_submodule(f"layer{n}").children()]
    return stem(inputs), blocks


def _rest(model: nn.Module, blocks: list[nn.Module], x: Tensor, labels: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return functional.cross_entropy(model.get_submodule("fc")(x.mean((2, 3))), labels)


KINDS = [
    _kind("relu", "he", "batch", True),
    _kind("tanh", "orthogonal", "none", False),
    _kind("sigmoid", "normal", "none", True),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.label)
def test_the_chain_is_the_gradient_of_what_follows_each_place(kind: NetKind) -> None:
    run = _probe(kind, 14)
    inputs, labels = _batch()
    model = build_kind(kind, 14, WIDTHS, 1, 10, 0).double()
    x, blocks = _split(model, inputs.double())
    assert len(run.exact) == len(run.activations) == len(run.wrapped) == len(blocks) + 1
    for place in range(len(blocks) + 1):
        leaf = x.detach().requires_grad_()
        loss = _rest(model, blocks[place:], leaf, labels)
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert run.exact[place] == pytest.approx(float(gradient.norm()), rel=1e-9)
        assert run.activations[place] == pytest.approx(run.exact[place], rel=1e-3)
        assert run.loss == pytest.approx(float(loss.detach()), rel=1e-5)
        if place < len(blocks):
            x = blocks[place](x)
            assert run.outputs[place] == pytest.approx(float(x.detach().square().mean().sqrt()))


def test_the_gradient_is_what_finite_differences_say() -> None:
    kind = _kind("tanh", "xavier", "none", True)
    inputs, labels = _batch(2)
    run = probe(kind, 8, widths=(2, 2, 3), inputs=inputs, labels=labels, classes=10, seed=1)
    model = build_kind(kind, 8, (2, 2, 3), 1, 10, 1).double()
    with torch.no_grad():
        x, blocks = _split(model, inputs.double())
        x = blocks[0](x)
        squares = 0.0
        for at in range(x.numel()):
            step = torch.zeros_like(x)
            step.view(-1)[at] = 1e-5
            losses = [_rest(model, blocks[1:], x + sign * step, labels) for sign in (1, -1)]
            squares += float((losses[0] - losses[1]) / 2e-5) ** 2
    assert run.exact[1] == pytest.approx(math.sqrt(squares), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.label)
def test_products_are_running_products_of_factors(kind: NetKind) -> None:
    run = _probe(kind, 14)
    for whole, parts in ((run.products, run.factors), (run.expected, run.predicted)):
        assert whole == pytest.approx(tuple(itertools.accumulate(parts, operator.mul)))
    assert run.per_block ** len(run.outputs) == pytest.approx(run.products[-1])
    assert run.stages == (1, 1, 2, 2, 3, 3)
    assert len(run.weights.layers) == len(run.weights.norms) == 14


def test_plain_and_residual_twins_have_the_same_parameters() -> None:
    nets = [build_kind(_kind("relu", "he", "batch", r), 8, WIDTHS, 1, 10, 5) for r in (False, True)]
    states = [net.state_dict() for net in nets]
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_measuring_leaves_the_generator_alone() -> None:
    before = torch.get_rng_state()
    _probe(KINDS[0], 8)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("init", ["he", "xavier", "orthogonal", "normal"])
def test_no_plain_sigmoid_net_exceeds_its_bound(init: str, seed: int) -> None:
    run = _probe(_kind("sigmoid", init, "none", False), 20, seed)
    blocks = len(run.outputs)
    assert run.bounds == tuple(4.0 ** (-2 * done) for done in range(1, blocks + 1))
    assert len(run.weight_bounds) == blocks
    assert all(p <= b for p, b in zip(run.products, run.weight_bounds, strict=True))


def test_sigmoid_vanishes_and_its_shortcut_halves_the_exponent() -> None:
    plain, residual = (_probe(_kind("sigmoid", "xavier", "none", r), 32) for r in (False, True))
    assert plain.per_block < 1 / 16
    assert residual.per_block == pytest.approx(1 / 4, rel=0.25)
    assert residual.bounds == tuple(4.0**-done for done in range(1, 16))
    assert residual.weight_bounds == ()


def test_batch_norm_explodes_in_plain_nets_and_shortcuts_tame_it() -> None:
    plain, residual = (_probe(_kind("relu", "he", "batch", r), 56) for r in (False, True))
    assert plain.per_block > 1.2
    assert residual.products[-1] < plain.products[-1] / 10
    # Exponential against a power: the late stages' factors tell.
    assert residual.factors[0] < 1.15 < plain.factors[0]


def test_borders_are_what_parts_a_narrow_net_from_the_textbook() -> None:
    run = _probe(_kind("relu", "he", "none", False), 44, widths=(16, 16, 16))
    assert run.textbook == pytest.approx(1)
    assert run.per_wrapped_block == pytest.approx(1, rel=0.1)
    assert run.per_block < 0.8
    assert run.per_block == pytest.approx(run.expected[-1] ** (1 / 21), rel=0.1)


@pytest.mark.parametrize("residual", [False, True])
def test_batch_norm_meets_its_theory_where_there_are_no_borders_alone(residual: bool) -> None:
    run = _probe(_kind("sigmoid", "he", "batch", residual), 32)
    # The closed form says that it explodes; with zeros around the images it vanishes.
    assert run.per_block < 0.8 < 1 < min(run.predicted)
    (check,) = grid_checks([run])
    assert "wrap around" in check.what
    assert check.measured == run.per_wrapped_block
    assert check.expected == pytest.approx(run.expected[-1] ** (1 / len(run.outputs)))
    assert check.holds


def test_every_net_without_norm_is_held_against_theory_as_it_is() -> None:
    runs = [_probe(_kind("tanh", "xavier", "none", residual), 32) for residual in (False, True)]
    words = [check.what.partition(",")[0] for check in grid_checks(runs)]
    assert words == [
        "factor per block",
        "factor per block where images wrap around",
        "factor per block",
    ]


def test_a_gradient_that_float32_cannot_hold_is_told() -> None:
    run = _probe(_kind("sigmoid", "normal", "none", False), 56)
    assert run.weights.norms[0] == 0
    assert run.activations[0] == 0 < run.exact[0] < 1e-60
    assert run.lost_after is not None
    assert run.activations[::-1][run.lost_after] == 0 < run.activations[::-1][run.lost_after - 1]
    assert all(math.isfinite(factor) and factor > 0 for factor in run.factors)
    assert _probe(_kind("relu", "he", "batch", True), 8).lost_after is None


def test_norms_survive_what_squares_do_not() -> None:
    tensors = [torch.full((4,), value) for value in (1e-30, 1e-45, 1e30, 0.0, math.inf, math.nan)]
    expected = [2 * float(tensor[0]) for tensor in tensors]
    assert norms_of(tensors).tolist() == pytest.approx(expected, rel=1e-6, nan_ok=True)


def _steps(kind: NetKind, optimizer: str, depth: int = 8, steps: int = 3):  # type: ignore[no-untyped-def]
    inputs, labels = _batch()
    return take_first_steps(
        kind, depth, optimizer, widths=WIDTHS, inputs=inputs, labels=labels, classes=10, seed=0,
        steps=steps,
    )  # fmt: skip


@pytest.mark.parametrize("optimizer", LEARNING_RATES)
def test_first_updates_are_what_each_rule_says(optimizer: str) -> None:
    kind = _kind("relu", "he", "batch", True)
    found = _steps(kind, optimizer)
    model = build_kind(kind, 8, WIDTHS, 1, 10, 0)
    weights = weight_layers(model)
    run = _probe(kind, 8)
    assert found.layers == tuple(weights)
    assert found.gradients == pytest.approx(run.weights.norms, rel=1e-5)
    assert found.losses[0] == pytest.approx(run.loss, rel=1e-6)
    assert len(found.losses) == 4
    assert len(found.updates) == 3
    for weight, gradient, update in zip(
        weights.values(), found.gradients, found.updates[0], strict=True
    ):
        # Adam's first step is the learning rate in every weight whose gradient is no dust.
        moved = math.sqrt(weight.numel()) if optimizer == "adam" else gradient
        asked = LEARNING_RATES[optimizer] * moved / float(weight.detach().norm())
        assert update == pytest.approx(asked, rel=1e-2)


def test_momentum_adds_up() -> None:
    kind = _kind("relu", "he", "none", True)
    slow, fast = (_steps(kind, optimizer) for optimizer in ("sgd", "momentum"))
    assert fast.updates[0] == pytest.approx(slow.updates[0], rel=1e-4)
    assert fast.updates[1][-1] > 1.3 * slow.updates[1][-1]


def test_adam_undoes_the_scale_only_above_its_epsilon() -> None:
    vanishing = _kind("sigmoid", "xavier", "none", False)
    sgd, adam = (_steps(vanishing, optimizer) for optimizer in ("sgd", "adam"))
    assert 1e-8 < sgd.gradients[0] < 1e-3 < adam.updates[0][0]
    assert adam.updates[0][0] > 100 * sgd.updates[0][0]
    lost = _steps(vanishing, "adam", depth=32, steps=1)
    assert lost.gradients[0] < 1e-15
    assert lost.updates[0][0] == 0 < lost.updates[0][-1]


def test_checks_leave_out_what_no_number_holds() -> None:
    deep = _probe(_kind("sigmoid", "normal", "none", False), 32)
    words = [check.what for check in grid_checks([deep])]
    assert len(words) == 2  # its bound and its predicted factor; it has no textbook's
    assert all(check.holds for check in grid_checks([deep]))
    gone = replace(deep, exact=(0.0, *deep.exact[1:]))
    assert [check.what for check in grid_checks([gone])] == words[:1]
    false = replace(deep, predicted=tuple(1.2 * factor for factor in deep.predicted))
    assert [check.holds for check in grid_checks([false])] == [True, False]
    beyond = replace(deep, gains=tuple(gain / 1e3 for gain in deep.gains))
    assert [check.holds for check in grid_checks([beyond])] == [False, True]
