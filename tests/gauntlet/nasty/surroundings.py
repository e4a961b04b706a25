"""What surrounds a call: contexts, decorators, devices, aliases, other front ends, odd values."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.gauntlet.cases import Seen, given, nasty
from tests.gauntlet.nasty.control import Lin
from tests.gauntlet.nasty.modules import Holder


def _twice() -> Any:
    x = torch.randn(2, 4)
    return given(x, x, x[0])


@nasty(_twice)
class AliasedInputs(nn.Module):
    """One tensor as two arguments and a view of it as a third, and a write into the first."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor, y: Tensor, row: Tensor) -> Tensor:
        x.mul_(2)
        return self.layer(y) + row

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.inputs == ["x, y", "row"]
        assert seen.connected("mul#0"), "the write reaches y and row, which are x"


OWN = nn.Parameter(torch.ones(4, 4))


@nasty(lambda: given(OWN))
class InputIsOwn(nn.Module):
    """The user passes the model's own weight as input: there it is both."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.weight = Lin(), OWN

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.inputs == ["x"]
        assert seen.connected()


@nasty(lambda: given(torch.randn(2, 4), nn.Linear(4, 4), act=torch.relu))
class ModuleAsArgument(nn.Module):
    """A layer and a function among the arguments."""

    def forward(self, x: Tensor, layer: nn.Module, act: Any) -> Tensor:
        return act(layer(x)) + x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.ids == ["<Linear#0>/linear#0", "relu#0", "add#0"]
        assert seen.inputs == ["x"]


@nasty()
class CyclicOutput(nn.Module):
    """Returns an object that refers to itself and to the model, and one tensor twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Any:
        y = self.layer(x)
        out = Holder(logits=y, again=[y, y], model=self)
        out.parent = Holder(child=out)
        return out

    @staticmethod
    def expect(seen: Seen) -> None:
        assert set(seen.outputs.values()) == {"layer/linear#0"}
        assert "logits" in seen.outputs


@nasty(lambda: given(torch.ones(2, 4)))
class CachesByAddress(nn.Module):
    """Keyed by ``data_ptr()``, which is 0 for every tensor without memory."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        known: dict[int, Tensor] = {}
        for tensor in (x, x + 1, x):
            if tensor.data_ptr() not in known:
                known[tensor.data_ptr()] = self.layer(tensor)
        return sum(known.values())

    @staticmethod
    def expect(seen: Seen) -> None:
        assert len(seen.of("linear")) == 2


@nasty()
class MovesAbout(nn.Module):
    """``cpu()``, ``to`` in all its forms, ``is_cuda``, ``get_device``: nothing leaves home."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        home = x.device
        y = self.layer(x).cpu().to("cpu").to(device=torch.device("cpu"), dtype=torch.float64)
        z = torch.ones(4).to(y) + torch.zeros(4, device=home).type_as(y)
        assert not x.is_cuda
        assert x.get_device() < 0
        return y * z.to(home) + torch.empty_like(z, device="cpu").fill_(1)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0")
        assert seen.graph[seen.outputs[""]].outputs[0].dtype == "float64"


@nasty()
class Decorated(nn.Module):
    """``forward`` and helpers under ``no_grad``, ``inference_mode``, ``compiler.disable``."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Lin(), Lin()

    @torch.compiler.disable
    def first(self, x: Tensor) -> Tensor:
        with torch.profiler.record_function("first"):
            return self.a(x)

    @torch.inference_mode()
    def second(self, x: Tensor) -> Tensor:
        return self.b(x)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        torch._assert(x.shape[0] == 2, "two rows")
        return self.first(x) + self.second(x).clone()

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.kinds == ["linear", "linear", "clone", "add"]


class _Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x)) + x


@nasty(model=lambda: SymbolicallyTraced())
class SymbolicallyTraced(nn.Module):
    """A ``torch.fx`` graph module and an unlifted ``torch.export`` program as layers."""

    def __init__(self) -> None:
        super().__init__()
        self.fx = torch.fx.symbolic_trace(_Plain())
        self.exported = torch.export.export(_Plain(), (torch.ones(2, 4),)).module()

    def train(self, mode: bool = True) -> nn.Module:
        # An exported program refuses to be asked.
        self.fx.train(mode)
        self.training = mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.exported(self.fx(x))

    @staticmethod
    def expect(seen: Seen) -> None:
        kinds = [kind for kind in seen.kinds if kind in ("linear", "relu", "add")]
        assert kinds == ["linear", "relu", "add"] * 2
        assert [kind for *_, kind in seen.skips] == ["identity"] * 2


@nasty()
class NumbersOfAllKinds(nn.Module):
    """NumPy scalars, ``operator``, fractions of shapes, ``torch.Tensor.add`` as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x) * np.float32(0.5) / np.sqrt(x.shape[-1])
        y = operator.iadd(y, np.int64(1)) + np.float64(2) * y
        y = torch.Tensor.add(y, True) ** 2 // 1 % 7
        return 1 - (-y).__abs__() @ torch.eye(4) + float("inf") * 0.0 + complex(1, 0).real

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0")
        assert seen.loose == []


@nasty(lambda: given(np.ones((2, 4), dtype=np.float32), "mean", [1, 2]))
class NotOnlyTensors(nn.Module):
    """An array, a word and a list of numbers go in; the array becomes a tensor inside."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Any, how: str, sizes: list[int]) -> Tensor:
        y = self.layer(torch.as_tensor(x)).repeat(*sizes)
        return getattr(torch, how)(y, dim=0)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.inputs == []
        assert seen.graph.ops[-1].kind == "mean"
        assert seen.graph.ops[-1].shape == (8,)


@nasty(lambda: given(torch.randn(2, 3, 8, 8)))
class ManyLayers(nn.Module):
    """A tour of ``torch.nn``: sampling, folding, shuffling, bags, odd norms and losses."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 1), nn.PReLU(8), nn.LocalResponseNorm(2))
        self.norms = nn.Sequential(nn.GroupNorm(2, 8), nn.InstanceNorm2d(8), nn.RMSNorm([8, 8]))
        self.bag = nn.EmbeddingBag(8, 4, mode="sum")
        self.bilinear, self.loss = nn.Bilinear(4, 8, 2), nn.CrossEntropyLoss()
        self.shuffle = nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(2), nn.ChannelShuffle(2))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.shuffle(self.norms(self.stem(x)))
        grid = nn.functional.affine_grid(torch.eye(2, 3).expand(2, 2, 3), [2, 8, 8, 8])
        y = nn.functional.grid_sample(y, grid, align_corners=False)
        columns = nn.functional.unfold(y, 2, stride=2)
        y = y + nn.functional.fold(columns, (8, 8), 2, stride=2)
        bags = self.bag(torch.tensor([[0, 1], [2, 3]]))
        logits = self.bilinear(bags, nn.functional.adaptive_max_pool2d(y, 1).flatten(1))
        return {"loss": self.loss(logits, torch.tensor([0, 1])), "logits": logits}

    @staticmethod
    def expect(seen: Seen) -> None:
        assert list(seen.outputs) == ["loss", "logits"]
        assert seen.connected()
        assert all(p.used for p in seen.graph.parameters)


@nasty(lambda: given(torch.randn(2, 4)), mode="real")
class QuantisedInside(nn.Module):
    """Quantised tensors made and undone inside: no meta kernels, but real ones."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        q = torch.quantize_per_tensor(self.layer(x), 0.1, 0, torch.qint8)
        return torch.relu(q).dequantize() + x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0")
        assert [kind for *_, kind in seen.skips] == ["identity"]
