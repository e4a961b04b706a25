"""Modules: shared, hidden, lazy, deep, hooked, reparametrised, replaced, wrapped."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from tests.gauntlet.cases import Seen, given, nasty
from tests.gauntlet.nasty.control import Lin


@nasty(lambda: given(torch.tensor([[1, 2, 3]])))
class TiedWeights(nn.Module):
    """An embedding and a head share one weight; a layer stands under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight
        self.first = self.second = Lin()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.second(self.first(self.embed(tokens))))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.graph.total_params == 7 * 4 + 20
        assert seen.graph.parameter("embed.weight").aliases == ("head.weight",)
        assert seen.graph.module("first").aliases == ("second",)
        assert [op.id for op in seen.of("linear")][:2] == ["first/linear#0", "first/linear#1"]
        assert seen.of("linear")[2].params == 0


@nasty()
class UnusedAndFrozen(nn.Module):
    """A head nobody calls, a parameter nobody reads, a layer that does not train."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.spare = Lin(), Lin()
        self.scale = nn.Parameter(torch.ones(4))
        self.layer.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    @staticmethod
    def expect(seen: Seen) -> None:
        graph = seen.graph
        unused = {p.name for p in graph.parameters if not p.used}
        assert unused == {"spare.weight", "spare.bias", "scale"}
        assert (graph.total_params, graph.trainable_params) == (44, 24)
        assert graph.module("spare").calls == 0


@nasty()
class PlainContainers(nn.Module):
    """Layers in a list, in a dict of tuples and in a plain object: registered nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: Any = [Lin(), {"deep": (Lin(), nn.Tanh())}]

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.layers[0], *self.layers[1]["deep"]):
            x = layer(x)
        return x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.ids == ["<Lin#0>/linear#0", "<Lin#1>/linear#0", "<Tanh#0>/tanh#0"]
        assert seen.connected("<Lin#0>/linear#0")


class Holder:
    """Any object."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


@nasty()
class HiddenInObjects(nn.Module):
    """A layer inside a plain object, and one that only a closure knows."""

    def __init__(self) -> None:
        super().__init__()
        self.holder, hidden = Holder(layer=Lin()), Lin()
        self.call = lambda x: hidden(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.holder.layer(x))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.kinds == ["linear", "linear"]
        assert seen.connected("<Lin#0>/linear#0")


@nasty()
class MadeInForward(nn.Module):
    """A layer built on every call draws its weights; the generator is put back."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.Linear(4, 2)(nn.Sequential(nn.Linear(4, 4), nn.ReLU())(x))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [k for k in seen.kinds if k in ("linear", "relu")] == ["linear", "relu", "linear"]
        assert seen.connected(seen.of("relu")[0].id)
        assert seen.graph.total_params == 0


@nasty()
class LazyLayers(nn.Module):
    """``LazyLinear`` that never ran: traced, and still lazy afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.LazyLinear(6), nn.LazyBatchNorm1d(), nn.LazyLinear(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.kinds == ["linear", "batch_norm", "linear"]
        assert seen.of("linear")[0].params == 4 * 6 + 6
        assert seen.graph.total_params == 30 + 12 + 14


@nasty()
class GrowsOnFirstCall(nn.Module):
    """Registers a layer in its first ``forward``; the trace must not leave it there."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "grown"):
            self.grown = nn.Linear(x.shape[-1], 3)
        return self.grown(x)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.of("linear")[0].shape == (2, 3)


@nasty(train=True)
class Reparametrised(nn.Module):
    """Spectral norm, weight norm, orthogonal and a rule of its own on weights."""

    def __init__(self) -> None:
        super().__init__()
        self.spectral = parametrizations.spectral_norm(Lin())
        self.weight = parametrizations.weight_norm(Lin())
        self.own = Lin()

        class Symmetric(nn.Module):
            def forward(self, w: Tensor) -> Tensor:
                return (w + w.T) / 2

        parametrize.register_parametrization(self.own, "weight", Symmetric())

    def forward(self, x: Tensor) -> Tensor:
        with parametrize.cached():
            return self.own(self.weight(self.spectral(x)) @ self.own.weight)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.graph.total_params == 16 + 4 + 16 + 4 + 4 + 16 + 4
        assert all(p.used for p in seen.graph.parameters)
        (last,) = (op for op in seen.of("linear") if op.module == "own")
        assert any("own.parametrizations" in s for s in seen.above(last.id)), seen.ids


@nasty(lambda: given(torch.randn(4, 4)), train=True)
class OldSpectralNorm(nn.Module):
    """The hook-based spectral and weight norm that set ``weight`` before each call."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.spectral_norm(Lin())
        self.second = nn.utils.weight_norm(Lin())

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert all(p.used for p in seen.graph.parameters)
        assert len(seen.of("linear")) == 2


class Nest(nn.Module):
    """One level of nesting."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.inner = Nest(depth - 1) if depth else Lin()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def _nest(cls: type[Nest], depth: int, frames: int) -> nn.Module:
    sys.setrecursionlimit(frames)
    return cls(depth)


@nasty(model=lambda: _nest(DeepNesting, 220, 1000))
class DeepNesting(Nest):
    """220 modules inside each other: a bare forward needs 900 of the 1,000 frames allowed."""

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.kinds == ["linear"]
        assert seen.graph.ops[0].module == ".".join(["inner"] * 221)


@nasty(model=lambda: _nest(DeepestNesting, 700, 4000))
class DeepestNesting(Nest):
    """700 modules inside each other, by a user who raised Python's limit."""

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.graph.ops[0].module == ".".join(["inner"] * 701)


@nasty()
class Hooked(nn.Module):
    """Hooks that change the input and the output of a layer are part of the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Lin(), Lin()
        self.first.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
        self.first.register_forward_hook(lambda m, args, out: out + args[0])
        self.second.register_forward_hook(
            lambda m, args, kwargs, out: torch.tanh(out), with_kwargs=True
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.kinds == ["mul", "linear", "add", "linear", "tanh"]
        assert seen.loose == []
        assert [kind for *_, kind in seen.skips] == ["identity"]


@nasty()
class Sly(nn.Module):
    """``__getattr__`` that asks a wrapped module, ``forward`` on the instance, ``__len__`` 0."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Sequential(Lin(), Lin())
        self.base[0].forward = lambda x: torch.tanh(x @ self.base[0].weight)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base":
                raise
            return getattr(self.base, name)

    def __len__(self) -> int:
        return 0

    def forward(self, x: Tensor) -> Tensor:
        return self[1](self.base[0](x))

    def __getitem__(self, i: int) -> Any:
        return self.base[i]

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.ids == ["base.0/matmul#0", "base.0/tanh#0", "base.1/linear#0"]


@nasty()
class CallsForwardDirectly(nn.Module):
    """``layer.forward(x)`` skips hooks: its ops belong to the caller, its weights to it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer.forward(x) + x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.ids == ["linear#0", "add#0"]
        assert seen.of("linear")[0].parameters == ("layer.weight", "layer.bias")
        assert len(seen.skips) == 1


@nasty()
class ParametersByHand(nn.Module):
    """Lists and dicts of parameters, one reassigned in ``forward``, one returned as is."""

    def __init__(self) -> None:
        super().__init__()
        self.list = nn.ParameterList([torch.ones(4) * i for i in range(3)])
        self.dict = nn.ParameterDict({"scale": torch.ones(4)})
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for scale in self.list:
            x = x * scale
        self.bias = nn.Parameter(self.bias + 1)
        return x + self.bias, self.dict["scale"]

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [op.parameters for op in seen.of("mul")] == [("list.0",), ("list.1",), ("list.2",)]
        assert seen.graph.total_params == 20
        assert "0" in seen.outputs


@nasty()
class Mutates(nn.Module):
    """Swaps, deletes and adds its own layers and attributes while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Lin(), nn.Linear(4, 4, bias=False)
        self.once = torch.ones(4)
        self.body = nn.Sequential(Lin(), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        self.a, self.b = self.b, self.a
        x = x * self.once
        del self.once
        self.body.append(nn.Tanh())
        self.extra = x
        return self.body(self.a(x))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [op.kind for op in seen.graph.ops] == ["mul", "linear", "linear", "relu", "tanh"]
        assert seen.of("linear")[0].module == "b"
        assert seen.loose == []


@nasty(lambda: given(torch.randn(1, 3, 8, 8)), train=True)
class FusedModules(nn.Module):
    """``Identity``, dropout at 0, ``Flatten``, ``Upsample`` and pooling with indices."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3, padding="same"), nn.Dropout(0))
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x, where = self.pool(self.body(x))
        return self.unpool(x, where)

    @staticmethod
    def expect(seen: Seen) -> None:
        (unpool,) = (op for op in seen.graph.ops if "unpool" in op.kind)
        pooled = [op.id for op in seen.graph.ops if op.module == "pool"]
        assert [e.out_slot for e in seen.graph.edges_in(unpool.id)] == [0, 1]
        assert set(seen.reads(unpool.id)) == {pooled[-1]}
