"""Real forwards and backwards, and everything the gradient says on its way.

Nothing of it changes what is computed: instrumented parameter gradients equal plain
ones bit for bit. All numbers of a batch stay on the device until its end and come over
in one transfer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import UserError
from resnet_viz.core.gradient_flow import GradientFlow, Loss, Stats
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.merging import merge_flows
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.measuring.autograd_graph import NodeMap, Watcher
from resnet_viz.measuring.device import model_device, placed, to_host
from resnet_viz.measuring.gradients.call_meters import CallMeters
from resnet_viz.measuring.gradients.cuts import Cuts
from resnet_viz.measuring.gradients.forward_meters import Activities, NormModes
from resnet_viz.measuring.gradients.nonfinite import find_nonfinite
from resnet_viz.measuring.gradients.notes import notes_on
from resnet_viz.measuring.gradients.parameter_meters import ParameterMeters
from resnet_viz.measuring.gradients.shares import ShareBook
from resnet_viz.measuring.gradients.statistics import DETAILS
from resnet_viz.measuring.gradients.updates import Updates, measure_updates
from resnet_viz.measuring.losses import LossFunction
from resnet_viz.measuring.one_pass import (
    AUTOCAST,
    Forwarded,
    Setting,
    conditions,
    hooked,
    run_backward,
    run_forward,
)
from resnet_viz.measuring.processes.exchange import exchange_of
from resnet_viz.tracing.quiet import no_collection

_TOGETHER = 32
"""Flows of single batches that are held before they are merged into one."""


def measure_gradients(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    graph: ModelGraph,
    loss_fn: LossFunction | None = None,
    mode: Literal["train", "eval"] | None = None,
    device: torch.device | None = None,
    seed: int = 0,
    stats: Stats = "default",
    autocast: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
    averaged: bool = False,
    progress: Progress = SILENT,
) -> GradientFlow:
    """Gradient statistics per call and per parameter, and shares per edge.

    Each batch is measured from the same state of the model; ``core.merging`` says how
    several become one flow.

    Args:
        model: Left as it came: mode, parameters, buffers, ``.grad``, hooks, RNG.
        batches: What to measure on, in turn; at most two of them are held at a time.
        graph: The traced graph, whose edges the shares are put on.
        loss_fn: See ``losses.choose_loss`` for what happens without one.
        mode: Train or eval mode for this call; the mode the model has if ``None``.
        device: Where to run; a copy is measured if the model lives elsewhere.
        seed: Of dropout and of the labels where none are given, of the first batch; the
            next one's is one more.
        stats: ``norms``: L2 and edge shares alone; ``default``: see ``statistics``;
            ``full``: everything of every tensor, exactly, at several times the cost.
        autocast: Whether forward and loss run under bfloat16 autocast.
        optimizer: Whose step is measured, from the state it is in; left as it is.
        averaged: Whether parameter gradients are averaged over the process group, as DDP
            does; of a model that ``fully_shard`` spread they always are.
        progress: Who listens, where there are several batches.

    Raises:
        UserError: If there is no batch, batch norm refuses it, there is nothing to
            differentiate, or the model has no values; an ``InputError`` if ``forward``
            raises on an input that the user gave.
        ModelError: If ``forward`` or ``backward`` raises otherwise.
    """
    exchange = exchange_of(model, averaged=averaged)
    waiting = iter(batches) if exchange is None else exchange.in_step(batches)
    batch = next(waiting, None)
    if batch is None:
        raise UserError("the data hold no batch: give at least one pair (inputs, targets)")
    model = placed(model, device)
    laboratory = _Laboratory(
        setting=Setting(
            model=model,
            graph=graph,
            device=model_device(model),
            loss_fn=loss_fn,
            mode=mode,
            autocast=autocast,
            exchange=exchange,
        ),
        stats=stats,
        optimizer=optimizer,
    )
    flows: list[GradientFlow] = []
    following = next(waiting, None)
    if following is not None:
        progress.start("measuring batches", len(batches) if isinstance(batches, Sized) else None)
    several = following is not None
    while batch is not None:
        flows.append(laboratory.measured(batch, seed, is_last=following is None))
        if len(flows) == _TOGETHER:
            flows = [merge_flows(flows)]
        seed += 1
        batch, following = following, None
        if batch is not None:
            following = next(waiting, None)
        if several:
            progress.advance()
    if several:
        progress.finish()
    return flows[0] if len(flows) == 1 else merge_flows(flows)


@dataclass(slots=True, kw_only=True)
class _Laboratory:
    """Measures batches one by one; what one leaves to the next is its gradients.

    Attributes:
        setting: How the model is run.
        stats: How much is measured.
        optimizer: Whose step is measured.
        every_input: Whether floating inputs are asked for gradients.
        before: Gradients of the batch before, by the ``id`` of their parameter.
    """

    setting: Setting
    stats: Stats
    optimizer: torch.optim.Optimizer | None
    every_input: bool = field(init=False)
    before: Mapping[int, Tensor] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.every_input = self.stats != "norms"

    def measured(self, batch: Batch, seed: int, *, is_last: bool) -> GradientFlow:
        """The flow of one batch."""
        flow = self._run(batch, seed, is_last=is_last)
        if flow is None:
            self.every_input = False
            flow = self._run(batch, seed, is_last=is_last)
            assert flow is not None
        exchange, finite = self.setting.exchange, _is_finite(flow)
        if exchange.anywhere(not finite) if exchange is not None else not finite:
            found = find_nonfinite(self.setting, batch, seed=seed, every_input=self.every_input)
            flow = replace(flow, nonfinite=found)
        return flow

    def _run(self, batch: Batch, seed: int, *, is_last: bool) -> GradientFlow | None:
        """The flow of one batch; ``None`` if inputs must not be asked for gradients."""
        setting = self.setting
        with conditions(setting, seed) as kept:
            activities = Activities(setting.graph, every=self.stats == "full")
            norms, cuts = NormModes(setting.model), Cuts()
            watchers: list[Watcher] = [activities, norms, cuts] if self.stats != "norms" else []
            forwarded = run_forward(
                setting,
                batch,
                kept=kept,
                seed=seed,
                every_input=self.every_input,
                observer=lambda m: NodeMap(m, watchers),
            )
            if forwarded.is_healed:
                return None
            # The rows that are made here would set off a full collection: 0.2 s.
            with no_collection():
                return self._flow(forwarded, batch, activities, norms, cuts, is_last=is_last)

    def _flow(
        self,
        forwarded: Forwarded,
        batch: Batch,
        activities: Activities,
        norms: NormModes,
        cuts: Cuts,
        *,
        is_last: bool,
    ) -> GradientFlow:
        """The backward, and everything in one transfer."""
        setting, graph, model = self.setting, self.setting.graph, self.setting.model
        details, nodes, watched = DETAILS[self.stats], forwarded.nodes, self.stats != "norms"
        calls = CallMeters(nodes.produced, details.calls)
        book = ShareBook(forwarded.arrivals, nodes, graph)
        with hooked(calls.hooks, book.hooks):
            gradients = run_backward(forwarded, model)
        if setting.exchange is not None:
            gradients = setting.exchange.gradients(gradients)
        updates = Updates()
        if self.optimizer is not None:
            updates = measure_updates(self.optimizer, model, gradients)
        table = ParameterMeters(
            model, gradients, nodes.reads, details.parameters, self.before, updates.squares
        )
        self.before = {} if is_last else gradients
        numbers = iter(
            to_host(
                [
                    forwarded.loss.detach(),
                    *calls.numbers,
                    *book.numbers,
                    *table.numbers,
                    *activities.numbers,
                    *norms.numbers,
                ]
            )
        )
        value = next(numbers)
        call_rows = calls.read(numbers)
        shares, refused = book.read(numbers)
        parameters = table.read(numbers)
        without = [p.name for p in parameters if p.stats is None and p.reason != "frozen"]
        return GradientFlow(
            loss=Loss(name=forwarded.loss_name, value=value),
            mode="train" if model.training else "eval",
            device=str(setting.device),
            batch_size=forwarded.batch_size,
            data=batch.words,
            stats=self.stats,
            autocast=str(AUTOCAST).removeprefix("torch.") if setting.autocast else "",
            optimizer=updates.words,
            calls=call_rows,
            parameters=parameters,
            shares=shares,
            not_separable=refused,
            activities=activities.read(numbers),
            norms=norms.read(numbers) if watched else (),
            detached=cuts.read(graph, nodes, without) if watched else (),
            notes=notes_on(forwarded, model, graph, updates.note),
        )


def _is_finite(flow: GradientFlow) -> bool:
    rows = (*(c.stats for c in flow.calls), *(p.stats for p in flow.parameters))
    finite = all(stats.finite for stats in rows if stats is not None)
    return finite and flow.loss.value - flow.loss.value == 0
