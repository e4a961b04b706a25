"""Small nets with something wrong in them, or with a place for it; ``faults`` puts it there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mlp(act: type[nn.Module], depth: int = 4, width: int = 64, gain: float = 1.0) -> nn.Sequential:
    """``depth`` linear layers of which all but the last have an activation after them."""
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        linear = nn.Linear(width, width)
        nn.init.xavier_normal_(linear.weight, gain)
        layers += [linear, act()]
    return nn.Sequential(*layers, nn.Linear(width, 4))


def convs(depth: int = 3, width: int = 16) -> nn.Sequential:
    """Convolution, batch norm and ReLU, ``depth`` times; then a head."""
    layers: list[nn.Module] = []
    for i in range(depth):
        block = nn.Sequential(
            nn.Conv2d(width if i else 3, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        layers.append(block)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


class Residual(nn.Module):
    """``act(scale·x + F(x))``, with a gate over the branch where one is asked for."""

    def __init__(self, width: int = 16, *, shortcut: float = 1.0, gated: bool = False) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.gate = nn.Conv2d(width, width, 1) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.gate is not None:
            y = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        return F.relu(y + (x if self.shortcut == 1 else x * self.shortcut))


def residual(block: Callable[[], nn.Module], depth: int = 3, width: int = 16) -> nn.Sequential:
    stem = nn.Conv2d(3, width, 3, padding=1)
    blocks = [block() for _ in range(depth)]
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


class LogOfZero(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(nn.ReLU, 3)
        self.head = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.log(F.relu(self.body(x))))


class OwnMean(nn.Module):
    """Divides by a count that may be zero."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(nn.ReLU, 3)

    def forward(self, x: Tensor) -> Tensor:
        kept = (x > 100).float()
        return self.body(x + (x * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True))


class Distances(nn.Module):
    """Euclidean distances, also of each sample to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(nn.ReLU, 3)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        squares = (h[:, None] - h[None]).pow(2).sum(-1)
        return self.head(torch.sqrt(squares))


class NeverCalled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = convs()
        self.extra = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Cut(nn.Module):
    """Body and head, with something between them that should not be there."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.stem = nn.Conv2d(3, 3, 3, padding=1)
        self.body = convs()

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "no_grad":
            with torch.no_grad():
                return self.body(self.stem(x))
        h = self.stem(x)
        if self.how == "detach":
            h = h.detach()
        elif self.how == "values":
            h = (h > 0).float()
        return self.body(h)


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = convs()
        self.head = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            h = self.backbone(x)
        return self.head(h)


class Auxiliary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = convs()
        self.aux = nn.Linear(3 * 8 * 8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.body(x), self.aux(x.flatten(1))


class TimesZero(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(nn.ReLU, 3)
        self.side = mlp(nn.ReLU, 3)
        self.weight = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.weight * self.side(x)


class Adapter(nn.Module):
    """Both layers start at zero, so that neither can move."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(64, 64)
        self.down, self.up = nn.Linear(64, 8), nn.Linear(8, 64)
        self.head = nn.Linear(64, 4)
        for parameter in (*self.down.parameters(), *self.up.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        return self.head(h + self.up(F.gelu(self.down(h))))


class Scaled(nn.Module):
    """``x + scale·F(x)`` with a scale of zero that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.scale = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.branch(x)


class LogLoss(nn.Module):
    """Probabilities that may be zero, for a loss that takes their logarithm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(nn.ReLU, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(1e4 * self.body(x), -1)
