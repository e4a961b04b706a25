"""Costs in words: what a total holds, and next to it what it could not hold."""

from __future__ import annotations

from collections import Counter

from resnet_viz.core.errors import listed
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Costs, Peak
from resnet_viz.core.units import count, nbytes, si

SAVED = (
    "Saved: what autograd keeps for the backward, each piece of memory once, at the first op "
    "that needs it; parameters, buffers and inputs are not in it."
)
ESTIMATE = (
    "Peaks are estimates from the lifetimes of tensors: without fragmentation of the allocator, "
    "workspaces of kernels and the state of an optimizer."
)


def macs_text(macs: int, uncounted: int, nothing: str = "0") -> str:
    """``4.09 G``; with ops that have no formula ``4.09 G + ?``, or ``?`` where that is all."""
    if not macs:
        return "?" if uncounted else nothing
    return f"{si(macs)} + ?" if uncounted else si(macs)


def total_text(macs: int, uncounted: int) -> str:
    """``4.09 G MACs``, and how many ops are not in it."""
    more = f" (+ {count(uncounted, 'op')} without a formula)" if uncounted else ""
    return f"{si(macs)} MACs{more}"


def uncounted_text(graph: ModelGraph, limit: int = 6) -> str:
    """``2 ops without a formula: a, b``; many by their kinds; empty where all are counted."""
    ops = graph.uncounted
    names = [str(op) for op in ops]
    if len(ops) > limit:
        kinds = Counter(graph[op].kind for op in ops)
        names = [f"{kind} × {n:,}" if n > 1 else kind for kind, n in kinds.most_common()]
    found = f"{count(len(ops), 'op')} without a formula: {listed(names, 4 * limit)}"
    return found if ops else ""


def memory_rows(graph: ModelGraph, costs: Costs) -> list[tuple[str, str, str]]:
    """What is in memory: a term, how much it is, and what there is to know about it."""
    state = f"{graph.total_params:,}, {_trainable(graph)}"
    activations = nbytes(costs.total.activation_bytes)
    return [
        ("Input", nbytes(graph.input_bytes), ""),
        ("Parameters", nbytes(graph.param_bytes), state),
        ("Buffers", nbytes(graph.buffer_bytes), f"{sum(b.spec.numel for b in graph.buffers):,}"),
        ("Activations", activations, "allocated by one forward"),
        ("Saved for backward", *_saved(costs)),
        ("Peak of inference", *_peak(costs.inference_peak)),
        ("Peak of training", *_peak(costs.training_peak)),
    ]


def _trainable(graph: ModelGraph) -> str:
    total, trainable = graph.total_params, graph.trainable_params
    return "all trainable" if total == trainable else f"{trainable:,} trainable"


def _saved(costs: Costs) -> tuple[str, str]:
    """How much the backward keeps, in which mode, and what that leaves open."""
    memory = costs.memory
    if memory is None or memory.saved_bytes is None:
        return "not known", memory.unknown if memory else "not measured"
    notes = [f"{memory.mode} mode"]
    if memory.how.why.startswith("train mode"):
        notes.append(memory.how.why)
    if memory.hidden:
        ops = count(memory.hidden, "op")
        notes.append(f"{ops} under checkpointing or offloading keep theirs elsewhere")
    if costs.unplaced_bytes:
        notes.append(f"{nbytes(costs.unplaced_bytes)} of it in ops that only this mode runs")
    return nbytes(memory.saved_bytes), "; ".join(notes)


def _peak(peak: Peak | None) -> tuple[str, str]:
    """The size, where it is reached, and what it is made of."""
    if peak is None:
        return "not known", ""
    names = ("parameters", "gradients", "buffers", "input", "saved", "other activations")
    sizes = (peak.params, peak.gradients, peak.buffers, peak.inputs, peak.saved, peak.working)
    parts = [f"{name} {nbytes(n)}" for name, n in zip(names, sizes, strict=True) if n]
    where = f"in the {peak.phase} of {peak.at}: " if peak.at else ""
    return nbytes(peak.total), where + ", ".join(parts)
