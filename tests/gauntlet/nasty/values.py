"""Values: what goes in and comes out, and what a forward leaves lying about."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.gauntlet.cases import Seen, given, nasty
from tests.gauntlet.nasty.control import Lin
from tests.gauntlet.nasty.modules import Holder


@nasty()
class Identity(nn.Module):
    """Returns its input: no op, and the output is the input."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.ids == []
        assert seen.outputs == {"": "input#0"}


@nasty()
class ReturnsAParameter(nn.Module):
    """Returns a parameter, a buffer, the input and nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("table", torch.ones(2))

    def forward(self, x: Tensor) -> Any:
        return {"w": self.weight, "t": self.table, "x": x, "none": None, "n": 3, "s": "text"}

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.outputs == {"x": "input#0"}
        assert seen.graph.total_params == 3


@dataclass
class Result:
    """What a forward may return."""

    logits: Tensor
    hidden: list[Tensor]
    loss: Tensor | None = None
    steps: int = 0


@nasty()
class DataclassOutput(nn.Module):
    """A dataclass with a list, a ``None`` and a number in it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Result:
        y = self.layer(x)
        return Result(logits=y, hidden=[x, y * 2], steps=2)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert list(seen.outputs) == ["logits", "hidden.0", "hidden.1"]


@nasty()
class ObjectOutput(nn.Module):
    """An object of a plain class, as detectors return instances."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Holder:
        return Holder(logits=self.layer(x), size=(3, 4))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.outputs == {"logits": "layer/linear#0"}


@nasty(lambda: given(Holder(x=torch.randn(3, 4), edges=torch.tensor([[0, 1], [1, 2]]))))
class ObjectInput(nn.Module):
    """A graph as a plain object with tensors in it, as graph libraries pass them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, data: Holder) -> Tensor:
        src, dst = data.edges
        x = self.layer(data.x)
        return x.index_add(0, dst, x[src])

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.inputs == ["data.x", "data.edges"]
        assert seen.connected("input#0")
        assert seen.connected("input#1")


@nasty(lambda: given(torch.ones(4) * i for i in range(3)))
class GeneratorInput(nn.Module):
    """A generator of tensors, which can be read only once."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, rows: Iterator[Tensor]) -> Tensor:
        return torch.stack([self.layer(row) for row in rows])

    @staticmethod
    def expect(seen: Seen) -> None:
        assert len(seen.of("linear")) == 3
        assert len(seen.graph.inputs) == 3
        assert seen.connected("input#2")


@nasty()
class GeneratorOutput(nn.Module):
    """``forward`` yields: its body runs only when someone reads the result."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Lin() for _ in range(3))

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        for layer in self.layers:
            x = layer(x)
            yield x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [op.module for op in seen.of("linear")] == ["layers.0", "layers.1", "layers.2"]
        assert list(seen.outputs.values()) == [f"layers.{i}/linear#0" for i in range(3)]


@nasty(lambda: given(torch.ones(4), torch.ones(4), scale=torch.ones(4), flags={"twice": True}))
class StarArguments(nn.Module):
    """``*args`` and ``**kwargs`` with tensors, flags and ``None``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, *xs: Tensor, mask: Tensor | None = None, **rest: Any) -> Tensor:
        total = torch.stack(xs).sum(0) * rest.pop("scale")
        if rest["flags"]["twice"] and mask is None:
            total = total * 2
        return self.layer(total)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.inputs == ["xs.0", "xs.1", "scale"]
        assert len(seen.of("mul")) == 2


@nasty(lambda: given({"x": torch.randn(2, 4), "extra": [torch.ones(4)]}))
class EmptiesItsInput(nn.Module):
    """Pops from the user's dict and list and writes into their tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, batch: dict[str, Any]) -> Tensor:
        extra = batch["extra"].pop()
        batch["seen"] = True
        return self.layer(batch.pop("x").mul_(2)) + extra.add_(1)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.inputs == ["batch.x", "batch.extra.0"]
        assert seen.connected("input#0")
        assert seen.connected("input#1")


@nasty()
class AppendsToLists(nn.Module):
    """Activations kept in lists, deques, sets and default dicts of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()
        self.history: list[Tensor] = []
        self.recent: collections.deque[Tensor] = collections.deque(maxlen=2)
        self.by_step: Any = collections.defaultdict(list)
        self.sizes = {1}

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        self.history.append(y)
        self.recent.append(y)
        self.by_step[len(self.history)].append(y)
        self.sizes.add(y.shape[0])
        return y + len(self.history) * self.recent[0]

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0")


@nasty()
class StateInObjects(nn.Module):
    """State in a plain object, a NumPy array, an iterator and a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()
        self.state = Holder(step=0, cache=None, inner=Holder(log=[]))
        self.counts = np.zeros(3)
        self.dice, self.ids = random.Random(0), itertools.count()
        self.noise = torch.Generator().manual_seed(3)

    def forward(self, x: Tensor) -> Tensor:
        self.state.step += 1
        self.state.inner.log.append(x.shape)
        if self.state.cache is None:
            self.state.cache = torch.arange(4, device=x.device)
        self.counts[0] += 1
        scale = self.counts[0] + self.dice.random() + next(self.ids)
        return self.layer(x) * scale + self.state.cache + torch.rand(4, generator=self.noise)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0")


class Cache:
    """Keys of earlier steps, as language models pass them in and out."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []

    def update(self, key: Tensor) -> Tensor:
        self.keys.append(key)
        return torch.cat(self.keys)


@nasty(lambda: given(torch.randn(2, 4), Cache()))
class CacheAsInput(nn.Module):
    """A cache object of the user's that grows: it must come back empty."""

    def __init__(self) -> None:
        super().__init__()
        self.key = Lin()

    def forward(self, x: Tensor, cache: Cache) -> Tensor:
        return x @ cache.update(self.key(x)).T

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("key/linear#0")


_TABLES: dict[int, Tensor] = {}


@functools.lru_cache(maxsize=8)
def _positions(n: int) -> Tensor:
    return torch.arange(n) / n


@nasty(flops=False)
class GlobalCaches(nn.Module):
    """A dict of the file and an ``lru_cache`` keep tensors: meta ones would break the next run."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        type(self).calls += 1
        n = x.shape[-1]
        if n not in _TABLES:
            _TABLES[n] = torch.arange(n, device=x.device) + 1.0
        return self.layer(x) * _TABLES[n] + _positions(n)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0")


@nasty()
class ChangesTheWorld(nn.Module):
    """Sets the default dtype, the seed and a backend flag, and leaves them so."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(7)
        y = self.layer(x) + torch.rand(4)
        torch.set_default_dtype(torch.float64)
        torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
        return y + torch.zeros(4)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.graph[seen.outputs[""]].outputs[0].dtype == "float64"


@nasty()
class ManagesContexts(nn.Module):
    """Its own context managers, decorators and closures around layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scope = Lin(), ["root"]

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        self.scope.append(name)
        try:
            yield
        finally:
            self.scope.pop()

    def forward(self, x: Tensor) -> Tensor:
        with self.inside("a"), torch.no_grad():
            x = functools.partial(self.layer)(x)
        with contextlib.suppress(IndexError):
            x = x + x[9]
        return functools.reduce(torch.add, [x, x, x])

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.kinds == ["linear", "add", "add"]
        assert seen.loose == []
