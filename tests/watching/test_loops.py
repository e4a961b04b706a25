"""``rv.watch`` around loops of every shape: scalers, several optimizers, closures, schedulers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import resnet_viz as rv
from resnet_viz.core.history import Step
from tests.watching.loops import batches, gradients, small_net, train, weights


def norms(step: Step) -> dict[str, float | None]:
    return {p.name: p.l2 for p in step.parameters}


# -- GradScaler ------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("micro", [1, 2])
def test_gradients_are_unscaled_and_not_yet_clipped(fused: bool, micro: int) -> None:
    histories = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=1024.0)):
        model = small_net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
        with rv.watch(model, optimizer, every=1, scaler=scaler) as watch:
            train(model, optimizer, 3, clip=0.05, micro=micro, scaler=scaler)
        histories.append(watch.history)
        if scaler is not None:
            assert "step" not in vars(scaler)
    for plain, scaled in zip(*(h.steps for h in histories), strict=True):
        assert (plain.scale, scaled.scale) == (1, 1024)
        assert scaled.l2 == pytest.approx(plain.l2, rel=1e-5)
        assert scaled.l2 > 0.05
        assert scaled.clipped_l2 == pytest.approx(0.05, rel=1e-4)
        assert scaled.backwards == micro
        for one, other in zip(plain.parameters, scaled.parameters, strict=True):
            assert other.l2 == pytest.approx(one.l2, rel=1e-4, abs=1e-8)
            if one.weight_l2:
                assert other.update_ratio == pytest.approx(one.update_ratio, rel=1e-3)


@pytest.mark.parametrize("fused", [False, True])
def test_what_the_optimizer_unscales_itself_is_unscaled(fused: bool) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    with rv.watch(model, optimizer, every=1, scaler=scaler) as watch:
        train(model, optimizer, 2, scaler=scaler)
    for step in watch.history.steps:
        assert step.clipped_l2 == pytest.approx(step.l2, rel=1e-6)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("every", [1, 3])
def test_steps_that_a_scaler_leaves_out_are_counted(fused: bool, every: int) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    bad = {1, 3, 4}

    def spoil(step: int) -> None:
        if step in bad:
            model[4].bias.grad[0] = math.inf

    with rv.watch(model, optimizer, every=every, scaler=scaler) as watch:
        train(model, optimizer, 9, scaler=scaler, before_step=spoil)
    steps = watch.history.steps
    assert sum(step.skipped for step in steps) == 3
    assert all(math.isfinite(step.l2) and step.backwards == 1 for step in steps)
    if every == 1:
        assert [step.skipped for step in steps] == [0, 1, 2, 0, 0, 0]
        assert steps[-1].scale == 128


def test_a_disabled_scaler_is_none() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    with rv.watch(model, optimizer, every=1, scaler=scaler) as watch:
        train(model, optimizer, 1, scaler=scaler)
    assert watch.history.steps[0].scale == 1


# -- several optimizers ----------------------------------------------------------------


def test_each_of_two_optimizers_measures_its_own() -> None:
    torch.manual_seed(0)
    maker = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4))
    critic = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    nets = nn.ModuleDict({"maker": maker, "critic": critic})
    optimizers = {
        "maker": torch.optim.Adam(maker.parameters(), lr=0.01),
        "critic": torch.optim.SGD(critic.parameters(), lr=0.02),
    }
    exact: list[tuple[str, dict[str, Tensor], float]] = []
    with rv.watch(nets, optimizers, every=2) as watch:
        for _ in range(3):
            fake = maker(torch.randn(8, 3))
            loss = critic(fake.detach()).mean() - critic(torch.randn(8, 4)).mean()
            optimizers["critic"].zero_grad()
            loss.backward()
            exact.append(("critic", gradients(critic), loss.item()))
            optimizers["critic"].step()
            watch.log(loss=loss)
            # Goes through the critic as well and leaves gradients there.
            loss = -critic(fake).mean()
            optimizers["maker"].zero_grad()
            loss.backward()
            exact.append(("maker", gradients(maker), loss.item()))
            optimizers["maker"].step()
            watch.log(loss=loss)
    steps = watch.history.steps
    assert [(s.step, s.optimizer) for s in steps] == [
        (0, "critic"), (1, "maker"), (4, "critic"), (5, "maker"),
    ]  # fmt: skip
    for step in steps:
        name, found, loss_then = exact[step.step]
        assert step.backwards == 1
        assert step.loss == pytest.approx(loss_then)
        assert [p.name for p in step.parameters] == [f"{name}.{key}" for key in found]
        assert [a.name for a in step.activations] == [f"{name}.1"]
        for p in step.parameters:
            assert p.l2 == pytest.approx(found[p.name.partition(".")[2]].norm().item(), rel=1e-6)
    assert "l2_norm/grad/global/maker" in steps[1].metrics()


# -- closures --------------------------------------------------------------------------


def test_a_closure_that_is_called_once() -> None:
    model = small_net().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model[3].p = 0.0
    (inputs, labels), *_ = batches(1, torch.float64)
    functional.cross_entropy(model(inputs), labels).backward()
    exact, old = gradients(model), weights(model)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(inputs), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        return loss

    with rv.watch(model, optimizer, every=1) as watch:
        optimizer.step(closure)
    (step,) = watch.history.steps
    assert step.backwards == 1
    assert step.clipped_l2 == pytest.approx(0.01, rel=1e-3)
    for p in step.parameters:
        assert p.l2 == pytest.approx(exact[p.name].norm().item(), rel=1e-9)
        if old[p.name].norm():
            change = (weights(model)[p.name] - old[p.name]).norm() / old[p.name].norm()
            assert p.update_ratio == pytest.approx(change.item(), rel=1e-9)


def test_a_closure_that_adds_to_an_earlier_backward() -> None:
    # So Lightning steps: the last micro-batch and the clipping lie inside the closure.
    model = nn.Linear(6, 3).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    exact: list[dict[str, Tensor]] = []
    with rv.watch(model, optimizer, every=1) as watch:
        for _ in range(2):
            (x, y), (x2, y2) = batches(2, torch.float64)
            functional.cross_entropy(model(x), y).backward()

            def closure(x: Tensor = x2, y: Tensor = y2) -> Tensor:
                loss = functional.cross_entropy(model(x), y)
                loss.backward()
                exact.append(gradients(model))
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                return loss

            optimizer.step(closure)
            optimizer.zero_grad()
    for step, found in zip(watch.history.steps, exact, strict=True):
        assert step.backwards == 2
        assert norms(step) == pytest.approx({n: g.norm().item() for n, g in found.items()})
        assert step.clipped_l2 == pytest.approx(0.1, rel=1e-3)


def test_lbfgs_is_measured_where_its_step_began() -> None:
    model = nn.Linear(6, 3).double()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=5)
    (inputs, labels), *_ = batches(1, torch.float64)
    evaluated: list[dict[str, Tensor]] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(inputs), labels)
        loss.backward()
        evaluated.append(gradients(model))
        return loss

    with rv.watch(model, optimizer, every=1, cosine=True) as watch:
        for _ in range(2):
            optimizer.step(closure)
    assert len(evaluated) > 4
    half = len(evaluated) // 2
    for step, found in zip(watch.history.steps, (evaluated[0], evaluated[half]), strict=True):
        assert norms(step) == pytest.approx({n: g.norm().item() for n, g in found.items()})
        assert step.clipped_l2 == step.l2
        assert all(p.update_ratio for p in step.parameters)


# -- around the optimizer --------------------------------------------------------------


def test_a_scheduler_around_the_step_and_the_loss_it_belongs_to() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    told: list[float] = []

    def after(step: int, loss: Tensor) -> None:
        schedule.step()
        told.append(loss.item())
        watch.log(loss=loss)

    with rv.watch(model, optimizer, every=2) as watch:
        train(model, optimizer, 5, after_step=after)
    steps = watch.history.steps
    assert [s.lr for s in steps] == [1.0, 0.25, 0.0625]
    assert [s.loss for s in steps] == pytest.approx([told[0], told[2], told[4]])


def test_a_loss_told_before_the_step_belongs_to_that_step() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rv.watch(model, optimizer, every=2) as watch:
        train(
            model, optimizer, 4, before_step=lambda step: watch.log(loss=float(step)),
            after_step=lambda step, loss: None,
        )  # fmt: skip
    assert [s.loss for s in watch.history.steps] == [0.0, 2.0]


def test_checkpointed_blocks_of_both_kinds() -> None:
    from torch.utils.checkpoint import checkpoint

    for reentrant in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(3)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with rv.watch(model, optimizer, every=1) as watch:
            for _ in range(2):
                x = torch.randn(2, 4, requires_grad=True)
                for block in model:
                    x = checkpoint(block, x, use_reentrant=reentrant)
                x.sum().backward()
                exact = {n: g.norm().item() for n, g in gradients(model).items()}
                optimizer.step()
                optimizer.zero_grad()
        step = watch.history.steps[1]
        assert norms(step) == pytest.approx(exact, rel=1e-6)
        assert step.backwards == 1
        assert [a.name for a in step.activations] == ["0.1", "1.1", "2.1"]


def test_optimizers_inside_those_of_other_libraries() -> None:
    class Accelerated(torch.optim.Optimizer):
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rv.watch(model, [Accelerated(optimizer)], every=1) as watch:
        train(model, optimizer, 1)
    assert watch.history.optimizers == ("SGD(lr=0.1)",)
    assert watch.history.steps[0].optimizer == ""


def test_two_watches_at_once_see_the_same() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    first = rv.watch(model, optimizer, every=1, scaler=scaler)
    second = rv.watch(model, optimizer, every=1, scaler=scaler)
    train(model, optimizer, 2, scaler=scaler)
    first.close()
    train(model, optimizer, 1, scaler=scaler)
    second.close()
    assert [norms(s) for s in first.history.steps] == [norms(s) for s in second.history.steps[:2]]
    assert len(second.history.steps) == 3
