"""A gradient flow on its own, without the graph it was measured on, as a page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from resnet_viz.core.errors import listed
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.core.message import join, say, sentences
from resnet_viz.core.terms import word
from resnet_viz.core.units import count, scientific
from resnet_viz.reporting.experiments.chain_figures import (
    chain_figure,
    chain_table,
    chain_words,
    power,
)
from resnet_viz.reporting.experiments.figure import Axis, Figure, Panel, Rule, Series
from resnet_viz.reporting.experiments.flow_tables import (
    fact_tables,
    how_measured,
    parameter_table,
    received,
    share_table,
)
from resnet_viz.reporting.experiments.page import Cards, ExperimentView, Fact, Section, Tone


def flow_view(value: GradientFlow, title: str) -> ExperimentView:
    """The page: the chain, every parameter, every fork, and what the forward showed."""
    worst = value.findings[0] if value.findings else None
    chain = chain_figure(value.chain, main=True)
    norms = _norms(value)
    shares = share_table(value)
    facts = fact_tables(value)
    sections = [
        Section(
            key="chain",
            title=say("The chain"),
            lead=say("The factors whose product makes a gradient vanish or explode."),
            said=chain_words(value.chain),
            figures=(chain,) if chain else (),
            tables=(chain_table(value.chain),) if value.chain else (),
        ),
        Section(
            key="parameters",
            title=say("Parameters"),
            lead=f"{received(value)}.",
            figures=(norms,) if norms else (),
            tables=(parameter_table(value),),
        ),
        Section(key="forks", title=say("Forks"), tables=(shares,) if shares else ()),
        Section(key="forward", title=say("What the forward showed"), tables=facts),
        Section(
            key="findings",
            title=say("Findings"),
            cards=(Cards(title="", findings=value.findings),) if value.findings else (),
        ),
    ]
    tone: Tone = ""
    if worst is not None and worst.severity != "note":
        tone = worst.severity
    verdict = (
        say("No rule fired on this run")
        if worst is None
        else join(": ", (worst.what, worst.evidence))
    )
    rows = how_measured(value)
    return ExperimentView(
        title=title or say("Gradient flow"),
        verdict=verdict,
        tone=tone,
        lead=say(
            "{name} = {value}, {mode} mode, {batches} of {batch_size}, on {device}.",
            name=value.loss.name,
            value=scientific(value.loss.value),
            mode=word(value.mode),
            batches=count(value.batches, "batch", "batches"),
            batch_size=f"{value.batch_size:,}",
            device=value.device,
        ),
        facts=_facts(value),
        seen=value.notes,
        sections=tuple(s for s in sections if s.figures or s.tables or s.cards),
        caveats=(
            say(
                "One run of one batch (or a few) at one moment of training: another batch, "
                "seed or step may look otherwise."
            ),
        ),
        provenance=tuple(rows),
    )


def places(where: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    return listed(where, most)


def _facts(value: GradientFlow) -> tuple[Fact, ...]:
    reached = sum(p.stats is not None for p in value.parameters)
    facts = [
        Fact(label=say("Loss"), value=scientific(value.loss.value), detail=value.loss.name),
        Fact(
            label=say("With gradient"),
            value=say(
                "{reached} of {parameters}",
                reached=f"{reached:,}",
                parameters=f"{len(value.parameters):,}",
            ),
            detail=say("parameters"),
        ),
    ]
    if value.chain:
        facts.append(
            Fact(
                label=say("Product of the chain"),
                value=power(value.chain[0].product),
                detail=say(
                    "{factors}, from the loss to the input",
                    factors=count(len(value.chain), "factor"),
                ),
            )
        )
    facts.append(
        Fact(
            label=say("Findings"),
            value=f"{len(value.findings):,}",
            detail=say("no rule fired") if not value.findings else value.findings[0].what,
            tone="good" if not value.findings else "warning",
        )
    )
    return tuple(facts)


def _norms(value: GradientFlow) -> Figure | None:
    found = [(i, p) for i, p in enumerate(value.parameters, start=1) if p.stats is not None]
    if not found:
        return None
    norms = Series(
        name=say("norm of the gradient"),
        hue="residual",
        points=tuple((i, p.stats.l2) for i, p in found if p.stats),
        spread=tuple(
            (i, max(p.stats.l2 - p.stats.spread, 0.0), p.stats.l2 + p.stats.spread)
            for i, p in found
            if p.stats and p.stats.spread is not None and math.isfinite(p.stats.spread)
        ),
        line=False,
        dots=True,
    )
    x = Axis(label=say("parameter, in registration order"), whole=True)
    panels = [
        Panel(title=say("Norm"), x=x, y=Axis(label="‖∂L/∂W‖₂", log=True), series=(norms,)),
    ]
    ratios = [(i, p.update_ratio) for i, p in found if p.update_ratio is not None]
    by = "update" if ratios else "gradient"
    ratios = ratios or [(i, p.ratio) for i, p in found if p.ratio is not None]
    if ratios:
        label = "‖Δw‖/‖w‖" if by == "update" else "‖∂L/∂W‖/‖W‖"
        panels.append(
            Panel(
                title=say("One step of the optimizer")
                if by == "update"
                else say("Beside the weight"),
                x=x,
                y=Axis(label=label, log=True),
                series=(
                    Series(
                        name=say("update over weight")
                        if by == "update"
                        else say("gradient over weight"),
                        hue="momentum",
                        line=False,
                        dots=True,
                        points=tuple((i, r) for i, r in ratios if r is not None),
                    ),
                ),
                rules=(Rule(at=1e-3, label="10⁻³"),) if by == "update" else (),
            )
        )
    spread = (
        say("Whiskers: one standard deviation over {batches} batches.", batches=value.batches)
        if norms.spread
        else ""
    )
    return Figure(
        key="parameters",
        title=say("Every parameter"),
        caption=sentences(
            say("Vectors (biases, norm scales) stand beside matrices and kernels."),
            spread,
            say("An update ratio near 10⁻³ is the usual rule of thumb.") if by == "update" else "",
        ),
        panels=tuple(panels),
        shared="none",
        height=0.6,
    )
