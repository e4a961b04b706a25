"""The places of an input that a map ranks, and inputs some of whose places are gone.

A place is what one number of a shown map stands for: a pixel with all its channels, a
token with its whole embedding, one feature, one step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from resnet_viz.core.errors import ModelError, one_line
from resnet_viz.measuring.attributions.maps import is_image
from resnet_viz.measuring.attributions.methods import Method
from resnet_viz.measuring.attributions.question import Question
from resnet_viz.measuring.attributions.rows import in_fewer_rows

# What a forward raises; anything else is no matter of its input.
_RAISED = (RuntimeError, MemoryError, LookupError, ValueError, TypeError, AssertionError)
_SMALLEST, _LARGEST = 8, 2
"""A square that is taken out has a side between an eighth and a half of the image's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """How one attributed tensor falls into places: the axes of one sample that are kept."""

    shape: tuple[int, ...]
    kept: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(self.shape[axis] for axis in self.kept)

    @property
    def count(self) -> int:
        return math.prod(self.sizes)


class Places:
    """All places of a question's inputs, one after the other.

    Attributes:
        count: How many there are.
        noun: What they are (``pixels``).
        differs: ``(S, P)``: where the input is not the baseline. Elsewhere it makes no
            difference which of the two is there.
    """

    def __init__(self, question: Question) -> None:
        self._question = question
        self._axis = question.subject.axis
        self._inputs: list[_Input] = []
        nouns = set()
        for k, tensor in enumerate(question.subject.inputs):
            one = tuple(question.subject.sample(tensor, 0).shape)
            kept: tuple[int, ...]
            if self._axis == 0 and is_image(tensor):
                kept, noun = (1, 2), "pixel"
            else:
                axis, noun, _ = question.subject.places(k, 0)
                kept = (axis,) if one else ()
            self._inputs.append(_Input(shape=one, kept=kept))
            nouns.add(f"{noun}s")
        self.noun = nouns.pop() if len(nouns) == 1 else "places"
        self.count = sum(i.count for i in self._inputs)
        pairs = zip(question.subject.inputs, question.baseline.tensors, strict=True)
        self.differs = self._folded(
            tuple((a != b).to(torch.float64) for a, b in pairs), "magnitude"
        ).bool()

    def strengths(self, method: Method, values: tuple[Tensor, ...]) -> Tensor | None:
        """``(S, P)``, float64 on the CPU: a number per place, signed where it is a part of F.

        Args:
            method: Says how they fold.
            values: One tensor per input, or a layer's as channels by places, ``(S, C, …)``; a
                map of a layer is enlarged to the image.

        Returns:
            ``None`` where the values of a layer cannot be laid over the input.
        """
        if not method.at_layer:
            return self._folded(values, method.fold)
        if len(self._inputs) != 1:
            return None
        sizes, value = self._inputs[0].sizes, values[0]
        if value.ndim != 2 + len(sizes):
            return None
        folded = _fold(value.detach().to("cpu", torch.float64), method.fold, value.ndim - 2)
        if len(sizes) == 2 and folded.shape[1:] != sizes:
            folded = functional.interpolate(
                folded[:, None], sizes, mode="bilinear", align_corners=False
            )[:, 0]
        return folded.flatten(1) if folded.shape[1:] == sizes else None

    def account(self, method: Method, values: tuple[Tensor, ...]) -> Tensor | None:
        """``(S, P)``: what the map says F loses where a place goes to the baseline.

        Values that are parts of a score are summed over a place; a gradient with its sign is
        multiplied by x − x′ first (Yeh 2019, section 3); a map without a sign is taken as it
        is shown.
        """
        parts = method.at_layer or method.fold == "sum"
        if parts or not any(bool((v < 0).any()) for v in values):
            return self.strengths(method, values)
        subject, baseline = self._question.subject, self._question.baseline
        triples = zip(values, subject.inputs, baseline.tensors, strict=True)
        return self._folded(tuple(v * (x - start) for v, x, start in triples), "sum")

    def inputs_with(self, kept: Tensor) -> tuple[Tensor, ...]:
        """Inputs and extras for ``k · S`` rows.

        Args:
            kept: ``(k, S, P)``: the places where the input stays; the baseline's value is
                at the others.
        """
        subject, baseline = self._question.subject, self._question.baseline
        times = len(kept)
        flat = kept.flatten(0, 1).to(subject.inputs[0].device)
        found, start = [], 0
        for one, x, other in zip(self._inputs, subject.inputs, baseline.tensors, strict=True):
            part = flat[:, start : start + one.count]
            start += one.count
            wide = [n if a in one.kept else 1 for a, n in enumerate(one.shape)]
            mask = part.reshape(len(part), *wide)
            mask = mask[0] if self._axis is None else mask.movedim(0, self._axis)
            found.append(torch.where(mask, self.repeated(x, times), self.repeated(other, times)))
        grown = (self.repeated(t, times) if subject.grows(t) else t for t in subject.extras)
        return (*found, *grown)

    def repeated(self, tensor: Tensor, times: int) -> Tensor:
        """The samples of a tensor so many times, one batch after the other."""
        return tensor if self._axis is None else torch.cat([tensor] * times, self._axis)

    def random_parts(self, number: int, generator: torch.Generator) -> Tensor:
        """``(number, P)``: places to take out: squares of images, else some of all places."""
        return torch.cat([_parts(i.sizes, number, generator) for i in self._inputs], 1)

    def _folded(self, values: tuple[Tensor, ...], fold: str) -> Tensor:
        found = []
        for one, value in zip(self._inputs, values, strict=True):
            rows = value.detach().to("cpu", torch.float64)
            rows = rows[None] if self._axis is None else rows.movedim(self._axis, 0)
            kept = tuple(a + 1 for a in one.kept)
            others = tuple(a for a in range(1, rows.ndim) if a not in kept)
            found.append(
                _fold(rows.permute(0, *others, *kept), fold, len(kept)).reshape(len(rows), -1)
            )
        return torch.cat(found, 1)


def every_row(
    question: Question, places: Places, kept: Tensor, read: Callable[[Tensor], Tensor]
) -> Tensor:
    """``(K, S)``, float64 on the CPU: what is read of the output with only some places kept.

    Args:
        question: Its rows per forward are kept to, and it is told about every pass.
        places: Of the same question.
        kept: ``(K, S, P)``.
        read: From the output ``(k · S, …)`` to a number per row.

    Raises:
        ModelError: If ``forward`` raises, which it did not at the input itself.
    """
    subject, samples = question.subject, kept.shape[1]
    found: list[Tensor] = []
    start = 0

    def part(rows: int) -> Tensor:
        at_once = 1 if subject.axis is None else max(1, rows // samples)
        output = subject(*places.inputs_with(kept[start : start + at_once]))
        return read(output).to("cpu", torch.float64).reshape(-1, samples)

    with torch.no_grad():
        while start < len(kept):
            rows = max(question.rows, samples)
            try:
                found.append(in_fewer_rows(part, rows, least=samples, use=question.use))
            except _RAISED as error:
                raise ModelError(
                    f"forward raised where parts of the input are the baseline: {one_line(error)}"
                ) from error
            start += len(found[-1])
            question.advance(len(found[-1]))
    return torch.cat(found)


def _fold(values: Tensor, fold: str, kept: int) -> Tensor:
    """``(S, …, places…)`` to ``(S, places…)``: what is shown of a place, without a sign (``maps``).

    Args:
        values: Places last.
        fold: Of the method.
        kept: How many axes places lie along.
    """
    rows = values.flatten(1, values.ndim - 1 - kept) if values.ndim > 1 + kept else values[:, None]
    if fold == "sum":
        return rows.sum(1)
    return rows.abs().amax(1) if kept == 2 else rows.norm(dim=1)


def _parts(sizes: tuple[int, ...], number: int, generator: torch.Generator) -> Tensor:
    if len(sizes) != 2:
        count = math.prod(sizes)
        shares = torch.rand(number, 1, generator=generator) / _LARGEST
        return torch.rand(number, count, generator=generator) <= shares.clamp(min=1 / count)
    found = torch.zeros(number, *sizes, dtype=torch.bool)
    short = min(sizes)
    smallest, largest = max(1, short // _SMALLEST), max(1, short // _LARGEST)
    for part in found:
        side = int(torch.randint(smallest, largest + 1, (), generator=generator))
        # Corners from outside on, so that a pixel at the rim is as likely as any other.
        top, left = (int(torch.randint(1 - side, n, (), generator=generator)) for n in sizes)
        part[max(0, top) : top + side, max(0, left) : left + side] = True
    return found.flatten(1)
