"""Adds up parameters and multiply-accumulates once more, without the recorder's books."""

from __future__ import annotations

from contextlib import ExitStack
from types import GeneratorType
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from resnet_viz.core.graph import ModelGraph
from resnet_viz.tracing.iterators import iterated
from resnet_viz.tracing.kernels import meta_like
from resnet_viz.tracing.pristine import pristine, swap_tensors
from resnet_viz.tracing.proving.tape import Call, Tape
from resnet_viz.tracing.trees import map_tensors


def wrong_params(graph: ModelGraph, model: nn.Module, tape: Tape, total: int) -> str:
    """What is wrong with the parameters of a graph, by tensor identity; else empty.

    Args:
        graph: Where they are counted.
        model: Whose they are.
        tape: Which calls read them.
        total: How many scalars the model's distinct parameters had after the forward.
    """
    names = {id(p): name for name, p in reversed(list(model.named_parameters()))}
    if graph.total_params != total:
        return f"it has {graph.total_params:,} params, and the model has {total:,}"
    held = {s: (names[id(t)], t.numel()) for s, t in tape.held.items() if id(t) in names}
    counted: set[str] = set()
    for call in tape.calls:
        read = dict(held[r.slot] for r in call.reads if r.slot in held)
        if call.op is None:
            if call.cast and read:
                held.update(dict.fromkeys(call.results, next(iter(read.items()))))
            continue
        op = graph[call.op]
        if tuple(read) != op.parameters:
            return f"{op.id!r} read the parameters {tuple(read)}, not {op.parameters}"
        params = sum(n for name, n in read.items() if name not in counted)
        if params != op.params:
            return f"{op.id!r} is the first to read {params:,} params, not {op.params:,}"
        counted.update(read)
        for slot in call.outputs:
            held.pop(slot, None)
    return ""


def model_macs(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool | None
) -> int | None:
    """Half of what ``FlopCounterMode`` counts of one forward on meta; ``None`` if it raises."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        modules = stack.enter_context(pristine(model, values=False)).modules
        if training is not None:
            model.train(training)
        try:
            swap_tensors(modules, meta_like)
            args, kwargs = map_tensors((args, kwargs), meta_like)
            with torch.device("meta"), FlopCounterMode(display=False) as counter:
                result = model(*iterated(args), **iterated(kwargs))
                if isinstance(result, GeneratorType):
                    list(result)
        except Exception:  # whatever a forward without values raises: it does not run there
            return None
    return int(counter.get_total_flops()) // 2


class OpMacs:
    """Counts each op of a replay by itself, with torch's own counter.

    Attributes:
        wrong: The first op that counts otherwise than the graph says; else empty.
    """

    def __init__(self, graph: ModelGraph) -> None:
        self._graph = graph
        self.wrong = ""

    def __call__(self, call: Call, args: Any, kwargs: Any) -> None:
        """Compares one call, given with its arguments."""
        told = self._graph[call.op].macs if call.op is not None else None
        if told is None or self.wrong:
            return
        try:
            given = map_tensors((args, kwargs), meta_like)
            with torch.device("meta"), FlopCounterMode(display=False) as counter:
                call.func(*given[0], **given[1])
        except Exception:  # a call that does not run on meta was not counted there either
            return
        macs = int(counter.get_total_flops()) // 2
        if macs != told:
            self.wrong = f"{call.op!r} has {told:,} macs, and FlopCounterMode counts {macs:,}"
