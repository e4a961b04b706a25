"""The depth experiment as a page: gradients against depth, block by block, and in training."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnet_viz.core.errors import listed
from resnet_viz.core.experiments.depth import DepthRun, DepthStudy
from resnet_viz.core.units import count, scientific
from resnet_viz.reporting.experiments.depth_figures import (
    against_depth,
    chain,
    factors,
    losses,
    updates,
)
from resnet_viz.reporting.experiments.depth_words import FAR, deepest_runs, fate, left, seen
from resnet_viz.reporting.experiments.page import (
    ExperimentView,
    Fact,
    Section,
    Table,
    Tone,
    checks_fact,
    provenance_rows,
)


def depth_view(value: DepthStudy, title: str) -> ExperimentView:
    """The page: gradients against depth, the chain of factors, first steps, checks."""
    runs = deepest_runs(value)
    fates = [fate(run) for run in runs]
    tone: Tone = "good" if value.checks and all(c.holds for c in value.checks) else "warning"
    layers = max(value.depths, default=0)
    return ExperimentView(
        title=title or "Depth: vanishing and exploding gradients",
        verdict=f"Of {count(len(runs), 'kind')} of net with {layers} layers, the gradient vanishes "
        f"in {fates.count('vanishes')}, explodes in {fates.count('explodes')} and keeps its size "
        f"in {fates.count('stays')}"
        + (f"; in {none} it is no number" if (none := fates.count("is no number")) else ""),
        tone=tone,
        lead=f"Nets of {listed(value.depths)} layers, {listed(value.widths)} channels wide, at "
        f"initialisation: one forward and one backward on "
        f"{value.data.partition(' (')[0]}. “Vanishes” and “explodes” mean a factor of more than "
        f"{FAR:,.0f} between "
        "the last block and the first.",
        facts=_facts(value, runs),
        seen=seen(value),
        sections=_sections(value, runs),
        checks=value.checks,
        caveats=(
            "One batch at initialisation, and a few steps: this shows what architecture and "
            "initialisation do to a gradient, not which net trains best in the end.",
            "Closed forms are for wide nets; these are narrow, and padding makes borders differ "
            "from the middle. Checks say how far measured and expected may be apart.",
            "1/4 per sigmoid (4 to the −L) bounds what the activations alone leave; the weights "
            "multiply it and may be larger than 1. It bounds their share and predicts nothing.",
            "The first steps repeat one batch at untuned learning rates: a loss that falls there "
            "is memory of that batch.",
            "Vanishing here is not what makes deep plain nets with batch norm train badly: see "
            "the degradation experiment.",
        ),
        provenance=provenance_rows(
            value.provenance,
            ("Data", value.data),
            ("Batch", str(value.batch_size)),
            ("Widths", listed(value.widths)),
        ),
    )


def _facts(value: DepthStudy, runs: Sequence[DepthRun]) -> tuple[Fact, ...]:
    if not runs:
        return (checks_fact(value.checks),)
    numbers = [run for run in runs if not math.isnan(left(run))] or runs
    low, high = min(numbers, key=left), max(numbers, key=left)
    lost = sum(run.lost_after is not None for run in runs)
    return (
        Fact(label="Least left", value=scientific(left(low)), detail=low.kind.label),
        Fact(label="Most left", value=scientific(left(high)), detail=high.kind.label),
        Fact(
            label="Lost in float32",
            value=f"{lost} of {len(runs)}",
            detail="zero or no number before the first block",
        ),
        checks_fact(value.checks),
    )


def _sections(value: DepthStudy, runs: Sequence[DepthRun]) -> tuple[Section, ...]:
    depth_figure, training = against_depth(value), (losses(value), updates(value))
    found = [
        Section(
            key="depth",
            title="Depth",
            lead="A backward pass multiplies Jacobians. Where their typical factor is not 1, the "
            "product shrinks or grows like a power of the depth.",
            figures=(depth_figure,) if depth_figure else (),
        ),
        Section(
            key="chain",
            title="Block by block",
            lead="The factor that each block puts on the gradient, and what their product leaves.",
            figures=tuple(f for f in (chain(value), factors(value)) if f is not None),
            tables=(_table(runs),) if runs else (),
        ),
        Section(
            key="steps",
            title="First steps",
            lead="What optimizers make of these gradients. Adam divides each gradient by its own "
            "recent size, so a small one moves the weights as far as a large one, until it is "
            "smaller than Adam's ε or than float32 can hold.",
            figures=tuple(f for f in training if f is not None),
            tables=(_steps_table(value),) if value.steps else (),
        ),
    ]
    return tuple(section for section in found if section.figures or section.tables)


def _table(runs: Sequence[DepthRun]) -> Table:
    return Table(
        title="The deepest net of each kind",
        head=(
            "Net", "Factor per block", "Left at the first block", "Theory",
            "First weight’s gradient", "Float32 ends after, blocks",
        ),
        rows=tuple(
            (
                run.kind.label,
                scientific(run.per_block) if run.outputs else "–",
                scientific(left(run)),
                scientific(run.expected[-1]) if run.expected else "–",
                scientific(run.weights.norms[0]) if run.weights.norms else "–",
                "–" if run.lost_after is None else str(run.lost_after),
            )
            for run in runs
        ),
        words=1,
        note="Factor per block: geometric mean, from the float64 chain. Theory: the product that "
        "wide nets should leave, which with batch norm knows no zero padding. First weight’s "
        "gradient: its norm, in float32.",
        tall=True,
    )  # fmt: skip


def _steps_table(value: DepthStudy) -> Table:
    rates = dict.fromkeys(f"{run.optimizer} {run.learning_rate:g}" for run in value.steps)
    return Table(
        title="What each optimizer did",
        head=(
            "Net", "Optimizer", "Layers", "Loss before", "Loss after", "Gradient, first layer",
            "Update, first layer", "Update, last layer",
        ),
        rows=tuple(
            (
                run.kind.label,
                run.optimizer,
                str(run.depth),
                *(scientific(loss) for loss in (run.losses[:1] + run.losses[-1:])),
                scientific(run.gradients[0]) if run.gradients else "–",
                *(scientific(u) for u in (run.updates[0][0], run.updates[0][-1])),
            )
            for run in value.steps
            if run.losses and run.updates and run.updates[0]
        ),
        words=2,
        note=f"Rates: {', '.join(rates)}. Gradient and updates are those of the first step, "
        "updates as fractions of the weight’s norm; 0 where float32 cannot add any of them.",
        tall=True,
    )  # fmt: skip
