"""The degradation experiment as a page: the figure everyone knows, and what it does not say."""

from __future__ import annotations

import math
from dataclasses import replace

from resnet_viz.core.experiments.common import LayerNorms
from resnet_viz.core.experiments.degradation import Degradation, TrainedNet
from resnet_viz.core.units import count, scientific, shape
from resnet_viz.reporting.experiments.degradation_words import (
    caveats,
    seen,
    verdict,
)
from resnet_viz.reporting.experiments.figure import Axis, Figure, Hue, Key, Panel, Rule, Series
from resnet_viz.reporting.experiments.lesion_view import (
    Lesioned,
    lesion_figures,
    lesion_table,
    lesion_words,
)
from resnet_viz.reporting.experiments.page import (
    ExperimentView,
    Fact,
    Section,
    Table,
    checks_fact,
    log_mean,
    mean,
    pct,
    provenance_rows,
    ranged,
)

_MOST_MOMENTS = 4


def degradation_view(value: Degradation, title: str) -> ExperimentView:
    """The page: error curves, gradients, lesions where there are any, numbers, checks."""
    said, tone = verdict(value)
    data, how = value.data, value.training
    nets = ", ".join(value.labels) or "no net"
    sections = [
        Section(
            key="curves",
            title="Error",
            lead="Deeper should be at least as good: the extra layers could copy their input "
            "(He et al. 2015, section 1). First the plain nets, then the same nets with shortcuts.",
            figures=tuple(_curves(value)),
            tables=(_table(value),),
        ),
        *_gradients(value),
        *_lesions(value),
    ]
    return ExperimentView(
        title=title or "Degradation: plain and residual nets of two depths",
        verdict=said,
        tone=tone,
        lead=f"{nets}, {count(len(how.seeds), 'seed')} each, trained on {data.name} "
        f"({data.train:,} training and {data.test:,} test samples of {shape(data.shape)}, "
        f"{data.classes} classes) for {count(how.epochs, 'epoch')} with SGD, and otherwise alike.",
        facts=_facts(value),
        seen=seen(value),
        sections=tuple(sections),
        checks=value.checks,
        caveats=caveats(value),
        provenance=_provenance(value),
    )


def hue(net: TrainedNet) -> Hue:
    """The colour of a kind of net."""
    return "residual" if net.residual else "plain"


def _facts(value: Degradation) -> tuple[Fact, ...]:
    facts = []
    for label in value.labels:
        runs = [net for net in value.runs(label) if net.epochs]
        if runs:
            test = ranged([net.epochs[-1].test_error for net in runs], pct)
            facts.append(
                Fact(
                    label=f"{label}, training error",
                    value=pct(mean(net.epochs[-1].train_error for net in runs)),
                    detail=f"test {test}",
                )
            )
    return (*facts, checks_fact(value.checks))


def _curves(value: Degradation) -> list[Figure]:
    deepest = max((net.depth for net in value.nets), default=0)
    depths = sorted({net.depth for net in value.nets})
    panels = []
    for residual, title in ((False, "Plain nets"), (True, "Residual nets")):
        series = [
            _curve(value.runs(label), test, deepest)
            for label in value.labels
            if value.runs(label)[0].residual == residual
            for test in (False, True)
        ]
        if series:
            panels.append(
                Panel(
                    title=title,
                    x=Axis(label="epoch", low=0.0, whole=True),
                    y=Axis(label="error, %", low=0.0),
                    series=tuple(series),
                    rules=tuple(_decays(value)),
                )
            )
    if not panels:
        return []
    legend = [
        Key(name="training error", hue="muted", dashed=True),
        Key(name="test error", hue="muted"),
    ]
    thin = ", ".join(str(d) for d in depths if d != deepest)
    legend += [Key(name=f"{thin} layers", hue="muted")] if thin else []
    legend.append(Key(name=f"{deepest} layers", hue="muted", thick=True))
    seeds = len(value.training.seeds)
    spread = f" Mean of {seeds} seeds; bands from the least to the largest." if seeds > 1 else ""
    return [
        Figure(
            key="curves",
            title=f"Training and test error on {value.data.name}",
            caption="Dashed: training error of the epoch, while the weights move (batch "
            "statistics). Solid: test error after it, in eval mode. Thick: the deepest "
            f"nets. Dotted: learning rate divided by 10.{spread} After figures 1 and 6 of "
            "He et al. 2015 (arXiv:1512.03385).",
            panels=tuple(panels),
            legend=tuple(legend),
            height=0.68,
            main=True,
        )
    ]


def _curve(runs: tuple[TrainedNet, ...], test: bool, deepest: int) -> Series:
    found: dict[int, list[float]] = {}
    for net in runs:
        for e in net.epochs:
            found.setdefault(e.number, []).append(100 * (e.test_error if test else e.train_error))
    kind = "test" if test else "training"
    return Series(
        name=f"{runs[0].label}, {kind} error",
        hue=hue(runs[0]),
        points=tuple((x, mean(ys)) for x, ys in sorted(found.items())),
        spread=tuple((x, min(ys), max(ys)) for x, ys in sorted(found.items()) if len(ys) > 1),
        dashed=not test,
        thick=runs[0].depth == deepest,
        label=f"{runs[0].label} {'test' if test else 'train'}",
    )


def _decays(value: Degradation) -> list[Rule]:
    how = value.training
    return [
        Rule(at=fraction * how.epochs, label="rate ÷ 10", across="upright")
        for fraction in how.decay_at
        if 0 < fraction < 1
    ]


def _table(value: Degradation) -> Table:
    rows = []
    for label in value.labels:
        runs = value.runs(label)
        last = [net.epochs[-1] for net in runs if net.epochs]
        rows.append(
            (
                label,
                f"{runs[0].params:,}",
                str(len(runs)),
                ranged([e.train_error for e in last], pct),
                ranged([e.test_error for e in last], pct),
                scientific(mean(e.train_loss for e in last)) if last else "–",
                scientific(mean(e.eval_train_loss for e in last)) if last else "–",
                scientific(mean(e.test_loss for e in last)) if last else "–",
                f"{mean(x.seconds for x in runs):.1f}",
            )
        )
    return Table(
        title="After the last epoch",
        head=(
            "Net", "Params", "Seeds", "Training error", "Test error", "Training loss",
            "Training loss, eval", "Test loss", "CPU-s",
        ),
        rows=tuple(rows),
        note="Mean over seeds, errors with the least and the largest. Training error and loss are "
        "those of the epoch itself; “eval” is the same samples after it, with running statistics.",
    )  # fmt: skip


def _gradients(value: Degradation) -> list[Section]:
    figures = [f for f in (_by_layer(value), _ratios(value)) if f is not None]
    if not figures:
        return []
    return [
        Section(
            key="gradients",
            title="Gradients",
            lead="Norm of the loss gradient at each layer's weight, on one fixed batch in train "
            "mode. Read the slope: falling towards the input is vanishing, rising is exploding.",
            figures=tuple(figures),
        )
    ]


def _spread(value: Degradation) -> str:
    seeds = len({net.seed for net in value.nets})
    if seeds < 2:
        return ""
    return f"Geometric mean of {seeds} seeds; bands from the least to the largest. "


def _moments(value: Degradation) -> list[int]:
    """Steps at which every net was measured: the first, the last, and some between."""
    steps = [{g.step for g in net.gradients} for net in value.nets]
    common = sorted(set.intersection(*steps)) if steps else []
    n = len(common)
    if n <= _MOST_MOMENTS:
        return common
    return [common[round(i * (n - 1) / (_MOST_MOMENTS - 1))] for i in range(_MOST_MOMENTS)]


def _at(net: TrainedNet, step: int) -> LayerNorms:
    return next(g for g in net.gradients if g.step == step)


def _by_layer(value: Degradation) -> Figure | None:
    moments = _moments(value)
    deepest = max((net.depth for net in value.nets), default=0)
    panels = []
    for step in moments:
        series = []
        for label in value.labels:
            runs = value.runs(label)
            columns = list(zip(*(_at(net, step).norms for net in runs), strict=False))
            series.append(
                Series(
                    name=label,
                    hue=hue(runs[0]),
                    thick=runs[0].depth == deepest,
                    points=tuple((i, log_mean(c)) for i, c in enumerate(columns, start=1)),
                    spread=tuple(
                        (i, min(c), max(c)) for i, c in enumerate(columns, start=1) if len(c) > 1
                    ),
                )
            )
        panels.append(
            Panel(
                title="At initialisation" if step == 0 else f"After {count(step, 'step')}",
                x=Axis(label="weighted layer, from the input", whole=True),
                y=Axis(label="‖∂L/∂W‖₂", log=True),
                series=tuple(series),
            )
        )
    if not panels:
        return None
    return Figure(
        key="gradients",
        title="Gradient by layer",
        caption=f"{_spread(value)}Thick: the deepest nets.",
        panels=tuple(panels),
        columns=min(4, len(panels)) if len(panels) != 3 else 3,
        height=0.62 if len(panels) < 3 else 0.85,
    )


def _ratios(value: Degradation) -> Figure | None:
    deepest = max((net.depth for net in value.nets), default=0)
    series = []
    for label in value.labels:
        runs = value.runs(label)
        found: dict[int, list[float]] = {}
        for net in runs:
            for g in net.gradients:
                if g.norms:
                    found.setdefault(g.step, []).append(g.first_over_last)
        if len(found) > 1:
            series.append(
                Series(
                    name=label,
                    hue=hue(runs[0]),
                    thick=runs[0].depth == deepest,
                    points=tuple((x, log_mean(ys)) for x, ys in sorted(found.items())),
                    spread=tuple((x, min(y), max(y)) for x, y in sorted(found.items())),
                    dots=True,
                    label=label,
                )
            )
    if not series:
        return None
    panel = Panel(
        title="",
        x=Axis(label="optimizer step", low=0.0, whole=True),
        y=Axis(label="first over last", log=True),
        series=tuple(series),
        rules=(Rule(at=1.0, label="equal"),),
    )
    return Figure(
        key="ratios",
        title="Gradient of the first layer over that of the last",
        caption=f"{_spread(value)}Above 1 the gradient grows on its way back, below 1 it shrinks.",
        panels=(panel,),
        columns=1,
        height=0.36,
    )


def _lesions(value: Degradation) -> list[Section]:
    deepest = max((net.depth for net in value.nets), default=0)
    nets = []
    seeds = sorted({net.seed for net in value.nets if net.lesions is not None})
    whose = f" (seed {seeds[0]})" if len(seeds) == 1 and len(value.training.seeds) > 1 else ""
    for label in value.labels:
        runs = value.runs(label)
        studies = tuple(net.lesions for net in runs if net.lesions is not None)
        if studies:
            thick = runs[0].depth == deepest
            nets.append(Lesioned(name=label, hue=hue(runs[0]), thick=thick, studies=studies))
    if not nets:
        return []
    return [
        Section(
            key="lesions",
            title="Lesions",
            lead=f"Blocks deleted or moved at test time, in the trained nets{whose}, as in Veit et "
            "al. 2016 (arXiv:1605.06431). Nothing is trained again.",
            said=lesion_words(nets),
            figures=tuple(replace(f, main=False) for f in lesion_figures(nets)),
            tables=(lesion_table(nets),),
        )
    ]


def _provenance(value: Degradation) -> tuple[tuple[str, str], ...]:
    data, how = value.data, value.training
    decay = ", ".join(f"{100 * f:g} %" for f in how.decay_at)
    return provenance_rows(
        value.provenance,
        ("Data", f"{data.name}: {data.source}"),
        ("Augmentation", data.augmentation or "none"),
        (
            "Training",
            f"SGD, momentum {how.momentum:g}, weight decay {how.weight_decay:g}, batch "
            f"{how.batch_size}, learning rate {how.learning_rate:g} after "
            f"{count(how.warmup_steps, 'step')} of warm-up"
            + (f", divided by 10 after {decay} of all steps" if decay else ""),
        ),
        ("Widths", ", ".join(map(str, how.widths))),
        ("Seeds", ", ".join(map(str, how.seeds))),
        ("CPU time of all nets", f"{_total(value):.0f} s" if math.isfinite(_total(value)) else ""),
    )


def _total(value: Degradation) -> float:
    return sum(net.seconds for net in value.nets)
