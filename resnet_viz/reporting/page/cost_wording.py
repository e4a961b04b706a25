"""Costs in words: what a total holds, and next to it what it could not hold."""

from __future__ import annotations

from collections import Counter

from resnet_viz.core.errors import listed
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.message import Message, join, say
from resnet_viz.core.structure import Costs, Peak
from resnet_viz.core.terms import word
from resnet_viz.core.units import count, nbytes, si

SAVED = say(
    "Saved: what autograd keeps for the backward, each piece of memory once, at the first op "
    "that needs it; parameters, buffers and inputs are not in it."
)
ESTIMATE = say(
    "Peaks are estimates from the lifetimes of tensors: without fragmentation of the allocator, "
    "workspaces of kernels and the state of an optimizer."
)


def macs_text(macs: int, uncounted: int, nothing: str = "0") -> str:
    """``4.09 G``; with ops that have no formula ``4.09 G + ?``, or ``?`` where that is all."""
    if not macs:
        return "?" if uncounted else nothing
    return f"{si(macs)} + ?" if uncounted else si(macs)


def total_text(macs: int, uncounted: int) -> Message:
    """``4.09 G MACs``, and how many ops are not in it."""
    if not uncounted:
        return say("{n} MACs", n=si(macs))
    ops = count(uncounted, "op")
    return say("{n} MACs (+ {ops} without a formula)", n=si(macs), ops=ops)


def uncounted_text(graph: ModelGraph, limit: int = 6) -> str:
    """``2 ops without a formula: a, b``; many by their kinds; empty where all are counted."""
    ops = graph.uncounted
    names = [str(op) for op in ops]
    if len(ops) > limit:
        kinds = Counter(graph[op].kind for op in ops)
        names = [f"{kind} × {n:,}" if n > 1 else kind for kind, n in kinds.most_common()]
    if not ops:
        return ""
    return say(
        "{ops} without a formula: {names}",
        ops=count(len(ops), "op"),
        names=listed(names, 4 * limit),
    )


def memory_rows(graph: ModelGraph, costs: Costs) -> list[tuple[str, str, str]]:
    """What is in memory: a term, how much it is, and what there is to know about it."""
    state = join(", ", (f"{graph.total_params:,}", _trainable(graph)))
    activations = nbytes(costs.total.activation_bytes)
    return [
        (say("Input"), nbytes(graph.input_bytes), ""),
        (say("Parameters"), nbytes(graph.param_bytes), state),
        (
            say("Buffers"),
            nbytes(graph.buffer_bytes),
            f"{sum(b.spec.numel for b in graph.buffers):,}",
        ),
        (say("Activations"), activations, say("allocated by one forward")),
        (say("Saved for backward"), *_saved(costs)),
        (say("Peak of inference"), *_peak(costs.inference_peak)),
        (say("Peak of training"), *_peak(costs.training_peak)),
    ]


def _trainable(graph: ModelGraph) -> Message:
    total, trainable = graph.total_params, graph.trainable_params
    return say("all trainable") if total == trainable else say("{n} trainable", n=f"{trainable:,}")


def _saved(costs: Costs) -> tuple[str, str]:
    """How much the backward keeps, in which mode, and what that leaves open."""
    memory = costs.memory
    if memory is None or memory.saved_bytes is None:
        return say("not known"), memory.unknown if memory else say("not measured")
    notes: list[str] = [say("{mode} mode", mode=word(memory.mode))]
    if memory.how.why.startswith("train mode"):
        notes.append(memory.how.why)
    if memory.hidden:
        ops = count(memory.hidden, "op")
        notes.append(say("{ops} under checkpointing or offloading keep theirs elsewhere", ops=ops))
    if costs.unplaced_bytes:
        amount = nbytes(costs.unplaced_bytes)
        notes.append(say("{amount} of it in ops that only this mode runs", amount=amount))
    return nbytes(memory.saved_bytes), join("; ", notes)


def _peak(peak: Peak | None) -> tuple[str, str]:
    """The size, where it is reached, and what it is made of."""
    if peak is None:
        return say("not known"), ""
    sizes = (
        (peak.params, say("parameters {size}", size=nbytes(peak.params))),
        (peak.gradients, say("gradients {size}", size=nbytes(peak.gradients))),
        (peak.buffers, say("buffers {size}", size=nbytes(peak.buffers))),
        (peak.inputs, say("input {size}", size=nbytes(peak.inputs))),
        (peak.saved, say("saved {size}", size=nbytes(peak.saved))),
        (peak.working, say("other activations {size}", size=nbytes(peak.working))),
    )
    parts = join(", ", (text for size, text in sizes if size))
    if not peak.at:
        return nbytes(peak.total), parts
    phase = word(peak.phase)
    where = say("in the {phase} of {op}: {parts}", phase=phase, op=peak.at, parts=parts)
    return nbytes(peak.total), where
