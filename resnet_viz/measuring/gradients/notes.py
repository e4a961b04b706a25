"""What is to be known about how a flow was measured: one sentence each."""

from __future__ import annotations

from torch import nn

from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.message import say
from resnet_viz.core.units import count
from resnet_viz.measuring.one_pass import Forwarded


def notes_on(
    forwarded: Forwarded, model: nn.Module, graph: ModelGraph, *more: str
) -> tuple[str, ...]:
    """What this run lost or did differently.

    Args:
        forwarded: The run.
        model: What ran.
        graph: Its warnings say what was taken off the model.
        more: Other notes; empty ones are left out.
    """
    found: list[str] = []
    if forwarded.segments:
        returned = {item.op for item in forwarded.nodes.produced}
        lost = len(forwarded.nodes.hidden - returned)
        found.append(
            say(
                "{checkpoints}: the {calls} inside ran without gradients and again in the "
                "backward, so they have no rows and no shares; the gradients of their parameters "
                "are measured. With use_reentrant=False nothing is lost.",
                checkpoints=count(forwarded.segments, "reentrant checkpoint"),
                calls=count(lost, "call"),
            )
        )
    in_place = any(m._compiled_call_impl is not None for m in model.modules())
    if in_place or any("torch.compile" in warning for warning in graph.warnings):
        found.append(say("The model is compiled by torch.compile and was measured eagerly."))
    return (*found, *filter(None, more))
