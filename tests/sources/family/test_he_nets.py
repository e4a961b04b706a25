"""The nets of He et al. 2015: torchvision's to the bit, and what the paper says of them."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from resnet_viz.sources.family.parts import ACTIVATIONS, NORMS
from resnet_viz.sources.variants import build


@pytest.mark.parametrize("depth", [18, 50])
def test_torchvision_weights_give_torchvision_outputs(depth: int) -> None:
    torch.manual_seed(1)
    theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    for module in theirs.modules():  # Statistics as a trained net has them.
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    ours = build(f"resnet{depth}")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for mode in (True, False):
            assert torch.equal(ours.train(mode)(x), theirs.train(mode)(x))


@pytest.mark.parametrize("name", ["plain20", "resnet20"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_part_trains(name: str, norm: str, activation: str) -> None:
    torch.manual_seed(0)
    model = build(name, norm=norm, activation=activation, blocks=(1, 1, 1))
    model(torch.randn(2, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert (norm == "none") == any(
        m.bias is not None for m in model.modules() if isinstance(m, nn.Conv2d)
    )
