"""Hooks that torch has no tidy way to put on, or to take off again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from resnet_viz.watching.stepper import Stepper


class CopyableHook:
    """A hook that a copy of its module does not take along.

    Loops copy and pickle models in the middle of training (moving averages, whole-model
    checkpoints); neither an open file nor a watch has a place there.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *args: object) -> None:
        """Calls what was hooked."""
        self._call(*args)

    def __deepcopy__(self, memo: object) -> Callable[..., None]:
        return do_nothing

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[()]]:
        return nothing_to_do, ()


def do_nothing(*_: object) -> None:
    """What is left of a hook in a copy."""


def nothing_to_do() -> Callable[..., None]:
    """What a pickled hook becomes."""
    return do_nothing


def running_backward() -> int:
    """Number of the backward pass that runs in this thread; -1 where none does."""
    return torch._C._current_graph_task_id()


def at_end_of_pass(callback: Callable[[], None]) -> None:
    """Calls back when the running backward pass has ended.

    What was queued during the pass comes first, such as DDP's averaging: hence queued
    twice, the second time from the queue itself.
    """
    engine: Any = torch.autograd.Variable._execution_engine
    engine.queue_callback(lambda: engine.queue_callback(callback))


def hook_gradient(parameter: Tensor, hook: Callable[[Tensor], None]) -> Callable[[], None]:
    """Calls ``hook`` after each backward pass that reaches the parameter.

    Returns:
        What undoes it: removing the hook alone leaves an empty dict on the parameter.
    """
    holder: Any = parameter
    had_none = holder._post_accumulate_grad_hooks is None
    handle = holder.register_post_accumulate_grad_hook(hook)

    def undo() -> None:
        handle.remove()
        if had_none and not holder._post_accumulate_grad_hooks:
            holder._post_accumulate_grad_hooks = None

    return undo


def count_left_out(scaler: Any, steppers: Sequence[Stepper]) -> Callable[[], None]:
    """Makes ``scaler.step`` count the steps that it leaves out; returns what undoes it.

    Nothing else tells: a step that is left out calls no hook.
    """
    plain = scaler.step
    had = vars(scaler).get("step")

    def step(optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        mine = [s for s in steppers if s.optimizer is optimizer]
        before = [s.count for s in mine]
        result = plain(optimizer, *args, **kwargs)
        for stepper, count in zip(mine, before, strict=True):
            if stepper.count == count:
                stepper.skipped += 1
                stepper.forget()
        return result

    scaler.step = step

    def undo() -> None:
        if vars(scaler).get("step") is not step:
            return  # somebody has put another one around it
        if had is None:
            del scaler.step
        else:
            scaler.step = had

    return undo
