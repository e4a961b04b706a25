"""Layouts: derived from the trace, and right place by place."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from resnet_viz.core.errors import UserError
from resnet_viz.measuring.layers import Layout, Reading, candidates, find_map, layout_at
from resnet_viz.tracing.tracer import trace_model
from tests.measuring.attributions.explaining import explain

IMAGE = (2, 3, 32, 32)


# -- data movement, compared with the image itself ------------------------------------


class Moves(nn.Module):
    """A random chain of ops that only move values, or put others beside them."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def forward(self, x: Tensor) -> Tensor:
        draw = random.Random(self.seed)
        rolled: list[tuple[int, int]] = []
        for _ in range(draw.randint(0, 7)):
            step = draw.choice(("permute", "split", "merge", "beside", "roll", "flatten", "cut"))
            axis = draw.randrange(1, x.ndim)
            size = x.shape[axis]
            if step == "permute":
                x = x.permute(0, *draw.sample(range(1, x.ndim), x.ndim - 1))
                rolled.clear()
            elif step == "split":
                outer = draw.choice([n for n in range(1, size + 1) if size % n == 0])
                x = x.reshape(*x.shape[:axis], outer, size // outer, *x.shape[axis + 1 :])
            elif step == "merge" and axis + 1 < x.ndim:
                x = x.flatten(axis, axis + 1)
            elif step == "flatten" and x.ndim == 4:
                x = x.flatten(2).transpose(1, 2)
            elif step == "beside":
                more = x.new_full((*x.shape[:axis], draw.randint(1, 2), *x.shape[axis + 1 :]), -1)
                x = torch.cat([more, x] if draw.random() < 0.7 else [x, more], axis)
            elif step == "roll":
                if rolled and draw.random() < 0.7:
                    by, axis = rolled.pop()
                    x = torch.roll(x, -by, axis) if axis < x.ndim else x
                else:
                    by = draw.randint(1, 3)
                    x = torch.roll(x, by, axis)
                    rolled.append((by, axis))
            elif step == "cut" and size > 2:
                x = x.narrow(axis, 1, size - 1)
        return x


def places_are_right(x: Tensor, maps: Tensor) -> bool:
    """Whether each place of a map holds values of that place of the image, and no others."""
    here = x[:, :, None].expand(-1, -1, maps.shape[1], -1, -1)
    known = (maps[:, None] == here).any(1) | (maps < 0)
    return bool(known.all()) and bool((maps >= 0).any())


@given(st.integers(0, 10**9))
@settings(max_examples=150, deadline=None)
def test_what_moves_values_is_followed(seed: int) -> None:
    x = torch.arange(2.0 * 3 * 4 * 6).view(2, 3, 4, 6)
    model = Moves(seed)
    graph = trace_model(model, (x,))
    layout = Reading(graph).layout(graph.outputs[0].src, graph.outputs[0].out_slot)
    if layout is not None and layout.grid == (4, 6):
        assert places_are_right(x, layout.to_map(model(x)))


def test_most_chains_that_keep_the_map_are_understood() -> None:
    """So that the test above looks at something."""
    x = torch.arange(2.0 * 3 * 4 * 6).view(2, 3, 4, 6)
    found = []
    for seed in range(120):
        graph = trace_model(Moves(seed), (x,))
        found.append(Reading(graph).layout(graph.outputs[0].src, graph.outputs[0].out_slot))
    kinds = {layout.kind for layout in found if layout is not None}
    assert kinds == {"channels first", "channels last", "tokens", "windows"}
    assert sum(layout is not None for layout in found) > 40


class Through(nn.Module):
    """One function of the image as a model."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def layout_after(function: Callable[[Tensor], Tensor], *shape: int) -> Layout | None:
    x = torch.rand(shape or (2, 3, 4, 6))
    graph = trace_model(Through(function), (x,))
    return Reading(graph).layout(graph.outputs[0].src)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x.relu(), "channels first, 4×6"),
        (lambda x: x.movedim(1, -1), "channels last, 4×6"),
        (lambda x: x.flatten(2), "tokens, 4×6"),
        (lambda x: torch.einsum("nchw->nhwc", x), "channels last, 4×6"),
        (lambda x: x.transpose(2, 3), "channels first, 4×6"),
        (lambda x: x[:, :, 1::2, ::2], "channels first, 2×3"),
        (lambda x: nn.functional.pad(x, (0, 2, 0, 1)), "channels first, 5×8"),
        (lambda x: nn.functional.max_pool2d(x, 2), "channels first, 2×3"),
        (lambda x: nn.functional.interpolate(x, size=(8, 8)), "channels first, 8×8"),
        (lambda x: nn.functional.pixel_unshuffle(x, 2), "channels first, 2×3"),
        (lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)), "channels first, 4×6"),
        (lambda x: torch.cat([x, x.flip(1)], 1), "channels first, 4×6"),
        (lambda x: torch.stack(x.unbind(2), 2), None),
        (lambda x: x[:, :, :2], None),
        (lambda x: x[:, :, :, 2::2], None),
        (lambda x: x.flip(3), None),
        (lambda x: torch.roll(x, 1, 2), None),
        (lambda x: x.mean(2, keepdim=True), None),
        (lambda x: x.view(2, 3, 24)[:, :, torch.arange(24)], None),
        (lambda x: x.transpose(2, 3).reshape(2, 3, 4, 6), None),
        (lambda x: x.flatten(1), None),
        (lambda x: x.transpose(0, 1), None),
        (lambda x: torch.fft.fft2(x).real, None),
    ],
)
def test_single_ops(function: Callable[[Tensor], Tensor], words: str | None) -> None:
    layout = layout_after(function)
    assert (layout.words if layout else None) == words


def test_columns_before_rows_are_turned() -> None:
    x = torch.rand(2, 3, 4, 6)
    layout = layout_after(lambda t: t.permute(0, 3, 2, 1).flatten(1, 2))
    assert layout is not None
    torch.testing.assert_close(layout.to_map(x.permute(0, 3, 2, 1).flatten(1, 2)), x)


def test_another_number_of_tokens_is_refused() -> None:
    layout = layout_after(lambda t: t.flatten(2).transpose(1, 2))
    assert layout is not None
    with pytest.raises(UserError, match="is no 4×6 places as in the trace"):
        layout.to_map(torch.rand(2, 25, 3))


# -- whole nets -----------------------------------------------------------------------


def vit(**options: Any) -> nn.Module:
    sizes = {"hidden_dim": 16, "mlp_dim": 24, "num_heads": 2, "num_layers": 2, "num_classes": 5}
    model: nn.Module = torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, **sizes, **options
    )
    nn.init.normal_(model.heads.head.weight)  # it starts at zero, and so would every gradient
    return model


def timm_net(name: str, **options: Any) -> nn.Module:
    model: nn.Module = timm.create_model(name, img_size=32, num_classes=5, **options)
    return model


def timm_vit(name: str = "vit_tiny_patch16_224", **options: Any) -> nn.Module:
    return timm_net(name, patch_size=8, depth=2, embed_dim=24, num_heads=3, **options)


def swin(**options: Any) -> nn.Module:
    sizes = {"patch_size": [4, 4], "embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2]}
    model: nn.Module = torchvision.models.SwinTransformer(
        window_size=[4, 4], num_classes=5, **sizes, **options
    )
    return model


def swin_v2() -> nn.Module:
    return swin(block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)


def timm_swin() -> nn.Module:
    return timm_net(
        "swin_tiny_patch4_window7_224", window_size=4, embed_dim=8, depths=(2, 2), num_heads=(1, 2)
    )


def maxvit() -> nn.Module:
    model: nn.Module = torchvision.models.MaxVit(
        input_size=(32, 32), stem_channels=8, partition_size=4, block_channels=[8, 16],
        block_layers=[1, 1], head_dim=4, stochastic_depth_prob=0.0, num_classes=5,
    )  # fmt: skip
    return model


_SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "image_size": 32, "patch_size": 8, "num_labels": 5,
}  # fmt: skip


def hf_vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    model: nn.Module = ViTForImageClassification(ViTConfig(**_SIZES))
    return model


def hf_registers() -> nn.Module:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersForImageClassification

    config = Dinov2WithRegistersConfig(**_SIZES, num_register_tokens=3)
    model: nn.Module = Dinov2WithRegistersForImageClassification(config)
    return model


def hf_swin() -> nn.Module:
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(
        image_size=32, patch_size=4, embed_dim=8, depths=[2, 2], num_heads=[1, 2], window_size=4
    )
    model: nn.Module = SwinForImageClassification(config)
    return model


NETS = [
    (vit, "encoder.layers.encoder_layer_1.ln_1", "tokens, 4×4, 1 token in front"),
    (timm_vit, "blocks.1.norm1", "tokens, 4×4, 1 token in front"),
    (
        lambda: timm_vit("deit_tiny_distilled_patch16_224"),
        "blocks.1.norm1",
        "tokens, 4×4, 2 tokens in front",
    ),
    (
        lambda: timm_vit(reg_tokens=4, global_pool="avg"),
        "blocks",
        "tokens, 4×4, 5 tokens in front",
    ),
    (hf_vit, "vit.layers.1.layernorm_before", "tokens, 4×4, 1 token in front"),
    (hf_registers, "dinov2_with_registers.layernorm", "tokens, 4×4, 4 tokens in front"),
    (swin, "norm", "channels last, 4×4"),
    (swin_v2, "norm", "channels last, 4×4"),
    (timm_swin, "norm", "channels last, 4×4"),
    (hf_swin, "swin.layernorm", "tokens, 4×4"),
    (maxvit, "blocks.1", "channels first, 4×4"),
]


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize(("build", "layer", "words"), NETS)
def test_auto_finds_the_map_and_its_layout(
    build: Callable[[], nn.Module], layer: str, words: str, samples: int
) -> None:
    graph = trace_model(build().eval(), (torch.rand(samples, *IMAGE[1:]),))
    choice = find_map(graph)
    assert layer in choice.modules
    assert choice.layout is not None
    assert choice.layout.words == words


@pytest.mark.parametrize("build", [row[0] for row in NETS])
def test_a_changed_patch_changes_its_place_most(build: Callable[[], nn.Module]) -> None:
    """At every layer that all of the model goes through, up to the chosen one."""
    torch.manual_seed(0)
    model = build().double().eval()
    x = torch.randn(IMAGE, dtype=torch.float64)
    changed = x.clone()
    changed[:, :, 25:31, 9:15] += 3
    graph = trace_model(model, (x,))
    found = candidates(graph)
    last = next(i for i, c in enumerate(found) if c.auto)
    looked = [c for c in found[:last] if c.layout and c.cut]
    seen: list[dict[str, Tensor]] = [{}, {}]
    for values, given_ in zip(seen, (x, changed), strict=True):
        handles = [
            model.get_submodule(c.path).register_forward_hook(
                lambda _m, _a, out, path=c.path, kept=values: kept.update({path: first(out)})
            )
            for c in looked
        ]
        with torch.no_grad():
            model(given_)
        for handle in handles:
            handle.remove()
    assert len(looked) >= 3
    for candidate in looked:
        layout = layout_at(graph, candidate.path)
        assert layout is not None
        before, after = (layout.to_map(values[candidate.path]) for values in seen)
        height, width = layout.grid
        moved = (after - before).abs().sum(1)
        # Coarse, so that kernels may reach over: 4 × 4 cells of 8 pixels.
        cells = nn.functional.adaptive_avg_pool2d(moved, (4, 4)).flatten(1)
        assert moved.shape[1:] == (height, width)
        assert cells.argmax(1).tolist() == [3 * 4 + 1] * 2, candidate


def first(out: Any) -> Tensor:
    return out if isinstance(out, Tensor) else out[0]


# -- which places still reach the score -----------------------------------------------


@pytest.mark.parametrize(
    "build", [vit, timm_vit, hf_vit, lambda: timm_vit(reg_tokens=4, global_pool="avg"), swin]
)
def test_places_reach_the_score_where_they_have_a_gradient(
    build: Callable[[], nn.Module],
) -> None:
    torch.manual_seed(0)
    model = build().double().eval()
    graph = trace_model(model, (torch.randn(IMAGE, dtype=torch.float64),))
    looked = [c for c in candidates(graph) if c.layout]
    outputs: dict[str, Tensor] = {}
    for c in looked:
        model.get_submodule(c.path).register_forward_hook(
            lambda _m, _a, out, path=c.path: outputs.update({path: out})
        )
    score = first(model(torch.randn(IMAGE, dtype=torch.float64)))
    score = score if score.ndim == 2 else score[0]
    for c in looked:
        out = outputs[c.path]
        if not isinstance(out, Tensor):
            continue  # a tuple: its module looks like that from the inside only
        layout = layout_at(graph, c.path)
        assert layout is not None
        (gradient,) = torch.autograd.grad(
            score[:, 1].sum(), out, retain_graph=True, materialize_grads=True
        )
        assert bool(layout.to_map(gradient).abs().max() > 0) == c.reaches, c.path


@pytest.mark.parametrize(
    ("build", "layer", "reshape"),
    [
        (vit, "encoder.layers.encoder_layer_1.ln_1", lambda t: t[:, 1:].mT.reshape(2, 16, 4, 4)),
        (timm_vit, "blocks.1.norm1", lambda t: t[:, 1:].mT.reshape(2, 24, 4, 4)),
        (swin, "norm", lambda t: t.permute(0, 3, 1, 2)),
    ],
)
def test_grad_cam_of_tokens_is_its_formula(
    build: Callable[[], nn.Module], layer: str, reshape: Callable[[Tensor], Tensor]
) -> None:
    """Selvaraju et al. 2017, equations 1 and 2, on the places without the class token."""
    torch.manual_seed(0)
    model = build().double().eval()
    x = torch.randn(IMAGE, dtype=torch.float64)
    found = explain(model, x, target=2, methods=("layer_grad_cam",)).maps
    outputs: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *a: outputs.append(a[2]))
    score = model(x)[:, 2].sum()
    handle.remove()
    activation = reshape(outputs[0])
    gradient = reshape(torch.autograd.grad(score, outputs[0])[0])
    cam = (gradient.mean((2, 3), keepdim=True) * activation).sum(1).relu().detach()
    for i, one in enumerate(found):
        assert one.layer == layer
        assert one.values is not None
        torch.testing.assert_close(torch.from_numpy(one.values.numpy().copy()).squeeze(), cam[i])


def test_candidates_say_what_is_known() -> None:
    graph = trace_model(torchvision.models.resnet18().eval(), (torch.rand(1, 3, 64, 64),))
    found = {c.path: c for c in candidates(graph)}
    layer = found["layer4"]
    assert (layer.type_name, layer.shape, layer.grid) == ("Sequential", (1, 512, 2, 2), (2, 2))
    assert layer.also == ("layer4.1",)
    assert layer.auto
    assert layer.cut
    assert not found["layer4.1.conv1"].cut
    assert found["fc"].layout == ""
    assert "layer4.1.relu" not in found  # it runs twice
    assert sum(c.auto for c in found.values()) == 1
