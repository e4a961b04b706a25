"""Runs the model for real, on a device, and says what the run showed.

``MEASUREMENTS`` holds one function per section of a report. To add one, write
``(MeasureContext) -> value`` and put it here; raise ``NotApplicableError`` where the
model or the input does not allow it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnet_viz.core.measurement import Attributions, GradientFlow
    from resnet_viz.measuring.context import MeasureContext


def gradient_flow_of(context: MeasureContext) -> GradientFlow:
    """Gradient statistics and edge shares of the context's batch."""
    from resnet_viz.measuring.gradients import measure_gradients

    batch = context.batch
    context.progress.start("measuring gradient flow")
    return measure_gradients(
        context.model,
        batch.args,
        batch.kwargs,
        graph=context.graph,
        targets=batch.targets,
        loss_fn=context.loss_fn,
        mode=context.mode,
        device=context.device,
        data=batch.words,
        seed=context.seed,
        input_was_given=batch.was_given,
    )


def attributions_of(context: MeasureContext) -> Attributions:
    """Attributions of the context's samples."""
    from resnet_viz.measuring.attributions import attribute_inputs

    samples = context.samples
    return attribute_inputs(
        context.model,
        samples.args,
        samples.kwargs,
        graph=context.graph,
        structure=context.structure,
        target=context.target,
        methods=context.methods,
        layer=context.layer,
        n_steps=context.n_steps,
        pictures=samples.pictures,
        device=context.device,
        progress=context.progress,
        note=context.note,
        seed=context.seed,
    )


MEASUREMENTS: dict[str, Callable[[MeasureContext], GradientFlow | Attributions]] = {
    "gradient flow": gradient_flow_of,
    "attributions": attributions_of,
}
