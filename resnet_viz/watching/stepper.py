"""One optimizer under watch: when its steps are due, and what is measured around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from resnet_viz.core.errors import UserError
from resnet_viz.watching.numbers import lengths
from resnet_viz.watching.recording import Pass, Recording, pass_of, sight_of, with_pass


class Stepper:
    """An optimizer, and what is known of its next step.

    Attributes:
        optimizer: Whose steps are watched.
        name: Empty where there is only one.
        count: Steps it has done.
        due: Whether the next one is watched.
        stepping: Whether a watched step is running.
        skipped: Steps that a GradScaler left out since the last watched one.
        activations: What activation modules showed since the last step, where it is due.
    """

    def __init__(self, optimizer: Optimizer, name: str, *, every: int, cosine: bool) -> None:
        self.optimizer = optimizer
        self.name = name
        self.count = 0
        self.due = True
        self.stepping = False
        self.skipped = 0
        self.activations: dict[str, list[tuple[Tensor, int]]] = {}
        self._every = every
        self._cosine = cosine
        self._passes: list[Pass] = []
        self._additions: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        self._previous: dict[str, Tensor] = {}
        self._inside = False
        self._evaluations = 0
        self._recording: Recording | None = None
        self._before: list[Tensor] = []
        self._skipped_on_device: Tensor | None = None

    def holds(self) -> set[int]:
        """``id`` of each parameter in its groups."""
        return {id(p) for group in self.optimizer.param_groups for p in group["params"]}

    # -- backward ----------------------------------------------------------------------

    def count_addition(self, name: str, parameter: Tensor) -> None:
        """Notes whether this backward added to a gradient that was there, or began anew.

        Adding in place raises a tensor's version by one; a new gradient starts at the
        same low version each time, one that was zeroed or clipped is further on.
        """
        if parameter.grad is not None:
            added = parameter.grad._version == self._versions.get(name, -2) + 1
            self._additions[name] = self._additions[name] + 1 if added else 1

    def end_pass(self, parameters: Mapping[str, Tensor], scale: Tensor | float) -> None:
        """Measures the gradients of the parameters that a backward pass has reached."""
        gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        if not gradients:
            return
        self._versions |= {name: gradient._version for name, gradient in gradients.items()}
        if self.stepping:
            # A closure: the gradient that counts is the one at the weights it began with.
            self._inside = True
            began_anew = all(self._additions.get(name, 1) == 1 for name in gradients)
            self._evaluations += began_anew
            if self._evaluations > 1:
                return
            if began_anew:
                self._passes = []
        made = pass_of(list(gradients), list(gradients.values()), scale)
        self._passes = with_pass(self._passes, made)

    def forget(self) -> None:
        """Drops what backward passes left: their step was left out."""
        self._passes = []
        self._additions, self._versions = {}, {}
        self.activations = {}

    # -- step --------------------------------------------------------------------------

    def before_step(self, step: int, parameters: Mapping[str, Tensor]) -> None:
        """Copies the weights and measures what the optimizer sees, where a step is due."""
        found_inf = getattr(self.optimizer, "found_inf", None)
        if not self.due:
            self._count_on_device(found_inf)
            return
        held = self.holds()
        moved = [(name, p) for name, p in parameters.items() if id(p) in held]
        rate = self.optimizer.param_groups[0].get("lr")
        self._recording = Recording(
            step=step,
            optimizer=self.name,
            names=tuple(parameters),
            shapes={name: p.shape for name, p in parameters.items()},
            passes=self._passes,
            backwards=0,
            held=tuple(name for name, _ in moved),
            weights=lengths(list(parameters.values())),
            lr=rate.clone() if isinstance(rate, Tensor) else rate,
            found_inf=found_inf.clone() if isinstance(found_inf, Tensor) else None,
        )
        self._before = [p.detach().clone() for _, p in moved]
        self.stepping, self._inside, self._evaluations = True, False, 0
        self._see(parameters)

    def after_step(self, parameters: Mapping[str, Tensor]) -> Recording | None:
        """What the step was, where it was due; the next one is another."""
        recording = self._recording
        if recording is not None:
            self._finish(recording, parameters)
        if self._cosine:
            is_next = self._is_due(self.count + 1)
            self._previous = _copies(parameters) if is_next else {}
        self.stepping, self._recording, self._before = False, None, []
        self.forget()
        self.count += 1
        self.due = self._is_due(self.count)
        return recording

    def retry(self, skipped: int) -> None:
        """The watched step was left out after all: the next one is due."""
        self.due = True
        self.skipped += skipped

    def _finish(self, recording: Recording, parameters: Mapping[str, Tensor]) -> None:
        if self._inside:
            recording.passes = self._passes
            if self._evaluations > 1:
                recording.sight = None
            else:
                self._see(parameters)
        recording.backwards = max(self._additions.values(), default=0)
        changed = [parameters[name].detach() for name in recording.held]
        if changed:
            torch._foreach_sub_(self._before, changed)
        recording.updates = lengths(self._before)
        recording.activations, self.activations = self.activations, {}
        recording.skipped, self.skipped = self.skipped, 0
        recording.skipped_on_device, self._skipped_on_device = self._skipped_on_device, None

    def _see(self, parameters: Mapping[str, Tensor]) -> None:
        assert self._recording is not None
        gradients = _gradients(parameters)
        divisor = getattr(self.optimizer, "grad_scale", None)
        self._recording.sight = sight_of(gradients, self._passes, self._previous, divisor)

    def _is_due(self, count: int) -> bool:
        return count % self._every == 0

    def _count_on_device(self, found_inf: object) -> None:
        if isinstance(found_inf, Tensor):
            before = self._skipped_on_device
            self._skipped_on_device = found_inf.clone() if before is None else before + found_inf


def _gradients(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: p.grad for name, p in parameters.items() if p.grad is not None}


def _copies(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradients, for the cosine to those of the next step."""
    return {name: g.detach().clone() for name, g in _gradients(parameters).items()}


def describe(optimizer: Optimizer) -> str:
    """Class and settings in words: ``SGD(lr=0.1, momentum=0.9)``; what is off is left out."""
    told = ", ".join(
        f"{name}={value!r}"
        for name, value in optimizer.defaults.items()
        if isinstance(value, int | float | tuple | str) and value is not False and value != 0
    )
    return f"{type(optimizer).__name__}({told})"


def innermost(optimizer: Any) -> Optimizer:
    """The torch optimizer inside Lightning's or Accelerate's.

    Its ``step`` is what moves the weights, whoever calls it.
    """
    inner = getattr(optimizer, "optimizer", None)
    while isinstance(inner, Optimizer) and inner is not optimizer:
        optimizer, inner = inner, getattr(inner, "optimizer", None)
    return optimizer  # type: ignore[no-any-return]


def named(optimizers: object) -> dict[str, Optimizer]:
    """The optimizers by name; the only one goes without.

    Args:
        optimizers: One, several, or several by name.

    Raises:
        UserError: If there is none, or one of them is no optimizer.
    """
    if isinstance(optimizers, Mapping):
        found = {str(name): innermost(one) for name, one in optimizers.items()}
    elif isinstance(optimizers, Iterable) and not isinstance(optimizers, str):
        several = [innermost(one) for one in optimizers]
        found = {f"{type(one).__name__}#{i}": one for i, one in enumerate(several)}
        if len(several) == 1:
            found = {"": several[0]}
    else:
        found = {"": innermost(optimizers)}
    if not found:
        raise UserError("watch was given no optimizer: give the one that trains the model")
    for one in found.values():
        if not isinstance(one, Optimizer):
            raise UserError(f"watch takes a torch optimizer, not a {type(one).__name__}")
    return found
