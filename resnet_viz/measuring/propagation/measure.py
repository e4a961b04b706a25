"""Forward and backward signal propagation of one batch, and what Jacobians say beside it.

Three runs: one forward and backward in the mode asked for (the plots of Brock, De & Smith
2021, 2101.08692, and their backward counterparts), and two forwards in eval mode that are
kept open: the whole batch for shattered gradients, a few samples for spectra. Eval mode
means what the model does in eval mode: batch norm divides by its *running* deviation,
which in a fresh net is 1.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import nn

from resnet_viz.analysis.flow_graph import FlowGraph, flow_of
from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import NotApplicableError, UserError, listed
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.propagation import BlockSignal, LayerSignal, SignalPropagation
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.autograd_graph import NodeMap
from resnet_viz.measuring.device import model_device, placed, to_host
from resnet_viz.measuring.lesions.evaluating import evaluating
from resnet_viz.measuring.losses import LossFunction
from resnet_viz.measuring.one_pass import (
    Setting,
    check_inputs,
    conditions,
    hooked,
    run_backward,
    run_forward,
)
from resnet_viz.measuring.paths.running import towards_input
from resnet_viz.measuring.propagation.blocks import BlockPlan, SignalWatch, plan_blocks
from resnet_viz.measuring.propagation.eval_runs import EvalRuns
from resnet_viz.measuring.propagation.gradients import BackwardMeters
from resnet_viz.measuring.propagation.opened import first_samples
from resnet_viz.tracing.pristine import Pristine
from resnet_viz.tracing.trees import input_tensors, on_device, tensors_in


def measure_propagation(
    model: nn.Module,
    batch: Batch,
    *,
    graph: ModelGraph,
    structure: Structure,
    loss_fn: LossFunction | None = None,
    mode: Literal["train", "eval"] | None = None,
    device: torch.device | None = None,
    seed: int = 0,
    probes: int = 32,
    steps: int = 25,
    samples: int = 4,
    block_spectra: bool = False,
    progress: Progress = SILENT,
) -> SignalPropagation:
    """Moments per block and layer, both ways; Jacobian spectra; shattered gradients.

    Args:
        model: Left as it came: mode, parameters, buffers, ``.grad``, hooks, RNG.
        batch: What goes in.
        graph: Its trace.
        structure: Its blocks and stages.
        loss_fn: See ``losses.choose_loss``; where there is nothing to differentiate the
            backward half is left out and ``skipped`` says so.
        mode: Of the forward plots; the mode the model has if ``None``. Spectra and
            shattered gradients are taken in eval mode.
        device: Where to run; a copy is measured if the model lives elsewhere.
        seed: Of everything random.
        probes: Rademacher probes of the Jacobian's moments; 0 for no spectra.
        steps: Of Lanczos for the extreme singular values.
        samples: How many samples spectra are the mean over.
        block_spectra: Whether every block's Jacobian, from fork to join, is measured too.
        progress: Told of every product with a Jacobian.

    Raises:
        UserError: If the batch is empty or refused by batch norm, or a spectrum is to have no
            step or sample; an ``InputError`` if ``forward`` raises on an input that the user gave.
        ModelError: If ``forward`` or ``backward`` raises otherwise.
        NotApplicableError: If the model has no values, or an input is a nested tensor.
    """
    check_inputs((batch.args, batch.kwargs))
    if steps < 1 or samples < 1:
        raise UserError(
            f"{steps} Lanczos steps on {samples} samples: give 1 or more of both, or probes=0 for "
            "no spectra"
        )
    model = placed(model, device)
    here = model_device(model)
    setting = Setting(model=model, graph=graph, device=here, loss_fn=loss_fn, mode=mode)
    flow = flow_of(graph)
    plans = plan_blocks(flow, structure)
    skipped: list[str] = []
    with conditions(setting, seed) as kept:
        is_training = model.training
        plots = _plots(setting, batch, flow, plans, seed, skipped, kept)
    args, kwargs = on_device((batch.args, batch.kwargs), here)
    size = next((t.shape[0] for t in tensors_in((args, kwargs)) if t.ndim), 1)
    runs = EvalRuns(model, flow, plans, seed, skipped)
    with evaluating(model, graph, here, seed):
        shattering = runs.shattering(args, kwargs)
        few = first_samples(args, kwargs, size, samples)
        spectra = (
            runs.spectra(*few, probes=probes, steps=steps, blocks=block_spectra, progress=progress)
            if probes > 0
            else ()
        )
    return SignalPropagation(
        model=graph.name,
        mode="train" if is_training else "eval",
        batch_size=size,
        data=batch.words,
        loss=plots.loss,
        blocks=plots.blocks,
        layers=plots.layers,
        spectra=spectra,
        shattering=shattering,
        skipped=tuple(skipped),
        device=str(here),
    )


class _Plots(NamedTuple):
    """What one forward and backward say."""

    loss: str
    blocks: tuple[BlockSignal, ...]
    layers: tuple[LayerSignal, ...]


def _plots(
    setting: Setting,
    batch: Batch,
    flow: FlowGraph,
    plans: tuple[BlockPlan, ...],
    seed: int,
    skipped: list[str],
    kept: Pristine,
) -> _Plots:
    """Both halves in one transfer."""
    model, graph = setting.model, setting.graph
    watch = SignalWatch(flow, plans)
    given = on_device((batch.args, batch.kwargs), setting.device)
    for (_, tensor), op in zip(input_tensors(model, *given), graph.inputs, strict=False):
        watch.given(op.id, tensor)
    loss, back = "", None
    try:
        # Gradients are wanted at calls, not at weights.
        with towards_input(model, graph):
            forwarded = run_forward(
                setting,
                batch,
                kept=kept,
                seed=seed,
                every_input=True,
                past_frozen=True,
                observer=lambda m: NodeMap(m, (watch,)),
            )
            back = BackwardMeters(forwarded, flow, plans)
            with hooked(back.hooks):
                run_backward(forwarded, model)
            loss = forwarded.loss_name
            del forwarded
    except NotApplicableError as error:
        skipped.append(f"gradients: {error}")
    numbers = iter(to_host([*watch.numbers, *(back.numbers if back else ())]))
    outputs, seen = watch.read(numbers)
    gradients, ratios = back.read(numbers) if back else ({}, {})
    unseen = [plan.name for plan in plans if plan.join.id not in seen]
    if unseen:
        skipped.append(f"blocks whose operands could not be told apart: {listed(unseen)}")
    blocks = tuple(
        BlockSignal(
            name=plan.name,
            join=plan.join.id,
            stage=plan.stage,
            changes=plan.changes,
            output=outputs[plan.join.id],
            branch=seen[plan.join.id][0],
            ratio=seen[plan.join.id][1],
            grad_output=gradients.get(plan.join.id),
            grad_input=gradients.get(plan.skip.fork),
            grad_ratio=ratios.get(plan.join.id),
        )
        for plan in watch.measured
    )
    layers = tuple(
        LayerSignal(op=op, output=outputs[op], grad_output=gradients.get(op))
        for op in watch.layers
        if op in outputs
    )
    return _Plots(loss, blocks, layers)
