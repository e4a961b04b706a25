"""Deletion and insertion: what the score does while a map's strongest places go or come.

Petsiuk et al. 2018 (RISE). A deleted place holds the baseline's value. The random order
that every map is held against is drawn once and run once for all maps and both curves:
the places that deletion keeps are those that insertion of the reversed order has put.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from resnet_viz.core.trust import Curve
from resnet_viz.measuring.attributions.question import Question
from resnet_viz.measuring.attributions.trust.places import Places, every_row

Unit: TypeAlias = Literal["probability", "share"]

FRACTIONS = (0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97)
"""Of the places changed, between none and all; symmetric, and dense where curves bend."""

RANDOM_ORDERS = 2
"""Random orders whose curves are averaged."""

FEWEST = 4
"""Places below which no order is worth a curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the curves of all maps share.

    Attributes:
        places: Of the inputs.
        counts: Places changed at each point between the ends.
        orders: Random orders, ``(R, P)``; the first breaks ties.
        read: From the model's output to a number per row.
        unit: What that number is.
        full: It at the inputs, ``(S,)``.
        empty: It at the baseline, ``(S,)``.
        random: It with so many random places *kept*, ``(R, points, S)``.
    """

    places: Places
    counts: tuple[int, ...]
    orders: Tensor
    read: Callable[[Tensor], Tensor]
    unit: Unit
    full: Tensor
    empty: Tensor
    random: Tensor


def lay_ground(question: Question, places: Places) -> Ground | None:
    """Both ends and the random orders; ``None`` where there are too few places."""
    if places.count < FEWEST:
        return None
    generator = torch.Generator().manual_seed(question.seed)
    orders = torch.stack(
        [torch.randperm(places.count, generator=generator) for _ in range(RANDOM_ORDERS)]
    )
    counts = tuple(dict.fromkeys(_count(f, places.count) for f in FRACTIONS))
    samples = question.subject.samples
    kept = [torch.ones(1, places.count), torch.zeros(1, places.count)]
    kept += [_first(order[None], counts)[:, 0] for order in orders]
    shared = torch.cat([k.bool() for k in kept])[:, None].expand(-1, samples, -1)
    read, unit = _reading(question)
    found = every_row(question, places, shared, read)
    return Ground(
        places=places,
        counts=counts,
        orders=orders,
        read=read,
        unit=unit,
        full=found[0],
        empty=found[1],
        random=found[2:].reshape(len(orders), len(counts), samples),
    )


def rows_of_ground(places: Places) -> int:
    """Rows of each sample that ``lay_ground`` runs, at most."""
    return 2 + RANDOM_ORDERS * len(FRACTIONS) if places.count >= FEWEST else 0


def rows_of_curves(places: Places) -> int:
    """Rows of each sample that ``curves`` runs, at most."""
    return 2 * len(FRACTIONS) if places.count >= FEWEST else 0


def curves(
    question: Question, ground: Ground, strengths: Tensor
) -> tuple[tuple[Curve | None, Curve | None], ...]:
    """Deletion and insertion of every sample, strongest place first.

    Args:
        question: What the map explains.
        ground: Of the same question.
        strengths: ``(S, P)``: evidence for the target comes first, evidence against it last.
    """
    tie_break = ground.orders[0]
    orders = tie_break[strengths[:, tie_break].argsort(dim=1, descending=True, stable=True)]
    inserted = _first(orders, ground.counts)
    found = every_row(
        question, ground.places, torch.cat([~inserted, inserted]), ground.read
    ).reshape(2, len(ground.counts), -1)
    # Where so many places are kept, the rest is deleted: one set of forwards is both.
    random = ground.random.mean(0)
    return tuple(
        (
            _curve(ground, i, found[0, :, i], random.flip(0)[:, i], deleting=True),
            _curve(ground, i, found[1, :, i], random[:, i], deleting=False),
        )
        for i in range(len(strengths))
    )


def _curve(
    ground: Ground, sample: int, scores: Tensor, random: Tensor, *, deleting: bool
) -> Curve | None:
    full, empty = ground.full[sample], ground.empty[sample]
    ends = (full, empty) if deleting else (empty, full)
    rows = torch.stack(
        [torch.cat([ends[0][None], inner, ends[1][None]]) for inner in (scores, random)]
    )
    if ground.unit == "share":
        rows = (rows - empty) / (full - empty)
    if not bool(torch.isfinite(rows).all()):
        return None
    counts = (0, *ground.counts, ground.places.count)
    fractions = torch.tensor(counts, dtype=torch.float64) / ground.places.count
    areas = torch.trapezoid(rows, fractions, dim=1).tolist()
    return Curve(
        fractions=tuple(fractions.tolist()),
        scores=tuple(rows[0].tolist()),
        auc=areas[0],
        random_auc=areas[1],
        random_scores=tuple(rows[1].tolist()),
        unit=ground.unit,
    )


def _count(fraction: float, count: int) -> int:
    return min(count - 1, max(1, round(fraction * count)))


def _first(orders: Tensor, counts: tuple[int, ...]) -> Tensor:
    """``(points, S, P)``: whether a place is among the first so many of ``(S, P)`` orders."""
    position = torch.empty_like(orders)
    position.scatter_(1, orders, torch.arange(orders.shape[1]).expand_as(orders))
    return torch.stack([position < count for count in counts])


def _reading(question: Question) -> tuple[Callable[[Tensor], Tensor], Unit]:
    score = question.score
    if not question.probabilities:
        return score, "share"

    def probability(output: Tensor) -> Tensor:
        found = score.probabilities(output)
        return score(output) if found is None else found

    return probability, "probability"
