"""Questions about small models, and what methods claim of them, for the tests of trust."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.analysis import annotate
from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.measuring.attributions.answers import answer
from resnet_viz.measuring.attributions.methods import METHODS
from resnet_viz.measuring.attributions.question import Question, asking
from resnet_viz.measuring.attributions.trust.judging import Claim
from resnet_viz.tracing.tracer import trace_model


@contextmanager
def asked(model: nn.Module, *args: Tensor, **options: Any) -> Iterator[Question]:
    """The question of a model and its inputs."""
    graph = trace_model(model, args)
    wish = AttributionOptions(**{"trust": "full", "n_steps": 4, **options})
    with asking(
        model, args, graph=graph, structure=annotate(graph), options=wish, seed=3
    ) as questions:
        yield questions[0]


def claimed(question: Question, name: str) -> Claim:
    """What a method says of the input."""
    method = METHODS[name]
    return Claim(
        method=method,
        values=answer(question, method),
        answer=lambda other: answer(other, method),
    )


def fixed(name: str, says: Callable[[Question], Tensor], question: Question) -> Claim:
    """A method of ours in the name of another."""
    return Claim(
        method=METHODS[name], values=(says(question),), answer=lambda other: (says(other),)
    )


class Weighted(nn.Module):
    """F(x) = Σ w·x + b of an image, or of features."""

    def __init__(self, weight: Tensor, bias: float = 0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.tensor(bias, dtype=weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).flatten(1).sum(1, keepdim=True) + self.bias


class Small(nn.Module):
    """Residual, with batch norm, one ReLU module per call; three classes."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU()
        self.body = nn.Conv2d(6, 6, 3, padding=1)
        self.end = nn.ReLU()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(self.stem(x)))
        return self.head(self.end(self.body(y) + y).mean((2, 3)))


def small() -> Small:
    """The same net each time, with running statistics as if trained."""
    torch.manual_seed(0)
    net = Small().double()
    net.norm.running_mean.normal_()
    net.norm.running_var.uniform_(0.5, 2)
    return net.eval()


def images(count: int = 3, side: int = 8) -> Tensor:
    """Pictures without a zero."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 2, side, side, generator=generator).double() + 0.3
