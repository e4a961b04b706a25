"""What signal propagation says in words, and its tables: Jacobians, blocks, what was left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from resnet_viz.core.message import Message, say
from resnet_viz.core.propagation import BlockSignal, SignalPropagation, Spectrum
from resnet_viz.core.units import count, scientific
from resnet_viz.reporting.experiments.chain_figures import power
from resnet_viz.reporting.experiments.page import Table, log_mean


def propagation_words(value: SignalPropagation) -> tuple[str, ...]:
    """What the numbers say."""
    said, blocks = [], value.blocks
    if len(blocks) > 1:
        first, last = blocks[0].output.variance, blocks[-1].output.variance
        said.append(
            say(
                "Over {blocks} the variance of the signal goes from {first} to "
                "{last}{change}; a branch adds {ratio} of the norm that the shortcut brings "
                "(geometric mean).",
                blocks=count(len(blocks), "block"),
                first=scientific(first),
                last=scientific(last),
                change=_times(last, first),
                ratio=scientific(mean_ratio(b.ratio for b in blocks)),
            )
        )
    backward = [(b.grad_input, b.grad_output) for b in blocks if b.grad_input and b.grad_output]
    if backward:
        far, near = backward[0][0], backward[-1][1]
        said.append(
            say(
                "Backward, the mean square of the gradient goes from {near} at the last "
                "block to {far} at the first{change}.",
                near=scientific(near.second),
                far=scientific(far.second),
                change=_times(far.second, near.second),
            )
        )
    said += [
        say(
            "The Jacobian from {start} to {end} has singular values up to {largest}; "
            "the mean of their squares is {mean_square}.",
            start=s.start,
            end=s.end,
            largest=scientific(s.largest),
            mean_square=_about(s.mean_square, s.mean_square_error),
        )
        for s in value.spectra[:1]
    ]
    found = value.shattering
    if found is not None and found.correlations:
        said.append(
            say(
                "Gradients of different inputs correlate by {far} at the input "
                "and {near} near the loss: 0 is white noise (Balduzzi et al. "
                "2017, arXiv:1702.08591).",
                far=scientific(found.correlations[-1]),
                near=scientific(found.correlations[0]),
            )
        )
    return tuple(said)


def jacobian_table(spectra: Sequence[Spectrum]) -> Table | None:
    """One row per Jacobian; ``None`` without any."""
    if not spectra:
        return None
    return Table(
        title=say("Jacobians"),
        head=(
            say("From"),
            say("To"),
            say("Mean of σ²"),
            say("Mean of σ⁴"),
            say("Largest σ"),
            say("Smallest σ"),
            say("Size"),
            say("Probes"),
            say("Steps"),
        ),
        rows=tuple(
            (
                s.start,
                s.end,
                _about(s.mean_square, s.mean_square_error),
                _about(s.mean_fourth, s.mean_fourth_error),
                scientific(s.largest),
                scientific(s.smallest) if s.exact else f"≤ {scientific(s.smallest)}",
                f"{s.rows:,}×{s.columns:,}",
                str(s.probes) if s.probes else say("exact"),
                str(s.steps) if s.steps else say("exact"),
            )
            for s in spectra
        ),
        words=2,
        note=say(
            "Means by Hutchinson’s estimate with its standard error, ends by Lanczos, "
            "exact where the whole Jacobian was small enough; over {samples} in eval "
            "mode. All σ equal to 1 is dynamical isometry (Pennington et al. 2017, "
            "arXiv:1711.04735).",
            samples=count(max(s.samples for s in spectra), "sample"),
        ),
    )


def block_table(blocks: Sequence[BlockSignal]) -> Table | None:
    """One row per block; ``None`` without any."""
    if not blocks:
        return None
    return Table(
        title=say("Every block"),
        head=(
            say("Block"),
            say("Stage"),
            say("Squared mean"),
            say("Variance"),
            say("Variance of the branch"),
            "‖F‖/‖S‖",
            say("Gradient at the end"),
            say("At the fork"),
            say("Branch over shortcut"),
        ),
        rows=tuple(
            (
                say("{name} (changes size)", name=b.name) if b.changes else b.name,
                b.stage or "–",
                *map(
                    scientific,
                    (b.output.squared_mean, b.output.variance, b.branch.variance, b.ratio),
                ),
                *(scientific(m.second) if m else "–" for m in (b.grad_output, b.grad_input)),
                "–" if b.grad_ratio is None else scientific(b.grad_ratio),
            )
            for b in blocks
        ),
        words=2,
        note=say("Gradients as mean squares."),
        tall=True,
    )


def skipped_table(reasons: Sequence[str]) -> Table | None:
    """Why what is missing was not measured; ``None`` where nothing is."""
    if not reasons:
        return None
    return Table(
        title=say("Not measured"),
        head=(say("Why"),),
        rows=tuple((r,) for r in reasons),
        words=1,
        tall=len(reasons) > 8,
    )


def mean_ratio(values: Iterator[float]) -> float:
    """Their geometric mean."""
    return log_mean(values)


def _about(value: float, error: float) -> str:
    return f"{scientific(value)} ± {scientific(error)}" if error else scientific(value)


def _times(now: float, before: float) -> str | Message:
    if not before or not math.isfinite(now) or not math.isfinite(before):
        return ""
    return say(", {n} times as much", n=power(now / before))
