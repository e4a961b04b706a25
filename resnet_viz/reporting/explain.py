"""What the report means: the few ideas behind it, beside this network's own numbers.

For a reader who meets them for the first time. Each note is general in ``text``,
speaks of the network at hand in ``here``, and names the paper to read on.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, TypeAlias

from resnet_viz.core.structure import Skip
from resnet_viz.core.units import count, nbytes, percent, scientific, si
from resnet_viz.reporting.tables import Facts
from resnet_viz.reporting.wording import block_widths

Note: TypeAlias = dict[str, Any]

HE_2015 = (
    "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015 (arXiv:1512.03385)"
)
HE_2016 = (
    "He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, 2016 (arXiv:1603.05027)"
)
VEIT_2016 = (
    "Veit, Wilber, Belongie: Residual Networks Behave Like Ensembles of Relatively Shallow "
    "Networks, 2016 (arXiv:1605.06431)"
)
YANG_2019 = (
    "Yang, Pennington, Rao, Sohl-Dickstein, Schoenholz: A Mean Field Theory of Batch "
    "Normalization, 2019 (arXiv:1902.08129)"
)
GLOROT_2010 = (
    "Glorot, Bengio: Understanding the Difficulty of Training Deep Feedforward Neural "
    "Networks, AISTATS 2010"
)
CHEN_2016 = (
    "Chen, Xu, Zhang, Guestrin: Training Deep Nets with Sublinear Memory Cost, 2016 "
    "(arXiv:1604.06174)"
)

BN_RELU_FACTOR = math.sqrt(math.pi / (math.pi - 1))
"""Growth of the gradient norm per layer, backward, of a wide BatchNorm-ReLU chain at
initialisation (Yang et al. 2019): the square root of π/(π − 1)."""

_ADDITIVE = ("identity", "projection", "scaled")


def meaning(facts: Facts) -> list[Note]:
    """The notes that apply to this network, in reading order."""
    notes = [
        _residual_block(facts),
        _identity(facts),
        _bottleneck(facts),
        _paths(facts),
        _vanishing(facts),
        _degradation(facts),
        _memory(facts),
    ]
    return [note for note in notes if note]


def _note(key: str, title: str, formula: str, text: str, here: str, source: str) -> Note:
    return {
        "key": key, "title": title, "formula": formula, "text": text, "here": here,
        "source": source,
    }  # fmt: skip


def _additive(facts: Facts) -> tuple[Skip, ...]:
    return tuple(skip for skip in facts.structure.skips if skip.kind in _ADDITIVE)


def _residual_block(facts: Facts) -> Note | None:
    skips = _additive(facts)
    if not skips:
        return None
    plain = sum(skip.kind == "identity" for skip in skips)
    example = next((skip for skip in skips if skip.kind == "identity"), skips[0])
    block = facts.block_at.get(example.id)
    sample = ""
    if block is not None and block.widths:
        sample = f", for example {block.module} with F = {block_widths(block)}"
    hand_on = f"{plain:,} hand x on unchanged"
    if plain < len(skips):
        hand_on += f", {len(skips) - plain:,} project or scale it"
    return _note(
        "residual",
        "The residual block",
        "H(x) = F(x) + x",
        "A block does not have to learn the whole mapping H(x) it should compute, only what must "
        "be added to its input: the residual F(x) = H(x) − x. If nothing needs to change, pushing "
        "F towards zero is easy; teaching several nonlinear layers to copy their input is not. "
        "Where shapes differ, the shortcut needs a projection: H(x) = F(x) + W·x.",
        f"{facts.graph.name} has {count(len(skips), 'additive skip')}: {hand_on}{sample}.",
        HE_2015,
    )


def _identity(facts: Facts) -> Note | None:
    skips = facts.structure.skips_of("identity")
    if not skips:
        return None
    n = len(skips)
    flow = facts.flow
    shares = [s for skip in skips if flow and (s := flow.share_of(skip)) is not None]
    measured = (
        f" Measured here, identity skips carry {percent(min(shares))} to {percent(max(shares))} "
        "of the gradient at their forks."
        if shares
        else ""
    )
    return _note(
        "identity",
        "Why the shortcut should be the identity",
        "∂L/∂x₀ = ∂L/∂xₙ · (1 + ∂/∂x₀ Σ F)",
        "Along identity shortcuts a signal is only added to, never multiplied. Backward, the 1 in "
        "the formula is a path on which the gradient of the last block reaches the first one as it "
        "is. A factor λ on every shortcut would turn that 1 into λⁿ. (The formula holds exactly "
        "for pre-activation blocks; a ReLU after the addition masks both terms.)",
        f"With the {count(n, 'identity skip')} of {facts.graph.name}, a factor of 0.9 per skip "
        f"would leave 0.9{_raised(n)} = {_power(0.9, n)} of that path's gradient.{measured}",
        HE_2016,
    )


def _bottleneck(facts: Facts) -> Note | None:
    blocks = [b for b in facts.structure.blocks_of("bottleneck") if b.widths]
    if not blocks:
        return None
    block = next((b for b in blocks if b.skip.kind == "identity"), blocks[0])
    width, branch = block.widths[-1], set(block.skip.branch)
    own = sum(op.params for op in facts.weighted if op.id in branch)
    wide = 2 * 9 * width * width
    saving = f", {wide / own:.0f} times as many" if own else ""
    return _note(
        "bottleneck",
        "The bottleneck",
        "1×1 reduce → 3×3 → 1×1 restore",
        "A first 1×1 convolution narrows the feature maps, the expensive 3×3 convolution works on "
        "few channels, a last 1×1 convolution widens them again. That makes deep networks "
        "affordable. The skip joins the wide ends, so the shortcut itself never narrows.",
        f"{facts.graph.name} has {count(len(blocks), 'bottleneck block')}. {block.module} runs "
        f"{block_widths(block)} and needs {si(own)} weights; two 3×3 convolutions at its full "
        f"width of {width} channels would need {si(wide)}{saving}. Its squeeze is "
        f"{block.squeeze:.3g}: the narrowest width over the width at the join.",
        HE_2015,
    )


def _paths(facts: Facts) -> Note | None:
    skips = _additive(facts)
    if len(skips) < 2 or len(skips) != len(facts.structure.skips) or not _in_a_row(facts, skips):
        return None
    n = len(skips)
    return _note(
        "paths",
        "Many paths of different lengths",
        "n blocks → 2ⁿ paths",
        "At every block the signal may take the branch or the shortcut. Written out, a residual "
        "network is a sum over all these choices. Few of the paths are long: the number of blocks "
        "a path runs through follows a binomial distribution around n/2.",
        f"The {n} skips of {facts.graph.name} follow one another, so there are 2{_raised(n)} = "
        f"{f'{2**n:,}' if n <= 40 else _power(2, n)} paths from input to output; a typical one "
        f"runs through {n / 2:g} of the {n} branches.",
        VEIT_2016,
    )


def _vanishing(facts: Facts) -> Note:
    found = [
        (facts.name(op.id), s.l2)
        for op in facts.weighted
        if (s := facts.weight_gradient(op)) is not None and s.l2 > 0 and math.isfinite(s.l2)
    ]
    if len(found) > 1:
        (low_name, low), (high_name, high) = (
            min(found, key=lambda f: f[1]), max(found, key=lambda f: f[1])
        )  # fmt: skip
        here = (
            f"Over its {len(found)} weighted layers the weight gradients of {facts.graph.name} "
            f"lie between {scientific(low)} ({low_name}) and {scientific(high)} ({high_name}), "
            f"first layer {scientific(found[0][1])}, last layer {scientific(found[-1][1])}."
        )
    elif facts.flow is None:
        here = "The gradient flow of this network was not measured in this report."
    elif not found:
        here = "On this run no weighted layer received a gradient other than zero."
    else:
        here = (
            f"On this run only {found[0][0]} received a gradient other than zero: "
            f"{scientific(found[0][1])}. There is no slope to read."
        )
    return _note(
        "vanishing",
        "Vanishing and exploding gradients",
        "∂L/∂x₀ = J₁ᵀ J₂ᵀ ⋯ Jₙᵀ ∂L/∂xₙ",
        "Backward, the gradient is multiplied by one Jacobian per layer. If these shrink it a "
        "little, a deep network's first layers hardly learn (vanishing); if they stretch it, their "
        "steps become too large (exploding). What tells is the slope over depth on a log scale; "
        "no single norm is good or bad by itself.",
        here,
        GLOROT_2010,
    )


def _degradation(facts: Facts) -> Note | None:
    slope = facts.slope
    steps = slope.depths[-1] - slope.depths[0] if slope else len(facts.weighted) - 1
    # The factor is that of batch norm: no other norm couples the samples of a batch.
    if not any("batch_norm" in op.kind for op in facts.graph.ops) or steps < 1:
        return None
    measured = f" Measured here: {scientific(slope.span)}." if slope else ""
    return _note(
        "degradation",
        "Degradation is not the vanishing gradient",
        "√(π ∕ (π − 1)) ≈ 1.21 per layer",
        "Deeper plain networks reach a higher training error than shallower ones. He et al. call "
        "this degradation and say that vanishing gradients are unlikely to be its cause: batch "
        "normalisation keeps the signals alive. A plain BatchNorm-ReLU chain even explodes "
        "backward at initialisation, by a factor of about 1.21 per layer in theory. Residual "
        "connections flatten that slope and make the solution easier to find.",
        f"Over the {steps} layers that {facts.graph.name} has in a row, a plain "
        f"BatchNorm-ReLU chain would stretch the gradient by a factor of "
        f"{_power(BN_RELU_FACTOR, steps)} at initialisation, says theory.{measured}",
        f"{HE_2015}; {YANG_2019}",
    )


def _memory(facts: Facts) -> Note | None:
    costs = facts.structure.costs
    inference, training, total = costs.inference_peak, costs.training_peak, costs.total
    if inference is None or training is None or not total.saved_bytes or costs.memory is None:
        return None
    most = sorted(costs.kinds, key=lambda cost: -(cost.saved_bytes or 0))[:2]
    where = " and ".join(f"{c.key} ({nbytes(c.saved_bytes)})" for c in most if c.saved_bytes)
    return _note(
        "memory",
        "Why training takes more memory",
        "parameters + their gradients + what the backward needs again",
        "Inference can forget an activation once its last reader has run. The backward needs many "
        "of them again: a convolution its input, a ReLU its output, a normalisation its input and "
        "statistics. So what is kept grows with depth and with the batch. Activations computed in "
        "place, frozen layers and lower precision keep less; checkpointing keeps almost nothing "
        "and computes it again.",
        f"For the traced input {facts.graph.name} keeps {nbytes(total.saved_bytes)} "
        f"({costs.memory.mode} mode), most of it in {where}. By estimate its memory peaks at "
        f"{nbytes(inference.total)} in inference and {nbytes(training.total)} in training, the "
        "state of an optimizer not counted.",
        CHEN_2016,
    )


def _in_a_row(facts: Facts, skips: tuple[Skip, ...]) -> bool:
    """Whether each skip begins at or after the join of the one before it."""
    ends = sorted((facts.graph.position(s.fork), facts.graph.position(s.join)) for s in skips)
    return all(a[1] <= b[0] for a, b in pairwise(ends))


def _power(base: float, n: int) -> str:
    """``base`` to the ``n``, also where no float holds it."""
    exponent = n * math.log10(base)
    return scientific(base**n) if abs(exponent) < 300 else f"10{_raised(round(exponent))}"


def _raised(n: int) -> str:
    return str(n).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
