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
    from resnet_viz.core.op_times import OpTimes
    from resnet_viz.core.paths import PathGradients
    from resnet_viz.core.propagation import SignalPropagation
    from resnet_viz.core.relevance import Relevance
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
    """Attributions of the context's samples; of data that were given, relevance over them all.

    Of several processes that measure one model, relevance over the batches of all of them.
    """
    from resnet_viz.core.attribution import Attributions
    from resnet_viz.core.message import sentences
    from resnet_viz.measuring.attributions.measure import attribute_inputs
    from resnet_viz.measuring.processes.distributed import our_part

    samples, options = context.samples, context.attribution
    relevance, left_out = None, ""
    if context.data_given and options.relevance:
        # First: no process may wait for one that had nothing to attribute.
        relevance, left_out = _relevance_of_data(context)
        options = replace(options, relevance=False)
        if our_part()[0]:
            # One of several processes: the first one has the maps.
            return Attributions(pictures=(), maps=(), relevance=relevance)
    found = attribute_inputs(
        context.model,
        samples.args,
        samples.kwargs,
        graph=context.graph,
        structure=context.structure,
        options=options,
        labels=context.labels,
        pictures=samples.pictures,
        device=context.device,
        progress=context.progress,
        note=context.note,
        seed=context.seed,
    )
    if not context.data_given:
        return found
    note = sentences(found.note, left_out)
    return replace(found, relevance=relevance, note=note)


def _relevance_of_data(context: MeasureContext) -> tuple[Relevance | None, str]:
    """Relevance over all batches, or why there is none."""
    from resnet_viz.core.errors import NotApplicableError
    from resnet_viz.core.message import say
    from resnet_viz.measuring.attributions.relevance.datasets import relevance_of_data
    from resnet_viz.measuring.processes.distributed import measures_together
    from resnet_viz.measuring.processes.sharded import is_sharded

    sharded = is_sharded(context.model)
    together = measures_together(replicated=context.replicated, sharded=sharded)
    try:
        return relevance_of_data(context, together=together), ""
    except NotApplicableError as error:
        return None, say("The relevance of blocks is left out: {why}.", why=str(error))


def op_times_of(context: MeasureContext) -> OpTimes:
    """How long each call of a forward takes on the context's samples."""
    from resnet_viz.measuring.timing.measure import measure_op_times

    return measure_op_times(
        context.model,
        context.samples,
        graph=context.graph,
        device=context.device,
        seed=context.seed,
        autocast=context.autocast,
        progress=context.progress,
    )


MEASUREMENTS: dict[str, Callable[[MeasureContext], Measurement]] = {
    "gradient flow": gradient_flow_of,
    "path gradients": path_gradients_of,
    "signal propagation": signal_propagation_of,
    "attributions": attributions_of,
    "op times": op_times_of,
}
