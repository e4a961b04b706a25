"""How far an attribution can be believed: what was tested, and a verdict in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The score while pixels are taken away, or put back, strongest first (RISE 2018).

    Attributes:
        fractions: Of the pixels changed so far, from 0 to 1.
        scores: What is explained, at each of them: the probability of a class where the
            output is ``(N, C)``, else the score as a share of its way from the baseline (0)
            to the input (1).
        auc: Area under the curve by the trapezoid rule.
        random_auc: The same in a random order of pixels: what a map that says nothing gets.
        random_scores: The scores in that order.
        unit: Which of the two ``scores`` are.
    """

    fractions: tuple[float, ...]
    scores: tuple[float, ...]
    auc: float
    random_auc: float
    random_scores: tuple[float, ...] = ()
    unit: Literal["probability", "share"] = "probability"


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeStep:
    """One step of the randomisation check (Adebayo 2018): layers drawn anew from the top.

    Attributes:
        layer: The last module that was drawn anew; all above it were, too.
        share: Of all weights, those drawn anew by then.
        rank_correlation: Spearman's, of magnitudes, with the map of the given weights,
            over the pixels whose input differs from the baseline; at the first step the
            mean of three draws.
    """

    layer: str
    share: float = 1.0
    rank_correlation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What was tested of one map of one input. ``None`` and empty: not tested.

    Attributes:
        infidelity: E[(I·φ − (F(x) − F(x − I)))²] (Yeh 2019, equation 1), after the best
            scaling of φ by a number ≥ 0 and over E[(F(x) − F(x − I))²]; I puts random parts
            of the input at the baseline. 0 is a perfect linear account of what that does, 1
            one that explains nothing.
        max_sensitivity: max ‖φ(x + ε) − φ(x)‖ / ‖φ(x)‖ in a small ball (Yeh 2019,
            definition 3).
        deletion: Strongest pixels replaced by the baseline first; a good map falls fast.
        insertion: Strongest pixels put on the baseline first; a good map rises fast.
        cascade: The randomisation check, from the output down.
        depends_on_weights: Whether the map changes with the weights, as it must: whether
            the rank correlation is below 0.85 after the first step, the head. ``None`` also
            where fewer than 20 places could be ranked.
        verdict: All of it in one or two sentences, worst first.
    """

    infidelity: float | None = None
    max_sensitivity: float | None = None
    deletion: Curve | None = None
    insertion: Curve | None = None
    cascade: tuple[CascadeStep, ...] = ()
    depends_on_weights: bool | None = None
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far two methods say the same of one input and target.

    Attributes:
        input: Index of the input sample.
        target: What was explained, in words.
        a: Title of a method (and its layer, where it has one).
        b: Of another.
        rank_correlation: Spearman's, of magnitudes, place by place.
        overlap: Share of the strongest tenth of the places that both have; ``None`` where that
            would be one place.
    """

    input: int
    target: str
    a: str
    b: str
    rank_correlation: float
    overlap: float | None = None
