"""The gradient by path length: closed forms, an oracle with gradients scaled, and its limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import resnet_viz as rv
from resnet_viz.analysis import annotate
from resnet_viz.analysis.paths import path_lengths
from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import ModelError, NotApplicableError
from resnet_viz.core.paths import PathGradients
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.measuring.one_pass import Setting
from resnet_viz.measuring.paths import graded
from resnet_viz.measuring.paths.measure import measure_paths, prepare
from resnet_viz.measuring.paths.running import run_towards_input
from resnet_viz.tracing.tracer import trace_model


def total(outputs: Any, _targets: Any = None) -> Tensor:
    """A loss with known derivative: the sum of the outputs."""
    result: Tensor = outputs.sum()
    return result


def paths_of(model: nn.Module, x: Tensor, **options: Any) -> PathGradients:
    graph = trace_model(model, (x,))
    return measure_paths(model, Batch(args=(x,)), graph=graph, structure=annotate(graph), **options)


def terms_of(
    model: nn.Module, x: Tensor, *, chunk: int = 1, draws: int = 0, **options: Any
) -> tuple[list[Tensor], Any]:
    """The g_k themselves, and what they were made from."""
    graph = trace_model(model, (x,))
    setting = Setting(model=model, graph=graph, device=x.device, **options)
    with ExitStack() as stack:
        ran = run_towards_input(stack, setting, Batch(args=(x,)), seed=0)
        ready = prepare(ran, graph, annotate(graph), seed=0, draws=draws)
        with torch.no_grad():
            parts = graded.graded_backward(ready.segments, ready.seed, chunk=chunk)
        zero = torch.zeros_like(ready.gradient)
        found = [zero if p is None or p[ready.slot] is None else p[ready.slot] for p in parts]
    return found, ready


# -- closed forms --------------------------------------------------------------------


class Scalars(nn.Module):
    """x ← x + a_i x: g_k is the k-th elementary symmetric polynomial of the a_i."""

    def __init__(self, factors: list[float]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in factors)
        for layer, factor in zip(self.layers, factors, strict=True):
            nn.init.constant_(layer.weight, factor)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            # Something nonlinear whose derivative is one, so that the branch is one.
            x = x + layer(F.leaky_relu(x, 1.0))
        return x


@pytest.mark.parametrize("chunk", [1, 3])
def test_scalar_blocks_give_elementary_symmetric_polynomials(chunk: int) -> None:
    factors = [0.5, -0.25, 2.0, 0.125, -1.5, 1.0]
    model = Scalars(factors).double()
    found = paths_of(model, torch.ones(1, 1).double(), loss_fn=total, chunk=chunk)
    exact = [
        sum(math.prod(chosen) for chosen in combinations(factors, k))
        for k in range(len(factors) + 1)
    ]
    assert found.norms == pytest.approx([abs(e) for e in exact], rel=1e-13)
    whole = math.prod(1 + a for a in factors)
    assert whole == 0 or found.shares == pytest.approx([e / whole for e in exact], rel=1e-12)


def test_equal_blocks_give_a_binomial_of_lengths() -> None:
    """With a factor r per branch the mass is Bin(n, r/(1+r)): SCIENCE's closed form."""
    r, n = 0.25, 27  # a factor that float32 holds exactly
    found = paths_of(Scalars([r] * n).double(), torch.ones(1, 1).double(), loss_fn=total, draws=2)
    assert found.mean_length == pytest.approx(n * r / (1 + r), rel=1e-12)
    p = r / (1 + r)
    masses = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    assert found.masses == pytest.approx(masses, rel=1e-10)
    assert found.shares == pytest.approx(masses, rel=1e-10)
    assert found.per_path == pytest.approx([r**k for k in range(n + 1)], rel=1e-10)
    # Every path has the same gradient, so two draws know it.
    assert [s.mean_norm for s in found.sampled] == pytest.approx(
        [r**s.length for s in found.sampled], rel=1e-10
    )
    assert found.factor == pytest.approx(r, rel=1e-9)
    low, high = found.central_range
    assert sum(masses[:low]) <= 0.025 < sum(masses[: low + 1])
    assert sum(masses[:high]) < 0.975 <= sum(masses[: high + 1])


# -- any net, against gradients scaled on their way ------------------------------------


class Scaled(torch.autograd.Function):
    """The identity, whose backward multiplies by t."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: float) -> Tensor:
        ctx.t = t
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.t * gradient, None


class Graded(nn.Module):
    """A net that can scale the gradient of each of its branches by ``t``."""

    t: float | None = None

    def branch(self, x: Tensor) -> Tensor:
        """What a branch returned."""
        return x if self.t is None else Scaled.apply(x, self.t)  # type: ignore[no-any-return]


def layers(*widths: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        parts += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*parts)


class Nested(Graded):
    """A residual block in a branch, behind a projection shortcut and in-place ReLUs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.outer = layers(4, 6), layers(6, 6)
        self.inner = nn.Sequential(layers(6, 6), nn.Linear(6, 6))
        self.project, self.last = nn.Linear(6, 5), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        h = self.outer(x)
        h = F.relu(self.branch(self.inner(h)).add_(h), inplace=True)
        return F.relu(self.project(x) + self.branch(self.last(h)), inplace=True) ** 2


class Dense(Graded):
    """A dense block that hands on a list of features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = layers(4, 3), nn.Linear(12, 2)
        self.units = nn.ModuleList(layers(w, 3) for w in (3, 6, 9))

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for unit in self.units:
            features.append(self.branch(unit(torch.cat(features, 1))))
        return self.head(torch.cat(features, 1)).sigmoid()  # type: ignore[no-any-return]


class UNet(Graded):
    """Long skips over a block with a gate, joined by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep, self.up = layers(4, 6), layers(6, 6), layers(12, 4)
        self.gate = nn.Sequential(nn.Linear(6, 2), nn.ReLU(), nn.Linear(2, 6), nn.Sigmoid())
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        down = self.norm(self.down(x))
        deep = self.deep(down)
        deep = torch.relu(down + self.branch(deep * self.gate(deep)))
        return self.up(torch.cat([down, self.branch(torch.tanh(deep))], 1))  # type: ignore[no-any-return]


class SharedAndDropped(Graded):
    """One block called three times, dropout in its branch, pre-activation on both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(5), layers(5, 5)
        self.into, self.shortcut = nn.Linear(4, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        for _ in range(3):
            h = torch.relu(self.norm(x))
            x = self.shortcut(h) + self.branch(F.dropout(self.inner(h), 0.3, self.training))
        return x


GRADED = {cls.__name__: cls for cls in (Nested, Dense, UNet, SharedAndDropped)}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", GRADED)
def test_the_parts_are_the_coefficients_of_the_scaled_gradient(name: str, training: bool) -> None:
    torch.manual_seed(0)
    model = GRADED[name]().double().train(training)
    x = torch.randn(7, 4).double()
    parts, ready = terms_of(model, x, loss_fn=total)
    graph = trace_model(model, (x,))
    assert ready.lengths == path_lengths(graph)
    assert len(parts) == len(ready.lengths.counts) > 1
    for t in (0.0, 0.5, -2.0):
        torch.manual_seed(0)
        model.t = t
        leaf = x.clone().requires_grad_()
        (scaled,) = torch.autograd.grad(total(model(leaf)), leaf)
        sum_of = sum((t**k * part for k, part in enumerate(parts)), torch.zeros_like(x))
        torch.testing.assert_close(sum_of, scaled, rtol=1e-11, atol=1e-13)
    for chunk in (2, 16):
        model.t = None
        again, _ = terms_of(model, x, loss_fn=total, chunk=chunk)
        for one, other in zip(parts, again, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", GRADED)
def test_all_paths_of_a_length_add_up_to_its_part(name: str) -> None:
    """For n ≤ 10 every path is followed, and g_k is their sum, in any net."""
    torch.manual_seed(0)
    model = GRADED[name]().double()
    parts, ready = terms_of(model, torch.randn(5, 4).double(), loss_fn=total, draws=1024)
    for taken in ready.samples:
        assert taken.exact
        assert taken.draws == ready.lengths.counts[taken.length]
        part = parts[taken.length]
        torch.testing.assert_close(taken.total, part, rtol=1e-10, atol=1e-14)


class Chain(nn.Module):
    """n tanh blocks."""

    def __init__(self, blocks: int, width: int = 6) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


def test_subsets_by_hand() -> None:
    """Veit's choice of k of n blocks, with derivatives taken apart by hand."""
    torch.manual_seed(0)
    model, x = Chain(5).double(), torch.randn(3, 6).double()
    points = [x]
    for block in model.blocks:
        points.append(points[-1] + block(points[-1]))
    parts, _ = terms_of(model, x, loss_fn=total)
    for k in range(6):
        expected = torch.zeros_like(x)
        for chosen in combinations(range(5), k):
            gradient = torch.ones_like(x)
            for i in reversed(chosen):
                at = points[i].detach().requires_grad_()
                (gradient,) = torch.autograd.grad(model.blocks[i](at), at, gradient)
            expected += gradient
        torch.testing.assert_close(parts[k], expected, rtol=1e-10, atol=1e-14)


def test_drawn_paths_estimate_the_parts_within_their_error() -> None:
    torch.manual_seed(0)
    model, x = Chain(14).double(), torch.randn(3, 6).double()
    found = paths_of(model, x, loss_fn=total, draws=40, lengths=(0, 4, 7, 14), seed=3)
    parts, ready = terms_of(model, x, loss_fn=total, draws=40)
    assert [s.length for s in found.sampled] == [0, 4, 7, 14]
    for row in found.sampled:
        exact = row.length in (0, 14)
        assert row.draws == (1 if exact else 40)
        assert row.mass == pytest.approx(row.mean_norm * math.comb(14, row.length))
        assert row.mass >= row.vector_norm * (1 - 1e-9)
        if exact:
            assert row.norm_error == row.vector_error == 0
            assert row.vector_norm == pytest.approx(found.norms[row.length], rel=1e-10)
    checked = 0
    for taken in ready.samples:
        if taken.exact:
            continue
        row = taken.read(iter([float(n) for n in taken.numbers]))
        mean = taken.total * (taken.paths / taken.draws)
        distance = (mean - parts[taken.length]).norm().item()
        assert distance <= 3.5 * row.vector_error
        checked += 1
    assert checked == 11


# -- real nets --------------------------------------------------------------------------


def small_gpt() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(n_layer=3, n_embd=32, n_head=2, vocab_size=99, attn_implementation="eager")
    )


NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (lambda: torchvision.models.resnet18(), 8),
    "resnet50": (lambda: torchvision.models.resnet50(), 16),
    "plain": (lambda: torchvision.models.squeezenet1_1(), 0),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(), 10),
    "densenet": (lambda: torchvision.models.DenseNet(8, (3, 4, 2), 16), 9),
    "preact": (lambda: timm.create_model("resnetv2_50", layers=(1, 2, 1, 1)), 5),
    "se": (lambda: timm.create_model("seresnet18", zero_init_last=False), 8),
    "drop_path": (lambda: timm.create_model("resnet26", drop_path_rate=0.3), 8),
    "gpt2": (small_gpt, 6),
}


@pytest.mark.parametrize("name", NETS)
def test_the_parts_of_real_nets_sum_to_the_gradient(name: str) -> None:
    torch.manual_seed(0)
    make, blocks = NETS[name]
    model = make()
    images = torch.randn(2, 3, 64, 64)
    x = torch.randint(0, 99, (2, 7)) if name == "gpt2" else images
    graph = trace_model(model, (x,))
    structure = annotate(graph)
    for mode, dtype in (("train", torch.float32), ("eval", torch.float64)):
        inputs = x.to(dtype) if x.is_floating_point() else x
        found = measure_paths(
            model.to(dtype), Batch(args=(inputs,)), graph=graph, structure=structure, mode=mode
        )
        assert found.mode == mode
        assert found.lengths == path_lengths(graph, structure)
        assert found.lengths.counts == tuple(math.comb(blocks, k) for k in range(blocks + 1))
        assert sum(found.shares) == pytest.approx(1, abs=1e-6)
        # Float32 itself knows this gradient to 1e-5 at best: rounding grows with what cancels.
        worst = 1e-12 if dtype == torch.float64 else 1e-6
        assert found.residual <= worst * max(1, sum(found.norms) / found.norm)
        assert found.at == ("transformer.wte/embedding#0" if name == "gpt2" else "input#0")
        assert len(found.to_records()) == blocks + 1
        assert from_json(to_json(found)) == found


def test_half_precision_is_not_taken_for_a_hook() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10).to(torch.bfloat16)
    found = paths_of(model, torch.randn(2, 3, 64, 64, dtype=torch.bfloat16), mode="eval")
    assert 1e-3 < found.residual < 0.25
    assert sum(found.shares) == pytest.approx(1, abs=0.05)


def test_resnet_110_at_batch_4() -> None:
    torch.manual_seed(0)
    found = paths_of(rv.build("resnet110"), torch.randn(4, 3, 32, 32), mode="train")
    assert found.lengths.counts == tuple(math.comb(54, k) for k in range(55))
    assert found.residual <= 1e-6 * sum(found.norms) / found.norm
    assert sum(found.shares) == pytest.approx(1, abs=1e-6)
    assert found.norms[54] > 0
    # At initialisation, too, far fewer branches than the 27 of the average path.
    assert 5 < found.mean_length < 20
    assert found.seconds < 60


def test_a_plain_net_has_one_path() -> None:
    torch.manual_seed(0)
    found = paths_of(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(2, 4))
    assert found.lengths.counts == (1,)
    assert found.shares == pytest.approx((1,))
    assert found.masses == (1,)
    assert (found.mean_length, found.central_range) == (0, (0, 0))
    assert found.norms[0] == pytest.approx(found.norm)


# -- custom functions, hooks, and what cannot be split ------------------------------------


class Squared(torch.autograd.Function):
    """A function with two outputs and an option, whose backward leaves torch."""

    @staticmethod
    def forward(ctx: Any, _option: str, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x)
        return x**2, x * 3

    @staticmethod
    def backward(ctx: Any, a: Tensor, b: Tensor) -> tuple[None, Tensor]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return None, torch.from_numpy(np.multiply((2 * a * x).numpy(), 1.0)) + 3 * b


class WithFunction(Graded):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.a, self.b):
            x = x + self.branch(Squared.apply("", torch.tanh(layer(x)))[0])
        return x


def test_a_custom_function_inside_a_branch_is_followed_one_by_one() -> None:
    torch.manual_seed(0)
    model, x = WithFunction().double(), torch.randn(3, 4).double()
    one, _ = terms_of(model, x, loss_fn=total)
    many, _ = terms_of(model, x, loss_fn=total, chunk=8)
    assert len(one) == 3
    for left, right in zip(one, many, strict=True):
        assert torch.equal(left, right)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(model(leaf)), leaf)
    torch.testing.assert_close(sum(one), gradient)


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.stem, self.chain = nn.Linear(6, 6), Chain(3)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.chain, self.stem(x), use_reentrant=self.reentrant)  # type: ignore[no-any-return]


def test_checkpoints_are_seen_through_unless_they_hide_the_joins() -> None:
    torch.manual_seed(0)
    model, x = Checkpointed(reentrant=False).double(), torch.randn(2, 6).double()
    assert len(paths_of(model, x).norms) == 4
    with pytest.raises(NotApplicableError, match="inside a custom autograd function"):
        paths_of(Checkpointed(reentrant=True).double(), x)


class InnerLoop(Chain):
    """A step on its own weights: they must ask for gradients for it to run."""

    def forward(self, x: Tensor) -> Tensor:
        layer: Any = self.blocks[0]
        with torch.enable_grad():
            energy = layer(x.detach()).sum()
            (step,) = torch.autograd.grad(energy, layer[0].weight)
        return super().forward(x + F.linear(x.tanh(), step))


def test_a_model_that_differentiates_its_weights_itself() -> None:
    torch.manual_seed(0)
    model = InnerLoop(2)
    found = paths_of(model, torch.randn(2, 6))
    assert len(found.norms) == len(found.lengths.counts) >= 3
    assert found.residual < 1e-6
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


class DerivedBranch(Chain):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.func.grad(lambda v: self.blocks[0](v).sum())(x)


def test_a_branch_whose_calls_autograd_hides_is_refused() -> None:
    with pytest.raises(NotApplicableError, match="operands of the residual join"):
        paths_of(DerivedBranch(1), torch.randn(2, 6))


class Hooked(Chain):
    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        if x.requires_grad:
            x.register_hook(lambda g: 2 * g)
        return x


def test_a_hook_that_changes_the_gradient_is_noticed() -> None:
    with pytest.raises(NotApplicableError, match="hook"):
        paths_of(Hooked(2), torch.randn(2, 6))


class Detached(Chain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(super().forward(x).detach())


class Ungraded(Chain):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


def test_paths_of_a_detached_net_start_behind_the_cut() -> None:
    torch.manual_seed(0)
    found = paths_of(Detached(2), torch.randn(2, 6))
    assert found.at == "blocks.0.0/linear#1"
    assert found.lengths.counts == (1, 1)


def test_no_gradient_to_split() -> None:
    with pytest.raises(NotApplicableError, match="carries a gradient"):
        paths_of(Ungraded(2), torch.randn(2, 6))
    with pytest.raises(NotApplicableError, match="zero"):
        paths_of(Chain(2), torch.randn(2, 6), loss_fn=lambda out, _: 0 * out.sum())


class Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        raise ValueError("no way back")


class NoWayBack(Chain):
    def forward(self, x: Tensor) -> Tensor:
        return Broken.apply(super().forward(x))  # type: ignore[no-any-return]


class Masked(Graded):
    """Token ids, and a floating mask that also leads to the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer = nn.Embedding(9, 4), nn.Linear(4, 4)

    def forward(self, mask: Tensor, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        return x + self.layer(x) * mask[..., None]  # type: ignore[no-any-return]


def test_paths_start_at_the_first_input_or_its_embedding() -> None:
    ids, mask = torch.randint(0, 9, (2, 5)), torch.rand(2, 5)
    model = Masked()

    class IdsFirst(Masked):
        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(mask, ids)

    for net, args, at in (
        (model, (mask, ids), "input#0"),
        (IdsFirst(), (ids, mask), "embedding/embedding#0"),
    ):
        graph = trace_model(net, args)
        found = measure_paths(net, Batch(args=args), graph=graph, structure=annotate(graph))
        assert found.at == at
        assert found.lengths.counts == ((0, 1) if at == "input#0" else (1, 1))


# -- the model leaves as it came ----------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_leaves_as_it_came(fails: bool) -> None:
    torch.manual_seed(0)
    model: nn.Module = NoWayBack(2) if fails else Chain(2)
    first, second = list(model.parameters())[:2]
    first.requires_grad_(requires_grad=False)
    second.grad = torch.ones_like(second)
    values = [p.clone() for p in model.parameters()]
    random = torch.get_rng_state()
    x = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    if fails:
        with pytest.raises(ModelError, match="no way back"):
            paths_of(model, x, draws=2)
    else:
        # A frozen stem has a gradient at its input like any other.
        assert len(paths_of(model, x, draws=2).norms) == 3
    assert torch.equal(torch.get_rng_state(), random)
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]
    assert all(torch.equal(p, v) for p, v in zip(model.parameters(), values, strict=True))
    assert second.grad is not None
    assert [p.grad for p in model.parameters() if p is not second] == [None] * 3


# -- memory and transfers -------------------------------------------------------------------


class Live(TorchDispatchMode):
    """How many tensors of one shape, made inside, were alive at once."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.alive, self.peak, self.transfers = shape, set[int](), 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        import weakref

        out = func(*args, **(kwargs or {}))
        self.transfers += func is torch.ops.aten._local_scalar_dense.default
        if isinstance(out, Tensor) and out.shape == self.shape:
            key = id(out)
            self.alive.add(key)
            weakref.finalize(out, self.alive.discard, key)
            self.peak = max(self.peak, len(self.alive))
        return out


def test_one_polynomial_is_held_however_deep_the_net() -> None:
    """n + 1 gradients the size of an activation, and a few for the block in work."""
    spare = {}
    for blocks in (4, 8, 16):
        model, x = Chain(blocks), torch.randn(3, 6)
        graph = trace_model(model, (x,))
        setting = Setting(model=model, graph=graph, device=x.device, loss_fn=total)
        with ExitStack() as stack:
            ran = run_towards_input(stack, setting, Batch(args=(x,)), seed=0)
            ready = prepare(ran, graph, annotate(graph), seed=0, draws=0)
            with torch.no_grad(), Live((3, 6)) as seen:
                graded.graded_backward(ready.segments, ready.seed)
        assert ready.segments == []
        assert seen.transfers == 0
        spare[blocks] = seen.peak - (blocks + 1)
    assert len(set(spare.values())) == 1
    assert 0 <= spare[16] <= 6


def test_what_the_forward_saved_is_let_go_on_the_way() -> None:
    freed: list[int] = []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            freed.append(len(alive))
            return gradient

    class Watching(Chain):
        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                h = Watched.apply(block(x))
                if torch.is_tensor(h) and h.grad_fn is not None:
                    import weakref

                    alive.add(id(h.grad_fn))
                    weakref.finalize(h.grad_fn, alive.discard, id(h.grad_fn))
                x = x + h
            return x

    alive: set[int] = set()
    model, x = Watching(6), torch.randn(2, 6)
    graph = trace_model(model, (x,))
    freed.clear()
    alive.clear()
    measure_paths(model, Batch(args=(x,)), graph=graph, structure=annotate(graph))
    assert freed[0] == 6
    assert freed[-1] <= 2


def test_progress_and_words() -> None:
    class Heard:
        def __init__(self) -> None:
            self.said: list[tuple[str, int | None]] = []
            self.parts = 0

        def start(self, label: str, total: int | None = None) -> None:
            self.said.append((label, total))

        def advance(self, parts: int = 1) -> None:
            self.parts += parts

        def finish(self) -> None:
            self.said.append(("done", None))

    heard = Heard()
    found = paths_of(Chain(3), torch.randn(2, 6), draws=1, progress=heard)
    assert [label for label, _ in heard.said] == ["sampled paths", "done", "paths", "done"]
    assert heard.parts == sum(total or 0 for _, total in heard.said)
    assert found.data == "the inputs given"
    assert (found.batch_size, found.device, found.mode) == (2, "cpu", "train")
