"""Gradients and weights that ``forward`` itself asks for, changes and puts elsewhere."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from tests.gauntlet.cases import Seen, given, nasty
from tests.gauntlet.nasty.control import Lin


@nasty(grad=True)
class ForcesWithoutAsking(nn.Module):
    """``autograd.grad`` with no ``enable_grad``: it relies on the mode the user calls it in."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(Lin(), nn.Tanh(), Lin(), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        energy = self.layers(x).sum()
        return -torch.autograd.grad(energy, x, create_graph=True)[0]

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [op.kind for op in seen.graph.ops if op.module] == ["linear", "tanh"] * 2
        assert seen.connected("layers.2/linear#0")
        assert seen.connected()


@nasty(grad=True)
class WatchesItsGradients(nn.Module):
    """``register_hook`` and ``retain_grad`` on an activation, as Grad-CAM models do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = Lin(), Lin()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        y.retain_grad()
        y.register_hook(self.seen.append)
        return self.head(y)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [op.module for op in seen.of("linear")] == ["layer", "head"]
        assert seen.connected("layer/linear#0")


@nasty()
class InnerLoop(nn.Module):
    """MAML: one step of gradient descent on copies of the weights, then a call with them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Any:
        fast = dict(self.layer.named_parameters())
        with torch.enable_grad():
            loss = functional_call(self.layer, fast, (x,)).square().mean()
            grads = torch.autograd.grad(loss, list(fast.values()))
        stepped = {k: p - 0.1 * g for (k, p), g in zip(fast.items(), grads, strict=True)}
        return functional_call(self.layer, stepped, (x,))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [op.id for op in seen.of("linear")] == ["layer/linear#0", "layer/linear#1"]
        assert seen.connected("layer/linear#0", "layer/linear#1")


@nasty(
    lambda: given(torch.ones(2, 4)),
    mode="real",
    flops=False,
    limit="backward() gives no tensor, so it is no op: what it computes is not counted",
)
class TestTimeTraining(nn.Module):
    """``backward`` and an optimiser's step inside ``forward``: weights and ``.grad`` come back."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        assert x.sum() > 0
        with torch.enable_grad():
            optimiser = torch.optim.SGD(self.layer.parameters(), lr=0.1, momentum=0.9)
            self.layer(x).square().mean().backward()
            optimiser.step()
        return self.layer(x)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert len(seen.of("linear")) == 2


@nasty(train=True)
class Teacher(nn.Module):
    """A momentum copy of the student: ``mul_``, ``add_`` and ``load_state_dict`` in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.student = Lin()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.frozen = Lin()

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            for mine, its in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                mine.mul_(0.9).add_(its, alpha=0.1)
            self.frozen.load_state_dict(self.student.state_dict())
        return self.student(x) - self.teacher(x) + self.frozen(x)

    @staticmethod
    def expect(seen: Seen) -> None:
        linear = [op.id for op in seen.of("linear")]
        assert linear == ["student/linear#0", "teacher/linear#0", "frozen/linear#0"]
        assert all(seen.connected(op) for op in linear)


@nasty(lambda: given(torch.ones(2, 4)), mode="real")
class CastsItself(nn.Module):
    """``self.double()`` and ``self.eval()`` in a real run: dtype and mode come back."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = Lin(), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            self.double()
        self.train(not self.training)
        return self.norm(self.layer(x.double()))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.of("linear")[0].outputs[0].dtype == "float64"


@nasty(limit="where fake tensors run, a deep copy of a weight is several calls")
class CopiesItself(nn.Module):
    """A deep copy of a layer is made and run: the copy has no name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + copy.deepcopy(self.layer)(x)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [op.module for op in seen.of("linear")] == ["layer", "<Lin#0>"]


@nasty()
class Jacobians(nn.Module):
    """``jacrev`` under ``vmap``: connected on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.sin(x)
        return vmap(jacrev(lambda row: torch.tanh(self.layer(row))))(y).sum(-1)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("sin#0", seen.of("linear")[0].id)
        assert seen.connected(seen.of("linear")[0].id)


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *rest: Any) -> Any:
        with torch.no_grad():
            scale = x.abs().mean()
        ctx.set_materialize_grads(False)
        return torch.sign(x) * scale, None, scale

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0], None, None


@nasty()
class BinaryWeights(nn.Module):
    """A straight-through function on a weight, with ``None`` among inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        weight, _, scale = _Straight.apply(self.weight, None, "name")
        return nn.functional.linear(x, weight) / scale

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.graph.parameter("weight").used
        assert seen.loose == []
        assert {"sign", "abs", "mean", "mul", "linear", "div"} == set(seen.kinds)
