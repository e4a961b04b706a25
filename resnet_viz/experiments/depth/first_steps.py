"""What an optimizer makes of the gradient that initialisation left: the first steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_viz.core.experiments.depth import FirstSteps, NetKind
from resnet_viz.experiments.depth.probing import build_kind, norms_of
from resnet_viz.experiments.gradient_norms import weight_layers
from resnet_viz.measuring.device import to_host

LEARNING_RATES = {"sgd": 0.05, "momentum": 0.05, "adam": 1e-3}
"""Those of the degradation experiment and Adam's default."""

_MAKERS: dict[str, Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]] = {
    "sgd": lambda parameters, rate: torch.optim.SGD(parameters, rate),
    "momentum": lambda parameters, rate: torch.optim.SGD(parameters, rate, momentum=0.9),
    "adam": lambda parameters, rate: torch.optim.Adam(parameters, rate),
}


def take_first_steps(
    kind: NetKind,
    depth: int,
    optimizer: str,
    *,
    widths: tuple[int, ...],
    inputs: Tensor,
    labels: Tensor,
    classes: int,
    seed: int,
    steps: int,
) -> FirstSteps:
    """Trains on one batch again and again, and writes down how far every weight moves.

    The same batch at each step: then losses differ by nothing but the weights.

    Args:
        kind: What kind of net.
        depth: Weighted layers.
        optimizer: One of ``LEARNING_RATES``; otherwise as PyTorch has it.
        widths: Channels of the stages.
        inputs: ``(N, C, H, W)``.
        labels: ``(N,)``.
        classes: Logits.
        seed: Of the weights.
        steps: Optimizer steps, 1 or more.
    """
    model = build_kind(kind, depth, widths, inputs.shape[1], classes, seed)
    weights = weight_layers(model)
    rate = LEARNING_RATES[optimizer]
    stepper = _MAKERS[optimizer](model.parameters(), rate)
    losses: list[Tensor] = []
    updates: list[Tensor] = []
    gradients: list[Tensor] = []
    for _ in range(steps):
        stepper.zero_grad()
        loss = functional.cross_entropy(model(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach().double())
        gradients = gradients or [norms_of([_gradient(w) for w in weights.values()])]
        before = [weight.detach().clone() for weight in weights.values()]
        stepper.step()
        # The change that float32 kept, not the one that was asked for.
        moved = [now.detach() - then for now, then in zip(weights.values(), before, strict=True)]
        updates.append(norms_of(moved) / norms_of(before))
    with torch.no_grad():
        losses.append(functional.cross_entropy(model(inputs), labels).double())
    numbers = to_host([*losses, *gradients, *updates])
    count = len(weights)
    rows = [tuple(numbers[at : at + count]) for at in range(steps + 1, len(numbers), count)]
    return FirstSteps(
        kind=kind,
        depth=depth,
        optimizer=optimizer,
        learning_rate=rate,
        losses=tuple(numbers[: steps + 1]),
        layers=tuple(weights),
        updates=tuple(rows[1:]),
        gradients=rows[0],
        seed=seed,
    )


def _gradient(weight: nn.Parameter) -> Tensor:
    return weight.new_zeros(weight.shape) if weight.grad is None else weight.grad
