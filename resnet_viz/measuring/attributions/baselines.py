"""Where integrated gradients start, and how to say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.core.errors import UserError
from resnet_viz.core.units import shape as shape_text
from resnet_viz.measuring.attributions.maps import is_image
from resnet_viz.measuring.attributions.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """One tensor per input, of its shape, and what they are in words."""

    tensors: tuple[Tensor, ...]
    words: str


def baseline_of(subject: Subject, wish: Any, model: nn.Module) -> Baseline:
    """The starting point of the path.

    Args:
        subject: What is attributed.
        wish: ``None``: zeros, or padding tokens (id 0 without one); else a number, a
            tensor that broadcasts to the input, a tuple of these, or token ids.
        model: Holds the embedding, where tokens are attributed.

    Raises:
        UserError: If what was given does not fit the inputs.
    """
    if subject.ids is not None:
        padding = getattr(model.get_submodule(subject.embedding), "padding_idx", None)
        number = (padding or 0) if wish is None else wish
        ids = _like(subject.ids, number, subject.names[0])
        same = int(ids.flatten()[0]) if bool((ids == ids.flatten()[0]).all()) else None
        words = "the token ids given" if same is None else f"token {same} at every position"
        embedded = subject.embed(ids).reshape(subject.inputs[0].shape)
        return Baseline(tensors=(embedded,), words=words)
    if wish is None:
        words = "all zeros"
        if any(is_image(t) for t in subject.inputs):
            words += ", the mean colour where inputs are normalised"
        return Baseline(tensors=tuple(map(torch.zeros_like, subject.inputs)), words=words)
    given = wish if isinstance(wish, tuple | list) else (wish,) * len(subject.inputs)
    if len(given) != len(subject.inputs):
        raise UserError(f"{len(given)} baselines for {len(subject.inputs)} inputs: give one each")
    pairs = zip(subject.inputs, given, subject.names, strict=True)
    words = f"all {wish:g}" if isinstance(wish, int | float) else "the one given"
    return Baseline(tensors=tuple(_like(*pair) for pair in pairs), words=words)


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
