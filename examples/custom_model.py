"""A network with a residual block of its own, to be analysed from the command line.

resnet-viz report examples/custom_model.py:Detective --arg width=24

Nothing here is registered or named in a special way: the skip paths and the
bottlenecks are found from what runs.
"""

import torch
from torch import nn


class Clue(nn.Module):
    """y = x + F(x), where F squeezes to a quarter of the channels and opens again."""

    def __init__(self, channels: int, stride: int = 1, grow: int = 1) -> None:
        super().__init__()
        inner, out = channels // 4, channels * grow
        self.squeeze = nn.Conv2d(channels, inner, 1)
        self.look = nn.Conv2d(inner, inner, 3, stride=stride, padding=1)
        self.open = nn.Conv2d(inner, out, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (inner, inner, out))
        changes = stride > 1 or grow > 1
        self.way_past = nn.Conv2d(channels, out, 1, stride=stride) if changes else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C·grow, H/stride, W/stride)."""
        y = torch.relu(self.norms[0](self.squeeze(x)))
        y = torch.relu(self.norms[1](self.look(y)))
        y = self.norms[2](self.open(y))
        return torch.relu(y + self.way_past(x))


class Detective(nn.Module):
    """Four clues between a stem and a verdict."""

    def __init__(self, width: int = 32, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.clues = nn.Sequential(
            Clue(width), Clue(width, stride=2, grow=2), Clue(2 * width), Clue(2 * width)
        )
        self.verdict = nn.Linear(2 * width, classes)

    def forward(self, photograph: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) -> (N, classes)."""
        return self.verdict(self.clues(self.stem(photograph)).mean((2, 3)))
