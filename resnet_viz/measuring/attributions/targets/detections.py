"""Boxes as a target: what a detector returns, as one tensor, and one detection followed.

A detector returns as many boxes as it finds, in the order of their scores, so that the third
box of a changed image may be another thing. A detection is therefore looked up again by its
place and class, as Grad-CAM for detectors does: its score is that of the box that overlaps it
most, of the same class, at least by half; 0 where it was lost.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from resnet_viz.core.errors import NotApplicableError, UserError
from resnet_viz.measuring.attributions.targets.class_names import class_words
from resnet_viz.measuring.attributions.targets.score import Score

DETECTIONS = "detections"
"""What the packed output is called."""

_LEAST_OVERLAP = 0.5
_X1, _Y1, _X2, _Y2, _LABEL, _SCORE = range(6)


def packed(result: Any) -> Tensor | None:
    """Detections of every sample as ``(S, M, 6)``: corners, class, score; ``None`` for others.

    Args:
        result: What ``forward`` returned; of a detector of torchvision a dict with ``boxes``
            (M, 4), ``labels`` (M,) and ``scores`` (M,) per sample. Samples with fewer boxes
            are filled up with zeros, whose class is -1.
    """
    if not isinstance(result, list | tuple) or not result:
        return None
    rows: list[Tensor] = []
    for one in result:
        if not isinstance(one, dict) or not {"boxes", "labels", "scores"} <= one.keys():
            return None
        boxes, labels, scores = (one[key] for key in ("boxes", "labels", "scores"))
        columns = [boxes, labels[:, None].to(boxes.dtype), scores[:, None].to(boxes.dtype)]
        rows.append(torch.cat(columns, 1))
    table = pad_sequence(rows, batch_first=True)
    lengths = torch.tensor([len(r) for r in rows], device=table.device)
    missing = torch.arange(table.shape[1], device=table.device) >= lengths[:, None]
    filler = torch.zeros_like(table)
    filler[..., _LABEL] = -missing.to(table.dtype)
    return table + filler


def box_score(output: Tensor, number: int, labels: tuple[str, ...] = ()) -> Score:
    """The score of one detection of every sample.

    Args:
        output: ``packed`` detections of the samples.
        number: Which, by rank of the score; 0 is the surest.
        labels: Names of the classes.

    Raises:
        UserError: If a sample has fewer detections.
        NotApplicableError: If a sample has none at all.
    """
    wanted: list[Tensor] = []
    words: list[str] = []
    for i, sample in enumerate(output.detach()):
        found = sample[sample[:, _LABEL] >= 0]
        if not len(found):
            raise NotApplicableError(
                f"the model detects nothing in sample {i}: give another image, or lower its "
                "score threshold"
            )
        if not 0 <= number < len(found):
            raise UserError(
                f"target box:{number} is not there: sample {i} has {len(found)} "
                f"{'detection' if len(found) == 1 else 'detections'}, 0 to {len(found) - 1}"
            )
        box = found[found[:, _SCORE].argsort(dim=0, descending=True, stable=True)[number]]
        wanted.append(box)
        corners = ", ".join(f"{float(v):.0f}" for v in box[:4])
        words.append(f"box {number} (class {class_words(int(box[_LABEL]), labels)} at {corners})")
    boxes = torch.stack(wanted)

    def table(detections: Tensor) -> Tensor:
        like = boxes.repeat(len(detections) // len(boxes), 1)
        return _score_of(detections, like)[:, None]

    return Score(
        words=tuple(words), columns=torch.zeros(len(output), dtype=torch.int64), table=table
    )


def _score_of(detections: Tensor, boxes: Tensor) -> Tensor:
    """The score of the detection that overlaps each box most, ``(k · S,)``; 0 where none does."""
    if not detections.shape[1]:
        return detections.sum((1, 2))  # zeros that stay connected
    overlap = _overlaps(detections.detach(), boxes)
    overlap = overlap.where(detections.detach()[..., _LABEL] == boxes[:, None, _LABEL], -1.0)
    best, place = overlap.max(1)
    scores = detections[..., _SCORE].gather(1, place[:, None]).squeeze(1)
    return scores * (best >= _LEAST_OVERLAP)


def _overlaps(detections: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union of ``(R, M, 6)`` with one box per row, ``(R, M)``."""
    box = boxes[:, None]
    width = torch.minimum(detections[..., _X2], box[..., _X2]) - torch.maximum(
        detections[..., _X1], box[..., _X1]
    )
    height = torch.minimum(detections[..., _Y2], box[..., _Y2]) - torch.maximum(
        detections[..., _Y1], box[..., _Y1]
    )
    shared = width.clamp(min=0) * height.clamp(min=0)
    union = _area(detections) + _area(box) - shared
    return shared / union.clamp(min=torch.finfo(union.dtype).tiny)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., _X2] - boxes[..., _X1]) * (boxes[..., _Y2] - boxes[..., _Y1])
