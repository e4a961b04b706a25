"""Relevance per block and branch as rows, in the order of the gradient's table and beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from resnet_viz.core.gradient_groups import gradient_groups
from resnet_viz.core.message import Message, join, say, sentences
from resnet_viz.core.relevance import Amount, OperandRelevance, Relevance
from resnet_viz.core.units import count, percent, scientific
from resnet_viz.reporting.attributions.amounts import NOTHING, amount_text, signed
from resnet_viz.reporting.page.tables import Facts

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A block's relevance: of what left it, and of the two ways that met there.

    Attributes:
        name: The block's module, or its join.
        op: The join.
        whole: Of the join's output.
        shortcut: Of its shortcut; ``None`` where it has none.
        branch: Of all else.
        cut: Whether everything goes through it.
    """

    name: str
    op: str
    whole: Amount
    shortcut: Amount | None
    branch: Amount | None
    cut: bool


def joins_of(relevance: Relevance, facts: Facts | None) -> list[Join]:
    """Every block in the network's order; every join where nothing is known of blocks."""
    named = (
        [(b.module or str(b.skip.join), b.skip.join) for b in facts.structure.blocks]
        if facts is not None
        else []
    )
    if not named:
        named = [(str(op), op) for op in dict.fromkeys(o.join for o in relevance.operands)]
    operands: dict[str, list[OperandRelevance]] = {}
    for operand in relevance.operands:
        operands.setdefault(operand.join, []).append(operand)
    ops = {r.op: r for r in relevance.ops}
    return [
        Join(
            name=name,
            op=op,
            whole=ops[op].amount,
            shortcut=_sum(o.amount for o in operands.get(op, ()) if o.role == "shortcut"),
            branch=_sum(o.amount for o in operands.get(op, ()) if o.role != "shortcut"),
            cut=ops[op].cut,
        )
        for name, op in named
        if op in ops
    ]


MISSES = 0.05
"""How far sums may miss F(x) − F(x′) before it is said: the gate of completeness."""


def relevance_words(relevance: Relevance) -> Message:
    """What was explained, from where to where, and over how much, in a sentence."""
    moved = f"F(x) − F(x′) = {signed(relevance.difference)}"
    if relevance.difference_sd is not None:
        moved += f" ± {scientific(relevance.difference_sd)}"
    many = [count(relevance.samples, "sample")] if relevance.samples > 1 else []
    if relevance.batches > 1:
        many.append(say("in {batches}", batches=count(relevance.batches, "batch", "batches")))
    if relevance.ranks > 1:
        many.append(say("on {processes}", processes=count(relevance.ranks, "process", "processes")))
    steps = count(relevance.steps, "step")
    words = (
        say(
            "Explained: {target}. {moved} from the baseline ({baseline}) in {steps}; the mean of "
            "{many}.",
            target=relevance.target,
            moved=moved,
            baseline=relevance.baseline,
            steps=steps,
            many=join(" ", many),
        )
        if many
        else say(
            "Explained: {target}. {moved} from the baseline ({baseline}) in {steps}.",
            target=relevance.target,
            moved=moved,
            baseline=relevance.baseline,
            steps=steps,
        )
    )
    if relevance.gap is not None and relevance.gap > MISSES:
        missed = say(
            "The sums miss F(x) − F(x′) by up to {gap}, more than {most}: raise n_steps before "
            "trusting them.",
            gap=percent(relevance.gap),
            most=percent(MISSES),
        )
        return sentences(words, missed)
    return words


def relevance_section(relevance: Relevance, facts: Facts | None) -> Json:
    """The table with a figure per row, as JSON-able values."""
    joins = joins_of(relevance, facts)
    numbers = [a.signed for j in joins for a in (j.whole, j.shortcut, j.branch) if a is not None]
    # A spread that ends at the edge of the scale would seem to end there.
    drawn = [a for j in joins for a in (j.shortcut, j.branch) if a is not None]
    numbers += [a.signed + k * (a.signed_sd or 0.0) for a in drawn for k in (-1, 1)]
    good = [v for v in numbers if math.isfinite(v)]
    low, high = min([0.0, *good]), max([0.0, *good])
    if high == low:
        high = 1.0
    beside = _beside(facts)
    top = max((j.whole.absolute for j in joins if math.isfinite(j.whole.absolute)), default=0.0)
    return {
        "words": relevance_words(relevance),
        "zero": _place(0.0, low, high),
        "ends": " … ".join([signed(low)] * (low < 0) + ["0"] + [signed(high)] * (high > 0)),
        "split": any(j.shortcut or j.branch for j in joins),
        "beside": [name for name, _ in beside],
        "notes": list(relevance.notes),
        "uncut": sum(not j.cut for j in joins),
        "spread": any(j.whole.signed_sd is not None for j in joins),
        "rows": [
            {
                "name": j.name,
                "op": j.op,
                "cut": j.cut,
                "shortcut": amount_text(j.shortcut),
                "branch": amount_text(j.branch),
                "whole": amount_text(j.whole),
                "absolute": amount_text(j.whole, absolute=True),
                "part": round(100 * j.whole.absolute / top, 2) if top else 0,
                "bars": [
                    _bar(role, amount, low, high)
                    for role, amount in (("shortcut", j.shortcut), ("branch", j.branch))
                    if amount is not None and math.isfinite(amount.signed)
                ],
                "mark": _place(j.whole.signed, low, high),
                "beside": [texts.get(j.op, NOTHING) for _, texts in beside],
            }
            for j in joins
        ],
    }


def _sum(amounts: Iterable[Amount]) -> Amount | None:
    """Several operands as one; their deviations cannot be added, so one alone keeps its own."""
    found = list(amounts)
    if len(found) < 2:
        return found[0] if found else None
    return Amount(signed=sum(a.signed for a in found), absolute=sum(a.absolute for a in found))


def _place(value: float, low: float, high: float) -> float:
    return round(100 * (value - low) / (high - low), 2) if math.isfinite(value) else 0.0


def _bar(role: str, amount: Amount, low: float, high: float) -> Json:
    start, end = sorted((_place(0.0, low, high), _place(amount.signed, low, high)))
    bar: Json = {"role": role, "x": start, "w": round(end - start, 2), "text": amount_text(amount)}
    bar["spread"] = None
    if amount.signed_sd is not None and math.isfinite(amount.signed_sd):
        ends = (amount.signed - amount.signed_sd, amount.signed + amount.signed_sd)
        bar["spread"] = [min(100.0, max(0.0, _place(v, low, high))) for v in ends]
    return bar


def _beside(facts: Facts | None) -> list[tuple[str, dict[str, str]]]:
    """What the gradient flow says of the same blocks: heading, and text per join."""
    if facts is None or facts.flow is None:
        return []
    groups = [
        g for g in gradient_groups(facts.graph, facts.structure, facts.flow) if g.by == "block"
    ]
    columns = [
        ("‖∂L/∂W‖₂", {g.key: scientific(g.l2) for g in groups if g.l2 is not None}),
        (say("Gradient over its skips"),
         {g.key: percent(g.shortcut) for g in groups if g.shortcut is not None}),
    ]  # fmt: skip
    return [(name, texts) for name, texts in columns if texts]
