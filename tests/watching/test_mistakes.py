"""What a caller of ``rv.watch`` can get wrong, told in one line with nothing left behind."""

from __future__ import annotations

import copy
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import resnet_viz as rv
from resnet_viz.core.errors import UserError
from resnet_viz.watching.reading import read_run
from tests.watching.loops import assert_bare, small_net, train


@pytest.mark.parametrize("every", [0, -1, 2.5, True])
def test_every_is_a_whole_number(every: Any) -> None:
    model = small_net()
    with pytest.raises(UserError, match="every="):
        rv.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), every=every)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"optimizer": None}, "not a NoneType"),
        ({"optimizer": "sgd"}, "not a str"),
        ({"optimizer": []}, "no optimizer"),
        ({"optimizer": {"a": 3}}, "not a int"),
        ({"scaler": "fp16"}, "scaler takes a GradScaler"),
        ({"first_step": -1}, "first_step=-1"),
        ({"first_step": "3"}, "first_step='3'"),
    ],
)
def test_what_is_no_optimizer_scaler_or_step_is_refused(given: dict[str, Any], words: str) -> None:
    model = small_net()
    usual = {"optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}
    with pytest.raises(UserError, match=words):
        rv.watch(model, **(usual | given))
    assert_bare(model)


def test_another_models_optimizer_is_refused() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(copy.deepcopy(model).parameters(), lr=0.1)
    with pytest.raises(UserError, match=r"SGD\(lr=0.1.*\) holds none of the model's parameters"):
        rv.watch(model, optimizer)
    assert_bare(model, optimizer)


def test_patterns_that_match_nothing_are_refused() -> None:
    model = small_net()
    with pytest.raises(UserError, match=r"leave no parameter; there are 0\.weight"):
        rv.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), include=("layer9.*",))


def test_stepping_inside_the_backward_is_refused_politely() -> None:
    model = nn.Linear(3, 3)
    optimizers = {n: torch.optim.SGD([p], lr=0.1) for n, p in model.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda p, name=name: optimizers[name].step())
    with (
        rv.watch(model, optimizers, every=1),
        pytest.raises(UserError, match="steps inside the backward pass"),
    ):
        model(torch.randn(2, 3)).sum().backward()


def test_a_loss_is_one_number() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with (
        pytest.raises(UserError, match=r"one number, not a \(3,\) tensor"),
        rv.watch(model, optimizer, every=1) as watch,
    ):
        train(model, optimizer, 1, after_step=lambda *_: watch.log(loss=torch.ones(3)))


@pytest.mark.parametrize("loss", ["much", None, [1.0]])
def test_a_loss_on_the_host_is_a_number(loss: Any) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with (
        pytest.raises(UserError, match=r"log\(loss=\) takes one number, not"),
        rv.watch(model, optimizer, every=1) as watch,
    ):
        train(model, optimizer, 1, after_step=lambda *_: watch.log(loss=loss))


def test_a_loss_of_another_type_is_a_float(tmp_path: Path) -> None:
    """As NumPy's scalars are, which JSON does not know."""
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    with rv.watch(model, optimizer, every=1, sink=tmp_path / "run") as watch:
        train(model, optimizer, 1, after_step=lambda *_: watch.log(loss=Fraction(1, 2)))
    assert read_run(tmp_path / "run").steps[0].loss == 0.5
