"""Figures of two models: their gradients and their chains in one chart each."""

from __future__ import annotations

from typing import TypeAlias

from resnet_viz.core.comparison import Comparison
from resnet_viz.core.message import join, say
from resnet_viz.core.report import Report
from resnet_viz.reporting.experiments.chain_figures import chain_words
from resnet_viz.reporting.experiments.figure import Axis, Figure, Hue, Panel, Rule, Series
from resnet_viz.reporting.page.tables import Facts

_FEW_DOTS = 60

Points: TypeAlias = tuple[tuple[float, float], ...]


def gradient_figure(sides: tuple[Facts, Facts], names: tuple[str, str]) -> Figure | None:
    """Norms of both by depth, at weights and at outputs; ``None`` where nothing was measured."""
    x = Axis(label=say("weighted layer, from the input"), whole=True)
    panels = []
    for title, label, read in (
        (say("Weights"), "‖∂L/∂W‖₂", Facts.weight_gradient),
        (say("Activations"), "‖∂L/∂y‖₂", Facts.call_gradient),
    ):
        series = []
        for facts, name, hue in zip(
            sides, names, _hues(sides[0].report, sides[1].report), strict=True
        ):
            points = tuple(
                (i, stats.l2)
                for i, op in enumerate(facts.weighted, start=1)
                if (stats := read(facts, op)) is not None
            )
            if points:
                series.append(_series(name, hue, points))
        if series:
            panels.append(
                Panel(title=title, x=x, y=Axis(label=label, log=True), series=tuple(series))
            )
    if not panels:
        return None
    return Figure(
        key="gradients",
        title=say("Gradient of every weighted layer"),
        caption=say(
            "Norms of the loss’s gradient: at the weights, and at the outputs. Falling to the "
            "left is vanishing, rising to the left exploding."
        ),
        panels=tuple(panels),
        shared="none",
        height=0.6,
        main=True,
    )


def chain_figure(value: Comparison, names: tuple[str, str]) -> Figure | None:
    """Factors and products of both chains; ``None`` where neither was measured."""
    gains, products = [], []
    for report, name, hue in zip((value.a, value.b), names, _hues(value.a, value.b), strict=True):
        chain = report.gradient_flow.chain if report.gradient_flow else ()
        if chain:
            gains.append(
                Series(name=name, hue=hue, line=False, dots=True,
                       points=tuple((link.depth, link.gain) for link in chain))
            )  # fmt: skip
            products.append(_series(name, hue, tuple((link.depth, link.product) for link in chain)))
    if not gains:
        return None
    x = Axis(label=say("depth: weighted layers from the input"), whole=True)
    one = (Rule(at=1.0, label="1"),)
    return Figure(
        key="chains",
        title=say("The chain of both"),
        caption=say(
            "Left: the factor of every piece that all of the gradient passes. Right: their "
            "product from the loss back to there."
        ),
        panels=(
            Panel(title=say("Factors"), x=x, y=Axis(label=say("factor"), log=True),
                  series=tuple(gains), rules=one),
            Panel(title=say("Product"), x=x, y=Axis(label=say("product"), log=True),
                  series=tuple(products), rules=one),
        ),
        shared="none",
        height=0.6,
        main=True,
    )  # fmt: skip


def _series(name: str, hue: Hue, points: Points) -> Series:
    return Series(name=name, hue=hue, points=points, dots=len(points) <= _FEW_DOTS)


def chains_said(value: Comparison, names: tuple[str, str]) -> tuple[str, ...]:
    """A sentence on each chain that was measured."""
    said = []
    for report, name in zip((value.a, value.b), names, strict=True):
        words = chain_words(report.gradient_flow.chain) if report.gradient_flow else ()
        if words:
            said.append(join(": ", (name, join(" ", words))))
    return tuple(said)


def _hues(a: Report, b: Report) -> tuple[Hue, Hue]:
    """A plain net has the plain net's colour on either side; two alike have one each."""
    swapped = bool(a.structure.skips) and not b.structure.skips
    return ("residual", "plain") if swapped else ("plain", "residual")
