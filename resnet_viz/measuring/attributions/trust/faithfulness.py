"""Infidelity and max-sensitivity: whether a map says what F does, and says it steadily.

Yeh et al. 2019, "On the (in)fidelity and sensitivity of explanations". Captum has both
(``captum.metrics``) and tests compare with it; here all maps share one set of perturbed
forwards, every sample meets the same perturbations, and nobody's random state is touched.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from resnet_viz.measuring.attributions.question import Question
from resnet_viz.measuring.attributions.trust.places import Places, every_row

PERTURBATIONS = 48
"""Sets of places that are taken out for infidelity."""

NEIGHBOURS = 4
"""Inputs near the given one at which max-sensitivity asks again."""

RADIUS = 0.02
"""Of the ball they are drawn from, in units of the input's range: captum's own default for
inputs between 0 and 1."""

Answer = Callable[[Question], tuple[Tensor, ...]]


class Perturbed:
    """F(x) − F(x − I) for the same random I of every sample: I is x − x′ on a few places.

    Attributes:
        parts: ``(n, P)``: the places of each I.
        changes: ``(n, S)``.
    """

    def __init__(self, question: Question, places: Places) -> None:
        generator = torch.Generator().manual_seed(question.seed)
        self.parts = places.random_parts(PERTURBATIONS, generator)
        kept = ~self.parts[:, None].expand(-1, question.subject.samples, -1)
        scores = every_row(question, places, kept, question.score)
        self.changes = question.value.detach().to("cpu", torch.float64) - scores


def infidelity(perturbed: Perturbed, account: Tensor) -> tuple[float | None, ...]:
    """E[(β I·φ − (F(x) − F(x − I)))²] / E[(F(x) − F(x − I))²] of each sample, from 0 to 1.

    β ≥ 0 is the best scale of φ, so that maps in other units compare: this is what captum's
    ``infidelity(normalize=True)`` gives over the mean square of the changes, but that a map
    that says the opposite gets 1, not 0.

    Args:
        perturbed: The changes of the score.
        account: ``(S, P)``: what φ says that each place is worth.

    Returns:
        ``None`` where the score never moves.
    """
    said = perturbed.parts.to(torch.float64) @ account.T
    moved = perturbed.changes
    both = (said * moved).sum(0).clamp(min=0)
    squares = said.square().sum(0) * moved.square().sum(0)
    explained = torch.where(squares > 0, both.square() / squares, 0.0).clamp(max=1)
    found = torch.where(moved.square().sum(0) > 0, 1 - explained, torch.nan).tolist()
    return tuple(None if value != value else value for value in found)


def max_sensitivity(
    question: Question, values: tuple[Tensor, ...], answer: Answer
) -> tuple[float | None, ...]:
    """The largest ‖φ(x + ε) − φ(x)‖ / ‖φ(x)‖ of each sample, ε uniform in a box (definition 3).

    Args:
        question: What the map explains.
        values: φ(x), as captum gave it.
        answer: φ of another question, drawing the same random numbers.

    Returns:
        ``None`` where φ(x) is zero everywhere or φ(x + ε) is not finite.
    """
    generator = torch.Generator().manual_seed(question.seed)
    start = _rows(question, values)
    norm = start.norm(dim=1)
    worst = torch.zeros_like(norm)
    for _ in range(NEIGHBOURS):
        with question.asked_of(question.model) as near:
            near.subject.inputs = tuple(
                x + RADIUS * _range(question, x) * _noise(question, x, generator)
                for x in question.subject.inputs
            )
            moved = _rows(question, answer(near))
        worst = torch.maximum(worst, (moved - start).norm(dim=1) / norm)
    # ``maximum`` keeps NaN, which 0/0 and an answer that is not finite leave here.
    return tuple(value if value < float("inf") else None for value in worst.tolist())


def _rows(question: Question, values: tuple[Tensor, ...]) -> Tensor:
    """``(S, all values)``."""
    axis = question.subject.axis
    rows = (v.detach().to("cpu", torch.float64) for v in values)
    first = (v[None] if axis is None else v.movedim(axis, 0) for v in rows)
    return torch.cat([v.reshape(len(v), -1) for v in first], 1)


def _range(question: Question, x: Tensor) -> Tensor:
    """Largest less smallest value of each sample, in a shape that broadcasts to ``x``."""
    axis = question.subject.axis
    others = [a for a in range(x.ndim) if a != axis]
    if not others:
        return x.abs()
    return x.amax(others, keepdim=True) - x.amin(others, keepdim=True)


def _noise(question: Question, x: Tensor, generator: torch.Generator) -> Tensor:
    """Between -1 and 1, the same for every sample: who stands beside whom does not matter."""
    one = question.subject.sample(x, 0)
    noise = torch.rand(one.shape, generator=generator) * 2 - 1
    noise = noise.to(x.device, x.dtype)
    return noise if question.subject.axis is None else noise.unsqueeze(question.subject.axis)
