"""The step an optimizer would take: a real one, on a copy.

The optimizer is copied with its state onto copies of its parameters, and the copy steps:
what the user holds is never written, whatever happens half-way. Hooks on the step and
what a learning rate scheduler puts around it stay with the original.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.core.errors import one_line
from resnet_viz.core.message import say
from resnet_viz.measuring.gradients.products import dot, flat


@dataclass(frozen=True, slots=True)
class Updates:
    """What a step would change.

    Attributes:
        squares: ‖w′ − w‖², by the ``id`` of the parameter.
        words: The optimizer in words; empty where there was no step.
        note: Why there was none.
    """

    squares: Mapping[int, Tensor] = field(default_factory=dict)
    words: str = ""
    note: str = ""


def measure_updates(
    optimizer: torch.optim.Optimizer, model: nn.Module, gradients: Mapping[int, Tensor]
) -> Updates:
    """‖w′ − w‖² of one real step from the optimizer's present state.

    Args:
        optimizer: Holds (some of) the model's parameters; left as it is.
        model: Whose parameters count.
        gradients: By the ``id`` of their parameter.
    """
    name = type(optimizer).__name__
    own = {id(p): p for group in optimizer.param_groups for p in group["params"]}
    held = [p for p in model.parameters() if id(p) in own]
    if not held:
        return Updates(
            note=say(
                "Update ratios are missing: the {optimizer} holds no parameter of the model that "
                "was measured (a copy of it where it was moved to another device).",
                optimizer=name,
            )
        )
    step = _plain_step(optimizer)
    if _needs_closure(step):
        return Updates(
            note=say(
                "Update ratios are missing: {optimizer} computes gradients in its step, with a "
                "closure that only the training loop has.",
                optimizer=name,
            )
        )
    stand_ins = {
        key: nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad)
        for key, p in own.items()
    }
    for key, stand_in in stand_ins.items():
        # A copy: optimizers may scale or clip what they are given.
        gradient = gradients.get(key)
        stand_in.grad = None if gradient is None else gradient.detach().clone()
    try:
        step(_copied(optimizer, stand_ins))
    except Exception as error:  # an optimizer may be anybody's
        return Updates(
            note=say(
                "Update ratios are missing: {optimizer}.step raised {error}.",
                optimizer=name,
                error=one_line(error),
            )
        )
    squares = {}
    for parameter in held:
        change = flat(stand_ins[id(parameter)].detach() - parameter.detach())
        squares[id(parameter)] = dot(change, change)
    return Updates(squares=squares, words=in_words(optimizer))


def _plain_step(optimizer: torch.optim.Optimizer) -> Callable[..., Any]:
    """The class's own step, without the hooks that torch puts around it."""
    step: Callable[..., Any] = type(optimizer).step
    is_hooked = getattr(step, "hooked", False)
    inner: Callable[..., Any] = getattr(step, "__wrapped__", step) if is_hooked else step
    return inner


def _needs_closure(step: Callable[..., Any]) -> bool:
    closure = inspect.signature(step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def _copied(
    optimizer: torch.optim.Optimizer, stand_ins: dict[int, nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimizer with its state, over the stand-ins."""
    memo: dict[int, Any] = dict(stand_ins)
    twin = copy.deepcopy(optimizer, memo)
    # torch's own copying drops what a subclass keeps besides state and groups.
    for name, value in vars(optimizer).items():
        if name not in vars(twin) and name not in ("step", "zero_grad"):
            setattr(twin, name, copy.deepcopy(value, memo))
    return twin


def in_words(optimizer: torch.optim.Optimizer) -> str:
    """``SGD(lr=0.1, momentum=0.9)``: the class, the rate, and what is not its default."""
    usual = inspect.signature(type(optimizer)).parameters
    shown = []
    for key in optimizer.defaults:
        if key not in usual and key != "lr":
            continue
        values = list(dict.fromkeys(_shown(group.get(key)) for group in optimizer.param_groups))
        default = usual[key].default if key in usual else inspect.Parameter.empty
        if key == "lr" or values != [_shown(default)]:
            shown.append(f"{key}={' and '.join(values)}")
    return f"{type(optimizer).__name__}({', '.join(shown)})"


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        value = value.item()
    return f"{value:g}" if isinstance(value, float) else str(value)
