"""What a measurement may know: one value, so that new ones need no new plumbing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.batch import Batch
from resnet_viz.core.gradient_flow import Stats
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.structure import Structure

if TYPE_CHECKING:
    import torch
    from torch import nn

    from resnet_viz.measuring.losses import LossFunction


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureContext:
    """Model, graph, structure, data, loss and device of a run.

    Attributes:
        model: Left as it came.
        graph: Its trace.
        structure: What was found in the trace.
        batches: Makes the batches that gradients are measured on, in turn.
        samples: What attributions explain.
        data_given: Whether ``batches`` are of data that somebody gave, so that relevance is
            measured over all of them, not over ``samples``.
        loss_fn: ``loss_fn(outputs, targets)``, or ``None`` for the default rule.
        mode: Train or eval mode of gradient flow; the model's own if ``None``.
        stats: How much gradient flow measures.
        autocast: Whether forward and loss run under bfloat16 autocast.
        optimizer: Whose update ratios are measured: an optimizer that holds the model's
            parameters, or ``None``.
        replicated: Whether the model came in DDP, which averages parameter gradients.
        path_draws: Paths of each length that Veit's sampling draws; 0 for none.
        sampled_lengths: Which lengths it draws; all, or about 20 of them, if ``None``.
        chunk: Degrees of the path polynomial pulled back at a time; a default if ``None``.
        probes: Rademacher probes of the Jacobian's moments.
        steps: Lanczos steps to its extreme singular values.
        jacobian_samples: Samples whose Jacobian is looked at.
        block_spectra: Whether to look at each block's Jacobian, too.
        attribution: What is asked of attributions.
        labels: Names of the classes, where they are known.
        device: Where to run; ``None`` for where the model is.
        seed: Of everything random.
        note: What the reader of attributions must know first.
        progress: Who listens.
    """

    model: nn.Module
    graph: ModelGraph
    structure: Structure
    batches: Callable[[], Iterator[Batch]]
    samples: Batch
    data_given: bool = False
    loss_fn: LossFunction | None = None
    mode: Literal["train", "eval"] | None = None
    stats: Stats = "default"
    autocast: bool = False
    optimizer: torch.optim.Optimizer | None = None
    replicated: bool = False
    path_draws: int = 0
    sampled_lengths: tuple[int, ...] | None = None
    chunk: int | None = None
    probes: int = 8
    steps: int = 12
    jacobian_samples: int = 1
    block_spectra: bool = False
    attribution: AttributionOptions = field(default_factory=AttributionOptions)
    labels: tuple[str, ...] = ()
    device: torch.device | None = None
    seed: int = 0
    note: str = ""
    progress: Progress = SILENT

    @property
    def batch(self) -> Batch:
        """The first batch.

        Raises:
            UserError: If the data are empty.
        """
        from resnet_viz.core.errors import UserError

        for batch in self.batches():
            return batch
        raise UserError("the data hold no batch: give at least one pair (inputs, targets)")
