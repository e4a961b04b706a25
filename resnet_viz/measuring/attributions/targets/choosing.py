"""``choose_scores``: from what a person asks for to the scores that are explained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from resnet_viz.core.errors import UserError
from resnet_viz.core.target import MaskTarget
from resnet_viz.core.units import shape as shape_text
from resnet_viz.measuring.attributions.targets.class_names import class_index, class_words
from resnet_viz.measuring.attributions.targets.detections import DETECTIONS, box_score
from resnet_viz.measuring.attributions.targets.score import (
    Score,
    Table,
    at_position,
    averages,
    means,
    totals,
    within,
)

TargetWish: TypeAlias = "int | str | Sequence[int | str] | Tensor | MaskTarget | None"

_TOP = re.compile(r"top-?(\d+)")
_BOX = re.compile(r"box:(\d+)")
_TOKEN = re.compile(r"(?:(?P<id>.+)@)?token:(?P<place>-?\d+)")


def choose_scores(
    output: Tensor,
    wish: TargetWish,
    *,
    name: str = "",
    several: bool = False,
    labels: tuple[str, ...] = (),
) -> tuple[Score, ...]:
    """The scores to explain: one, or one per rank for ``top3``.

    Args:
        output: ``(S, …)``, samples first.
        wish: A class by index or name for all samples, or one per sample; ``argmax``,
            ``top3``, ``sum``, ``mean``; a ``MaskTarget`` of maps; ``box:0`` of a detector;
            ``token:5`` or ``ID@token:5`` of token logits. ``None``: the largest column of
            ``(S, C)``; of maps ``(S, C, H, W)`` the class that wins at most positions,
            averaged over all; of token logits the largest at the last position; of
            detections the surest; of other sequences the channel that is largest on
            average (the mean over channels would be a constant after a layer norm).
        name: Place of the output in what ``forward`` returns.
        several: Whether it returns other outputs too, so that the name must be said.
        labels: Names of the classes, by index, where they are known.

    Raises:
        UserError: If the wish does not fit the output.
        NotApplicableError: If a detector finds nothing.
    """
    of = f" of output {name}" if several and name else ""
    text = wish.strip() if isinstance(wish, str) else ""
    if name == DETECTIONS:
        return _boxes(output, wish, labels)
    if _BOX.fullmatch(text):
        raise UserError(
            f"target {text} needs a detector that returns boxes, labels and scores per image; "
            f"the output is {shape_text(tuple(output.shape))}"
        )
    if text in ("sum", "mean"):
        table: Table = totals if text == "sum" else averages
        columns = torch.zeros(len(output), dtype=torch.int64, device=output.device)
        words = (f"{text} of the outputs{of}",) * len(output)
        return (Score(words=words, columns=columns, table=table),)
    if isinstance(wish, MaskTarget):
        return (_masked(output, wish, of, labels),)
    token = _TOKEN.fullmatch(text)
    if token is not None:
        return (_token(output, int(token["place"]), token["id"], of, labels),)
    last = output.ndim == 3 and name.rpartition(".")[2] == "logits"
    table = at_position(-1) if last else means
    scores = table(output)
    if last:
        where, noun = " at the last position", "token"
    else:
        where = ", mean over all positions" * (output.ndim > 2)
        noun = "channel" if output.ndim == 3 else "class"
    if len(labels) != scores.shape[1]:
        labels = ()  # names of other classes
    ranked = _ranked(output, scores, text or wish)
    if ranked is None:
        ranked = [_given(scores, wish, labels)]
    return tuple(
        Score(
            words=_words(columns, scores.shape[1], noun, f"{of}{where}", labels),
            columns=columns,
            table=table,
            classes=last or output.ndim == 2,
        )
        for columns in ranked
    )


def _words(
    columns: Tensor, classes: int, noun: str, where: str, labels: tuple[str, ...]
) -> tuple[str, ...]:
    if classes == 1:
        return (f"the output{where}",) * len(columns)
    return tuple(f"{noun} {class_words(c, labels)}{where}" for c in columns.tolist())


def _ranked(output: Tensor, scores: Tensor, wish: Any) -> list[Tensor] | None:
    """The strongest columns of each sample, one tensor per rank; ``None`` for other wishes."""
    if wish is not None and not isinstance(wish, str):
        return None
    top = _TOP.fullmatch(wish or "")
    if wish and wish != "argmax" and top is None:
        return None
    count = int(top[1]) if top else 1
    samples, classes = scores.shape
    if not 1 <= count <= classes:
        raise UserError(
            f"target {wish} needs as many classes; the output has {classes}: give "
            f"{'argmax' if classes < 2 else f'top1 to top{classes}'}"
        )
    order = scores.detach().argsort(dim=1, descending=True, stable=True)
    if output.ndim >= 4:
        # Of maps the class that wins at most positions; its mean decides between equals.
        winners = output.detach().argmax(1).flatten(1)
        won = torch.zeros(samples, classes, device=output.device)
        won.scatter_add_(1, winners, torch.ones(1, 1, device=won.device).expand_as(winners))
        order = order.gather(1, won.gather(1, order).argsort(dim=1, descending=True, stable=True))
    return [order[:, k] for k in range(count)]


def _given(scores: Tensor, wish: Any, labels: tuple[str, ...]) -> Tensor:
    """A column per sample, by indices or names."""
    samples, classes = scores.shape
    if isinstance(wish, str):
        wishes = _listed(wish, labels)
    elif isinstance(wish, Sequence):
        wishes = list(wish)
    else:
        wishes = _numbers(wish)
    if len(wishes) not in (1, samples):
        raise UserError(f"{len(wishes)} targets for {samples} samples: give one, or one per sample")
    for one in wishes:
        if isinstance(one, bool) or not isinstance(one, int | str):
            raise UserError(
                f"target {wish!r} is no class number: give an integer, a name, or one per sample"
            )
    columns = [class_index(one, classes, labels) for one in wishes]
    return torch.tensor(columns, device=scores.device).expand(samples)


def _listed(text: str, labels: tuple[str, ...]) -> list[Any]:
    """``281,282`` as two; a name may hold commas itself."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and text.casefold() not in {label.casefold() for label in labels}:
        return parts
    return [text]


def _numbers(wish: Any) -> list[Any]:
    try:
        given = torch.as_tensor(wish)
    except (TypeError, ValueError, RuntimeError):
        given = torch.empty(0)
    if given.dtype.is_floating_point or given.dtype == torch.bool or given.ndim > 1:
        raise UserError(f"target {wish!r} is no class number: give an integer, or one per sample")
    return list(given.reshape(-1).tolist())


def _boxes(output: Tensor, wish: Any, labels: tuple[str, ...]) -> tuple[Score, ...]:
    if output.ndim != 3:
        raise UserError(
            "the images of a detector are explained as one batch: give samples × channels × "
            "height × width in place of a list"
        )
    text = "box:0" if wish is None or wish == "argmax" else str(wish).strip()
    top, one = _TOP.fullmatch(text), _BOX.fullmatch(text)
    if top is not None and int(top[1]):
        return tuple(box_score(output, k, labels) for k in range(int(top[1])))
    if one is None:
        raise UserError(f"target {text!r} does not fit a detector: give box:0, box:1 or top3")
    return (box_score(output, int(one[1]), labels),)


def _token(output: Tensor, place: int, wish: str | None, of: str, labels: tuple[str, ...]) -> Score:
    """A token's logit at one position."""
    if output.ndim != 3:
        raise UserError(
            f"target token:{place} needs an output of samples × positions × tokens; this one is "
            f"{shape_text(tuple(output.shape))}"
        )
    samples, positions, classes = output.shape
    if not -positions <= place < positions:
        raise UserError(
            f"target token:{place} is not there: the output has positions 0 to {positions - 1} "
            "(-1 is the last)"
        )
    table = at_position(place)
    labels = labels if len(labels) == classes else ()
    if wish is None:
        columns = table(output.detach()).argmax(1)
    else:
        index = class_index(wish, classes, labels)
        columns = torch.full((samples,), index, device=output.device)
    return Score(
        words=_words(columns, classes, "token", f"{of} at position {place % positions}", labels),
        columns=columns,
        table=table,
        classes=True,
    )


def _masked(output: Tensor, wish: MaskTarget, of: str, labels: tuple[str, ...]) -> Score:
    """A class over the places of a mask."""
    named = wish.name or "mask"
    if output.ndim != 4:
        raise UserError(
            f"target {named} needs a map per class (samples × classes × height × width); the "
            f"output is {shape_text(tuple(output.shape))}"
        )
    try:
        mask = torch.as_tensor(wish.mask, device=output.device) != 0
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"target {named} is no array of numbers: give height × width") from error
    mask = mask[None] if mask.ndim == 2 else mask
    samples, classes = output.shape[:2]
    if mask.ndim != 3 or len(mask) not in (1, samples):
        raise UserError(
            f"target {named} is {shape_text(tuple(mask.shape))}: give height × width, or one "
            f"such mask for each of the {samples} samples"
        )
    mask = interpolate(mask[:, None].float(), output.shape[2:], mode="nearest-exact")[:, 0] > 0
    if not bool(mask.flatten(1).any(1).all()):
        raise UserError(f"target {named} marks no place of the output: give a mask that does")
    mask = mask.expand(samples, *mask.shape[1:])
    labels = labels if len(labels) == classes else ()
    table = within(mask)
    if wish.label is not None:
        index = class_index(wish.label, classes, labels)
        columns = torch.full((samples,), index, device=output.device)
    else:
        winners = output.detach().argmax(1)
        columns = torch.stack([w[m].mode().values for w, m in zip(winners, mask, strict=True)])
    return Score(
        words=_words(columns, classes, "class", f"{of}, mean over {named}", labels),
        columns=columns,
        table=table,
        classes=False,
    )
