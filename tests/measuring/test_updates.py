"""The optimizer's step: what it would change, against one that really steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from resnet_viz.core.batch import Batch
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.measuring.gradients.measure import measure_gradients
from resnet_viz.tracing.tracer import trace_model
from tests.tracing.test_pristine import untouched


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.LayerNorm(8))


X = torch.linspace(-2, 2, 12).view(3, 4)


def squares(outputs: Tensor, _targets: Any) -> Tensor:
    return (outputs - 1).square().mean()


def flow_of(model: nn.Module, optimizer: Any, **options: Any) -> GradientFlow:
    graph = trace_model(model, (X,))
    batches = [Batch(args=(X,))]
    return measure_gradients(
        model, batches, graph=graph, loss_fn=squares, optimizer=optimizer, **options
    )


def train(model: nn.Module, optimizer: Any, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        squares(model(X), None).backward()
        optimizer.step()


def content(value: Any) -> Any:
    """A value by what it holds and which objects it is made of."""
    if isinstance(value, Tensor):
        return id(value), value.detach().clone().view(-1).tolist()
    if isinstance(value, dict):
        keys = [id(key) if isinstance(key, Tensor) else key for key in value]
        return id(value), keys, [content(item) for item in value.values()]
    if isinstance(value, list | tuple):
        return id(value), [content(v) for v in value]
    return value if isinstance(value, int | float | str | None) else id(value)


@contextmanager
def unstepped(optimizer: Any) -> Iterator[None]:
    """Fails if the optimizer differs at the end."""
    before = content(vars(optimizer))
    yield
    assert content(vars(optimizer)) == before


MAKERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.1), "SGD(lr=0.1)"),
    "momentum": (
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
        "SGD(lr=0.1, momentum=0.9, weight_decay=0.01)",
    ),
    "adam": (lambda p: torch.optim.Adam(p, lr=1e-2), "Adam(lr=0.01)"),
    "adamw": (lambda p: torch.optim.AdamW(p, lr=torch.tensor(1e-3)), "AdamW(lr=0.001)"),
    "rmsprop": (
        lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.5),
        "RMSprop(lr=0.001, momentum=0.5)",
    ),
}


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("case", MAKERS.values(), ids=MAKERS.keys())
def test_update_ratios_equal_those_of_a_copy_that_really_steps(case: Any, steps: int) -> None:
    make, words = case
    model = net()
    optimizer = make(model.parameters())
    train(model, optimizer, steps)
    other, stepped = copy.deepcopy((model, optimizer))
    with untouched(model), unstepped(optimizer):
        flow = flow_of(model, optimizer)
    train(other, stepped, 1)
    assert flow.optimizer == words
    after = dict(other.named_parameters())
    for row in flow.parameters:
        before = model.get_parameter(row.name).detach().double()
        size = before.norm().item()
        change = (after[row.name].detach().double() - before).norm().item()
        if size == 0:
            assert row.update_ratio is None
        else:
            # w′ is rounded to float32: beside small steps that shows.
            assert row.update_ratio == pytest.approx(change / size, rel=1e-5, abs=1e-9)
    # And the next real step of the measured one is the copy's.
    train(model, optimizer, 1)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, after[name])


def test_neither_hooks_nor_schedulers_notice() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    handle = register_optimizer_step_pre_hook(lambda *_: seen.append("everywhere"))
    try:
        with untouched(model), unstepped(optimizer):
            flow = flow_of(model, optimizer)
    finally:
        handle.remove()
    assert flow.optimizer == "SGD(lr=0.1)"
    assert seen == []
    assert getattr(optimizer, "_opt_called", False) is False
    assert scheduler.last_epoch == 0


def test_groups_frozen_and_unused_parameters() -> None:
    model = net()
    model[0].bias.requires_grad_(False)
    optimizer = torch.optim.SGD(
        [{"params": [model[0].weight, model[0].bias], "lr": 0.5}, {"params": [model[2].weight]}],
        lr=0.1,
    )
    flow = flow_of(model, optimizer)
    assert flow.optimizer == "SGD(lr=0.5 and 0.1)"
    rows = {p.name: p for p in flow.parameters}
    for name, rate in (("0.weight", 0.5), ("2.weight", 0.1)):
        assert rows[name].update_ratio == pytest.approx(rate * (rows[name].ratio or 0), rel=1e-4)
    assert rows["0.bias"].update_ratio == 0
    assert rows["2.bias"].update_ratio is None


def test_a_subclass_keeps_what_torchs_own_copying_drops() -> None:
    class Doubling(torch.optim.SGD):
        def __init__(self, params: Any, factor: float) -> None:
            super().__init__(params, lr=0.1)
            self.factor = [factor]

        def step(self, closure: Any = None) -> None:
            self.factor.append(0.0)
            for group in self.param_groups:
                group["lr"] *= self.factor[0]
                for p in group["params"]:
                    p.grad.mul_(2)
            super().step()

    model = net()
    optimizer = Doubling(model.parameters(), 3.0)
    with untouched(model), unstepped(optimizer):
        flow = flow_of(model, optimizer)
    row = flow.parameters[0]
    assert row.update_ratio == pytest.approx(0.6 * (row.ratio or 0), rel=1e-4)


class Failing(torch.optim.SGD):
    error: BaseException = ValueError("half-way")

    def step(self, closure: Any = None) -> None:
        super().step()
        self.state[self.param_groups[0]["params"][0]]["new"] = 1
        raise self.error


def test_an_optimizer_that_raises_is_told_and_nothing_has_changed() -> None:
    model = net()
    optimizer = Failing(model.parameters(), lr=0.1, momentum=0.9)
    with untouched(model), unstepped(optimizer):
        flow = flow_of(model, optimizer)
    assert flow.optimizer == ""
    assert flow.notes == ("Update ratios are missing: Failing.step raised ValueError: half-way.",)
    assert all(p.update_ratio is None for p in flow.parameters)
    optimizer.error = KeyboardInterrupt()
    with untouched(model), unstepped(optimizer), pytest.raises(KeyboardInterrupt):
        flow_of(model, optimizer)


def test_optimizers_that_cannot_step_here_say_so() -> None:
    model = net()
    flow = flow_of(model, torch.optim.LBFGS(model.parameters()))
    assert flow.optimizer == ""
    assert "closure" in flow.notes[0]
    (note,) = flow_of(model, torch.optim.SGD(net().parameters(), lr=1)).notes
    assert "holds no parameter of the model" in note
