"""Sums of shares over blocks, stages and the network: by hand, and of measured nets."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from resnet_viz.analysis import annotate
from resnet_viz.analysis.skip_shares import RESIDUAL, skip_shares_of
from resnet_viz.core.batch import Batch
from resnet_viz.core.gradient_flow import EdgeShare, GradientFlow
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.skip_shares import SkipShare
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.gradients.measure import measure_gradients
from resnet_viz.tracing.tracer import trace_model


@pytest.fixture(scope="module")
def resnet() -> tuple[torch.nn.Module, ModelGraph, Structure]:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=5)
    graph = trace_model(model, (torch.randn(2, 3, 32, 32),))
    return model, graph, annotate(graph)


def flow_of(model: torch.nn.Module, graph: ModelGraph) -> GradientFlow:
    batch = Batch(args=(torch.randn(2, 3, 32, 32, generator=torch.manual_seed(1)),))
    return measure_gradients(model, [batch], graph=graph, mode="train", stats="norms")


def with_shares(structure: Structure, norms: list[float], cut: list[float]) -> GradientFlow:
    """At the k-th fork a gradient of norm ``norms[k]``, ``cut[k]`` of it over the shortcut."""
    shares = []
    for skip, norm, share in zip(structure.skips, norms, cut, strict=True):
        ends = ((skip.shortcut or (skip.join,))[0], share), (skip.branch[0], 0.9 - share)
        for dst, value in (*ends, ("elsewhere", 0.1)):
            edge: Any = {"src": skip.fork, "dst": dst, "share": value, "fork_l2": norm}
            shares.append(EdgeShare(**edge, norm_ratio=1.0, cosine=value))
    flow: Any = {"loss": None, "device": "", "batch_size": 1, "data": "", "calls": ()}
    return GradientFlow(mode="train", **flow, parameters=(), shares=tuple(shares))


EIGHT = st.lists(st.floats(-2, 2), min_size=8, max_size=8)


@given(EIGHT, st.lists(st.floats(1e-12, 1e12), min_size=8, max_size=8))
def test_the_mean_is_weighted_by_the_squared_norm(
    resnet: tuple[Any, Any, Structure], cut: list[float], norms: list[float]
) -> None:
    structure = resnet[2]
    rows = skip_shares_of(structure, with_shares(structure, norms, cut))
    blocks, stages, (whole,) = (
        [r for r in rows if r.by == by] for by in ("block", "stage", "network")
    )
    assert [row.key for row in blocks] == [block.skip.join for block in structure.blocks]
    assert [row.shortcut for row in blocks] == pytest.approx(cut)
    assert sum(row.skips for row in stages) == whole.skips == 8
    energy = [norm**2 for norm in norms]
    mean = math.fsum(c * e for c, e in zip(cut, energy, strict=True)) / math.fsum(energy)
    assert whole.shortcut == pytest.approx(mean, abs=1e-9)
    assert whole.energy == pytest.approx(math.fsum(energy))
    for row in rows:
        assert row.other == pytest.approx(0.1, abs=1e-9)
        assert row.shortcut + row.branch + row.other == pytest.approx(1, abs=1e-9)
    # A coarser sum is the weighted mean of the finer ones.
    again = math.fsum(row.shortcut * row.energy for row in stages) / whole.energy
    assert again == pytest.approx(whole.shortcut, abs=1e-9)


def test_of_a_measured_net(resnet: tuple[Any, ModelGraph, Structure]) -> None:
    model, graph, structure = resnet
    flow = flow_of(model, graph)
    rows = skip_shares_of(structure, flow)
    by: dict[str, dict[str, SkipShare]] = defaultdict(dict)
    for row in rows:
        by[row.by][row.key] = row
    for skip in structure.skips:
        row = by["block"][skip.join]
        assert (row.skips, row.other) == (1, pytest.approx(0, abs=1e-6))
        assert row.shortcut == pytest.approx(flow.share_of(skip))
        assert row.energy == pytest.approx(flow[skip.fork].l2 ** 2, rel=1e-5)
    assert sorted(row.skips for row in by["stage"].values()) == [2, 2, 2, 2]
    whole = by["network"][""]
    assert whole.shortcut + whole.branch == pytest.approx(1, abs=1e-6)
    assert 0 < whole.shortcut < 1


def test_branches_of_zero_gain_leave_all_to_the_shortcuts(
    resnet: tuple[Any, ModelGraph, Structure],
) -> None:
    model, graph, structure = resnet
    gains = [block.bn2.weight for n, block in model.named_modules() if hasattr(block, "bn2")]
    kept = [gain.detach().clone() for gain in gains]
    try:
        for gain in gains:
            torch.nn.init.zeros_(gain)
        rows = skip_shares_of(structure, flow_of(model, graph))
    finally:
        with torch.no_grad():
            for gain, value in zip(gains, kept, strict=True):
                gain.copy_(value)
    assert {(row.shortcut, row.branch, row.other) for row in rows} == {(1.0, 0.0, 0.0)}
    assert len(rows) == 8 + 4 + 1


def test_gates_and_concatenations_do_not_count() -> None:
    torch.manual_seed(0)
    for make, residual in (
        (torchvision.models.mobilenet_v3_small, 6),
        (torchvision.models.shufflenet_v2_x0_5, 0),
    ):
        model = make()
        graph = trace_model(model, (torch.randn(2, 3, 32, 32),))
        structure = annotate(graph)
        assert {skip.kind for skip in structure.skips} - RESIDUAL
        rows = skip_shares_of(structure, flow_of(model, graph))
        assert [row.skips for row in rows if row.by == "network"] == [residual] * (residual > 0)


def test_what_was_not_measured_is_left_out(resnet: tuple[Any, Any, Structure]) -> None:
    structure = resnet[2]
    flow = with_shares(structure, [1.0] * 8, [0.5] * 8)
    first = structure.skips[0].fork
    half = dataclasses.replace(flow, shares=tuple(s for s in flow.shares if s.src != first))
    assert skip_shares_of(structure, half)[-1].skips == 7
    assert skip_shares_of(structure, dataclasses.replace(flow, shares=())) == ()
