"""Tensors: odd dtypes, layouts, sizes, subclasses, indexing, and where they come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.gauntlet.cases import Seen, given, nasty
from tests.gauntlet.nasty.control import Lin


@nasty(lambda: given(torch.randn(2, 4, dtype=torch.bfloat16)))
class HalfPrecision(nn.Module):
    """Weights in bfloat16, a norm in float32, a product in float16."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = Lin().bfloat16(), nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.layer(x).float())
        return y.half() * y.to(torch.float16)

    @staticmethod
    def expect(seen: Seen) -> None:
        dtypes = [op.outputs[0].dtype for op in seen.graph.ops]
        assert dtypes == ["bfloat16", "float32", "float32", "float16", "float16", "float16"]


@nasty(lambda: given(torch.randn(2, 16)))
class Fourier(nn.Module):
    """FFT, complex weights, ``view_as_real`` and back: complex all the way on meta."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(9, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        z = torch.fft.rfft(x) * self.weight
        pair = torch.view_as_real(z.conj().resolve_conj())
        return torch.fft.irfft(torch.view_as_complex(pair.contiguous()), n=16) + x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.of("mul")[0].outputs[0].dtype == "complex64"
        assert set(seen.graph.uncounted) == {"fft_rfft#0", "fft_irfft#0"}
        assert seen.reads("add#0") == ["fft_irfft#0", "input#0"]


@nasty(lambda: given(torch.eye(4).to_sparse(), torch.randn(4, 3)))
class Sparse(nn.Module):
    """A sparse adjacency as input, one as buffer, one made inside."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.register_buffer("adjacency", torch.ones(4, 4).tril().to_sparse_coo())

    def forward(self, a: Tensor, x: Tensor) -> Tensor:
        x = torch.sparse.mm(a, self.layer(x))
        x = self.adjacency @ x
        return torch.relu(x).to_sparse().to_dense()

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0")
        assert seen.connected("input#0")
        assert seen.connected("input#1")


@nasty(lambda: given(torch.randn(0, 4), torch.tensor(3.0)))
class EmptyAndScalar(nn.Module):
    """Tensors of no elements and of no dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        y = self.layer(x) * scale
        z = torch.cat((y, torch.ones(1, 4), torch.empty(0, 4)))
        return z.sum() + scale

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.of("linear")[0].shape == (0, 4)
        assert seen.of("linear")[0].macs == 0
        assert seen.connected("input#0")
        assert seen.connected("input#1")


@nasty()
class WideCat(nn.Module):
    """500 operands in one ``cat``, and one tensor 500 times in a ``stack``."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([x * i for i in range(500)], 1)
        return torch.stack([y] * 500).sum(0)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [e.in_slot for e in seen.graph.edges_in("cat#0")] == list(range(500))
        assert seen.reads("stack#0") == ["cat#0"] * 500


@nasty()
class SameOperandTwice(nn.Module):
    """``x + x`` is two edges and no skip; ``x * x.T`` and ``f(x, x, x)`` likewise."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        y = y + y
        return torch.addmm(y, y.T[:2, :2], y) + torch.where(y > 0, y, y)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.reads("add#0") == ["layer/linear#0"] * 2
        assert ("layer/linear#0", "add#0", "identity") not in seen.skips


@nasty(lambda: given(torch.randn(3, 4)))
class Indexing(nn.Module):
    """``topk``, ``gather``, ``scatter``, ``sort``, ``where``, index tensors and ``None``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        values, where = y.topk(2, dim=1)
        picked = y.gather(1, where) + values
        spread = torch.zeros_like(y).scatter(1, where, picked)
        ordered, order = spread.sort(dim=0)
        taken = ordered[order[:, 0], None, ..., ::2]
        return taken[[0, 2], :, torch.tensor([0, 1])].index_select(0, where[0]).squeeze()[None].mT

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("topk#0")
        assert {e.out_slot for e in seen.graph.edges_out("topk#0")} == {0, 1}
        assert seen.loose == []


@nasty()
class ViewsOnly(nn.Module):
    """Every way to look at the same memory; nothing is computed and nothing is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x).view(2, 2, 2).permute(2, 0, 1).transpose(0, 1).mT.flatten()
        y = y.unflatten(0, (2, 4)).expand(3, 2, 4).narrow(0, 1, 2).movedim(0, -1)
        first, *_ = y.contiguous().unbind(-1)
        return torch.stack(first.split([1, 3], dim=1)[1].chunk(3, 1)).select(0, 1).T.ravel()

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0")
        assert seen.graph.total_macs == 2 * 4 * 4
        assert seen.loose == []


@nasty()
class FactoriesInForward(nn.Module):
    """Tensors made inside: from lists, ranges, other tensors, on no device and on one."""

    def forward(self, x: Tensor) -> Tensor:
        steps = torch.arange(4, dtype=x.dtype) + torch.tensor([1.0, 2.0, 3.0, 4.0])
        grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij")).mean((0, 1))
        noise = torch.full_like(x, 0.5) + x.new_tensor([1, 2, 3, 4]) + torch.eye(4)[1]
        eps = torch.as_tensor(1e-5, device=x.device) + torch.linspace(0, 1, 4, device="cpu")
        return x * grid + noise + eps

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected()
        assert seen.graph.ops[-1].shape == (2, 4)


SCALE = torch.linspace(1, 2, 4)


@nasty()
class GlobalConstants(nn.Module):
    """Tensors of the file, of a default argument and of the class."""

    shift = torch.ones(4)

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor, bias: Tensor = torch.zeros(2, 4)) -> Tensor:  # noqa: B008
        return self.layer(x) * SCALE + self.shift + bias

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.kinds == ["linear", "mul", "add", "add"]
        assert seen.loose == []


@nasty(lambda: given(torch.ones(2, 4)), mode="real")
class HostRoundTrip(nn.Module):
    """Through NumPy and lists and back: the real run follows, the way is cut and said so."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.from_numpy(np.tanh(self.layer(x).numpy()))
        return y + torch.tensor(x.tolist())

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.of("linear")
        assert seen.of("add")


class Tagged(Tensor):
    """A subclass with a mark of its own."""

    tag = "user"


@nasty(lambda: given(torch.randn(2, 4).as_subclass(Tagged)))
class SubclassInput(nn.Module):
    """A tensor subclass as input: its class and attributes are there, edges too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Any) -> Tensor:
        assert x.tag == "user"
        return self.layer(x) + x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.kinds == ["linear", "add"]
        assert seen.skips == [("input#0", "add#0", "identity")]


@nasty()
class IntegersAndBools(nn.Module):
    """Int and bool outputs, ``argmax``, comparisons, shifts and one-hot."""

    def forward(self, x: Tensor) -> Any:
        top = x.argmax(-1)
        return top, (x > 0) & ~(x > 1), (top << 1) // 2, nn.functional.one_hot(top, 4)

    @staticmethod
    def expect(seen: Seen) -> None:
        dtypes = [seen.graph[o.src].outputs[0].dtype for o in seen.graph.outputs]
        assert dtypes == ["int64", "bool", "int64", "int64"]
        assert seen.connected()


@nasty(train=True)
class RandomInside(nn.Module):
    """Dropout, noise, ``bernoulli`` and ``randperm`` in train mode: equal draws every time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.drop = Lin(), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.layer(x)) + torch.randn_like(x)
        keep = torch.bernoulli(torch.full((len(x), 1), 0.5))
        return (x * keep)[torch.randperm(len(x))]

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0")
        assert {"dropout", "bernoulli", "randperm"} <= set(seen.kinds)


@nasty(lambda: given(torch.randn(2, 3, 8, 8)))
class Layouts(nn.Module):
    """``channels_last``, ``contiguous``, grouped, transposed and dilated convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, groups=3).to(memory_format=torch.channels_last)
        self.b = nn.ConvTranspose2d(6, 4, 3, stride=2, output_padding=1)
        self.c = nn.Conv2d(4, 4, 3, dilation=2, padding_mode="circular", padding=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x.contiguous(memory_format=torch.channels_last)).contiguous())
        return self.c(x).to(memory_format=torch.channels_last)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("a/conv2d#0")
        assert seen.of("conv2d")[0].macs == 2 * 6 * 36 * 9
