"""Relevance of several batches, or of several processes, as one of all their samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import TypeAlias

from resnet_viz.core.keyed import united
from resnet_viz.core.means import Mean, together
from resnet_viz.core.relevance import Amount, OperandRelevance, OpRelevance, Relevance

MANY_TARGETS = "each sample's own target"
_Row: TypeAlias = OpRelevance | OperandRelevance


def merge_relevance(found: Sequence[Relevance]) -> Relevance:
    """One over all samples of several, whichever way they were spread over batches.

    Ops are ordered as in the first, then as in the next ones; so are operands and notes.
    Words are the first's; a target that differs is each sample's own.

    Args:
        found: Of one model and one kind of path, in order.

    Raises:
        ValueError: If there is none, or they are of different paths.
    """
    if not found:
        raise ValueError("there is no relevance to merge: give at least one")
    return reduce(_merged, found)


def _merged(a: Relevance, b: Relevance) -> Relevance:
    for name in ("steps", "baseline"):
        one, other = getattr(a, name), getattr(b, name)
        if one != other:
            raise ValueError(
                f"relevance of different {name} cannot be merged: {one!r} and {other!r}"
            )
    mean, spread = together(
        Mean(a.difference, a.difference_sd, a.samples),
        Mean(b.difference, b.difference_sd, b.samples),
    )
    return replace(
        a,
        target=a.target if a.target == b.target else MANY_TARGETS,
        difference=mean,
        difference_sd=spread,
        ops=united(a.ops, b.ops, lambda r: r.op, lambda x, y: replace(x, amount=_amount(x, y))),
        operands=united(
            a.operands,
            b.operands,
            lambda r: (r.join, r.in_slot),
            lambda x, y: replace(x, amount=_amount(x, y)),
        ),
        samples=a.samples + b.samples,
        batches=a.batches + b.batches,
        ranks=max(a.ranks, b.ranks),
        notes=tuple(dict.fromkeys((*a.notes, *b.notes))),
    )


def _amount(x: _Row, y: _Row) -> Amount:
    a, b = x.amount, y.amount
    signed, signed_sd = together(
        Mean(a.signed, a.signed_sd, a.samples), Mean(b.signed, b.signed_sd, b.samples)
    )
    absolute, absolute_sd = together(
        Mean(a.absolute, a.absolute_sd, a.samples), Mean(b.absolute, b.absolute_sd, b.samples)
    )
    return Amount(
        signed=signed,
        absolute=absolute,
        signed_sd=signed_sd,
        absolute_sd=absolute_sd,
        samples=a.samples + b.samples,
    )
