"""Functions: autograd's own, transforms, checkpoints, compiled, scripted, custom, threaded."""

from __future__ import annotations

import concurrent.futures
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, stack_module_state, vmap
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from tests.gauntlet.cases import Seen, given, nasty
from tests.gauntlet.nasty.control import Lin


class _Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return -g


class _Halves(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, n: int) -> tuple[Tensor, Tensor, int]:
        return x[:, :n].clone(), x[:, n:].contiguous(), n

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.n = inputs[1]

    @staticmethod
    def backward(ctx: Any, a: Tensor, b: Tensor, _: Any) -> tuple[Tensor, None]:
        return torch.cat((a, b), 1), None


class _Dirty(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x.mul_(2)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * 2


@nasty()
class AutogradFunctions(nn.Module):
    """Four custom functions: plain, one that returns its input, two outputs, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = Lin(), Lin()

    def forward(self, x: Tensor) -> Tensor:
        x = _Swish.apply(self.layer(x))
        x = _Reverse.apply(x)
        a, b, _ = _Halves.apply(x, 2)
        return self.head(_Dirty.apply(torch.cat((b, a), 1)))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0"), seen.loose
        assert seen.loose == []
        assert {"sigmoid", "mul", "clone", "cat"} <= set(seen.kinds)


@nasty()
class Checkpointed(nn.Module):
    """Three checkpoints: reentrant, not, and a sequential one, each with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Lin(), Lin()
        self.rest = nn.Sequential(Lin(), nn.ReLU(), Lin(), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = x + checkpoint(self.a, x, use_reentrant=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x = x + checkpoint(self.b, x, use_reentrant=True)
        return x + checkpoint_sequential(self.rest, 2, x, use_reentrant=False)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert [op.module for op in seen.of("linear")] == ["a", "b", "rest.0", "rest.2"]
        assert seen.loose == []
        assert len(seen.skips) == 3


@nasty()
class VmapInside(nn.Module):
    """``vmap`` over samples: the ops under it stay connected to input and output."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = Lin(), Lin()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(vmap(lambda row: torch.tanh(self.layer(row)) + row)(x))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0", "head/linear#0")
        assert seen.connected()
        assert len(seen.skips) == 1


@nasty()
class Ensemble(nn.Module):
    """``stack_module_state``, ``functional_call`` and ``vmap``: three models at once."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(Lin() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        params, buffers = stack_module_state(list(self.members))
        base = self.members[0]
        call = vmap(lambda p, b: functional_call(base, (p, b), (x,)))
        return call(params, buffers).mean(0)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected()
        assert len(seen.of("linear")) == 1
        assert all(p.used for p in seen.graph.parameters)


@nasty()
class FunctionalCall(nn.Module):
    """A layer called with weights made by another: they are activations there."""

    def __init__(self) -> None:
        super().__init__()
        self.hyper, self.layer = nn.Linear(4, 16), Lin()

    def forward(self, x: Tensor) -> Tensor:
        weight = self.hyper(x.mean(0)).view(4, 4)
        return functional_call(self.layer, {"weight": weight}, (x,))

    @staticmethod
    def expect(seen: Seen) -> None:
        (call,) = (op for op in seen.of("linear") if op.module == "layer")
        assert call.parameters == ("layer.bias",)
        assert "hyper/linear#0" in seen.above(call.id)
        assert not seen.graph.parameter("layer.weight").used


@nasty()
class GradInside(nn.Module):
    """``torch.func.grad`` of an energy: the gradient is connected to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        return grad(lambda v: torch.tanh(self.layer(v)).sum())(x) + x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.of("linear")
        assert seen.connected()
        assert seen.connected(seen.of("linear")[0].id)


@nasty()
class JvpInside(nn.Module):
    """Forward-mode derivatives: value and tangent both come from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Any:
        return jvp(lambda v: torch.tanh(self.layer(v)), (x,), (torch.ones_like(x),))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0", seen.outputs["0"])
        assert seen.connected(dst=seen.outputs["0"])


@nasty()
class Forces(nn.Module):
    """``autograd.grad`` inside ``forward``, as potentials in physics do: needs real grads."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*[nn.Sequential(Lin(), nn.Tanh()) for _ in range(3)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            energy = self.layers(x).sum()
            (force,) = torch.autograd.grad(energy, x, create_graph=True)
        return energy, -force

    @staticmethod
    def expect(seen: Seen) -> None:
        assert len(seen.of("linear")) == 3
        assert seen.connected("layers.2.0/linear#0")
        assert seen.connected()


@nasty()
class GradModes(nn.Module):
    """``no_grad``, ``enable_grad``, ``inference_mode`` and a lasting ``set_grad_enabled``."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = Lin(), Lin(), Lin()

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            teacher = self.a(x)
        with torch.inference_mode():
            frozen = self.b(x)
            frozen += 1
        torch.set_grad_enabled(True)
        return self.c(x) + teacher * frozen.clone()

    @staticmethod
    def expect(seen: Seen) -> None:
        assert all(seen.connected(f"{m}/linear#0") for m in "abc")
        assert seen.loose == []


@nasty()
class AutocastInside(nn.Module):
    """``autocast`` inside: the layer's output is bfloat16, whichever mode traces."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.layer(x)
        return y.float() + x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.of("linear")[0].outputs[0].dtype == "bfloat16"


@nasty(modes=False)
class CompiledPart(nn.Module):
    """A ``torch.compile``-d layer inside: traced as written, not compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.compile(nn.Sequential(Lin(), nn.ReLU()), backend="eager")

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.kinds == ["linear", "relu", "add"]
        assert seen.loose == []
        assert len(seen.skips) == 1
        assert seen.of("linear")[0].parameters


@torch.compile(backend="eager")
def _compiled_gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / 1.41421))


@nasty(modes=False)
class CompiledFunction(nn.Module):
    """A function under ``@torch.compile``: its calls are seen."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        return _compiled_gelu(self.layer(x))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0")
        assert "erf" in seen.kinds


def _plain_gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / 1.41421))


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _scripted_gelu = torch.jit.script(_plain_gelu)


@nasty()
class ScriptedFunction(nn.Module):
    """A function under ``@torch.jit.script``, as older libraries fuse activations."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = Lin(), Lin()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(_scripted_gelu(self.layer(x)))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("layer/linear#0"), "the scripted call cuts the graph in two"


@torch.library.custom_op("gauntlet::halves", mutates_args=())
def _halves_op(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return x[:, :n].clone(), x[:, n:].clone()


@_halves_op.register_fake
def _(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0], n), x.new_empty(x.shape[0], x.shape[1] - n)


@torch.library.custom_op("gauntlet::double_", mutates_args={"x"})
def _double_op(x: Tensor) -> None:
    x.mul_(2)


@torch.library.custom_op("gauntlet::secret", mutates_args=())
def _secret_op(x: Tensor) -> Tensor:
    return x.sin()


@nasty()
class CustomOps(nn.Module):
    """Ops of ``torch.library``: two outputs, and one that writes its argument."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        a, b = _halves_op(self.layer(x), 2)
        _double_op(a)
        return a @ b.T

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.loose == [], seen.ids
        (halves,) = seen.of("halves")
        assert len(halves.outputs) == 2
        assert halves.macs is None
        assert seen.connected("layer/linear#0")


@nasty(mode="real")
class CustomOpWithoutMeta(nn.Module):
    """An op that nobody told how to run without values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        return _secret_op(self.layer(x)) + x

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.ids == ["layer/linear#0", "secret#0", "add#0"]
        assert seen.graph.uncounted == ("secret#0",)
        assert seen.skips == [("input#0", "add#0", "identity")]


@nasty(modes=False, flops=False, limit="calls in other threads are not seen; the graph warns")
class Threads(nn.Module):
    """Two branches in two threads, where no function mode sees a call: the graph says so."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = Lin(), Lin()

    def forward(self, x: Tensor) -> Tensor:
        with concurrent.futures.ThreadPoolExecutor(2) as pool, torch.no_grad():
            parts = list(pool.map(lambda f: f(x), (self.left, self.right)))
        return parts[0] + parts[1]

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.ids == ["add#0"]
        assert any("thread" in warning for warning in seen.graph.warnings)


@nasty(lambda: given(torch.ones(2, 4)))
class HigherOrder(nn.Module):
    """``torch.cond``: a branch as an op; the result depends on the input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Lin()

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda v: self.layer(v), lambda v: v.sin(), (x,))

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected()


@nasty(lambda: given(torch.randn(1, 2, 16, 8)), modes=False)
class FlexAttention(nn.Module):
    """``flex_attention`` with a score rule written in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        from torch.nn.attention.flex_attention import flex_attention

        q, k, v = self.qkv(x).chunk(3, -1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            y = flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: s + (i - j))
        return F.relu(y)

    @staticmethod
    def expect(seen: Seen) -> None:
        assert seen.connected("qkv/linear#0")
