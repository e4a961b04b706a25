"""Relevance of the ops, blocks and branches of a model, for the samples of a question."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from resnet_viz.analysis.cuts import cuts_of
from resnet_viz.core.errors import listed
from resnet_viz.core.graph import OpId
from resnet_viz.core.means import mean_of
from resnet_viz.core.message import say
from resnet_viz.core.relevance import Amount, OperandRelevance, OpRelevance, Relevance
from resnet_viz.core.relevance_merging import MANY_TARGETS
from resnet_viz.measuring.attributions.question import Question
from resnet_viz.measuring.attributions.relevance.layouts import Key, Looked
from resnet_viz.measuring.attributions.relevance.meters import Meters
from resnet_viz.measuring.attributions.relevance.path import Path, start_ops
from resnet_viz.measuring.attributions.relevance.plan import Operand, Plan, plan_of
from resnet_viz.measuring.attributions.relevance.watching import Watched
from resnet_viz.measuring.attributions.rows.kernels import faster_on
from resnet_viz.measuring.attributions.rows.memory import in_fewer_rows

STEPS = 0.64
"""Steps of relevance per step of other path methods, which measure less at each.

On a ResNet-50 32 steps of this cost what 50 of Integrated Gradients do.
"""


def steps_of(question: Question) -> int:
    """Steps of the path, for what was asked."""
    return max(1, round(STEPS * question.options.n_steps))


def forwards_of(question: Question) -> int:
    """How often the model will run, for the progress bar."""
    points, samples = _portion(question, _rows(question), steps_of(question))
    groups = -(-question.subject.samples // samples)
    return 1 + (points * samples > 1) + groups * -(-(steps_of(question) + 2) // points)


def relevance_of(question: Question, *, steps: int | None = None) -> Relevance:
    """How much each op, and each operand of a join, added to the score; means over samples.

    Conductance (Dhamdhere et al. 2018) on even steps; see ``meters``.

    Args:
        question: F, x and x′; its model runs as it is, in-place writes and all.
        steps: Of the path; ``STEPS`` times those of the question's options if ``None``.

    Raises:
        NotApplicableError: If no gradient connects input and score.
        ModelError: If ``forward`` or ``backward`` raises.
    """
    steps = steps_of(question) if steps is None else steps
    watched = Watched(question.model)
    with question.asked_of(watched) as asked:

        def measured(rows: int) -> _Found:
            return _measured(asked, watched, steps, rows)

        with faster_on(question)(steps + 2):
            found = in_fewer_rows(measured, _rows(question), use=question.use)
    return _value(question, found, steps)


class _Found(NamedTuple):
    """What was measured of all samples: per key and sample signed and absolute relevance."""

    plan: Plan
    table: dict[Key, list[tuple[float, float]]]
    moved: list[float]
    lost: dict[OpId, str]


def _rows(question: Question) -> int:
    """Rows per forward: beside what the backward needs the changes of all values are held."""
    return question.rows if question.options.internal_batch_size else max(1, question.rows // 2)


def _portion(question: Question, rows: int, steps: int) -> tuple[int, int]:
    """Points of the path and samples per forward: all points of some, or some of one."""
    subject = question.subject
    if subject.axis is None:
        return 1, 1
    if rows < steps + 2:
        return rows, 1
    return steps + 2, min(subject.samples, rows // (steps + 2))


def _measured(question: Question, watched: Watched, steps: int, rows: int) -> _Found:
    points, size = _portion(question, rows, steps)
    total = question.subject.samples
    looked = Path(question, watched, 0, size).look(points)
    plan = plan_of(question.graph, question.structure, statistics=looked.statistics)
    if points * size > 1 and _unclear(looked, plan):
        # Point by point nothing has to be known of where rows are.
        points = size = 1
        looked = Path(question, watched, 0, 1).look(1)
    table: dict[Key, list[tuple[float, float]]] = {}
    moved: list[float] = []
    lost: dict[OpId, str] = {}
    for first in range(0, total, size):
        path = Path(question, watched, first, min(size, total - first))
        meters = Meters(plan, looked.layouts, path.samples)
        ends = path.follow(meters, steps, points)
        for key, numbers in _numbers(meters).items():
            table.setdefault(key, []).extend(numbers)
        moved += (ends.input - ends.baseline).double().cpu().tolist()
        lost |= meters.lost
    return _Found(plan, table, moved, lost)


def _unclear(looked: Looked, plan: Plan) -> list[OpId]:
    return [
        key.op for key in looked.shapes if key.op in plan.measured and key not in looked.layouts
    ]


def _value(question: Question, found: _Found, steps: int) -> Relevance:
    graph, plan, table = question.graph, found.plan, found.table
    measured: dict[OpId, list[Key]] = {}
    for key in table:
        if not key.is_operand and key.op not in found.lost:
            measured.setdefault(key.op, []).append(key)
    cuts = cuts_of(graph, _explained(question), inputs=start_ops(question))
    ops: list[OpRelevance] = []
    per_op: dict[OpId, list[Key]] = {}
    for op in graph.nodes():
        keys = measured.get(plan.same.get(op.id, op.id), [])
        if keys:
            per_op[op.id] = keys
            ops.append(OpRelevance(op=op.id, amount=_amount(table, keys), cut=op.id in cuts))
    operands: list[OperandRelevance] = []
    apart: list[OpId] = []
    for op_id, join in plan.joins.items():
        mine = [(operand, _keys_of(operand, per_op, table)) for operand in join.operands]
        if op_id not in per_op:
            continue
        if not all(keys for _, keys in mine):
            apart.append(op_id)
            continue
        operands += (
            OperandRelevance(
                join=op_id,
                in_slot=operand.in_slot,
                src=operand.src,
                role=operand.role,
                amount=_amount(table, keys),
            )
            for operand, keys in mine
        )
    moved = mean_of(found.moved)
    words = dict.fromkeys(question.score.words)
    return Relevance(
        target=next(iter(words)) if len(words) == 1 else MANY_TARGETS,
        baseline=question.baseline.words,
        steps=steps,
        difference=moved.mean,
        difference_sd=moved.spread,
        ops=tuple(ops),
        operands=tuple(operands),
        samples=len(found.moved),
        notes=tuple(_notes(found.lost, apart)),
    )


def _numbers(meters: Meters) -> dict[Key, list[tuple[float, float]]]:
    """Per key and sample signed and absolute relevance: one transfer for all of them."""
    if not meters.sums:
        return {}
    some = next(iter(meters.sums.values()))
    samples = len(some)
    dtype = torch.float32 if some.device.type == "mps" else torch.float64
    numbers = torch.stack(
        [
            torch.stack(
                (total.sum(1, dtype=dtype), torch.linalg.vector_norm(total, 1, 1, dtype=dtype)), 1
            )
            for total in meters.sums.values()
        ]
    )
    rows = (numbers / 2).cpu().tolist()
    # What leads to no score got no gradient: it adds exactly nothing.
    nothing = {key: [(0.0, 0.0)] * samples for key in meters.followed}
    return nothing | {
        key: [(signed, absolute) for signed, absolute in per_sample]
        for key, per_sample in zip(meters.sums, rows, strict=True)
    }


def _amount(table: dict[Key, list[tuple[float, float]]], keys: Sequence[Key]) -> Amount:
    """Of all outputs of a call taken as one vector."""
    rows = list(zip(*(table[key] for key in keys), strict=True))
    signed = mean_of([math.fsum(s for s, _ in row) for row in rows])
    absolute = mean_of([math.fsum(a for _, a in row) for row in rows])
    return Amount(
        signed=signed.mean,
        absolute=absolute.mean,
        signed_sd=signed.spread,
        absolute_sd=absolute.spread,
        samples=len(rows),
    )


def _explained(question: Question) -> OpId | None:
    name = question.subject.output_name
    return next((o.src for o in question.graph.outputs if o.name == name), None)


def _keys_of(
    operand: Operand, per_op: dict[OpId, list[Key]], table: dict[Key, list[tuple[float, float]]]
) -> list[Key]:
    if operand.alone:
        return per_op.get(operand.src, [])
    key = Key(operand.join, operand.in_slot, True)
    return [key] if key in table else []


def _notes(lost: dict[OpId, str], apart: list[OpId]) -> Iterable[str]:
    by_reason: dict[str, list[OpId]] = {}
    for op, reason in lost.items():
        by_reason.setdefault(reason, []).append(op)
    for reason, ops in by_reason.items():
        yield say(
            "Relevance of {ops} is not measured: {reason}.", ops=listed(ops, 5), reason=reason
        )
    if apart:
        yield say("What each operand contributed is not told of {ops}.", ops=listed(apart, 5))
