"""One net trained from one seed: what runs inside a worker process."""

from __future__ import annotations

import bisect
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from resnet_viz.core.errors import UserError
from resnet_viz.core.experiments.common import LayerNorms
from resnet_viz.core.experiments.degradation import Epoch, TrainedNet, Training
from resnet_viz.core.experiments.lesions import LesionStudy
from resnet_viz.experiments.degradation import resuming
from resnet_viz.experiments.degradation.sgd import Sgd
from resnet_viz.experiments.gradient_norms import gradient_norms
from resnet_viz.measuring.device import to_host
from resnet_viz.sources.datasets.images import Images, Samples, raw_bytes
from resnet_viz.sources.seeding import seeded
from resnet_viz.sources.variants import build

_EVALUATED_AT_ONCE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class NetTask:
    """One net to be trained.

    Attributes:
        depth: Weighted layers, ``6n + 2``.
        residual: With shortcuts of option A, or plain.
        seed: Of weights and of the order of samples.
        lesions: Whether its blocks are deleted and permuted afterwards.
    """

    depth: int
    residual: bool
    seed: int
    lesions: bool = False

    @property
    def variant(self) -> str:
        """``plain56`` or ``resnet56``."""
        return f"{'resnet' if self.residual else 'plain'}{self.depth}"

    def __str__(self) -> str:
        return f"{'residual' if self.residual else 'plain'}-{self.depth}, seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """What all nets of one experiment share.

    Attributes:
        images: What they learn.
        training: How.
        device: Where.
        folder: Where their progress is kept; ``None`` for nowhere.
    """

    images: Images
    training: Training
    device: str = "cpu"
    folder: Path | None = None


@dataclass(slots=True)
class Running:
    """A net in the middle of its training: all that a checkpoint must hold."""

    model: nn.Module
    optimizer: Sgd
    weights_digest: str
    gradients: list[LayerNorms] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0


def build_net(task: NetTask, images: Images, training: Training) -> nn.Module:
    """The net with its initial weights, on the CPU, in train mode.

    A plain net and its residual twin draw the same weights: option A has none of its own.
    """
    blocks = (task.depth - 2) // 6
    with seeded(task.seed):
        return build(
            "resnet20" if task.residual else "plain20",
            blocks=(blocks,) * 3,
            widths=training.widths,
            in_channels=images.about.shape[0],
            num_classes=images.about.classes,
        )


def digest_weights(model: nn.Module) -> str:
    """SHA-256 of every parameter, by name."""
    found = hashlib.sha256()
    for name, parameter in model.named_parameters():
        found.update(f"{name} {tuple(parameter.shape)}".encode())
        found.update(raw_bytes(parameter))
    return found.hexdigest()


def learning_rate(training: Training, step: int, steps: int) -> float:
    """The learning rate of a step, counted from 0, of so many: warm-up, then falls to a tenth."""
    warm = min(1.0, (step + 1) / training.warmup_steps) if training.warmup_steps else 1.0
    falls = bisect.bisect_right([part * steps for part in sorted(training.decay_at)], step)
    return float(training.learning_rate * warm * 0.1**falls)


def train_net(setting: Setting, task: NetTask, tell: Callable[[int], None]) -> TrainedNet:
    """The net after its training, or after what was left of it in the folder.

    Args:
        setting: What all nets share.
        task: Which net.
        tell: Hears of every epoch that is done, and of the lesions: so many at once.

    Raises:
        UserError: If memory runs out, or a checkpoint cannot be written or read.
    """
    try:
        return _train_net(setting, task, tell)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(_too_large(setting, task)) from error
    except RuntimeError as error:
        # The CPU allocator raises a bare RuntimeError.
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise UserError(_too_large(setting, task)) from error


def _train_net(setting: Setting, task: NetTask, tell: Callable[[int], None]) -> TrainedNet:
    began = time.process_time()
    training, images, device = setting.training, setting.images, torch.device(setting.device)
    train, test = images.train.to(device), images.test.to(device)
    net = _begin(setting, task, device)
    before = net.seconds
    measured = _measured_epochs(training.epochs)
    if net.epochs:
        tell(len(net.epochs))
    else:
        net.gradients.append(_gradients(net.model, images, train, training, 0))
    for number in range(len(net.epochs) + 1, training.epochs + 1):
        running, rate = _one_epoch(net, images, train, training, number, task.seed)
        loss, error = _evaluate(net.model, images, train)
        test_loss, test_error = _evaluate(net.model, images, test)
        net.epochs.append(
            Epoch(
                number=number,
                train_loss=running[0],
                train_error=running[1],
                eval_train_loss=loss,
                eval_train_error=error,
                test_loss=test_loss,
                test_error=test_error,
                learning_rate=rate,
            )
        )
        if number in measured:
            step = number * (len(train) // training.batch_size)
            net.gradients.append(_gradients(net.model, images, train, training, step))
        net.seconds = before + time.process_time() - began
        if setting.folder is not None:
            resuming.save_running(setting.folder, task, net)
        tell(1)
    studied = None
    if task.lesions:
        studied = _lesions(net.model, images, test, task)
        tell(1)
    done = TrainedNet(
        variant=task.variant,
        depth=task.depth,
        residual=task.residual,
        seed=task.seed,
        params=sum(parameter.numel() for parameter in net.model.parameters()),
        weights_digest=net.weights_digest,
        gradients=tuple(net.gradients),
        epochs=tuple(net.epochs),
        seconds=before + time.process_time() - began,
        lesions=studied,
    )
    if setting.folder is not None:
        resuming.save_finished(setting.folder, task, done)
    return done


def _begin(setting: Setting, task: NetTask, device: torch.device) -> Running:
    """The net at its last checkpoint, or at its beginning."""
    training = setting.training
    model = build_net(task, setting.images, training)
    digest = digest_weights(model)
    model.to(device)
    optimizer = Sgd(
        model.parameters(), momentum=training.momentum, weight_decay=training.weight_decay
    )
    net = Running(model=model, optimizer=optimizer, weights_digest=digest)
    if setting.folder is not None:
        resuming.restore_running(setting.folder, task, net)
    return net


def _one_epoch(
    net: Running, images: Images, train: Samples, training: Training, number: int, seed: int
) -> tuple[tuple[float, float], float]:
    """Running loss and error of one epoch, and the learning rate at its end."""
    # A generator for each epoch: a resumed run needs no state of an earlier one.
    generator = torch.Generator().manual_seed((1_000_003 * (seed + 1) + number) % 2**63)
    order = torch.randperm(len(train), generator=generator, device="cpu").to(train.labels.device)
    size = training.batch_size
    per_epoch = len(train) // size
    losses, wrong = [], []
    rate = 0.0
    net.model.train()
    for index in range(per_epoch):
        batch = order[index * size : (index + 1) * size]
        inputs = images.ready(train.pixels[batch])
        if images.augmented:
            inputs = images.augment(inputs, generator)
        labels = train.labels[batch]
        rate = learning_rate(
            training, (number - 1) * per_epoch + index, training.epochs * per_epoch
        )
        outputs = net.model(inputs)
        loss = functional.cross_entropy(outputs, labels)
        gradients = torch.autograd.grad(loss, net.optimizer.parameters)
        net.optimizer.step(gradients, rate)
        losses.append(loss.detach())
        wrong.append((outputs.detach().argmax(1) != labels).sum())
    # One transfer for the epoch, not two for each step.
    values = to_host([torch.stack(losses).sum(), torch.stack(wrong).sum()])
    return (values[0] / per_epoch, values[1] / (per_epoch * size)), rate


@torch.no_grad()
def _evaluate(model: nn.Module, images: Images, samples: Samples) -> tuple[float, float]:
    """Mean cross entropy and fraction of wrong answers in eval mode, without augmentation."""
    model.eval()
    losses, wrong = [], []
    for part in samples.parts(_EVALUATED_AT_ONCE):
        outputs = model(images.ready(part.pixels))
        losses.append(functional.cross_entropy(outputs, part.labels, reduction="sum"))
        wrong.append((outputs.argmax(1) != part.labels).sum())
    model.train()
    loss, errors = to_host([torch.stack(losses).sum(), torch.stack(wrong).sum()])
    return loss / len(samples), errors / len(samples)


def _measured_epochs(epochs: int) -> set[int]:
    """After which epochs gradients are measured: the first, each quarter, the last."""
    return {1, *(max(1, round(part * epochs / 4)) for part in (1, 2, 3, 4))}


def _gradients(
    model: nn.Module, images: Images, train: Samples, training: Training, step: int
) -> LayerNorms:
    """On the first samples of the training set, which are the same for every net."""
    inputs = images.ready(train.pixels[: training.batch_size])
    return gradient_norms(model, inputs, train.labels[: training.batch_size], step)


def _lesions(model: nn.Module, images: Images, test: Samples, task: NetTask) -> LesionStudy:
    from resnet_viz.analysis import annotate
    from resnet_viz.measuring.lesions.study import study_lesions
    from resnet_viz.tracing.tracer import trace_model

    model.eval()  # Structure and lesions are of the net as it answers.
    batches = [(images.ready(part.pixels), part.labels) for part in test.parts(_EVALUATED_AT_ONCE)]
    graph = trace_model(model, (batches[0][0],), {}, name=task.variant)
    return study_lesions(
        model,
        annotate(graph),
        batches,
        classes=images.about.classes,
        seed=task.seed,
        model_name=task.variant,
        data_name=f"{images.about.name}, {images.about.test} test samples",
    )


def _too_large(setting: Setting, task: NetTask) -> str:
    size = setting.training.batch_size
    return (
        f"{task}: memory ran out on {setting.device} with batches of {size}: "
        "give smaller batches, fewer workers or smaller images"
    )


def without_lesions(net: TrainedNet) -> TrainedNet:
    """The same net as if nobody had asked for lesions."""
    return net if net.lesions is None else replace(net, lesions=None)
