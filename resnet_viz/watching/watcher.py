"""``watch``: hooks around a training loop that somebody else wrote.

A step that is due is measured at three moments. When a backward pass ends: the gradient
as it then stands, before any clipping. Right before ``optimizer.step``: what the
optimizer sees, and a copy of the weights. Right after it: what the step really changed.
Between due steps every hook returns at its first line.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from resnet_viz.core.errors import UserError, one_line
from resnet_viz.core.history import History, Step
from resnet_viz.measuring.device import model_device
from resnet_viz.watching.activity import activation_modules, count_in, is_cut_off
from resnet_viz.watching.hooking import (
    CopyableHook,
    at_end_of_pass,
    count_left_out,
    hook_gradient,
    running_backward,
)
from resnet_viz.watching.numbers import undisturbed
from resnet_viz.watching.recording import Recording
from resnet_viz.watching.sinks import Sink, SinkGiven, open_sinks
from resnet_viz.watching.stepper import Stepper, describe, named
from resnet_viz.watching.subject import chosen, owner_of_module, provenance_of, subject_of

KEPT = 10_000
"""Watched steps that stay in memory, the latest; sinks get all of them."""

_Steppers = tuple[Stepper, ...]


def watch(
    model: nn.Module,
    optimizer: Optimizer | Sequence[Optimizer] | Mapping[str, Optimizer],
    *,
    every: int = 100,
    sink: SinkGiven = None,
    scaler: Any = None,
    name: str = "",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    activations: bool = True,
    cosine: bool = False,
    first_step: int = 0,
) -> Watch:
    """Watches the gradient flow of a training, from now until ``close``.

        with rv.watch(model, optimizer, every=100, sink="runs/demo") as watch:
            for inputs, labels in loader:
                loss = criterion(model(inputs), labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                watch.log(loss=loss)

    Gradients are those of the end of the last backward pass before the step: all
    micro-batches added up, averaged by DDP, divided by the scale of ``scaler``, and not
    yet clipped. Updates are what ``optimizer.step`` really changed. Training goes on bit
    for bit as it would without. A gradient that never passes through ``.backward`` but is
    put into ``.grad`` by hand is measured as the optimizer sees it.

    Args:
        model: Whose parameters are watched, those that it has now; several nets go in a
            ``ModuleDict``. What ``torch.compile``, DDP or ``fully_shard`` made of a model
            will do.
        optimizer: One, several, or several by name. Each step measures the parameters of
            the optimizer that takes it; what no optimizer holds goes with the first.
        every: Of each optimizer, every so many steps one is watched, beginning with the
            first.
        sink: Where watched steps go: a folder (``resnet-viz gradflow FOLDER`` reads it),
            ``file.csv``, ``file.jsonl``, ``tensorboard:FOLDER``, a ``SummaryWriter``,
            anything that takes a ``Step``, or several of these. See ``sinks``.
        scaler: The ``GradScaler`` of the loop, where there is one; while watching it
            carries a ``step`` of its own that counts the steps it leaves out.
        name: What the model is called; its class where empty.
        include: Glob patterns of parameter names; all where empty.
        exclude: Glob patterns of names that are left out. Costs grow with what is left in.
        activations: Whether dead units and saturated outputs are counted, at modules such
            as ``nn.ReLU`` and ``nn.Tanh`` in training mode. Functional ones are not seen,
            nor is any in a compiled model, where a hook would break the graph.
        cosine: Whether to compare the gradient with that of the step before; keeps a copy
            of all gradients through one step out of ``every``.
        first_step: Steps done before, where a training is resumed; a sink then goes on
            with the file or folder it finds.

    Raises:
        UserError: If an optimizer holds none of the model's parameters, patterns leave
            nothing, or a sink cannot be written or already holds a run. In training: if
            the optimizer steps inside the backward pass, where there is no whole gradient.
    """
    return Watch(
        model,
        optimizer,
        every=every,
        sink=sink,
        scaler=scaler,
        name=name,
        include=include,
        exclude=exclude,
        activations=activations,
        cosine=cosine,
        first_step=first_step,
    )


class Watch:
    """A training under watch; see ``watch``. Close it, or leave its ``with`` block."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer] | Mapping[str, Optimizer],
        *,
        every: int,
        sink: SinkGiven,
        scaler: Any,
        name: str,
        include: Sequence[str],
        exclude: Sequence[str],
        activations: bool,
        cosine: bool,
        first_step: int,
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise UserError(f"every={every!r} was given: give a whole number of steps, 1 or more")
        if isinstance(first_step, bool) or not isinstance(first_step, int) or first_step < 0:
            raise UserError(f"first_step={first_step!r} was given: give the steps done before")
        if scaler is not None and not hasattr(scaler, "is_enabled"):
            raise UserError(f"scaler takes a GradScaler, not a {type(scaler).__name__}")
        subject = subject_of(model)
        self._parameters = chosen(subject.parameters, include, exclude)
        self._steppers: _Steppers = tuple(
            Stepper(one, label, every=every, cosine=cosine)
            for label, one in named(optimizer).items()
        )
        for stepper in self._steppers:
            if stepper.holds().isdisjoint(id(p) for p in subject.parameters.values()):
                raise UserError(
                    f"{describe(stepper.optimizer)} holds none of the model's parameters: "
                    "give the optimizer that trains this very model (was it copied since?)"
                )
        self._scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self._device_type = model_device(model).type
        self._header = History(
            model=name or subject.name,
            every=every,
            optimizers=tuple(describe(stepper.optimizer) for stepper in self._steppers),
            steps=(),
            complete=False,
            provenance=provenance_of(name or subject.name, str(model_device(model))),
        )
        self._steps: deque[Step] = deque(maxlen=KEPT)
        self._total = first_step
        self._pending: tuple[Stepper, Recording] | None = None
        self._told: Tensor | float | None = None
        self._has_backward = False
        self._passes: dict[int, list[str]] = {}
        self._owners: dict[str, _Steppers] = {}
        self._listed: dict[Stepper, dict[str, Tensor]] = {}
        self._hooked: set[str] = set()
        self._modules = activation_modules(subject.model) if activations else {}
        if subject.compiled:
            self._modules = {}
        self._cut_off = frozenset(p for p, module in self._modules.items() if is_cut_off(module))
        self._armed = True
        self._complete = self._closed = False
        self._spent = 0.0
        self._began = time.perf_counter()
        self._sinks: list[Sink] = open_sinks(sink, self._header, resume=first_step > 0)
        # From here on nothing of ours may stay behind.
        self._hooks = ExitStack()
        try:
            self._hook_all(subject.model)
        except BaseException:
            self._end(complete=False)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(complete=kind is None)

    def close(self) -> None:
        """Ends watching: the last step is read, sinks are closed and every hook is gone."""
        self._end(complete=True)

    def log(self, *, loss: Tensor | float) -> None:
        """Takes the loss, to be kept with a watched step; others cost nothing.

        After ``backward`` it belongs to the step that follows, after ``step`` to the step
        just done. A tensor stays on its device until the step is read.
        """
        if not (self._pending or self._has_backward):
            return
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                raise UserError(f"log(loss=) takes one number, not a {tuple(loss.shape)} tensor")
            # A copy: a loop may add to it, or a graph write over it.
            loss = loss.detach().reshape(()).clone()
        else:
            try:
                loss = float(loss)
            except (TypeError, ValueError) as error:
                raise UserError(f"log(loss=) takes one number, not {loss!r:.60}") from error
        if self._pending is None:
            self._told = loss
        else:
            self._pending[1].loss = loss
            self._read()

    @property
    def history(self) -> History:
        """What was watched until now, in memory: the latest 10,000 watched steps."""
        from resnet_viz.watching.reading import with_findings

        self._read()
        return with_findings(self._so_far(tuple(self._steps)))

    # -- hooks -------------------------------------------------------------------------

    def _hook_all(self, model: nn.Module) -> None:
        self._hooks.callback(self._clean)
        for stepper in self._steppers:
            optimizer = stepper.optimizer
            before = optimizer.register_step_pre_hook(partial(self._before_step, stepper))
            after = optimizer.register_step_post_hook(partial(self._after_step, stepper))
            self._hooks.callback(before.remove)
            self._hooks.callback(after.remove)
        for path, module in self._modules.items():
            owners = owner_of_module(model, path, self._steppers)
            hook = CopyableHook(partial(self._activated, path, owners))
            self._hooks.callback(module.register_forward_hook(hook).remove)
        if self._scaler is not None:
            self._hooks.callback(count_left_out(self._scaler, self._steppers))
        self._arm()

    def _arm(self) -> None:
        """Makes ready for a due step: who holds what, and hooks on what was frozen before."""
        self._armed = self._pending is not None or any(s.due for s in self._steppers)
        if not any(stepper.due for stepper in self._steppers):
            return
        held = [(stepper, stepper.holds()) for stepper in self._steppers]
        trained = {n: p for n, p in self._parameters.items() if p.requires_grad}
        self._owners = {
            name: tuple(s for s, ids in held if id(p) in ids) or self._steppers[:1]
            for name, p in trained.items()
        }
        self._listed = {
            s: {n: p for n, p in trained.items() if s in self._owners[n]} for s in self._steppers
        }
        for name, parameter in trained.items():
            if name not in self._hooked:
                self._hooked.add(name)
                self._hooks.callback(hook_gradient(parameter, partial(self._fired, name)))

    def _activated(
        self, path: str, owners: _Steppers, module: nn.Module, args: object, output: object
    ) -> None:
        if not self._armed or not module.training or not torch.is_grad_enabled():
            return
        self._read()
        if not any(stepper.due for stepper in owners):
            return
        began = time.perf_counter()
        found = count_in(module, output)
        if found is not None:
            for stepper in owners:
                if stepper.due:
                    stepper.activations.setdefault(path, []).append(found)
        self._spent += time.perf_counter() - began

    def _fired(self, name: str, parameter: Tensor) -> None:
        if not self._armed:
            return
        self._read()
        owners = [s for s in self._owners.get(name, ()) if s.due]
        if not owners:
            return
        self._has_backward = True
        for stepper in owners:
            stepper.count_addition(name, parameter)
        task = running_backward()
        if task not in self._passes:
            self._passes[task] = []
            if task < 0:
                # Not inside a backward: somebody else calls the hooks of a parameter.
                self._passes[task].append(name)
                self._pass_ended(task)
                return
            at_end_of_pass(partial(self._pass_ended, task))
        self._passes[task].append(name)

    def _pass_ended(self, task: int) -> None:
        names = self._passes.pop(task, ())
        began = time.perf_counter()
        scale = self._scale()
        with undisturbed(self._device_type):
            for stepper in self._steppers:
                if stepper.due:
                    mine = self._listed[stepper]
                    stepper.end_pass({n: mine[n] for n in names if n in mine}, scale)
        self._spent += time.perf_counter() - began

    def _before_step(
        self, stepper: Stepper, optimizer: Optimizer, args: object, kwargs: object
    ) -> None:
        if running_backward() >= 0:
            raise UserError(
                f"{describe(optimizer)} steps inside the backward pass, where there is no whole "
                "gradient to watch: step after backward, or train without watch"
            )
        self._read()
        began = time.perf_counter()
        with undisturbed(self._device_type):
            stepper.before_step(self._total, self._listed.get(stepper, {}))
        self._spent += time.perf_counter() - began

    def _after_step(
        self, stepper: Stepper, optimizer: Optimizer, args: object, kwargs: object
    ) -> None:
        began = time.perf_counter()
        with undisturbed(self._device_type):
            recording = stepper.after_step(self._listed.get(stepper, {}))
        self._total += 1
        if recording is not None:
            recording.loss, self._told = self._told, None
            seen = recording.activations
            recording.activations = {path: seen[path] for path in self._modules if path in seen}
            recording.cut_off = self._cut_off
            recording.seconds = time.perf_counter() - self._began
            self._pending = stepper, recording
        self._has_backward = False
        self._passes.clear()
        self._arm()
        self._spent += time.perf_counter() - began

    # -- reading -----------------------------------------------------------------------

    def _scale(self) -> Tensor | float:
        """The scale as it stands on the device: ``get_scale`` would wait for it."""
        if self._scaler is None:
            return 1.0
        scale = getattr(self._scaler, "_scale", None)
        return scale if isinstance(scale, Tensor) else float(self._scaler.get_scale())

    def _read(self) -> None:
        """Reads the last watched step, if it still is on the device, and writes it out."""
        if self._pending is None:
            return
        (stepper, recording), self._pending = self._pending, None
        began = time.perf_counter()
        with undisturbed(self._device_type):
            step = recording.read()
        if step is None:
            stepper.retry(recording.skipped + int(recording.skipped_on_device or 0) + 1)
        else:
            self._steps.append(step)
            for sink in tuple(self._sinks):
                self._write(sink, step)
        self._arm()
        self._spent += time.perf_counter() - began

    def _write(self, sink: Sink, step: Step) -> None:
        try:
            sink.write(step)
        except OSError as error:
            # A full disk is no reason to end a training of days.
            self._sinks.remove(sink)
            told = f"watch writes no more to {sink}: {one_line(error, 120)}"
            warnings.warn(told, RuntimeWarning, stacklevel=2)

    def _so_far(self, steps: tuple[Step, ...]) -> History:
        return replace(self._header, steps=steps, overhead=self._spent, complete=self._complete)

    def _end(self, *, complete: bool) -> None:
        """Everything back as it was, whatever goes wrong on the way."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as endings:
            for sink in self._sinks:
                endings.callback(self._close, sink)
            endings.callback(self._hooks.close)
            self._read()
            self._complete = complete

    def _close(self, sink: Sink) -> None:
        try:
            sink.close(self._so_far(()))
        except OSError as error:
            warnings.warn(f"watch cannot close {sink}: {one_line(error, 120)}", stacklevel=2)

    def _clean(self) -> None:
        self._armed = False
        self._passes.clear()
        self._listed, self._owners = {}, {}
