"""What each depth sees: equal to captum per stage, closed forms, and harmless to the model."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torchvision
from captum.attr import LayerGradCam
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import resnet_viz as rv
from resnet_viz.analysis import annotate
from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.depth_views import DepthView
from resnet_viz.core.pictures import Heatmap
from resnet_viz.measuring.attributions.question import Question, asking
from resnet_viz.measuring.attributions.stages import depth_views, kernels_of
from resnet_viz.measuring.attributions.stages.fields import centre_of, effective_side
from resnet_viz.sources.loading import ModelSpec, load
from resnet_viz.sources.variants import build
from resnet_viz.tracing.tracer import trace_model


@contextmanager
def asked(model: nn.Module, x: Tensor, **options: Any) -> Iterator[Question]:
    graph = trace_model(model.eval(), (x,), {})
    with asking(
        model,
        (x,),
        graph=graph,
        structure=annotate(graph),
        options=AttributionOptions(**options),
    ) as questions:
        yield questions[0]


def views_of(model: nn.Module, x: Tensor, **options: Any) -> tuple[DepthView, ...]:
    with asked(model, x, **options) as question:
        return depth_views(question)


def numbers(heatmap: Heatmap) -> Tensor:
    values = torch.tensor(list(heatmap.data), dtype=torch.float64)
    span = heatmap.high - heatmap.low
    return (heatmap.low + values / 255 * span).reshape(heatmap.height, heatmap.width)


def agrees(heatmap: Heatmap, expected: Tensor) -> bool:
    """Up to the half step that a byte is off."""
    step = (heatmap.high - heatmap.low) / 510 + 1e-5 * float(expected.abs().max()) + 1e-12
    return bool((numbers(heatmap) - expected.double()).abs().max() <= step)


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    return load(ModelSpec(text="digits-resnet")).model.eval(), torch.randn(2, 1, 32, 32)


def test_grad_cam_of_every_stage_is_captums(digits: tuple[nn.Module, Tensor]) -> None:
    model, x = digits
    views = views_of(model, x, target=5)
    assert [v.input for v in views] == [0, 1]
    assert [s.name for s in views[0].stages] == ["stem", "layer1", "layer2", "layer3"]
    for view in views:
        assert "5" in view.target
        for stage in view.stages:
            layer = model.get_submodule(stage.module)
            cam = LayerGradCam(model, layer).attribute(x, target=5, relu_attributions=True)
            assert stage.cam is not None
            assert agrees(stage.cam, cam[view.input, 0].detach())


def test_feature_maps_are_the_strongest(digits: tuple[nn.Module, Tensor]) -> None:
    model, x = digits
    views = views_of(model, x)
    kept: dict[str, Tensor] = {}
    for name in ("layer1", "layer3"):
        layer = model.get_submodule(name)
        # A clone: the ReLU of a later call may write into it.
        layer.register_forward_hook(lambda _m, _i, out, name=name: kept.update({name: out.clone()}))
    with torch.no_grad():
        model(x)
    for view in views:
        for stage in view.stages:
            if stage.name not in kept:
                continue
            maps = kept[stage.name][view.input]
            strengths = maps.abs().mean((1, 2))
            assert stage.shape == tuple(maps.shape)
            assert [f.channel for f in stage.features] == strengths.topk(6).indices.tolist()
            for feature in stage.features:
                assert feature.strength == pytest.approx(float(strengths[feature.channel]))
                assert agrees(feature.heatmap, maps[feature.channel])
    for name in kept:
        model.get_submodule(name)._forward_hooks.clear()


def test_fields_are_those_of_the_graph_and_hold_the_effective_ones(
    digits: tuple[nn.Module, Tensor],
) -> None:
    for view in views_of(*digits):
        fields = [stage.field for stage in view.stages]
        assert [f and f.height for f in fields] == [3, 11, 25, 53]
        assert [f and f.stride for f in fields] == [(1.0, 1.0), (1.0, 1.0), (2.0, 2.0), (4.0, 4.0)]
        sides = [f.effective for f in fields if f is not None and f.effective is not None]
        assert len(sides) == 4
        assert sides == sorted(sides)
        assert all(
            side <= f.height for side, f in zip(sides, fields, strict=True) if f and f.height
        )


def test_the_effective_field_is_what_the_gradient_holds() -> None:
    """Of one linear convolution it is the kernel, whatever the signs of the channels."""
    model = nn.Sequential(nn.Conv2d(1, 3, 7, padding=3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.ones_(model[0].weight)
    (view,) = views_of(model, torch.randn(1, 1, 24, 24), target=0)
    (stage,) = view.stages
    assert stage.field is not None
    assert stage.field.effective == stage.field.height == 7
    assert stage.field.map is not None
    seen = numbers(stage.field.map)
    expected = torch.zeros(24, 24, dtype=torch.float64)
    expected[9:16, 9:16] = seen.max()
    assert torch.allclose(seen, expected)


@given(st.floats(2, 9), st.floats(30, 70), st.floats(30, 70))
def test_of_a_gaussian_it_is_the_closed_form(sigma: float, row: float, column: float) -> None:
    axes = (torch.arange(100, dtype=torch.float64) - at for at in (row, column))
    rows, columns = (torch.exp(-(away**2) / 2 / sigma**2) for away in axes)
    found = effective_side(rows[:, None] * columns[None], (row, column))
    # erf(a / σ√2)² = 0.95
    half = sigma * math.sqrt(2) * float(torch.erfinv(torch.tensor(math.sqrt(0.95))))
    assert found is not None
    assert abs(found - 2 * half) <= 2.5


def test_without_gradient_there_is_no_effective_field() -> None:
    assert effective_side(torch.zeros(5, 5), (2, 2)) is None
    assert effective_side(torch.ones(1, 1), (0, 0)) == 1
    assert centre_of(None, (4, 4), (16, 16)) == (9.5, 9.5)


class Vit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens)[:, 0])


def test_tokens_are_shown_as_the_map_they_stand_for() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 20)
    views = views_of(Vit(), x)
    last = views[0].stages[-1]
    assert last.shape == (8, 4, 5)
    assert last.field is not None
    assert (last.field.height, last.field.width, last.field.whole) == (16, 20, True)
    assert last.field.effective is not None
    assert all(stage.cam is not None for view in views for stage in view.stages)
    # The class token reads these places: what the last stage shows is not without gradient.
    assert any(view.stages[-1].cam.high > 0 for view in views)  # type: ignore[union-attr]


def test_windows_of_tokens_are_no_stages_of_their_own() -> None:
    torch.manual_seed(0)
    swin = torchvision.models.SwinTransformer([4, 4], 8, [2, 2], [2, 2], [4, 4], num_classes=3)
    (view,) = views_of(swin, torch.randn(1, 3, 32, 32))
    assert [stage.shape for stage in view.stages] == [(8, 8, 8), (8, 8, 8), (16, 4, 4)]
    first, *later = [stage.field for stage in view.stages]
    assert first is not None
    assert (first.height, first.effective) == (4, 4)
    # Windows are not followed in the graph; what the gradient says is shown all the same.
    assert [f and f.height for f in later] == [None, None]
    sides = [f.effective for f in later if f is not None and f.effective is not None]
    assert len(sides) == 2
    assert sides[1] > sides[0] >= 4


def test_one_forward_serves_all_stages_and_the_model_stays_as_it_was(
    digits: tuple[nn.Module, Tensor],
) -> None:
    model, x = digits
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    ran: list[int] = []
    handle = model.register_forward_hook(lambda *_: ran.append(1))
    with asked(model, x) as question:
        ran.clear()
        depth_views(question)
        assert ran == [1]
    handle.remove()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("channels", [1, 3])
def test_kernels_are_the_first_convolutions(channels: int) -> None:
    torch.manual_seed(0)
    model = build("resnet20", in_channels=channels)
    with asked(model, torch.randn(1, channels, 16, 16)) as question:
        kernels = kernels_of(question)
    assert kernels is not None
    assert (kernels.module, kernels.shape) == ("conv1", (16, channels, 3, 3))
    weight = model.conv1.weight.detach()
    order = weight.flatten(1).norm(dim=1).argsort(descending=True).tolist()
    assert [p.name for p in kernels.pictures] == [f"filter {i}" for i in order]
    for picture, i in zip(kernels.pictures, order, strict=True):
        with Image.open(io.BytesIO(picture.data)) as image:
            assert (image.mode, image.size) == ("RGB" if channels == 3 else "L", (3, 3))
            pixels = torch.tensor(list(image.tobytes()), dtype=torch.float64)
        scaled = weight[i].permute(1, 2, 0).flatten().double()
        shown = pixels / 127.5 - 1
        assert torch.allclose(shown, scaled / scaled.abs().max(), atol=0.5 / 127.5 + 1e-6)


def test_what_is_no_image_has_no_stages() -> None:
    mlp = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    with asked(mlp, torch.randn(2, 4)) as question:
        assert depth_views(question) == ()
        assert kernels_of(question) is None
    series = nn.Sequential(nn.Conv1d(2, 3, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    with asked(series, torch.randn(2, 2, 9)) as question:
        assert depth_views(question) == ()
        assert kernels_of(question) is None


def test_inside_a_checkpoint_there_are_none_and_layers_are_refused() -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
            self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            y = checkpoint(self.body, self.stem(x), use_reentrant=False)
            out: Tensor = self.head(y.mean((2, 3)))
            return out

    found = rv.attribute(
        Checkpointed(),
        torch.randn(2, 3, 12, 12),
        method=("saliency", "layer_grad_cam"),
        layer="body.0",
        stages=True,
    )
    assert {m.name for m in found.maps} == {"saliency"}
    assert not found.depths
    assert found.kernels is not None
    assert found.note.count("inside a checkpoint") == 2


def test_large_maps_are_made_small() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 2, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    (view,) = views_of(model, torch.randn(1, 3, 200, 100))
    feature = view.stages[0].features[0]
    assert (feature.heatmap.height, feature.heatmap.width) == (64, 32)
    assert view.stages[0].shape == (2, 200, 100)


def test_the_trained_default_explains_its_own_digits_offline() -> None:
    found = rv.attribute("digits-resnet", method="saliency", trust="off", stages=True)
    assert len(found.pictures) == len(found.depths) == len(found["saliency"]) == 4
    mistaken = [p.name for p in found.pictures].index("digit-6-taken-for-8.png")
    assert "8" in found.depths[mistaken].target
    assert found.kernels is not None
    assert "random" not in found.note
    without = rv.attribute("digits-resnet", method="saliency", trust="off")
    assert (without.depths, without.kernels) == ((), None)
