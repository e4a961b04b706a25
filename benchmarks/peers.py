"""Other tracers, each called as its own pages say: model and inputs -> its graph.

All are optional: one that is not installed, or that raises, is a row with its reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from torch import nn

Tracer = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], object]


def torchview(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    from torchview import draw_graph

    return draw_graph(
        model,
        input_data=list(args) if args else kwargs,
        device="meta",
        depth=100,
        expand_nested=True,
        mode="eval",
    )


def torchlens(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    import torchlens as tl

    options = tl.options.CaptureOptions(structure_only=True)
    return tl.trace(model, list(args) or None, kwargs or None, capture=options)


def torchvista(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    from torchvista.engine import process_graph

    if kwargs:
        raise TypeError("takes no keyword arguments")
    adjacency: dict[Any, Any] = {}
    process_graph(
        model,
        args[0],
        adjacency,
        *({}, {}, {}, defaultdict(list), {}, {}, {}, defaultdict(list), set(), {}),
        show_non_gradient_nodes=True,
        # By default it stops at torchvision's blocks.
        forced_module_tracing_depth=50,
    )
    return adjacency


def torch_flowgraph(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    from torch_flowgraph.model.graph import ModelGraph

    if kwargs:
        raise TypeError("takes no keyword arguments")
    return ModelGraph.from_model(model, tuple(args[0].shape))


def torch_fx(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    import torch.fx

    return torch.fx.symbolic_trace(model)


def torch_export(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    import torch

    with torch.no_grad():
        return torch.export.export(model, args, kwargs, strict=False)


# They refuse meta tensors, so their time holds the arithmetic too.
ON_CPU = frozenset(("torchlens",))

PEERS: dict[str, Tracer] = {
    "torchview": torchview,
    "torchlens": torchlens,
    "torchvista": torchvista,
    "torch-flowgraph": torch_flowgraph,
    "torch.fx": torch_fx,
    "torch.export": torch_export,
}
