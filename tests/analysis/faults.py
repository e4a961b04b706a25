"""Twenty-odd faults that people really build into nets, each in a small one.

Every builder says which finding it must lead to and where; nothing else may be found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import resnet_viz as rv
from tests.analysis.faulty_nets import (
    Adapter,
    Auxiliary,
    Backbone,
    Cut,
    Distances,
    LogLoss,
    LogOfZero,
    NeverCalled,
    OwnMean,
    Residual,
    Scaled,
    TimesZero,
    convs,
    mlp,
    residual,
)


@dataclass(frozen=True)
class Planted:
    """A net with one fault in it.

    Attributes:
        model: The net.
        inputs: What to measure it on.
        what: The finding that must come.
        where: What its ``where`` must be; a prefix of names where it ends in ``*``.
        options: More arguments of ``rv.gradient_flow``.
    """

    model: nn.Module
    inputs: Tensor
    what: str
    where: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        """One batch, labels from 0 to 3."""
        return self.inputs, torch.arange(len(self.inputs)) % 4


FAULTS: dict[str, Callable[[], Planted]] = {}


def fault(build: Callable[[], Planted]) -> Callable[[], Planted]:
    """Puts a builder into the list."""
    FAULTS[build.__name__] = build
    return build


def rows(n: int = 16, width: int = 64) -> Tensor:
    return torch.randn(n, width)


def images(n: int = 8, side: int = 8) -> Tensor:
    return torch.randn(n, 3, side, side)


# --- depth --------------------------------------------------------------------------------


@fault
def sigmoids_deep() -> Planted:
    return Planted(mlp(nn.Sigmoid, 9), rows(), "vanishing gradient", ("0/linear#0", "14/linear#0"))


@fault
def batch_norm_deep_without_skips() -> Planted:
    layers: list[nn.Module] = []
    for _ in range(48):
        layers += [nn.Linear(64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(64, 4))
    return Planted(model, rows(32), "exploding gradient", ("0/linear#0", "141/linear#0"))


@fault
def initialisation_too_large() -> Planted:
    model = mlp(nn.ReLU, 12, gain=5.0)
    return Planted(model, rows(), "exploding gradient", ("0/linear#0", "20/linear#0"))


@fault
def saturated_tanh() -> Planted:
    # From weights twenty times too large everywhere.
    places = tuple(f"{i}/tanh#0" for i in range(1, 16, 2))
    return Planted(mlp(nn.Tanh, 9, gain=20.0), rows(), "saturated units", places)


# --- activations --------------------------------------------------------------------------


@fault
def dead_relu() -> Planted:
    model = convs()
    nn.init.constant_(model[1][1].bias, -10.0)  # type: ignore[index, arg-type]
    return Planted(model, images(), "dead units", ("1.2/relu#0",))


@fault
def dead_relu_without_norm() -> Planted:
    model = mlp(nn.ReLU, 5)
    nn.init.constant_(model[2].bias, -10.0)  # type: ignore[arg-type]
    return Planted(model, rows(), "dead units", ("3/relu#0",))


@fault
def dead_relu_in_a_branch() -> Planted:
    model = residual(Residual)
    nn.init.constant_(model[2].bn1.bias, -10.0)
    return Planted(model, images(), "dead units", ("2/relu#0",))


@fault
def channels_padded_with_zeros_and_a_gamma_of_zero() -> Planted:
    """Nothing comes over either way, and the slope of ReLU at 0 is 0: they never start."""
    joined = tuple(f"layer3.{block}.relu/relu#1" for block in (0, 1, 2))
    return Planted(rv.build("resnet20", zero_gamma=True), images(side=32), "dead units", joined)


@fault
def saturated_gate() -> Planted:
    model = residual(lambda: Residual(gated=True))
    nn.init.constant_(model[2].gate.bias, 20.0)
    return Planted(model, images(), "saturated units", ("2/sigmoid#0",))


# --- NaN and infinity ---------------------------------------------------------------------


@fault
def nan_in_a_weight() -> Planted:
    model = convs()
    with torch.no_grad():
        model[1][0].weight[0, 0, 0, 0] = float("nan")  # type: ignore[index]
    return Planted(model, images(), "non-finite value", ("1.0.weight", "1.0/conv2d#0"))


@fault
def logarithm_of_zero() -> Planted:
    return Planted(LogOfZero(), rows(), "non-finite value", ("log#0",))


@fault
def division_by_zero() -> Planted:
    return Planted(OwnMean(), rows(), "non-finite value", ("div#0",))


@fault
def derivative_of_a_root_at_zero() -> Planted:
    return Planted(Distances(), rows(), "non-finite gradient", ("sqrt#0",))


# --- no gradient --------------------------------------------------------------------------


@fault
def module_never_called() -> Planted:
    return Planted(NeverCalled(), images(), "never called", ("extra.weight", "extra.bias"))


@fault
def detach_in_the_middle() -> Planted:
    return Planted(Cut("detach"), images(), "detached", ("detach#0",))


@fault
def comparison_in_the_middle() -> Planted:
    return Planted(Cut("values"), images(), "detached", ("gt#0",))


@fault
def backbone_under_no_grad() -> Planted:
    return Planted(Backbone(), images(), "detached", ("backbone*",))


@fault
def auxiliary_head_without_loss() -> Planted:
    return Planted(
        Auxiliary(),
        images(),
        "not on the loss path",
        ("aux.weight", "aux.bias"),
        {"loss_fn": lambda outputs, targets: F.cross_entropy(outputs[0], targets)},
    )


@fault
def frozen_layers() -> Planted:
    model = convs()
    model[0].requires_grad_(False)
    names = ("0.0.weight", "0.1.weight", "0.1.bias")
    return Planted(model, images(), "frozen", names)


@fault
def a_factor_of_zero() -> Planted:
    return Planted(TimesZero(), rows(), "zero gradient", ("mul#0",))


@fault
def two_zero_layers_in_a_row() -> Planted:
    return Planted(Adapter(), rows(), "zero gradient", ("up/linear#0",))


@fault
def loss_too_small_for_half_precision() -> Planted:
    model = mlp(nn.ReLU, 4).half()
    return Planted(
        model,
        rows().half(),
        "zero gradient",
        ("6/linear#0",),
        {"loss_fn": lambda out, targets: F.cross_entropy(out.float(), targets) * 1e-8},
    )


# --- steps --------------------------------------------------------------------------------


@fault
def learning_rate_too_high() -> Planted:
    model = convs()
    sgd = torch.optim.SGD(model.parameters(), lr=10.0)
    names = ("0.0.weight", "1.0.weight", "2.0.weight", "5.weight")
    return Planted(model, images(), "update too large", names, {"optimizer": sgd})


@fault
def learning_rate_too_low() -> Planted:
    model = convs()
    sgd = torch.optim.SGD(model.parameters(), lr=1e-12)
    names = ("0.0.weight", "1.0.weight", "2.0.weight", "5.weight")
    return Planted(model, images(), "update too small", names, {"optimizer": sgd})


@fault
def head_not_in_the_optimizer() -> Planted:
    model = convs()
    adam = torch.optim.AdamW([p for n, p in model.named_parameters() if n[0] != "5"], lr=1e-3)
    names = ("5.weight", "5.bias")
    return Planted(model, images(), "not in the optimizer", names, {"optimizer": adam})


# --- skips --------------------------------------------------------------------------------


@fault
def shortcuts_scaled_down() -> Planted:
    model = residual(lambda: Residual(shortcut=0.01))
    joins = tuple(f"{i}/add#0" for i in (1, 2, 3))
    return Planted(model, images(), "skip starved", joins)


@fault
def scale_of_zero_that_is_frozen() -> Planted:
    joins = tuple(f"{i}/add#0" for i in (1, 2, 3))
    return Planted(residual(Scaled), images(), "branch starved", joins)


# --- normalisation ------------------------------------------------------------------------


@fault
def batch_norm_left_in_eval_mode() -> Planted:
    model = convs()
    model[1].eval()
    return Planted(model, images(), "normalisation in the wrong mode", ("1.1",))


@fault
def batch_norm_on_two_values() -> Planted:
    norm = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(16))
    body = convs()
    model = nn.Sequential(*body[:3], norm, nn.Flatten(), nn.Linear(16, 4))
    return Planted(model, images(2), "too few values to normalise", ("3.1",))


@fault
def batch_norm_in_train_mode_within_an_eval_net() -> Planted:
    model = convs().eval()
    for block in model[:3]:
        norm = block[1]  # type: ignore[index]
        nn.init.normal_(norm.running_mean)
    model[1].train()
    return Planted(model, images(), "normalisation in the wrong mode", ("1.1",))


@fault
def eval_mode_before_any_training() -> Planted:
    names = ("0.1", "1.1", "2.1")
    return Planted(convs().eval(), images(), "normalisation in the wrong mode", names)


@fault
def loss_takes_the_logarithm_of_zero() -> Planted:
    return Planted(
        LogLoss(),
        rows(),
        "non-finite value",
        ("loss",),
        {"loss_fn": lambda out, targets: F.nll_loss(out.log(), targets)},
    )


@fault
def half_precision_underflows_on_the_way() -> Planted:
    model = mlp(nn.Sigmoid, 9).half()
    loss = lambda out, targets: F.cross_entropy(out.float(), targets) / 8  # noqa: E731
    ends = ("0/linear#0", "14/linear#0")
    return Planted(model, rows().half(), "vanishing gradient", ends, {"loss_fn": loss})


@fault
def nan_in_the_data() -> Planted:
    bad = images()
    bad[3, 1, 2, 2] = float("nan")
    return Planted(convs(), bad, "non-finite value", ("input#0",))
