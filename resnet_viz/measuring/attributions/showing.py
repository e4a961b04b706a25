"""From captum's tensors to the values a report shows, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from resnet_viz.core.attribution import Attribution
from resnet_viz.core.message import say, sentences
from resnet_viz.core.pictures import Heatmap
from resnet_viz.core.trust import Trust
from resnet_viz.core.units import shape as shape_text
from resnet_viz.core.values import Values
from resnet_viz.measuring.attributions.looking import Look
from resnet_viz.measuring.attributions.maps import (
    Bars,
    Completeness,
    bars_of,
    enlarged,
    folded,
    is_image,
    quantised,
)
from resnet_viz.measuring.attributions.methods import Method
from resnet_viz.measuring.attributions.question import Question
from resnet_viz.measuring.attributions.rewriting import told


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one method says of all samples.

    Attributes:
        method: Which.
        look: The layer it was taken at; ``None`` for the input.
        values: Captum's, see ``answers.answer``; finite.
        sums: What they claim to sum to, per sample; empty where they claim nothing.
        forced: Why it should not be believed, where it was forced.
        trust: What was tested of it, per sample; empty where nothing was.
    """

    method: Method
    look: Look | None
    values: tuple[Tensor, ...]
    sums: tuple[Completeness, ...] = ()
    forced: str = ""
    trust: tuple[Trust, ...] = ()

    def standing(self, values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Such values of a layer as channels by places; of an input as they are."""
        if self.look is None or not self.method.at_layer or self.method.folds_channels:
            return values
        return tuple(map(self.look.standing, values))


def shown(question: Question, answer: Answer, index: int) -> Iterator[Attribution]:
    """One attribution per tensor of one sample."""
    subject, method = question.subject, answer.method
    signed = method.has_sign(question.options)
    for k, tensor in enumerate(answer.values):
        if method.at_layer and answer.look is not None:
            one = tensor[index]
            heatmap, bars = _of_layer(question, answer, answer.look, tensor, index, signed)
        else:
            one = subject.sample(tensor, index)
            heatmap, bars = _of_input(question, method, k, tensor, index, signed)
        sums = answer.sums[index] if answer.sums else None
        trust = answer.trust[index] if answer.trust else None
        yield Attribution(
            method=method.title,
            name=method.name,
            input=index,
            source="" if method.at_layer else subject.names[k],
            target=question.score.words[index],
            rank=question.rank,
            score=float(question.value[index]),
            probability=question.probabilities[index] if question.probabilities else None,
            layer=answer.look.path if answer.look else subject.embedding,
            heatmap=heatmap,
            bars=bars.bars if bars else (),
            values=_values(one),
            signed=signed,
            delta=sums.delta if sums else None,
            relative_delta=sums.relative if sums else None,
            trust=trust,
            forced=answer.forced,
            says=method.says,
            verdict=sentences(*_words(question, answer, k, index, heatmap, bars, sums, trust)),
        )


def _of_input(
    question: Question, method: Method, k: int, tensor: Tensor, index: int, signed: bool
) -> tuple[Heatmap | None, Bars | None]:
    subject = question.subject
    one = subject.sample(tensor, index)
    if subject.axis == 0 and is_image(tensor):
        return quantised(folded(one, method.fold, signed=signed)), None
    axis, noun, labels = subject.places(k, index)
    return None, bars_of(one, method.fold, axis, labels, noun, signed=signed)


def _of_layer(
    question: Question, answer: Answer, look: Look, tensor: Tensor, index: int, signed: bool
) -> tuple[Heatmap | None, Bars | None]:
    """A map enlarged to the image, a bar per step, or a bar per channel."""
    method, subject = answer.method, question.subject
    one = answer.standing((tensor,))[0][index]
    if one.ndim == 3:
        size = next((t.shape[2:] for t in subject.inputs if is_image(t)), one.shape[1:])
        flat = folded(one, method.fold, signed=signed)
        return quantised(enlarged(flat, (int(size[0]), int(size[1])))), None
    if one.ndim == 2:
        steps = one.shape[1]
        _, noun, labels = subject.places(0, index)
        if len(labels) != steps:
            noun, labels = "step", [f"step {i}" for i in range(steps)]
        return None, bars_of(one, method.fold, 1, labels, noun, signed=signed)
    labels = [f"channel {i}" for i in range(len(one))]
    return None, bars_of(one, method.fold, 0, labels, "channel", signed=signed)


def _words(
    question: Question,
    answer: Answer,
    k: int,
    index: int,
    heatmap: Heatmap | None,
    bars: Bars | None,
    sums: Completeness | None,
    trust: Trust | None,
) -> Iterator[str]:
    """The verdict, sentence by sentence."""
    method, look = answer.method, answer.look
    if answer.forced:
        yield say("Forced, and not to be believed: {forced}.", forced=answer.forced)
    if len(answer.values) > 1:
        yield say("For the input {input}.", input=question.subject.names[k])
    yield sums.verdict() if sums else method.says
    if method.rewrites:
        yield told(question.graph)
    flat = heatmap is not None and heatmap.low == heatmap.high == 0
    if flat or (bars is not None and not any(bar.value for bar in bars.bars)):
        yield say("Here it is zero everywhere.")
    if bars is not None:
        yield bars.left_out
    if look is not None:
        if look.places:
            yield say("The layer has {places} places.", places=shape_text(look.places))
        yield look.note
        if method.at_layer and method.complete and not (look.cut or answer.forced):
            yield say(
                "Part of the score goes past this layer, so its values do not sum to F(x) − F(x′)."
            )
    if trust is not None:
        yield trust.verdict


def _values(tensor: Tensor) -> Values:
    double = tensor.dtype == torch.float64
    kept = tensor.detach().to("cpu", torch.float64 if double else torch.float32).contiguous()
    array = kept.numpy()
    return Values(
        shape=tuple(tensor.shape),
        dtype="float64" if double else "float32",
        data=array.astype("<" + array.dtype.str[1:]).tobytes(),
    )
