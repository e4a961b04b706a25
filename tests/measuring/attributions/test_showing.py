"""From captum's tensors to maps, bars, sums and verdicts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from resnet_viz.core.pictures import Picture
from resnet_viz.core.schema import from_json
from resnet_viz.measuring.attributions.maps import COMPLETE, MOST_BARS, quantised
from tests.measuring.attributions.explaining import IG, SALIENCY, Net, bars, explain, unquantised


def test_completeness_is_judged_by_its_gate() -> None:
    torch.manual_seed(0)
    rough = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1)).double()
    x = torch.full((1, 4), 6.0, dtype=torch.float64)
    coarse, fine = (
        explain(rough, x, methods=("integrated_gradients",), n_steps=n).maps[0] for n in (1, 200)
    )
    for found in (coarse, fine):
        difference = float((rough(x) - rough(torch.zeros_like(x))).detach())
        assert found.delta == pytest.approx(difference - float(bars(found).sum()), abs=1e-12)
        assert found.relative_delta == pytest.approx(abs(found.delta / difference))
    assert coarse.relative_delta > COMPLETE > 1e-3 > fine.relative_delta
    assert "raise n_steps (now 1)" in coarse.verdict
    assert fine.verdict.startswith("Complete to")
    assert "raise" not in fine.verdict


def test_a_score_that_does_not_move_has_no_relative_delta() -> None:
    flat = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 1, bias=False)).double()
    nn.init.zeros_(flat[2].weight)
    found = explain(flat, torch.randn(1, 3).double(), methods=("integrated_gradients",)).maps[0]
    assert found.relative_delta is None
    assert "try another baseline" in found.verdict


def test_a_linear_model_is_its_weights_times_the_input() -> None:
    torch.manual_seed(0)
    model = nn.Linear(30, 4).double()
    x = torch.randn(3, 30).double()
    found = explain(model, x, target=2, methods=("integrated_gradients", "saliency"), n_steps=3)
    assert found[IG][0].bars[4].label == "feature 4"
    for i in range(3):
        torch.testing.assert_close(
            bars(found[IG][i]), (model.weight[2] * x[i]).detach(), rtol=1e-6, atol=1e-9
        )
        torch.testing.assert_close(bars(found[SALIENCY][i]), model.weight[2].abs().detach())
        assert found[IG][i].relative_delta < 1e-6
    assert found[IG][0].signed
    assert not found[SALIENCY][0].signed


def test_of_many_features_the_strongest_are_shown_and_the_rest_is_told() -> None:
    model = nn.Linear(100, 1, bias=False).double()
    x = torch.ones(1, 100).double()
    found = explain(model, x, methods=("integrated_gradients",), n_steps=2).maps[0]
    weights = model.weight[0].detach()
    strongest = weights.abs().topk(MOST_BARS)
    assert [b.label for b in found.bars] == [f"feature {i}" for i in strongest.indices.tolist()]
    torch.testing.assert_close(bars(found), weights[strongest.indices], rtol=1e-6, atol=1e-9)
    assert f"the {MOST_BARS} strongest of 100 features" in found.verdict


def test_baselines_are_used_and_named() -> None:
    model = nn.Linear(5, 1).double()
    x = torch.randn(2, 5).double()
    other = torch.randn(1, 5).double()
    methods = ("integrated_gradients",)
    for baseline, value in ((None, 0.0), (0.5, 0.5), (other, other[0]), ((other,), other[0])):
        found = explain(model, x, methods=methods, baselines=baseline, n_steps=2).maps[1]
        expected = (model.weight[0] * (x[1] - value)).detach()
        torch.testing.assert_close(bars(found), expected, rtol=1e-6, atol=1e-9)
    assert "all zeros" in explain(model, x, methods=methods).maps[0].verdict
    assert "all 0.5" in explain(model, x, methods=methods, baselines=0.5).maps[0].verdict


def test_values_round_trip_and_pictures_travel(net: Net, images: Tensor) -> None:
    picture = Picture(name="cat", width=1, height=1, media_type="image/png", data=b"x")
    found = explain(net, images, pictures=(picture,), note="Random weights.")
    assert found.pictures == (picture,)
    assert found.note == "Random weights."
    assert found.device == "cpu"
    assert from_json(found.to_json()) == found


@given(st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6))
def test_quantising_is_off_by_at_most_half_a_step(values: list[float]) -> None:
    table = torch.tensor(values, dtype=torch.float64).view(2, 3)
    heatmap = quantised(table)
    error = (unquantised(heatmap) - table).abs().max()
    assert error <= (heatmap.high - heatmap.low) / 510 * (1 + 1e-6) + 1e-9
