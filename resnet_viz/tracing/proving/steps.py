"""``prove``: that a graph is what its model does, or one line that says why not.

Nothing is taken on trust from the code that traced: the graph is traced again for real,
its calls are replayed without the model, every kernel is counted below Python, edges are
found again from memory, and sums are added up again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from resnet_viz.core.errors import UnfaithfulError, UnprovableError, one_line
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.proof import Proof
from resnet_viz.tracing.opened import eager
from resnet_viz.tracing.proving.bits import NoBitsError, region_of
from resnet_viz.tracing.proving.census import Census
from resnet_viz.tracing.proving.differences import first_difference
from resnet_viz.tracing.proving.flows import Flows
from resnet_viz.tracing.proving.replay import ReplayError
from resnet_viz.tracing.proving.runs import Outcome, Runs, Taped
from resnet_viz.tracing.proving.sums import OpMacs, wrong_params
from resnet_viz.tracing.trees import tensors_in


def prove(
    graph: ModelGraph,
    model: nn.Module,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    *,
    training: bool | None = None,
) -> Proof:
    """The proof that ``graph`` is what ``model`` does on this input, without gradients.

    Args:
        graph: As ``trace_model`` gave it, or as JSON kept it.
        model: Left exactly as it came, whatever happens.
        args: Positional arguments of ``forward``.
        kwargs: Keyword arguments of ``forward``.
        training: Train or eval mode; the mode it has if ``None``.

    Returns:
        What was checked. It runs the forward and its tape seven times in all, once more on
        meta, and takes memory for a copy of the parameters and for all activations.

    Raises:
        UnfaithfulError: If the graph differs from what the model does, naming the op.
        UnprovableError: If no replay can follow the forward: Python reads values,
            random numbers without recorded state, tensors without values.
        TraceError: If ``forward`` raises.
    """
    kwargs = kwargs or {}
    _refuse_without_values(graph, model, args, kwargs)
    try:
        with _repeatable(model, args, kwargs):
            return _prove(graph, Runs(model, args, kwargs, training))
    except NoBitsError as error:
        raise UnprovableError(str(error)) from error


def _prove(graph: ModelGraph, runs: Runs) -> Proof:
    taped = _tape(runs)
    plain = runs.plain()
    counted, census = runs.counted()
    _require_repeatable(runs, plain, counted, taped)
    _require_equal(graph, runs, taped)
    _require_kernels(taped, census, runs)
    if wrong := Flows(taped.tape, graph, runs.state).check():
        raise UnfaithfulError(wrong)
    _require_known_tensors(taped, census, runs)
    _require_replay(runs, taped, plain)
    _require_replay_of_other_values(runs, taped)
    if wrong := wrong_params(graph, runs.model, taped.tape, taped.params):
        raise UnfaithfulError(wrong)
    macs_by = _require_macs(graph, runs, taped)
    return Proof(
        verdict="verified",
        mode="train" if runs.training else "eval",
        ops=len(graph.ops),
        calls=len(taped.tape.calls),
        kernels=sum(census.counts.values()),
        outputs=len(plain.outputs),
        state=len(runs.own),
        scalars=plain.scalars,
        edges=len(graph.edges),
        params=graph.total_params,
        macs=graph.total_macs,
        macs_by=macs_by,
    )


def _refuse_without_values(
    graph: ModelGraph, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    if graph.failure is not None:
        raise UnprovableError(f"the graph ends early: {graph.failure.error}")
    given = {
        "the input": list(tensors_in((args, kwargs))),
        "the model": [*model.parameters(), *model.buffers()],
    }
    for what, tensors in given.items():
        if any(is_lazy(t) for t in tensors):
            raise UnprovableError(f"{what} has lazy parameters: run one forward first")
        if any(t.device.type == "meta" for t in tensors):
            raise UnprovableError(f"{what} is on meta, where tensors have no values to compare")


@contextmanager
def _repeatable(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
    """Kernels that give the same bits twice, and no compiled code in the place of calls."""
    with ExitStack() as stack:
        stack.enter_context(eager())
        tensors = (*model.parameters(), *model.buffers(), *tensors_in((args, kwargs)))
        if any(t.is_cuda for t in tensors):
            stack.enter_context(_deterministic())
        yield


@contextmanager
def _deterministic() -> Iterator[None]:
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    # Kernels that have no such algorithm may run: two plain runs tell whether they differ.
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings(), torch.backends.cudnn.flags(benchmark=False):
            warnings.filterwarnings("ignore", ".*determinis")
            yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def _tape(runs: Runs) -> Taped:
    try:
        taped = runs.taped()
    except Exception as error:  # whatever forward raises, it raises again in a trace
        runs.traced("")
        raise UnprovableError(f"its kernels cannot be watched: {one_line(error)}") from error
    if taped.tape.refusal:
        raise UnprovableError(f"{taped.tape.refusal}, which no replay can follow")
    return taped


def _require_repeatable(runs: Runs, plain: Outcome, counted: Outcome, taped: Taped) -> None:
    for other in (counted, taped.outcome):
        if what := plain.difference(other):
            again = runs.plain().difference(plain)
            if again:
                raise UnprovableError(f"two runs of the same forward differ in {again}")
            raise UnfaithfulError(f"the forward does something else when watched: {what} differs")


def _require_equal(graph: ModelGraph, runs: Runs, taped: Taped) -> None:
    """The given graph, a new one and the tape's must be one."""
    traced = runs.traced(graph.name)
    if wrong := first_difference(_bare(traced, traced), _bare(traced, taped)):
        if runs.traced(graph.name) != traced:
            raise UnprovableError(f"two runs of the same forward make other calls: {wrong}")
        raise UnfaithfulError(
            f"the forward makes other calls when its kernels are watched: {wrong}"
        )
    if wrong := first_difference(graph, traced):
        raise UnfaithfulError(wrong)


def _bare(graph: ModelGraph, parts: ModelGraph | Taped) -> ModelGraph:
    """The graph with these ops and edges, without what the tape does not tell."""
    return replace(
        graph,
        ops=tuple(replace(op, macs=0, source_line="") for op in parts.ops),
        edges=parts.edges,
        inputs=parts.inputs,
        outputs=parts.outputs,
    )


def _require_kernels(taped: Taped, census: Census, runs: Runs) -> None:
    """Every kernel ran in a recorded call, and the plain forward runs the same ones."""
    for kernel, module in taped.census.orphans:
        where = module or "the root module"
        raise UnfaithfulError(f"{kernel} ran in {where} outside every op of the graph")
    for call in taped.tape.calls:
        kept = all(region.storage in runs.state for region in (*call.written, *call.regions))
        if call.op is None and not call.cast and call.kernels.makes and not kept:
            raise UnfaithfulError(f"{call.name} runs kernels and is no op of the graph")
    for kernel in sorted(census.counts.keys() | taped.census.counts.keys()):
        times = census.counts[kernel], taped.census.counts[kernel]
        if times[0] != times[1]:
            raise UnfaithfulError(
                f"{kernel} runs {times[0]} times in the forward and {times[1]} times in the trace"
            )


def _require_known_tensors(taped: Taped, census: Census, runs: Runs) -> None:
    """What no call made was there before: an independent run meets it in the same memory."""
    assert census.storages is not None
    tape = taped.tape
    readers = {read.slot: call for call in reversed(tape.calls) for read in call.reads}
    for slot, tensor in tape.held.items():
        region = region_of(tensor)
        if id(tensor) in runs.own or region.low == region.high:
            continue
        if region.storage in census.storages:
            continue
        who = f"{readers[slot].name} reads" if slot in readers else "the forward returns"
        raise UnfaithfulError(
            f"{who} a tensor that no recorded call made (NumPy, another thread, compiled code)"
        )


def _require_replay(runs: Runs, taped: Taped, plain: Outcome) -> None:
    try:
        what = plain.difference(runs.replayed(taped), outside=True)
        if what:
            runs.replayed(taped, compare=True)
    except ReplayError as error:
        cause = f" ({one_line(error.__cause__)})" if error.__cause__ else ""
        raise UnfaithfulError(f"{error.call.name} {error} when replayed{cause}") from error
    if what:
        raise UnfaithfulError(f"a replay gives other bits than the forward in {what}")


def _require_replay_of_other_values(runs: Runs, taped: Taped) -> None:
    """A tape that holds a value of its inputs where nobody saw it read gives itself away."""
    try:
        plain = runs.plain(other=True)
    except Exception:  # these values are none that the model takes: nothing to compare
        return
    try:
        what = plain.difference(runs.replayed(taped, other=True), outside=True)
    except ReplayError as error:
        what = f"{error.call.name}, which {error}"
    if what:
        raise UnprovableError(
            f"on other values of its inputs a replay differs from the forward in {what}: "
            "Python reads values, or sizes that depend on them, where no call shows it"
        )


def _require_macs(graph: ModelGraph, runs: Runs, taped: Taped) -> Literal["model", "op"]:
    whole = None if graph.uncounted else runs.macs_on_meta()
    if whole == graph.total_macs:
        return "model"
    alone = OpMacs(graph)
    runs.replayed(taped, each=alone)
    if alone.wrong:
        raise UnfaithfulError(alone.wrong)
    if whole is not None:
        raise UnfaithfulError(
            f"its ops add up to {graph.total_macs:,} macs, and FlopCounterMode counts {whole:,} "
            "over the whole forward on meta"
        )
    return "op"
