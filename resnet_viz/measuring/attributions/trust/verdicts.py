"""What was tested of a map, in a few plain sentences, worst first."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.core.message import Message, say, sentences
from resnet_viz.core.terms import word
from resnet_viz.core.trust import CascadeStep, Curve, Trust

SAME = 0.85
"""Rank correlation from which a map counts as the same: 72 % of the variance of its ranks is
then what it was. Asked after the head alone was drawn anew, which already makes the score a
random readout of the same features: what still ranks alike says where features are, whatever
they are used for. Deeper steps tell less, as every map changes once the features themselves
have gone. On two nets trained on digits (24 images, mean of 3 draws) guided backprop keeps 0.87
to 0.99, and all others at most 0.81: integrated gradients 0.51 to 0.78, occlusion 0.44 to 0.81,
input × gradient 0.41 to 0.78, SmoothGrad 0.15 to 0.77, saliency 0.08 to 0.58."""

ENOUGH = 20
"""Places below which a rank correlation is too much a matter of luck: of 20 its standard error
at 0.6 is 0.17, of 8 it is 0.31 (Bonett & Wright 2000)."""

UNSTEADY = 1.0
"""Max-sensitivity from which a map changes by more than all it says."""

INFIDEL = 0.9
"""Infidelity from which a map explains less than a tenth of what happens."""

STILL = 0.02
"""Change of a probability below which nothing happened that a map could explain."""


def depends_on_weights(steps: Sequence[CascadeStep], places: int) -> bool | None:
    """The verdict of the randomisation check.

    Args:
        steps: From the head down; none where it did not run.
        places: How many were ranked.

    Returns:
        ``None`` where it did not run, or ranked too few places to tell.
    """
    return steps[0].rank_correlation < SAME if steps and places >= ENOUGH else None


def verdict_of(trust: Trust, *, noun: str, silent: bool = False, missing: str = "") -> Message:
    """The verdict on one map.

    Args:
        trust: What was tested of it.
        noun: What its places are (``pixels``).
        silent: Whether the map is the same everywhere.
        missing: Why a test that was asked for did not run.
    """
    if silent:
        return say("It is the same everywhere: it ranks nothing.")
    bad: list[str] = []
    good: list[str] = []
    if trust.cascade and trust.depends_on_weights is not None:
        head, stem = trust.cascade[0], trust.cascade[-1]
        number = say(
            "rank correlation {rank} with {layer} and all after it drawn anew",
            rank=f"{head.rank_correlation:.2f}",
            layer=head.layer,
        )
        if len(trust.cascade) > 1:
            number = say(
                "{head}, {rank} with all layers", head=number, rank=f"{stem.rank_correlation:.2f}"
            )
        if trust.depends_on_weights:
            good.append(say("It depends on the weights ({number}).", number=number))
        else:
            bad.append(
                say(
                    "Hardly depends on the weights that decide ({number}): do not read it as an "
                    "explanation of what this model answers.",
                    number=number,
                )
            )
    if trust.deletion is not None and trust.insertion is not None:
        words, fine = _of_curves(trust.deletion, trust.insertion, noun)
        (good if fine else bad).append(words)
    if trust.max_sensitivity is not None and trust.max_sensitivity >= UNSTEADY:
        bad.append(
            say(
                "Noise of 2 % of the input's range changes it by {part}: its details mean nothing.",
                part=_percent(trust.max_sensitivity),
            )
        )
    if trust.infidelity is not None and trust.infidelity >= INFIDEL:
        bad.append(
            say(
                "It explains {part} of what the score does when parts of the input are taken out.",
                part=_percent(1 - trust.infidelity),
            )
        )
    if missing:
        bad.append(missing)
    return sentences(*[*bad, *good][: max(2, len(bad))])


def _of_curves(deletion: Curve, insertion: Curve, noun: str) -> tuple[Message, bool]:
    """What happens at a tenth of the places, and whether the order beats a random one."""
    scores = (*deletion.scores, *insertion.scores, *deletion.random_scores)
    share = deletion.unit == "share"
    if not share and max(scores) - min(scores) < STILL:
        return (
            say(
                "Whatever {places} are removed, the probability stays between {low} and {high}: "
                "there is little to explain.",
                places=word(noun),
                low=f"{min(scores):.3f}",
                high=f"{max(scores):.3f}",
            ),
            False,
        )
    what = (
        say("the score, as a share of what it has over the baseline,")
        if share
        else say("the probability")
    )
    start, end, random = deletion.auc, insertion.auc, deletion.random_auc
    if end <= start:
        # A random order gets the same of both.
        return (
            say(
                "Finds what matters no better than a random order: {what} averages {start} while "
                "its strongest {places} go first and {end} while they come first (random order: "
                "{random}).",
                what=what,
                start=f"{start:.2f}",
                places=word(noun),
                end=f"{end:.2f}",
                random=f"{random:.2f}",
            ),
            False,
        )
    at = _parting(deletion)
    return (
        say(
            "Removing its strongest {part} of {places} takes {what} from {high} to {low} (random "
            "order: {random_low}); it averages {mean} while all go (random order: {random}).",
            part=_percent(deletion.fractions[at]),
            places=word(noun),
            what=what,
            high=f"{deletion.scores[0]:.2f}",
            low=f"{deletion.scores[at]:.2f}",
            random_low=f"{deletion.random_scores[at]:.2f}",
            mean=f"{start:.2f}",
            random=f"{random:.2f}",
        ),
        True,
    )


def _parting(curve: Curve) -> int:
    """Where, in its first half, the curve is farthest below that of a random order."""
    early = [i for i, fraction in enumerate(curve.fractions) if 0 < fraction <= 0.5] or [1]
    return max(early, key=lambda i: curve.random_scores[i] - curve.scores[i])


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
