"""Shares at forks: sums, known answers, finite differences, and who refuses."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_viz.analysis import annotate
from resnet_viz.core.batch import Batch
from resnet_viz.core.gradient_flow import EdgeShare, GradientFlow
from resnet_viz.measuring.gradients.measure import measure_gradients
from resnet_viz.tracing.tracer import trace_model
from tests.tracing.models import Residual, SliceWrite


def flow_of(model: nn.Module, *args: Tensor, **options: Any) -> GradientFlow:
    graph = options.pop("graph", None) or trace_model(model, args)
    return measure_gradients(model, [Batch(args=args)], graph=graph, **options)


def by_fork(flow: GradientFlow) -> dict[str, list[EdgeShare]]:
    forks = defaultdict(list)
    for share in flow.shares:
        forks[share.src].append(share)
    return dict(forks)


def assert_sums(flow: GradientFlow) -> None:
    for fork, shares in by_fork(flow).items():
        values = [s.share for s in shares]
        assert len(values) > 1
        assert abs(sum(values) - 1) <= 1e-5 * max(1, sum(map(abs, values))), fork
        for s in shares:
            assert s.share == pytest.approx(s.cosine * s.norm_ratio, abs=1e-5)


CASES = {
    "resnet18": (lambda: torchvision.models.resnet18(), 8),
    "densenet121": (lambda: torchvision.models.densenet121(), 58),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(), 10),
    "seresnet18": (lambda: timm.create_model("seresnet18"), 16),
    "resnetv2_50": (lambda: timm.create_model("resnetv2_50"), 16),
}


@pytest.mark.parametrize(("make", "skips"), CASES.values(), ids=CASES.keys())
def test_shares_in_eval_mode_sum_to_one(make: Any, skips: int) -> None:
    torch.manual_seed(0)
    model, x = make(), torch.randn(2, 3, 64, 64)
    graph = trace_model(model, (x,), training=False)
    flow = flow_of(model, x, graph=graph, mode="eval")
    assert_sums(flow)
    assert flow.not_separable == ()
    found = [flow.share_of(skip) for skip in annotate(graph).skips]
    assert None not in found
    assert len(found) == skips


def test_what_comes_back_over_an_identity_is_the_gradient_at_its_join() -> None:
    torch.manual_seed(0)
    model, x = timm.create_model("resnetv2_50").train(), torch.randn(2, 3, 64, 64)
    graph = trace_model(model, (x,))
    flow = flow_of(model, x, graph=graph)
    edges = {(s.src, s.dst): s for s in flow.shares}
    plain = [skip for skip in annotate(graph).skips if skip.kind == "identity"]
    assert len(plain) == 12
    for skip in plain:
        edge = edges[skip.fork, skip.join]
        assert edge.fork_l2 == pytest.approx(flow[skip.fork].l2, rel=1e-6)
        assert edge.norm_ratio * edge.fork_l2 == pytest.approx(flow[skip.join].l2, rel=1e-6)


def test_names_play_no_part() -> None:
    class Renamed(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.add_module("zebra", inner)

        def forward(self, x: Tensor) -> Tensor:
            return self.zebra(x)

    torch.manual_seed(0)
    model, x = torchvision.models.resnet18(num_classes=5).train(), torch.randn(2, 3, 32, 32)
    one, other = flow_of(model, x), flow_of(Renamed(model), x)
    assert [(f"zebra.{s.src}", s.share, s.cosine) for s in one.shares] == [
        (s.src if "/" in s.src else f"zebra.{s.src}", s.share, s.cosine) for s in other.shares
    ]


def test_a_block_on_the_input_itself() -> None:
    flow = flow_of(Residual().train(), torch.randn(2, 4, 8, 8))
    assert {(s.src, s.dst) for s in flow.shares} == {
        ("input#0", "first/conv2d#0"),
        ("input#0", "add#0"),
    }
    assert_sums(flow)


class Chained(nn.Module):
    """One value that three adds and a branch read."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = x + self.b(x)
        z = x + y
        return z + self.c(z) + x


def test_chained_adds() -> None:
    flow = flow_of(Chained(), torch.randn(2, 4))
    forks = by_fork(flow)
    assert {k: len(v) for k, v in forks.items()} == {"a/linear#0": 4, "add#1": 2}
    assert_sums(flow)


def test_x_plus_x_has_one_way_back() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return x + x

    flow = flow_of(Twice(), torch.randn(2, 4))
    assert flow.shares == flow.not_separable == ()

    class Also(Twice):
        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return (x + x) * x.sum()

    shares = {s.dst: s.share for s in flow_of(Also(), torch.randn(2, 4)).shares}
    assert set(shares) == {"add#0", "sum#0"}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)


def test_dropout_that_passes_its_input_on_keeps_its_own_edges() -> None:
    class Dropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(4, 4) for _ in range(3))
            self.drop = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            y = self.drop(x)
            return x + self.b(y) + self.c(y)

    torch.manual_seed(0)
    model, x = Dropped(), torch.randn(2, 4)
    for mode in ("eval", "train"):
        flow = flow_of(model, x, mode=mode)
        assert {(s.src, s.dst) for s in flow.shares} == {
            ("a/linear#0", "drop/dropout#0"),
            ("a/linear#0", "add#0"),
            ("drop/dropout#0", "b/linear#0"),
            ("drop/dropout#0", "c/linear#0"),
        }
        assert_sums(flow)


def test_a_branch_with_zero_gain_sends_nothing_back() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=5).train()
    for block in (*model.layer1, model.layer2[1], model.layer3[1], model.layer4[1]):
        nn.init.zeros_(block.bn2.weight)
    x = torch.randn(2, 3, 64, 64)
    graph = trace_model(model, (x,))
    flow = flow_of(model, x, graph=graph)
    shares = {(s.src, s.dst): s.share for s in flow.shares}
    assert shares["maxpool/max_pool2d#0", "layer1.0/add#0"] == 1
    assert shares["maxpool/max_pool2d#0", "layer1.0.conv1/conv2d#0"] == 0
    identity = [s for s in annotate(graph).skips if s.kind == "identity"]
    assert [flow.share_of(s) for s in identity] == [1.0] * 5


class Block(nn.Module):
    """Takes its two ways apart when asked: the explicit computation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def after(self, skip: Tensor, branch: Tensor) -> Tensor:
        return torch.tanh(self.two(torch.relu(self.one(branch))) + skip)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.after(x, x)


def mean_square(outputs: Tensor, _targets: Any) -> Tensor:
    return outputs.square().sum()


def test_shares_equal_two_detached_copies_and_finite_differences() -> None:
    torch.manual_seed(2)
    model, x = Block().double(), torch.randn(2, 3, 5, 5).double()
    flow = flow_of(model, x, loss_fn=mean_square)
    shares = {s.dst: s for s in flow.shares}
    value = model.stem(x).detach()
    skip, branch = (value.clone().requires_grad_() for _ in range(2))
    g_skip, g_branch = torch.autograd.grad(
        mean_square(model.after(skip, branch), None), [skip, branch]
    )
    g = g_skip + g_branch
    square = (g * g).sum()
    for name, part in (("add#0", g_skip), ("one/conv2d#0", g_branch)):
        assert shares[name].share == pytest.approx(((part * g).sum() / square).item(), rel=1e-12)
        assert shares[name].norm_ratio == pytest.approx((part.norm() / g.norm()).item(), rel=1e-12)
        assert shares[name].cosine == pytest.approx(
            F.cosine_similarity(part.ravel(), g.ravel(), dim=0).item(), rel=1e-12
        )
    # Along g: d/dt L(skip + t g) = ⟨g_skip, g⟩.
    step = 1e-6 / g.norm()
    with torch.no_grad():
        up, down = (mean_square(model.after(value + s * step * g, value), None) for s in (1, -1))
    slope = (up - down) / (2 * step)
    assert shares["add#0"].share == pytest.approx((slope / square).item(), rel=1e-7)


def test_half_precision_forks_are_separable_within_its_rounding() -> None:
    torch.manual_seed(0)
    flow = flow_of(Chained().bfloat16(), torch.randn(8, 4).bfloat16())
    assert flow.not_separable == ()
    for shares in by_fork(flow).values():
        values = [s.share for s in shares]
        assert abs(sum(values) - 1) <= 0.04 * max(1, sum(map(abs, values)))


def test_a_fork_without_gradient_says_so() -> None:
    flow = flow_of(Block(), torch.randn(1, 3, 5, 5), loss_fn=lambda out, _: (out * 0).sum())
    assert [(r.fork, r.reason) for r in flow.not_separable] == [
        ("stem/conv2d#0", "the gradient here is zero")
    ]
    assert flow.shares == ()


def test_writes_into_part_of_a_tensor() -> None:
    torch.manual_seed(0)
    flow = flow_of(SliceWrite(), torch.randn(2, 4))
    ways = {(s.src, s.dst) for s in flow.shares}
    assert ways == {
        ("input#0", "right/linear#0"),
        ("input#0", "getitem#0"),
        ("input#0", "add#0"),
    }
    assert_sums(flow)


def test_the_loss_itself_may_be_one_way() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.a(x)
            return x, self.b(x)

    flow = flow_of(Two(), torch.randn(2, 4), loss_fn=lambda out, _: out[0].sum() + out[1].sum())
    assert {(s.src, s.dst) for s in flow.shares} == {
        ("a/linear#0", "loss"),
        ("a/linear#0", "b/linear#0"),
    }
    assert_sums(flow)


class Swish(torch.autograd.Function):
    """As old EfficientNets write it, to save memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return grads[0] * (s * (1 + x * (1 - s)))


def test_a_custom_function_is_told_apart_from_what_follows() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return Swish.apply(self.b(Swish.apply(x)) + x)

    torch.manual_seed(0)
    model, x = Net(), torch.randn(2, 4)
    graph = trace_model(model, (x,))
    assert [op.kind for op in graph.ops] == [
        "linear", "sigmoid", "mul", "linear", "add", "sigmoid", "mul",
    ]  # fmt: skip
    assert [e.src for e in graph.edges_in("b/linear#0")] == ["mul#0"]
    assert graph.outputs[0].src == "mul#1"
    flow = flow_of(model, x, graph=graph)
    assert {(s.src, s.dst) for s in flow.shares} == {
        ("a/linear#0", "sigmoid#0"),
        ("a/linear#0", "add#0"),
    }
    assert_sums(flow)
    calls = [c.op for c in flow.calls if c.op != "input#0"]
    assert calls == ["a/linear#0", "mul#0", "b/linear#0", "add#0", "mul#1"]


def test_a_checkpointed_block_is_measured_like_a_plain_one() -> None:
    from torch.utils.checkpoint import checkpoint

    class Net(Block):
        checkpointed = False

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            if self.checkpointed:
                return checkpoint(self.after, x, x, use_reentrant=False)
            return self.after(x, x)

    torch.manual_seed(0)
    model, x = Net(), torch.randn(2, 3, 5, 5)
    plain = flow_of(model, x)
    model.checkpointed = True
    assert flow_of(model, x) == plain
