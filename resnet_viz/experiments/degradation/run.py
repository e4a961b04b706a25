"""Plain and residual nets of two depths, trained alike (He et al. 2015, section 4.2)."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_viz.core.errors import UserError, listed
from resnet_viz.core.experiments.degradation import Degradation, TrainedNet, Training
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.version import __version__

if TYPE_CHECKING:
    from resnet_viz.experiments.degradation.training import NetTask
    from resnet_viz.sources.datasets.images import Images

KINDS = ("plain", "residual")
HE_2015 = Training(
    epochs=164,
    batch_size=128,
    learning_rate=0.1,
    warmup_steps=0,
    decay_at=(0.5, 0.75),
    widths=(16, 32, 64),
)
"""The recipe of He et al. 2015, section 4.2: 64,000 steps on the 50,000 images of CIFAR-10."""
RECIPES = {"digits": Training(), "he2015": HE_2015}
"""By the names that the command line has for them."""
QUICK_EPOCHS = 10


def run_degradation(
    *,
    depths: Sequence[int] = (20, 56),
    kinds: Sequence[str] = KINDS,
    data: str | Path = "digits",
    data_dir: str | Path | None = None,
    image_size: int | None = None,
    download: bool = False,
    training: Training = Training(),  # noqa: B008 (frozen)
    quick: bool = False,
    workers: int = 2,
    folder: str | Path | None = None,
    lesions: bool = True,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> Degradation:
    """What became of nets of each kind and depth, from the same initial weights per seed.

    On the CPU equal arguments give equal values, but for ``seconds``. This process's
    threads, generators and devices are left alone: nets are trained in processes of
    their own, which are gone when this returns or raises.

    Args:
        depths: Weighted layers, each ``6n + 2``.
        kinds: ``plain``, ``residual`` or both.
        data: ``digits`` (ships with the package), ``cifar10``, ``cifar100``, ``mnist`` or
            ``fashion_mnist`` (read by torchvision), ``imagefolder`` or a folder of images.
        data_dir: Where the files of ``data`` lie.
        image_size: Side that images are resized to; as they are if ``None`` (a folder's: 32).
        download: Whether torchvision may fetch the data into ``data_dir``.
        training: How; the default takes the digits, ``HE_2015`` is the paper's for CIFAR.
        quick: One seed and ``QUICK_EPOCHS``, where ``training`` leaves them as the recipes
            have them: the order of the nets is there already, with less between them.
        workers: Processes with one thread each, on the CPU. Elsewhere there is one for
            each accelerator that was asked for.
        folder: Keeps what was done after every epoch, so that the same call goes on where
            it was interrupted; ``None`` writes nothing.
        lesions: Whether blocks of the first seed's nets are deleted and permuted (Veit et
            al. 2016).
        device: ``cpu``, ``cuda``, ``cuda:1``, ``auto``, …
        progress: Hears of each epoch of each net.

    Raises:
        UserError: For arguments that do not go together, data that cannot be read, a
            folder with other settings or in use, or a process that dies.
    """
    depths, kinds = _checked(depths, kinds, training, workers)
    if quick:
        training = _quickly(training)
    folder = None if folder is None else Path(folder).expanduser()
    progress.start("reading the data")
    from resnet_viz.sources.datasets.load import load_data

    images = load_data(data, data_dir, image_size=image_size, download=download)
    if training.batch_size > images.about.train:
        raise UserError(
            f"batches of {training.batch_size} are larger than {images.about.name} with "
            f"{images.about.train} training samples: give a smaller --batch-size"
        )
    devices = _devices(device, workers)
    done = _train_all(depths, kinds, images, training, folder, lesions, devices, progress)
    from resnet_viz.experiments.degradation.checks import check_nets
    from resnet_viz.experiments.provenance import ran_on

    progress.finish()
    return Degradation(
        data=images.about,
        training=training,
        nets=done,
        checks=check_nets(done),
        provenance=ran_on(
            model=", ".join(dict.fromkeys(net.label for net in done)),
            data=f"{images.about.name}, {images.about.train} samples",
            device=device if device != "auto" else devices[0].partition(":")[0],
            seed=training.seeds[0] if len(training.seeds) == 1 else None,
            weights="drawn at random, then trained here",
        ),
    )


def _quickly(training: Training) -> Training:
    usual = Training().seeds
    long = {recipe.epochs for recipe in RECIPES.values()}
    return replace(
        training,
        seeds=usual[:1] if training.seeds == usual else training.seeds,
        epochs=QUICK_EPOCHS if training.epochs in long else training.epochs,
    )


def _train_all(
    depths: Sequence[int],
    kinds: Sequence[str],
    images: Images,
    training: Training,
    folder: Path | None,
    lesions: bool,
    devices: Sequence[str],
    progress: Progress,
) -> tuple[TrainedNet, ...]:
    """Every net, by depth, plain before residual, then by seed."""
    from resnet_viz.experiments.degradation import resuming
    from resnet_viz.experiments.degradation.holding import held
    from resnet_viz.experiments.degradation.training import (
        NetTask,
        Setting,
        train_net,
        without_lesions,
    )
    from resnet_viz.experiments.workers import run_tasks

    tasks = [
        NetTask(
            depth=depth,
            residual=kind == "residual",
            seed=seed,
            lesions=lesions and seed == training.seeds[0],
        )
        for depth in depths
        for kind in kinds
        for seed in training.seeds
    ]
    # The longest first: then no process is left alone with one of them at the end.
    longest = sorted(tasks, key=lambda task: -task.depth)
    nets: dict[NetTask, TrainedNet] = {}
    with held(folder) if folder is not None else nullcontext():
        if folder is not None:
            resuming.open_folder(folder, _settings(images, training, devices))
            found = ((task, resuming.load_finished(folder, task)) for task in tasks)
            nets = {task: net for task, net in found if net is not None}
        missing = [task for task in longest if task not in nets]
        settings = [
            Setting(images=images, training=training, device=device, folder=folder)
            for device in devices
        ]
        parts = sum(training.epochs + task.lesions for task in tasks)
        progress.start(_label(tasks, training), parts)
        progress.advance(sum(training.epochs + task.lesions for task in nets))
        try:
            trained: list[TrainedNet] = run_tasks(train_net, settings, missing, progress.advance)
        finally:
            if folder is not None:
                resuming.remove_unfinished(folder)
    nets |= zip(missing, trained, strict=True)
    return tuple(nets[task] if task.lesions else without_lesions(nets[task]) for task in tasks)


def _label(tasks: Sequence[NetTask], training: Training) -> str:
    names = dict.fromkeys(str(task).partition(",")[0] for task in tasks)
    seeds = len(training.seeds)
    times = f" from {seeds} seeds" if seeds > 1 else ""
    epochs = f"{training.epochs} epoch{'s' if training.epochs > 1 else ''}"
    return f"training {listed(names)}{times}, {epochs} each"


def _checked(
    depths: Sequence[int], kinds: Sequence[str], training: Training, workers: int
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Depths rising and kinds in their order, each once."""
    wrong = [depth for depth in depths if depth < 8 or depth % 6 != 2]
    if wrong or not depths:
        raise UserError(
            f"depths {listed(wrong or ['none'])}: each is 6n + 2, such as 8, 20, 32, 56 or 110"
        )
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise UserError(f"kinds {listed(unknown or ['none'])}: give {' or '.join(KINDS)}, or both")
    if workers < 1:
        raise UserError(f"{workers} workers were given: give 1 or more")
    _check_training(training)
    return tuple(sorted(set(depths))), tuple(kind for kind in KINDS if kind in kinds)


def _check_training(training: Training) -> None:
    counts = {"epochs": training.epochs, "seeds": len(set(training.seeds))}
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{name} {count}: give 1 or more")
    if training.batch_size < 2:
        raise UserError(f"batches of {training.batch_size}: batch norm needs 2 or more samples")
    if len(training.widths) != 3 or min(training.widths) < 1:
        raise UserError(f"widths {training.widths}: give three, such as 8, 16 and 32")
    in_range = all(0 <= seed < 2**63 for seed in training.seeds)
    if len(set(training.seeds)) < len(training.seeds) or not in_range:
        raise UserError(f"seeds {listed(training.seeds)}: give each once, from 0 to 2^63 - 1")
    if not (math.isfinite(training.learning_rate) and training.learning_rate > 0):
        raise UserError(f"learning rate {training.learning_rate}: give a number above 0")
    if not 0 <= training.momentum < 1:
        raise UserError(f"momentum {training.momentum}: give a number from 0 to below 1")
    if not training.weight_decay >= 0:
        raise UserError(f"weight decay {training.weight_decay}: give 0 or more")
    if training.warmup_steps < 0:
        raise UserError(f"warm-up of {training.warmup_steps} steps: give 0 or more")
    if not all(0 < part < 1 for part in training.decay_at):
        raise UserError(f"decay at {listed(training.decay_at)}: give fractions between 0 and 1")


def _devices(wish: str, workers: int) -> tuple[str, ...]:
    """The device of each process: as many as workers on the CPU, one per accelerator else."""
    import torch

    from resnet_viz.measuring.device import pick_device

    device = pick_device(wish)
    if device.type == "cpu":
        return ("cpu",) * workers
    if ":" in wish:
        return (wish,)
    count = torch.accelerator.device_count()
    return tuple(f"{device.type}:{index}" if count > 1 else device.type for index in range(count))


def _settings(images: Images, training: Training, devices: Sequence[str]) -> dict[str, Any]:
    """All that a net's numbers depend on, as JSON holds it."""
    import torch

    how = dataclasses.asdict(training)
    del how["seeds"]
    processor = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    on = devices[0].partition(":")[0]
    settings = {
        "resnet-viz": __version__,
        "torch": torch.__version__,
        "device": processor if on == "cpu" else on,
        "data": images.about.name,
        "samples": images.digest(),
        "normalised by": (images.mean, images.std),
        **how,
    }
    whole: dict[str, Any] = json.loads(json.dumps(settings))
    return whole
