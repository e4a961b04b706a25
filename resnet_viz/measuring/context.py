"""What a measurement may know: one value, so that new ones need no new plumbing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from resnet_viz.core.batch import Batch
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.structure import Structure

if TYPE_CHECKING:
    import torch
    from torch import nn

    from resnet_viz.measuring.losses import LossFunction

DEFAULT_METHODS = ("integrated_gradients", "saliency", "layer_grad_cam")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureContext:
    """Model, graph, structure, data, loss and device of a run.

    Attributes:
        model: Left as it came.
        graph: Its trace.
        structure: What was found in the trace.
        batch: What gradient flow is measured on.
        samples: What attributions explain.
        loss_fn: ``loss_fn(outputs, targets)``, or ``None`` for the default rule.
        mode: Train or eval mode of gradient flow; the model's own if ``None``.
        target: What attributions explain: a class, or ``None`` for the strongest.
        methods: Names of attribution methods.
        layer: For methods that look at a layer: a module path, or ``auto``.
        n_steps: Steps of path methods.
        device: Where to run; ``None`` for where the model is.
        seed: Of everything random.
        note: What the reader of attributions must know first.
        progress: Who listens.
    """

    model: nn.Module
    graph: ModelGraph
    structure: Structure
    batch: Batch
    samples: Batch
    loss_fn: LossFunction | None = None
    mode: Literal["train", "eval"] | None = None
    target: int | str | None = None
    methods: tuple[str, ...] = DEFAULT_METHODS
    layer: str = "auto"
    n_steps: int = 50
    device: torch.device | None = None
    seed: int = 0
    note: str = ""
    progress: Progress = SILENT
