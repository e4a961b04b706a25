"""Nets, parts and options that other libraries have as well: the same outputs from both."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torchvision
from timm.layers import BlurPool2d as TheirBlur
from timm.layers import EcaModule, SEModule, StdConv2d
from timm.layers.cbam import CbamModule
from torch import nn

from resnet_viz.sources.family.antialias import BlurPool2d
from resnet_viz.sources.family.attention import make_attention
from resnet_viz.sources.family.resnet import ResNet
from resnet_viz.sources.family.resnet_config import ResNetConfig
from resnet_viz.sources.family.standardised_convs import StandardisedConv2d

FIFTY: dict[str, Any] = {"blocks": (3, 4, 6, 3), "block": "bottleneck"}
D = {**FIFTY, "stem": "C", "shortcut": "D"}
SE = {"attention": "se", "attention_divisor": 8}
# Name in timm, its options, ours; test_key_maps.py has the other kinds.
NETS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("resnet50d", {"output_stride": 8}, {**D, "output_stride": 8}),
    ("resnet18", {"output_stride": 16}, {"blocks": (2, 2, 2, 2), "output_stride": 16}),
    ("resnetrs50", {}, {**D, **SE, "stem": "RS", "attention_reduction": 4}),
]


def randomise(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval()


def agree(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> None:
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        a, b = ours.eval()(x), theirs(x)
    assert (a - b).abs().max() <= 1e-5 * b.abs().max()


@pytest.mark.parametrize(("name", "their_options", "options"), NETS)
def test_timms_nets(name: str, their_options: dict[str, Any], options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    theirs = randomise(timm.create_model(name, **their_options))
    agree(ResNet(ResNetConfig(**options)), theirs, torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("name", "their_options", "options"),
    [
        ("resnet50", {"replace_stride_with_dilation": (False, True, True)}, {"output_stride": 8}),
        (
            "resnext50_32x4d",
            {"zero_init_residual": True},
            {"cardinality": 32, "base_width": 4, "zero_gamma": True},
        ),
    ],
)
def test_torchvisions_weights_from_the_same_seed(
    name: str, their_options: dict[str, Any], options: dict[str, Any]
) -> None:
    torch.manual_seed(3)
    theirs = getattr(torchvision.models, name)(weights=None, **their_options)
    torch.manual_seed(3)
    ours = ResNet(ResNetConfig(**FIFTY, **options))
    states = ours.state_dict(), theirs.state_dict()
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    agree(ours, randomise(theirs), torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize("channels", [16, 64, 100, 512, 2048])
@pytest.mark.parametrize("kind", ["se", "eca", "cbam"])
def test_attention_is_timms(kind: str, channels: int) -> None:
    divisor = {"se": 8}.get(kind, 1)
    options = {} if kind == "eca" else {"attention_divisor": divisor}
    config = ResNetConfig(blocks=(1,), widths=(8,), attention=kind, **options)
    ours = make_attention(config, channels)
    make = {"se": SEModule, "eca": EcaModule, "cbam": CbamModule}[kind]
    theirs = randomise(make(channels))
    assert ours is not None
    state = {
        key.replace("conv.conv", "conv").replace("conv.bn", "bn"): value
        for key, value in theirs.state_dict().items()
    }
    ours.load_state_dict(state)
    x = torch.randn(2, channels, 5, 5)
    assert torch.allclose(ours.eval()(x), theirs(x), atol=1e-6)


@pytest.mark.parametrize("size", [64, 66])
def test_average_antialiasing_is_timms_where_timm_runs(size: int) -> None:
    """An odd map behind the stem is rounded down there, as in timm; all others are even."""
    torch.manual_seed(0)
    theirs = randomise(timm.create_model("resnetaa50", layers=(1, 1, 1, 1)))
    ours = ResNet(ResNetConfig(blocks=(1, 1, 1, 1), block="bottleneck", antialias="average"))
    agree(ours, theirs, torch.randn(1, 3, size, size))


def test_blur_and_weight_standardisation_are_timms() -> None:
    x = torch.randn(2, 6, 9, 8)
    assert torch.allclose(BlurPool2d(6, 2)(x), TheirBlur(6)(x), atol=1e-6)
    theirs = StdConv2d(6, 4, 3, padding=1, eps=1e-8, groups=2)
    ours = StandardisedConv2d(6, 4, 3, padding=1, groups=2, bias=False)
    agree(ours, theirs, x)
    weight = ours.weight
    with torch.no_grad():
        before = ours(x)
        weight.mul_(3).add_(1)
        assert torch.allclose(ours(x), before, atol=1e-5)
