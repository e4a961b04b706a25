"""How far to trust each map: every test, and what the methods agree on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import mean

import torch
from torch import Tensor

from resnet_viz.core.errors import ModelError, NotApplicableError
from resnet_viz.core.trust import Agreement, CascadeStep, Trust
from resnet_viz.measuring.attributions.methods import Method
from resnet_viz.measuring.attributions.question import Question
from resnet_viz.measuring.attributions.trust.cascade import (
    HEAD_DRAWS,
    Group,
    cascade,
    groups_from_top,
)
from resnet_viz.measuring.attributions.trust.curves import (
    curves,
    lay_ground,
    rows_of_curves,
    rows_of_ground,
)
from resnet_viz.measuring.attributions.trust.faithfulness import (
    NEIGHBOURS,
    PERTURBATIONS,
    Answer,
    Perturbed,
    infidelity,
    max_sensitivity,
)
from resnet_viz.measuring.attributions.trust.places import Places
from resnet_viz.measuring.attributions.trust.ranks import rank_correlation, strongest_overlap
from resnet_viz.measuring.attributions.trust.verdicts import ENOUGH, depends_on_weights, verdict_of

_FEWEST = 3
"""Places that must differ from the baseline before the others are left out of a ranking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one method said of a question.

    Attributes:
        method: The method.
        layer: Where it looked; empty for the input.
        values: One finite tensor per input of its shape, or a layer's as channels by places.
        answer: The same method, asked another question, in the same form.
    """

    method: Method
    layer: str = ""
    values: tuple[Tensor, ...]
    answer: Answer

    @property
    def title(self) -> str:
        """The method, and where it looked."""
        return f"{self.method.title} at {self.layer}" if self.layer else self.method.title


def judge(question: Question, claims: Sequence[Claim]) -> tuple[tuple[Trust, ...], ...]:
    """What was tested of every claim, per sample; empty where ``options.trust`` is off.

    ``quick`` runs deletion and insertion: forwards only, 14 rows per map and sample and 16
    for all of them. ``full`` adds infidelity (forwards too, shared by all maps),
    max-sensitivity and the randomisation check, which ask each method again: 4 times, once
    per group of layers (at most 8), and twice more for the head. The model is left as it is;
    layers are drawn anew on a copy.

    Args:
        question: What was asked.
        claims: What was answered; values are finite.
    """
    level = question.options.trust
    if level == "off" or not claims:
        return ((),) * len(claims)
    places = Places(question)
    found = [[Trust() for _ in range(question.subject.samples)] for _ in claims]
    tests = [_draw_curves]
    if level == "full":
        tests += [_test_faithfulness, _randomise]
    missing = []
    for test in tests:
        try:
            test(question, places, claims, found)
        except (ModelError, NotApplicableError) as error:
            # The map stands without the test.
            missing.append(f"Not all was tested: {error}.")
    for claim, row in zip(claims, found, strict=True):
        silent = [_flat(r) for r in _ranked(places, claim, claim.values)]
        row[:] = [
            replace(t, verdict=verdict_of(t, noun=places.noun, silent=s, missing=" ".join(missing)))
            for t, s in zip(row, silent, strict=True)
        ]
    return tuple(map(tuple, found))


def agreements_of(question: Question, claims: Sequence[Claim]) -> tuple[Agreement, ...]:
    """How far every two claims agree, per sample; empty where ``options.trust`` is off.

    Compared are magnitudes at the places whose input differs from the baseline; maps of
    layers are enlarged to the image. A claim that cannot be laid over the input is left out.
    """
    if question.options.trust == "off" or len(claims) < 2:
        return ()
    places = Places(question)
    laid = [(c.title, places.strengths(c.method, c.values)) for c in claims]
    maps = [(title, strengths.abs()) for title, strengths in laid if strengths is not None]
    found = []
    for i, target in enumerate(question.score.words):
        where = _telling(places, i)
        for (a, left), (b, right) in combinations(maps, 2):
            pair = left[i][where], right[i][where]
            found.append(
                Agreement(
                    input=i,
                    target=target,
                    a=a,
                    b=b,
                    rank_correlation=rank_correlation(*pair),
                    overlap=strongest_overlap(*pair) if len(pair[0]) >= ENOUGH else None,
                )
            )
    return tuple(found)


def passes_of_judging(
    question: Question, methods: Sequence[Method], passes_of: Callable[[Question, Method], int]
) -> int:
    """How often the samples will go through the model, for the progress bar.

    Args:
        question: What is asked.
        methods: Of the claims.
        passes_of: The same of one answer.
    """
    level = question.options.trust
    if level == "off" or not methods:
        return 0
    places = Places(question)
    total = rows_of_ground(places) + len(methods) * rows_of_curves(places)
    if level == "full":
        groups = groups_from_top(question.model, question.graph, question.structure)
        again = NEIGHBOURS + len(groups) + (HEAD_DRAWS - 1 if groups else 0)
        total += PERTURBATIONS + again * sum(passes_of(question, m) for m in methods)
    return total


def _draw_curves(
    question: Question, places: Places, claims: Sequence[Claim], found: list[list[Trust]]
) -> None:
    ground = lay_ground(question, places)
    if ground is None:
        return
    for claim, row in zip(claims, found, strict=True):
        strengths = places.strengths(claim.method, claim.values)
        if strengths is None:
            continue
        pairs = curves(question, ground, strengths)
        row[:] = [
            replace(t, deletion=deletion, insertion=insertion)
            for t, (deletion, insertion) in zip(row, pairs, strict=True)
        ]


def _test_faithfulness(
    question: Question, places: Places, claims: Sequence[Claim], found: list[list[Trust]]
) -> None:
    perturbed = Perturbed(question, places)
    for claim, row in zip(claims, found, strict=True):
        account = places.account(claim.method, claim.values)
        nothing: tuple[float | None, ...] = (None,) * len(row)
        infidel = nothing if account is None else infidelity(perturbed, account)
        try:
            unsteady = max_sensitivity(question, claim.values, claim.answer)
        except (ModelError, NotApplicableError):
            # A method that answers at x may refuse near it.
            unsteady = nothing
        row[:] = [
            replace(t, infidelity=i, max_sensitivity=s)
            for t, i, s in zip(row, infidel, unsteady, strict=True)
        ]


def _randomise(
    question: Question, places: Places, claims: Sequence[Claim], found: list[list[Trust]]
) -> None:
    groups = groups_from_top(question.model, question.graph, question.structure)
    given = [_ranked(places, c, c.values) for c in claims]
    # Per claim and group the correlations of every draw, per sample.
    seen: dict[int, dict[Group, list[list[float]]]] = {n: {} for n in range(len(claims))}
    for group, other in cascade(question, groups):
        for number in list(seen):
            try:
                now = _ranked(places, claims[number], claims[number].answer(other))
            except (ModelError, NotApplicableError):
                # A method that answers of the given weights may refuse others.
                del seen[number]
                continue
            pairs = enumerate(zip(given[number], now, strict=True))
            row = [_correlation(places, i, *pair) for i, pair in pairs]
            seen[number].setdefault(group, []).append(row)
    for number, by_group in seen.items():
        for i, trust in enumerate(found[number]):
            ranked = given[number][i]
            if _flat(ranked):
                continue
            places_ranked = int(_telling(places, i, len(ranked)).sum())
            steps = tuple(
                CascadeStep(
                    layer=group.name,
                    share=group.share,
                    rank_correlation=mean(draw[i] for draw in draws),
                )
                for group, draws in by_group.items()
            )
            found[number][i] = replace(
                trust, cascade=steps, depends_on_weights=depends_on_weights(steps, places_ranked)
            )


def _correlation(places: Places, sample: int, a: Tensor, b: Tensor) -> float:
    where = _telling(places, sample, len(a))
    return rank_correlation(a[where], b[where])


def _ranked(places: Places, claim: Claim, values: tuple[Tensor, ...]) -> Tensor:
    """``(S, places)`` magnitudes; of what cannot be laid over the input its own values."""
    strengths = places.strengths(claim.method, values)
    if strengths is None:
        rows = (v.detach().to("cpu", torch.float64) for v in values)
        strengths = torch.cat([v.reshape(len(v), -1) for v in rows], 1)
    return strengths.abs()


def _flat(ranked: Tensor) -> bool:
    return bool((ranked == ranked[0]).all())


def _telling(places: Places, sample: int, count: int | None = None) -> Tensor:
    """Where a comparison of maps tells something: where the input is not the baseline.

    Elsewhere methods that multiply by x − x′ are zero whatever the model, and a constant
    background would make any two of their maps agree.
    """
    differs = places.differs[sample]
    if count not in (None, places.count) or int(differs.sum()) < _FEWEST:
        return torch.ones(places.count if count is None else count, dtype=torch.bool)
    return differs
