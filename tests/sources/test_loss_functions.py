"""Losses and optimizers by name: torch's own numbers, and one line for what does not fit."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_viz.core.errors import UserError
from resnet_viz.measuring.losses import choose_loss
from resnet_viz.sources.loss_functions import LOSSES, find_loss
from resnet_viz.sources.optimizers import find_optimizer

GENERATOR = torch.Generator().manual_seed(2)
LOGITS = torch.randn(6, 4, generator=GENERATOR)
VALUES = torch.randn(6, 4, generator=GENERATOR)
CLASSES = torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.mark.parametrize(
    ("name", "targets", "wanted"),
    [
        ("cross_entropy", CLASSES, F.cross_entropy(LOGITS, CLASSES)),
        ("cross_entropy", CLASSES[:, None].int(), F.cross_entropy(LOGITS, CLASSES)),
        ("cross_entropy", VALUES.softmax(1), F.cross_entropy(LOGITS, VALUES.softmax(1))),
        ("nll_loss", CLASSES, F.nll_loss(LOGITS, CLASSES)),
        ("mse", VALUES, F.mse_loss(LOGITS, VALUES)),
        ("l1", VALUES, F.l1_loss(LOGITS, VALUES)),
        ("smooth_l1", VALUES, F.smooth_l1_loss(LOGITS, VALUES)),
        ("huber", VALUES, F.huber_loss(LOGITS, VALUES)),
        (
            "binary_cross_entropy_with_logits",
            (VALUES > 0).long(),
            F.binary_cross_entropy_with_logits(LOGITS, (VALUES > 0).float()),
        ),
    ],
)
def test_a_named_loss_is_torchs(name: str, targets: Tensor, wanted: Tensor) -> None:
    loss = find_loss(name)
    outputs = SimpleNamespace(hidden=torch.arange(3), logits=LOGITS)
    assert torch.equal(loss(LOGITS, targets), wanted)
    assert torch.equal(loss({"logits": LOGITS}, targets), wanted)
    assert torch.equal(loss(outputs, targets), wanted)
    assert loss.__name__ in LOSSES


def test_targets_without_the_last_axis_are_not_spread() -> None:
    outputs, targets = VALUES[:, :1], VALUES[:, 1]
    assert torch.equal(find_loss("mse")(outputs, targets), F.mse_loss(outputs[:, 0], targets))


def test_half_precision_is_judged_in_float32() -> None:
    assert find_loss("mse")(LOGITS.bfloat16(), VALUES).dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "words"),
    [
        ("mse", LOGITS, CLASSES, "6×4 and 6: give --loss cross_entropy"),
        ("mse", LOGITS, VALUES[:3], "6×4 and 3×4"),
        ("cross_entropy", LOGITS, VALUES[:3], "class labels 6 for an output of 6×4"),
        ("cross_entropy", LOGITS, None, "needs targets"),
        ("mse", torch.arange(3), VALUES, "floating output"),
    ],
)
def test_what_does_not_fit_is_one_line(
    name: str, outputs: Tensor, targets: Tensor | None, words: str
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        find_loss(name)(outputs, targets)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", LOSSES)
def test_without_targets_seeded_ones_are_drawn_and_said(name: str) -> None:
    outputs = LOGITS.clone().requires_grad_()
    first, words = choose_loss(outputs, None, LOSSES[name], seed=1)
    again, _ = choose_loss(outputs, None, LOSSES[name], seed=1)
    other, _ = choose_loss(outputs, None, LOSSES[name], seed=2)
    assert words == f"{name} on random targets"
    assert first == again != other
    assert math.isfinite(first.item())


def test_the_loss_that_a_model_made_itself_is_no_output() -> None:
    """Hugging Face's outputs begin with it where the batch holds labels."""
    outputs = {"loss": torch.tensor(1.0), "logits": torch.randn(4, 3)}
    labels = torch.arange(4) % 3
    expected = F.cross_entropy(outputs["logits"], labels)
    assert find_loss("cross_entropy")(outputs, labels) == expected
    with pytest.raises(UserError, match="class labels need an output"):
        LOSSES["cross_entropy"].random_targets(outputs["loss"], 0)


def test_labels_that_the_model_has_no_output_for_are_refused() -> None:
    outputs = LOGITS.clone().requires_grad_()
    for loss in (None, find_loss("cross_entropy")):
        with pytest.raises(UserError, match=r"labels from 0 to 9.*4 classes"):
            choose_loss(outputs, torch.tensor([0, 1, 2, 9, 0, 0]), loss)
    with pytest.raises(UserError, match="labels from -1 to 2"):
        choose_loss(outputs, CLASSES.clamp(max=2) - (CLASSES == 0).long(), None)
    ignored = CLASSES.masked_fill(CLASSES == 3, -100)
    assert torch.equal(choose_loss(outputs, ignored, None)[0], F.cross_entropy(outputs, ignored))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mze", "did you mean mse"),
        ("nothing.py:fn", "does not exist"),
        ("cross entropy", "did you mean cross_entropy"),
    ],
)
def test_an_unknown_loss_has_near_misses(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        find_loss(text)
    assert "\n" not in str(caught.value)


CODE = """
import torch
from torch import nn
def half(outputs, targets): return outputs.square().mean() / 2
class Focal(nn.Module):
    def forward(self, outputs, targets): return outputs.sum()
ready = Focal()
number = 3
def bad(outputs, targets): return outputs[targets]
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(CODE, encoding="utf-8")
    return tmp_path / "own.py"


def test_a_users_function_class_or_object_is_a_loss(code: Path) -> None:
    for name, wanted in (
        ("half", VALUES.square().mean() / 2),
        ("Focal", VALUES.sum()),
        ("ready", VALUES.sum()),
    ):
        loss = find_loss(f"{code}:{name}")
        assert loss(VALUES, None) == wanted
        assert loss.__name__ == name


def test_what_a_users_loss_does_wrong_names_its_line(code: Path) -> None:
    with pytest.raises(UserError, match=r"bad raised .*own\.py:9"):
        find_loss(f"{code}:bad")(LOGITS, torch.tensor([99]))
    with pytest.raises(UserError, match="is a int, no function"):
        find_loss(f"{code}:number")
    with pytest.raises(UserError, match="did you mean half"):
        find_loss(f"{code}:halff")


# -- optimizers --------------------------------------------------------------------


def test_an_optimizer_has_its_arguments_and_what_is_not_frozen() -> None:
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    made = find_optimizer("AdamW:lr=1e-3,betas=(0.8, 0.9),amsgrad=true", net.parameters())
    assert type(made) is torch.optim.AdamW
    (group,) = made.param_groups
    assert group["params"] == [net.weight]
    assert (group["lr"], group["betas"], group["amsgrad"]) == (1e-3, (0.8, 0.9), True)
    assert type(find_optimizer("rmsprop", net.parameters())) is torch.optim.RMSprop


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sdg", "did you mean sgd"),
        ("lbfgs", "unknown --optimizer 'lbfgs'"),
        ("sgd:0.1", "'0.1' is no name=value pair: write sgd:lr=0.1"),
        ("sgd:speed=1", "sgd:speed=1: TypeError.*speed"),
        ("sgd:lr=-1", "Invalid learning rate"),
    ],
)
def test_an_optimizer_that_cannot_be_made_is_one_line(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        find_optimizer(text, nn.Linear(3, 2).parameters())
    assert "\n" not in str(caught.value)


def test_a_frozen_model_has_nothing_to_optimize() -> None:
    net = nn.Linear(3, 2).requires_grad_(False)
    with pytest.raises(UserError, match="frozen"):
        find_optimizer("sgd", net.parameters())
    with pytest.raises(UserError, match="has no parameters"):
        find_optimizer("sgd", nn.ReLU().parameters())
