"""How the gradient changes with depth: vanishing, exploding, and what shortcuts make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from resnet_viz.core.errors import UserError, listed
from resnet_viz.core.experiments.common import Check
from resnet_viz.core.experiments.depth import DepthRun, DepthStudy, FirstSteps, NetKind
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.units import count
from resnet_viz.sources.family.net_config import check_known
from resnet_viz.sources.family.parts import ACTIVATIONS, INITS, NORMS

if TYPE_CHECKING:
    from resnet_viz.experiments.depth.grid import Task

OPTIMIZERS = ("sgd", "momentum", "adam")
_QUICK_DEPTHS = (8, 20, 56)
_STEP_DEPTHS = (20, 56)
_TELLING = (
    NetKind(activation="sigmoid", init="xavier", norm="none", residual=False),
    NetKind(activation="sigmoid", init="xavier", norm="none", residual=True),
    NetKind(activation="relu", init="he", norm="none", residual=False),
    NetKind(activation="relu", init="he", norm="batch", residual=False),
    NetKind(activation="relu", init="he", norm="batch", residual=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    depths: tuple[int, ...]
    kinds: tuple[NetKind, ...]
    seeds: tuple[int, ...]
    step_depths: tuple[int, ...]

    def stepped(self) -> tuple[NetKind, ...]:
        """The kinds whose first steps tell most, of those that were asked for."""
        return tuple(kind for kind in _TELLING if kind in self.kinds) or self.kinds[:2]


def run_depth(
    *,
    depths: Sequence[int] = (8, 14, 20, 32, 44, 56, 110),
    activations: Sequence[str] = ("sigmoid", "tanh", "relu"),
    inits: Sequence[str] = ("he", "xavier", "orthogonal", "normal"),
    norms: Sequence[str] = ("none", "batch"),
    residual: Sequence[bool] = (False, True),
    widths: Sequence[int] = (8, 16, 32),
    batch_size: int = 64,
    seeds: Sequence[int] = (0,),
    optimizers: Sequence[str] = OPTIMIZERS,
    steps: int = 20,
    quick: bool = False,
    workers: int = 2,
    progress: Progress = SILENT,
) -> DepthStudy:
    """The gradient's way back through nets of every kind and depth, beside the closed forms.

    Each net sees one batch of the digits, in train mode, at initialisation. Besides, the
    closed forms are held against wide fully connected layers, and optimizers take their
    first steps on a few telling kinds. Equal arguments give equal values. This process's
    threads and generators are left alone: the work is done in processes of their own.

    Args:
        depths: Weighted layers, each ``6n + 2`` with three stages.
        activations: Of the family's.
        inits: Of the family's that need no scaffold.
        norms: ``none`` and ``batch`` have a theory; ``group`` and ``layer`` are measured.
        residual: With and without shortcuts (option A, which has no weights).
        widths: Channels of the stages.
        batch_size: Samples of the batch.
        seeds: Of weights and batch; one run of each net for each.
        optimizers: ``sgd``, ``momentum``, ``adam``.
        steps: That each of them takes; 0 leaves them out.
        quick: Depths 8, 20 and 56, two initialisations, one seed, first steps of the deepest
            alone; under a minute.
        workers: Processes with one thread each.
        progress: Hears of each net.

    Raises:
        UserError: For arguments that are not allowed, or a process that dies.
    """
    widths = _checked_widths(widths, residual)
    _check_counts(batch_size=batch_size, steps=steps, workers=workers)
    if quick:
        depths = [depth for depth in depths if depth in _QUICK_DEPTHS] or depths
        inits, seeds = inits[:2], seeds[:1]
    depths = _checked_depths(depths, 2 * len(widths))
    stepped = tuple(depth for depth in _STEP_DEPTHS if depth in depths) or depths[-1:]
    grid = _Grid(
        depths=depths,
        step_depths=stepped[-1:] if quick else stepped,
        kinds=_checked_kinds(activations, inits, norms, residual),
        seeds=_checked_seeds(seeds),
    )
    for optimizer in optimizers:
        check_known("optimizers", optimizer, OPTIMIZERS)
    progress.start("reading the data")
    from resnet_viz.experiments.depth.checks import closed_forms, grid_checks
    from resnet_viz.experiments.depth.grid import (
        CheckTask,
        ProbeTask,
        Setting,
        StepsTask,
        run_task,
    )
    from resnet_viz.experiments.provenance import ran_on
    from resnet_viz.experiments.workers import run_tasks
    from resnet_viz.sources.datasets.load import load_digits

    setting = Setting(images=load_digits(), batch_size=batch_size, widths=widths)
    if batch_size > setting.images.about.train:
        raise UserError(
            f"batches of {batch_size} are larger than the digits with "
            f"{setting.images.about.train} training samples: give a smaller batch size"
        )
    tasks: list[Task] = [
        *(ProbeTask(*of) for of in product(grid.kinds, grid.depths, grid.seeds)),
        *(
            StepsTask(kind, depth, optimizer, grid.seeds[0], steps)
            for depth in grid.step_depths
            for kind in grid.stepped()
            for optimizer in dict.fromkeys(optimizers)
            if steps
        ),
        *(CheckTask(number, grid.seeds[0]) for number in range(len(closed_forms()))),
    ]
    # The longest first: then no process is left alone with one of them at the end.
    order = sorted(range(len(tasks)), key=lambda number: -tasks[number].cost)
    progress.start(_label(grid), len(tasks))
    done = run_tasks(run_task, [setting] * workers, [tasks[n] for n in order], progress.advance)
    found = [result for _, result in sorted(zip(order, done, strict=True), key=lambda of: of[0])]
    runs = tuple(result for result in found if isinstance(result, DepthRun))
    progress.finish()
    about = setting.images.about
    data = f"{batch_size} digits of {about.shape[1]}×{about.shape[2]} pixels"
    return DepthStudy(
        depths=grid.depths,
        widths=widths,
        batch_size=batch_size,
        data=f"{data} ({about.source})",
        runs=runs,
        steps=tuple(result for result in found if isinstance(result, FirstSteps)),
        checks=(
            *(result for result in found if isinstance(result, Check)),
            *grid_checks(runs),
        ),
        provenance=ran_on(
            data=data,
            device="cpu",
            seed=grid.seeds[0] if len(grid.seeds) == 1 else None,
            model=f"{len(grid.kinds)} kinds of net, depths {listed(grid.depths)}",
        ),
    )


def _label(grid: _Grid) -> str:
    kinds, depths = count(len(grid.kinds), "kind"), count(len(grid.depths), "depth")
    return f"measuring {kinds} of net at {depths}"


def _checked_depths(depths: Sequence[int], per_block: int) -> tuple[int, ...]:
    wrong = [d for d in depths if isinstance(d, bool) or d < per_block + 2 or (d - 2) % per_block]
    if wrong or not depths:
        raise UserError(
            f"depths {listed(wrong or ['none'])}: each is {per_block}n + 2, "
            f"such as {per_block + 2} or {9 * per_block + 2}"
        )
    return tuple(sorted(set(depths)))


def _checked_kinds(
    activations: Sequence[str],
    inits: Sequence[str],
    norms: Sequence[str],
    residual: Sequence[bool],
) -> tuple[NetKind, ...]:
    # Scaffolds and standardised weights change what is multiplied, not how it begins.
    plain_inits = [name for name, init in INITS.items() if not init.scaffold]
    plain_norms = [name for name, norm in NORMS.items() if not norm.standardised]
    activations = [check_known("activations", value, ACTIVATIONS) for value in activations]
    inits = [check_known("inits", value, plain_inits) for value in inits]
    norms = [check_known("norms", value, plain_norms) for value in norms]
    if not (activations and inits and norms and residual):
        raise UserError("give at least one of each: activations, inits, norms and residual")
    kinds = (
        NetKind(activation=activation, init=init, norm=norm, residual=bool(skip))
        for activation, init, norm, skip in product(activations, inits, norms, residual)
    )
    return tuple(dict.fromkeys(kinds))


def _checked_widths(widths: Sequence[int], residual: Sequence[bool]) -> tuple[int, ...]:
    counts = all(isinstance(w, int) and not isinstance(w, bool) and w > 0 for w in widths)
    if not widths or not counts or (any(residual) and list(widths) != sorted(widths)):
        raise UserError(
            f"widths {listed(widths)}: give whole numbers that never fall, such as 8, 16 and 32"
        )
    return tuple(widths)


def _checked_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds {listed(seeds) or 'none'}: give each once, from 0 on")
    return tuple(seeds)


def _check_counts(*, batch_size: int, steps: int, workers: int) -> None:
    if batch_size < 2:
        raise UserError(f"batch size {batch_size}: batch norm needs 2 samples or more")
    if steps < 0:
        raise UserError(f"{steps} steps were given: give 0 or more")
    if workers < 1:
        raise UserError(f"{workers} workers were given: give 1 or more")
