"""What is measured in eval mode, where samples do not couple: spectra and shattering.

Each may be impossible by itself; then it is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from torch import nn

from resnet_viz.analysis.flow_graph import FlowGraph
from resnet_viz.core.errors import NotApplicableError
from resnet_viz.core.graph import OpId
from resnet_viz.core.progress import Progress
from resnet_viz.core.propagation import Shattering, Spectrum
from resnet_viz.measuring.propagation.blocks import BlockPlan
from resnet_viz.measuring.propagation.jacobians import Jacobian, spectrum_of
from resnet_viz.measuring.propagation.opened import Opened, Spot
from resnet_viz.measuring.propagation.shattering import measure_shattering

_T = TypeVar("_T")
_SPECTRUM = "Jacobian spectrum"


class EvalRuns:
    """Forwards of one model; to be used within ``evaluating``."""

    def __init__(
        self,
        model: nn.Module,
        flow: FlowGraph,
        plans: tuple[BlockPlan, ...],
        seed: int,
        skipped: list[str],
    ) -> None:
        """Runs nothing yet.

        Args:
            model: In eval mode, its parameters frozen.
            flow: Activations of its trace.
            plans: Its blocks.
            seed: Of everything random.
            skipped: Takes what could not be measured, and why.
        """
        self._model = model
        self._flow = flow
        self._plans = plans
        self._seed = seed
        self._skipped = skipped

    def shattering(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Shattering | None:
        """How alike the gradients of all these samples are."""

        def measure() -> Shattering:
            opened = self._opened(args, kwargs, self._ends())
            return measure_shattering(opened, dict(self._places(opened)), self._seed)

        return self._tried("shattered gradients", measure)

    def spectra(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        probes: int,
        steps: int,
        blocks: bool,
        progress: Progress,
    ) -> tuple[Spectrum, ...]:
        """From input to output and, where asked for, from fork to join of every block."""

        def measure(starts: tuple[Spot, ...], end: Spot, names: tuple[str, str]) -> Spectrum:
            return spectrum_of(
                Jacobian(starts, end),
                start=names[0],
                end=names[1],
                probes=probes,
                steps=steps,
                seed=self._seed,
                progress=progress,
            )

        wanted = self._ends() if blocks else set()
        opened = self._tried(_SPECTRUM, partial(self._opened, args, kwargs, wanted))
        if opened is None:
            return ()
        names = opened.start, opened.end
        found = [self._tried(_SPECTRUM, partial(measure, opened.inputs, opened.output, names))]
        for plan in self._plans if blocks else ():
            what, ends = f"{_SPECTRUM} of {plan.name}", (plan.skip.fork, plan.skip.join)
            fork, join = (opened.spots.get(op) for op in ends)
            if fork is None or join is None:
                self._skipped.append(f"{what}: not seen in eval mode")
            else:
                found.append(self._tried(what, partial(measure, (fork,), join, ends)))
        return tuple(spectrum for spectrum in found if spectrum is not None)

    def _opened(self, args: tuple[Any, ...], kwargs: dict[str, Any], wanted: set[OpId]) -> Opened:
        opened = Opened(self._model, self._flow.graph, args, kwargs, wanted)
        if opened.samples > 1 and Jacobian(opened.inputs, opened.output).couples():
            raise NotApplicableError(
                "in eval mode samples still depend on one another, or are not along the first axis"
            )
        return opened

    def _ends(self) -> set[OpId]:
        """Forks and joins of the blocks; of a net without any, its layers."""
        ends = {op for plan in self._plans for op in (plan.skip.fork, plan.skip.join)}
        nodes = enumerate(self._flow.nodes)
        return ends or {op.id for i, op in nodes if self._flow.is_weighted(i)}

    def _places(self, opened: Opened) -> Iterator[tuple[str, Spot]]:
        """Forks of the blocks (else outputs of layers), the last ones first; then the input."""
        named = [(plan.name, plan.skip.fork) for plan in reversed(self._plans)] or [
            (op.module or op.id, op.id) for op in reversed(self._flow.nodes)
        ]
        taken = {opened.output.edge, *(spot.edge for spot in opened.inputs)}
        for name, op in named:
            spot = opened.spots.get(op)
            # Of blocks that share a fork the first to be met names it.
            if spot is not None and spot.edge not in taken:
                taken.add(spot.edge)
                yield name, spot
        yield opened.start, opened.inputs[0]

    def _tried(self, what: str, measure: Callable[[], _T]) -> _T | None:
        try:
            return measure()
        except NotApplicableError as error:
            self._skipped.append(f"{what}: {error}")
            return None
