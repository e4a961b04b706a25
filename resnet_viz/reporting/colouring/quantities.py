"""The quantities that ops can be coloured by: one row each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from resnet_viz.core.errors import UserError
from resnet_viz.core.message import Message, join, say
from resnet_viz.core.relevance import OperandRelevance
from resnet_viz.core.report import RenderOptions, Report, Section
from resnet_viz.core.structure import Skip
from resnet_viz.core.terms import word
from resnet_viz.core.units import nbytes, scientific, seconds, si
from resnet_viz.reporting.attributions.amounts import amount_text
from resnet_viz.reporting.colouring.relevance_river import relevance_river
from resnet_viz.reporting.colouring.scale import SPAN
from resnet_viz.reporting.drawing.river import River, river


@dataclass(frozen=True, slots=True, kw_only=True)
class Shade:
    """What one op is coloured by.

    Attributes:
        size: How much, zero or more.
        sign: 1, −1, or 0 where it has none.
        told: The same in words, where ``Colouring.told`` does not say it.
        copies: Of how many it is the sum.
    """

    size: float
    sign: int = 0
    told: Message | str = ""
    copies: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Colouring:
    """The colours of one drawing.

    Attributes:
        by: Its key in ``COLOURINGS``.
        of: What the colours mean, for the legend.
        none: What the grey of an op without a number means.
        shades: Per op of the whole graph.
        amount: A number as text, with its unit.
        told: An amount in words; empty where a thing's tip says it anyway.
        adds_up: Whether a box has the sum of its ops, and a repeat that of its copies; else a
            box has what leaves it, and a repeat the mean.
        own: The fact of a drawn op that is its number, where not its shade: of a repeat it
            is that of the copy which stands out.
        span: The scale goes no further below its top.
        signs: What a plus and a minus mean; empty where there are none.
        stream: What the edges carry, where not the gradient.
        stream_of: What that is a part of.
        skip: Words on a skip's arc.
    """

    by: str
    of: Message
    none: Message
    shades: Mapping[str, Shade]
    amount: Callable[[float], str] = scientific
    told: Callable[[str], Message | str] = lambda _: ""
    adds_up: bool = False
    own: str = ""
    span: float = SPAN
    signs: tuple[Message, Message] | tuple[()] = ()
    stream: River | None = field(default=None, repr=False)
    stream_of: Message | str = ""
    skip: Callable[[Skip], Message | str] = lambda _: ""


def by_params(report: Report) -> Colouring:
    """Parameter scalars first read by an op; a column that adds up."""
    return Colouring(
        by="params",
        of=say("parameters"),
        none=say("no parameters"),
        shades={str(op.id): Shade(size=op.params) for op in report.graph.ops},
        amount=si,
        adds_up=True,
    )


def by_macs(report: Report) -> Colouring:
    """Multiply-accumulates of one forward; an op without a formula has no number."""
    return Colouring(
        by="macs",
        of=say("MACs of one forward"),
        none=say("none, or not counted"),
        shades={str(op.id): Shade(size=op.macs) for op in report.graph.ops if op.macs is not None},
        amount=si,
        adds_up=True,
    )


def by_memory(report: Report) -> Colouring:
    """Bytes of the outputs that an op allocates: none of a view or an op in place."""

    def told(amount: str) -> Message:
        return say("allocates {amount}", amount=amount)

    return Colouring(
        by="memory",
        of=say("memory of the outputs"),
        none=say("allocates nothing: a view, or in place"),
        shades={
            str(cost.key): Shade(size=cost.activation_bytes) for cost in report.structure.costs.ops
        },
        amount=nbytes,
        told=told,
        adds_up=True,
        span=1e3,
    )


def by_time(report: Report) -> Colouring:
    """Median seconds of an op.

    Raises:
        UserError: If the report has no times.
    """
    times = report.op_times
    if times is None:
        raise _lacking(report, "time", "the time of every op", "op times", "times=True (--times)")

    def told(amount: str) -> Message:
        return say("takes {amount}", amount=amount)

    return Colouring(
        by="time",
        of=say("time of one forward on {device}", device=times.device),
        none=say("not measured"),
        shades={str(row.op): Shade(size=row.seconds) for row in times.ops},
        amount=seconds,
        told=told,
        adds_up=True,
        span=300,
    )


def by_gradient(report: Report) -> Colouring:
    """Norm of the gradient at an op's output, on the scale of the gradient's bars.

    Raises:
        UserError: If the report has no gradient flow.
    """
    flow = report.gradient_flow
    if flow is None:
        raise _lacking(
            report, "gradient", "the gradient at every op", "gradient flow",
            "gradient flow (sections=, or resnet-viz gradflow)",
        )  # fmt: skip
    return Colouring(
        by="gradient",
        of=say("gradient norm of the output"),
        none=say("no gradient"),
        shades={str(call.op): Shade(size=call.stats.l2) for call in flow.calls},
        own="l2",
        span=math.inf,
    )


def by_attribution(report: Report) -> Colouring:
    """Absolute relevance as colour, its sign as a mark, operands of joins as width.

    Raises:
        UserError: If the report has no relevance.
    """
    found = report.attributions
    if found is None or found.relevance is None:
        raise _lacking(
            report, "attribution", "the relevance of every op", "attributions",
            "attributions for relevance",
        )  # fmt: skip
    relevance = found.relevance

    def told(skip: Skip) -> Message | str:
        parts = [_operand(o) for o in relevance.operands_of(skip.join)]
        return say("relevance at the join: {parts}", parts=join(", ", parts)) if parts else ""

    return Colouring(
        by="attribution",
        of=say("absolute relevance of the output"),
        none=say("not measured"),
        shades={
            str(r.op): Shade(
                size=r.amount.absolute,
                sign=(r.amount.signed > 0) - (r.amount.signed < 0),
                told=say(
                    "relevance {signed}, absolute {absolute}",
                    signed=amount_text(r.amount),
                    absolute=amount_text(r.amount, absolute=True),
                ),
            )
            for r in relevance.ops
        },
        signs=(say("speaks for the target"), say("speaks against it")),
        stream=relevance_river(report.graph, relevance),
        stream_of="F(x) − F(x′)",
        skip=told,
    )


COLOURINGS: dict[str, Callable[[Report], Colouring]] = {
    "params": by_params,
    "macs": by_macs,
    "memory": by_memory,
    "time": by_time,
    "gradient": by_gradient,
    "attribution": by_attribution,
}
"""``RenderOptions.color_by`` -> what it makes of a report; ``kind`` needs no row."""

NAMES = {
    "kind": say("Kind"),
    "params": say("Parameters"),
    "macs": say("MACs"),
    "memory": say("Memory"),
    "time": say("Time"),
    "gradient": say("Gradient"),
    "attribution": say("Relevance"),
}
"""The same keys -> what a reader may choose."""


def colouring_of(report: Report, options: RenderOptions) -> Colouring | None:
    """The colouring the options ask for; ``None`` where ops are coloured by kind.

    Raises:
        UserError: If the report lacks what it needs, or for an unknown name.
    """
    if options.color_by == "kind":
        return None
    if options.color_by not in COLOURINGS:
        known = ", ".join(("kind", *COLOURINGS))
        raise UserError(f"color_by={options.color_by!r} was given: it is one of {known}")
    return COLOURINGS[options.color_by](report)


def stream_of(report: Report, colouring: Colouring | None) -> River | None:
    """What is drawn as the width of edges: the colouring's stream, or the gradient's."""
    if colouring is not None and colouring.stream is not None:
        return colouring.stream
    return river(report)


def _operand(operand: OperandRelevance) -> Message:
    return join(" ", (word(operand.role), amount_text(operand.amount)))


def _lacking(report: Report, by: str, what: str, section: Section, ask: str) -> UserError:
    reasons = [m.reason for m in report.missing if m.section == section]
    if reasons:
        return UserError(f"color_by={by!r} needs {what}, which could not be measured: {reasons[0]}")
    return UserError(
        f"color_by={by!r} needs {what}, which was not measured: ask for {ask}, "
        "or leave color_by out"
    )
