"""What the drawing benchmark draws: name -> (model in eval mode, its input)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from render_models import MixtureOfExperts
from torch import Tensor, nn

from resnet_viz.core.report import Provenance, Report
from resnet_viz.pipeline.graphs import annotate
from resnet_viz.tracing.tracer import trace_model

Net = tuple[nn.Module, Tensor]
LAYERS = (5, 10, 20, 40)
"""Sizes of the large model, of which the last has 50,000 ops."""


def _resnet(name: str, side: int = 224) -> Callable[[], Net]:
    def build() -> Net:
        from resnet_viz.sources.variants import build

        return build(name).eval(), torch.zeros(1, 3, side, side)

    return build


def _densenet() -> Net:
    from torchvision.models import densenet201

    return densenet201().eval(), torch.zeros(1, 3, 224, 224)


def _mixture(layers: int) -> Callable[[], Net]:
    def build() -> Net:
        with torch.device("meta"):
            model = MixtureOfExperts(layers)
        return model.eval(), torch.zeros(1, 6, dtype=torch.long)

    return build


NETS: dict[str, Callable[[], Net]] = {
    "resnet50": _resnet("resnet50"),
    "resnet152": _resnet("resnet152"),
    "densenet201": _densenet,
    "resnet1202": _resnet("resnet1202", 32),
    **{f"mixture{n}": _mixture(n) for n in LAYERS},
}


def traced(name: str) -> Report:
    """The net's report without measurements, as ``diagram`` shows it."""
    model, given = NETS[name]()
    graph = trace_model(model, (given,))
    return Report(graph=graph, structure=annotate(graph), provenance=Provenance(model=name))
