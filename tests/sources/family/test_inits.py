"""Initialisations: drawn as their papers say, in torchvision's order, and never on meta."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch import Tensor, nn

from resnet_viz.sources.family.parts import INITS
from resnet_viz.sources.family.resnet import ResNet
from resnet_viz.sources.family.resnet_config import ResNetConfig

TINY = ResNetConfig(blocks=(2, 2), widths=(16, 32), stem="cifar", num_classes=7, block="bottleneck")


def _config(init: str) -> ResNetConfig:
    """A small net that ``init`` goes with."""
    options = {option: allowed[0] for option, allowed in INITS[init].needs.items()}
    return TINY.changed(init=init, **{**options, "shortcut": "B"})


def _built(config: ResNetConfig, seed: int = 0) -> ResNet:
    torch.manual_seed(seed)
    return ResNet(config)


def _convs(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize("zero_gamma", [False, True])
@pytest.mark.parametrize(
    ("block", "kind"),
    [
        ("basic", torchvision.models.resnet.BasicBlock),
        ("bottleneck", torchvision.models.resnet.Bottleneck),
    ],
)
def test_he_draws_torchvisions_weights(block: str, kind: type, zero_gamma: bool) -> None:
    ours = _built(ResNetConfig(blocks=(1, 1, 1, 1), block=block, zero_gamma=zero_gamma), 5)
    torch.manual_seed(5)
    theirs = torchvision.models.ResNet(kind, [1, 1, 1, 1], zero_init_residual=zero_gamma)
    expected = theirs.state_dict()
    assert list(ours.state_dict()) == list(expected)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("init", INITS)
def test_every_init_is_repeatable_and_has_no_stray_bias(init: str) -> None:
    first, second = _built(_config(init)), _built(_config(init))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert all(conv.bias is None or not conv.bias.any() for conv in _convs(first))
    other = _built(_config(init), seed=1)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert all(parameter.isfinite().all() for parameter in first.parameters())


def _std(weight: Tensor) -> float:
    return weight.double().square().mean().sqrt().item()


def test_standard_deviations_are_the_papers() -> None:
    config = TINY.changed(widths=(64, 64), blocks=(1, 1))
    for conv in _convs(_built(config)):
        assert _std(conv.weight) == pytest.approx(
            math.sqrt(2 / (conv.out_channels * conv.weight[0, 0].numel())), rel=0.06
        )
    for conv in _convs(_built(config.changed(init="xavier"))):
        taps = conv.weight[0, 0].numel()
        fans = taps * (conv.in_channels + conv.out_channels)
        assert _std(conv.weight) == pytest.approx(math.sqrt(2 / fans), rel=0.06)
    model = _built(config.changed(init="normal", init_std=0.03))
    for layer in (*_convs(model), model.fc):
        assert _std(layer.weight) == pytest.approx(0.03, rel=0.06)
    assert not model.fc.bias.any()


def test_orthogonal_weights_are_orthogonal() -> None:
    model = _built(TINY.changed(init="orthogonal"))
    for layer in (*_convs(model), model.fc):
        matrix = layer.weight.detach().flatten(1).double()
        small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        torch.testing.assert_close(small, torch.eye(len(small)).double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shortcut", ["exclusive_gate", "shortcut_gate"])
@pytest.mark.parametrize("init", ["he", "orthogonal"])
def test_gates_keep_their_first_bias(shortcut: str, init: str) -> None:
    model = _built(TINY.changed(shortcut=shortcut, gate_bias=-3.0, init=init))
    gates = [conv for conv in _convs(model) if conv.bias is not None]
    assert len(gates) == sum(TINY.blocks)
    assert all((gate.bias == -3.0).all() for gate in gates if gate.bias is not None)


@pytest.mark.parametrize("order", ["original", "norm_after_add", "act_before_add", "preact"])
@pytest.mark.parametrize("norm", ["batch", "group_ws", "none"])
def test_zero_gamma_makes_every_branch_zero(order: str, norm: str) -> None:
    config = TINY.changed(
        order=order, norm=norm, activation="leaky", zero_gamma=True, widths=(32, 32)
    )
    model = _built(config).eval()
    # A shortcut that stays as it is shows the branch alone: the sum minus the input.
    block = model.get_submodule("layer1.1")
    x = torch.rand(2, 128, 4, 4)
    with torch.no_grad():
        if order == "norm_after_add":
            torch.testing.assert_close(block(x), block.relu(block.bn3(x)))  # type: ignore[operator]
        else:
            assert torch.equal(block(x), x)


@pytest.mark.parametrize("init", INITS)
def test_nothing_is_drawn_on_meta(init: str) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with torch.device("meta"):
        model = ResNet(_config(init))
    assert all(parameter.is_meta for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), before)
