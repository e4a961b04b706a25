"""Findings over a training: the rules of one batch, asked at every watched step.

A watched step knows parameters and activations, not the graph, so that depth is the order
in which the weights are registered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resnet_viz.analysis.findings.inactive import is_dead
from resnet_viz.analysis.findings.updates import RATIO_SOURCE
from resnet_viz.analysis.rules import Thresholds
from resnet_viz.core.errors import listed
from resnet_viz.core.finding import Finding, Severity
from resnet_viz.core.history import History, Step, StepFinding, WatchedParameter
from resnet_viz.core.units import count, percent, scientific

_WORST_FIRST = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, slots=True)
class _Hit:
    """What a rule found at one step; the worst speaks for all."""

    step: int
    names: tuple[str, ...]
    badness: float
    evidence: str


@dataclass(frozen=True, slots=True)
class _Rule:
    what: str
    look: Callable[[Step, Thresholds], tuple[tuple[str, ...], float, str] | None]
    threshold: Callable[[Thresholds], str]
    source: str
    remedy: str
    severity: Severity = "warning"


def diagnose_history(
    history: History, thresholds: Thresholds | None = None
) -> tuple[StepFinding, ...]:
    """What was wrong at which of the watched steps, worst first.

    What held at fewer than half of the steps is a note, except for NaN and infinity; so a
    warm-up that begins roughly is told and no more.

    Args:
        history: The watched steps; its own findings are not looked at.
        thresholds: When to speak; the defaults if ``None``.
    """
    limits = thresholds or Thresholds()
    found = [_lasting(rule, history.steps, limits) for rule in _RULES]
    found += [_never(history.steps), _unheld(history.steps)]
    kept = [finding for finding in found if finding is not None]
    return tuple(sorted(kept, key=lambda f: (_WORST_FIRST[f.finding.severity], f.first)))


def _lasting(rule: _Rule, steps: Sequence[Step], limits: Thresholds) -> StepFinding | None:
    hits = [
        _Hit(step.step, *seen) for step in steps if (seen := rule.look(step, limits)) is not None
    ]
    if not hits:
        return None
    worst = max(hits, key=lambda hit: hit.badness)
    passing = rule.severity == "warning" and len(hits) < len(steps) / 2
    finding = Finding(
        severity="note" if passing else rule.severity,
        what=rule.what,
        where=tuple(dict.fromkeys(name for hit in hits for name in hit.names)),
        evidence=(
            f"at {len(hits)} of {count(len(steps), 'watched step')}; at step {worst.step} "
            f"{worst.evidence}"
        ),
        threshold=rule.threshold(limits),
        source=rule.source,
        remedy=rule.remedy,
    )
    return StepFinding(finding=finding, first=hits[0].step, last=hits[-1].step, steps=len(hits))


# --- at one step ----------------------------------------------------------------------------


def _nonfinite(step: Step, limits: Thresholds) -> tuple[tuple[str, ...], float, str] | None:
    # A GradScaler tries its scale out: it skips such a step and halves the scale.
    lost = step.loss is not None and not math.isfinite(step.loss)
    if not lost and (not step.nonfinite or step.scale != 1):
        return None
    parts = [f"the loss is {scientific(step.loss)}"] if lost and step.loss is not None else []
    if step.nonfinite:
        parts.append(
            f"the gradient of {count(len(step.nonfinite), 'parameter')} holds NaN or infinity "
            f"({listed(step.nonfinite, 3)})"
        )
    # The first step is where it began: what follows only inherits it.
    return step.nonfinite or ("loss",), -step.step, " and ".join(parts)


def _slope(step: Step, limits: Thresholds) -> tuple[float, list[WatchedParameter]] | None:
    """Growth per weight towards the first of ‖g‖/‖w‖, and the weights."""
    weights = [
        p
        for p in step.parameters
        if p.axes != 1 and p.l2 and math.isfinite(p.l2) and p.weight_l2 > 0
    ]
    n = len(weights)
    if n < max(limits.depth_layers, 2):
        return None
    logs = [math.log(p.l2 / p.weight_l2) for p in weights if p.l2]
    middle, mean = (n - 1) / 2, sum(logs) / n
    slope = sum((i - middle) * (y - mean) for i, y in enumerate(logs))
    return -slope / sum((i - middle) ** 2 for i in range(n)), weights


def _depth(grows: bool) -> Callable[[Step, Thresholds], tuple[tuple[str, ...], float, str] | None]:
    def look(step: Step, limits: Thresholds) -> tuple[tuple[str, ...], float, str] | None:
        fitted = _slope(step, limits)
        if fitted is None:
            return None
        slope, weights = fitted[0] if grows else -fitted[0], fitted[1]
        total = slope * (len(weights) - 1)
        if slope < math.log(limits.depth_factor) or total < math.log(limits.depth_range):
            return None
        first, last = weights[0], weights[-1]
        ratios = [scientific((p.l2 or 0.0) / p.weight_l2) for p in (last, first)]
        evidence = (
            f"‖g‖/‖w‖ {'grows' if grows else 'shrinks'} by a factor of "
            f"{math.exp(slope):.3g} per weight from the last to the first: {ratios[0]} at "
            f"{last.name}, {ratios[1]} at {first.name}"
        )
        return (first.name, last.name), total, evidence

    return look


def _zero(step: Step, limits: Thresholds) -> tuple[tuple[str, ...], float, str] | None:
    # At the first step a zero may only wait for another one to move.
    names = tuple(p.name for p in step.parameters if p.l2 == 0)
    if not names or step.step == 0:
        return None
    return names, len(names), _get(names, step, "a gradient of exactly zero")


def _dead(step: Step, limits: Thresholds) -> tuple[tuple[str, ...], float, str] | None:
    over = {a.name: a.dead for a in step.activations if is_dead(a.dead, a.units, limits)}
    return _worst(over, "of its units dead")


def _saturated(step: Step, limits: Thresholds) -> tuple[tuple[str, ...], float, str] | None:
    over = {a.name: a.saturated for a in step.activations if (a.saturated or 0) > limits.saturated}
    return _worst(over, "of its outputs where the slope is below 5 % of its largest")


def _worst(over: dict[str, float | None], words: str) -> tuple[tuple[str, ...], float, str] | None:
    if not over:
        return None
    values = {name: value or 0.0 for name, value in over.items()}
    name = max(values, key=values.__getitem__)
    more = f", and {count(len(values) - 1, 'more layer')} likewise" if len(values) > 1 else ""
    return tuple(values), values[name], f"{name} has {percent(values[name])} {words}{more}"


def _ratios(step: Step) -> dict[str, float]:
    return {
        p.name: p.update_ratio
        for p in step.parameters
        if p.axes != 1 and p.l2 and p.update_ratio is not None
    }


def _large(step: Step, limits: Thresholds) -> tuple[tuple[str, ...], float, str] | None:
    over = {n: r for n, r in _ratios(step).items() if r > limits.update_high}
    if not over:
        return None
    name = max(over, key=over.__getitem__)
    return tuple(over), over[name], f"{name} moved by {scientific(over[name])} of its norm"


def _small(step: Step, limits: Thresholds) -> tuple[tuple[str, ...], float, str] | None:
    # A warm-up may start at a learning rate of zero.
    under = {n: r for n, r in _ratios(step).items() if r < limits.update_low} if step.lr else {}
    if not under:
        return None
    name = min(under, key=under.__getitem__)
    return tuple(under), -under[name], f"{name} moved by {scientific(under[name])} of its norm"


def _get(names: Sequence[str], step: Step, what: str) -> str:
    verb = "gets" if len(names) == 1 else "get"
    part = f"{len(names)} of {count(len(step.parameters), 'parameter')}"
    return f"{part} {verb} {what} ({listed(names, 3)})"


# --- over all steps -------------------------------------------------------------------------


def _never(steps: Sequence[Step]) -> StepFinding | None:
    """Parameters that got no gradient at any step: frozen, or not used by the loss."""
    seen = {p.name for step in steps for p in step.parameters if p.l2 is not None}
    names = dict.fromkeys(p.name for step in steps for p in step.parameters)
    lost = [name for name in names if name not in seen]
    if not lost or not seen:
        return None
    return _whole(
        steps,
        severity="note",
        what="no gradient",
        names=lost,
        evidence=f"{count(len(lost), 'parameter')} of {len(names)} got none at any watched step",
        threshold="no gradient at any step",
        source="PyTorch autograd: .grad stays None where no path leads to the loss",
        remedy="nothing, if they are frozen on purpose; `resnet-viz gradflow` on the model says "
        "why they get none",
    )


def _unheld(steps: Sequence[Step]) -> StepFinding | None:
    """Parameters with a gradient that no optimizer ever moved."""
    asks = dict.fromkeys(
        p.name for step in steps for p in step.parameters if p.l2 and p.weight_l2 > 0
    )
    held = {p.name for step in steps for p in step.parameters if p.update_ratio is not None}
    lost = [name for name in asks if name not in held]
    if not lost or not held:
        return None
    return _whole(
        steps,
        severity="warning",
        what="not in the optimizer",
        names=lost,
        evidence=f"{count(len(lost), 'parameter')} of {len(asks)} got a gradient, and no watched "
        "optimizer moved them",
        threshold="a gradient, and no parameter group that it belongs to",
        source="torch.optim: step() moves what was given to the constructor, nothing else",
        remedy="give the optimizer model.parameters(), after all layers are made",
    )


def _whole(
    steps: Sequence[Step],
    *,
    severity: Severity,
    what: str,
    names: Sequence[str],
    evidence: str,
    threshold: str,
    source: str,
    remedy: str,
) -> StepFinding:
    finding = Finding(
        severity=severity,
        what=what,
        where=tuple(names),
        evidence=f"{evidence}: {listed(names, 3)}",
        threshold=threshold,
        source=source,
        remedy=remedy,
    )
    return StepFinding(finding=finding, first=steps[0].step, last=steps[-1].step, steps=len(steps))


def _depth_words(limits: Thresholds) -> str:
    return (
        f"‖g‖/‖w‖ of the weights in the order they are registered: a fitted factor of at least "
        f"{limits.depth_factor:g} per weight and {limits.depth_range:g} from end to end"
    )


_RULES = (
    _Rule(
        "non-finite gradient",
        _nonfinite,
        lambda _: "any NaN or infinity in the loss or a gradient; with a GradScaler, in the loss",
        "Amazon SageMaker Debugger, rule ExplodingTensor",
        "measure one batch at the step before with `resnet-viz gradflow`, which names the first "
        "call that makes it; lower the learning rate or clip the gradient",
        "error",
    ),
    _Rule(
        "exploding gradient",
        _depth(grows=True),
        _depth_words,
        "cs231n: a step that is right for one end (1e-3 of the weights) is as large as the "
        "weights where the ratio is 1e3 times larger",
        "add skip paths or normalisation; else warm up and lower the learning rate",
    ),
    _Rule(
        "vanishing gradient",
        _depth(grows=False),
        _depth_words,
        "cs231n: a step that is right for one end (1e-3 of the weights) leaves the other where "
        "it is if the ratio is 1e3 times smaller",
        "use ReLU with He initialisation, normalisation or skip paths",
    ),
    _Rule(
        "zero gradient",
        _zero,
        lambda _: "a gradient of which every element is exactly zero, after the first step",
        "chain rule: what is multiplied by zero passes nothing back",
        "look for dead activations, a factor of zero, or underflow",
    ),
    _Rule(
        "dead units",
        _dead,
        lambda t: f"{percent(t.dead_units)} of the units by three standard errors",
        "Amazon SageMaker Debugger, rule DeadRelu; the standard errors are ours",
        "use a smaller learning rate, a leaky ReLU, or normalisation before the activation",
    ),
    _Rule(
        "saturated units",
        _saturated,
        lambda t: f"more than {percent(t.saturated)} of the outputs",
        "ours, after Glorot & Bengio 2010: at 5 % of the slope a layer passes back a twentieth",
        "make what comes in smaller: normalisation, a smaller learning rate, weight decay",
    ),
    _Rule(
        "update too large",
        _large,
        lambda t: f"‖w′ − w‖/‖w‖ of a weight above {t.update_high:g}",
        RATIO_SOURCE,
        "lower the learning rate, warm it up, or clip the gradient",
    ),
    _Rule(
        "update too small",
        _small,
        lambda t: f"‖w′ − w‖/‖w‖ of a weight below {t.update_low:g} at a learning rate above 0",
        RATIO_SOURCE,
        "raise the learning rate; look at the scale of the loss",
    ),
)
