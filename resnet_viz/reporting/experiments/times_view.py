"""The times of ops on their own, without the graph they were measured on, as a page."""

from __future__ import annotations

from resnet_viz.core.message import say
from resnet_viz.core.op_times import OpTimes
from resnet_viz.core.terms import word
from resnet_viz.core.units import percent, seconds
from resnet_viz.reporting.experiments.figure import Axis, Figure, Panel, Series
from resnet_viz.reporting.experiments.page import ExperimentView, Fact, Section, Table
from resnet_viz.reporting.page.times import times_note


def times_view(value: OpTimes, title: str) -> ExperimentView:
    """The page: every call by its place in the forward, and the slowest first."""
    shown = [(i, row) for i, row in enumerate(value.ops, start=1) if row.seconds > 0]
    series = Series(
        name=say("median time"),
        hue="residual",
        points=tuple((i, row.seconds) for i, row in shown),
        names=tuple(str(row.op) for _, row in shown),
        line=False,
        dots=True,
    )
    figure = Figure(
        key="times",
        title=say("Time of every call"),
        caption=say("One dot per call, in forward order."),
        panels=(
            Panel(
                title=say("Time"),
                x=Axis(label=say("call, in forward order"), whole=True),
                y=Axis(label=say("seconds"), log=True),
                series=(series,),
            ),
        ),
        columns=1,
        main=True,
    )
    return ExperimentView(
        title=title or say("{model}: time of every call", model=value.model),
        verdict=_verdict(value),
        tone="",
        lead=say("Every call of the model's own forward, timed where it was made."),
        facts=(
            Fact(label=say("Bare forward"), value=seconds(value.forward)),
            Fact(label=say("Sum of the calls"), value=seconds(value.total)),
            Fact(label=say("Watched forward"), value=seconds(value.watched)),
            Fact(label=say("Calls"), value=f"{len(value.ops):,}"),
        ),
        seen=(times_note(value),),
        sections=(
            Section(
                key="times",
                title=say("Times"),
                figures=(figure,) if shown else (),
                tables=(_table(value),),
            ),
        ),
        caveats=(
            say(
                "Times hold for this machine, input and moment. On an accelerator that waits for "
                "Python between two kernels, that waiting is in the calls."
            ),
        ),
        provenance=(
            (say("Mode"), word(value.mode)),
            (say("Data"), value.data),
            (say("Measured on"), value.device),
            (say("Threads"), f"{value.threads:,}"),
            (say("Repeats"), f"{value.repeats:,}"),
        ),
    )


def _verdict(value: OpTimes) -> str:
    if not value.ops:
        return say("No call was timed")
    worst = max(value.ops, key=lambda row: row.seconds)
    part = percent(worst.seconds / value.total) if value.total else "–"
    return say("{op} is the slowest: {part} of all", op=worst.op, part=part)


def _table(value: OpTimes) -> Table:
    rows = sorted(value.ops, key=lambda row: -row.seconds)
    return Table(
        title=say("Every call, the slowest first"),
        head=(say("Call"), say("Median"), say("Interquartile range"), say("Of all")),
        rows=tuple(
            (
                str(row.op),
                seconds(row.seconds),
                seconds(row.spread) if row.spread else "–",
                percent(row.seconds / value.total) if value.total else "–",
            )
            for row in rows
        ),
        tall=True,
    )
