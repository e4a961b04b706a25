"""What the forward of a measured run showed, against counting by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_viz.core.batch import Batch
from resnet_viz.core.forward_facts import NonFinite
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.measuring.gradients.measure import measure_gradients
from resnet_viz.tracing.tracer import trace_model
from tests.tracing.test_pristine import untouched


def flow_of(model: nn.Module, *args: Any, **options: Any) -> GradientFlow:
    graph = trace_model(model, args)
    return measure_gradients(model, [Batch(args=args)], graph=graph, **options)


# -- activities ----------------------------------------------------------------------


CUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu#0": F.relu,
    "relu6#0": F.relu6,
    "hardtanh#0": lambda x: F.hardtanh(x, 0.0, 6.0),
    "threshold#0": lambda x: F.threshold(x, 0.5, 0.0),
    "clamp#2": lambda x: x.clamp(min=0),
    "clamp_min#0": lambda x: x.clamp_min(0.0),
}
SQUASHES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid#0": torch.sigmoid,
    "tanh#0": torch.tanh,
    "hardsigmoid#0": F.hardsigmoid,
    "hardtanh#1": F.hardtanh,
}


class Gates(nn.Module):
    """Every kind of activation function that is watched, and some that are not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 1)
        with torch.no_grad():
            self.conv.weight.mul_(4)
            self.conv.bias[0] = -100.0

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        total = F.leaky_relu(x) + F.gelu(x) + x.clamp(0.0, 1.0) + x.clamp(min=1e-3)
        for function in (*CUTS.values(), *SQUASHES.values()):
            total = total + function(x)
        return total


def test_exact_activities_equal_counting_by_hand() -> None:
    torch.manual_seed(0)
    model, x = Gates(), torch.randn(5, 3, 14, 14)
    flow = flow_of(model, x, stats="full")
    value = model.conv(x)
    found = {a.op: a for a in flow.activities}
    assert set(found) == {*CUTS, *SQUASHES}
    for op, function in CUTS.items():
        alive = (function(value) > 0).double().mean((0, 2, 3))
        activity = found[op]
        assert activity.exact
        assert activity.units == 6
        assert activity.active == pytest.approx(alive.mean().item(), abs=1e-6)
        assert activity.dead == pytest.approx((alive < 0.01).double().mean().item())
        assert activity.dead >= 1 / 6
        assert activity.saturated is None
    steepest = {"sigmoid#0": 0.25, "tanh#0": 1.0, "hardsigmoid#0": 1 / 6, "hardtanh#1": 1.0}
    for op, function in SQUASHES.items():
        leaf = value.detach().requires_grad_()
        (slope,) = torch.autograd.grad(function(leaf).sum(), leaf)
        flat = (slope < 0.05 * steepest[op]).double().mean().item()
        assert found[op].saturated == pytest.approx(flat, abs=1e-3)
        assert found[op].active is found[op].dead is None


def test_sampled_activities_are_close_and_say_so() -> None:
    torch.manual_seed(0)
    model, x = Gates(), torch.randn(2, 3, 60, 64)
    sampled, exact = (
        {a.op: a for a in flow_of(model, x, stats=stats).activities}
        for stats in ("default", "full")
    )
    for op in CUTS:
        assert not sampled[op].exact
        assert sampled[op].active == pytest.approx(exact[op].active, abs=0.05)
        assert sampled[op].dead == exact[op].dead
    small = flow_of(model, x[:, :, :8, :8], stats="default").activities
    assert all(a.exact for a in small)


def test_a_sample_falls_into_step_with_no_axis() -> None:
    """Only one column of 64 is ever above zero: a stride of 64 would see all or nothing."""

    class Striped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x * self.scale)

    x = -torch.ones(1, 2, 256, 64)
    x[..., 0] = 1
    (activity,) = flow_of(Striped(), x).activities
    assert not activity.exact
    assert activity.active == pytest.approx(1 / 64, abs=0.01)
    assert activity.dead == 0


def test_units_are_the_features_of_tokens_and_of_images() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 7)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.linear(x))

    model = Tokens()
    with torch.no_grad():
        model.linear.bias.copy_(torch.tensor([-50.0, -50.0, 9.0, 9.0, 9.0, 9.0, 9.0]))
    (activity,) = flow_of(model, torch.randn(2, 5, 4)).activities
    assert (activity.units, activity.dead) == (7, pytest.approx(2 / 7))
    # In-place, and written again later: looked at before that.
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4))
    (activity,) = flow_of(net, torch.randn(2, 3, 8, 8)).activities
    assert (activity.op, activity.units) == ("1/relu#0", 4)
    assert flow_of(net, torch.randn(2, 3, 8, 8), stats="norms").activities == ()


# -- normalisation -------------------------------------------------------------------


def test_norms_say_by_what_they_normalised() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.free = nn.BatchNorm2d(3)
            self.held = nn.BatchNorm2d(3)
            self.always = nn.BatchNorm2d(3, track_running_stats=False)
            self.bare = nn.BatchNorm2d(3, affine=False)
            self.each = nn.InstanceNorm2d(3, track_running_stats=True)
            self.plain = nn.InstanceNorm2d(3, affine=True)
            self.layer = nn.GroupNorm(1, 3)
            self.lazy = nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            for norm in (self.free, self.held, self.always, self.bare, self.each, self.plain):
                x = norm(x)
            return self.free(self.layer(x)[:, :, :2])

    model, x = Net().train(), torch.randn(4, 3, 5, 6)
    model(x)
    model.held.eval().requires_grad_(False)
    model.always.eval()
    with untouched(model):
        flow = flow_of(model, x)
    found = {n.module: n for n in flow.norms}
    assert list(found) == ["free", "held", "always", "bare", "each"]
    rows = {
        name: (n.type_name, n.statistics, n.training, n.places, n.steps, n.frozen)
        for name, n in found.items()
    }
    assert rows == {
        # It ran twice: what counts is where it had the fewest values; 2 steps of the call before.
        "free": ("BatchNorm2d", "batch", True, 4 * 2 * 6, 2, False),
        "held": ("BatchNorm2d", "running", False, 0, 1, True),
        "always": ("BatchNorm2d", "batch", False, 120, None, False),
        "bare": ("BatchNorm2d", "batch", True, 120, 1, False),
        "each": ("InstanceNorm2d", "batch", True, 30, None, False),
    }
    evaluated = flow_of(model, x, mode="eval")
    assert {n.statistics for n in evaluated.norms if n.module != "always"} == {"running"}


# -- where the way back ends ---------------------------------------------------------


class Cut(nn.Module):
    def __init__(self, cut: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.late = nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)
        self.cut = cut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cut(self.late(self.stem(x)))
        return self.head(y + x)


BEHIND = ("stem.weight", "stem.bias", "late.weight", "late.bias")
CUTTING: dict[str, tuple[Callable[[Tensor], Tensor], str, str]] = {
    "detach": (lambda x: x.detach() * 2, "detach#0", "detach"),
    "data": (lambda x: x.data * 2, "data#0", "detach"),
    "numpy": (lambda x: torch.from_numpy(x.detach().numpy()), "detach#0", "detach"),
    "one hot": (lambda x: F.one_hot(x.argmax(-1), 4).float(), "argmax#0", "values"),
    "comparison": (lambda x: (x > 0).float(), "gt#0", "values"),
}


@pytest.mark.parametrize("case", CUTTING.values(), ids=CUTTING.keys())
def test_a_cut_is_named_with_what_lies_behind_it(case: Any) -> None:
    cut, op, how = case
    (found,) = flow_of(Cut(cut), torch.randn(2, 4)).detached
    assert (found.op, found.how, found.parameters) == (op, how, BEHIND)


def test_a_backbone_without_gradients_is_named_once() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = torchvision.models.resnet18(num_classes=6)
            self.head = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                y = self.backbone(x)
            return self.head(y)

    model = Net().eval()
    (found,) = flow_of(model, torch.randn(2, 3, 32, 32)).detached
    assert (found.op, found.how) == ("backbone.fc/linear#0", "no_grad")
    assert found.parameters == tuple(n for n, _ in model.named_parameters() if "backbone" in n)


def test_a_mask_is_no_cut_and_a_stop_gradient_loses_nothing() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.linear(x)
            y = y * (y > 0)
            return y + (torch.round(y) - y).detach() + torch.zeros_like(y)

    found = flow_of(Net(), torch.randn(2, 4)).detached
    assert [(d.op, d.how, d.parameters) for d in found] == [("detach#0", "detach", ())]


def test_a_custom_function_is_no_cut() -> None:
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return (x + 1) * 2 - 2

        @staticmethod
        def backward(ctx: Any, *grad: Tensor) -> Tensor:
            return grad[0] * 2

    assert flow_of(Cut(Double.apply), torch.randn(2, 4)).detached == ()


# -- NaN and infinity ----------------------------------------------------------------


class Broken(nn.Module):
    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.third = nn.Linear(4, 3)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(F.relu(self.step(self.first(x)))))


def masked(x: Tensor) -> Tensor:
    """A causal mask of −inf is meant; a row that is wholly masked becomes NaN in softmax."""
    scores = x.unsqueeze(-1) + torch.zeros(4).masked_fill(torch.ones(4).bool(), -math.inf)
    return scores.softmax(-1).sum(-1)


FORWARD: dict[str, tuple[Callable[[Tensor], Tensor], str, str]] = {
    "log": (lambda x: torch.log(x - 100), "log#0", "NaN"),
    "division": (lambda x: x / (x - x), "div#0", "infinity"),
    "overflow": (lambda x: torch.exp(x * 0 + 1000), "exp#0", "infinity"),
    "masked": (masked, "softmax#0", "NaN"),
}


@pytest.mark.parametrize("case", FORWARD.values(), ids=FORWARD.keys())
def test_the_first_producer_is_named_not_those_that_pass_it_on(case: Any) -> None:
    step, op, value = case
    torch.manual_seed(0)
    model, x = Broken(step), torch.randn(2, 4)
    with untouched(model):
        flow = flow_of(model, x, loss_fn=lambda y, _: y.square().sum())
    (found,) = flow.nonfinite
    assert (found.direction, found.op, found.value, found.parameter) == ("forward", op, value, "")
    assert found.later >= 3


def test_a_causal_mask_is_not_mistaken_for_a_producer() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.register_buffer("mask", torch.full((4, 4), -math.inf).triu(1))

        def forward(self, x: Tensor) -> Tensor:
            weights = (self.linear(x) @ x.transpose(-1, -2) + self.mask).softmax(-1)
            return torch.log((weights @ x).abs() * 0)

    (found,) = flow_of(Net(), torch.randn(2, 4, 4)).nonfinite
    assert (found.op, found.value) == ("log#0", "infinity")
    assert (found.low, found.high) == (0.0, 0.0)


def test_a_parameter_that_holds_it_is_named() -> None:
    model = Broken(torch.sigmoid)
    with torch.no_grad():
        model.second.weight[1, 2] = math.inf
    (found,) = flow_of(model, torch.randn(2, 4)).nonfinite
    assert (found.op, found.parameter) == ("second/linear#0", "second.weight")
    assert (found.value, found.later) == ("infinity", 1)
    assert found.low is not None
    assert found.low >= 0


def test_an_input_and_a_loss_can_be_the_producer() -> None:
    x = torch.randn(2, 4)
    x[0, 1] = math.nan
    (found,) = flow_of(Broken(torch.tanh), x).nonfinite
    assert (found.op, found.value, found.low) == ("input#0", "NaN", None)
    (found,) = flow_of(
        Broken(torch.tanh), torch.randn(2, 4), loss_fn=lambda y, _: torch.log(y * 0).sum()
    ).nonfinite
    assert (found.op, found.value) == ("loss", "infinity")


def test_the_first_producer_of_the_backward_is_named() -> None:
    """√0 is 0 and its slope infinite; times the 0 that comes back, NaN."""
    model = Broken(lambda x: torch.where(x > 1e9, x.clamp(max=0).sqrt(), x))
    flow = flow_of(model, torch.randn(2, 4))
    assert math.isfinite(flow.loss.value)
    (found,) = flow.nonfinite
    assert (found.direction, found.op, found.value) == ("backward", "sqrt#0", "NaN")
    assert (found.low, found.high) == (0.0, 0.0)
    assert found.later >= 1


def test_a_sound_run_names_nothing() -> None:
    flow = flow_of(Broken(torch.tanh), torch.randn(2, 4))
    assert flow.nonfinite == ()
    assert isinstance(flow.nonfinite, tuple)
    assert NonFinite.__doc__
