"""The model, torch and the process are as they were, also after an exception."""

from __future__ import annotations

import copy
import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_globals

from resnet_viz.core.errors import TraceError
from resnet_viz.tracing.tracer import trace_model
from tests.tracing import models as zoo

MODES = ["meta", "fake", "real"]

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
)
_GLOBAL_HOOKS = [n for n in vars(module_globals) if n.startswith("_global_") and "hook" in n]


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Everything a run could change, by value and by identity."""
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        for key, value in vars(module).items():
            found[f"{path}:{key}"] = (id(value), _frozen(value))
    found["order"] = [(p, list(vars(m))) for p, m in model.named_modules()]
    for key, tensor in (*model.named_parameters(), *model.named_buffers()):
        found[f"tensor {key}"] = (
            id(tensor),
            tensor.data_ptr(),
            tensor.device,
            tensor.requires_grad,
            _bits(tensor),
            id(tensor.grad),
            None if tensor.grad is None else _bits(tensor.grad),
        )
    return found


def _bits(tensor: Tensor) -> int:
    return hash(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def _frozen(value: Any) -> Any:
    if isinstance(value, Tensor):
        return id(value), _bits(value)
    if isinstance(value, dict):
        return [(k, _frozen(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return [_frozen(v) for v in value]
    if isinstance(value, set):
        return sorted(map(repr, value))
    return value if isinstance(value, int) else id(value)


def world() -> dict[str, Any]:
    """What of torch and Python a run could leave behind."""
    return {
        "torch rng": torch.get_rng_state().tolist(),
        "python rng": random.getstate(),
        "hooks": {n: list(getattr(module_globals, n) or ()) for n in _GLOBAL_HOOKS},
        "grad": torch.is_grad_enabled(),
        "gc": gc.isenabled(),
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "device": torch.get_default_device(),
        "dtype": torch.get_default_dtype(),
        "modes": torch._C._len_torch_function_stack(),
        "dispatch": torch._C._len_torch_dispatch_stack(),
        "functions": [
            torch.conv2d, torch.Tensor.add_, torch.Tensor.__add__, nn.functional.linear,
            nn.functional.multi_head_attention_forward, nn.Module.__call__, torch.zeros,
        ],
    }  # fmt: skip


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Fails if anything differs at the end."""
    before, around = fingerprint(model), world()
    yield
    after = fingerprint(model)
    assert list(after) == list(before)
    assert {k: v for k, v in after.items() if v != before[k]} == {}
    assert world() == around


def prepared(training: bool) -> zoo.Caching:
    torch.manual_seed(3)
    model = zoo.Caching().train(training)
    model(torch.randn(5, 4)).sum().backward()
    model.drop.train(not training)  # a mode per module, not one for all
    model.linear.register_forward_hook(lambda *_: None)
    model.register_forward_pre_hook(lambda *_: None)
    model.linear.forward = model.linear.forward  # type: ignore[method-assign]
    model.linear.weight.requires_grad_(False)
    return model


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("training", [True, False, None])
def test_a_trace_leaves_the_model_as_it_came(mode: Any, training: bool | None) -> None:
    model, x = prepared(training=True), torch.randn(3, 4)
    # Batches of 3 are new to it: a new entry for every cache.
    with untouched(model):
        trace_model(model, (x,), modes=(mode,), training=training)


@pytest.mark.parametrize("mode", MODES)
def test_also_after_an_exception_half_way(mode: Any) -> None:
    model, x = prepared(training=True), torch.randn(3, 4)
    model.fail = True
    with untouched(model), pytest.raises(TraceError, match="half-way"):
        trace_model(model, (x,), modes=(mode,))


@pytest.mark.parametrize("mode", MODES)
def test_also_after_ctrl_c(mode: Any) -> None:
    class Interrupted(zoo.Caching):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise KeyboardInterrupt

    model, x = Interrupted(), torch.randn(3, 4)
    with untouched(model), pytest.raises(KeyboardInterrupt):
        trace_model(model, (x,), modes=(mode,))


@pytest.mark.parametrize("mode", MODES)
def test_the_next_forward_gives_the_same_numbers(mode: Any) -> None:
    model, x = prepared(training=True), torch.randn(3, 4)
    other = copy.deepcopy(model)
    state = torch.get_rng_state()
    expected = [other(x) for _ in range(2)]
    torch.set_rng_state(state)
    trace_model(model, (x,), modes=(mode,))
    found = [model(x) for _ in range(2)]
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(model.norm.running_mean, other.norm.running_mean)
    assert model.steps == other.steps


@pytest.mark.parametrize("mode", MODES)
def test_the_rng_does_not_move(mode: Any) -> None:
    class Random(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x * random.random() * float(np.random.rand())
            return x + torch.rand(4) + torch.randn_like(x)

    torch.manual_seed(0)
    model = Random()
    state = np.random.get_state()[1].tolist()
    with untouched(model):
        trace_model(model, (torch.ones(2, 4),), modes=(mode,))
    assert np.random.get_state()[1].tolist() == state


@pytest.mark.parametrize("mode", MODES)
def test_the_input_is_not_written(mode: Any) -> None:
    class Writer(nn.Module):
        def forward(self, x: Tensor, more: dict[str, Tensor]) -> Tensor:
            more["added"] = x
            return x.mul_(0).add_(more["y"].zero_())

    x, more = torch.ones(3), {"y": torch.ones(3)}
    trace_model(Writer(), (x, more), modes=(mode,))
    assert torch.equal(x, torch.ones(3))
    assert list(more) == ["y"]
    assert torch.equal(more["y"], torch.ones(3))


def test_a_backward_that_waits_still_runs() -> None:
    model = zoo.Residual().train()
    model(torch.randn(2, 4, 8, 8)).sum().backward()
    expected = model.first.weight.grad.clone()  # type: ignore[union-attr]
    model.zero_grad()
    torch.manual_seed(0)
    x = torch.randn(2, 4, 8, 8)
    loss = model(x).sum()
    for mode in MODES:
        trace_model(model, (x,), modes=(mode,))  # type: ignore[arg-type]
    loss.backward()
    assert model.first.weight.grad is not None
    assert model.first.weight.grad.shape == expected.shape


def test_gc_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        trace_model(nn.Linear(2, 2), (torch.ones(1, 2),))
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_users_hooks_see_the_traced_forward_once_and_stay() -> None:
    seen: list[str] = []
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    handle = model[0].register_forward_hook(lambda *_: seen.append("hook"))
    trace_model(model, (torch.ones(1, 2),))
    assert seen == ["hook"]
    handle.remove()
    assert not model[0]._forward_hooks


def test_swapped_forward_attributes_run_and_stay() -> None:
    model = nn.Linear(2, 2)
    original = model.forward
    model.forward = lambda x: torch.relu(original(x))  # type: ignore[method-assign]
    kept = model.forward
    graph = trace_model(model, (torch.ones(1, 2),))
    assert [op.kind for op in graph.ops] == ["linear", "relu"]
    assert model.forward is kept


def test_state_of_modules_that_nobody_registered() -> None:
    """A plain list of modules: ``modules()`` does not list them, the run reaches them."""

    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = [zoo.Caching().train()]

        def forward(self, x: Tensor) -> Tensor:
            return self.parts[0](x)

    for mode in MODES:
        model, x = Holder(), torch.randn(3, 4)
        with untouched(model), untouched(model.parts[0]):
            graph = trace_model(model, (x,), modes=(mode,))  # type: ignore[arg-type]
        assert "<Caching#0>" in {m.path for m in graph.modules}
