"""Small nets written by hand after their papers' drawings, each with its right answer.

``NETS`` maps a name to the module, its arguments and the skips and blocks that follow
from the drawing, not from what the analysis says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE = torch.zeros(2, 3, 32, 32)
MAP = torch.zeros(2, 8, 16, 16)
STEPS = torch.zeros(2, 5, 8)
OTHER_STEPS = torch.zeros(2, 7, 8)


@dataclass(frozen=True)
class Net:
    build: Callable[[], nn.Module]
    args: tuple[Tensor, ...]
    skips: dict[str, int] = field(default_factory=dict)
    blocks: dict[str, int] = field(default_factory=dict)


NETS: dict[str, Net] = {}


def net(*args: Tensor, blocks: dict[str, int] | None = None, **skips: int) -> Any:
    """Registers a module class; its docstring names the paper."""

    def register(cls: type[nn.Module]) -> type[nn.Module]:
        NETS[cls.__name__] = Net(cls, args, skips, blocks or {})
        return cls

    return register


def conv(wide: int, out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(wide, out, kernel, stride, kernel // 2, groups=groups)


def unit(wide: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(conv(wide, out, kernel, stride), nn.BatchNorm2d(out), nn.ReLU())


def mlp(wide: int = 8, inside: int = 32) -> nn.Sequential:
    return nn.Sequential(nn.Linear(wide, inside), nn.GELU(), nn.Linear(inside, wide))


class Attention(nn.Module):
    """Scaled dot-product attention by hand, two heads, memory from the side or not."""

    def __init__(self, wide: int = 8) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(wide, wide) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        memory = x if memory is None else memory
        q, k, v = self.q(x), self.k(memory), self.v(memory)
        q, k, v = (t.unflatten(-1, (2, -1)).transpose(1, 2) for t in (q, k, v))
        scores = (q @ k.transpose(-1, -2) / 2).softmax(-1)
        return self.o((scores @ v).transpose(1, 2).flatten(2))


# --- residual nets --------------------------------------------------------------------


class Bottleneck(nn.Module):
    def __init__(self, wide: int = 8) -> None:
        super().__init__()
        self.a, self.b = unit(wide, wide // 2, 1), unit(wide // 2, wide // 2)
        self.c = conv(wide // 2, wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.c(self.b(self.a(x)))


@net(IMAGE, projection=1, blocks={"bottleneck": 1})
class FrozenNorms(nn.Module):
    """A bottleneck whose norms are ``x * scale + shift`` from buffers, as in detectors."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.a, self.b, self.c, self.d = (
            conv(8, 4, 1),
            conv(4, 4, 3, 2),
            conv(4, 16, 1),
            conv(8, 16, 1, 2),
        )
        for name, width in (("na", 4), ("nb", 4), ("nc", 16), ("nd", 16)):
            self.register_buffer(name, torch.ones(2, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        def norm(y: Tensor, by: Tensor) -> Tensor:
            return y * by[0] + by[1]

        x = self.stem(x)
        y = F.relu(norm(self.a(x), self.na))
        y = F.relu(norm(self.b(y), self.nb))
        return F.relu(norm(self.c(y), self.nc) + norm(self.d(x), self.nd))


@net(IMAGE, projection=1, blocks={"inverted bottleneck": 1})
class DepthwiseProjection(nn.Module):
    """GhostNet (Han et al. 2020): the shortcut is a depthwise and a pointwise layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.wide = unit(8, 16, 1)
        self.branch = nn.Sequential(conv(16, 16, 3, 2, 16), nn.BatchNorm2d(16), conv(16, 12, 1))
        self.shortcut = nn.Sequential(
            conv(8, 8, 3, 2, 8), nn.BatchNorm2d(8), conv(8, 12, 1), nn.BatchNorm2d(12)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.branch(self.wide(x)) + self.shortcut(x)


@net(MAP)
class TwoLayersOnTheShortcut(nn.Module):
    """Neither is depthwise: that is a second branch."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(unit(8, 8), conv(8, 8))
        self.shortcut = nn.Sequential(conv(8, 8), conv(8, 8, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + self.shortcut(x)


@net(IMAGE, projection=3, blocks={"basic": 3})
class RepVGG(nn.Module):
    """Ding et al. 2021: 3×3, 1×1 and a norm in parallel; the norm is the shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.threes = nn.ModuleList(nn.Sequential(conv(8, 8), nn.BatchNorm2d(8)) for _ in range(3))
        self.ones = nn.ModuleList(nn.Sequential(conv(8, 8, 1), nn.BatchNorm2d(8)) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for three, one, norm in zip(self.threes, self.ones, self.norms, strict=True):
            x = F.relu(three(x) + one(x) + norm(x))
        return x


@net(STEPS, scaled=3, blocks={"mlp": 3})
class Highway(nn.Module):
    """Srivastava et al. 2015: y = T(x) H(x) + (1 - T(x)) x."""

    def __init__(self) -> None:
        super().__init__()
        self.h = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.t = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for h, t in zip(self.h, self.t, strict=True):
            gate = torch.sigmoid(t(x))
            x = F.relu(h(x)) * gate + x * (1 - gate)
        return x


@net(STEPS, identity=3, blocks={"mlp": 3})
class ReZero(nn.Module):
    """Bachlechner et al. 2020: x + alpha F(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.alpha = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        for layer, alpha in zip(self.layers, self.alpha, strict=True):
            x = x + alpha * F.relu(layer(x))
        return x


@net(IMAGE, identity=2 * 3 + 2 + 1, gate=6, blocks={"basic": 6, "other": 3})
class RCAN(nn.Module):
    """Zhang et al. 2018, residual in residual: 2 groups of 3 blocks, and one skip over all."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.d, self.u = conv(8, 8), conv(8, 8), conv(8, 2, 1), conv(2, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.b(F.relu(self.a(x)))
            pooled = F.adaptive_avg_pool2d(y, 1)
            return x + y * torch.sigmoid(self.u(F.relu(self.d(pooled))))

    class Group(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*(RCAN.Block() for _ in range(3)), conv(8, 8))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.body(x)

    def __init__(self) -> None:
        super().__init__()
        self.head = conv(3, 8)
        self.body = nn.Sequential(RCAN.Group(), RCAN.Group(), conv(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return x + self.body(x)


@net(IMAGE, concat=3 * 4, identity=3 + 1, blocks={"dense": 12, "basic": 3, "other": 1})
class RRDB(nn.Module):
    """Wang et al. 2018 (ESRGAN): three dense blocks of five layers, a residual around each."""

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(conv(8 + 4 * i, 4 if i < 4 else 8) for i in range(5))

        def forward(self, x: Tensor) -> Tensor:
            features = [x]
            for layer in self.layers[:4]:
                features.append(F.leaky_relu(layer(torch.cat(features, 1))))
            return self.layers[4](torch.cat(features, 1)) * 0.2 + x

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.body = nn.Sequential(*(RRDB.Dense() for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.body(x) * 0.2 + x


@net(STEPS, identity=3, blocks={"mlp": 1, "other": 2})
class Reversible(nn.Module):
    """Gomez et al. 2017. The first sum adds to one half what is made of the other: no skip."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(mlp(4, 8) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        for f, g in zip(self.parts[::2], self.parts[1::2], strict=True):
            a = a + f(b)
            b = b + g(a)
        return torch.cat([a, b], -1)


# --- gates ----------------------------------------------------------------------------


@net(IMAGE, gate=2, identity=1, blocks={"basic": 1})
class CBAM(nn.Module):
    """Woo et al. 2018: a channel gate, then a spatial gate, in a residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.spatial = conv(3, 8), conv(8, 8), conv(2, 1, 7)
        self.shared = nn.Sequential(conv(8, 2, 1), nn.ReLU(), conv(2, 8, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.conv(x)
        mean, peak = F.adaptive_avg_pool2d(y, 1), F.adaptive_max_pool2d(y, 1)
        y = y * torch.sigmoid(self.shared(mean) + self.shared(peak))
        maps = torch.cat([y.mean(1, True), y.amax(1, True)], 1)
        return F.relu(x + y * torch.sigmoid(self.spatial(maps)))


@net(IMAGE, gate=1, identity=2, blocks={"inverted bottleneck": 1, "mlp": 1})
class NAFNet(nn.Module):
    """Chen et al. 2022: the product of two halves is no gate, the channel attention is."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.n1, self.n2 = conv(3, 8), nn.GroupNorm(1, 8), nn.GroupNorm(1, 8)
        self.a, self.d, self.s, self.b = (
            conv(8, 16, 1),
            conv(16, 16, groups=16),
            conv(8, 8, 1),
            conv(8, 8, 1),
        )
        self.e, self.f = conv(8, 16, 1), conv(8, 8, 1)
        self.beta = nn.Parameter(torch.ones(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        a, b = self.d(self.a(self.n1(x))).chunk(2, 1)
        y = a * b
        y = y * self.s(F.adaptive_avg_pool2d(y, 1))
        x = x + self.b(y) * self.beta
        a, b = self.e(self.n2(x)).chunk(2, 1)
        return x + self.f(a * b) * self.beta


# --- long skips -----------------------------------------------------------------------


class Level(nn.Module):
    """A plain or residual pair of convolutions, with a time embedding or none."""

    def __init__(self, wide: int, out: int, *, residual: bool) -> None:
        super().__init__()
        self.n1, self.c1 = nn.GroupNorm(1, wide), conv(wide, out)
        self.n2, self.c2 = nn.GroupNorm(1, out), conv(out, out)
        self.time = nn.Linear(16, out) if residual else None
        self.shortcut = nn.Identity() if wide == out else conv(wide, out, 1)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        h = self.c1(F.silu(self.n1(x)))
        if self.time is not None and time is not None:
            h = h + self.time(F.silu(time))[:, :, None, None]
        h = self.c2(F.silu(self.n2(h)))
        return h if self.time is None else self.shortcut(x) + h


class UNet(nn.Module):
    def __init__(self, *, residual: bool = False, gated: bool = False, adds: bool = False) -> None:
        super().__init__()
        widths = (4, 8, 16, 32)
        self.adds, self.stem = adds, conv(3, 4)
        self.embed = (
            nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 16)) if residual else None
        )
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(Level(max(4, a // 2), a, residual=residual) for a, _ in pairs)
        self.middle = Level(16, 32, residual=residual)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs))
        self.dec = nn.ModuleList(
            Level(a if adds else 2 * a, a, residual=residual) for a, _ in reversed(pairs)
        )
        self.gates = nn.ModuleList(
            nn.ModuleList([conv(a, a // 2, 1), conv(a, a // 2, 1), conv(a // 2, 1, 1)])
            for a, _ in (reversed(pairs) if gated else ())
        )

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        if self.embed is not None and time is not None:
            time = self.embed(time)
        x, kept = self.stem(x), []
        for level in self.down:
            kept.append(level(x, time))
            x = F.max_pool2d(kept[-1], 2)
        x = self.middle(x, time)
        for i, (up, level) in enumerate(zip(self.up, self.dec, strict=True)):
            u, k = up(x), kept.pop()
            if self.gates:
                a, b, out = self.gates[i]
                k = k * torch.sigmoid(out(F.relu(a(k) + b(u))))
            x = level(k + u if self.adds else torch.cat([k, u], 1), time)
        return x


# Ronneberger et al. 2015; three levels each.
NETS["UNet"] = Net(UNet, (IMAGE,), {"concat": 3})
NETS["UNet that adds"] = Net(lambda: UNet(adds=True), (IMAGE,), {"identity": 3})
# Oktay et al. 2018: the sum inside a gate computes the gate.
NETS["attention UNet"] = Net(lambda: UNet(gated=True), (IMAGE,), {"concat": 3, "gate": 3})
# Ho et al. 2020: 7 residual levels, of which the first keeps its width; the embedding
# enters every branch from the side.
NETS["diffusion UNet"] = Net(
    lambda: UNet(residual=True),
    (IMAGE, torch.zeros(2, 8)),
    {"concat": 3, "identity": 1, "projection": 6},
    {"pre-activation basic": 7},
)


@net(IMAGE, concat=3 * 2, blocks={})
class UNetPlusPlus(nn.Module):
    """Zhou et al. 2018: one concatenation per node right of the backbone, 3 + 2 + 1."""

    def __init__(self, levels: int = 3, wide: int = 4) -> None:
        super().__init__()
        self.levels = levels
        widths = [wide * 2**i for i in range(levels + 1)]
        self.nodes = nn.ModuleDict()
        for i, width in enumerate(widths):
            self.nodes[f"{i}_0"] = unit(widths[i - 1] if i else 3, width)
        for j in range(1, levels + 1):
            for i in range(levels + 1 - j):
                self.nodes[f"{i}_{j}"] = unit(widths[i] * j + widths[i + 1], widths[i])

    def forward(self, x: Tensor) -> Tensor:
        made: dict[tuple[int, int], Tensor] = {}
        for i in range(self.levels + 1):
            made[i, 0] = self.nodes[f"{i}_0"](F.max_pool2d(made[i - 1, 0], 2) if i else x)
        for j in range(1, self.levels + 1):
            for i in range(self.levels + 1 - j):
                up = F.interpolate(made[i + 1, j - 1], scale_factor=2)
                left = [made[i, k] for k in range(j)]
                made[i, j] = self.nodes[f"{i}_{j}"](torch.cat([*left, up], 1))
        return made[0, self.levels]


@net(IMAGE, projection=3)
class FPN(nn.Module):
    """Lin et al. 2017: a lateral 1×1 convolution beside all that is above; no units."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList(unit(8 if i else 3, 8, 3, 2) for i in range(4))
        self.lateral = nn.ModuleList(conv(8, 6, 1) for _ in range(4))
        self.out = nn.ModuleList(conv(6, 6) for _ in range(4))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for level in self.body:
            x = level(x)
            maps.append(x)
        top = self.lateral[3](maps[3])
        found = [self.out[3](top)]
        for i in (2, 1, 0):
            top = self.lateral[i](maps[i]) + F.interpolate(top, scale_factor=2)
            found.append(self.out[i](top))
        return found


@net(MAP, identity=10 + 3, blocks={"bottleneck": 10})
class Hourglass(nn.Module):
    """Newell et al. 2016, three levels: 3 · 3 + 1 bottlenecks, 3 sums that hold x once more."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.up, self.low, self.back = Bottleneck(), Bottleneck(), Bottleneck()
        self.inner = Hourglass(depth - 1) if depth > 1 else Bottleneck()

    def forward(self, x: Tensor) -> Tensor:
        low = self.back(self.inner(self.low(F.max_pool2d(x, 2))))
        return self.up(x) + F.interpolate(low, scale_factor=2)


# --- transformers ---------------------------------------------------------------------


class Layers(nn.Module):
    """Two layers; what one does is up to the subclass."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleList(Attention() for _ in range(2))
        self.mlp = nn.ModuleList(mlp() for _ in range(2))
        self.n1 = nn.ModuleList(nn.LayerNorm(8) for _ in range(2))
        self.n2 = nn.ModuleList(nn.LayerNorm(8) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for parts in zip(self.attention, self.mlp, self.n1, self.n2, strict=True):
            x = self.layer(x, *parts)
        return x

    def layer(self, x: Tensor, *parts: nn.Module) -> Tensor:
        raise NotImplementedError


TWICE = {"attention": 2, "mlp": 2}


@net(STEPS, identity=4, blocks=TWICE)
class PreNorm(Layers):
    """Xiong et al. 2020."""

    def layer(self, x: Tensor, *parts: nn.Module) -> Tensor:
        attention, feed, n1, n2 = parts
        x = x + attention(n1(x))
        return x + feed(n2(x))


@net(STEPS, identity=4, blocks=TWICE)
class PostNorm(Layers):
    """Vaswani et al. 2017."""

    def layer(self, x: Tensor, *parts: nn.Module) -> Tensor:
        attention, feed, n1, n2 = parts
        x = n1(x + attention(x))
        return n2(x + feed(x))


@net(STEPS, identity=4, blocks=TWICE)
class Parallel(Layers):
    """PaLM (Chowdhery et al. 2022), written x + a + m: two sums, each with its branch."""

    def layer(self, x: Tensor, *parts: nn.Module) -> Tensor:
        attention, feed, n1, _ = parts
        y = n1(x)
        return x + attention(y) + feed(y)


@net(STEPS, identity=2, blocks={"attention": 2})
class ParallelInOne(Layers):
    """GPT-J, written (a + m) + x: one sum goes past both."""

    def layer(self, x: Tensor, *parts: nn.Module) -> Tensor:
        attention, feed, n1, _ = parts
        y = n1(x)
        return (attention(y) + feed(y)) + x


@net(STEPS, OTHER_STEPS, identity=6, blocks={"attention": 4, "mlp": 2})
class Decoder(Layers):
    """Self attention, cross attention to a memory from the side, mlp."""

    def __init__(self) -> None:
        super().__init__()
        self.cross = nn.ModuleList(Attention() for _ in range(2))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:  # type: ignore[override]
        for a, c, m in zip(self.attention, self.cross, self.mlp, strict=True):
            x = x + a(x)
            x = x + c(x, memory)
            x = x + m(x)
        return x


@net(STEPS, identity=4, blocks=TWICE)
class DecoderOfItself(Layers):
    """The memory is made from the same input, which therefore dominates every sum."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = mlp()

    def forward(self, x: Tensor) -> Tensor:
        memory = self.encode(x)
        for a, m in zip(self.attention, self.mlp, strict=True):
            x = x + a(x, memory)
            x = x + m(x)
        return x


@net(torch.zeros(2, 5, dtype=torch.int64), identity=4, blocks=TWICE)
class Llama(nn.Module):
    """RMSNorm, rotary positions, grouped queries, softmax and GELU by hand, SwiGLU."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(32, 16)
        self.scale = nn.Parameter(torch.ones(4, 16))
        self.q = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.kv = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.o = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.gate = nn.ModuleList(nn.Linear(16, 32) for _ in range(2))
        self.wide = nn.ModuleList(nn.Linear(16, 32) for _ in range(2))
        self.back = nn.ModuleList(nn.Linear(32, 16) for _ in range(2))

    def norm(self, x: Tensor, scale: Tensor) -> Tensor:
        return scale * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    def turn(self, x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        angle = torch.arange(x.shape[-2])[:, None] * torch.ones(x.shape[-1])
        turned = torch.cat((-x[..., half:], x[..., :half]), -1)
        return x * angle.cos() + turned * angle.sin()

    def attend(self, x: Tensor, i: int) -> Tensor:
        batch, steps, wide = x.shape
        q = self.q[i](x).view(batch, steps, 4, 4).transpose(1, 2)
        k, v = self.kv[i](x).chunk(2, -1)
        k = k.reshape(batch, steps, 2, 4).transpose(1, 2).repeat_interleave(2, 1)
        v = v.reshape(batch, steps, 2, 4).transpose(1, 2).repeat_interleave(2, 1)
        scores = self.turn(q) @ self.turn(k).transpose(-1, -2) / 2
        scores = scores + torch.full((steps, steps), -1e9).triu(1)
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        weights = weights / weights.sum(-1, keepdim=True)
        return self.o[i]((weights @ v).transpose(1, 2).reshape(batch, steps, wide))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for i in range(2):
            x = x + self.attend(self.norm(x, self.scale[2 * i]), i)
            y = self.norm(x, self.scale[2 * i + 1])
            h = self.wide[i](y)
            h = 0.5 * h * (1 + torch.tanh(0.79788 * (h + 0.044715 * h**3)))
            x = x + self.back[i](F.silu(self.gate[i](y)) * h)
        return x


@net(STEPS, torch.zeros(2, 4), identity=4, blocks=TWICE)
class DiT(Layers):
    """Peebles & Xie 2023: shift, scale and gate of every sublayer come from the side."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.adapt = nn.ModuleList(nn.Linear(8, 48) for _ in range(2))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        c = self.embed(time)
        for a, m, adapt in zip(self.attention, self.mlp, self.adapt, strict=True):
            s1, g1, k1, s2, g2, k2 = adapt(F.silu(c)).unsqueeze(1).chunk(6, -1)
            x = x + k1 * a(F.layer_norm(x, (8,)) * (1 + g1) + s1)
            x = x + k2 * m(F.layer_norm(x, (8,)) * (1 + g2) + s2)
        return x


@net(STEPS, identity=1, blocks={"mlp": 1})
class Experts(nn.Module):
    """A soft mixture (Jacobs et al. 1991): weights times experts are no gates."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.route = nn.Linear(8, 8), nn.Linear(8, 4)
        self.experts = nn.ModuleList(mlp() for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        weights = self.route(x).softmax(-1)
        return x + sum(weights[..., i : i + 1] * e(x) for i, e in enumerate(self.experts))


@net(STEPS)
class TwoHeads(nn.Module):
    """VOLO (Yuan et al. 2021): class token and patches have a head each; their sum is no skip."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)
        self.head, self.other = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        return self.head(x[:, 0]) + 0.5 * self.other(F.dropout(x, training=False)[:, 1:]).max(1)[0]


# --- recurrent nets -------------------------------------------------------------------


@net(STEPS)
class GRU(nn.Module):
    """Cho et al. 2014, all input terms made at once: W x + r · U h is no skip."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(8, 24), nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        h, terms = x.new_zeros(x.shape[0], 8), self.x(x)
        for step in range(x.shape[1]):
            a, b, c = terms[:, step].chunk(3, -1)
            d, e, f = self.h(h).chunk(3, -1)
            z, r = torch.sigmoid(a + d), torch.sigmoid(b + e)
            h = (1 - z) * torch.tanh(c + r * f) + z * h
        return h


@net(STEPS)
class GRUStepByStep(GRU):
    """The same, one input term at a time."""

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 8)
        for step in range(x.shape[1]):
            h = super().forward(x[:, step : step + 1]) if step == 0 else self.one(x[:, step], h)
        return h

    def one(self, x: Tensor, h: Tensor) -> Tensor:
        a, b, c = self.x(x).chunk(3, -1)
        d, e, f = self.h(h).chunk(3, -1)
        z, r = torch.sigmoid(a + d), torch.sigmoid(b + e)
        return (1 - z) * torch.tanh(c + r * f) + z * h


@net(STEPS)
class LSTM(nn.Module):
    """Hochreiter & Schmidhuber 1997: a forget gate is computed from another tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.h = nn.Linear(8, 32), nn.Linear(8, 32, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.shape[0], 8)
        for step in range(x.shape[1]):
            i, f, g, o = (self.x(x[:, step]) + self.h(h)).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h


class Stacked(nn.Module):
    def __init__(self, *, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.ModuleList(nn.LSTM(8, 8, batch_first=True) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            y, _ = layer(x)
            x = x + y if self.residual else y
        return x


NETS["stacked LSTMs"] = Net(lambda: Stacked(residual=False), (STEPS,))
# Wu et al. 2016 (GNMT): residual connections between the layers.
NETS["residual LSTMs"] = Net(
    lambda: Stacked(residual=True), (STEPS,), {"identity": 3}, {"other": 3}
)


# --- parallel ways that are no skips --------------------------------------------------


@net(IMAGE)
class Inception(nn.Module):
    """Szegedy et al. 2015."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a = conv(3, 8), unit(8, 4, 1)
        self.b = nn.Sequential(unit(8, 4, 1), unit(4, 4))
        self.c = nn.Sequential(nn.MaxPool2d(3, 1, 1), unit(8, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return torch.cat([self.a(x), self.b(x), self.c(x)], 1)


@net(IMAGE)
class TwoStreams(nn.Module):
    """A lateral connection from one stream to another (Feichtenhofer et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.ModuleList(unit(8 if i else 3, 8) for i in range(3))
        self.b = nn.ModuleList(unit(8 if i else 3, 8) for i in range(3))
        self.lateral = nn.ModuleList(conv(8, 8, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        u = v = x
        for a, b, lateral in zip(self.a, self.b, self.lateral, strict=True):
            v = b(v)
            u = a(u) + lateral(v)
        return u


@net(STEPS)
class FocalProduct(nn.Module):
    """Focal modulation (Yang et al. 2022): query times context are two functions of x."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.q, self.c, self.g = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.q(x) * (F.gelu(self.c(x)) * self.g(x))


@net(STEPS)
class EmptyPart(nn.Module):
    """A split by a ratio of one leaves a part without channels: nothing goes past."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        kept, rest = self.stem(x).split([0, 8], -1)
        return torch.cat([kept, self.mix(F.gelu(rest))], -1)
