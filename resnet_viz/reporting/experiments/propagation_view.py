"""Signal propagation: the plots of Brock et al. 2021 forward, their counterparts backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from resnet_viz.core.message import say
from resnet_viz.core.propagation import BlockSignal, SignalPropagation
from resnet_viz.core.terms import word
from resnet_viz.core.units import count, scientific
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
from resnet_viz.reporting.experiments.page import ExperimentView, Fact, Section
from resnet_viz.reporting.experiments.propagation_tables import (
    block_table,
    jacobian_table,
    mean_ratio,
    propagation_words,
    skipped_table,
)

_WIDE = 30.0
_FEW_DOTS = 80

Points = tuple[tuple[float, float], ...]


def propagation_view(value: SignalPropagation, title: str) -> ExperimentView:
    """The page of one measurement."""
    said = propagation_words(value)
    return ExperimentView(
        title=title or say("{model}: signal propagation", model=value.model),
        verdict=said[0] if said else say("No residual block and no layer was measured"),
        tone="",
        lead=say(
            "{blocks} and {layers}, one batch of {batch_size} in {mode} mode.",
            blocks=count(len(value.blocks), "block"),
            layers=count(len(value.layers), "layer"),
            batch_size=f"{value.batch_size:,}",
            mode=word(value.mode),
        ),
        facts=_facts(value),
        seen=(),
        sections=(propagation_section(value),),
        caveats=(
            say(
                "Moments are of one batch. Jacobians are taken in eval mode at the samples "
                "given, and say nothing of other inputs."
            ),
        ),
        provenance=tuple(
            (label, text)
            for label, text in (
                (say("Loss"), value.loss),
                (say("Mode"), word(value.mode)),
                (say("Batch"), f"{value.batch_size:,}"),
                (say("Data"), value.data),
                (say("Measured on"), value.device),
            )
            if text
        ),
    )


def propagation_section(value: SignalPropagation) -> Section:
    """Figures, words and tables, for any page."""
    figures = (_forward(value), _backward(value), _ratios(value), _layers(value), _shattered(value))
    tables = (
        jacobian_table(value.spectra),
        block_table(value.blocks),
        skipped_table(value.skipped),
    )
    return Section(
        key="propagation",
        title=say("Signal propagation"),
        lead=say(
            "What becomes of a signal on its way: forward its moments per block "
            "(Brock, De & Smith 2021, arXiv:2101.08692), backward those of the "
            "gradient. Flat is healthy; a straight line on a log axis is one factor "
            "per block."
        ),
        said=propagation_words(value),
        figures=tuple(f for f in figures if f is not None),
        tables=tuple(t for t in tables if t is not None),
    )


def _facts(value: SignalPropagation) -> tuple[Fact, ...]:
    facts = []
    if value.blocks:
        facts = [
            Fact(
                label=say("Variance, first block"),
                value=scientific(value.blocks[0].output.variance),
            ),
            Fact(
                label=say("Variance, last block"),
                value=scientific(value.blocks[-1].output.variance),
            ),
            Fact(
                label="‖F‖ / ‖x‖",
                value=scientific(mean_ratio(b.ratio for b in value.blocks)),
                detail=say("geometric mean"),
            ),
        ]
    for spectrum in value.spectra[:1]:
        facts.append(
            Fact(
                label=say("Largest singular value"),
                value=scientific(spectrum.largest),
                detail=say("from {start} to {end}", start=spectrum.start, end=spectrum.end),
            )
        )
    return tuple(facts)


def _forward(value: SignalPropagation) -> Figure | None:
    blocks = value.blocks
    if not blocks:
        return None
    wanted: tuple[tuple[str, Callable[[BlockSignal], float], Hue], ...] = (
        (say("Squared mean"), lambda b: b.output.squared_mean, "plain"),
        (say("Variance"), lambda b: b.output.variance, "residual"),
        (say("Variance of the branch"), lambda b: b.branch.variance, "momentum"),
    )
    return Figure(
        key="forward",
        title=say("Forward: what leaves each block"),
        caption=say(
            "Per channel over batch and space, then the mean over channels. Diamonds: "
            "blocks that change resolution or width. Left: squared mean of what leaves "
            "the block; middle: its variance; right: variance of the residual branch "
            "before the join."
        ),
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
        (
            say("Squared mean, at the block’s end"),
            lambda b: b.grad_output.squared_mean if b.grad_output else math.nan,
            "plain",
        ),
        (
            say("Variance, at the block’s end"),
            lambda b: b.grad_output.variance if b.grad_output else math.nan,
            "residual",
        ),
        (
            say("Variance, at its fork"),
            lambda b: b.grad_input.variance if b.grad_input else math.nan,
            "momentum",
        ),
    )
    return Figure(
        key="backward",
        title=say("Backward: the gradient at each block"),
        caption=say("The same moments of the loss’s gradient. Read from right to left."),
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
        Series(
            name=say("forward, ‖F(x)‖ / ‖S(x)‖"),
            hue="residual",
            dots=len(blocks) <= _FEW_DOTS,
            points=_values(blocks, lambda b: b.ratio),
            ops=tuple(b.join for b in blocks),
        ),
    ]
    back = tuple((i, b.grad_ratio) for i, b in enumerate(blocks, 1) if b.grad_ratio is not None)
    if back:
        series.append(
            Series(
                name=say("backward, branch over shortcut"),
                hue="plain",
                points=back,
                dots=len(blocks) <= _FEW_DOTS,
                ops=tuple(b.join for b in blocks if b.grad_ratio is not None),
            )
        )
    values = [1.0, *(y for s in series for _, y in s.points)]
    return Figure(
        key="ratios",
        title=say("How much the branch brings beside the shortcut"),
        caption=say(
            "Norms per sample, mean over the batch. Far below 1 the block is nearly "
            "the identity, far above 1 its shortcut is drowned."
        ),
        panels=(
            Panel(
                title="",
                x=_x(blocks),
                y=_roomy(say("ratio of norms"), values),
                series=tuple(series),
                rules=(Rule(at=1.0, label="1"),),
                bands=_bands(blocks),
            ),
        ),
        height=0.36,
    )


def _layers(value: SignalPropagation) -> Figure | None:
    if not value.layers:
        return None
    x = Axis(label=say("weighted layer, from the input"), whole=True)
    dots = len(value.layers) <= _FEW_DOTS
    out = tuple((i, layer.output.second) for i, layer in enumerate(value.layers, 1))
    back = tuple(
        (i, layer.grad_output.second)
        for i, layer in enumerate(value.layers, 1)
        if layer.grad_output
    )
    panels = [
        Panel(
            title=say("Forward"),
            x=x,
            y=_axis(say("mean square of the output"), out),
            series=(
                Series(
                    name=say("output"),
                    hue="residual",
                    points=out,
                    dots=dots,
                    ops=tuple(layer.op for layer in value.layers),
                ),
            ),
        ),
    ]
    if back:
        panels.append(
            Panel(
                title=say("Backward"),
                x=x,
                y=_axis(say("mean square of its gradient"), back),
                series=(Series(name=say("gradient"), hue="plain", points=back, dots=dots),),
            )
        )
    return Figure(
        key="layers",
        title=say("Every weighted layer"),
        caption=say(
            "Mean of the squares of all elements: of the output, and of the loss’s gradient there."
        ),
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
        title=say("Correlation between the gradients of different inputs"),
        caption=say(
            "Mean over all pairs of {samples}; the last place is the input. It falls "
            "with depth where gradients shatter; shortcuts slow that down.",
            samples=count(found.samples, "sample"),
        ),
        panels=(
            Panel(
                title="",
                x=Axis(label=say("places back from the loss"), whole=True),
                y=Axis(label=say("correlation")),
                series=(Series(name=say("correlation"), hue="adam", points=points, dots=True),),
                rules=(Rule(at=0.0, label="0"),),
            ),
        ),
        height=0.36,
    )


def _panel(title: str, blocks: Sequence[BlockSignal], points: Points, hue: Hue) -> Panel:
    changing = tuple(p for p, b in zip(points, blocks, strict=True) if b.changes)
    series = [Series(name=title, hue=hue, points=points)]
    if len(blocks) <= _FEW_DOTS:
        rest = tuple(p for p, b in zip(points, blocks, strict=True) if not b.changes)
        series.append(
            Series(
                name=title,
                hue=hue,
                points=rest,
                line=False,
                dots=True,
                ops=tuple(b.join for b in blocks if not b.changes),
            )
        )
        series.append(
            Series(
                name=say("changes size"),
                hue="changing",
                points=changing,
                line=False,
                dots=True,
                ops=tuple(b.join for b in blocks if b.changes),
            )
        )
    return Panel(
        title=title,
        x=_x(blocks),
        y=_axis("", points),
        series=tuple(s for s in series if s.points),
        bands=_bands(blocks),
    )


def _changing(blocks: Sequence[BlockSignal], hue: Hue) -> tuple[Key, ...]:
    if not any(b.changes for b in blocks) or len(blocks) > _FEW_DOTS:
        return ()
    return (
        Key(
            name=say("a block that changes resolution or width"),
            hue="changing",
            line=False,
            dots=True,
        ),
    )


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
    return Axis(label=say("block, from the input"), whole=True, low=0.5, high=len(blocks) + 0.5)


def _bands(blocks: Sequence[BlockSignal]) -> tuple[Band, ...]:
    return tuple(_stages([b.stage for b in blocks]))


def _stages(names: Sequence[str]) -> Iterator[Band]:
    start, shade = 0, False
    for i in range(1, len(names) + 1):
        if i == len(names) or names[i] != names[start]:
            yield Band(low=start + 0.5, high=i + 0.5, name=names[start], tinted=shade)
            start, shade = i, not shade
