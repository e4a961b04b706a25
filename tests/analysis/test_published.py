"""Parameters and MACs against the figures that torchvision publishes."""

from __future__ import annotations

import pytest

from tests.analysis.published import compare


@pytest.mark.parametrize(
    "name",
    ["alexnet", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t",
     "mobilenet_v3_large", "regnet_y_400mf", "resnet18", "resnet50", "resnext50_32x4d",
     "shufflenet_v2_x1_0", "swin_v2_t", "vgg16", "vit_b_16", "vit_h_14"],
)  # fmt: skip
def test_parameters_are_equal_and_macs_within_what_is_rounded_away(name: str) -> None:
    row = compare(name)
    assert row.agrees, row
