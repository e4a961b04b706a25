"""The time of each call of the model's own forward, on its own tensors.

Nothing is replayed: the model runs as it does, and each call is timed where it is made. So
caches, memory layouts and allocations are those of a real forward, and a call that is fast
only because its input is still in the cache is fast here, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from statistics import median, quantiles
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import InputError, ModelError, NotApplicableError, UserError, one_line
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.core.op_times import OpTime, OpTimes
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.measuring.device import model_device, placed
from resnet_viz.measuring.one_pass import AUTOCAST
from resnet_viz.measuring.timing.stopwatch import Stopwatch, stopwatch_for
from resnet_viz.tracing.calls import CallObserver, state_names
from resnet_viz.tracing.failures import module_that_raised
from resnet_viz.tracing.hints import hint
from resnet_viz.tracing.pristine import pristine
from resnet_viz.tracing.trees import map_tensors, on_device
from resnet_viz.tracing.walk import Function, Walk

Span: TypeAlias = tuple[Any, Any]

LEAST, MOST = 3, 15
"""Repeats: at least, and at most where time is left."""
BUDGET = 2.0
"""Seconds; where these are spent, no further repeat begins."""


def measure_op_times(
    model: nn.Module,
    batch: Batch,
    *,
    graph: ModelGraph,
    device: torch.device | None = None,
    seed: int = 0,
    autocast: bool = False,
    mode: Literal["train", "eval"] = "eval",
    repeats: int | None = None,
    progress: Progress = SILENT,
) -> OpTimes:
    """Median seconds of every call of a forward, without gradients.

    Args:
        model: Left as it came: mode, parameters, buffers, caches, hooks, RNG.
        batch: What goes in: copies of it, as a forward may write into its input.
        graph: Its trace.
        device: Where to run; a copy is measured if the model lives elsewhere.
        seed: Of everything random in the forward; the same for every repeat.
        autocast: Whether to run under bfloat16 autocast.
        mode: Train or eval mode of the forward: the one that it was traced in.
        repeats: How many watched forwards, and as many bare ones; between ``LEAST`` and
            ``MOST``, as ``BUDGET`` allows, if ``None``.
        progress: Who listens.

    Raises:
        UserError: If ``repeats`` is no positive number; an ``InputError`` if ``forward``
            raises on an input that the user gave.
        ModelError: If ``forward`` raises otherwise.
        NotApplicableError: If the model has no values, or none of its calls was seen.
    """
    if repeats is not None and repeats < 1:
        raise UserError(f"repeats={repeats} was given: give 1 or more")
    model = placed(model, device)
    here = model_device(model)
    setting = _Setting(device=here, seed=seed, autocast=autocast, mode=mode)
    runs = _Runs(model, batch, setting)
    # The first of each pays for what is built once: kernels, algorithms, memory pools.
    warm = runs.watched()
    if not warm.spans:
        raise NotApplicableError("no call of this forward could be seen, so none can be timed")
    runs.bare()
    seen: list[_Pass] = []
    alone: list[Span] = []
    began = time.perf_counter()
    progress.start("timing", repeats)
    while not _is_enough(len(seen), time.perf_counter() - began, repeats):
        seen.append(runs.watched())
        alone.append(runs.bare())
        progress.advance()
    progress.finish()
    return _medians(graph, batch, setting, runs.stopwatch, seen, alone)


def _is_enough(done: int, spent: float, repeats: int | None) -> bool:
    if repeats is not None:
        return done >= repeats
    return done >= MOST or (done >= LEAST and spent > BUDGET)


class _Setting(NamedTuple):
    """How the model is run."""

    device: torch.device
    seed: int
    autocast: bool
    mode: Literal["train", "eval"]


class _Pass(NamedTuple):
    """What one watched forward left behind: marks, which are read when all is over."""

    spans: dict[OpId, Span]
    whole: Span


class _Runs:
    """Forwards of one model on one batch, each from the same state and seed."""

    def __init__(self, model: nn.Module, batch: Batch, setting: _Setting) -> None:
        full = batch.filled()
        self._model = model
        self._setting = setting
        self._given = on_device((full.args, full.kwargs), setting.device)
        self._error = InputError if batch.was_given else ModelError
        self._writes = True
        self.stopwatch = stopwatch_for(setting.device)

    def watched(self) -> _Pass:
        """One forward in which every call is timed."""
        with self._conditions() as kept:
            args, kwargs = self._copies()
            timer = _Timer(self._model, self.stopwatch, kept.protect)
            walk = Walk(self._model, timer)
            with walk.watching():
                whole = self._called(args, kwargs)
            self._writes = kept.has_saved_parameters
        return _Pass(timer.spans, whole)

    def bare(self) -> Span:
        """One forward that nobody watches, except where it writes its own parameters."""
        with self._conditions() as kept:
            args, kwargs = self._copies()
            with kept.protecting() if self._writes else nullcontext():
                return self._called(args, kwargs)

    def _called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span:
        start = self.stopwatch.mark()
        try:
            self._model(*args, **kwargs)
        except Exception as error:  # whatever the user's forward raises
            where = module_that_raised(error, self._model) or "the root module"
            advice = f"; hint: {told}" if (told := hint(error)) else ""
            raise self._error(f"forward raised in {where}: {one_line(error)}{advice}") from error
        return start, self.stopwatch.mark()

    def _copies(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        copies: tuple[tuple[Any, ...], dict[str, Any]] = map_tensors(
            self._given, lambda tensor: tensor.detach().clone()
        )
        return copies

    @contextmanager
    def _conditions(self) -> Iterator[Any]:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(mode=False))
            kept = stack.enter_context(pristine(self._model, values=True))
            stack.enter_context(torch.no_grad())
            torch.manual_seed(self._setting.seed)
            self._model.train(self._setting.mode == "train")
            if self._setting.autocast:
                stack.enter_context(torch.autocast(self._setting.device.type, dtype=AUTOCAST))
            yield kept


class _Timer(CallObserver):
    """Sets a mark before and after every call."""

    def __init__(
        self,
        model: nn.Module,
        stopwatch: Stopwatch,
        before: Callable[[Function, tuple[Any, ...], dict[str, Any]], None],
    ) -> None:
        super().__init__(state_names(model))
        self._mark = stopwatch.mark
        self._before = before
        self._last: Span = (None, None)
        self.spans: dict[OpId, Span] = {}

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's result, between two marks."""
        self._before(func, args, kwargs)
        mark = self._mark
        start = mark()
        result = func(*args, **kwargs)
        self._last = start, mark()
        return result

    def record(
        self,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
        written: list[Tensor],
    ) -> None:
        """The marks were those of this op."""
        self.spans[walk.next_id(func)] = self._last


def _medians(
    graph: ModelGraph,
    batch: Batch,
    setting: _Setting,
    stopwatch: Stopwatch,
    seen: list[_Pass],
    alone: list[Span],
) -> OpTimes:
    """Everything is read at once, so that a device is waited for once."""
    keys = [(op, span) for one in seen for op, span in one.spans.items()]
    wholes = [one.whole for one in seen]
    numbers = stopwatch.seconds([*(span for _, span in keys), *wholes, *alone])
    found: dict[OpId, list[float]] = {}
    for (op, _), seconds in zip(keys, numbers, strict=False):
        found.setdefault(op, []).append(seconds)
    watched, bare = numbers[len(keys) : -len(alone)], numbers[-len(alone) :]
    return OpTimes(
        model=graph.name,
        mode=setting.mode,
        data=batch.words,
        device=str(setting.device),
        threads=torch.get_num_threads(),
        repeats=len(seen),
        forward=median(bare),
        watched=median(watched),
        ops=tuple(
            OpTime(op=op.id, seconds=median(found[op.id]), spread=_spread(found[op.id]))
            for op in graph.ops
            if op.id in found
        ),
        autocast=setting.autocast,
    )


def _spread(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    low, _, high = quantiles(values, n=4, method="inclusive")
    return high - low
