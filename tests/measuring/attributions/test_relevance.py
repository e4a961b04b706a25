"""Relevance is conductance: against closed forms, captum, and a run of one point at a time."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.attr import LayerConductance
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from resnet_viz.analysis import annotate
from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.relevance import Amount, Relevance
from resnet_viz.measuring.attributions.question import asking
from resnet_viz.measuring.attributions.relevance import path
from resnet_viz.measuring.attributions.relevance.measure import relevance_of
from resnet_viz.tracing.tracer import trace_model


def measured(
    model: nn.Module, *x: Tensor, steps: int = 5, rows: int | None = 1000, **options: Any
) -> Relevance:
    graph = trace_model(model, x)
    wish = AttributionOptions(internal_batch_size=rows, **options)
    with asking(
        model, x, graph=graph, structure=annotate(graph), options=wish, seed=1
    ) as questions:
        return relevance_of(questions[0], steps=steps)


def seeded(make: Callable[[], nn.Module], dtype: torch.dtype = torch.float64) -> nn.Module:
    """The model in eval mode, its norms with statistics and biases of their own."""
    torch.manual_seed(2)
    model = make()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.bias)
    return model.to(dtype).eval()


class Residual(nn.Module):
    """Two blocks with one ReLU in place for all, ``+=``, and a projection."""

    def __init__(self, relu: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.wide = nn.Conv2d(4, 6, 3, padding=1)
        self.down = nn.Conv2d(4, 6, 1)
        self.relu = relu or nn.ReLU(inplace=True)
        self.mark = nn.Identity()
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        y = self.norm(self.conv(x))
        y += x
        x = self.mark(self.relu(y))
        return self.head((self.relu(self.wide(x)) + self.down(x)).mean((2, 3)))


class Shared(nn.Module):
    """One convolution, called three times, in pre-activation blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for _ in range(2):
            x = x + self.conv(F.relu(x))
        return self.head(F.relu(x).mean((2, 3)))


class Dense(nn.Module):
    """Every layer reads all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 2 * i, 2, 3, padding=1) for i in range(3))
        self.head = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        found = [x * 1.5]
        for layer in self.layers:
            found.append(F.relu(layer(torch.cat(found, 1)), inplace=True))
        return self.head(torch.cat(found, 1).mean((2, 3)))


class Gated(nn.Module):
    """Squeeze and excitation in a block, and a product of a value with itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.gate = nn.Conv2d(3, 3, 1)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y *= torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        x = x + y
        return self.head((x * x).mean((2, 3)))


class Sums(nn.Module):
    """Sums with factors, by broadcasting, of a value with itself, and of what dropout passed."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 1)
        self.drop = nn.Dropout()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        z = torch.sub(x, self.drop(torch.relu(y)), alpha=2)
        z = torch.add(z + z, y, alpha=-0.5)
        return self.head(torch.tanh(z + self.second(z)))


class Tokens(nn.Module):
    """Attention that wants the steps first: rows lie elsewhere in almost every call."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)
        self.mlp = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = (x + 1).transpose(0, 1)
        x = x + self.attention(x, x, x)[0]
        x = x + torch.tanh(self.mlp(x))
        return self.head(x.mean(0))


IMAGE, FEATURES, STEPS = (3, 3, 5, 5), (3, 6), (3, 4, 4)
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "in place, shared ReLU, projection": (Residual, IMAGE),
    "shared convolution, pre-activation": (Shared, IMAGE),
    "concatenation": (Dense, IMAGE),
    "gates": (Gated, IMAGE),
    "sums": (Sums, FEATURES),
    "tokens": (Tokens, STEPS),
}


def given(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    make, shape = NETS[name]
    model = seeded(make, dtype)
    return model, torch.randn(shape, dtype=dtype)


def numbers(found: Relevance) -> dict[object, Amount]:
    ops: dict[object, Amount] = {row.op: row.amount for row in found.ops}
    return ops | {(row.join, row.in_slot): row.amount for row in found.operands}


def assert_same(found: Relevance, wanted: Relevance, tolerance: float = 1e-10) -> None:
    mine, other = numbers(found), numbers(wanted)
    assert list(mine) == list(other)
    for key, amount in mine.items():
        size = tolerance * max(other[key].absolute, 1e-9)
        for name in ("signed", "absolute", "signed_sd", "absolute_sd"):
            wish = getattr(other[key], name)
            assert getattr(amount, name) == (wish and pytest.approx(wish, abs=size)), (key, name)


def test_of_a_linear_net_every_step_is_exact() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    x, baseline = torch.randn(2, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    found = measured(model, x, steps=1, baselines=baseline, target=1)
    first, second = (layer.weight.detach() for layer in model)
    parts = (x - baseline) @ first.T * second[1]
    inputs = (x - baseline) * (second[1] @ first)
    for op, wanted in (("input#0", inputs), ("0/linear#0", parts)):
        row = found.get(op)  # type: ignore[arg-type]
        assert row is not None
        assert row.cut
        assert row.amount.signed == pytest.approx(float(wanted.sum(1).mean()))
        assert row.amount.signed_sd == pytest.approx(float(wanted.sum(1).std()))
        assert row.amount.absolute == pytest.approx(float(wanted.abs().sum(1).mean()))
        assert row.amount.absolute_sd == pytest.approx(float(wanted.abs().sum(1).std()))
    assert found.difference == pytest.approx(float(parts.sum(1).mean()))
    assert found.gap == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", NETS)
def test_operands_add_up_to_their_join(name: str) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        found = measured(*given(name, dtype))
        joins = {row.join for row in found.operands}
        assert joins
        assert not found.notes
        for join in joins:
            whole = found.get(join)
            assert whole is not None
            parts = math.fsum(row.amount.signed for row in found.operands_of(join))
            assert parts == pytest.approx(
                whole.amount.signed, abs=tolerance * whole.amount.absolute
            ), join


@pytest.mark.parametrize("name", NETS)
def test_how_many_rows_go_through_at_once_changes_nothing(name: str) -> None:
    model, x = given(name)
    one_by_one = measured(model, x, rows=1)
    for rows in (2, 3, 7, 14):
        assert_same(measured(model, x, rows=rows), one_by_one)


@pytest.mark.parametrize("name", NETS)
def test_cuts_account_for_the_whole_score(name: str) -> None:
    model, x = given(name)
    few, many = measured(model, x, steps=4), measured(model, x, steps=300)
    assert many.gap is not None
    assert few.gap is not None
    assert sum(row.cut for row in many.ops) >= 2
    assert many.gap < 1e-2
    assert many.gap <= few.gap + 1e-9


def by_hand(
    model: nn.Module, module: nn.Module, x: Tensor, steps: int, target: int
) -> tuple[Tensor, Tensor]:
    """Signed and absolute relevance of a module's output, point by point and by intervals."""
    values, gradients = [], []
    for alpha in (0.0, *((i + 0.5) / steps for i in range(steps)), 1.0):
        seen: list[Tensor] = []
        handle = module.register_forward_hook(
            lambda _m, _a, out, seen=seen: seen.append(out) or out.clone()
        )
        score = model((alpha * x).requires_grad_())[:, target].sum()
        handle.remove()
        (gradient,) = torch.autograd.grad(score, seen)
        values.append(seen[0].detach())
        gradients.append(gradient)
    gradients[0], gradients[-1] = gradients[1], gradients[-2]
    total = torch.zeros_like(values[0])
    for k in range(len(values) - 1):
        total += (gradients[k] + gradients[k + 1]) / 2 * (values[k + 1] - values[k])
    return total.flatten(1).sum(1), total.flatten(1).abs().sum(1)


@pytest.mark.parametrize(
    ("op", "place"),
    [
        ("stem/conv2d#0", "stem"),
        ("conv/conv2d#0", "conv"),
        ("norm/batch_norm#0", "norm"),
        ("relu/relu#1", "mark"),
        ("down/conv2d#0", "down"),
    ],
)
def test_of_each_call_it_is_what_a_hook_sees(op: str, place: str) -> None:
    model, x = given("in place, shared ReLU, projection")
    found = measured(model, x, target=2).get(op)  # type: ignore[arg-type]
    signed, absolute = by_hand(model, model.get_submodule(place), x, 5, 2)
    assert found is not None
    assert found.amount.signed == pytest.approx(float(signed.mean()))
    assert found.amount.absolute == pytest.approx(float(absolute.mean()))
    assert found.amount.absolute_sd == pytest.approx(float(absolute.std()))


def test_it_converges_to_captum() -> None:
    model, x = given("in place, shared ReLU, projection")
    plain = seeded(functools.partial(Residual, nn.ReLU()))
    found = measured(model, x, steps=400, target=1)
    for op, place in (("relu/relu#1", "mark"), ("conv/conv2d#0", "conv")):
        elements = (
            LayerConductance(plain, plain.get_submodule(place))
            .attribute(x, target=1, n_steps=400)
            .detach()
        )
        row = found.get(op)  # type: ignore[arg-type]
        assert row is not None
        wanted = float(elements.abs().flatten(1).sum(1).mean())
        assert row.amount.absolute == pytest.approx(wanted, rel=0.02)
        wanted = float(elements.flatten(1).sum(1).mean())
        assert row.amount.signed == pytest.approx(wanted, abs=0.02 * row.amount.absolute)


def test_how_values_lie_in_memory_changes_nothing() -> None:
    for name in ("in place, shared ReLU, projection", "concatenation", "gates"):
        model, x = given(name)
        assert_same(measured(model, x, rows=4, channels_last=True), measured(model, x))


def test_roles_are_those_of_the_skips() -> None:
    found = measured(*given("in place, shared ReLU, projection"))
    assert {(row.join, row.src): row.role for row in found.operands} == {
        ("add#0", "norm/batch_norm#0"): "residual branch",
        ("add#0", "relu/relu#0"): "shortcut",
        ("add#1", "relu/relu#2"): "residual branch",
        ("add#1", "down/conv2d#0"): "shortcut",
    }
    assert "gate" in {row.role for row in measured(*given("gates")).operands}


def test_each_sample_has_its_own_score_and_path() -> None:
    model, x = given("in place, shared ReLU, projection")
    baseline = torch.randn_like(x)
    whole = measured(model, x, target=(0, 3, 1), baselines=baseline, rows=1)
    parts = [
        measured(model, x[i : i + 1], target=t, baselines=baseline[i : i + 1])
        for i, t in enumerate((0, 3, 1))
    ]
    for row in whole.ops:
        alone = [part.get(row.op) for part in parts]
        values = torch.tensor([one.amount.signed for one in alone if one], dtype=torch.float64)
        assert row.amount.signed == pytest.approx(float(values.mean()), abs=1e-10)
        assert row.amount.signed_sd == pytest.approx(float(values.std()), abs=1e-10)
        assert row.amount.samples == 3
    assert whole.target == "each sample's own target"


class Renamed(nn.Module):
    """The same net by other names, one level deeper."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = Residual()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.inside(pixels)


def test_names_play_no_part() -> None:
    model, x = given("in place, shared ReLU, projection")
    other = seeded(Renamed)
    mine, theirs = (list(numbers(measured(m, x)).values()) for m in (model, other))
    for one, two in zip(mine, theirs, strict=True):
        assert one.signed == pytest.approx(two.signed, abs=1e-12)
        assert one.absolute == pytest.approx(two.absolute, abs=1e-12)


def test_the_model_leaves_as_it_came() -> None:
    model, x = given("in place, shared ReLU, projection")
    model.train()
    model.stem.weight.grad = kept = torch.ones_like(model.stem.weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given_x, state = x.clone(), torch.get_rng_state()
    measured(model, x)
    assert model.training
    assert model.stem.weight.grad is kept
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(x, given_x)
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_that_do_not_fit_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = given("in place, shared ReLU, projection")
    wanted = measured(model, x)
    run, tried = path.Path._run, []

    def small(self: path.Path, alphas: list[float], meters: Any) -> Tensor:
        tried.append(len(alphas) * self.samples)
        if tried[-1] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(self, alphas, meters)

    monkeypatch.setattr(path.Path, "_run", small)
    assert_same(measured(model, x, rows=21), wanted)
    assert tried[0] == 21
    assert max(tried[-4:]) <= 4


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2


class Hard(nn.Module):
    """A custom function, a checkpoint, a write into a part, a dropout beside what it passes on."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)
        self.drop = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        x = Twice.apply(self.first(x))
        x = checkpoint(torch.tanh, x, use_reentrant=False)
        y = x * 3
        y[:, :2].relu_()
        return self.head(y + torch.sigmoid(x) * self.drop(x))


def test_what_cannot_be_measured_is_said() -> None:
    model = seeded(Hard)
    x = torch.randn(2, 4, dtype=torch.float64)
    found = measured(model, x, steps=200)
    ops = {row.op for row in found.ops}
    assert {"first/linear#0", "tanh#0", "head/linear#0"} <= ops
    assert not {"relu#0", "drop/dropout#0"} & ops
    told = " ".join(found.notes)
    assert "relu#0 is not measured: it writes into a part of another tensor" in told
    assert "drop/dropout#0 is not measured: it passes on a value that others read" in told
    assert found.gap is not None
    assert found.gap < 2e-3


def test_token_ids_are_followed_from_their_embedding() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(9, 4)
            self.place = nn.Parameter(torch.randn(5, 4))
            self.tokens = Tokens()

        def forward(self, ids: Tensor) -> Tensor:
            return self.tokens(self.embedding(ids) + self.place)

    model, ids = seeded(Words), torch.randint(1, 9, (2, 5))
    found = measured(model, ids, steps=200)
    assert_same(measured(model, ids, steps=200, rows=1), found)
    first = found.ops[0]
    assert first.op == "embedding/embedding#0"
    assert first.cut
    assert first.amount.signed == pytest.approx(found.difference, rel=2e-3)
