"""A watched training as a page: a map of layers over steps, the whole norm, what was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from statistics import median
from typing import Any

from resnet_viz.core.history import History, Step, StepFinding, WatchedActivation, WatchedParameter
from resnet_viz.core.units import count, percent, scientific
from resnet_viz.reporting.experiments.figure import Axis, Cell, Figure, Panel, Series
from resnet_viz.reporting.experiments.flow_view import places
from resnet_viz.reporting.experiments.heat import heat_of
from resnet_viz.reporting.experiments.page import (
    Cards,
    ExperimentView,
    Fact,
    Section,
    Table,
    Tone,
    provenance_rows,
)

_MOST_POINTS = 400


def history_view(value: History, title: str) -> ExperimentView:
    """The page of one training."""
    worst = value.findings[0] if value.findings else None
    sections = [
        Section(
            key="layers",
            title="Layers over steps",
            lead="Every row is a parameter, in registration order: in most nets from the input "
            "down to the loss. Every column is a watched step. Read it by rows (one layer’s "
            "life) and by columns (one step’s slope).",
            figures=tuple(f for f in _maps(value) if f is not None),
        ),
        Section(
            key="whole",
            title="The whole gradient",
            lead="Its norm before and after clipping, with the loss and the learning rate.",
            figures=tuple(f for f in _curves(value) if f is not None),
        ),
        Section(
            key="findings",
            title="Findings over time",
            lead="What held, from which watched step to which.",
            cards=_cards(value.findings),
        ),
        Section(key="parameters", title="Parameters", tables=_parameters(value)),
    ]
    return ExperimentView(
        title=title or f"{value.model}: gradient flow over training",
        verdict=_verdict(value, worst),
        tone=_tone(value) if worst else "",
        lead=f"{count(len(value.steps), 'watched step')}, one in every {value.every:,}, with "
        f"{'; '.join(value.optimizers) or 'no optimizer'}."
        + ("" if value.complete else " The run was cut off before watching ended."),
        facts=_facts(value),
        seen=_seen(value),
        sections=tuple(s for s in sections if s.figures or s.tables or s.cards),
        caveats=("Only watched steps are here: what happened between two of them was not seen.",),
        provenance=provenance_rows(
            value.provenance,
            ("Model", value.model),
            ("Optimizer", "; ".join(value.optimizers)),
            ("Overhead", "" if value.overhead is None else f"{value.overhead:.3g} s"),
        ),
    )


def _tone(value: History) -> Tone:
    if not value.findings:
        return "good"
    worst = value.findings[0].finding.severity
    return "" if worst == "note" else worst


def _verdict(value: History, worst: StepFinding | None) -> str:
    if not value.steps:
        return "No step was watched"
    if worst is None:
        return "No rule fired at any watched step"
    where = places(worst.finding.where)
    return f"{worst.finding.what[:1].upper()}{worst.finding.what[1:]} at {where}, {_when(worst)}"


def _when(found: StepFinding) -> str:
    if found.first == found.last:
        return f"at step {found.first:,}"
    return f"from step {found.first:,} to {found.last:,} ({count(found.steps, 'watched step')})"


def _facts(value: History) -> tuple[Fact, ...]:
    if not value.steps:
        return ()
    first, last = value.steps[0], value.steps[-1]
    facts = [
        Fact(label="Steps", value=f"{first.step:,} to {last.step:,}",
             detail=f"{len(value.steps):,} watched"),
        Fact(label="Norm of the gradient", value=scientific(last.l2),
             detail=f"{scientific(first.l2)} at the first"),
    ]  # fmt: skip
    losses = [s.loss for s in value.steps if s.loss is not None]
    if losses:
        facts.append(
            Fact(label="Loss", value=scientific(losses[-1]),
                 detail=f"{scientific(losses[0])} at the first")
        )  # fmt: skip
    clipped = sum(_clips(s) for s in value.steps)
    facts.append(
        Fact(label="Clipped", value=percent(clipped / len(value.steps)), detail="of watched steps")
    )
    facts.append(
        Fact(label="Findings", value=f"{len(value.findings):,}", tone=_tone(value),
             detail=value.findings[0].finding.what if value.findings else "no rule fired")
    )  # fmt: skip
    return tuple(facts)


def _seen(value: History) -> tuple[str, ...]:
    broken = [s for s in value.steps if s.nonfinite]
    said = []
    if broken:
        said.append(
            f"At {count(len(broken), 'watched step')} a gradient held NaN or infinity, first at "
            f"step {broken[0].step:,} in {places(broken[0].nonfinite)}."
        )
    skipped = sum(s.skipped for s in value.steps)
    if skipped:
        said.append(f"The gradient scaler left out {count(skipped, 'step')}.")
    for name, read in (
        ("dead unit", attrgetter("dead")),
        ("saturated output", attrgetter("saturated")),
    ):
        known = [v for s in value.steps for a in s.activations if (v := read(a)) is not None]
        if known and not any(known):
            said.append(f"No watched activation function had a {name} at any watched step.")
    norms = [s.l2 for s in value.steps if math.isfinite(s.l2)]
    if len(norms) > 2:
        said.append(
            f"The norm of the whole gradient was between {scientific(min(norms))} and "
            f"{scientific(max(norms))}, with a median of {scientific(median(norms))}."
        )
    return tuple(said)


def _maps(value: History) -> list[Figure | None]:
    wanted: tuple[tuple[str, str, str, Callable[[WatchedParameter], Cell]], ...] = (
        ("gradient", "Norm of the gradient", "‖∂L/∂W‖₂", attrgetter("l2")),
        ("update", "Update over weight", "‖Δw‖/‖w‖", attrgetter("update_ratio")),
        ("cosine", "Cosine with the step before", "cosine", attrgetter("cosine")),
    )
    kept, about = _layers(value)
    found: list[Figure | None] = []
    for key, title, unit, read in wanted:
        rows = _rows(value, lambda s: s.parameters, read)
        rows = {name: row for name, row in rows.items() if kept is None or name in kept}
        found.append(_heat(rows, value, key, title, unit, about, log=key != "cosine"))
    alive: tuple[tuple[str, str, str, Callable[[WatchedActivation], Cell]], ...] = (
        ("dead", "Dead units", "fraction of units", attrgetter("dead")),
        ("saturated", "Saturated outputs", "fraction of outputs", attrgetter("saturated")),
    )
    for key, title, unit, look in alive:
        rows = _rows(value, lambda s: s.activations, look)
        if any(v for row in rows.values() for v in row):
            about = "One cell per activation module and watched step."
            found.append(_heat(rows, value, key, title, unit, about, log=False))
    return found


def _layers(value: History) -> tuple[set[str] | None, str]:
    """Parameters that the maps show, and what is said of it; ``None`` for all.

    A bias or a norm's scale has another size than the weight beside it: in registration
    order the two would make stripes.
    """
    axes = {p.name: p.axes for s in value.steps[:1] + value.steps[-1:] for p in s.parameters}
    every = "One cell per parameter and watched step."
    if not any(n > 1 for n in axes.values()):
        return None, every
    broken = {name for s in value.steps for name in s.nonfinite}
    kept = {name for name, n in axes.items() if n != 1 or name in broken}
    if len(kept) == len(axes):
        return None, every
    left = count(len(axes) - len(kept), "vector")
    return kept, (
        f"One cell per weight of a layer and watched step; {left} (biases, scales of norms) left "
        "out here unless broken: the table of parameters has all."
    )


def _rows(
    value: History, members: Callable[[Step], Sequence[Any]], read: Callable[[Any], Cell]
) -> dict[str, list[Cell]]:
    """Per name one cell for each watched step; a long training has a million of them."""
    column = {step: i for i, step in enumerate(sorted({s.step for s in value.steps}))}
    rows: dict[str, list[Cell]] = {}
    for s in value.steps:
        at = column[s.step]
        for member in members(s):
            row = rows.get(member.name)
            if row is None:
                row = rows[member.name] = [None] * len(column)
            row[at] = read(member)
    return rows


def _heat(
    rows: dict[str, list[Cell]],
    value: History,
    key: str,
    title: str,
    unit: str,
    about: str,
    *,
    log: bool,
) -> Figure | None:
    # What has no value at any step says nothing in this map.
    kept = {name: row for name, row in rows.items() if any(v is not None for v in row)}
    if not kept:
        return None
    steps = [float(step) for step in sorted({s.step for s in value.steps})]
    heat = heat_of(list(kept), steps, list(kept.values()), unit, log=log)
    left = len(rows) - len(kept)
    gone = f"{count(left, 'row')} without any value left out." if left else ""
    return Figure(
        key=key,
        title=title,
        caption=" ".join(filter(None, (about, heat.note, gone))),
        panels=(
            Panel(title="", x=Axis(label="optimizer step", whole=True), y=Axis(label=""),
                  series=(), heat=heat),
        ),
        main=key == "gradient",
    )  # fmt: skip


def _curves(value: History) -> list[Figure | None]:
    if not value.steps:
        return []
    x = Axis(label="optimizer step", whole=True)
    labels = list(dict.fromkeys(s.optimizer for s in value.steps))
    norm_series = []
    for label in labels:
        mine = [s for s in value.steps if s.optimizer == label]
        called = f", {label}" if label else ""
        clips = any(_clips(s) for s in mine)
        first = "before clipping" if clips else "norm of the gradient"
        norm_series.append(_line(f"{first}{called}", "residual", mine, lambda s: s.l2))
        if clips:
            norm_series.append(
                _line(f"after clipping{called}", "plain", mine, lambda s: s.clipped_l2)
            )
    panels = [
        Panel(title="Norm of the gradient", x=x, y=Axis(label="‖g‖₂", log=True),
              series=tuple(norm_series)),
    ]  # fmt: skip
    if any(s.loss is not None for s in value.steps):
        line = _line("loss", "theory", value.steps, lambda s: s.loss)
        panels.append(Panel(title="Loss", x=x, y=Axis(label="loss"), series=(line,)))
    if any(s.lr is not None for s in value.steps):
        rates = [
            _line(f"learning rate{', ' + label if label else ''}", "sgd",
                  [s for s in value.steps if s.optimizer == label], lambda s: s.lr)
            for label in labels
        ]  # fmt: skip
        panels.append(
            Panel(title="Learning rate", x=x, y=Axis(label="rate", low=0.0), series=tuple(rates))
        )
    return [
        Figure(
            key="whole",
            title="Norm, loss and learning rate",
            caption="The norm is that of all parameters together, unscaled."
            + (f" Every {_every(value.steps)}th watched step is drawn."
               if _every(value.steps) > 1 else ""),
            panels=tuple(panels),
            columns=len(panels),
            shared="none",
            height=0.72,
            main=True,
        )
    ]  # fmt: skip


def _line(
    name: str, hue: str, steps: Sequence[Step], read: Callable[[Step], float | None]
) -> Series:
    points = [(s.step, read(s)) for s in steps[:: _every(steps)]]
    return Series(
        name=name,
        hue=hue,  # type: ignore[arg-type]
        points=tuple((x, y) for x, y in points if y is not None),
    )


def _every(steps: Sequence[Step]) -> int:
    return max(1, -(-len(steps) // _MOST_POINTS))


def _clips(step: Step) -> bool:
    return step.clipped_l2 < step.l2 * (1 - 1e-6)


def _cards(found: Sequence[StepFinding]) -> tuple[Cards, ...]:
    if not found:
        return ()
    findings = tuple(f.finding for f in found)
    return (Cards(title="", findings=findings, when=tuple(map(_when, found))),)


def _parameters(value: History) -> tuple[Table, ...]:
    if not value.steps:
        return ()
    every_norm = _rows(value, lambda s: s.parameters, attrgetter("l2"))
    every_update = _rows(value, lambda s: s.parameters, attrgetter("update_ratio"))
    rows = []
    for name, cells in every_norm.items():
        norms = [v for v in cells if v is not None]
        good = [v for v in norms if math.isfinite(v)]
        updates = [v for v in every_update[name] if v is not None]
        rows.append(
            (
                name,
                scientific(norms[0]) if norms else "–",
                scientific(norms[-1]) if norms else "–",
                f"{scientific(min(good))} … {scientific(max(good))}" if good else "–",
                f"{len(norms) - len(good):,}" if norms else "–",
                scientific(median(updates)) if updates else "–",
            )
        )
    return (
        Table(
            title="Every parameter",
            head=("Parameter", "‖∂L/∂W‖₂, first", "Last", "Range", "Broken", "Update, median"),
            rows=tuple(rows),
            note="Broken: watched steps with NaN or infinity.",
            tall=True,
        ),
    )
