"""Control flow: what runs depends on values, counters, sizes, luck and exceptions."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.gauntlet.cases import Seen, given, nasty


class Lin(nn.Linear):
    """A square linear layer of width 4."""

    def __init__(self) -> None:
        super().__init__(4, 4)


@nasty(lambda: given(torch.ones(2, 4)), mode="real")
class BranchOnValues(nn.Module):
    """``if x.sum() > 0``: only a run with values knows the way."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = Lin(), Lin()

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x) if x.sum() > 0 else self.down(x)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.ids == ["sum#0", "gt#0", "up/linear#0"]
        assert [p.name for p in seen.graph.parameters if not p.used] == ["down.weight", "down.bias"]
        assert "meta" in seen.graph.how.why


@nasty(lambda: given(torch.full((2, 4), 8.0)), mode="real")
class WhileLoop(nn.Module):
    """``while x.max() > 1``: halves until it fits, three times here."""

    def forward(self, x: Tensor) -> Tensor:
        while x.max() > 1:
            x = x / 2
        return x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert len(seen.of("div")) == 3
        assert seen.outputs == {"": "div#2"}


@nasty()
class LoopOverOneCell(nn.Module):
    """One module called five times: one node per call, its weights counted once."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = Lin()

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(5):
            x = x + self.cell(x)
        return x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [op.id for op in seen.of("linear")] == [f"cell/linear#{i}" for i in range(5)]
        assert [op.params for op in seen.of("linear")] == [20, 0, 0, 0, 0]
        assert seen.graph.module("cell").calls == 5
        assert len(seen.skips) == 5


@nasty()
class Recursion(nn.Module):
    """A module that calls itself: every level belongs to the same path."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor, depth: int = 3) -> Tensor:
        return self(torch.tanh(self.layer(x)), depth - 1) if depth else x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.kinds == ["linear", "tanh"] * 3
        assert seen.graph.module("").calls == 4
        assert seen.outputs == {"": "tanh#2"}


@nasty(lambda: given((torch.ones(4), (torch.ones(4), [torch.ones(4), torch.ones(4)]))))
class TreeOfInputs(nn.Module):
    """Recursion over a nested tree of inputs; each leaf has its place as its name."""

    def __init__(self) -> None:
        super().__init__()
        self.join = nn.Linear(8, 4)

    def forward(self, tree: Any) -> Tensor:
        if isinstance(tree, Tensor):
            return tree
        left, right = (self.forward(child) for child in tree)
        return self.join(torch.cat((left, right)))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.inputs == ["tree.0", "tree.1.0", "tree.1.1.0", "tree.1.1.1"]
        assert all(seen.connected(op.id) for op in seen.graph.inputs)
        assert len(seen.of("linear")) == 3


@nasty(lambda: given(torch.ones(2, 4)), mode="real")
class EarlyExit(nn.Module):
    """Returns from the middle of a list of layers as soon as it is sure."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(4))
        for layer in self.layers:
            nn.init.eye_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i == 1 and bool((x > 0).all()):
                return x
        return x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert len(seen.of("linear")) == 2
        assert not seen.graph.parameter("layers.3.weight").used


@nasty()
class CaughtException(nn.Module):
    """A call that raises and is caught leaves no op behind; what follows is connected."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.layer = nn.Linear(9, 4), Lin()

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.wide(x)
        except RuntimeError:
            return self.layer(x) + x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.ids == ["layer/linear#0", "add#0"]
        assert seen.skips == [("input#0", "add#0", "identity")]


@nasty(lambda: given(torch.full((2, 4), 3.0)))
class TriesValuesFirst(nn.Module):
    """Reads a value and has a fallback: on meta it would silently take the fallback."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        try:
            times = int(x[0, 0].item())
        except Exception:
            times = 0
        for _ in range(times):
            x = self.layer(x)
        return x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert len(seen.of("linear")) == 3


@nasty()
class AsksForTheDevice(nn.Module):
    """``x.device.type``: on a meta tensor the answer must not change the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.fused, self.plain = Lin(), Lin()

    def forward(self, x: Tensor) -> Tensor:
        return self.fused(x) if x.device.type == "cpu" else self.plain(x)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.ids == ["fused/linear#0"]


@nasty()
class CountsInPython(nn.Module):
    """A Python counter decides: every trace is the first call, and the user's next is too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.steps = Lin(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        for _ in range(self.steps):
            x = self.layer(x)
        return x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.kinds == ["linear"]


@nasty(train=True, mode="real")
class StochasticDepth(nn.Module):
    """Draws from torch whether a block runs; the generator is put back."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Lin() for _ in range(8))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            if not self.training or torch.rand(1) < 0.5:
                x = x + layer(x)
        return x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert 0 < len(seen.of("linear")) < 8
        assert len(seen.skips) == len(seen.of("linear")) == len(seen.of("add"))


@nasty(train=True)
class DrawsFromPython(nn.Module):
    """Draws from ``random`` and NumPy; meta, fake and real must draw the same."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Lin() for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        for layer in random.sample(list(self.layers), 4):
            x = layer(x) if np.random.rand() < 0.7 else torch.relu(x)
        return x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert len(seen.kinds) == 4
        assert seen.connected()


@nasty(lambda: given(torch.arange(8.0).view(2, 4)), mode="real")
class SizesFromValues(nn.Module):
    """``nonzero``, a mask and ``unique``: shapes that depend on values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        kept = x[x > 2]
        rows = (x > 5).nonzero().float()
        return self.layer(kept[:, None]).sum() + rows.sum() + torch.unique(x).numel()

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.of("linear")[0].shape == (5, 2)
        assert seen.of("nonzero")[0].shape == (2, 2)
        assert seen.connected()
        assert seen.of("linear")[0].id in seen.above(seen.outputs[""])


@nasty(lambda: given(torch.tensor([[0, 1], [2, 1], [1, 0]])), mode="real")
class MixtureOfExperts(nn.Module):
    """Routes rows to experts by ``where`` and ``index_add_``; one expert gets none."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gate = nn.Embedding(3, 4), nn.Linear(4, 3)
        self.experts = nn.ModuleList(Lin() for _ in range(3))
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, 0.0)
        self.gate.bias.data[1] = 1.0

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens).flatten(0, 1)
        weight, chosen = self.gate(x).softmax(-1).topk(1)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows, slot = torch.where(chosen == i)
            if len(rows):
                out.index_add_(0, rows, expert(x[rows]) * weight[rows, slot, None])
        return out + x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [op.id for op in seen.of("linear")] == ["gate/linear#0", "experts.1/linear#0"]
        assert seen.connected("experts.1/linear#0")
        assert seen.connected("gate/linear#0")
        assert len(seen.of("index_add")) == 1
        assert "embed/embedding#0" in seen.above("add#0")
        assert seen.connected()


@nasty()
class EndlessPython(nn.Module):
    """``sum`` of a list, ``reversed``, iteration over rows, ``max`` of sizes, f-strings."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({f"at{i}": Lin() for i in range(3)})

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.layers[f"at{i}"](row) for i, row in zip(range(3), x, strict=False)]
        return sum(reversed(parts)) / max(x.shape)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [op.module for op in seen.of("linear")] == ["layers.at0", "layers.at1"]
        assert seen.connected()
        assert not [op for op in seen.loose if "linear" in op]
