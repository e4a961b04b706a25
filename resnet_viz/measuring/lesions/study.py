"""Lesions at test time: blocks deleted and permuted, as Veit et al. 2016 (1605.06431) did.

A residual net hardly notices one block less, a plain net falls to chance: the ways
through a residual net do not depend on each other.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_viz.core.errors import ModelError, NotApplicableError, UserError, one_line
from resnet_viz.core.experiments.lesions import Lesion, LesionStudy
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.device import model_device, placed, to_host
from resnet_viz.measuring.lesions.bypassing import Bypass
from resnet_viz.measuring.lesions.patients import Patient, examine
from resnet_viz.measuring.lesions.plans import draw_sets, kendall_tau
from resnet_viz.tracing.calls import CallObserver, state_names
from resnet_viz.tracing.failures import module_that_raised
from resnet_viz.tracing.module_tree import ModuleTree
from resnet_viz.tracing.pristine import pristine
from resnet_viz.tracing.trees import input_tensors, map_tensors, named_tensors, on_device
from resnet_viz.tracing.walk import Walk


def study_lesions(
    model: nn.Module,
    structure: Structure,
    data: Any,
    *,
    classes: int | None = None,
    counts: Sequence[int] = (2, 5, 10, 15),
    draws: int = 3,
    permutations: Sequence[float] = (0.95, 0.9, 0.8, 0.6),
    seed: int = 0,
    model_name: str = "",
    data_name: str = "",
    progress: Progress = SILENT,
) -> LesionStudy:
    """Loss and error with blocks deleted and permuted, in eval mode.

    Veit et al. 2016, section 4. Deleting a residual block leaves its shortcut,
    ``y = S(x)``, with its projection; what follows the join still follows. In a plain net
    a layer or block that keeps its input's shape becomes the identity. Batch-norm
    statistics are not estimated again. One forward over the data for each lesion.

    Args:
        model: Any classifier of ``(N, C)`` logits; left exactly as it came.
        structure: Of the same model, best traced in eval mode.
        data: ``(inputs, targets)``, or an iterable of such batches, which is kept in
            memory. Inputs are a tensor, a tuple (``*args``) or a dict (``**kwargs``);
            targets are class numbers ``(N,)``.
        classes: Number of classes; as many as there are logits if ``None``.
        counts: How many blocks to delete at once; drawn from those that keep their
            input's shape, and left out where there are not more than that.
        draws: How many random choices of each size and each tau.
        permutations: Kendall's tau of the orders to try. Blocks change places with
            blocks of equal shape in the same container; an order comes as near as it can.
        seed: Of the choices. Torch's generators are not touched.
        model_name: What to call the net; its class if empty.
        data_name: What the data are, in words.
        progress: Told of every lesion.

    Raises:
        UserError: If the data are no batches of inputs and class numbers.
        NotApplicableError: If the net gives no logits, has no values, or has no block
            that can be deleted.
        ModelError: If ``forward`` raises.
    """
    model = placed(model, None)
    batches = _batches(data, model_device(model))
    for count in (*counts, draws):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UserError(f"{count!r} is not a number of blocks or draws: give 1 or more")
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(stack.enter_context(pristine(model, values=True)).protecting())
        stack.enter_context(torch.no_grad())
        model.eval()
        ward = _Ward(model, batches)
        patient = examine(model, structure, ward.state, ward.inputs, ward.survey)
        known = ward.classes if classes is None else classes
        _check_classes(batches, ward.classes, known)
        plans = list(_plans(patient, counts, draws, permutations, random.Random(seed)))
        progress.start("deleting and permuting blocks", len(plans))
        loss, error = ward.score(patient.observer)
        lesions: list[Lesion] = []
        refused = list(patient.refused)
        for plan in plans:
            try:
                with plan.inflicted:
                    scores = ward.score(patient.observer)
            except ModelError as failure:
                # A net may rely on what a lesion took away; the others are still worth having.
                refused.append(f"{', '.join(plan.blocks)}: not {plan.kind}d, {failure}")
            else:
                lesions.append(plan.lesion(*scores))
            progress.advance()
        progress.finish()
    return LesionStudy(
        model=model_name or type(model).__name__,
        data=data_name,
        samples=sum(len(batch.targets) for batch in batches),
        classes=known,
        blocks=patient.names,
        changing=tuple(patient.names[n] for n in sorted(patient.changing)),
        loss=loss,
        error=error,
        lesions=tuple(lesions),
        left_out=tuple(refused),
        seed=seed,
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """One lesion before it is tried."""

    kind: Literal["delete", "permute"]
    blocks: tuple[str, ...]
    inflicted: AbstractContextManager[None]
    draw: int = 0
    tau: float | None = None

    def lesion(self, loss: float, error: float) -> Lesion:
        return Lesion(
            kind=self.kind,
            blocks=self.blocks,
            draw=self.draw,
            tau=self.tau,
            loss=loss,
            error=error,
        )


def _plans(
    patient: Patient,
    counts: Sequence[int],
    draws: int,
    permutations: Sequence[float],
    rng: random.Random,
) -> Iterator[_Plan]:
    names = patient.names
    sets: list[tuple[int, tuple[int, ...]]] = [(0, (n,)) for n in range(len(names))]
    keeping = [n for n in range(len(names)) if n not in patient.changing]
    for size in dict.fromkeys(counts):
        if 1 < size < len(keeping):
            sets += enumerate(draw_sets(keeping, size, draws, rng))
    for draw, chosen in sets:
        yield _Plan("delete", tuple(names[n] for n in chosen), patient.deleting(chosen), draw)
    arrangement = patient.arrangement
    tried: set[tuple[int, ...]] = set()
    for tau in permutations:
        for draw in range(draws):
            places = arrangement.places_near(tau, rng)
            order = arrangement.order(places)
            moved = tuple(names[b] for at, b in enumerate(order) if at != b)
            if tuple(places) in tried or not (moved or tau == 1):
                continue
            tried.add(tuple(places))
            yield _Plan("permute", moved, patient.permuting(places), draw, kendall_tau(order))


@dataclass(frozen=True, slots=True)
class _Batch:
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    targets: Tensor


def _batches(data: Any, device: torch.device) -> list[_Batch]:
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], Tensor):
        data = [data]
    if not isinstance(data, Iterable) or isinstance(data, Tensor | dict | str):
        raise UserError(
            f"data is a {type(data).__name__}: give (inputs, targets), or batches of such pairs"
        )
    found = [batch for batch in (_batch(item, device) for item in data) if len(batch.targets)]
    if not found:
        raise UserError("data holds no sample: give (inputs, targets), or batches of such pairs")
    return found


def _batch(item: Any, device: torch.device) -> _Batch:
    if not (isinstance(item, tuple | list) and len(item) == 2):
        raise UserError(
            f"a batch of data is a {type(item).__name__}: give a pair (inputs, targets)"
        )
    inputs, targets = item
    try:
        targets = torch.as_tensor(targets, device=device)
    except (TypeError, ValueError, RuntimeError):
        targets = None
    if targets is None or targets.ndim != 1 or targets.is_floating_point():
        raise UserError("targets are not class numbers (N,): give one whole number per sample")
    if isinstance(inputs, dict):
        given: tuple[tuple[Any, ...], dict[str, Any]] = (), inputs
    else:
        given = (inputs if isinstance(inputs, tuple) else (inputs,)), {}
    args, kwargs = on_device(given, device)
    return _Batch(args, kwargs, targets.long())


def _check_classes(batches: Sequence[_Batch], logits: int, classes: int) -> None:
    if not 2 <= classes <= logits:
        raise UserError(f"classes={classes} does not fit {logits} logits: give 2 to {logits}")
    numbers = torch.cat([batch.targets for batch in batches])
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= classes:
        raise UserError(
            f"targets run from {low} to {high}, and there are {classes} classes: "
            f"give numbers from 0 to {classes - 1}"
        )


class _Ward:
    """Where the net runs: every forward under an observer, on copies of the inputs.

    Attributes:
        state: See ``state_names``.
        inputs: The tensors of the first batch.
        classes: Number of logits; known after ``survey``.
    """

    def __init__(self, model: nn.Module, batches: Sequence[_Batch]) -> None:
        self._model = model
        self._batches = batches
        self._tree = ModuleTree(model)
        self.state = state_names(model, self._tree)
        first = batches[0]
        self.inputs = [t for _, t in input_tensors(model, first.args, first.kwargs)]
        self.classes = 0

    def survey(self, observer: CallObserver) -> None:
        """Runs the first batch."""
        self.classes = self._logits(self._batches[0], observer).shape[1]

    def score(self, observer: Bypass) -> tuple[float, float]:
        """Mean cross entropy, and the fraction of wrong answers."""
        sums: list[Tensor] = []
        for batch in self._batches:
            logits = self._logits(batch, observer)
            # The sum in float64: equal nets give equal numbers, however the data are cut.
            wide = logits.float() if logits.device.type == "mps" else logits.double()
            sums.append(F.cross_entropy(wide, batch.targets, reduction="sum"))
            sums.append((logits.argmax(1) != batch.targets).sum())
        values = to_host(sums)
        samples = sum(len(batch.targets) for batch in self._batches)
        return sum(values[::2]) / samples, sum(values[1::2]) / samples

    def _logits(self, batch: _Batch, observer: CallObserver) -> Tensor:
        # The net may write into its input.
        args, kwargs = map_tensors((batch.args, batch.kwargs), torch.clone)
        walk = Walk(self._model, observer, self._tree)
        if isinstance(observer, Bypass):
            observer.walk = walk
        try:
            with walk.watching():
                result = self._model(*args, **kwargs)
        except Exception as error:  # whatever the user's forward raises
            where = module_that_raised(error, self._model) or "the root module"
            raise ModelError(f"forward raised in {where}: {one_line(error)}") from error
        found = [
            (name, t)
            for name, t in named_tensors(result)
            if t.is_floating_point() and t.ndim == 2 and t.shape[1] > 1
        ]
        called = [t for name, t in found if name.rpartition(".")[2] == "logits"]
        logits = next(iter(called or [t for _, t in found]), None)
        if logits is None or len(logits) != len(batch.targets):
            raise NotApplicableError(
                "lesions need a classifier that gives logits (N, C), one row per sample: "
                + ("it gives none" if logits is None else f"it gives {len(logits)} rows")
                + f" for {len(batch.targets)} targets"
            )
        return logits
