"""Relevance over whole data sets: means and spread over the samples of all batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import UserError
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.relevance import Relevance
from resnet_viz.core.relevance_merging import merge_relevance
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.attributions.question import asking
from resnet_viz.measuring.attributions.relevance.measure import relevance_of
from resnet_viz.measuring.processes.distributed import measured_by_all

if TYPE_CHECKING:
    from resnet_viz.measuring.context import MeasureContext


def relevance_over(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    graph: ModelGraph,
    structure: Structure,
    options: AttributionOptions | None = None,
    labels: tuple[str, ...] = (),
    device: torch.device | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Relevance:
    """Relevance of all samples of some batches, each asked of its own first target.

    Args:
        model: Left as it came.
        batches: In turn; only one is held at a time.
        graph: Trace of the same model with arguments of the same form.
        structure: What was found in it.
        options: What is asked of attributions: target, baselines, steps.
        labels: Names of the classes, where they are known.
        device: Where to run; a copy is used if the model lives elsewhere.
        seed: Of whatever the model draws.
        progress: Told about every forward.

    Raises:
        UserError: If there is no batch, or a target or baseline does not fit one.
        NotApplicableError: If no gradient connects input and score.
        ModelError: If ``forward`` or ``backward`` raises.
    """
    found: Relevance | None = None
    progress.start("measuring the relevance of blocks over the data")
    try:
        for batch in batches:
            with asking(
                model,
                batch.args,
                batch.kwargs,
                graph=graph,
                structure=structure,
                options=options or AttributionOptions(),
                labels=labels,
                device=device,
                seed=seed,
                progress=progress,
            ) as questions:
                one = relevance_of(questions[0])
            found = one if found is None else merge_relevance((found, one))
    finally:
        progress.finish()
    if found is None:
        raise UserError("the data hold no batch: give at least one sample")
    return found


def relevance_of_data(context: MeasureContext, *, together: bool) -> Relevance:
    """The relevance of a context's batches.

    Args:
        context: Of this process.
        together: Whether every process of the group measures its part; all of them get the
            relevance of the whole then.

    Raises:
        UserError: If the processes do not measure the same, or one is gone.
    """

    def measure() -> Relevance:
        return relevance_over(
            context.model,
            context.batches(),
            graph=context.graph,
            structure=context.structure,
            options=context.attribution,
            labels=context.labels,
            device=context.device,
            seed=context.seed,
            progress=context.progress,
        )

    if not together:
        return measure()
    found = measured_by_all(measure)
    try:
        merged = merge_relevance(found)
    except ValueError as error:
        raise UserError(
            f"the processes did not measure the same: {error}; give every process the same model "
            "and the same options"
        ) from error
    return replace(merged, ranks=len(found))
