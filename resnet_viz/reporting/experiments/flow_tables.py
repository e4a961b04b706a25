"""What was measured of a gradient, as tables: every parameter, activation, norm and break."""

from __future__ import annotations

from resnet_viz.core.gradient_flow import GradientFlow, ParameterGradient
from resnet_viz.core.message import join, say, sentences
from resnet_viz.core.terms import word
from resnet_viz.core.units import count, percent, scientific
from resnet_viz.reporting.experiments.page import Table

NOTHING = "–"


def received(flow: GradientFlow) -> str:
    """``143 of 161 parameters received a gradient``, and how many of them only zeros."""
    reached = [p.stats for p in flow.parameters if p.stats is not None]
    zeros = sum(stats.l2 == 0 for stats in reached)
    said = say(
        "{n} of {parameters} received a gradient",
        n=f"{len(reached):,}",
        parameters=count(len(flow.parameters), "parameter"),
    )
    return say("{said}, {n} of them exactly zero", said=said, n=f"{zeros:,}") if zeros else said


def how_measured(flow: GradientFlow) -> list[tuple[str, str]]:
    """What was run, as labels and texts; what is as usual is left out."""
    value = scientific(flow.loss.value)
    if flow.loss.spread is not None:
        value += f" ± {scientific(flow.loss.spread)}"
    loss = say("{loss} = {value}", loss=flow.loss.name, value=value)
    rows = [
        (say("loss"), loss),
        (say("mode"), word(flow.mode)),
        (say("batch"), f"{flow.batch_size:,}"),
        (say("batches"), f"{flow.batches:,}" if flow.batches > 1 else ""),
        (say("ranks"), f"{flow.ranks:,}" if flow.ranks > 1 else ""),
        (say("statistics"), flow.stats if flow.stats != "default" else ""),
        (say("autocast"), flow.autocast),
        (say("optimizer"), flow.optimizer),
        (say("device"), flow.device),
        (say("data"), flow.data),
    ]
    return [(label, text) for label, text in rows if text]


def parameter_table(flow: GradientFlow) -> Table:
    """Every parameter; a column that nothing was measured for is left out."""
    columns: list[tuple[str, list[str]]] = [
        ("‖∂L/∂W‖₂", [_l2(p) for p in flow.parameters]),
        (say("RMS"), [scientific(p.stats.rms) if p.stats else NOTHING for p in flow.parameters]),
        ("‖∂L/∂W‖/‖W‖", [_or(p.ratio) for p in flow.parameters]),
        (say("Update ‖Δw‖/‖w‖"), [_or(p.update_ratio) for p in flow.parameters]),
        (say("Worst unit"), [_or(p.units.high if p.units else None) for p in flow.parameters]),
        (say("Cosine"), [_or(p.cosine.mean if p.cosine else None) for p in flow.parameters]),
    ]
    kept = [(name, cells) for name, cells in columns if any(c != NOTHING for c in cells)]
    has_reasons = any(p.reason for p in flow.parameters)
    rows = [
        (p.name, *([p.reason or NOTHING] if has_reasons else []), *(cells[i] for _, cells in kept))
        for i, p in enumerate(flow.parameters)
    ]
    notes = []
    if flow.batches > 1:
        notes.append(
            say("± is the standard deviation over {batches} batches.", batches=flow.batches)
        )
    if any(name == "Worst unit" for name, _ in kept):
        notes.append(
            say("Worst unit: the largest ‖Gᵢ‖/‖Wᵢ‖ (Brock et al. 2021, arXiv:2102.06171).")
        )
    if any(name == "Cosine" for name, _ in kept):
        notes.append(say("Cosine: mean between the gradients of consecutive batches."))
    return Table(
        title=say("Every parameter"),
        head=(
            say("Parameter"),
            *([say("Without gradient because")] if has_reasons else []),
            *(name for name, _ in kept),
        ),
        rows=tuple(rows),
        words=2 if has_reasons else 1,
        note=join(" ", notes),
        tall=True,
    )


def activity_table(flow: GradientFlow) -> Table | None:
    """How alive each activation function is; ``None`` where none was measured."""
    if not flow.activities:
        return None
    return Table(
        title=say("Activation functions"),
        head=(say("Call"), say("Units"), say("Active"), say("Dead units"), say("Saturated")),
        rows=tuple(
            (a.op, f"{a.units:,}", *(_part(x) for x in (a.active, a.dead, a.saturated)))
            for a in flow.activities
        ),
        note=sentences(
            say(
                "Active: outputs above zero. Dead: units that are in less than 1 % of the places. "
                "Saturated: outputs where the slope is below 5 % of its largest."
            ),
            "" if all(a.exact for a in flow.activities) else say("From an even sample of places."),
        ),
        tall=len(flow.activities) > 8,
    )


def norm_table(flow: GradientFlow) -> Table | None:
    """In which mode the normalisation layers ran; ``None`` without any."""
    if not flow.norms:
        return None
    return Table(
        title=say("Normalisation layers"),
        head=(
            say("Module"),
            say("Class"),
            say("Normalised by"),
            say("Mode"),
            say("Places"),
            say("Steps seen"),
        ),
        rows=tuple(
            (
                n.module,
                say("{name} (frozen)", name=n.type_name) if n.frozen else n.type_name,
                say("batch statistics") if n.statistics == "batch" else say("running statistics"),
                say("train") if n.training else say("eval"),
                f"{n.places:,}" if n.places else NOTHING,
                NOTHING if n.steps is None else f"{n.steps:,}",
            )
            for n in flow.norms
        ),
        words=4,
        tall=len(flow.norms) > 8,
    )


def broken_table(flow: GradientFlow) -> Table | None:
    """Where NaN and infinity begin and where the way back ends; ``None`` where nowhere."""
    rows: list[tuple[str, ...]] = [
        (
            n.op,
            say("{value} begins, {direction}", value=n.value, direction=word(n.direction)),
            join(
                "; ",
                filter(
                    None,
                    (
                        say("in the parameter {name}", name=n.parameter)
                        if n.parameter
                        else say("made by the call"),
                        say("{calls} only pass it on", calls=count(n.later, "call"))
                        if n.later
                        else "",
                    ),
                ),
            ),
        )
        for n in flow.nonfinite
    ]
    hows = {
        "detach": say("detached"),
        "no_grad": say("gradients off"),
        "values": say("no derivative"),
    }
    rows += [
        (
            d.op,
            say("the way back ends: {hows}", hows=hows[d.how]),
            say("{parameters} behind it", parameters=count(len(d.parameters), "parameter"))
            if d.parameters
            else NOTHING,
        )
        for d in flow.detached
    ]
    rows += [(n.fork, say("shares not separable"), n.reason) for n in flow.not_separable]
    if not rows:
        return None
    return Table(
        title=say("Where it breaks"),
        head=(say("Call"), say("What"), say("How")),
        rows=tuple(rows),
        words=3,
        tall=len(rows) > 8,
    )


def share_table(flow: GradientFlow) -> Table | None:
    """Every edge that leaves a fork; ``None`` without any."""
    if not flow.shares:
        return None
    return Table(
        title=say("Every edge that leaves a fork"),
        head=(say("Fork"), say("Consumer"), say("Share"), "‖gₑ‖/‖g‖", say("Cosine")),
        rows=tuple(
            (
                s.src,
                s.dst,
                percent(s.share) + (f" ± {percent(s.spread)}" if s.spread is not None else ""),
                scientific(s.norm_ratio),
                scientific(s.cosine),
            )
            for s in flow.shares
        ),
        words=2,
        note=say("Share: ⟨gₑ, g⟩ / ⟨g, g⟩; the shares at a fork sum to 1."),
        tall=True,
    )


def fact_tables(flow: GradientFlow) -> tuple[Table, ...]:
    """The tables of what the forward showed, as far as there are any."""
    found = (broken_table(flow), activity_table(flow), norm_table(flow))
    return tuple(table for table in found if table is not None)


def _l2(p: ParameterGradient) -> str:
    if p.stats is None:
        return NOTHING
    text = scientific(p.stats.l2)
    return text if p.stats.spread is None else f"{text} ± {scientific(p.stats.spread)}"


def _or(value: float | None) -> str:
    return NOTHING if value is None else scientific(value)


def _part(value: float | None) -> str:
    return NOTHING if value is None else percent(value)
