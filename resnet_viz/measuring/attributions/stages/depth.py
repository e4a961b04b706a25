"""``depth_views``: Grad-CAM, feature maps and receptive field of every stage of a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from resnet_viz.core.depth_views import DepthView, FeatureMap, ReceptiveField, StageView
from resnet_viz.core.graph import OpId
from resnet_viz.core.pictures import Heatmap
from resnet_viz.measuring.attributions.maps import is_image, quantised
from resnet_viz.measuring.attributions.question import Question
from resnet_viz.measuring.attributions.relevance.watching import Watched
from resnet_viz.measuring.attributions.stages.fields import centre_of, effective_side
from resnet_viz.measuring.attributions.stages.glimpses import Glimpses
from resnet_viz.measuring.attributions.stages.spots import Spot, spots_of

STRONGEST = 6
"""Feature maps of a stage that are shown."""

_LARGEST_SIDE = 64
"""Of maps that travel in a report; larger ones are averaged down."""


def depth_views(question: Question) -> tuple[DepthView, ...]:
    """What every stage sees of each input; empty where no input is an image.

    One forward and one backward give Grad-CAM at all stages (Selvaraju et al. 2017); a
    backward per stage from its map's central place gives the effective receptive field
    (Luo et al. 2016), of all channels there at once: each counts with a sign drawn at random,
    so that the square of the gradient is on average the sum of the channels' squares.
    """
    which = image_of(question)
    if which is None:
        return ()
    source = OpId(question.subject.sources[which])
    spots = spots_of(question.graph, question.structure, source)
    if not spots:
        return ()
    glimpses, seen = _looked(question, which, spots)
    spots = tuple(spot for spot in spots if spot.op in glimpses.maps)
    return tuple(
        DepthView(
            input=i,
            target=question.score.words[i],
            stages=tuple(_stage(spot, glimpses, seen.get(spot.op), i) for spot in spots),
        )
        for i in range(question.subject.samples if spots else 0)
    )


def image_of(question: Question) -> int | None:
    """Which of the tensors that are attributed is the first image; ``None`` for none."""
    subject = question.subject
    if subject.axis != 0 or subject.embedding:
        return None
    return next((k for k, t in enumerate(subject.inputs) if is_image(t)), None)


def _looked(
    question: Question, which: int, spots: Sequence[Spot]
) -> tuple[Glimpses, dict[OpId, Tensor]]:
    """The maps with the score's gradients, and by spot the central place's by the input."""
    glimpses = Glimpses(spots, question.seed)
    watched = Watched(question.model)
    watched.seeing = glimpses
    inputs = question.inputs
    image = inputs[which].requires_grad_()
    with torch.enable_grad(), question.asked_of(watched) as asked:
        scores = asked.forward(*inputs, *question.subject.extras)
        if scores.requires_grad:
            torch.autograd.grad(scores.sum(), image, retain_graph=True, allow_unused=True)
    glimpses.listening = False
    seen: dict[OpId, Tensor] = {}
    left = list(glimpses.centres)
    # The deepest last: every backward but that one leaves the graph to the next.
    while left:
        op = left.pop(0)
        (gradient,) = torch.autograd.grad(
            glimpses.centres.pop(op), image, retain_graph=bool(left), allow_unused=True
        )
        if gradient is not None:
            seen[op] = gradient.abs().sum(1)
    return glimpses, seen


def _stage(spot: Spot, glimpses: Glimpses, seen: Tensor | None, index: int) -> StageView:
    maps = glimpses.maps[spot.op][index]
    gradient = glimpses.gradients.get(spot.op)
    cam = None
    if gradient is not None:
        weights = gradient[index].mean((1, 2), keepdim=True)
        cam = quantised((weights * maps).sum(0).relu())
    strengths = maps.abs().mean((1, 2))
    strongest = strengths.argsort(descending=True, stable=True)[:STRONGEST].tolist()
    return StageView(
        name=spot.name,
        op=spot.op,
        module=spot.module,
        shape=tuple(maps.shape),
        cam=cam,
        features=tuple(
            FeatureMap(channel=c, strength=float(strengths[c]), heatmap=_small(maps[c]))
            for c in strongest
        ),
        field=_field(spot.field, maps, None if seen is None else seen[index]),
    )


def _field(
    field: ReceptiveField | None, maps: Tensor, seen: Tensor | None
) -> ReceptiveField | None:
    if seen is None:
        return field
    height, width = seen.shape
    centre = centre_of(field, (maps.shape[1], maps.shape[2]), (height, width))
    measured = field or ReceptiveField(
        height=None, width=None, stride=(height / maps.shape[1], width / maps.shape[2])
    )
    return replace(measured, effective=effective_side(seen, centre), map=_small(seen))


def _small(values: Tensor) -> Heatmap:
    height, width = values.shape
    shrink = max(1.0, max(height, width) / _LARGEST_SIDE)
    size = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    if size != (height, width):
        values = F.adaptive_avg_pool2d(values[None, None].float(), size)[0, 0]
    return quantised(values)
