"""Small nets and loops for the tests of ``rv.watch``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional


def small_net(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Two layers, a ReLU, batch norm and dropout: everything that could be disturbed.

    No bias before batch norm: its gradient is zero but for rounding.
    """
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)
    ).to(dtype)


def batches(count: int, dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    """Inputs ``(16, 6)`` and labels, the same each time."""
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(16, 6, generator=generator, dtype=dtype),
            torch.randint(3, (16,), generator=generator),
        )
        for _ in range(count)
    ]


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int = 3,
    *,
    clip: float = 0.0,
    micro: int = 1,
    scaler: torch.amp.GradScaler | None = None,
    set_to_none: bool = True,
    before_step: Callable[[int], None] = lambda step: None,
    after_step: Callable[[int, Tensor], None] = lambda step, loss: None,
) -> None:
    """A loop as people write it."""
    data: Iterable[tuple[Tensor, Tensor]] = batches(steps * micro)
    dtype = next(model.parameters()).dtype
    for i, (inputs, labels) in enumerate(data):
        loss = functional.cross_entropy(model(inputs.to(dtype)), labels) / micro
        (scaler.scale(loss) if scaler else loss).backward()
        if (i + 1) % micro:
            continue
        step = i // micro
        before_step(step)
        if scaler and clip:
            scaler.unscale_(optimizer)
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
        after_step(step, loss)
        optimizer.zero_grad(set_to_none=set_to_none)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the gradients that are there."""
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the parameters."""
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def assert_bare(model: nn.Module, *optimizers: torch.optim.Optimizer) -> None:
    """No hook is left, nor the place of one."""
    for parameter in model.parameters():
        assert parameter._post_accumulate_grad_hooks is None
        assert not parameter._backward_hooks
    for module in model.modules():
        assert not module._forward_hooks
    for optimizer in optimizers:
        assert not optimizer._optimizer_step_pre_hooks
        assert not optimizer._optimizer_step_post_hooks
