"""``kernels_of``: the filters of the first convolution on an image, as pictures."""

from __future__ import annotations

import io

import torch
from PIL import Image
from torch import Tensor, nn

from resnet_viz.analysis.kinds import ELEMENTWISE, NORMS
from resnet_viz.core.depth_views import Kernels
from resnet_viz.core.graph import ModelGraph, Op, OpId
from resnet_viz.core.pictures import Picture
from resnet_viz.measuring.attributions.question import Question
from resnet_viz.measuring.attributions.stages.depth import image_of

MOST_KERNELS = 64
"""Filters that are shown."""

_BEFORE = ELEMENTWISE | NORMS | {"pad"}
"""What may be done to an image before its first convolution."""


def kernels_of(question: Question) -> Kernels | None:
    """The strongest filters of the first convolution on an image; ``None`` where there is none.

    Each is drawn for itself: its weight of largest magnitude is white or black and zero is
    mid grey; with three input channels in colour, with more or fewer their mean in grey.
    """
    which = image_of(question)
    if which is None:
        return None
    op = _first_convolution(question.graph, OpId(question.subject.sources[which]))
    weight = None if op is None else _weight(question.model, op)
    if op is None or weight is None:
        return None
    norms = weight.flatten(1).norm(dim=1)
    order = norms.argsort(descending=True, stable=True)[:MOST_KERNELS].tolist()
    return Kernels(
        op=op.id,
        module=op.module,
        shape=tuple(weight.shape),
        pictures=tuple(_picture(weight[i], f"filter {i}") for i in order),
    )


def _first_convolution(graph: ModelGraph, source: OpId) -> Op | None:
    reached = {source}
    for op in graph.ops:
        if not any(e.src in reached for e in graph.edges_in(op.id)):
            continue
        if op.kind == "conv2d":
            return op
        if op.kind in _BEFORE:
            reached.add(op.id)
    return None


def _weight(model: nn.Module, op: Op) -> Tensor | None:
    known = dict(model.named_parameters(remove_duplicate=False))
    for name in op.parameters:
        found = known.get(name)
        if found is not None and found.ndim == 4:
            return found.detach().to("cpu", torch.float32)
    return None


def _picture(kernel: Tensor, name: str) -> Picture:
    colours = kernel if len(kernel) == 3 else kernel.mean(0, keepdim=True)
    largest = float(colours.abs().max()) or 1.0
    grey = ((colours / largest + 1) * 127.5).round().to(torch.uint8)
    height, width = grey.shape[1:]
    data = bytes(grey.permute(1, 2, 0).flatten().tolist())
    image = Image.frombytes("RGB" if len(grey) == 3 else "L", (width, height), data)
    file = io.BytesIO()
    image.save(file, "PNG")
    return Picture(
        name=name, width=width, height=height, media_type="image/png", data=file.getvalue()
    )
