"""Gradient flow over a real training: what ``rv.watch`` wrote down, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field

from resnet_viz.core.experiments.common import Result
from resnet_viz.core.finding import Finding
from resnet_viz.core.report import Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedParameter:
    """One parameter at one step.

    Attributes:
        name: Its name in the model.
        l2: Norm of its gradient, unscaled and before clipping; ``None`` without gradient.
        rms: The same per element, ``l2 / sqrt(numel)``.
        high: Largest magnitude of the gradient.
        weight_l2: Norm of the parameter before the step.
        update_ratio: ‖w′ − w‖/‖w‖ of the step that was really taken; ``None`` where the
            optimizer does not hold it or the weight is zero.
        cosine: Between this step's gradient and the one before; ``None`` where not kept.
        axes: Number of axes of the parameter; 0 where not known.
    """

    name: str
    l2: float | None
    rms: float | None = None
    high: float | None = None
    weight_l2: float = 0.0
    update_ratio: float | None = None
    cosine: float | None = None
    axes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedActivation:
    """One activation function's module at one step; see ``forward_facts.Activity``."""

    name: str
    dead: float | None = None
    saturated: float | None = None
    units: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One watched optimizer step.

    Attributes:
        step: Optimizer steps done before, all optimizers together.
        optimizer: Which of several stepped; empty for one.
        loss: As the user told it; ``None`` otherwise.
        lr: Learning rate of the first parameter group.
        scale: What the loss was multiplied by (GradScaler); 1 without.
        backwards: Backward passes accumulated into this step; 0 where the gradient was put
            into ``.grad`` by hand.
        l2: Norm of the gradient of all its parameters together, before clipping.
        clipped_l2: The same as the optimizer saw it; equal to ``l2`` where nothing clipped.
        nonfinite: Parameters whose gradient held NaN or infinity.
        skipped: Steps that a GradScaler left out since the last watched one.
        parameters: Per parameter that is trained, in registration order.
        activations: Per activation module, in registration order.
        seconds: Wall time since watching began.
    """

    step: int
    optimizer: str = ""
    loss: float | None = None
    lr: float | None = None
    scale: float = 1.0
    backwards: int = 1
    l2: float
    clipped_l2: float
    nonfinite: tuple[str, ...] = ()
    skipped: int = 0
    parameters: tuple[WatchedParameter, ...]
    activations: tuple[WatchedActivation, ...] = ()
    seconds: float = 0.0

    def metrics(self) -> dict[str, float]:
        """Its numbers under the keys of MosaicML Composer's OptimizerMonitor, for loggers.

        ``l2_norm/grad/global``, ``l2_norm/grad/NAME``, ``l2_norm/param/NAME`` and
        ``l2_norm_ratio/update_param/NAME``; where Composer has none ``loss``, ``lr``,
        ``l2_norm/clipped_grad/global``, ``cosine/previous_grad/NAME``, ``dead/MODULE`` and
        ``saturated/MODULE``. With several optimizers what is of a whole step ends in the
        optimizer's name.
        """
        whole = {
            "loss": self.loss,
            "lr": self.lr,
            "l2_norm/grad/global": self.l2,
            "l2_norm/clipped_grad/global": self.clipped_l2,
        }
        end = f"/{self.optimizer}" if self.optimizer else ""
        found = {f"{key}{end}": value for key, value in whole.items()}
        for p in self.parameters:
            found[f"l2_norm/grad/{p.name}"] = p.l2
            found[f"l2_norm/param/{p.name}"] = p.weight_l2
            found[f"l2_norm_ratio/update_param/{p.name}"] = p.update_ratio
            found[f"cosine/previous_grad/{p.name}"] = p.cosine
        for a in self.activations:
            found[f"dead/{a.name}"] = a.dead
            found[f"saturated/{a.name}"] = a.saturated
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinding:
    """A finding, and the watched steps at which it held: first, last and how many."""

    finding: Finding
    first: int
    last: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History(Result):
    """A training as ``rv.watch`` saw it.

    Attributes:
        model: Name of the net.
        every: Steps between two watched ones.
        optimizers: Class and settings of each, in words.
        steps: The watched steps, in order.
        findings: What they mean, over time.
        overhead: Seconds that watching took on the host, waiting for the device included;
            ``None`` where not known.
        complete: Whether watching ended in order; false where a run was cut off.
        provenance: Where it all comes from.
    """

    model: str
    every: int
    optimizers: tuple[str, ...]
    steps: tuple[Step, ...]
    findings: tuple[StepFinding, ...] = ()
    overhead: float | None = None
    complete: bool = True
    provenance: Provenance = field(default_factory=Provenance)
