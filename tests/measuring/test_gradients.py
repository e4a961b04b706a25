"""Gradient flow against plain autograd: same numbers, nothing left behind, one transfer."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import ModelError, NotApplicableError, UserError
from resnet_viz.core.gradient_flow import GradientFlow, Stats
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.measuring.gradients.measure import measure_gradients
from resnet_viz.tracing.tracer import trace_model
from tests.tracing.models import Attention, Caching, Residual, Shared
from tests.tracing.test_pristine import prepared, untouched


def measured(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    input_was_given: bool = True,
    **options: Any,
) -> GradientFlow:
    batch = Batch(args=args, kwargs=kwargs or {}, was_given=input_was_given)
    return measure_gradients(model, [batch], **options)


def flow_of(
    model: nn.Module, *args: Any, kwargs: dict[str, Any] | None = None, **options: Any
) -> GradientFlow:
    return measured(model, args, kwargs, graph=trace_model(model, args, kwargs), **options)


def collected(model: nn.Module, run: Callable[[], object]) -> dict[str, Tensor]:
    """Each parameter's gradient during ``run``, seen by hooks on the parameters."""
    found: dict[str, Tensor] = {}
    handles = [
        p.register_hook(lambda g, name=name: found.__setitem__(name, g.clone()))
        for name, p in model.named_parameters()
        if p.requires_grad
    ]
    run()
    for handle in handles:
        handle.remove()
    return found


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=5).train()


MODELS: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    "resnet18": lambda: (resnet(), (torch.randn(2, 3, 64, 64),)),
    "residual": lambda: (Residual().train(), (torch.randn(2, 4, 8, 8),)),
    "dropout and caches": lambda: (Caching().train(), (torch.randn(3, 4),)),
    "shared weights": lambda: (Shared(), (torch.tensor([[1, 2], [3, 3]]),)),
    "attention": lambda: (Attention(), (torch.randn(2, 5, 8),)),
    "lstm": lambda: (nn.LSTM(4, 8, 2, batch_first=True), (torch.randn(2, 5, 4),)),
    "float64": lambda: (Residual().double().train(), (torch.randn(2, 4, 8, 8).double(),)),
    "bfloat16": lambda: (Attention().bfloat16(), (torch.randn(2, 5, 8).bfloat16(),)),
}


def squares(outputs: Any, _targets: Any) -> Tensor:
    first = outputs[0] if isinstance(outputs, tuple) else outputs
    return first.square().mean()


@pytest.mark.parametrize("stats", ["norms", "default", "full"])
@pytest.mark.parametrize("case", MODELS.values(), ids=MODELS.keys())
def test_measured_gradients_equal_plain_ones_bit_for_bit(case: Any, stats: Stats) -> None:
    model, args = case()
    if stats == "full" and sum(p.numel() for p in model.parameters()) > 1e6:
        model, args = MODELS["residual"]()  # sorting millions of elements takes seconds
    graph = trace_model(model, args)
    other = copy.deepcopy(model)

    def plain() -> None:
        torch.manual_seed(7)
        squares(other(*args), None).backward()

    expected = collected(other, plain)
    flows = []
    found = collected(
        model,
        lambda: flows.append(
            measured(model, args, graph=graph, loss_fn=squares, seed=7, stats=stats)
        ),
    )
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name
    (flow,) = flows
    assert [p.name for p in flow.parameters] == [n for n, _ in model.named_parameters()]
    for row in flow.parameters:
        assert row.stats is not None
        exact = expected[row.name].double()
        assert row.stats.l2 == pytest.approx(exact.norm().item(), rel=1e-6)
    assert from_json(to_json(flow)) == flow


@pytest.mark.parametrize("case", MODELS.values(), ids=MODELS.keys())
def test_the_model_is_left_as_it_came(case: Any) -> None:
    model, args = case()
    first = next(iter(model.parameters()))
    first.grad = torch.ones_like(first)
    model.register_forward_hook(lambda *_: None)
    graph = trace_model(model, args)
    with untouched(model):
        measured(model, args, graph=graph, mode="train")
    with untouched(model):
        measured(model, args, graph=graph, mode="eval")


def test_the_model_is_left_as_it_came_after_an_exception_in_forward() -> None:
    model, x = prepared(training=True), torch.randn(3, 4)
    graph = trace_model(model, (x,))
    model.fail = True
    with untouched(model), pytest.raises(UserError, match=r"forward raised in .*half-way"):
        measured(model, (x,), graph=graph)
    with untouched(model), pytest.raises(ModelError, match="half-way"):
        measured(model, (x,), graph=graph, input_was_given=False)


def test_the_model_is_left_as_it_came_after_an_exception_in_the_loss() -> None:
    model, x = prepared(training=True), torch.randn(3, 4)
    graph = trace_model(model, (x,))

    def loss(outputs: Tensor, targets: Any) -> Tensor:
        return outputs @ torch.ones(9)

    with untouched(model), pytest.raises(UserError, match=r"^the loss raised: RuntimeError") as e:
        measured(model, (x,), graph=graph, loss_fn=loss)
    assert "\n" not in str(e.value)


class Refusing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        raise ZeroDivisionError("no way back")


def test_the_model_is_left_as_it_came_after_an_exception_in_backward() -> None:
    class Net(Caching):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(Refusing.apply(self.linear(x)))

    model, x = Net().train(), torch.randn(3, 4)
    graph = trace_model(model, (x,))
    with untouched(model), pytest.raises(ModelError, match=r"backward raised.*no way back"):
        measured(model, (x,), graph=graph)


def test_nothing_is_accumulated_anywhere_and_no_optimizer_steps() -> None:
    model, loss_layer, x = nn.Linear(4, 3), nn.Linear(3, 1), torch.randn(2, 4, requires_grad=True)
    steps = []
    model.weight.register_post_accumulate_grad_hook(lambda p: steps.append(p))
    flow_of(model, x, loss_fn=lambda outputs, _: loss_layer(outputs).sum())
    assert model.weight.grad is None
    assert loss_layer.weight.grad is None
    assert x.grad is None
    assert steps == []


def test_hidden_modules_and_their_gradients_are_left_alone() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(4, 4), nn.BatchNorm1d(4)]
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return self.head(x)

    model, x = Net(), torch.randn(3, 4)
    graph = trace_model(model, (x,))
    with untouched(model), untouched(model.layers[0]), untouched(model.layers[1]):
        flow = measured(model, (x,), graph=graph)
    assert flow["<Linear#0>/linear#0"].l2 > 0


# -- statistics per call and per parameter --------------------------------------------


def test_call_statistics_equal_tensor_hooks_by_hand() -> None:
    torch.manual_seed(1)
    model, x = Residual().double().train(), torch.randn(2, 4, 8, 8).double()
    flow = flow_of(model, x, loss_fn=squares)
    found: dict[str, Tensor] = {}

    def watch(name: str, tensor: Tensor) -> Tensor:
        tensor.register_hook(lambda g: found.__setitem__(name, g))
        return tensor

    a = watch("first/conv2d#0", F.conv2d(x, model.first.weight, padding=1))
    b = watch("norm/batch_norm#0", model.norm(a))
    c = watch("relu/relu#0", b.relu())
    d = watch("second/conv2d#0", F.conv2d(c, model.second.weight, padding=1))
    e = watch("add#0", d + x)
    f = watch("relu/relu#1", e.relu())
    squares(f, None).backward()
    assert [c.op for c in flow.calls] == ["input#0", *reversed(found)]
    for call in flow.calls[1:]:
        exact = found[call.op]
        assert call.stats.numel == exact.numel()
        assert call.stats.l2 == pytest.approx(exact.norm().item(), rel=1e-12)
        assert call.stats.rms == pytest.approx(exact.square().mean().sqrt().item(), rel=1e-12)
        assert (call.stats.low, call.stats.high) == (exact.min().item(), exact.max().item())


def test_parameter_statistics_equal_numpy() -> None:
    model, x = resnet(), torch.randn(2, 3, 64, 64)
    graph = trace_model(model, (x,))
    flows = []
    gradients = collected(
        model,
        lambda: flows.append(measured(model, (x,), graph=graph, loss_fn=squares)),
    )
    weights = dict(model.named_parameters())
    for row in flows[0].parameters:
        assert row.stats is not None
        g = gradients[row.name].double().numpy().ravel()
        stats, size = row.stats, np.abs(g)
        assert stats.numel == g.size
        assert stats.mean == pytest.approx(g.mean(), abs=1e-6 * size.mean() + 1e-12)
        assert stats.mean_abs == pytest.approx(size.mean(), rel=1e-6)
        assert stats.zero_fraction == pytest.approx((g == 0).mean(), abs=1e-9)
        assert (stats.low, stats.high) == (g.min(), g.max())
        assert row.weight_l2 == pytest.approx(weights[row.name].double().norm().item(), rel=1e-6)
        assert row.ratio is None or row.ratio == pytest.approx(stats.l2 / row.weight_l2)


# -- losses, modes, refusals ----------------------------------------------------------


def test_batch_norm_that_refuses_one_sample_says_what_to_do() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
    x = torch.randn(1, 4)
    graph = trace_model(model, (x,), training=False)
    for given in (True, False):
        with untouched(model), pytest.raises(UserError) as caught:
            measured(model, (x,), graph=graph, input_was_given=given)
        text = str(caught.value)
        assert "--batch-size" in text
        assert "--eval" in text
        assert "batch norm in 1" in text
        assert "\n" not in text
    assert measured(model, (x,), graph=graph, mode="eval").mode == "eval"


def test_a_frozen_or_detached_model_is_not_applicable() -> None:
    frozen = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(NotApplicableError, match="frozen"):
        flow_of(frozen, torch.ones(1, 2))

    class Detached(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    with pytest.raises(NotApplicableError, match="detached"):
        flow_of(Detached(2, 2), torch.ones(1, 2))
    with pytest.raises(NotApplicableError, match="meta"):
        flow_of(nn.Linear(2, 2, device="meta"), torch.ones(1, 2))


def test_parameters_without_a_gradient_say_why() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen = nn.Linear(4, 4).requires_grad_(False)
            self.used = nn.Linear(4, 4)
            self.unused = nn.Linear(4, 4)
            self.detached = nn.Linear(4, 4)
            self.masked = nn.Linear(4, 4)
            self.empty = nn.Parameter(torch.zeros(0, 4))

        def forward(self, x: Tensor) -> Tensor:
            x = self.used(self.frozen(x))
            x = x + self.detached(x).detach() + self.empty.sum()
            return x + 0 * self.masked(x)

    flow = flow_of(Net(), torch.randn(2, 4))
    reasons = {p.name: (p.reason, p.stats is None) for p in flow.parameters}
    assert reasons["frozen.weight"] == ("frozen", True)
    assert reasons["used.weight"] == ("", False)
    assert reasons["unused.bias"] == ("never used in the forward", True)
    assert reasons["detached.weight"] == ("not on a path to the loss", True)
    assert reasons["masked.weight"] == ("exactly zero", False)
    assert reasons["empty"] == ("it has no elements", True)
    row = next(p for p in flow.parameters if p.name == "frozen.weight")
    assert row.weight_l2 > 0
    assert row.ratio is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_gradients_that_are_not_finite_are_told_not_raised(value: float) -> None:
    model = Residual().train()
    flow = flow_of(model, torch.randn(2, 4, 8, 8), loss_fn=lambda outputs, _: outputs.sum() * value)
    assert not math.isfinite(flow.loss.value)
    assert any(p.stats is not None and not p.stats.finite for p in flow.parameters)
    assert {r.reason for r in flow.not_separable} == {"the gradient here is not finite"}
    assert flow.shares == ()
    assert str(from_json(to_json(flow)).parameters) == str(flow.parameters)


def test_tiny_and_huge_gradients_stay_within_their_quantiles() -> None:
    for scale in (1e-25, 1e12):
        model = nn.Linear(4, 4).double()
        flow = flow_of(
            model,
            torch.ones(2, 4).double(),
            loss_fn=lambda outputs, _, scale=scale: outputs.sum() * scale,
        )
        stats = flow["weight"]
        assert stats.l2 == pytest.approx(8 * scale)
        assert sum(stats.histogram) == 16
        assert len(stats.quantiles) == 5


def test_in_place_relu_as_the_first_op_does_not_write_the_users_input() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(F.relu(x, inplace=True)) + x

    x = torch.tensor([[-1.0, 2.0, -3.0, 4.0]])
    flow = flow_of(Net(), x)
    assert x.tolist() == [[-1.0, 2.0, -3.0, 4.0]]
    assert {(s.src, s.dst) for s in flow.shares} == {
        ("relu#0", "linear/linear#0"),
        ("relu#0", "add#0"),
    }


def test_keyword_inputs_in_any_order_keep_their_ids() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor, y: Tensor, n: int = 1) -> Tensor:
            return self.linear(y * n) + y + self.linear(x)

    kwargs = {"y": torch.randn(2, 4), "n": 2, "x": torch.randn(2, 4)}
    flow = flow_of(Net(), kwargs=kwargs)
    assert {s.src for s in flow.shares} == {"input#1"}
    assert flow.batch_size == 2


def test_the_mode_is_the_models_own_or_the_one_asked_for() -> None:
    model, x = resnet(), torch.randn(2, 3, 32, 32)
    assert flow_of(model, x).mode == "train"
    assert flow_of(model, x, mode="eval").mode == "eval"
    assert model.training


def test_works_inside_inference_mode_and_no_grad() -> None:
    model = nn.Linear(4, 4)
    with torch.inference_mode():
        flow = flow_of(model, torch.randn(2, 4))
        assert torch.is_inference_mode_enabled()
    assert flow["weight"].l2 > 0
    with torch.no_grad():
        assert flow_of(model, torch.randn(2, 4))["weight"].l2 > 0
        assert not torch.is_grad_enabled()


def test_a_sparse_gradient_is_measured_like_a_dense_one() -> None:
    tokens = torch.tensor([[1, 2, 2]])
    torch.manual_seed(0)
    dense = nn.Embedding(5, 3)
    sparse = nn.Embedding(5, 3, sparse=True)
    sparse.load_state_dict(dense.state_dict())
    a, b = flow_of(dense, tokens), flow_of(sparse, tokens)
    assert a["weight"] == b["weight"]
    assert a["weight"].zero_fraction == pytest.approx(3 / 5)


def test_aggregates_go_by_module_path() -> None:
    flow = flow_of(resnet(), torch.randn(2, 3, 32, 32))
    inside = [c.stats.l2 for c in flow.calls if c.op.startswith("layer1.0")]
    assert flow["layer1.0"].l2 == pytest.approx(math.sqrt(sum(x * x for x in inside)))
    with pytest.raises(KeyError, match=r"nothing\.here"):
        flow["nothing.here"]
