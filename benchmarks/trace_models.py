"""The nets of the trace benchmark: name -> (model in eval mode, args, kwargs)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Built = tuple[nn.Module, tuple[Any, ...], dict[str, Any]]


def _torchvision(name: str) -> Callable[[], Built]:
    def build() -> Built:
        import torchvision

        net = torchvision.models.get_model(name, weights=None)
        return net.eval(), (torch.zeros(1, 3, 224, 224),), {}

    return build


def _resnet1202() -> Built:
    from resnet_viz.sources.variants import build

    return build("resnet1202").eval(), (torch.zeros(1, 3, 32, 32),), {}


class _Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(32, 32, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.lstm(x)[0]
        return self.head(states[:, -1])  # type: ignore[no-any-return]


def _lstm() -> Built:
    return _Lstm().eval(), (torch.zeros(1, 20, 32),), {}


def _bert() -> Built:
    from transformers import BertConfig, BertModel

    # No mask: with one it does not run on meta.
    return BertModel(BertConfig()).eval(), (), {"input_ids": torch.zeros(1, 64, dtype=torch.long)}


def _gpt2() -> Built:
    from transformers import GPT2Config, GPT2Model

    return GPT2Model(GPT2Config()).eval(), (), {"input_ids": torch.zeros(1, 64, dtype=torch.long)}


MODELS: dict[str, Callable[[], Built]] = {
    **{
        name: _torchvision(name)
        for name in (
            *("resnet18", "resnet50", "resnet152", "densenet201"),
            *("vit_b_16", "swin_t", "efficientnet_b7"),
        )
    },
    "resnet1202": _resnet1202,
    "lstm": _lstm,
    "bert": _bert,
    "gpt2": _gpt2,
}
