"""Models and images that many tests of attributions ask about."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tests.measuring.attributions.explaining import Net


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = Net().double()
    net.norm.running_mean.normal_()
    net.norm.running_var.uniform_(0.5, 2)
    return net


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 8, 10, generator=torch.Generator().manual_seed(1)).double() + 0.3


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18().double()


@pytest.fixture
def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, num_labels=3,
    )  # fmt: skip
    model: nn.Module = BertForSequenceClassification(config).double()
    return model
