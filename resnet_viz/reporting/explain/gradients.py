"""What comes back through a deep network: vanishing, exploding, and what degradation is not."""

from __future__ import annotations

import math

from resnet_viz.core.message import Message, say, say_n, sentences
from resnet_viz.core.units import scientific
from resnet_viz.reporting.explain.note import Note, note, power
from resnet_viz.reporting.explain.papers import GLOROT_2010, HE_2015, YANG_2019
from resnet_viz.reporting.page.tables import Facts

BN_RELU_FACTOR = math.sqrt(math.pi / (math.pi - 1))
"""Growth of the gradient norm per layer, backward, of a wide BatchNorm-ReLU chain at
initialisation (Yang et al. 2019): the square root of π/(π − 1)."""


def vanishing(facts: Facts) -> Note:
    """A product of one Jacobian per layer shrinks or grows with depth."""
    return note(
        "vanishing",
        say("Vanishing and exploding gradients"),
        "∂L/∂x₀ = J₁ᵀ J₂ᵀ ⋯ Jₙᵀ ∂L/∂xₙ",
        say(
            "Backward, the gradient is multiplied by one Jacobian per layer. If these shrink it a "
            "little, a deep network's first layers hardly learn (vanishing); if they stretch it, "
            "their steps become too large (exploding). A factor of 0.9 over 50 layers is 0.005, "
            "one of 1.1 is 117. What tells is the slope over depth on a log scale; no single norm "
            "is good or bad by itself."
        ),
        sentences(_slope(facts), _weights(facts)),
        GLOROT_2010,
    )


def _slope(facts: Facts) -> Message | None:
    slope = facts.slope
    if slope is None:
        return None
    steps = slope.depths[-1] - slope.depths[0]
    facts_of = {
        "model": facts.graph.name, "factor": f"{slope.factor:.3g}",
        "span": scientific(slope.span),
    }  # fmt: skip
    if slope.factor < 1:
        return say_n(
            "Towards the input of {model} the gradient shrinks: by a fitted factor of {factor} "
            "per layer, {span} over the {n} layer in a row.",
            "Towards the input of {model} the gradient shrinks: by a fitted factor of {factor} "
            "per layer, {span} over the {n} layers in a row.",
            steps, **facts_of,
        )  # fmt: skip
    return say_n(
        "Towards the input of {model} the gradient grows: by a fitted factor of {factor} per "
        "layer, {span} over the {n} layer in a row.",
        "Towards the input of {model} the gradient grows: by a fitted factor of {factor} per "
        "layer, {span} over the {n} layers in a row.",
        steps, **facts_of,
    )  # fmt: skip


def _weights(facts: Facts) -> Message:
    found = [
        (facts.name(op.id), s.l2)
        for op in facts.weighted
        if (s := facts.weight_gradient(op)) is not None and s.l2 > 0 and math.isfinite(s.l2)
    ]
    if len(found) > 1:
        low, high = min(found, key=lambda f: f[1]), max(found, key=lambda f: f[1])
        return say(
            "Over its {n} weighted layers the weight gradients of {model} lie between {low} "
            "({low_at}) and {high} ({high_at}), first layer {first}, last layer {last}.",
            n=len(found), model=facts.graph.name, low=scientific(low[1]), low_at=low[0],
            high=scientific(high[1]), high_at=high[0], first=scientific(found[0][1]),
            last=scientific(found[-1][1]),
        )  # fmt: skip
    if facts.flow is None:
        return say("The gradient flow of this network was not measured in this report.")
    if not found:
        return say("On this run no weighted layer received a gradient other than zero.")
    return say(
        "On this run only {layer} received a gradient other than zero: {norm}. There is no slope "
        "to read.",
        layer=found[0][0], norm=scientific(found[0][1]),
    )  # fmt: skip


def degradation(facts: Facts) -> Note | None:
    """Why deeper plain nets train worse, and what that is not."""
    slope = facts.slope
    steps = slope.depths[-1] - slope.depths[0] if slope else len(facts.weighted) - 1
    # The factor is that of batch norm: no other norm couples the samples of a batch.
    if not any("batch_norm" in op.kind for op in facts.graph.ops) or steps < 1:
        return None
    return note(
        "degradation",
        say("Degradation is not the vanishing gradient"),
        "√(π ∕ (π − 1)) ≈ 1.21",
        say(
            "Deeper plain networks reach a higher training error than shallower ones: on CIFAR-10 "
            "56 layers train worse than 20. He et al. call this degradation and say that "
            "vanishing gradients are unlikely to be its cause: batch normalisation keeps the "
            "signals alive. A plain BatchNorm-ReLU chain even explodes backward at "
            "initialisation, by a factor of about 1.21 per layer in theory. Residual connections "
            "flatten that slope and make the solution easier to find."
        ),
        sentences(
            say_n("Over the {n} layer that {model} has in a row, a plain BatchNorm-ReLU chain "
                  "would stretch the gradient by a factor of {factor} at initialisation, says "
                  "theory.",
                  "Over the {n} layers that {model} has in a row, a plain BatchNorm-ReLU chain "
                  "would stretch the gradient by a factor of {factor} at initialisation, says "
                  "theory.", steps, model=facts.graph.name,
                  factor=power(BN_RELU_FACTOR, steps)),
            say("Measured here: {span}.", span=scientific(slope.span)) if slope else None,
        ),
        f"{HE_2015}; {YANG_2019}",
    )  # fmt: skip
