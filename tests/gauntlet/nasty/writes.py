"""Writes: in place, into parts, through views, behind autograd's back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.gauntlet.cases import Seen, given, nasty
from tests.gauntlet.nasty.control import Lin


@nasty()
class PartialWrite(nn.Module):
    """``w[:, :2] = …``: both parts reach the result, and the residual is one skip."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.side = Lin(), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        w = self.main(x)
        w[:, :2] = self.side(x[:, :2])
        return w + x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("main/linear#0")
        assert seen.connected("side/linear#0")
        assert seen.reads("setitem#0") == ["main/linear#0", "side/linear#0"]
        assert seen.skips == [("input#0", "add#0", "identity")]


@nasty()
class PartialResidual(nn.Module):
    """FasterNet's partial layer: a slice of a copy is replaced by itself and a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, :2] = y[:, :2] + self.layer(y[:, :2])
        return y

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.outputs == {"": "setitem#0"}
        assert seen.connected("clone#0")
        assert seen.connected("layer/linear#0")
        assert [(join, kind) for _, join, kind in seen.skips] == [("add#0", "identity")]


@nasty()
class InPlaceResidual(nn.Module):
    """``x += f(x)`` on the user's own input, which must keep its values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        x += self.layer(x)
        return F.relu_(x)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.ids == ["layer/linear#0", "add#0", "relu#0"]
        assert seen.skips == [("input#0", "add#0", "identity")]


@nasty()
class WriteThroughBase(nn.Module):
    """A view taken before its base is written sees the write."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.other = Lin(), Lin()

    def forward(self, x: Tensor) -> Tensor:
        base = self.layer(x)
        early = base[:, 2:].t()
        base += self.other(x)
        return early.sum()

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("other/linear#0")
        assert seen.connected("layer/linear#0")


@nasty()
class ViewOfViewWrite(nn.Module):
    """A write through the view of a view reaches the base and its other views."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        base = self.layer(x)
        other = base[1]
        base.view(-1)[3:].unsqueeze(0).mul_(2.0)
        return base.mean(), other.exp()

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("mul#0")


@nasty()
class ReversibleCoupling(nn.Module):
    """RevNet by halves of one tensor: two writes through chunks, the base is returned."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.g = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        a, b = x.tensor_split(2, dim=1)
        a += self.f(b)
        b += self.g(a)
        return x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("f/linear#0")
        assert seen.connected("g/linear#0")
        assert seen.outputs == {"": "add#1"}


@nasty()
class FillsRows(nn.Module):
    """Rows written one by one into a tensor made in ``forward``: every row reaches the end."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        out = torch.empty(3, *x.shape, dtype=x.dtype)
        for i in range(3):
            out[i] = self.layer(x * i)
        return out

    @staticmethod
    def expect(seen: Seen) -> None:
        assert all(seen.connected(f"layer/linear#{i}") for i in range(3))
        assert seen.outputs == {"": "setitem#2"}


@nasty()
class OutArguments(nn.Module):
    """``out=``: a whole tensor, a view of one, and two at once."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        buffer = torch.empty_like(y)
        torch.add(y, x, out=buffer)
        torch.mul(y[0], 2, out=buffer[1])
        low, where = torch.empty_like(y[:, 0]), torch.empty(len(y), dtype=torch.long)
        torch.max(buffer, dim=1, out=(low, where))
        return low * where

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("add#0")
        assert seen.connected("mul#0")
        assert seen.connected("max#0")
        assert sorted({e.out_slot for e in seen.graph.edges_out("max#0")}) == [0, 1]


@nasty()
class DataWrite(nn.Module):
    """``y.data.mul_(2)`` and ``y.detach().add_(1)``: no autograd, the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = Lin(), Lin()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        y.data.mul_(self.scale(x))
        y.detach().add_(1)
        return y

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("scale/linear#0"), "a write through .data is lost"
        assert seen.connected("add#0"), "a write through detach() is lost"


@nasty()
class SetData(nn.Module):
    """``y.data = z``: the object stays, its content is another tensor's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.other = Lin(), Lin()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        y.data = self.other(x)
        return y * 2

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("other/linear#0")


@nasty(lambda: given(torch.ones(2, 4)), mode="real")
class ClampsItsWeights(nn.Module):
    """A critic that clips its weights in ``forward``: the real run must not keep that."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            self.layer.weight.data.clamp_(-0.01, 0.01)
        with torch.no_grad():
            self.layer.bias.mul_(0.5)
        return self.layer(x)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert "layer/linear#0" in seen.ids


@nasty()
class FastWeights(nn.Module):
    """A hypernetwork writes into another layer's weight: the write is on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.hyper, self.layer = nn.Linear(4, 8), nn.Linear(4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.layer.weight.copy_(self.hyper(x).view(4, 4))
        return self.layer(torch.ones_like(x))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("hyper/linear#0")


@nasty(lambda: given(torch.randn(1, 2, 4)))
class KeyValueCache(nn.Module):
    """Keys go into a slice of a buffer and are read from the buffer: still one path."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.query = Lin(), Lin()
        self.register_buffer("cache", torch.zeros(1, 8, 4))

    def forward(self, x: Tensor) -> Tensor:
        self.cache[:, :2] = self.key(x)
        return self.query(x) @ self.cache.mT

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("key/linear#0"), "what went into the buffer is lost"


@nasty(train=True)
class MovingAverage(nn.Module):
    """A buffer reassigned, one written, and batch-norm statistics: all put back."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        self.seen += 1
        return self.norm(x) - self.mean

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected(dst="sub#0")
        assert seen.connected("mean#0")
        assert seen.graph.module("norm").buffers[0].spec.shape == (4,)


@nasty(lambda: given(torch.randn(3, 4)))
class MaskedWrites(nn.Module):
    """Boolean masks, index lists, diagonals, ``copy_``, ``scatter_``, ``masked_fill_``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.gate = Lin(), Lin()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        mask = self.gate(x) > 0
        y[mask] = 0.0
        y[[0, 1], [2, 3]] = x[0, 0]
        y.diagonal().fill_(1.0)
        y.scatter_(1, mask.long(), x)
        y.masked_fill_(mask.logical_not(), -1.0)
        z = torch.empty_like(y)
        z.copy_(y)
        return z.zero_().add_(y)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("gate/linear#0")
        assert seen.connected("layer/linear#0")
        chain = ["setitem#0", "setitem#1", "fill#0", "scatter#0", "masked_fill#0", "copy#0"]
        assert all(seen.connected(op) for op in [*chain, "zero#0"]), seen.loose
        assert seen.loose == []


@nasty()
class WritesIntoUnbound(nn.Module):
    """Writes through the parts that ``unbind``, ``split`` and ``chunk`` gave."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        first, second = y.unbind(0)
        first.mul_(second)
        left, right = y.split(2, dim=1)
        right.sub_(left)
        for part in y.chunk(4, dim=1):
            part.add_(1)
        return y

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("mul#0")
        assert seen.connected("sub#0")
        assert all(seen.connected(f"add#{i}") for i in range(4))


@nasty(lambda: given(torch.randn(4, 4)))
class StridedWrites(nn.Module):
    """``as_strided``, ``unfold``, ``T`` and ``real`` are views as well."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        y.as_strided((2, 2), (4, 1)).mul_(2)
        y.unfold(0, 2, 2).add_(1)
        y.T.sub_(x)
        z = torch.complex(y, x)
        z.real.div_(3)
        return torch.view_as_real(z)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert all(seen.connected(op) for op in ("mul#0", "add#0", "sub#0", "div#0")), seen.loose
