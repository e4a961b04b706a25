"""Queries on structure and measurements."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.core.attribution import Attribution, Attributions
from resnet_viz.core.gradient_flow import (
    CallGradient,
    EdgeShare,
    GradientFlow,
    GradientStats,
    Loss,
    ParameterGradient,
    combine,
)
from resnet_viz.core.graph import OpId
from resnet_viz.core.pictures import Heatmap
from resnet_viz.core.progress import SILENT
from resnet_viz.core.report import Report
from resnet_viz.core.structure import SKIP_KINDS, Block, Skip, Structure
from tests.core.test_exchange import report

vectors = st.lists(
    st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False), min_size=1, max_size=9
)


def stats(numbers: list[float]) -> GradientStats:
    l2 = math.sqrt(math.fsum(x * x for x in numbers))
    return GradientStats(
        numel=len(numbers),
        l2=l2,
        rms=l2 / math.sqrt(len(numbers)),
        low=min(numbers),
        high=max(numbers),
    )


def flow(**calls: GradientStats) -> GradientFlow:
    return GradientFlow(
        loss=Loss(name="sum", value=0.0),
        mode="eval",
        device="cpu",
        batch_size=1,
        data="ones",
        calls=tuple(
            CallGradient(op=OpId(f"{name.replace('_', '.')}/relu#0"), stats=value)
            for name, value in calls.items()
        ),
        parameters=(
            ParameterGradient(name="w", stats=stats([3.0, 4.0]), weight_l2=10.0),
            ParameterGradient(name="dead", stats=None, weight_l2=1.0, reason="frozen"),
        ),
        shares=(),
    )


@given(st.lists(vectors, min_size=1, max_size=4))
def test_combining_equals_one_long_vector(parts):
    together = combine([stats(part) for part in parts])
    expected = stats([x for part in parts for x in part])
    assert together.numel == expected.numel
    assert (together.low, together.high) == (expected.low, expected.high)
    assert math.isclose(together.l2, expected.l2, rel_tol=1e-9, abs_tol=1e-9)
    assert math.isclose(together.rms, expected.rms, rel_tol=1e-9, abs_tol=1e-9)


def test_gradients_are_found_by_op_parameter_and_module():
    found = flow(a=stats([3.0]), a_b=stats([4.0]), ab=stats([99.0]))
    assert found["a/relu#0"].l2 == 3.0
    assert found["w"].l2 == 5.0
    assert found["a"].l2 == 5.0
    assert found["a.b"].l2 == 4.0
    assert found[""] == combine([c.stats for c in found.calls])
    assert found.get("w") is found["w"]
    assert found.get("a") is None
    with pytest.raises(KeyError, match="nowhere"):
        found["nowhere"]


def test_ratio_is_gradient_over_weight():
    measured, dead = flow().parameters
    assert measured.ratio == 0.5
    assert dead.ratio is None
    assert dataclasses.replace(measured, weight_l2=0.0).ratio is None


@pytest.mark.parametrize(("number", "finite"), [(1.0, True), (math.inf, False), (math.nan, False)])
def test_finite(number, finite):
    assert dataclasses.replace(stats([1.0]), l2=number).finite is finite


def test_records_of_gradients_say_why_there_is_none():
    rows = flow().to_records()
    assert [row["name"] for row in rows] == ["w", "dead"]
    assert rows[1]["l2"] is None
    assert rows[1]["reason"] == "frozen"


def test_the_share_of_a_skip_adds_up_over_its_shortcut():
    share = dict(norm_ratio=1.0, cosine=1.0)  # noqa: C408
    measured = dataclasses.replace(
        flow(),
        shares=(
            EdgeShare(src=OpId("f"), dst=OpId("p"), share=0.3, **share),
            EdgeShare(src=OpId("f"), dst=OpId("j"), share=0.2, **share),
            EdgeShare(src=OpId("f"), dst=OpId("conv"), share=0.5, **share),
            EdgeShare(src=OpId("g"), dst=OpId("j"), share=9.0, **share),
        ),
    )
    skip = Skip(
        fork=OpId("f"), join=OpId("j"), kind="projection", branch=(OpId("conv"),),
        shortcut=(OpId("p"),),
    )  # fmt: skip
    assert measured.share_of(skip) == 0.5
    assert measured.share_of(dataclasses.replace(skip, fork=OpId("nobody"))) is None


def test_each_op_belongs_to_its_innermost_block():
    outer_skip = Skip(fork=OpId("a"), join=OpId("d"), kind="identity", branch=())
    inner_skip = Skip(fork=OpId("b"), join=OpId("c"), kind="gate", branch=())
    outer = Block(
        kind="bottleneck", module="m", ops=(OpId("b"), OpId("c"), OpId("d")), skip=outer_skip,
        squeeze=0.25,
    )  # fmt: skip
    inner = Block(
        kind="other", module="m.se", ops=(OpId("b"), OpId("c")), skip=inner_skip, squeeze=1
    )
    base = report().structure
    for blocks in ((outer, inner), (inner, outer)):
        structure = dataclasses.replace(base, skips=(outer_skip, inner_skip), blocks=blocks)
        owner = structure.block_of()
        assert {op: block.module for op, block in owner.items()} == {
            "b": "m.se", "c": "m.se", "d": "m",
        }  # fmt: skip


def test_structure_is_asked_by_kind():
    structure: Structure = report().structure
    assert len(structure.blocks_of("bottleneck")) == 1
    assert structure.blocks_of("basic") == ()
    assert sum(len(structure.skips_of(kind)) for kind in SKIP_KINDS) == len(structure.skips)
    assert structure.blocks[0].title == "pre-activation bottleneck"
    assert structure.skips[0].id == "input#0->block/add#0"


def test_a_heatmap_needs_a_byte_per_pixel():
    with pytest.raises(ValueError, match="3 bytes for 2×2"):
        Heatmap(width=2, height=2, low=0.0, high=1.0, data=b"abc")


def test_attributions_are_found_by_method():
    maps = Attributions(
        pictures=(),
        maps=tuple(
            Attribution(method=method, input=i, target="class 1")
            for i in range(2)
            for method in ("saliency", "integrated gradients")
        ),
    )
    assert [m.input for m in maps["saliency"]] == [0, 1]
    with pytest.raises(KeyError, match="lime"):
        maps["lime"]


def test_a_report_finds_its_measurements_by_type():
    full: Report = report()
    assert full.gradient_flow is full.measurements[0]
    assert full.attributions is None
    assert report(with_flow=False).gradient_flow is None
    assert full.with_findings([]) == full


def test_silence_is_a_progress():
    SILENT.start("tracing", total=3)
    SILENT.advance()
    SILENT.finish()
