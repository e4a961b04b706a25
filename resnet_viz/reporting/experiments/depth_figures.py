"""The small multiples of the depth experiment, as plain values.

Plain and residual have their two hues in every panel; dashed is batch norm where nets are
compared, and theory where a net is compared with a closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import mul

from resnet_viz.core.experiments.depth import DepthRun, DepthStudy, FirstSteps, NetKind
from resnet_viz.core.units import scientific
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
from resnet_viz.reporting.experiments.page import log_mean

_THEORY, _WRAPPED, _BOUND = "theory", "on images that wrap around", "1/4 per sigmoid"
_BESIDE = (_THEORY, _WRAPPED, _BOUND)

_HUES: dict[str, Hue] = {"sgd": "sgd", "momentum": "momentum", "adam": "adam"}


def hue(kind: NetKind) -> Hue:
    """The colour of a kind of net."""
    return "residual" if kind.residual else "plain"


def norm_name(kind: NetKind) -> str:
    """``no norm`` or ``batch norm``."""
    return "no norm" if kind.norm == "none" else f"{kind.norm} norm"


def deepest(value: DepthStudy, kind: NetKind) -> DepthRun | None:
    """The deepest net of a kind, of the first seed."""
    runs = value.of(kind)
    most = max((run.depth for run in runs), default=0)
    return next((run for run in runs if run.depth == most), None)


def chosen(value: DepthStudy) -> str:
    """The initialisation whose chains are drawn: ``he`` where it was tried, else the first."""
    inits = [kind.init for kind in value.kinds]
    return "he" if "he" in inits else inits[0] if inits else ""


def against_depth(value: DepthStudy) -> Figure | None:
    """Norm of the first weight's gradient against depth.

    Not first over last: in a plain ReLU net without norm every layer has the same
    ``<W, dL/dW>``, so that ratio stays near 1 while all gradients vanish.
    """
    activations = list(dict.fromkeys(kind.activation for kind in value.kinds))
    inits = list(dict.fromkeys(kind.init for kind in value.kinds))
    panels = []
    for activation in activations:
        for init in inits:
            kinds = [k for k in value.kinds if (k.activation, k.init) == (activation, init)]
            panels.append(
                Panel(
                    title=f"{activation}, {init}",
                    x=Axis(label="weighted layers", low=0.0),
                    y=Axis(label="‖∂L/∂W‖₂", log=True),
                    series=tuple(_by_depth(value, kind) for kind in kinds),
                )
            )
    if not panels:
        return None
    norms = list(dict.fromkeys(kind.norm for kind in value.kinds))
    legend = _two(value.kinds)
    if len(norms) > 1:
        legend += [
            Key(name="no norm", hue="muted"),
            Key(name="batch norm", hue="muted", dashed=True),
        ]
    seeds = len({run.seed for run in value.runs})
    return Figure(
        key="depth",
        title="Gradient of the first weight, against depth",
        caption="Norm of the loss gradient at the first convolution's weight, at initialisation, "
        "one batch, float32. Solid: no norm; dashed: batch norm. A triangle at the lower edge is a "
        "gradient that float32 rounds to zero; zero has no place on a log axis."
        + (f" Geometric mean of {seeds} seeds; bands from the least to the largest." if seeds > 1
           else ""),
        panels=tuple(panels),
        columns=max(1, len(inits)),
        narrow=2,
        legend=tuple(legend),
        shared="rows",
        height=0.6,
        main=True,
    )  # fmt: skip


def _by_depth(value: DepthStudy, kind: NetKind) -> Series:
    found: dict[int, list[float]] = {}
    for run in value.of(kind):
        if run.weights.norms:
            found.setdefault(run.depth, []).append(run.weights.norms[0])
    return Series(
        name=kind.label,
        hue=hue(kind),
        points=tuple((depth, log_mean(norms)) for depth, norms in sorted(found.items())),
        spread=tuple((d, min(r), max(r)) for d, r in sorted(found.items()) if len(r) > 1),
        dots=True,
        dashed=kind.norm != "none",
    )


def _two(kinds: Sequence[NetKind], *, line: bool = True, dots: bool = True) -> list[Key]:
    hues: list[Hue] = ["residual" if r else "plain" for r in sorted({k.residual for k in kinds})]
    return [Key(name=hue, hue=hue, line=line, dots=dots, thick=not dots) for hue in hues]


def chain(value: DepthStudy) -> Figure | None:
    """The running product of the factors, beside theory and 4^-L."""
    return _multiples(
        value,
        key="chain",
        title="What is left of the gradient on its way back, block by block",
        caption="Norm of the gradient at each block's input over that at the last block's output, "
        "in float64. Dashed: theory of wide nets, where there is one; with batch norm it knows no "
        "borders, and grey is the same net on images that wrap around, which have none. Violet: "
        "at most this is what the slopes of the sigmoids leave, 1/4 for each that no way back "
        "avoids (4 to the −L); the weights multiply it. An upright line marks where float32 "
        "holds nothing more.",
        y=Axis(label="gradient left", log=True),
        panel=_product_panel,
        main=True,
    )


def factors(value: DepthStudy) -> Figure | None:
    """The factor of each block, beside theory and the textbook's constant."""
    return _multiples(
        value,
        key="factors",
        title="The factor of each block",
        caption="By which each block multiplies the gradient's norm on the way back. Dashed: "
        "theory of wide nets at this block. Dotted, with its value: the closed form for a "
        "block of an infinitely wide net without borders; grey beside it: the same net on "
        "images that wrap around, which have none.",
        y=Axis(label="factor", log=True),
        panel=_factor_panel,
    )


_PanelOf = Callable[[DepthRun, Axis], Panel]


def _multiples(
    value: DepthStudy, *, key: str, title: str, caption: str, y: Axis, panel: _PanelOf,
    main: bool = False,
) -> Figure | None:  # fmt: skip
    init = chosen(value)
    kinds = [kind for kind in value.kinds if kind.init == init]
    activations = list(dict.fromkeys(kind.activation for kind in kinds))
    looks = sorted({(k.norm != "none", k.residual) for k in kinds})
    panels = []
    for activation in activations:
        for normed, residual in looks:
            for kind in kinds:
                run = deepest(value, kind)
                same = (kind.activation, kind.norm != "none", kind.residual)
                if run is not None and same == (activation, normed, residual):
                    panels.append(panel(run, y))
    if not panels:
        return None
    depth = max(run.depth for run in value.runs)
    return Figure(
        key=key,
        title=f"{title}: {depth} layers, {init} initialisation",
        caption=caption,
        panels=tuple(panels),
        columns=max(1, len(looks)),
        narrow=2,
        legend=(*_two(kinds, line=key == "chain", dots=key != "chain"), *_others(panels)),
        shared="rows",
        height=0.72,
        main=main,
    )


def _others(panels: Sequence[Panel]) -> list[Key]:
    """What is drawn beside the nets themselves, and is in some panel."""
    found = {s.name: s for panel in panels for s in panel.series if s.name in _BESIDE}
    return [
        Key(name=name, hue=found[name].hue, dashed=found[name].dashed)
        for name in _BESIDE
        if name in found
    ]


def _product_panel(run: DepthRun, y: Axis) -> Panel:
    series = [_line(run.kind.label, hue(run.kind), run.products)]
    if run.expected:
        series.append(_line(_THEORY, "theory", run.expected, dashed=True))
        if run.kind.norm != "none" and len(run.wrapped) > 1:
            series.insert(0, _line(_WRAPPED, "muted", list(accumulate(run.wrapped_factors, mul))))
    if run.bounds:
        series.append(_line(_BOUND, "bound", run.bounds))
    lost = run.lost_after
    rules = () if lost is None else (Rule(at=lost, label="float32 ends", across="upright"),)
    return _panel(run, y, series, rules)


def _factor_panel(run: DepthRun, y: Axis) -> Panel:
    points = tuple(enumerate(run.factors, start=1))
    series = [Series(name=run.kind.label, hue=hue(run.kind), points=points, line=False, dots=True)]
    if run.textbook is not None:
        series.insert(0, _line(_WRAPPED, "muted", run.wrapped_factors))
    if run.predicted:
        series.append(_line(_THEORY, "theory", run.predicted, dashed=True))
    book = run.textbook
    rules = () if book is None else (Rule(at=book, label=scientific(book)),)
    return _panel(run, y, series, rules)


def _line(name: str, hue: Hue, values: Sequence[float], *, dashed: bool = False) -> Series:
    points = tuple((float(i), value) for i, value in enumerate(values, start=1))
    return Series(
        name=name, hue=hue, points=points, dashed=dashed, thick=hue in ("plain", "residual")
    )


def _panel(run: DepthRun, y: Axis, series: Sequence[Series], rules: tuple[Rule, ...]) -> Panel:
    kind = run.kind
    return Panel(
        title=f"{kind.activation}, {'residual' if kind.residual else 'plain'}, {norm_name(kind)}",
        x=Axis(label="blocks back", low=0.0, whole=True),
        y=y,
        series=tuple(series),
        rules=rules,
        bands=_stages(run),
    )


def _stages(run: DepthRun) -> tuple[Band, ...]:
    back = run.stages[::-1]
    return tuple(
        Band(low=back.index(s) + 0.5, high=back.index(s) + back.count(s) + 0.5, name=f"stage {s}")
        for s in dict.fromkeys(back)
        if s % 2 == 0
    )


def losses(value: DepthStudy) -> Figure | None:
    """Loss in the first steps of each optimizer."""
    return _steps(
        value,
        key="losses",
        title="Loss in the first steps",
        caption="Training loss before each step and after the last, on the one batch.",
        y=Axis(label="loss"),
        lines=lambda run: [(run.losses, f"{run.optimizer}, rate {run.learning_rate:g}", False)],
        dashes=(),
    )


def updates(value: DepthStudy) -> Figure | None:
    """Relative size of the updates of the first and of the last layer."""
    return _steps(
        value,
        key="updates",
        title="Size of the updates: first layer and last",
        caption="‖Δw‖ / ‖w‖ of each step; a triangle at the lower edge is an update that changes "
        "no bit of a float32 weight.",
        y=Axis(label="‖Δw‖ / ‖w‖", log=True),
        lines=lambda run: [
            (tuple(u[at] for u in run.updates if u), f"{run.optimizer}, {name} layer", at != 0)
            for at, name in ((0, "first"), (-1, "last"))
        ],
        dashes=("first layer", "last layer"),
    )


def _steps(
    value: DepthStudy, *, key: str, title: str, caption: str, y: Axis,
    lines: Callable[[FirstSteps], list[tuple[tuple[float, ...], str, bool]]],
    dashes: tuple[str, ...],
) -> Figure | None:  # fmt: skip
    nets = list(dict.fromkeys((run.depth, run.kind) for run in value.steps))
    nets.sort(key=lambda net: net[0])
    panels = []
    for depth, kind in nets:
        runs = [run for run in value.steps if (run.depth, run.kind) == (depth, kind)]
        first = min(run.seed for run in runs)
        panels.append(
            Panel(
                title=f"{kind.label}, {depth} layers",
                x=Axis(label="step", low=0.0, whole=True),
                y=y,
                series=tuple(
                    Series(
                        name=name,
                        hue=_HUES.get(run.optimizer, "muted"),
                        points=tuple((float(i), v) for i, v in enumerate(values)),
                        dashed=dashed,
                    )
                    for run in runs
                    if run.seed == first
                    for values, name, dashed in lines(run)
                ),
            )
        )
    if not panels:
        return None
    names = dict.fromkeys(run.optimizer for run in value.steps)
    legend = [Key(name=name, hue=_HUES.get(name, "muted")) for name in names]
    legend += [Key(name=name, hue="muted", dashed=i > 0) for i, name in enumerate(dashes)]
    return Figure(
        key=key,
        title=title,
        caption=caption,
        panels=tuple(panels),
        columns=_columns(len({kind for _, kind in nets})),
        narrow=2,
        legend=tuple(legend),
        shared="all",
        height=1.0 if len(panels) > 4 else 0.72,
    )


def _columns(kinds: int) -> int:
    """Of the first steps: one for each kind of net, a row for each depth, while that fits."""
    return kinds if kinds <= 5 else 3 if kinds in (6, 9) else 4
