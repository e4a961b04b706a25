"""What methods are told: windows, masks, baselines, draws, and captum's own arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, LayerGradCam, Occlusion, Saliency
from torch import Tensor, nn

from resnet_viz.core.errors import UserError
from tests.measuring.attributions.explaining import Net, Recurrent, explain


def raw(net: nn.Module, x: Tensor, method: str, **options: Any) -> Tensor:
    (array,) = explain(net, x, methods=(method,), **options).arrays(method).values()
    return torch.from_numpy(array)


@pytest.fixture
def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 24, 1)).double()


@pytest.fixture
def picture() -> Tensor:
    return torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(1)).double()


def test_occlusion_slides_windows_of_an_eighth_in_half_steps(
    linear: nn.Module, picture: Tensor
) -> None:
    expected = Occlusion(linear).attribute(
        picture, sliding_window_shapes=(3, 2, 3), strides=(1, 1, 1), baselines=0
    )
    torch.testing.assert_close(raw(linear, picture, "occlusion"), expected)


@pytest.mark.parametrize(
    ("window", "strides", "hand", "steps"),
    [
        (4, None, (3, 4, 4), (1, 2, 2)),
        ((4, 6), 3, (3, 4, 6), (3, 3, 3)),
        ((1, 4, 6), (1, 2, 5), (1, 4, 6), (1, 2, 5)),
        (((3, 4, 6),), ((3, 4, 6),), (3, 4, 6), (3, 4, 6)),
    ],
)
def test_windows_are_given_as_a_side_two_sides_or_a_whole_shape(
    linear: nn.Module, picture: Tensor, window: Any, strides: Any, hand: Any, steps: Any
) -> None:
    expected = Occlusion(linear).attribute(
        picture, sliding_window_shapes=hand, strides=steps, baselines=0
    )
    found = raw(linear, picture, "occlusion", sliding_window_shapes=window, strides=strides)
    torch.testing.assert_close(found, expected)


def test_feature_ablation_takes_cells_of_a_sixteenth(linear: nn.Module, picture: Tensor) -> None:
    rows, columns = torch.arange(16)[:, None], torch.arange(24)[None] * 16 // 24
    expected = FeatureAblation(linear).attribute(picture, feature_mask=(rows * 16 + columns)[None])
    torch.testing.assert_close(raw(linear, picture, "feature_ablation"), expected)


def test_features_and_steps_are_ablated_one_by_one() -> None:
    torch.manual_seed(0)
    table = nn.Linear(6, 1).double()
    x = torch.randn(2, 6).double()
    for method in ("feature_ablation", "occlusion"):
        found = raw(table, x, method)
        torch.testing.assert_close(found.double(), (table.weight * x).detach(), rtol=1e-5, atol=0)
    series = torch.randn(2, 5, 4).double()
    steps = raw(Recurrent(True), series, "feature_ablation", target=0)
    assert steps.shape == series.shape
    assert bool((steps == steps[:, :, :1]).all())
    assert len(steps[0, :, 0].unique()) == 5


def test_groups_of_two_inputs_are_told_apart() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(3, 1).double(), nn.Linear(4, 1).double()

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            out: Tensor = self.left(left) * self.right(right)
            return out

    torch.manual_seed(0)
    model, a, b = Two(), torch.randn(2, 3).double(), torch.randn(2, 4).double()
    found = explain(model, a, b, methods=("feature_ablation",)).arrays("feature_ablation")
    parts = (model.left.weight * a).detach() * model.right(b).detach()
    torch.testing.assert_close(torch.from_numpy(found["left"]), parts)
    parts = (model.right.weight * b).detach() * model.left(a).detach()
    torch.testing.assert_close(torch.from_numpy(found["right"]), parts)


def test_more_baselines_than_samples_are_drawn_from_and_their_mean_is_the_baseline() -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 1).double()
    x, drawn = torch.randn(2, 5).double(), torch.randn(7, 5).double()
    expected = (model.weight * (x - drawn.mean(0))).detach()
    for method in ("integrated_gradients", "deep_lift_shap"):
        found = explain(model, x, methods=(method,), baselines=drawn)
        (array,) = found.arrays(method).values()
        torch.testing.assert_close(torch.from_numpy(array), expected, rtol=1e-6, atol=1e-9)
    assert "the baselines (those given)" in found.maps[0].verdict


def test_one_baseline_makes_deep_lift_shap_deep_lift(net: Net, images: Tensor) -> None:
    a, b = (raw(net, images, m, baselines=0.2) for m in ("deep_lift", "deep_lift_shap"))
    torch.testing.assert_close(a, b)


def test_draws_depend_on_the_seed_alone(net: Net, images: Tensor) -> None:
    for method in ("smoothgrad", "gradient_shap"):
        before = np.random.get_state()[1].copy()
        alone = raw(net, images, method, n_samples=4)
        np.random.seed(9)
        torch.manual_seed(9)
        found = explain(net, images, methods=("saliency", "gradient_shap", method), n_samples=4)
        (beside,) = found.arrays(method).values()
        torch.testing.assert_close(alone, torch.from_numpy(beside), rtol=0, atol=0)
        assert not torch.equal(alone, raw(net, images, method, n_samples=4, seed=1))
        np.random.set_state(("MT19937", before, 624, 0, 0.0))


def test_captums_own_arguments_are_handed_on(net: Net, images: Tensor) -> None:
    net.eval()
    found = explain(
        net, images, target=1, layer="norm", methods=("saliency", "layer_grad_cam"),
        extra={"abs": False, "relu_attributions": False},
    )  # fmt: skip
    saliency = Saliency(lambda t: net(t.clone())).attribute(
        images.clone().requires_grad_(), target=1, abs=False
    )
    cam = LayerGradCam(lambda t: net(t.clone()), net.norm).attribute(images.clone(), target=1)
    (first,) = found.arrays("saliency").values()
    (second,) = found.arrays("layer_grad_cam").values()
    torch.testing.assert_close(torch.from_numpy(first), saliency.detach())
    torch.testing.assert_close(torch.from_numpy(second), cam.detach())
    assert all(m.signed for m in found.maps)
    low = [m.heatmap.low for m in found["saliency"] if m.heatmap is not None]
    assert min(low) == pytest.approx(float(saliency.detach().min()))


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("occlusion", {"sliding_window_shapes": 20}, "window of 3×20×20 in steps .* not cover"),
        ("occlusion", {"sliding_window_shapes": 2, "strides": 3}, "strides no larger"),
        ("occlusion", {"sliding_window_shapes": (1, 2, 3, 4)}, "is no window of the input"),
        ("occlusion", {"sliding_window_shapes": ((3, 2, 2), (3, 2, 2))}, "2 windows for 1 inputs"),
        ("feature_ablation", {"feature_mask": torch.zeros(5, dtype=torch.int64)}, "mask does not"),
        ("feature_ablation", {"feature_mask": torch.zeros(16, 24)}, "give integers"),
        ("saliency", {"extra": {"ab": True}}, "no method asked for takes 'ab'.*mean abs"),
        ("saliency", {"extra": {"n_step": 3}}, "captum takes abs"),
    ],
)
def test_what_does_not_fit_ends_in_one_line(
    linear: nn.Module, picture: Tensor, method: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        explain(linear, picture, methods=(method,), **options)
    assert "\n" not in str(caught.value)
