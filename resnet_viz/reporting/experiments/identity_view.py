"""The identity experiment as a page: a deep net that is, bit by bit, a shallow one."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from resnet_viz.core.experiments.identity import BlockMap, IdentityMapping
from resnet_viz.core.units import count, scientific
from resnet_viz.reporting.experiments.figure import Axis, Band, Figure, Panel, Rule, Series
from resnet_viz.reporting.experiments.page import (
    ExperimentView,
    Fact,
    Section,
    Table,
    Tone,
    checks_fact,
    provenance_rows,
)

_NOTHING = 1e-12
"""Part of the largest singular value below which one is zero but for rounding."""

SOURCE = "He et al. 2015 (arXiv:1512.03385), section 3.1"


def identity_view(value: IdentityMapping, title: str) -> ExperimentView:
    """The page: equality, what each block does to its input, and what breaks it."""
    equal = value.difference == 0
    silent = [b for b in value.blocks if b.silent]
    verdict = (
        f"{value.deep} with {count(len(silent), 'silent block')} equals {value.shallow}, bit by bit"
        if equal
        else f"{value.deep} with silent blocks differs from {value.shallow} by up to "
        f"{scientific(value.difference)}"
    )
    tone: Tone = "good" if equal and all(c.holds for c in value.checks) else "warning"
    figures = [f for f in (_spectra(value), _perturbation(value)) if f is not None]
    return ExperimentView(
        title=title or "Identity: F(x) = 0 gives H(x) = x",
        verdict=verdict,
        tone=tone,
        lead=f"{value.deep} was given the weights of {value.shallow} where both have a block, and "
        f"branches that answer zero elsewhere ({value.silenced}). A residual block computes "
        f"H(x) = F(x) + x, so a silent one should hand its input on ({SOURCE}).",
        facts=_facts(value, silent),
        seen=_seen(value, silent),
        sections=(
            Section(
                key="blocks",
                title="Blocks",
                lead="A block that is the identity changes no value and has a Jacobian whose "
                "singular values are all 1: it neither shrinks nor stretches any direction, "
                "forward or backward.",
                figures=tuple(figures),
                tables=(
                    *((_forms(value),) if value.forms else ()),
                    *((_table(value),) if value.blocks else ()),
                ),
            ),
        ),
        checks=value.checks,
        caveats=(
            "That a deep net can be the identity does not say that training finds it: the "
            "weights here were set, not learned.",
            "After the addition there is a ReLU, so H(x) = x holds for x ≥ 0. Between blocks that "
            "is always so: each x came out of a ReLU. The Jacobian was taken at x > 0.",
            "A block that changes resolution or channels cannot be the identity, silent or not.",
        ),
        provenance=provenance_rows(
            value.provenance,
            ("Nets", f"{value.deep}, {value.shallow}"),
            ("Silenced by", value.silenced),
            ("Seed of weights and inputs", str(value.seed)),
        ),
    )


def _facts(value: IdentityMapping, silent: Sequence[BlockMap]) -> tuple[Fact, ...]:
    facts = [
        Fact(
            label="Largest difference of logits",
            value=scientific(value.difference),
            detail=f"over {count(value.samples, 'input')}",
            tone="good" if value.difference == 0 else "warning",
        ),
        Fact(
            label="Silent blocks",
            value=f"{len(silent)} of {len(value.blocks)}",
            detail=f"{value.extra:,} scalars in them",
        ),
        Fact(label="Copied scalars", value=f"{value.copied:,}", detail="the same in both nets"),
    ]
    if value.plain_difference is not None:
        facts.append(
            Fact(
                label="The same in plain nets",
                value=scientific(value.plain_difference),
                detail="difference of logits: a silent block answers zero",
            )
        )
    return (*facts, checks_fact(value.checks))


def _seen(value: IdentityMapping, silent: Sequence[BlockMap]) -> tuple[str, ...]:
    equal = (
        "equal in every bit"
        if value.difference == 0
        else f"not equal: they differ by up to {scientific(value.difference)}"
    )
    said = [
        f"On {count(value.samples, 'input')} the logits of {value.deep} and {value.shallow} are "
        f"{equal}. The deep net holds {value.extra:,} scalars more"
        + (" and computes the same function." if value.difference == 0 else ".")
    ]
    moved = [b.difference for b in silent if b.difference is not None]
    spectra = [b for b in silent if b.singular_values]
    if moved:
        said.append(
            f"The largest |H(x) − x| of any silent block is {scientific(max(moved))}."
            + (f" {_spectrum(spectra)}" if spectra else "")
        )
    if value.plain_difference:
        said.append(
            "Without shortcuts the same recipe does not work: a plain block with a silent branch "
            f"answers zero, and the logits differ by {scientific(value.plain_difference)}. A plain "
            "net would have to learn the identity through its convolutions; a residual net has it "
            "for nothing."
        )
    scaled = sorted(pair for pair in value.perturbed if pair[0] > 0)
    if scaled:
        (small, little), (large, much) = scaled[0], scaled[-1]
        said.append(
            "Let the silent branches speak a little and the answer moves a little: with branches "
            f"scaled by {scientific(small)} the logits change by {scientific(little)} of their "
            f"norm, with {scientific(large)} by {scientific(much)}."
        )
    return tuple(said)


def _spectrum(blocks: Sequence[BlockMap]) -> str:
    off = max(abs(s - 1) for b in blocks for s in b.singular_values)
    values = sum(len(b.singular_values) for b in blocks)
    exact = "all exactly 1" if off == 0 else f"within {scientific(off)} of 1"
    return f"Of {count(len(blocks), 'Jacobian')}, the {values:,} singular values are {exact}."


def _spectra(value: IdentityMapping) -> Figure | None:
    """Range of the singular values of every block, in forward order."""
    series = []
    for silent in (False, True):
        found = [
            (i, b.singular_values)
            for i, b in enumerate(value.blocks, start=1)
            if b.silent == silent and b.singular_values
        ]
        if found:
            series.append(
                Series(
                    name="silent block" if silent else f"block of {value.shallow}",
                    hue="residual" if silent else "muted",
                    points=tuple((i, median(values)) for i, values in found),
                    spread=tuple((i, min(values), max(values)) for i, values in found),
                    line=False,
                    dots=True,
                )
            )
    if not series:
        return None
    panel = Panel(
        title="",
        x=Axis(label="block, from the input", whole=True),
        y=Axis(label="singular values", low=0.0),
        series=tuple(series),
        rules=(Rule(at=1.0, label="1"),),
        bands=_stages(value.blocks),
    )
    return Figure(
        key="singular-values",
        title="What each block does to small changes of its input",
        caption="Singular values of each block's Jacobian at one input: the marker is the median, "
        "the whisker runs from the smallest to the largest. Zero is a direction that the block "
        "forgets, as where its ReLU is off.",
        panels=(panel,),
        columns=1,
        height=0.34,
        main=True,
    )


def _stages(blocks: Sequence[BlockMap]) -> tuple[Band, ...]:
    """Every other stage, tinted: borders show without lines."""
    stages = dict.fromkeys(b.stage for b in blocks)
    places = {s: [i for i, b in enumerate(blocks, start=1) if b.stage == s] for s in stages}
    return tuple(
        Band(low=min(at) - 0.5, high=max(at) + 0.5, name=f"stage {s}")
        for s, at in places.items()
        if s % 2 == 0
    )


def _perturbation(value: IdentityMapping) -> Figure | None:
    points = tuple(sorted(pair for pair in value.perturbed if pair[0] > 0))
    if not points:
        return None
    zero = next((change for scale, change in value.perturbed if scale == 0), None)
    at_zero = "" if zero is None else f" At scale 0 the change is {scientific(zero)}."
    panel = Panel(
        title="",
        x=Axis(label="scale of the silent branches", log=True),
        y=Axis(label="relative change of the logits", log=True),
        series=(Series(name=value.deep, hue="residual", points=points, dots=True),),
    )
    return Figure(
        key="perturbation",
        title="How the answer moves when silent branches begin to speak",
        caption="Branches scaled up from zero; change of the logits as a fraction of their norm. "
        f"A slope of 1 means that change follows scale in proportion.{at_zero}",
        panels=(panel,),
        columns=1,
        height=0.36,
        main=True,
    )


def _forms(value: IdentityMapping) -> Table:
    """Other forms of block, and the control: the same nets without shortcuts."""
    rows = [
        (
            f"{f.block}, {f.order}",
            f.silenced,
            *map(scientific, (f.difference, f.train_difference, f.positive, f.signed)),
        )
        for f in value.forms
    ]
    note = "Largest absolute differences; 0 is equality of every bit."
    if value.plain_difference is not None:
        rows.append(
            ("no shortcut (control)", value.silenced, scientific(value.plain_difference))
            + ("–",) * 3
        )
    if value.plain_spread is not None:
        note += (
            " Without shortcuts the silent net gives every input the same logits."
            if value.plain_spread == 0
            else " Without shortcuts the silent net’s logits for two inputs differ by at most "
            f"{scientific(value.plain_spread)}."
        )
    return Table(
        title="Other forms of block, and none",
        head=(
            "Block, order", "Silenced by", "Deep − shallow", "Likewise, batch statistics",
            "|H(x) − x|, x > 0", "|H(x) − x|, any x",
        ),
        rows=tuple(rows),
        words=2,
        note=note,
    )  # fmt: skip


def _table(value: IdentityMapping) -> Table:
    return Table(
        title="Every block, in forward order",
        head=("Block", "Stage", "Branch", "Largest |H(x) − x|", "Singular values"),
        rows=tuple(
            (
                b.path,
                str(b.stage),
                "silent" if b.silent else "speaks",
                "–" if b.difference is None else scientific(b.difference),
                _range(b.singular_values),
            )
            for b in value.blocks
        ),
        words=3,
        note="Singular values: range and number; what is below 10⁻¹² of the largest is zero but "
        "for rounding. A – where input and output have different shapes.",
        tall=True,
    )


def _range(values: Sequence[float]) -> str:
    if not values:
        return "–"
    least = 0.0 if min(values) < _NOTHING * max(values) else min(values)
    low, high = scientific(least), scientific(max(values))
    return f"{low} ({len(values)}×)" if low == high else f"{low}–{high} ({len(values)})"
