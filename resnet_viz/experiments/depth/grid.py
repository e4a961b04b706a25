"""What one worker process does for the depth experiment: a net, an optimizer, or a check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_viz.core.experiments.common import Check
from resnet_viz.core.experiments.depth import DepthRun, FirstSteps, NetKind
from resnet_viz.experiments.depth.checks import closed_forms
from resnet_viz.experiments.depth.first_steps import take_first_steps
from resnet_viz.experiments.depth.probing import probe
from resnet_viz.sources.datasets.images import Images


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """What all tasks share.

    Attributes:
        images: Where batches come from.
        batch_size: Samples of a batch.
        widths: Channels of the stages.
    """

    images: Images
    batch_size: int
    widths: tuple[int, ...]

    def batch(self, seed: int) -> tuple[Tensor, Tensor]:
        """The seed's choice of training samples, ready, with their labels."""
        train = self.images.train
        generator = torch.Generator().manual_seed(seed)
        at = torch.randperm(len(train), generator=generator, device="cpu")[: self.batch_size]
        return self.images.ready(train.pixels[at]), train.labels[at]


@dataclass(frozen=True, slots=True)
class ProbeTask:
    """One net at initialisation."""

    kind: NetKind
    depth: int
    seed: int

    def __str__(self) -> str:
        return f"{self.kind.label}, depth {self.depth}"

    @property
    def cost(self) -> int:
        """Roughly, in passes through layers."""
        return 3 * self.depth

    def run(self, setting: Setting) -> DepthRun:
        """What it measured."""
        inputs, labels = setting.batch(self.seed)
        return probe(
            self.kind,
            self.depth,
            widths=setting.widths,
            inputs=inputs,
            labels=labels,
            classes=setting.images.about.classes,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True)
class StepsTask:
    """One optimizer's first steps."""

    kind: NetKind
    depth: int
    optimizer: str
    seed: int
    steps: int

    def __str__(self) -> str:
        return f"{self.kind.label}, depth {self.depth}, {self.optimizer}"

    @property
    def cost(self) -> int:
        """Roughly, in passes through layers."""
        return self.depth * self.steps

    def run(self, setting: Setting) -> FirstSteps:
        """What it measured."""
        inputs, labels = setting.batch(self.seed)
        return take_first_steps(
            self.kind,
            self.depth,
            self.optimizer,
            widths=setting.widths,
            inputs=inputs,
            labels=labels,
            classes=setting.images.about.classes,
            seed=self.seed,
            steps=self.steps,
        )


@dataclass(frozen=True, slots=True)
class CheckTask:
    """One closed form, by its place in ``closed_forms``."""

    number: int
    seed: int

    def __str__(self) -> str:
        return closed_forms()[self.number].what

    @property
    def cost(self) -> int:
        """Roughly, in passes through layers."""
        return 500

    def run(self, setting: Setting) -> Check:
        """What it measured; it needs no images."""
        return closed_forms()[self.number].check(self.seed)


Task = ProbeTask | StepsTask | CheckTask


def run_task(
    setting: Setting, task: Task, tell: Callable[[int], None]
) -> DepthRun | FirstSteps | Check:
    """Does a task, and tells that one more is done."""
    found = task.run(setting)
    tell(1)
    return found
