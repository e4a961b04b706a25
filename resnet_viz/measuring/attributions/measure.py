"""Which parts of the input moved the output, and how far to trust the answer.

Captum does the methods; here they are kept from touching the user's model, asked of every
target, sample and layer, and their values are checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointError

from resnet_viz.core.attribution import Attribution, Attributions
from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.depth_views import DepthView, Kernels
from resnet_viz.core.errors import NotApplicableError
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.message import say, sentences
from resnet_viz.core.pictures import Picture
from resnet_viz.core.progress import SILENT, Progress
from resnet_viz.core.relevance import Relevance
from resnet_viz.core.structure import Structure
from resnet_viz.core.trust import Agreement
from resnet_viz.measuring.attributions.answering import Meter, Refusals, answers_to
from resnet_viz.measuring.attributions.answers import answer, check_extra, passes_of
from resnet_viz.measuring.attributions.doubts import doubts_of
from resnet_viz.measuring.attributions.looking import look_at, wishes_of
from resnet_viz.measuring.attributions.methods import METHODS, Method, find_methods
from resnet_viz.measuring.attributions.question import CHECKPOINTED, Question, asking
from resnet_viz.measuring.attributions.relevance.measure import forwards_of, relevance_of
from resnet_viz.measuring.attributions.rows import bytes_per_row
from resnet_viz.measuring.attributions.showing import Answer, shown
from resnet_viz.measuring.attributions.stages import depth_views, kernels_of
from resnet_viz.measuring.attributions.trust.judging import (
    Claim,
    agreements_of,
    judge,
    passes_of_judging,
)

__all__ = ["METHODS", "Method", "attribute_inputs"]


def attribute_inputs(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    *,
    graph: ModelGraph,
    structure: Structure,
    options: AttributionOptions | None = None,
    labels: tuple[str, ...] = (),
    pictures: Sequence[Picture] = (),
    device: torch.device | None = None,
    progress: Progress = SILENT,
    note: str = "",
    seed: int = 0,
) -> Attributions:
    """Attributions of every sample and target by every method that applies, in eval mode.

    Images ``(N, C, H, W)`` of 1 to 4 channels get heat maps; other floating inputs get
    bars per feature, step or channel; token ids get bars per token, taken at the output
    of the embedding that reads them.

    Args:
        model: Left as it came: mode, values, ``.grad``, ``requires_grad``, hooks, RNG.
        args: Positional arguments of ``forward``, a batch.
        kwargs: Keyword arguments of ``forward``.
        graph: Trace of the same model with arguments of the same form.
        structure: What was found in it.
        options: What is asked. A method that cannot apply is left out, and ``note`` says why.
        labels: Names of the classes, where they are known.
        pictures: The samples as pictures, for the report.
        device: Where to run; a copy is used if the model lives elsewhere.
        progress: Told about every forward.
        note: What the reader must know first, such as random weights.
        seed: Of whatever the model and the methods draw.

    Raises:
        UserError: For an unknown method, layer or target, a baseline that does not fit,
            or a model without values.
        NotApplicableError: If no method applies, the output is not finite, or it does
            not depend on the input through anything differentiable.
        ModelError: If ``forward`` or ``backward`` raises.
    """
    options = options or AttributionOptions()
    refusals = Refusals()
    methods = _applying(graph, structure, options, refusals)
    wishes = wishes_of(model, graph, options.layers) if any(m.needs_layer for m in methods) else ()
    with asking(
        model,
        args,
        kwargs,
        graph=graph,
        structure=structure,
        options=options,
        labels=labels,
        layers=tuple(path for wish in wishes for path in (*wish.modules, *wish.cuts)),
        device=device,
        seed=seed,
        progress=progress,
    ) as questions:
        first = questions[0]
        doubts = doubts_of(first)
        looks = {wish: look_at(first.subject, graph, wish) for wish in wishes}
        maps: list[Attribution] = []
        agreements: list[Agreement] = []
        for question in questions:
            answers = answers_to(question, methods, looks, refusals, progress)
            answers, agreed = _tested(question, answers, progress)
            maps += _shown(question, answers)
            agreements += agreed
        relevance, why_none = _relevance(first, progress)
        if not maps and (methods or relevance is None):
            raise NotApplicableError("; ".join(filter(None, (*refusals.reasons, why_none))))
        depths, kernels, no_depths = _stages(first, progress)
        return Attributions(
            pictures=tuple(pictures),
            maps=tuple(sorted(maps, key=lambda m: (m.input, m.rank))),
            agreements=tuple(agreements),
            relevance=relevance,
            depths=depths,
            kernels=kernels,
            note=sentences(note, doubts, refusals.words, why_none, no_depths),
            device=str(first.device),
            rows=first.use.rows or first.rows,
            peak_bytes=_peak(first),
            settings=first.settings,
        )


def _peak(question: Question) -> int | None:
    """What was held, or by the graph what the samples need, where nothing was measured."""
    known = question.use.peak(question.device)
    if known is not None:
        return known
    subject = question.subject
    each = bytes_per_row(subject, question.graph, question.structure)
    return round(each * max(question.use.rows, subject.samples)) or None


def _applying(
    graph: ModelGraph, structure: Structure, options: AttributionOptions, refusals: Refusals
) -> tuple[Method, ...]:
    """The methods asked for, less those that cannot apply to this model at all.

    Raises:
        UserError: For an unknown method, or an argument that none of them takes.
        NotApplicableError: If none applies.
    """
    methods = find_methods(options.methods)
    check_extra(methods, options)
    reasons = {m: m.valid_when(graph, structure) for m in methods}
    for method, reason in reasons.items():
        refusals.add(method, reason)
    applying = tuple(m for m, reason in reasons.items() if not reason)
    if not applying and (methods or not options.relevance):
        raise NotApplicableError("; ".join(refusals.reasons) or "no method was asked for")
    return applying


def _tested(
    question: Question, answers: tuple[Answer, ...], progress: Progress
) -> tuple[tuple[Answer, ...], tuple[Agreement, ...]]:
    """How far to trust each answer, and what they agree on."""
    if question.options.trust == "off" or not answers:
        return answers, ()
    claims = [_claim(one) for one in answers]
    meter = Meter(progress)
    passes = passes_of_judging(question, [one.method for one in answers], passes_of)
    progress.start("testing how far to trust them", passes)
    try:
        meter.begin(passes)
        trusts = judge(question.told(meter), claims)
        meter.end()
    finally:
        progress.finish()
    tested = (replace(one, trust=trust) for one, trust in zip(answers, trusts, strict=True))
    return tuple(tested), agreements_of(question, claims)


def _shown(question: Question, answers: Sequence[Answer]) -> list[Attribution]:
    """Sample by sample, each by every method."""
    return [
        map_
        for index in range(question.subject.samples)
        for one in answers
        for map_ in shown(question, one, index)
    ]


def _stages(
    question: Question, progress: Progress
) -> tuple[tuple[DepthView, ...], Kernels | None, str]:
    """What each depth sees of an image, or why nothing is known of it; and the first filters."""
    if not question.options.stages:
        return (), None, ""
    progress.start("looking at what each stage sees")
    try:
        return depth_views(question.told(progress.advance)), kernels_of(question), ""
    except CheckpointError:
        why = say("What each depth sees is left out: {why}.", why=CHECKPOINTED)
        return (), kernels_of(question), why
    finally:
        progress.finish()


def _relevance(question: Question, progress: Progress) -> tuple[Relevance | None, str]:
    """The relevance of every block, or why there is none."""
    if not question.options.relevance:
        return None, ""
    progress.start("measuring the relevance of blocks", forwards_of(question))
    try:
        return relevance_of(question.told(progress.advance)), ""
    except NotApplicableError as error:
        return None, say("The relevance of blocks is left out: {why}.", why=str(error))
    finally:
        progress.finish()


def _claim(one: Answer) -> Claim:
    look, method = one.look, one.method
    return Claim(
        method=method,
        layer=look.path if look else "",
        values=one.standing(one.values),
        answer=lambda question: one.standing(answer(question, method, look)),
    )
