"""Small models, one idea each, and what the tests of ``tracing`` share."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_viz.core.graph import ModelGraph, Op

Pair = namedtuple("Pair", "mean scale")


def producers(graph: ModelGraph, op: str) -> list[str]:
    """Ids of the ops that ``op`` reads, by slot."""
    return [edge.src for edge in graph.edges_in(op)]


def reaches(graph: ModelGraph, src: str, dst: str) -> bool:
    """Whether a path of edges leads from ``src`` to ``dst``."""
    found = {src}
    for op in graph.ops:
        if any(edge.src in found for edge in graph.edges_in(op.id)):
            found.add(op.id)
    return dst in found


def kinds(graph: ModelGraph) -> list[str]:
    return [op.kind for op in graph.ops]


def of_kind(graph: ModelGraph, kind: str) -> list[Op]:
    return [op for op in graph.ops if op.kind == kind]


class Residual(nn.Module):
    """A block with one re-used, in-place ReLU and an in-place join."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(self.relu(self.norm(self.first(x))))
        out += x
        return self.relu(out)


class Caching(nn.Module):
    """Everything a forward may leave behind in its module."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("table", torch.zeros(4))
        self.register_buffer("seen", torch.zeros(()))
        self.cos: Tensor | None = None
        self.steps = 0
        self.history: list[Tensor] = []
        self.by_size: dict[int, Tensor] = {}
        self.sizes: set[int] = set()
        self.nested: dict[str, tuple[list[int], ...]] = {"deep": ([],)}
        self.fail = False

    def forward(self, x: Tensor) -> Tensor:
        if self.cos is None or self.cos.shape[0] < x.shape[1]:
            self.cos = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        if x.shape[0] not in self.by_size:
            self.by_size[x.shape[0]] = torch.ones(4, device=x.device)
        self.sizes.add(x.shape[0])
        self.nested["deep"][0].append(self.steps)
        self.steps += 1
        self.seen.add_(1)
        self.table = self.table + self.steps
        x = self.drop(self.norm(self.linear(x)) * self.cos + self.by_size[x.shape[0]])
        self.history.append(x.detach())
        if self.fail:
            raise ValueError("half-way")
        return x + self.table


class Branching(nn.Module):
    """Looks at a value: neither meta nor fake tensors can run it."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return self.up(x)
        return self.down(x)


class SliceWrite(nn.Module):
    """Writes into part of a tensor; both parts belong to the result."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 2), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        w = self.right(x)
        w[:, :2] = self.left(x[:, :2])
        return w + x


class ViewWrite(nn.Module):
    """Writes a tensor through a view of it, and through the view of a view."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        base = self.linear(x)
        early = base[:, 2:]
        base.view(-1)[:2].mul_(2.0)
        base.add_(self.other(x))
        return early.sum() + base.mean()


class InPlaceForms(nn.Module):
    """The five ways people write in place."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        z = x * 2
        z += y
        z.add_(y)
        torch.add(z, y, out=z)
        z = F.relu(z, inplace=True)
        return torch.relu_(z)


class Shared(nn.Module):
    """One weight under two names, one module under two paths, called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.layer = nn.Linear(4, 4)
        self.again = self.layer
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        return self.head(self.again(self.layer(self.layer(x))))


class Hidden(nn.Module):
    """Modules in a plain list: no one registered them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU()]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


@dataclasses.dataclass
class Output:
    logits: Tensor
    past: tuple[Tensor, ...] | None = None
    steps: int = 0


class Outputs(nn.Module):
    """Returns the tree that ``shape`` names."""

    def __init__(self, shape: str) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.shape = shape

    def forward(self, x: Tensor) -> Any:
        y, z = self.linear(x), x * 2
        made: dict[str, Any] = {
            "tensor": y,
            "tuple": (y, (z, None), 3),
            "list": [y, z],
            "dict": {"out": y, "aux": {"z": z}},
            "namedtuple": Pair(y, z),
            "dataclass": Output(logits=y, past=(z, z)),
            "none": None,
        }
        return made[self.shape]


class ManyInputs(nn.Module):
    """Positional, keyword, nested, integer and missing arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(
        self,
        x: Tensor,
        times: int,
        mask: Tensor | None = None,
        *,
        extra: dict[str, Tensor],
        **rest: Tensor,
    ) -> Tensor:
        x = self.linear(x) * times + extra["bias"]
        if mask is not None:
            x = x * mask
        return x + rest["tail"]


class Attention(nn.Module):
    def __init__(self, need_weights: bool = True) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=self.need_weights)[0]


class Broken(nn.Module):
    """The second layer does not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(5, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)
