"""Relevance: merged values are those of all samples, and rows hold what columns promise."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.core.errors import UserError
from resnet_viz.core.graph import OpId
from resnet_viz.core.means import mean_of
from resnet_viz.core.record_columns import COLUMNS
from resnet_viz.core.relevance import Amount, OperandRelevance, OpRelevance, Relevance
from resnet_viz.core.relevance_groups import relevance_groups
from resnet_viz.core.relevance_merging import merge_relevance
from resnet_viz.core.relevance_records import relevance_group_records
from resnet_viz.core.structure import Block, Cost, Costs, Skip, Stage, Structure

JOIN, BRANCH, FORK = (OpId(name) for name in ("add#0", "conv2d#0", "relu#0"))


def amount(values: list[float]) -> Amount:
    signed, absolute = mean_of(values), mean_of([2 * abs(v) for v in values])
    return Amount(
        signed=signed.mean,
        signed_sd=signed.spread,
        absolute=absolute.mean,
        absolute_sd=absolute.spread,
        samples=len(values),
    )


def batch(values: list[float], *, op: OpId = JOIN, cut: bool = True) -> Relevance:
    moved = mean_of([v + 1 for v in values])
    half = amount([v / 2 for v in values])
    return Relevance(
        target="class 1",
        baseline="all zeros",
        steps=32,
        difference=moved.mean,
        difference_sd=moved.spread,
        ops=(OpRelevance(op=op, amount=amount(values), cut=cut),),
        operands=tuple(
            OperandRelevance(join=op, in_slot=i, src=src, role=role, amount=half)
            for i, (src, role) in enumerate(((BRANCH, "residual branch"), (FORK, "shortcut")))
        ),
        samples=len(values),
    )


numbers = st.lists(st.floats(-100, 100), min_size=1, max_size=4)


@given(st.lists(numbers, min_size=1, max_size=5))
def test_merged_is_what_all_samples_give_at_once(parts: list[list[float]]) -> None:
    merged = merge_relevance([batch(part) for part in parts])
    values = [v for part in parts for v in part]
    whole = batch(values)
    assert (merged.samples, merged.batches) == (len(values), len(parts))
    assert merged.difference == pytest.approx(whole.difference, abs=1e-9)
    for mine, other in zip(
        (*merged.ops, *merged.operands), (*whole.ops, *whole.operands), strict=True
    ):
        assert replace(mine, amount=other.amount) == other
        assert mine.amount.samples == len(values)
        for name in ("signed", "absolute", "signed_sd", "absolute_sd"):
            wanted = getattr(other.amount, name)
            found = getattr(mine.amount, name)
            assert found == (wanted if wanted is None else pytest.approx(wanted, abs=1e-5))
    if len(values) > 1:
        spread = merged.ops[0].amount.signed_sd
        assert spread == pytest.approx(statistics.stdev(values), abs=1e-5)


def test_a_call_that_ran_in_some_batches_is_a_mean_over_their_samples() -> None:
    merged = merge_relevance([batch([1.0, 3.0]), batch([7.0], op=BRANCH)])
    assert [(r.op, r.amount.signed, r.amount.samples) for r in merged.ops] == [
        (JOIN, 2.0, 2),
        (BRANCH, 7.0, 1),
    ]
    assert merged.gap is None


def test_different_paths_are_not_merged() -> None:
    with pytest.raises(ValueError, match="no relevance to merge"):
        merge_relevance([])
    for other in (replace(batch([1.0]), steps=8), replace(batch([1.0]), baseline="noise")):
        with pytest.raises(ValueError, match="cannot be merged"):
            merge_relevance([batch([1.0]), other])
    several = merge_relevance([batch([1.0]), replace(batch([1.0]), target="class 2")])
    assert several.target == "each sample's own target"


def test_the_gap_is_that_of_the_worst_cut() -> None:
    assert batch([1.0, 3.0]).gap == pytest.approx(1 / 3)
    assert batch([1.0], cut=False).gap is None
    assert batch([-1.0]).gap is None


def structure() -> Structure:
    skip = Skip(fork=FORK, join=JOIN, kind="identity", branch=(BRANCH,))
    block = Block(
        kind="basic", module="layer1.0", ops=(BRANCH, JOIN), skip=skip, squeeze=1.0, widths=(4,)
    )
    total = Cost(key="", params=0, macs=0, activation_bytes=0)
    return Structure(
        skips=(skip,),
        blocks=(block,),
        stages=(Stage(name="layer1", ops=(BRANCH, JOIN), resolution=(8, 8), blocks=1),),
        costs=Costs(total=total, ops=(), modules=(), blocks=(), stages=()),
    )


def test_blocks_and_stages_have_what_their_operands_brought() -> None:
    found = batch([2.0, 4.0])
    block, stage = relevance_groups(structure(), found)
    assert (block.by, block.key, block.module) == ("block", JOIN, "layer1.0")
    assert (stage.by, stage.key) == ("stage", "layer1")
    for group in (block, stage):
        assert group.amount == found.ops[0].amount
        assert (group.shortcut, group.branch) == (1.5, 1.5)
        assert group.branch_share == 0.5
    bare, _ = relevance_groups(structure(), replace(found, operands=()))
    assert (bare.shortcut, bare.branch, bare.branch_share) == (None, None, None)
    assert relevance_groups(structure(), replace(found, ops=())) == ()


def test_rows_have_the_columns_that_are_described() -> None:
    found = batch([2.0, 4.0])
    for table in ("relevance", "relevance_operands"):
        rows = found.to_records(table)
        assert rows
        for row in rows:
            assert list(row) == list(COLUMNS[table])
    for row in relevance_group_records(structure(), found):
        assert list(row) == list(COLUMNS["relevance_groups"])
    with pytest.raises(UserError, match="there is no table 'ops'"):
        found.to_records("ops")
    assert found.get(FORK) is None
    assert len(found.operands_of(JOIN)) == 2
