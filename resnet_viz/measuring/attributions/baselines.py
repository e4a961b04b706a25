"""What an input is compared with, and how to say so: one baseline, or several that are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.core.errors import UserError
from resnet_viz.core.message import say
from resnet_viz.core.units import shape as shape_text
from resnet_viz.measuring.attributions.maps import is_image
from resnet_viz.measuring.attributions.subject import Subject

_DRAWS = 10
_SPREAD = 0.1
"""Of the input's range: the noise around a baseline that nobody chose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What inputs are compared with.

    Attributes:
        tensors: One per input, of its shape.
        words: What they are.
        drawn: One per input, ``(B, …)``: baselines of one sample to draw from, two or more.
        drawn_words: What they are.
    """

    tensors: tuple[Tensor, ...]
    words: str
    drawn: tuple[Tensor, ...]
    drawn_words: str


def baseline_of(subject: Subject, wish: Any, model: nn.Module, seed: int = 0) -> Baseline:
    """The baseline, and those that SHAP methods draw from.

    Args:
        subject: What is attributed.
        wish: ``None``: zeros, or padding tokens (id 0 without one); else a number, a
            tensor that broadcasts to the input, a tuple of these, or token ids. A tensor of
            more rows than samples, ``(B, …)``, is drawn from, and its mean is the baseline.
        model: Holds the embedding, where tokens are attributed.
        seed: Of the noise around a baseline that nobody chose.

    Raises:
        UserError: If what was given does not fit the inputs.
    """
    tensors, words, several = _tensors_of(subject, wish, model)
    samples_first = tuple(
        t[None] if subject.axis is None else t.movedim(subject.axis, 0) for t in tensors
    )
    if several is not None:
        return Baseline(tensors=tensors, words=words, drawn=several, drawn_words=say("those given"))
    if wish is None:
        drawn = tuple(
            _around(base[:1], t, seed + k)
            for k, (base, t) in enumerate(zip(samples_first, subject.inputs, strict=True))
        )
        drawn_words = say("{n} draws of noise around {baseline}", n=_DRAWS, baseline=words)
        return Baseline(tensors=tensors, words=words, drawn=drawn, drawn_words=drawn_words)
    # Baselines that are equal count once, but captum wants two.
    rows = 1 if all(bool((b == b[:1]).all()) for b in samples_first) else subject.samples
    drawn = tuple(b[:rows] if rows > 1 else torch.cat([b[:1], b[:1]]) for b in samples_first)
    return Baseline(tensors=tensors, words=words, drawn=drawn, drawn_words=words)


def _tensors_of(
    subject: Subject, wish: Any, model: nn.Module
) -> tuple[tuple[Tensor, ...], str, tuple[Tensor, ...] | None]:
    """A baseline per input, in words, and those to draw from where several were given."""
    if subject.ids is not None:
        padding = getattr(model.get_submodule(subject.embedding), "padding_idx", None)
        number = (padding or 0) if wish is None else wish
        ids = _like(subject.ids, number, subject.names[0])
        same = int(ids.flatten()[0]) if bool((ids == ids.flatten()[0]).all()) else None
        words: str = say("the token ids given")
        if same is not None:
            words = say("token {n} at every position", n=same)
        embedded = subject.embed(ids).reshape(subject.inputs[0].shape)
        return (embedded,), words, None
    if wish is None:
        words = say("all zeros")
        if any(is_image(t) for t in subject.inputs):
            words = say("all zeros, the mean colour where inputs are normalised")
        return tuple(map(torch.zeros_like, subject.inputs)), words, None
    given = wish if isinstance(wish, tuple | list) else (wish,) * len(subject.inputs)
    if len(given) != len(subject.inputs):
        raise UserError(f"{len(given)} baselines for {len(subject.inputs)} inputs: give one each")
    several = _several(subject, given)
    if several is not None:
        given = tuple(
            t.mean(0) if subject.axis in (0, None) else t.mean(0)[:, None] for t in several
        )
    pairs = zip(subject.inputs, given, subject.names, strict=True)
    words = say("the one given")
    if isinstance(wish, int | float):
        words = say("all {n}", n=f"{wish:g}")
    if several is not None:
        words = say("the mean of the {n} given", n=len(several[0]))
    return tuple(_like(*pair) for pair in pairs), words, several


def _several(subject: Subject, given: Sequence[Any]) -> tuple[Tensor, ...] | None:
    """Baselines of one sample, where more of them were given than there are samples."""
    found = []
    for tensor, wish in zip(subject.inputs, given, strict=True):
        one = subject.sample(tensor, 0)
        if not isinstance(wish, Tensor) or wish.ndim != one.ndim + 1 or wish.shape[1:] != one.shape:
            return None
        found.append(wish.to(tensor.device, tensor.dtype).detach().clone())
    counts = {len(t) for t in found}
    alike = len(counts) == 1 and counts.isdisjoint((1, subject.samples))
    return tuple(found) if alike else None


def _around(base: Tensor, tensor: Tensor, seed: int) -> Tensor:
    """Draws of noise around a baseline ``(1, …)``, ``(B, …)``."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((_DRAWS, *base.shape[1:]), generator=generator, dtype=torch.float64)
    spread = _SPREAD * float(tensor.max() - tensor.min())
    return base + (noise * spread).to(base)


def _like(tensor: Tensor, wish: Any, name: str) -> Tensor:
    try:
        value = torch.as_tensor(wish, dtype=tensor.dtype, device=tensor.device)
        return value.expand_as(tensor).clone()
    except (RuntimeError, TypeError, ValueError):
        shape = f" of shape {shape_text(tuple(wish.shape))}" if isinstance(wish, Tensor) else ""
        raise UserError(
            f"the baseline{shape} does not fit the input {name} of shape "
            f"{shape_text(tuple(tensor.shape))}: give a number or a tensor that broadcasts to it"
        ) from None
