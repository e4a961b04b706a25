"""What the degradation experiment showed, in sentences that follow the numbers.

Nothing here is said because He et al. saw it: where a run does not show an order, the
sentence says so. What the experiment cannot show is said in any case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resnet_viz.core.experiments.degradation import Degradation, TrainedNet
from resnet_viz.core.units import count, scientific
from resnet_viz.reporting.experiments.page import Tone, log_mean, mean, pct

_CLOSE = 0.01
"""Errors that differ by at most this are called alike: one point."""

_GROWS = 10.0
"""Factor from last layer to first from which a gradient is said to explode, or vanish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The shallowest and the deepest net of one kind, run by run."""

    shallow: tuple[TrainedNet, ...]
    deep: tuple[TrainedNet, ...]

    @property
    def seeds(self) -> list[tuple[TrainedNet, TrainedNet]]:
        """Both nets of each seed that both were trained from."""
        deep = {net.seed: net for net in self.deep}
        return [(net, deep[net.seed]) for net in self.shallow if net.seed in deep]

    def worse(self) -> int:
        """Seeds in which the deep net is worse in training, by more than a point of error."""
        return sum(_worse(a, b) for a, b in self.seeds)


def _worse(shallow: TrainedNet, deep: TrainedNet) -> bool:
    """Whether the training error, which He et al. compare, is larger; so is one that is NaN."""
    return not deep.epochs[-1].train_error <= shallow.epochs[-1].train_error + _CLOSE


def pair(value: Degradation, *, residual: bool) -> Pair | None:
    """The two depths to compare; ``None`` where there are no two, or nothing was trained."""
    nets = [net for net in value.nets if net.residual == residual and net.epochs]
    depths = sorted({net.depth for net in nets})
    if len(depths) < 2:
        return None
    found = Pair(
        shallow=tuple(net for net in nets if net.depth == depths[0]),
        deep=tuple(net for net in nets if net.depth == depths[-1]),
    )
    return found if found.seeds else None


def verdict(value: Degradation) -> tuple[str, Tone]:
    """What came out, in a few words, and whether it is what He et al. report."""
    plain, residual = pair(value, residual=False), pair(value, residual=True)
    if plain is None:
        return "Too few nets were trained to say anything about depth", "warning"
    if _untrained(value, plain):
        return "Nothing can be said: even the shallower plain net did not learn", "warning"
    if not plain.worse():
        return "No degradation in this run: the deeper plain net is not worse", "warning"
    if plain.worse() < len(plain.seeds):
        said = f"in only {plain.worse()} of {count(len(plain.seeds), 'seed')}"
        return f"No clear degradation: the deeper plain net is worse {said}", "warning"
    said = f"The deeper plain net is worse in training, {_in_seeds(plain.worse(), plain)}"
    if residual is None:
        return said, "good"
    if residual.worse() == 0:
        return f"{said}; with shortcuts it is not", "good"
    return (
        f"{said}; with shortcuts still, in {residual.worse()} of {len(residual.seeds)}",
        "warning",
    )


def seen(value: Degradation) -> tuple[str, ...]:
    """The paragraphs under “What was seen”."""
    plain, residual = pair(value, residual=False), pair(value, residual=True)
    said = [
        _plain(plain, untrained=_untrained(value, plain)) if plain else "",
        _residual(residual) if residual else "",
        _between(plain, residual) if plain and residual else "",
        _gradients(value),
    ]
    return tuple(filter(None, said))


def _untrained(value: Degradation, p: Pair) -> bool:
    """Whether the shallower net is hardly better than guessing: then depth is not the matter."""
    guessing = 1 - 1 / max(1, value.data.classes)
    return not mean(net.epochs[-1].train_error for net in p.shallow) < guessing - 0.05


def _plain(p: Pair, *, untrained: bool) -> str:
    shallow, deep = p.shallow[0].label, p.deep[0].label
    numbers = (
        f"In the last epoch {deep} errs on {_error(p.deep)} of its training samples and {shallow} "
        f"on {_error(p.shallow)} (training loss {_loss(p.deep)} and {_loss(p.shallow)})."
    )
    if untrained:
        return f"{numbers} Even the shallower net is hardly better than guessing: nothing follows."
    if p.worse() == len(p.seeds):
        return (
            f"{numbers} The deeper plain net is worse where it was trained, "
            f"{_in_seeds(p.worse(), p)}: it does not over-fit, it is harder to train. That is "
            f"degradation.{_disagreeing(p)}{_falling(p)}"
        )
    if p.worse():
        return (
            f"{numbers} The deeper plain net is worse in only {p.worse()} of "
            f"{count(len(p.seeds), 'seed')}: this run shows no clear degradation."
        )
    return f"{numbers} The deeper plain net is not worse: this run shows no degradation."


def _residual(p: Pair) -> str:
    shallow, deep = p.shallow[0].label, p.deep[0].label
    numbers = (
        f"With shortcuts, {deep} errs on {_error(p.deep)} in training and {shallow} on "
        f"{_error(p.shallow)} (loss {_loss(p.deep)} and {_loss(p.shallow)})"
    )
    as_good = len(p.seeds) - p.worse()
    if as_good == len(p.seeds):
        return f"{numbers}: deeper is as good or better (within a point), {_in_seeds(as_good, p)}."
    return (
        f"{numbers}: the deeper one is as good (within a point) in only {as_good} of "
        f"{count(len(p.seeds), 'seed')}, so depth still costs something at this budget."
    )


def _between(plain: Pair, residual: Pair) -> str:
    twins = {net.seed: net for net in residual.deep}
    same = [net.weights_digest == twins[net.seed].weights_digest for net in plain.deep
            if net.seed in twins]  # fmt: skip
    if not same or plain.deep[0].depth != residual.deep[0].depth:
        return ""
    names = f"{plain.deep[0].label} and {residual.deep[0].label}"
    if all(same) and plain.deep[0].params == residual.deep[0].params:
        return (
            f"{names} have the same {plain.deep[0].params:,} parameters and began, in each seed, "
            "from the same weights bit by bit (option A shortcuts hold none): the shortcuts are "
            "all that differs."
        )
    return f"{names} did not begin from the same weights: more than the shortcuts differs."


def _gradients(value: Degradation) -> str:
    """How the gradient runs, net by net: never assumed, always measured."""
    deepest = max((net.depth for net in value.nets), default=0)
    first, last = [], []
    steps = {net.gradients[-1].step for net in value.nets if net.gradients}
    for label in value.labels:
        runs = [net for net in value.runs(label) if net.depth == deepest and net.gradients]
        begun = [g.first_over_last for n in runs if (g := n.gradients[0]).norms and not g.step]
        ended = [g.first_over_last for n in runs if (g := n.gradients[-1]).norms and g.step]
        if begun:
            first.append(f"{scientific(log_mean(begun))} in {label}: it {_run(log_mean(begun))}")
        if ended:
            last.append(f"{scientific(log_mean(ended))} in {label}")
    if not first:
        return ""
    said = (
        "At initialisation the norm of the gradient at the first layer, over that at the last, is "
        f"{'; '.join(first)}."
    )
    if last and len(steps) == 1:
        said += f" After {count(max(steps), 'step')} of training it is {' and '.join(last)}."
    return said


def _run(ratio: float) -> str:
    if ratio > _GROWS:
        return "grows on its way back (explodes, and does not vanish)"
    if ratio < 1 / _GROWS:
        return "shrinks on its way back (vanishes)"
    return "keeps its size within a factor of 10"


def _disagreeing(p: Pair) -> str:
    """That the loss tells another order than the error, as both do early in training."""
    shallow, deep = ([n.epochs[-1].train_loss for n in runs] for runs in (p.shallow, p.deep))
    if mean(deep) < mean(shallow):
        return " Its loss is the smaller one all the same: train longer before you trust the order."
    return ""


def _falling(p: Pair) -> str:
    """Whether the deep net was still improving when the budget ended."""
    n = len(p.deep[0].epochs)
    back = max(1, n // 5)
    if n <= back or any(len(net.epochs) != n for net in p.deep):
        return ""
    before = mean(net.epochs[-1 - back].train_loss for net in p.deep)
    after = mean(net.epochs[-1].train_loss for net in p.deep)
    if after < 0.95 * before:
        return (
            f" Its loss was still falling, from {scientific(before)} to {scientific(after)} over "
            f"the last {count(back, 'epoch')}."
        )
    return ""


def caveats(value: Degradation) -> tuple[str, ...]:
    """What this does not prove."""
    data, how = value.data, value.training
    ratio = _plain_ratio(value)
    plain = pair(value, residual=False)
    worse = plain is None or plain.worse() > 0
    vanish = (
        f"Here the gradient of the deep plain net at initialisation is {scientific(ratio)} times "
        "larger at its first layer than at its last: with batch norm a plain net's backward pass "
        "explodes (in theory by √(π/(π−1)) = 1.21 per layer, Yang et al. 2019). "
        if ratio is not None and ratio > _GROWS
        else f"Here, though, the gradient of the deep plain net at its first layer is only "
        f"{scientific(ratio)} of that at its last, and this run cannot tell the two apart. "
        if ratio is not None and ratio < 1 / _GROWS
        else ""
    )
    side = min(data.shape[-2:]) if len(data.shape) > 1 else 0
    small = (
        f"The images are small: {data.shape[-2]}×{data.shape[-1]} pixels end as "
        f"{data.shape[-2] // 4}×{data.shape[-1] // 4} maps before the pooling, and the nets are "
        f"narrow ({', '.join(map(str, how.widths))} channels). Sizes of effects do not carry over."
        if 0 < side < 32
        else ""
    )
    said = (
        f"A fixed budget: {count(how.epochs, 'epoch')} show that the deep plain net learns "
        "slowly, not that it never arrives. He et al. report that three times more iterations did "
        "not cure it on ImageNet; that was not repeated here."
        if worse
        else f"A fixed budget: that {count(how.epochs, 'epoch')} show no degradation does not say "
        "that deeper nets or harder data would show none.",
        f"Not vanishing gradients. {vanish}He et al. 2015 themselves write that the difficulty is "
        "“unlikely to be caused by vanishing gradients” (section 4.1). Degradation and vanishing "
        "are different things.",
        "Errors in eval mode use running batch-norm statistics, which lag behind the weights: "
        "early test errors and eval losses of a deep plain net can be far worse than what the net "
        "computes on a batch. That is why the training error shown is the one in train mode.",
        small,
        f"{count(len(how.seeds), 'seed')} and one data set: the spread shown is a range, not a "
        "confidence interval."
        if len(how.seeds) > 1
        else "One seed and one data set: nothing is known of the spread.",
    )
    return tuple(filter(None, said))


def _plain_ratio(value: Degradation) -> float | None:
    deepest = max((net.depth for net in value.nets if not net.residual), default=0)
    ratios = [
        net.gradients[0].first_over_last
        for net in value.nets
        if not net.residual and net.depth == deepest and net.gradients and net.gradients[0].norms
    ]
    return log_mean(ratios) if ratios else None


def _in_seeds(n: int, p: Pair) -> str:
    total = len(p.seeds)
    if total == 1:
        return "in the one seed tried"
    return f"in all {total} seeds" if n == total else f"in {n} of {total} seeds"


def _error(runs: tuple[TrainedNet, ...]) -> str:
    return pct(mean(net.epochs[-1].train_error for net in runs))


def _loss(runs: tuple[TrainedNet, ...], write: Callable[[float], str] = scientific) -> str:
    return write(mean(net.epochs[-1].train_loss for net in runs))
