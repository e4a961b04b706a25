"""What attributions claim to sum to, and by how much they miss it.

Completeness is an axiom of its own (Sundararajan et al. 2017, proposition 1): against one
baseline, against the mean of several (Lundberg and Lee 2017), or, where nothing is compared,
to the score itself (Bach et al. 2015).
"""

from __future__ import annotations

import torch
from torch import Tensor

from resnet_viz.core.message import say
from resnet_viz.measuring.attributions.explained import Explained
from resnet_viz.measuring.attributions.looking import Look
from resnet_viz.measuring.attributions.maps import Completeness
from resnet_viz.measuring.attributions.methods import Method
from resnet_viz.measuring.attributions.question import Question


def completeness_of(
    question: Question, method: Method, values: tuple[Tensor, ...], look: Look | None = None
) -> tuple[Completeness, ...]:
    """What the values claim to sum to and what they miss of it, per sample.

    Empty where they claim nothing: the method promises no sum, or part of the score goes
    past the layer.
    """
    if not method.complete or (method.at_layer and (look is None or not look.cut)):
        return ()
    start = _reference(question, method)
    baseline = question.baseline
    symbol, against = {
        "baseline": ("F(x) − F(x′)", say("the baseline ({words})", words=baseline.words)),
        "baselines": (
            "F(x) − mean F(x′)",
            say("the baselines ({words})", words=baseline.drawn_words),
        ),
        "nothing": ("F(x)", ""),
    }[method.complete]
    now = getattr(question.options, method.remedy) if method.remedy else None
    remedy = say("raise {option} (now {n})", option=method.remedy, n=now) if method.remedy else ""
    rounding = 16 * torch.finfo(start.dtype).eps
    found = []
    for i, (at_input, at_start) in enumerate(
        zip(question.value.tolist(), start.tolist(), strict=True)
    ):
        parts = (v[i] if method.at_layer else question.subject.sample(v, i) for v in values)
        found.append(
            Completeness(
                difference=at_input - at_start,
                delta=at_input
                - at_start
                - sum(float(p.cpu().sum(dtype=torch.float64)) for p in parts),
                rounding=rounding * max(abs(at_input), abs(at_start)),
                symbol=symbol,
                against=against,
                remedy=remedy,
            )
        )
    return tuple(found)


def _reference(question: Question, method: Method) -> Tensor:
    """F where the sum is counted from, ``(S,)``."""
    if method.complete == "nothing":
        return torch.zeros_like(question.value)
    explained = Explained(question)
    samples, drawn = question.subject.samples, question.baseline.drawn
    starts = [tuple(map(explained.first, question.baseline.tensors))]
    if method.complete == "baselines":
        starts = [
            tuple(d[i].expand(samples, *d.shape[1:]) for d in drawn) for i in range(len(drawn[0]))
        ]
    with torch.no_grad():
        scores = [explained.forward(*start, *explained.extras) for start in starts]
    return torch.stack(scores).mean(0)
