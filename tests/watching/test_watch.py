"""``rv.watch`` against the numbers themselves, and against the same training without it."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

import resnet_viz as rv
from resnet_viz.core.history import Step, WatchedParameter
from tests.watching.loops import assert_bare, batches, gradients, small_net, train, weights

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "fused adamw": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "foreach": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True),
    "capturable": lambda p: torch.optim.RMSprop(p, lr=0.01),
}


def named(step: Step) -> dict[str, WatchedParameter]:
    return {p.name: p for p in step.parameters}


# -- nothing changes -------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_the_same_bit_for_bit(name: str) -> None:
    plain, watched = small_net(), small_net()
    ends = []
    for model in (plain, watched):
        optimizer = OPTIMIZERS[name](model.parameters())
        torch.manual_seed(7)
        if model is watched:
            with rv.watch(model, optimizer, every=2, cosine=True) as watch:
                train(
                    model, optimizer, 5, clip=0.5, after_step=lambda _, loss: watch.log(loss=loss)
                )
            assert_bare(model, optimizer)
        else:
            train(model, optimizer, 5, clip=0.5)
        ends.append((model.state_dict(), optimizer.state_dict()["state"], torch.rand(3)))
    assert [s.step for s in watch.history.steps] == [0, 2, 4]
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_no_hook_behind(error: type[BaseException]) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")

    def fail(step: int) -> None:
        if step == 2:
            raise error

    with pytest.raises(error), rv.watch(model, optimizer, every=1, scaler=scaler) as watch:
        train(model, optimizer, 5, scaler=scaler, before_step=fail)
    assert_bare(model, optimizer)
    assert "step" not in vars(scaler)
    history = watch.history
    assert [s.step for s in history.steps] == [0, 1]
    assert not history.complete


def test_a_backward_that_fails_is_not_mixed_into_the_next() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def explode(gradient: Tensor) -> None:
        raise ValueError("in the middle")

    with rv.watch(model, optimizer, every=1) as watch:
        (inputs, labels), *_ = batches(1)
        handle = model[0].weight.register_hook(explode)
        with pytest.raises(ValueError, match="in the middle"):
            nn.functional.cross_entropy(model(inputs), labels).backward()
        handle.remove()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        exact = gradients(model)
        optimizer.step()
    (step,) = watch.history.steps
    assert step.backwards == 1
    for name, p in named(step).items():
        assert p.l2 == pytest.approx(exact[name].norm().item(), rel=1e-6)


def test_copies_of_a_watched_model_are_free() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rv.watch(model, optimizer, every=1) as watch:
        twin, again = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
        copy.deepcopy(optimizer)
        torch.save(model, io.BytesIO())
        for other in (twin, again):
            other(torch.randn(4, 6)).sum().backward()
        train(model, optimizer, 1)
    assert watch.history.steps[0].activations[0].name == "2"
    assert watch.history.steps[0].backwards == 1


# -- the numbers -----------------------------------------------------------------------


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("micro", [1, 3])
def test_numbers_are_those_of_the_whole_gradient_before_clipping(
    micro: int, set_to_none: bool
) -> None:
    model = small_net(dtype=torch.float64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before: list[dict[str, Tensor]] = []
    clipped: list[float] = []
    old: list[dict[str, Tensor]] = []
    new: list[dict[str, Tensor]] = []

    def look(step: int) -> None:
        before.append(gradients(model))
        old.append(weights(model))

    def look_again(step: int, loss: Tensor) -> None:
        clipped.append(math.hypot(*(g.norm().item() for g in gradients(model).values())))
        new.append(weights(model))
        watch.log(loss=loss)

    with rv.watch(model, optimizer, every=1, cosine=True) as watch:
        train(
            *(model, optimizer, 3),
            clip=0.1, micro=micro, set_to_none=set_to_none,
            before_step=look, after_step=look_again,
        )  # fmt: skip
    steps = watch.history.steps
    assert [s.step for s in steps] == [0, 1, 2]
    for i, step in enumerate(steps):
        assert step.backwards == micro
        assert step.lr == 0.01
        assert step.scale == 1
        norms = {name: g.norm().item() for name, g in before[i].items()}
        assert step.l2 == pytest.approx(math.hypot(*norms.values()), rel=1e-12)
        assert step.l2 > 0.1
        assert step.clipped_l2 == pytest.approx(clipped[i], rel=1e-12)
        assert step.clipped_l2 <= 0.1
        assert [p.name for p in step.parameters] == list(norms)
        for name, p in named(step).items():
            gradient, was = before[i][name], old[i][name]
            assert p.l2 == pytest.approx(norms[name], rel=1e-12)
            assert p.rms == pytest.approx(gradient.square().mean().sqrt().item(), rel=1e-12)
            assert p.high == gradient.abs().max().item()
            assert p.weight_l2 == pytest.approx(was.norm().item(), rel=1e-12)
            assert p.axes == gradient.ndim
            if was.norm():
                change = ((new[i][name] - was).norm() / was.norm()).item()
                assert p.update_ratio == pytest.approx(change, rel=1e-9)
            else:
                assert p.update_ratio is None
            if i:
                exact = nn.functional.cosine_similarity(
                    gradient.flatten(), before[i - 1][name].flatten(), dim=0
                ).item()
                assert p.cosine == pytest.approx(exact, abs=1e-9)
            else:
                assert p.cosine is None


def test_only_every_so_many_steps_and_with_their_own_cosine() -> None:
    model = small_net(dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen: list[dict[str, Tensor]] = []
    with rv.watch(model, optimizer, every=3, cosine=True) as watch:
        train(model, optimizer, 8, before_step=lambda _: seen.append(gradients(model)))
    steps = watch.history.steps
    assert [s.step for s in steps] == [0, 3, 6]
    for step in steps[1:]:
        for name, p in named(step).items():
            pair = (seen[step.step][name].flatten(), seen[step.step - 1][name].flatten())
            exact = nn.functional.cosine_similarity(*pair, dim=0).item()
            assert p.cosine == pytest.approx(exact, abs=1e-9)


def test_a_gradient_too_small_for_its_square_has_its_norm() -> None:
    model = nn.Linear(4, 4, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rv.watch(model, optimizer, every=1) as watch:
        (1e-25 * model(torch.ones(1, 4))).sum().backward()
        optimizer.step()
    (p,) = watch.history.steps[0].parameters
    assert p.l2 == pytest.approx(4e-25, rel=1e-5)


def test_autocast_around_the_backward_does_not_round_the_norms() -> None:
    model = nn.Sequential(nn.Linear(64, 300), nn.Tanh(), nn.Linear(300, 64))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rv.watch(model, optimizer, every=1) as watch, torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(8, 64)).square().mean().backward()
        exact = {n: g.double().norm().item() for n, g in gradients(model).items()}
        optimizer.step()
    for name, p in named(watch.history.steps[0]).items():
        assert p.l2 == pytest.approx(exact[name], rel=1e-5)


def test_nan_and_infinity_are_named() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def spoil(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[0] = math.inf
        return gradient

    model[4].bias.register_hook(spoil)
    model[1].bias.register_hook(lambda g: g * math.nan)
    with rv.watch(model, optimizer, every=1) as watch:
        train(model, optimizer, 1)
    (step,) = watch.history.steps
    assert step.nonfinite == ("1.bias", "4.bias")
    assert not math.isfinite(step.l2)
    assert rv.from_json(watch.history.to_json()).steps[0].nonfinite == step.nonfinite


def test_parameters_that_are_frozen_thawed_shared_unused_or_not_held() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {name: nn.Linear(4, 4, bias=False) for name in ("frozen", "tied", "unused", "outside")}
    )
    model["again"] = model["tied"]
    model["frozen"].requires_grad_(False)
    held = [model["frozen"].weight, model["tied"].weight, model["unused"].weight]
    optimizer = torch.optim.SGD(held, lr=0.1)
    with rv.watch(model, optimizer, every=1) as watch:
        for step in range(2):
            model["frozen"].requires_grad_(step == 1)
            x = torch.randn(2, 4)
            for name in ("frozen", "tied", "again", "outside"):
                x = model[name](x)
            x.square().sum().backward()
            exact = gradients(model)
            optimizer.step()
            model.zero_grad()
    first, second = (named(step) for step in watch.history.steps)
    assert list(first) == ["tied.weight", "unused.weight", "outside.weight"]
    assert first["unused.weight"].l2 is None
    assert first["outside.weight"].l2
    assert first["outside.weight"].update_ratio is None
    assert first["tied.weight"].update_ratio
    assert list(second) == ["frozen.weight", *first]
    assert second["frozen.weight"].l2 == pytest.approx(exact["frozen.weight"].norm().item())
    assert watch.history.steps[1].backwards == 1


def test_a_gradient_put_in_by_hand_is_what_the_optimizer_sees() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    (inputs, labels), *_ = batches(1)
    with rv.watch(model, optimizer, every=1) as watch:
        loss = nn.functional.cross_entropy(model(inputs), labels)
        found = torch.autograd.grad(loss, list(model.parameters()))
        for parameter, gradient in zip(model.parameters(), found, strict=True):
            parameter.grad = gradient
        optimizer.step()
    (step,) = watch.history.steps
    assert step.backwards == 0
    assert step.l2 == step.clipped_l2
    for p, gradient in zip(step.parameters, found, strict=True):
        assert p.l2 == pytest.approx(gradient.norm().item(), rel=1e-6)
        assert p.high == gradient.abs().max().item()


def test_sparse_and_complex_gradients() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(50, 4, sparse=True)
            self.phase = nn.Parameter(torch.ones(4, dtype=torch.complex64))

        def forward(self, ids: Tensor) -> Tensor:
            return (self.table(ids) * self.phase).abs().square().sum()

    model = Odd()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rv.watch(model, optimizer, every=1, cosine=True) as watch:
        for _ in range(2):
            model(torch.tensor([3, 3, 7])).backward()
            exact = {n: g.to_dense().norm().item() for n, g in gradients(model).items()}
            optimizer.step()
            optimizer.zero_grad()
    for name, p in named(watch.history.steps[1]).items():
        assert p.l2 == pytest.approx(exact[name], rel=1e-5)


# -- costs -----------------------------------------------------------------------------


class Waits(TorchDispatchMode):
    """Counts what makes an accelerator wait for the host."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "equal"):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def test_one_transfer_in_a_due_step_and_none_between(monkeypatch: pytest.MonkeyPatch) -> None:
    from resnet_viz.measuring.gradients import products
    from resnet_viz.watching import numbers

    real, sizes = numbers.to_host, []

    def counted(tensors: Any) -> list[float]:
        sizes.append(len(tensors))
        with _disable_current_modes():  # it reads element by element where a mode looks on
            return real(tensors)

    monkeypatch.setattr(numbers, "to_host", counted)
    # On the CPU alone, where nothing waits, it looks whether a square has left float32.
    monkeypatch.setattr(products, "reads_freely", lambda _: False)
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with Waits() as seen, rv.watch(model, optimizer, every=3, cosine=True) as watch:
        train(model, optimizer, 5, micro=2, after_step=lambda _, loss: watch.log(loss=loss))
    assert [step.step for step in watch.history.steps] == [0, 3]
    assert len(sizes) == 2
    assert seen.names == []


def test_a_rate_and_a_loss_on_the_device_come_with_the_rest() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=torch.tensor(0.125))
    with rv.watch(model, optimizer, every=1) as watch:
        train(model, optimizer, 1, after_step=lambda _, loss: watch.log(loss=loss))
        told = watch.history.steps[0]
    assert told.lr == 0.125
    assert told.loss is not None


def test_hooks_between_due_steps_do_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from resnet_viz.watching import watcher

    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rv.watch(model, optimizer, every=100) as watch:
        train(model, optimizer, 2)

        def busy(*_: object) -> None:
            raise AssertionError("measured between due steps")

        for name in ("count_in", "at_end_of_pass"):
            monkeypatch.setattr(watcher, name, busy)
        before = watch.history.overhead
        train(model, optimizer, 20)
        assert len(watch.history.steps) == 1
    assert before is not None


def test_patterns_bound_what_is_measured() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rv.watch(model, optimizer, every=1, include=("[04].*",), exclude=("*.bias",)) as watch:
        train(model, optimizer, 1)
    step = watch.history.steps[0]
    assert [p.name for p in step.parameters] == ["0.weight", "4.weight"]
    assert step.l2 == pytest.approx(math.hypot(*(p.l2 or 0 for p in step.parameters)))


# -- activations -----------------------------------------------------------------------


def test_one_pattern_may_stand_alone() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rv.watch(model, optimizer, every=1, include="4.*", exclude="*.bias") as watch:
        train(model, optimizer, 1)
    assert list(named(watch.history.steps[0])) == ["4.weight"]


def test_a_model_may_be_cast_in_the_middle() -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rv.watch(model, optimizer, every=1, cosine=True) as watch:
        train(model, optimizer, 2)
        model.double()
        train(model, optimizer, 2)
    cosines = [named(step)["4.weight"].cosine for step in watch.history.steps]
    assert [cosine is None for cosine in cosines] == [True, False, True, False]


def test_dead_and_saturated_are_counted_in_training_only() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True)
            self.tanh, self.sigmoid = nn.Tanh(), nn.Sigmoid()

        def forward(self, x: Tensor) -> Tensor:
            y = self.relu(self.conv(x))
            return self.sigmoid(6 * self.tanh(3 * y - 1))

    torch.manual_seed(0)
    model = Net()
    with torch.no_grad():
        model.conv.bias[:3] = torch.tensor([-50.0, -50.0, 0.0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(4, 1, 8, 8)
    with rv.watch(model, optimizer, every=1) as watch:
        model.eval()(x - 100)
        with torch.no_grad():
            model.train()(x - 100)
        out = model(x)
        out.mean().backward()
        optimizer.step()
    found = {a.name: a for a in watch.history.steps[0].activations}
    assert list(found) == ["relu", "tanh", "sigmoid"]
    assert found["relu"].dead == 0.5
    assert found["relu"].units == 4
    assert found["relu"].saturated is None
    exact = (out * (1 - out) < 0.05 * 0.25).double().mean().item()
    assert 0.1 < exact < 0.9
    assert found["sigmoid"].saturated == pytest.approx(exact)
    assert found["tanh"].dead is None


def test_a_compiled_model_is_watched_without_its_activations() -> None:
    model = torch.compile(small_net(), backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rv.watch(model, optimizer, every=1) as watch:
        train(model, optimizer, 2)
    history = watch.history
    assert history.model == "Sequential"
    assert next(p.name for p in history.steps[1].parameters) == "0.weight"
    assert history.steps[1].activations == ()
