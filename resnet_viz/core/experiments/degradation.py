"""What training plain and residual nets of two depths showed."""

from __future__ import annotations

from dataclasses import dataclass, field

from resnet_viz.core.experiments.common import Check, LayerNorms, Result
from resnet_viz.core.experiments.lesions import LesionStudy
from resnet_viz.core.report import Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What the nets were trained on.

    Attributes:
        name: ``digits``, ``cifar10``, or the folder's name.
        source: Where it comes from, with its licence, in one line.
        shape: ``(C, H, W)`` of a sample.
        classes: Number of classes.
        train: Training samples.
        test: Test samples.
        augmentation: In words; empty for none.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    classes: int
    train: int
    test: int
    augmentation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How every net was trained: SGD with momentum.

    Attributes:
        epochs: Passes over the training samples.
        batch_size: Samples per step; a smaller rest is left out of the epoch.
        learning_rate: Its height after the warm-up.
        momentum: Of SGD.
        weight_decay: Of every parameter.
        warmup_steps: Steps over which the learning rate grows linearly.
        decay_at: Fractions of all steps after which it is divided by 10.
        widths: Channels of the three stages.
        seeds: One run of each net for each; it seeds weights and the order of samples.
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup_steps: int = 50
    decay_at: tuple[float, ...] = (0.75,)
    widths: tuple[int, ...] = (8, 16, 32)
    seeds: tuple[int, ...] = (0, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One pass over the training samples.

    Attributes:
        number: From 1 on.
        train_loss: Mean cross entropy while training (weights moving, batch statistics).
        train_error: Fraction of wrong answers, likewise.
        eval_train_loss: Mean cross entropy on the training samples after the epoch, in
            eval mode (running statistics).
        eval_train_error: Likewise.
        test_loss: On the test samples after the epoch, in eval mode.
        test_error: Likewise.
        learning_rate: At its end.
    """

    number: int
    train_loss: float
    train_error: float
    eval_train_loss: float
    eval_train_error: float
    test_loss: float
    test_error: float
    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedNet:
    """One net, trained from one seed.

    Attributes:
        variant: Such as ``plain56``; of depths that He et al. did not use it is no name
            that ``rv.build`` knows, but ``plain20`` with other ``blocks``.
        depth: Weighted layers.
        residual: Whether it has shortcuts (option A).
        seed: Of its weights and of the order of samples.
        params: Scalars.
        weights_digest: SHA-256 of the initial weights; a plain net and its residual twin of
            one seed have the same.
        gradients: Norms per layer at initialisation and after some epochs, each on one
            fixed batch in train mode.
        epochs: What happened.
        seconds: CPU time of its process, over all interruptions.
        lesions: Blocks deleted and permuted afterwards; ``None`` where not done.
    """

    variant: str
    depth: int
    residual: bool
    seed: int
    params: int
    weights_digest: str
    gradients: tuple[LayerNorms, ...]
    epochs: tuple[Epoch, ...]
    seconds: float
    lesions: LesionStudy | None = None

    @property
    def label(self) -> str:
        """``plain-56`` or ``residual-56``."""
        return f"{'residual' if self.residual else 'plain'}-{self.depth}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation(Result):
    """Plain and residual nets of several depths, trained alike (He et al. 2015, figure 6).

    Attributes:
        data: What they were trained on.
        training: How.
        nets: Every net of every seed, by depth, plain before residual, then by seed.
        checks: The order He et al. report, and the gradient at initialisation.
        provenance: Where it all comes from.
    """

    data: TrainingData
    training: Training
    nets: tuple[TrainedNet, ...]
    checks: tuple[Check, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    def runs(self, label: str) -> tuple[TrainedNet, ...]:
        """The nets called ``plain-56`` and the like, by seed."""
        return tuple(net for net in self.nets if net.label == label)

    @property
    def labels(self) -> tuple[str, ...]:
        """The kinds of net, in their order."""
        return tuple(dict.fromkeys(net.label for net in self.nets))
