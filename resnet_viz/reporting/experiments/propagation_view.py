"""Signal propagation: the plots of Brock et al. 2021 forward, their counterparts backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from resnet_viz.core.propagation import BlockSignal, SignalPropagation, Spectrum
from resnet_viz.core.units import count, scientific
from resnet_viz.reporting.experiments.chain_figures import power
from resnet_viz.reporting.experiments.figure import (
    Axis,
    Band,
    Figure,
    Hue,
    Key,
    Panel,
    Rule,
    Series,
)
from resnet_viz.reporting.experiments.page import ExperimentView, Fact, Section, Table, log_mean

_WIDE = 30.0
_FEW_DOTS = 80

Points = tuple[tuple[float, float], ...]


def propagation_view(value: SignalPropagation, title: str) -> ExperimentView:
    """The page of one measurement."""
    said = propagation_words(value)
    return ExperimentView(
        title=title or f"{value.model}: signal propagation",
        verdict=said[0].rstrip(".") if said else "No residual block and no layer was measured",
        tone="",
        lead=f"{count(len(value.blocks), 'block')} and {count(len(value.layers), 'layer')}, one "
        f"batch of {value.batch_size:,} in {value.mode} mode.",
        facts=_facts(value),
        seen=(),
        sections=(propagation_section(value),),
        caveats=(
            "Moments are of one batch. Jacobians are taken in eval mode at the samples given, and "
            "say nothing of other inputs.",
        ),
        provenance=tuple(
            (label, text)
            for label, text in (
                ("Loss", value.loss),
                ("Mode", value.mode),
                ("Batch", f"{value.batch_size:,}"),
                ("Data", value.data),
                ("Measured on", value.device),
            )
            if text
        ),
    )


def propagation_section(value: SignalPropagation) -> Section:
    """Figures, words and tables, for any page."""
    figures = (_forward(value), _backward(value), _ratios(value), _layers(value), _shattered(value))
    tables = (jacobian_table(value.spectra), _table(value.blocks), _skipped(value.skipped))
    return Section(
        key="propagation",
        title="Signal propagation",
        lead="What becomes of a signal on its way: forward its moments per block (Brock, De & "
        "Smith 2021, arXiv:2101.08692), backward those of the gradient. Flat is healthy; a "
        "straight line on a log axis is one factor per block.",
        said=propagation_words(value),
        figures=tuple(f for f in figures if f is not None),
        tables=tuple(t for t in tables if t is not None),
    )


def propagation_words(value: SignalPropagation) -> tuple[str, ...]:
    """What the numbers say."""
    said, blocks = [], value.blocks
    if len(blocks) > 1:
        first, last = blocks[0].output.variance, blocks[-1].output.variance
        said.append(
            f"Over {count(len(blocks), 'block')} the variance of the signal goes from "
            f"{scientific(first)} to {scientific(last)}{_times(last, first)}; a branch adds "
            f"{scientific(_mean(b.ratio for b in blocks))} of the norm that the shortcut brings "
            "(geometric mean)."
        )
    backward = [(b.grad_input, b.grad_output) for b in blocks if b.grad_input and b.grad_output]
    if backward:
        far, near = backward[0][0], backward[-1][1]
        said.append(
            f"Backward, the mean square of the gradient goes from {scientific(near.second)} at the "
            f"last block to {scientific(far.second)} at the first{_times(far.second, near.second)}."
        )
    said += [
        f"The Jacobian from {s.start} to {s.end} has singular values up to "
        f"{scientific(s.largest)}; the mean of their squares is "
        f"{_about(s.mean_square, s.mean_square_error)}."
        for s in value.spectra[:1]
    ]
    found = value.shattering
    if found is not None and found.correlations:
        said.append(
            f"Gradients of different inputs correlate by {scientific(found.correlations[-1])} at "
            f"the input and {scientific(found.correlations[0])} near the loss: 0 is white noise "
            "(Balduzzi et al. 2017, arXiv:1702.08591)."
        )
    return tuple(said)


def _facts(value: SignalPropagation) -> tuple[Fact, ...]:
    facts = []
    if value.blocks:
        facts = [
            Fact(label="Variance, first block", value=scientific(value.blocks[0].output.variance)),
            Fact(label="Variance, last block", value=scientific(value.blocks[-1].output.variance)),
            Fact(label="‖F‖ / ‖x‖", value=scientific(_mean(b.ratio for b in value.blocks)),
                 detail="geometric mean"),
        ]  # fmt: skip
    for spectrum in value.spectra[:1]:
        facts.append(
            Fact(label="Largest singular value", value=scientific(spectrum.largest),
                 detail=f"{spectrum.start} to {spectrum.end}")
        )  # fmt: skip
    return tuple(facts)


def _forward(value: SignalPropagation) -> Figure | None:
    blocks = value.blocks
    if not blocks:
        return None
    wanted: tuple[tuple[str, Callable[[BlockSignal], float], Hue], ...] = (
        ("Squared mean", lambda b: b.output.squared_mean, "plain"),
        ("Variance", lambda b: b.output.variance, "residual"),
        ("Variance of the branch", lambda b: b.branch.variance, "momentum"),
    )
    return Figure(
        key="forward",
        title="Forward: what leaves each block",
        caption="Per channel over batch and space, then the mean over channels. Diamonds: blocks "
        "that change resolution or width. Left: squared mean of what leaves the block; middle: "
        "its variance; right: variance of the residual branch before the join.",
        panels=tuple(
            _panel(title, blocks, _values(blocks, read), hue) for title, read, hue in wanted
        ),
        legend=_changing(blocks, "residual"),
        columns=3,
        shared="none",
        height=0.85,
        main=True,
    )


def _backward(value: SignalPropagation) -> Figure | None:
    blocks = [b for b in value.blocks if b.grad_output is not None and b.grad_input is not None]
    if not blocks:
        return None
    wanted: tuple[tuple[str, Callable[[BlockSignal], float], Hue], ...] = (
        ("Squared mean, at the block’s end",
         lambda b: b.grad_output.squared_mean if b.grad_output else math.nan, "plain"),
        ("Variance, at the block’s end",
         lambda b: b.grad_output.variance if b.grad_output else math.nan, "residual"),
        ("Variance, at its fork",
         lambda b: b.grad_input.variance if b.grad_input else math.nan, "momentum"),
    )  # fmt: skip
    return Figure(
        key="backward",
        title="Backward: the gradient at each block",
        caption="The same moments of the loss’s gradient. Read from right to left.",
        panels=tuple(
            _panel(title, blocks, _values(blocks, read), hue) for title, read, hue in wanted
        ),
        legend=_changing(blocks, "residual"),
        columns=3,
        shared="none",
        height=0.85,
    )


def _ratios(value: SignalPropagation) -> Figure | None:
    blocks = value.blocks
    if not blocks:
        return None
    series = [
        Series(name="forward, ‖F(x)‖ / ‖S(x)‖", hue="residual", dots=len(blocks) <= _FEW_DOTS,
               points=_values(blocks, lambda b: b.ratio)),
    ]  # fmt: skip
    back = tuple((i, b.grad_ratio) for i, b in enumerate(blocks, 1) if b.grad_ratio is not None)
    if back:
        series.append(
            Series(name="backward, branch over shortcut", hue="plain", points=back,
                   dots=len(blocks) <= _FEW_DOTS)
        )  # fmt: skip
    values = [1.0, *(y for s in series for _, y in s.points)]
    return Figure(
        key="ratios",
        title="How much the branch brings beside the shortcut",
        caption="Norms per sample, mean over the batch. Far below 1 the block is nearly the "
        "identity, far above 1 its shortcut is drowned.",
        panels=(
            Panel(title="", x=_x(blocks), y=_roomy("ratio of norms", values),
                  series=tuple(series), rules=(Rule(at=1.0, label="1"),), bands=_bands(blocks)),
        ),
        height=0.36,
    )  # fmt: skip


def _layers(value: SignalPropagation) -> Figure | None:
    if not value.layers:
        return None
    x = Axis(label="weighted layer, from the input", whole=True)
    dots = len(value.layers) <= _FEW_DOTS
    out = tuple((i, layer.output.second) for i, layer in enumerate(value.layers, 1))
    back = tuple(
        (i, layer.grad_output.second)
        for i, layer in enumerate(value.layers, 1)
        if layer.grad_output
    )
    panels = [
        Panel(title="Forward", x=x, y=_axis("mean square of the output", out),
              series=(Series(name="output", hue="residual", points=out, dots=dots),)),
    ]  # fmt: skip
    if back:
        panels.append(
            Panel(title="Backward", x=x, y=_axis("mean square of its gradient", back),
                  series=(Series(name="gradient", hue="plain", points=back, dots=dots),))
        )  # fmt: skip
    return Figure(
        key="layers",
        title="Every weighted layer",
        caption="Mean of the squares of all elements: of the output, and of the loss’s gradient "
        "there.",
        panels=tuple(panels),
        legend=(),
        shared="none",
        height=0.5 if len(panels) > 1 else 0.36,
    )


def _shattered(value: SignalPropagation) -> Figure | None:
    found = value.shattering
    if found is None or not found.correlations:
        return None
    points = tuple(enumerate(found.correlations, start=1))
    return Figure(
        key="shattering",
        title="Correlation between the gradients of different inputs",
        caption=f"Mean over all pairs of {count(found.samples, 'sample')}; the last place is the "
        "input. It falls with depth where gradients shatter; shortcuts slow that down.",
        panels=(
            Panel(
                title="",
                x=Axis(label="places back from the loss", whole=True),
                y=Axis(label="correlation"),
                series=(Series(name="correlation", hue="adam", points=points, dots=True),),
                rules=(Rule(at=0.0, label="0"),),
            ),
        ),
        height=0.36,
    )


def jacobian_table(spectra: Sequence[Spectrum]) -> Table | None:
    """One row per Jacobian; ``None`` without any."""
    if not spectra:
        return None
    return Table(
        title="Jacobians",
        head=("From", "To", "Mean of σ²", "Mean of σ⁴", "Largest σ", "Smallest σ", "Size",
              "Probes", "Steps"),
        rows=tuple(
            (
                s.start,
                s.end,
                _about(s.mean_square, s.mean_square_error),
                _about(s.mean_fourth, s.mean_fourth_error),
                scientific(s.largest),
                scientific(s.smallest) if s.exact else f"≤ {scientific(s.smallest)}",
                f"{s.rows:,}×{s.columns:,}",
                str(s.probes or "exact"),
                str(s.steps or "exact"),
            )
            for s in spectra
        ),
        words=2,
        note="Means by Hutchinson’s estimate with its standard error, ends by Lanczos, exact "
        "where the whole Jacobian was small enough; over "
        f"{count(max(s.samples for s in spectra), 'sample')} in eval mode. All σ equal to 1 is "
        "dynamical isometry (Pennington et al. 2017, arXiv:1711.04735).",
    )  # fmt: skip


def _table(blocks: Sequence[BlockSignal]) -> Table | None:
    if not blocks:
        return None
    return Table(
        title="Every block",
        head=("Block", "Stage", "Squared mean", "Variance", "Variance of the branch", "‖F‖/‖S‖",
              "Gradient at the end", "At the fork", "Branch over shortcut"),
        rows=tuple(
            (
                b.name + (" (changes size)" if b.changes else ""),
                b.stage or "–",
                *map(scientific, (b.output.squared_mean, b.output.variance, b.branch.variance,
                                  b.ratio)),
                *(scientific(m.second) if m else "–" for m in (b.grad_output, b.grad_input)),
                "–" if b.grad_ratio is None else scientific(b.grad_ratio),
            )
            for b in blocks
        ),
        words=2,
        note="Gradients as mean squares.",
        tall=True,
    )  # fmt: skip


def _skipped(reasons: Sequence[str]) -> Table | None:
    if not reasons:
        return None
    return Table(
        title="Not measured", head=("Why",), rows=tuple((r,) for r in reasons), words=1,
        tall=len(reasons) > 8,
    )  # fmt: skip


def _about(value: float, error: float) -> str:
    return f"{scientific(value)} ± {scientific(error)}" if error else scientific(value)


def _panel(title: str, blocks: Sequence[BlockSignal], points: Points, hue: Hue) -> Panel:
    changing = tuple(p for p, b in zip(points, blocks, strict=True) if b.changes)
    series = [Series(name=title.lower(), hue=hue, points=points)]
    if len(blocks) <= _FEW_DOTS:
        rest = tuple(p for p, b in zip(points, blocks, strict=True) if not b.changes)
        series.append(Series(name=title.lower(), hue=hue, points=rest, line=False, dots=True))
        series.append(
            Series(name="changes size", hue="changing", points=changing, line=False, dots=True)
        )
    return Panel(
        title=title, x=_x(blocks), y=_axis("", points), series=tuple(s for s in series if s.points),
        bands=_bands(blocks),
    )  # fmt: skip


def _changing(blocks: Sequence[BlockSignal], hue: Hue) -> tuple[Key, ...]:
    if not any(b.changes for b in blocks) or len(blocks) > _FEW_DOTS:
        return ()
    return (Key(name="a block that changes resolution or width", hue="changing", line=False,
                dots=True),)  # fmt: skip


def _values(blocks: Sequence[BlockSignal], read: Callable[[BlockSignal], float]) -> Points:
    return tuple((i, read(block)) for i, block in enumerate(blocks, start=1))


def _axis(label: str, points: Points) -> Axis:
    """Logarithmic where the values span more than a linear axis can show."""
    good = [y for _, y in points if y > 0 and math.isfinite(y)]
    log = bool(good) and max(good) / min(good) > _WIDE
    # From zero: a constant must look constant, not like its rounding errors.
    top = max((y for _, y in points if math.isfinite(y)), default=0.0)
    if log:
        return _roomy(label, good)
    if top <= 0:
        return Axis(label=label)
    return Axis(label=label, low=0.0, high=1.16 * top)


def _roomy(label: str, values: Sequence[float]) -> Axis:
    """A log axis with room above for the names of the stages."""
    good = [v for v in values if v > 0 and math.isfinite(v)]
    if not good:
        return Axis(label=label, log=True)
    decades = math.log10(max(good)) - math.log10(min(good))
    # Scales end at 10³⁰⁰; beyond it differences of two floats overflow.
    high = min(math.log10(max(good)) + max(0.16 * decades, 0.1), 300.0)
    return Axis(label=label, log=True, high=10.0**high)


def _x(blocks: Sequence[BlockSignal]) -> Axis:
    # There is no block 0.
    return Axis(label="block, from the input", whole=True, low=0.5, high=len(blocks) + 0.5)


def _bands(blocks: Sequence[BlockSignal]) -> tuple[Band, ...]:
    return tuple(_stages([b.stage for b in blocks]))


def _stages(names: Sequence[str]) -> Iterator[Band]:
    start, shade = 0, False
    for i in range(1, len(names) + 1):
        if i == len(names) or names[i] != names[start]:
            yield Band(low=start + 0.5, high=i + 0.5, name=names[start], tinted=shade)
            start, shade = i, not shade


def _mean(values: Iterator[float]) -> float:
    return log_mean(values)


def _times(now: float, before: float) -> str:
    if not before or not math.isfinite(now) or not math.isfinite(before):
        return ""
    return f", {power(now / before)} times as much"
