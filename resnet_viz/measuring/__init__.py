"""Runs the model for real, on a device, and says what the run showed.

``MEASUREMENTS`` holds one function per section of a report. To add one, write
``(MeasureContext) -> value`` and put it here; raise ``NotApplicableError`` where the
model or the input does not allow it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resnet_viz.core.attribution import Attributions
    from resnet_viz.core.gradient_flow import GradientFlow
    from resnet_viz.core.paths import PathGradients
    from resnet_viz.core.propagation import SignalPropagation
    from resnet_viz.core.report import Measurement
    from resnet_viz.measuring.context import MeasureContext


def gradient_flow_of(context: MeasureContext) -> GradientFlow:
    """Gradient statistics, edge shares and the chain of the context's batches.

    Of several processes that measure one model, all batches of all of them.
    """
    from resnet_viz.analysis.chain import chain_of
    from resnet_viz.analysis.diagnose import notes_of
    from resnet_viz.analysis.skip_shares import skip_shares_of
    from resnet_viz.measuring.gradients.measure import measure_gradients
    from resnet_viz.measuring.processes.distributed import measure_together, measures_together
    from resnet_viz.measuring.processes.sharded import is_sharded

    sharded = is_sharded(context.model)
    together = measures_together(replicated=context.replicated, sharded=sharded)

    def measure() -> GradientFlow:
        return measure_gradients(
            context.model,
            context.batches(),
            graph=context.graph,
            loss_fn=context.loss_fn,
            mode=context.mode,
            device=context.device,
            seed=context.seed,
            stats=context.stats,
            autocast=context.autocast,
            optimizer=context.optimizer,
            averaged=context.replicated and together,
            progress=context.progress,
        )

    same = context.replicated or sharded
    flow = measure_together(measure, same_parameters=same) if together else measure()
    return replace(
        flow,
        chain=chain_of(context.graph, context.structure, flow),
        skip_shares=skip_shares_of(context.structure, flow),
        notes=(*flow.notes, *notes_of(context.graph, context.structure, (flow,))),
    )


def path_gradients_of(context: MeasureContext) -> PathGradients:
    """The gradient of the context's first batch by the length of its paths."""
    from resnet_viz.measuring.paths.measure import measure_paths

    return measure_paths(
        context.model,
        context.batch,
        graph=context.graph,
        structure=context.structure,
        loss_fn=context.loss_fn,
        mode=context.mode,
        device=context.device,
        seed=context.seed,
        draws=context.path_draws,
        lengths=context.sampled_lengths,
        chunk=context.chunk,
        progress=context.progress,
    )


def signal_propagation_of(context: MeasureContext) -> SignalPropagation:
    """Forward and backward signal propagation of the context's first batch."""
    from resnet_viz.measuring.propagation.measure import measure_propagation

    return measure_propagation(
        context.model,
        context.batch,
        graph=context.graph,
        structure=context.structure,
        loss_fn=context.loss_fn,
        mode=context.mode,
        device=context.device,
        seed=context.seed,
        probes=context.probes,
        steps=context.steps,
        samples=context.jacobian_samples,
        block_spectra=context.block_spectra,
        progress=context.progress,
    )


def attributions_of(context: MeasureContext) -> Attributions:
    """Attributions of the context's samples."""
    from resnet_viz.measuring.attributions.measure import attribute_inputs

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


MEASUREMENTS: dict[str, Callable[[MeasureContext], Measurement]] = {
    "gradient flow": gradient_flow_of,
    "path gradients": path_gradients_of,
    "signal propagation": signal_propagation_of,
    "attributions": attributions_of,
}
