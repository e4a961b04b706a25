"""How many rows to begin with: what fits the memory, and on a CPU what fits its caches."""

from __future__ import annotations

import torch

from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.attributions.subject import Subject

_CPU_BUDGET = 500e6
"""Bytes of activations to hold at once. More is slower on a CPU: its caches hold none of it,
and the kernel hands out every page anew."""


def rows_at_once(
    subject: Subject, graph: ModelGraph, structure: Structure, device: torch.device
) -> int:
    """Rows whose activations fit the budget, by the bytes the graph allocates."""
    budget = _CPU_BUDGET
    if device.type == "cuda":
        budget = torch.cuda.mem_get_info(device)[0] / 4
    return max(1, int(budget / max(bytes_per_row(subject, graph, structure), 1)))


def bytes_per_row(subject: Subject, graph: ModelGraph, structure: Structure) -> float:
    """Bytes of activations that a row of the inputs allocates, by the graph."""
    traced = sum(graph[i].outputs[0].numel for i in subject.sources) or 1
    given = (subject.ids,) if subject.ids is not None else subject.inputs
    grown = sum(t.numel() for t in given) / traced
    return structure.costs.total.activation_bytes * grown / len(subject.inputs[0])
