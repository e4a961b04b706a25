"""What He et al. and theory expect of the degradation experiment, beside what came out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import TypeAlias

from resnet_viz.core.experiments.common import Check, LayerNorms
from resnet_viz.core.experiments.degradation import TrainedNet

FACTOR_PER_LAYER = math.sqrt(math.pi / (math.pi - 1))
"""By which one layer of a plain net with batch norm and ReLU multiplies the norm of the
gradient on its way back, at initialisation and infinite width (Yang et al. 2019)."""

Pairs: TypeAlias = Sequence[tuple[TrainedNet, ...]]
"""Two nets to be compared, for each seed."""

_FIGURE = "He et al. 2015 (1512.03385), figure 6"
_MEAN_FIELD = "Yang et al. 2019 (1902.08129)"
_PERCENT = 6
"""By how much the mean over seeds may miss a closed form for infinite width: of five seeds with
eight channels none missed by more than 4 % at 56 layers, or 5 % at 20."""

_DEEP_ENOUGH = 20
"""Below this depth a factor per layer drowns in what the first and the last layer add."""


def check_nets(nets: Sequence[TrainedNet]) -> tuple[Check, ...]:
    """The checks that these nets allow: some need two depths, some both kinds.

    Each compares nets of one seed; what is told is the worst seed, so that a check
    holds only if every seed does.

    Args:
        nets: In any order.
    """
    found = {(net.residual, net.depth, net.seed): net for net in nets}
    depths = sorted({net.depth for net in nets})
    seeds = sorted({net.seed for net in nets})
    plain = any(not net.residual for net in nets)
    residual = any(net.residual for net in nets)
    steep = bool(depths) and depths[-1] >= _DEEP_ENOUGH

    def by_seed(*kinds_and_depths: tuple[bool, int]) -> list[tuple[TrainedNet, ...]]:
        return [tuple(found[(*which, seed)] for which in kinds_and_depths) for seed in seeds]

    checks: list[Check] = []
    if plain and len(depths) > 1:
        pairs = by_seed((False, depths[0]), (False, depths[-1]))
        checks += [*_plain_order(pairs), *_explosion(pairs)]
    if residual and len(depths) > 1:
        checks += _residual_order(by_seed((True, depths[0]), (True, depths[-1])))
    if plain and steep:
        checks += _slope([net for (net,) in by_seed((False, depths[-1]))])
    if plain and residual and steep:
        checks += _kinds_apart(by_seed((False, depths[-1]), (True, depths[-1])))
    if plain and residual:
        twins = (by_seed((False, depth), (True, depth)) for depth in depths)
        checks += _twins([pair for of_depth in twins for pair in of_depth])
    return tuple(checks)


def backward_factor(norms: LayerNorms) -> float:
    """By which the gradient's norm grows per layer on its way back through the first stage.

    The slope of a least-squares line through the logarithms, over the layers of equal
    shape: where shape changes, so do fan-in and resolution, which the closed form leaves out.
    """
    values = [
        math.log(norm)
        for layer, norm in zip(norms.layers, norms.norms, strict=True)
        if layer.startswith("layer1.") and norm > 0
    ]
    if len(values) < 2:
        return float("nan")
    middle, mean = (len(values) - 1) / 2, fmean(values)
    slope = sum((i - middle) * (value - mean) for i, value in enumerate(values))
    return math.exp(-slope / sum((i - middle) ** 2 for i in range(len(values))))


def _worst(
    worst: Callable[[Iterator[float]], float],
    pairs: Pairs,
    compare: Callable[[TrainedNet, TrainedNet], float],
) -> float:
    """The worst of all pairs; NaN (a loss that diverged on both sides) is worse than any."""
    values = [compare(*pair) for pair in pairs]
    return float("nan") if any(math.isnan(v) for v in values) else worst(iter(values))


def _excess_error(one: TrainedNet, other: TrainedNet) -> float:
    return other.epochs[-1].train_error - one.epochs[-1].train_error


def _loss_ratio(one: TrainedNet, other: TrainedNet) -> float:
    """The other's loss over this one's; a loss that is no number counts as infinite."""
    before, after = (
        math.inf if math.isnan(net.epochs[-1].train_loss) else net.epochs[-1].train_loss
        for net in (one, other)
    )
    return after / before if before else math.inf


def _gradient_ratio(net: TrainedNet) -> float:
    return net.gradients[0].first_over_last


def _plain_order(pairs: Pairs) -> list[Check]:
    shallow, deep = pairs[0]
    error = _worst(min, pairs, _excess_error)
    ratio = _worst(min, pairs, _loss_ratio)
    return [
        Check(
            what=f"training error of {deep.label} minus that of {shallow.label}, as a fraction, "
            "smallest of all seeds",
            measured=error,
            allowed="more than 0",
            holds=error > 0,
            source=f"{_FIGURE} left",
        ),
        Check(
            what=f"training loss of {deep.label} over that of {shallow.label}, "
            "smallest of all seeds",
            measured=ratio,
            allowed="more than 10 (found on the digits after 440 steps; elsewhere it may differ)",
            holds=ratio > 10,
            source=f"the order of {_FIGURE} left",
        ),
    ]


def _residual_order(pairs: Pairs) -> list[Check]:
    shallow, deep = pairs[0]
    error = _worst(max, pairs, _excess_error)
    ratio = _worst(max, pairs, _loss_ratio)
    return [
        Check(
            what=f"training error of {deep.label} minus that of {shallow.label}, as a fraction, "
            "largest of all seeds",
            measured=error,
            allowed="at most 0.01 (as good, to a point)",
            holds=error <= 0.01,
            source=f"{_FIGURE} middle",
        ),
        Check(
            what=f"training loss of {deep.label} over that of {shallow.label}, "
            "largest of all seeds",
            measured=ratio,
            allowed="less than 10 (set from three seeds on the digits; elsewhere it may differ)",
            holds=ratio < 10,
            source=f"the order of {_FIGURE} middle",
        ),
    ]


def _explosion(pairs: Pairs) -> list[Check]:
    shallow, deep = pairs[0]
    growth = _worst(min, pairs, lambda one, other: _gradient_ratio(other) / _gradient_ratio(one))
    return [
        Check(
            what="first over last layer's gradient norm at initialisation, "
            f"{deep.label} over {shallow.label}, smallest of all seeds",
            measured=growth,
            allowed="more than 1: the gradient grows on its way back, and more with depth",
            holds=growth > 1,
            source=f"{_MEAN_FIELD}: with batch norm the backward pass of a plain net explodes",
        )
    ]


def _slope(nets: Sequence[TrainedNet]) -> list[Check]:
    factors = [backward_factor(net.gradients[0]) for net in nets]
    if any(math.isnan(factor) for factor in factors):
        return []
    measured = math.exp(fmean(math.log(factor) for factor in factors))
    return [
        Check(
            what=f"factor of the gradient's norm per layer of {nets[0].label} on the way back, "
            "first stage, at initialisation, geometric mean of all seeds",
            measured=measured,
            expected=FACTOR_PER_LAYER,
            allowed=f"within {_PERCENT} % (finite width)",
            holds=abs(measured / FACTOR_PER_LAYER - 1) <= _PERCENT / 100,
            source=f"{_MEAN_FIELD}: √(π/(π−1)) at infinite width",
        )
    ]


def _kinds_apart(pairs: Pairs) -> list[Check]:
    plain, residual = pairs[0]
    ratio = _worst(max, pairs, lambda one, other: _gradient_ratio(other) / _gradient_ratio(one))
    return [
        Check(
            what="first over last layer's gradient norm at initialisation, "
            f"{residual.label} over {plain.label}, largest of all seeds",
            measured=ratio,
            allowed="less than 1",
            holds=ratio < 1,
            source=f"{_MEAN_FIELD}: skip connections reduce the explosion",
        )
    ]


def _twins(pairs: Pairs) -> list[Check]:
    equal = sum(
        one.weights_digest == other.weights_digest and one.params == other.params
        for one, other in pairs
    )
    return [
        Check(
            what="pairs of a plain net and its residual twin with the same initial weights",
            measured=float(equal),
            expected=float(len(pairs)),
            allowed="all",
            holds=equal == len(pairs),
            source="option A of He et al. 2015, section 3.3: its shortcuts have no weights",
        )
    ]
