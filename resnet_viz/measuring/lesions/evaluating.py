"""The conditions under which a model is explained, and how they end.

Eval mode, so that dropout and batch statistics do not blur the answer; no gradient
for parameters, so that none is computed or left behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from resnet_viz.core.graph import ModelGraph
from resnet_viz.measuring.layers import RECURRENT
from resnet_viz.tracing.pristine import pristine


@contextmanager
def evaluating(
    model: nn.Module, graph: ModelGraph, device: torch.device, seed: int
) -> Iterator[None]:
    """Eval mode, nothing but the input needs a gradient, and everything put back after."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(stack.enter_context(pristine(model, values=True)).protecting())
        stack.enter_context(torch.enable_grad())
        if device.type == "cuda" and any(op.kind in RECURRENT for op in graph.ops):
            # cuDNN has no backward of a recurrent layer in eval mode.
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        torch.manual_seed(seed)
        model.eval()
        stack.enter_context(_frozen(model))
        yield


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}.values()
    flags = [(t, t.requires_grad) for t in tensors]
    try:
        for tensor, needs in flags:
            if needs:
                tensor.requires_grad_(False)
        yield
    finally:
        for tensor, needs in flags:
            if tensor.requires_grad != needs:
                tensor.requires_grad_(needs)
