"""The nets of the drawing benchmark, built to be large and the same every time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MixtureOfExperts(nn.Module):
    """A language model of 50,000 ops and 9,000 modules in which no two layers are equal.

    Every expert has a width of its own, so that nothing is a repeat of anything and folding
    cannot make the picture small. All experts run on all tokens: the graph is static.

    Args:
        layers: Blocks of attention and experts.
        experts: Experts per block.
        width: Of the residual stream.
    """

    def __init__(self, layers: int = 40, experts: int = 80, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, width)
        self.layers = nn.ModuleList(_Layer(width, experts, i) for i in range(layers))
        self.norm = _RmsNorm(width)
        self.head = nn.Linear(width, 64, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of the next token, shape ``(batch, length, 64)``."""
        x = self.embed(tokens)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        angle = place[:, None] / torch.linspace(1.0, 100.0, 4, device=tokens.device)
        turn, mask = (angle.cos(), angle.sin()), place[None, :] > place[:, None]
        for layer in self.layers:
            x = layer(x, turn, mask)
        return self.head(self.norm(x))  # type: ignore[no-any-return]


class _RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class _Layer(nn.Module):
    def __init__(self, width: int, experts: int, number: int) -> None:
        super().__init__()
        self.attention_norm = _RmsNorm(width)
        self.attention = _Attention(width, 2 + number % 3)
        self.experts_norm = _RmsNorm(width)
        self.experts = _Experts(width, experts, number)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), turn, mask)
        return x + self.experts(self.experts_norm(x))  # type: ignore[no-any-return]


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (
            nn.Linear(width, heads * 8, bias=False) for _ in range(3)
        )
        self.out = nn.Linear(heads * 8, width, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (
            part(x).view(n, t, self.heads, 8).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        scores = _turned(q, *turn) @ _turned(k, *turn).transpose(-1, -2) / 8**0.5
        seen = F.softmax(scores.masked_fill(mask, -1e9), dim=-1) @ v
        return self.out(seen.transpose(1, 2).reshape(n, t, -1))  # type: ignore[no-any-return]


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class _Experts(nn.Module):
    def __init__(self, width: int, experts: int, number: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        # One width per expert of the whole net.
        self.experts = nn.ModuleList(
            _Expert(width, 8 + number * experts + i) for i in range(experts)
        )

    def forward(self, x: Tensor) -> Tensor:
        chosen = F.softmax(self.router(x), dim=-1)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            out = out + expert(x) * chosen[..., i : i + 1]
        return out


class _Expert(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = _RmsNorm(width)
        self.up = nn.Linear(width, 2 * hidden)
        self.down = nn.Parameter(torch.zeros(width, hidden))

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.up(self.norm(x)).chunk(2, dim=-1)
        return F.linear(F.silu(gate) * up.clamp(-7.0, 7.0), self.down)
