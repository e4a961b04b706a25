"""What the depth experiment showed, in sentences that follow the numbers.

Each paragraph is there only where the value has what it tells of; none knows beforehand
which activation vanishes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from resnet_viz.core.errors import listed
from resnet_viz.core.experiments.depth import DepthRun, DepthStudy, FirstSteps
from resnet_viz.core.units import count, scientific
from resnet_viz.reporting.experiments.depth_figures import chosen, deepest, norm_name

FAR = 1e3
"""Factor between last block and first from which a gradient has vanished, or exploded."""


def deepest_runs(value: DepthStudy) -> list[DepthRun]:
    """The deepest net of each kind."""
    found = (deepest(value, kind) for kind in value.kinds)
    return [run for run in found if run is not None]


def left(run: DepthRun) -> float:
    """Share of the gradient that reaches the first block's input."""
    return run.products[-1] if run.products else 1.0


def fate(run: DepthRun) -> str:
    """``vanishes``, ``explodes`` or ``stays``; ``is no number`` where it has overflowed."""
    if math.isnan(left(run)):
        return "is no number"
    if left(run) > FAR:
        return "explodes"
    return "stays" if left(run) >= 1 / FAR else "vanishes"


def seen(value: DepthStudy) -> tuple[str, ...]:
    """The paragraphs under “What was seen”."""
    runs = deepest_runs(value)
    drawn = [run for run in runs if run.kind.init == chosen(value) and run.outputs]
    found = [
        *_activations(drawn),
        _slopes(drawn),
        _borders(drawn),
        _missed(drawn),
        _inits(runs),
        _lost(runs),
        *_steps(value),
    ]
    return tuple(filter(None, found))


def _net(run: DepthRun) -> str:
    return f"{'residual' if run.kind.residual else 'plain'}, {norm_name(run.kind)}"


def _activations(runs: Sequence[DepthRun]) -> Iterator[str]:
    for activation in dict.fromkeys(run.kind.activation for run in runs):
        those = [run for run in runs if run.kind.activation == activation]
        parts = "; ".join(
            f"{scientific(run.per_block)} per block, {scientific(left(run))} in all ({_net(run)}"
            + (")" if fate(run) == "stays" else f"; {fate(run)})")
            for run in those
        )
        yield (
            f"{activation}, {those[0].kind.init} initialisation, {those[0].depth} layers: on its "
            f"way back the gradient is multiplied by {parts}."
        )


def _slopes(runs: Sequence[DepthRun]) -> str:
    """An activation behind the addition: no way back avoids it."""
    for run in runs:
        if run.slope is not None and run.kind.residual and run.kind.norm == "none":
            most = scientific(run.slope**run.forced)
            if fate(run) == "vanishes" and run.per_block <= run.slope**run.forced:
                return (
                    f"A shortcut alone does not cure {run.kind.activation}: it stands behind each "
                    f"addition again, and its slope leaves at most {most} per block; measured "
                    f"{scientific(run.per_block)}."
                )
    return ""


def _borders(runs: Sequence[DepthRun]) -> str:
    """Where the textbook is missed with borders, and met without."""
    parts = []
    for run in runs:
        if run.textbook and run.per_block > 0 and run.per_wrapped_block > 0:
            gap = abs(math.log(run.per_block / run.textbook))
            if gap > 0.15 and abs(math.log(run.per_wrapped_block / run.textbook)) < gap / 2:
                parts.append(
                    f"{run.kind.activation}, {_net(run)}: {scientific(run.textbook)} per block, "
                    f"measured {scientific(run.per_block)}, on images that wrap around "
                    f"{scientific(run.per_wrapped_block)}"
                )
    if not parts:
        return ""
    return (
        "Closed forms are for images without borders; zero padding makes most of the gap in "
        f"{'; '.join(parts)}."
    )


def _missed(runs: Sequence[DepthRun]) -> str:
    """Theory that is wrong by orders of magnitude is not shown without saying so."""
    missed = [
        run
        for run in runs
        if run.expected and not 1 / FAR <= _over(left(run), run.expected[-1]) <= FAR
    ]
    if not missed:
        return ""
    parts = "; ".join(
        f"{run.kind.activation}, {_net(run)}: {scientific(run.expected[-1])} expected, "
        f"{scientific(left(run))} measured"
        for run in missed
    )
    why = " With batch norm, theory leaves the zero padding out."
    normed = any(run.kind.norm != "none" for run in missed)
    return (
        f"Theory misses the whole product by more than a factor of {FAR:,.0f}: {parts}."
        f"{why if normed else ''}"
    )


def _over(a: float, b: float) -> float:
    return a / b if b else math.nan


def _inits(runs: Sequence[DepthRun]) -> str:
    """What the initialisation changes, without norm and with."""
    parts = []
    for activation in dict.fromkeys(run.kind.activation for run in runs):
        ranges = []
        for normed in (False, True):
            found = [
                run.per_block
                for run in runs
                if run.kind.activation == activation and not run.kind.residual and run.outputs
                if (run.kind.norm != "none") == normed
            ]
            if len(found) > 1:
                ends = " to ".join(dict.fromkeys(map(scientific, (min(found), max(found)))))
                ranges.append(f"{ends} with{'' if normed else 'out'} norm")
        if len(ranges) == 2:
            parts.append(f"{activation} {' and '.join(ranges)}")
    if not parts:
        return ""
    inits = listed(dict.fromkeys(run.kind.init for run in runs))
    return (
        f"What the initialisation changes ({inits}): in plain nets the factor per block runs from "
        f"{'; '.join(parts)}."
    )


def _lost(runs: Sequence[DepthRun]) -> str:
    lost = [f"({run.kind.label})" for run in runs if run.lost_after is not None]
    if not lost:
        return ""
    return (
        "In float32 the gradient is zero or no number before it reaches the first block in "
        f"{count(len(lost), 'kind')} of net: {listed(lost, 6)}. No optimizer can use what has been "
        "rounded away."
    )


def _steps(value: DepthStudy) -> Iterator[str]:
    """What each optimizer made of its first steps, in the deepest nets it was tried on."""
    depth = max((run.depth for run in value.steps), default=0)
    runs = [run for run in value.steps if run.depth == depth and run.updates and run.updates[0]]
    if not runs:
        return
    first = min(run.seed for run in runs)
    runs = [run for run in runs if run.seed == first]
    best, worst = min(runs, key=_learned), max(runs, key=_learned)
    begun = f"First steps at {depth} layers, {count(len(best.updates), 'step')} on one batch"
    least = (
        f" and least in {worst.kind.label} ({_losses(worst)}, {worst.optimizer})"
        if _learned(worst) > _learned(best)
        else ""
    )
    yield (
        f"{begun}: the loss falls furthest in {best.kind.label} ({_losses(best)}, "
        f"{best.optimizer}){least}."
        if _learned(best) < 1
        else f"{begun}: the loss falls in no net."
    )
    norms = [run.gradients[0] for run in runs if run.gradients]
    usual = "Updates of a usual size do not by themselves make a net learn."
    if norms:
        moved = "; ".join(
            f"{name} from {scientific(min(sizes))} to {scientific(max(sizes))}"
            for name in dict.fromkeys(run.optimizer for run in runs)
            for sizes in [[run.updates[0][0] for run in runs if run.optimizer == name]]
        )
        yield (
            "The gradient of the first layer runs from "
            f"{scientific(min(norms))} to {scientific(max(norms))} over these nets, and its first "
            f"update, as a fraction of the weight's norm, with {moved}."
            + (f" {usual}" if any(_usual(run) and _learned(run) > 0.95 for run in runs) else "")
        )
    stuck = []
    for kind in dict.fromkeys(run.kind for run in runs if _still(run)):
        those = [run for run in runs if run.kind == kind]
        told = ", ".join(f"{_still(run)} with {run.optimizer}" for run in those)
        stuck.append(f"{told} (of {len(those[0].updates[0])}; {kind.label})")
    if stuck:
        yield f"Weights that the first step does not move by a single bit: {'; '.join(stuck)}."


def _learned(run: FirstSteps) -> float:
    """Loss last over first, a loss that is no number last of all."""
    ratio = _over(run.losses[-1], run.losses[0]) if run.losses else math.nan
    return math.inf if math.isnan(ratio) else ratio


def _losses(run: FirstSteps) -> str:
    if not run.losses:
        return "not measured"
    return f"{scientific(run.losses[0])} to {scientific(run.losses[-1])}"


def _usual(run: FirstSteps) -> bool:
    """Whether the first step moves no layer by less than a thousandth, or by all of itself."""
    return all(1e-3 <= size <= 1 for size in run.updates[0])


def _still(run: FirstSteps) -> int:
    return sum(size == 0 for size in run.updates[0])
