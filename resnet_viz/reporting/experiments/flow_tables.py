"""What was measured of a gradient, as tables: every parameter, activation, norm and break."""

from __future__ import annotations

from resnet_viz.core.gradient_flow import GradientFlow, ParameterGradient
from resnet_viz.core.units import count, percent, scientific
from resnet_viz.reporting.experiments.page import Table

NOTHING = "–"


def received(flow: GradientFlow) -> str:
    """``143 of 161 parameters received a gradient``, and how many of them only zeros."""
    reached = [p.stats for p in flow.parameters if p.stats is not None]
    zeros = sum(stats.l2 == 0 for stats in reached)
    said = f"{len(reached):,} of {count(len(flow.parameters), 'parameter')} received a gradient"
    return said + (f", {zeros:,} of them exactly zero" if zeros else "")


def how_measured(flow: GradientFlow) -> list[tuple[str, str]]:
    """What was run, as labels and texts; what is as usual is left out."""
    loss = f"{flow.loss.name} = {scientific(flow.loss.value)}"
    if flow.loss.spread is not None:
        loss += f" ± {scientific(flow.loss.spread)}"
    rows = [
        ("loss", loss),
        ("mode", flow.mode),
        ("batch", f"{flow.batch_size:,}"),
        ("batches", f"{flow.batches:,}" if flow.batches > 1 else ""),
        ("ranks", f"{flow.ranks:,}" if flow.ranks > 1 else ""),
        ("statistics", flow.stats if flow.stats != "default" else ""),
        ("autocast", flow.autocast),
        ("optimizer", flow.optimizer),
        ("device", flow.device),
        ("data", flow.data),
    ]
    return [(label, text) for label, text in rows if text]


def parameter_table(flow: GradientFlow) -> Table:
    """Every parameter; a column that nothing was measured for is left out."""
    columns: list[tuple[str, list[str]]] = [
        ("‖∂L/∂W‖₂", [_l2(p) for p in flow.parameters]),
        ("RMS", [scientific(p.stats.rms) if p.stats else NOTHING for p in flow.parameters]),
        ("‖∂L/∂W‖/‖W‖", [_or(p.ratio) for p in flow.parameters]),
        ("Update ‖Δw‖/‖w‖", [_or(p.update_ratio) for p in flow.parameters]),
        ("Worst unit", [_or(p.units.high if p.units else None) for p in flow.parameters]),
        ("Cosine", [_or(p.cosine.mean if p.cosine else None) for p in flow.parameters]),
    ]
    kept = [(name, cells) for name, cells in columns if any(c != NOTHING for c in cells)]
    has_reasons = any(p.reason for p in flow.parameters)
    rows = [
        (p.name, *([p.reason or NOTHING] if has_reasons else []), *(cells[i] for _, cells in kept))
        for i, p in enumerate(flow.parameters)
    ]
    notes = []
    if flow.batches > 1:
        notes.append(f"± is the standard deviation over {flow.batches} batches.")
    if any(name == "Worst unit" for name, _ in kept):
        notes.append("Worst unit: the largest ‖Gᵢ‖/‖Wᵢ‖ (Brock et al. 2021, arXiv:2102.06171).")
    if any(name == "Cosine" for name, _ in kept):
        notes.append("Cosine: mean between the gradients of consecutive batches.")
    return Table(
        title="Every parameter",
        head=("Parameter", *(["Without gradient because"] if has_reasons else []),
              *(name for name, _ in kept)),
        rows=tuple(rows),
        words=2 if has_reasons else 1,
        note=" ".join(notes),
        tall=True,
    )  # fmt: skip


def activity_table(flow: GradientFlow) -> Table | None:
    """How alive each activation function is; ``None`` where none was measured."""
    if not flow.activities:
        return None
    return Table(
        title="Activation functions",
        head=("Call", "Units", "Active", "Dead units", "Saturated"),
        rows=tuple(
            (a.op, f"{a.units:,}", *(_part(x) for x in (a.active, a.dead, a.saturated)))
            for a in flow.activities
        ),
        note="Active: outputs above zero. Dead: units that are in less than 1 % of the places. "
        "Saturated: outputs where the slope is below 5 % of its largest."
        + ("" if all(a.exact for a in flow.activities) else " From an even sample of places."),
        tall=len(flow.activities) > 8,
    )


def norm_table(flow: GradientFlow) -> Table | None:
    """In which mode the normalisation layers ran; ``None`` without any."""
    if not flow.norms:
        return None
    return Table(
        title="Normalisation layers",
        head=("Module", "Class", "Normalised by", "Mode", "Places", "Steps seen"),
        rows=tuple(
            (
                n.module,
                n.type_name + (" (frozen)" if n.frozen else ""),
                f"{n.statistics} statistics",
                "train" if n.training else "eval",
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
    rows = [
        (
            n.op,
            f"{n.value} begins, {n.direction}",
            (f"in the parameter {n.parameter}" if n.parameter else "made by the call")
            + (f"; {count(n.later, 'call')} only pass it on" if n.later else ""),
        )
        for n in flow.nonfinite
    ]
    hows = {"detach": "detached", "no_grad": "gradients off", "values": "no derivative"}
    rows += [
        (d.op, f"the way back ends: {hows[d.how]}",
         f"{count(len(d.parameters), 'parameter')} behind it" if d.parameters else NOTHING)
        for d in flow.detached
    ]  # fmt: skip
    rows += [(n.fork, "shares not separable", n.reason) for n in flow.not_separable]
    if not rows:
        return None
    return Table(
        title="Where it breaks", head=("Call", "What", "How"), rows=tuple(rows), words=3,
        tall=len(rows) > 8,
    )  # fmt: skip


def share_table(flow: GradientFlow) -> Table | None:
    """Every edge that leaves a fork; ``None`` without any."""
    if not flow.shares:
        return None
    return Table(
        title="Every edge that leaves a fork",
        head=("Fork", "Consumer", "Share", "‖gₑ‖/‖g‖", "Cosine"),
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
        note="Share: ⟨gₑ, g⟩ / ⟨g, g⟩; the shares at a fork sum to 1.",
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
