"""Infidelity and max-sensitivity: closed forms, and equal to captum's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max
from torch import Tensor, nn

from resnet_viz.measuring.attributions.methods import METHODS
from resnet_viz.measuring.attributions.question import Question
from resnet_viz.measuring.attributions.trust import faithfulness
from resnet_viz.measuring.attributions.trust.faithfulness import (
    NEIGHBOURS,
    PERTURBATIONS,
    Perturbed,
    infidelity,
    max_sensitivity,
)
from resnet_viz.measuring.attributions.trust.places import Places
from tests.measuring.attributions.claims import Weighted, asked, claimed, images, small


def infidel(question: Question, name: str, values: Tensor) -> list[float | None]:
    places = Places(question)
    account = places.account(METHODS[name], (values,))
    assert account is not None
    return list(infidelity(Perturbed(question, places), account))


@pytest.mark.parametrize("baseline", [None, 0.7])
@pytest.mark.parametrize("name", ["integrated_gradients", "guided_backprop"])
def test_a_linear_model_is_told_perfectly(baseline: float | None, name: str) -> None:
    weight = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    with asked(Weighted(weight), images(), baselines=baseline) as question:
        start = question.baseline.tensors[0]
        # A gradient is told times x − x′, parts of the score are told as they are.
        says = weight.expand(3, -1, -1, -1)
        if name == "integrated_gradients":
            says = says * (question.inputs[0] - start)
        assert infidel(question, name, says) == pytest.approx([0, 0, 0], abs=1e-12)
        assert infidel(question, name, says * 40) == pytest.approx([0, 0, 0], abs=1e-12)
        assert infidel(question, name, -says) == [1, 1, 1]
        assert infidel(question, name, says * 0) == [1, 1, 1]


@pytest.mark.parametrize("name", ["integrated_gradients", "input_x_gradient"])
def test_equals_captum_over_the_mean_square(name: str) -> None:
    net, x = small(), images()
    with asked(net, x, target=1) as question:
        values = claimed(question, name).values[0]
        places = Places(question)
        perturbed = Perturbed(question, places)
        account = places.account(METHODS[name], (values,))
        assert account is not None
        found = infidelity(perturbed, account)
        mask = perturbed.parts.reshape(PERTURBATIONS, 1, 8, 8).double()

        def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
            i = mask.repeat(len(inputs) // PERTURBATIONS, 1, 1, 1).expand_as(inputs)
            return i, inputs * (1 - i)

        with torch.no_grad():
            expected: Any = captum_infidelity(
                net, perturb, x, values, target=1, n_perturb_samples=PERTURBATIONS, normalize=True
            )
        said = perturbed.parts.double() @ account.T
    positive = (said * perturbed.changes).sum(0) > 0
    relative = expected / perturbed.changes.square().mean(0)
    assert positive.any()
    for value, other, plus in zip(found, relative.tolist(), positive.tolist(), strict=True):
        assert value == pytest.approx(other if plus else 1, abs=1e-9)


def test_a_score_that_never_moves_has_no_infidelity() -> None:
    with asked(Weighted(torch.zeros(6)), torch.rand(2, 6)) as question:
        assert infidel(question, "integrated_gradients", torch.rand(2, 6)) == [None, None]


class Log(nn.Module):
    """NaN as soon as anything is taken out."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - 1).log().flatten(1).sum(1)


def test_a_score_that_is_no_number_has_no_infidelity() -> None:
    with asked(Log(), torch.rand(2, 6) + 1.1) as question:
        assert infidel(question, "integrated_gradients", torch.rand(2, 6)) == [None, None]


def test_squares_lie_everywhere_and_are_no_larger_than_half_the_image() -> None:
    with asked(small(), images(side=16)) as question:
        parts = Places(question).random_parts(400, torch.Generator().manual_seed(0))
    squares = parts.reshape(400, 16, 16)
    for square in squares:
        rows, columns = square.any(1), square.any(0)
        assert int(rows.sum()) <= 8
        assert int(square.sum()) == int(rows.sum()) * int(columns.sum())
    covered = squares.double().mean(0)
    assert covered.min() > covered.max() / 4


def test_max_sensitivity_equals_captum(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = small(), images()
    noises: list[Tensor] = []
    draw = faithfulness._noise

    def noted(*args: Any) -> Tensor:
        noises.append(draw(*args))
        return noises[-1]

    monkeypatch.setattr(faithfulness, "_noise", noted)
    with asked(net, x, target=1) as question:
        claim = claimed(question, "saliency")
        found = max_sensitivity(question, claim.values, claim.answer)
    wide = faithfulness.RADIUS * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))
    epsilon = torch.stack(noises, 1)[0] * wide.view(-1, 1, 1, 1, 1)

    def gradient(inputs: tuple[Tensor, ...] | Tensor) -> tuple[Tensor]:
        rows = inputs[0] if isinstance(inputs, tuple) else inputs
        with torch.enable_grad():
            leaf = rows.clone().requires_grad_()
            return (torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)[0].abs(),)

    def perturb(inputs: Tensor) -> Tensor:
        return inputs + epsilon.flatten(0, 1)

    expected = sensitivity_max(gradient, x, perturb, n_perturb_samples=NEIGHBOURS)
    assert found == pytest.approx(expected.tolist(), rel=1e-9)


def test_the_gradient_of_a_linear_model_is_steady_and_of_x_squared_is_not() -> None:
    x = torch.rand(2, 6).double() + 1

    def answer(question: Question) -> tuple[Tensor, ...]:
        return (2 * question.inputs[0],)

    with asked(Weighted(torch.ones(6).double()), x) as question:
        weight = (torch.ones(2, 6).double(),)
        assert max_sensitivity(question, weight, lambda _: weight) == (0, 0)
        found = max_sensitivity(question, (2 * x,), answer)
        nothing = (torch.zeros(2, 6).double(),)
        assert max_sensitivity(question, nothing, lambda _: nothing) == (None, None)
        nan = (torch.full((2, 6), float("nan")).double(),)
        assert max_sensitivity(question, weight, lambda _: nan) == (None, None)
    wide = x.amax(1) - x.amin(1)
    most = faithfulness.RADIUS * wide * 6**0.5 / x.norm(dim=1)
    for value, bound in zip(found, most.tolist(), strict=True):
        assert value is not None
        assert 0 < value <= bound
