"""What stands in for the inputs in a run: fake tensors, and parts of one memory as such."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from resnet_viz.tracing.memory_map import memory_of
from resnet_viz.tracing.trees import tensors_in


def fake_input(fakes: FakeTensorMode, model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Makes a fake tensor of an input.

    One on the meta device has no values to be faked from; it becomes a fake tensor on the
    device of the model, where its values will be. Call it before the model's own tensors
    are swapped.
    """
    state = itertools.chain(model.parameters(), model.buffers())
    here = next((tensor.device for tensor in state), torch.device("cpu"))

    def faked(tensor: Tensor) -> Tensor:
        if tensor.device.type != "meta" or here.type == "meta":
            return fakes.from_tensor(tensor)
        with fakes:
            return torch.empty_strided(
                tensor.shape, tensor.stride(), dtype=tensor.dtype, device=here
            )

    return faked


def sharing(inputs: Any, convert: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """``convert``; of inputs on one memory it makes stand-ins on one memory.

    What a forward writes into one of them, the others show.
    """
    by_memory: dict[int, dict[int, Tensor]] = defaultdict(dict)
    for tensor in tensors_in(inputs):
        if tensor.layout is torch.strided and not tensor.is_nested:
            by_memory[memory_of(tensor)][id(tensor)] = tensor
    made: dict[int, Tensor] = {}
    for group in by_memory.values():
        tensors = list(group.values())
        if len(tensors) < 2 or len({tensor.dtype for tensor in tensors}) > 1:
            continue
        first = min(tensor.storage_offset() for tensor in tensors)
        last = max(tensor.storage_offset() + _reach(tensor) for tensor in tensors)
        flat = convert(tensors[0].detach().as_strided((last - first,), (1,), first))
        for tensor in tensors:
            offset = tensor.storage_offset() - first
            made[id(tensor)] = flat.as_strided(tensor.shape, tensor.stride(), offset)
    return lambda tensor: made[id(tensor)] if id(tensor) in made else convert(tensor)


def _reach(tensor: Tensor) -> int:
    if tensor.numel() == 0:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
