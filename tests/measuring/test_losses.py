"""Each branch of the rule that chooses a loss."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_viz.core.errors import NotApplicableError, UserError
from resnet_viz.measuring.losses import choose_loss


def out(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g).to(dtype).requires_grad_()


def test_the_function_given_comes_first() -> None:
    y, t = out(2, 3), torch.ones(2, 3)

    def my_loss(outputs: Any, targets: Any) -> Tensor:
        return (outputs["loss"] - targets).abs().mean()

    loss, name = choose_loss({"loss": y}, t, my_loss)
    assert torch.equal(loss, (y - t).abs().mean())
    assert name == "my_loss"
    assert (
        choose_loss(y, torch.tensor([0, 1]), torch.nn.CrossEntropyLoss())[1] == "CrossEntropyLoss"
    )


@pytest.mark.parametrize("bad", [torch.ones(2), 3.0, None, torch.ones(0)])
def test_a_loss_that_is_no_number_is_refused(bad: Any) -> None:
    with pytest.raises(UserError, match="one number"):
        choose_loss(out(2, 3), None, lambda *_: bad)


def test_a_loss_of_shape_one_is_one_number() -> None:
    loss, _ = choose_loss(out(2, 3), None, lambda y, _: y.sum().reshape(1, 1))
    assert loss.shape == ()


def test_a_dict_of_losses_is_summed() -> None:
    a, b = out(()), out((), seed=1)  # type: ignore[arg-type]
    loss, name = choose_loss({"box": a, "class": b}, None, None)
    assert loss.item() == pytest.approx((a + b).item())
    assert name == "sum of box, class"
    assert choose_loss({"out": out(2, 3), "aux": a}, None, None)[1].startswith("cross entropy")


def test_the_models_own_loss_comes_before_its_logits() -> None:
    @dataclasses.dataclass
    class Output:
        loss: Tensor | None
        logits: Tensor

    own, logits = out(()), out(2, 3)  # type: ignore[arg-type]
    loss, name = choose_loss(Output(own, logits), None, None)
    assert torch.equal(loss, own)
    assert name == "the model's own .loss"
    assert "cross entropy of logits" in choose_loss(Output(None, logits), None, None)[1]


@pytest.mark.parametrize("shape", [(4, 5), (2, 5, 3, 3)])
def test_classes_and_maps_of_classes_get_cross_entropy_on_seeded_labels(shape: Any) -> None:
    y = out(*shape)
    loss, name = choose_loss(y, None, None, seed=3)
    assert name == "cross entropy of the output on random labels"
    assert torch.equal(loss, choose_loss(y, None, None, seed=3)[0])
    assert not torch.equal(loss, choose_loss(y, None, None, seed=4)[0])
    state = torch.get_rng_state()
    choose_loss(y, None, None)
    assert torch.equal(torch.get_rng_state(), state)


def test_targets_are_used_where_they_are_given() -> None:
    y, t = out(4, 5), torch.tensor([0, 1, 2, 3])
    loss, name = choose_loss(y, t, None)
    assert torch.equal(loss, F.cross_entropy(y, t))
    assert name == "cross entropy of the output"


@pytest.mark.parametrize("shape", [(4, 1), (3, 4, 5), (6,), (2, 1, 4, 4)])
def test_anything_else_gets_the_mean_square(shape: Any) -> None:
    y = out(*shape)
    loss, name = choose_loss(y, None, None)
    assert loss.item() == pytest.approx(y.square().mean().item())
    assert name == "mean square of the outputs"


def test_several_outputs_are_added_and_integers_left_out() -> None:
    a, b = out(3, 4, 5), out(2, seed=1)
    loss, _ = choose_loss((torch.arange(3), a, {"b": b}, None), None, None)
    assert loss.item() == pytest.approx((a.square().mean() + b.square().mean()).item())


def test_half_precision_outputs_are_summed_in_float32() -> None:
    assert choose_loss(out(4, 5, dtype=torch.bfloat16), None, None)[0].dtype == torch.float32


@pytest.mark.parametrize("nothing", [torch.ones(2, 3), torch.arange(3), None, "text", ()])
def test_outputs_without_gradient_are_not_applicable(nothing: Any) -> None:
    with pytest.raises(NotApplicableError, match="no output carries a gradient"):
        choose_loss(nothing, None, None)
