"""Receptive fields: published numbers, and the support of gradients of positive nets."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_viz.analysis.receptive_fields import receptive_fields
from resnet_viz.analysis.stages import find_stages
from resnet_viz.core.depth_views import ReceptiveField
from resnet_viz.core.graph import ModelGraph, OpId
from resnet_viz.sources.variants import build
from resnet_viz.tracing.tracer import trace_model


def traced(model: nn.Module, *shape: int) -> ModelGraph:
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    return trace_model(model.eval(), (torch.zeros(shape, dtype=dtype),), {})


def field_after(graph: ModelGraph, op: OpId) -> ReceptiveField | None:
    return receptive_fields(graph, [op], graph.inputs[0].id)[op]


def known_field(model: nn.Module, *shape: int) -> ReceptiveField:
    """Of the model's output."""
    graph = traced(model, *shape)
    field = field_after(graph, graph.outputs[0].src)
    assert field is not None
    return field


def of_stages(name: str, side: int = 64) -> list[tuple[int | None, int | None, float, bool]]:
    graph = traced(build(name), 1, 3, side, side)
    ops = [stage.ops[-1] for stage in find_stages(graph)]
    found = receptive_fields(graph, ops, graph.inputs[0].id)
    return [(f.height, f.width, f.stride[0], f.whole) for op in ops if (f := found[op])]


@pytest.mark.parametrize(
    ("name", "sides"),
    [("resnet18", [11, 43, 99, 211, 435]), ("resnet50", [11, 35, 91, 267, 427])],
)
def test_resnets_by_hand(name: str, sides: list[int]) -> None:
    expected = [(s, s, float(r), False) for s, r in zip(sides, (4, 4, 8, 16, 32), strict=True)]
    assert of_stages(name) == expected


@pytest.mark.parametrize(("name", "side"), [("vgg16", 212), ("alexnet", 195)])
def test_the_published_fields_of_araujo_2019(name: str, side: int) -> None:
    with torch.device("meta"):
        features = getattr(torchvision.models, name)().features
    graph = trace_model(features.eval(), (torch.empty(1, 3, 96, 96, device="meta"),), {})
    field = field_after(graph, graph.outputs[0].src)
    assert field is not None
    assert (field.height, field.width, field.stride) == (side, side, (32.0, 32.0))


@pytest.mark.parametrize(
    ("blocks", "side"), [((3, 4, 6, 3), 483), ((3, 4, 23, 3), 1027), ((3, 8, 36, 3), 1507)]
)
def test_resnets_that_stride_in_the_last_unit_of_a_stage(
    blocks: tuple[int, ...], side: int
) -> None:
    """Araujo et al. 2019 measured TF-Slim's, where the 3×3 of the last unit has the stride."""
    layers: list[nn.Module] = [nn.Conv2d(1, 1, 7, 2, 3), nn.AvgPool2d(3, 2, 1)]
    for stage, count in enumerate(blocks):
        strides = [1] * (count - 1) + [1 if stage == 3 else 2]
        layers += [nn.Conv2d(1, 1, 3, stride, 1) for stride in strides]
    assert known_field(nn.Sequential(*layers), 1, 1, 64, 64).height == side


LAYERS = st.one_of(
    st.builds(
        lambda k, s, d: nn.Conv2d(1, 1, k, s, d * (k // 2), d),
        st.sampled_from([1, 2, 3, 5]),
        st.integers(1, 3),
        st.integers(1, 2),
    ),
    st.builds(lambda k, s: nn.AvgPool2d(k, s), st.integers(1, 3), st.integers(1, 3)),
    st.builds(
        lambda k, s: nn.ConvTranspose2d(1, 1, k, s, k // 2), st.integers(2, 4), st.integers(1, 3)
    ),
    st.builds(
        lambda mode, f: nn.Upsample(scale_factor=f, mode=mode),
        st.sampled_from(["nearest", "bilinear", "bicubic"]),
        st.integers(2, 3),
    ),
    st.builds(lambda a, b: nn.ZeroPad2d((a, 1, b, 2)), st.integers(0, 3), st.integers(0, 3)),
    st.sampled_from([nn.PixelShuffle(1), nn.ReLU(), nn.LocalResponseNorm(1)]),
)


def positive(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, 0.5, 1.0)
    return model.double().eval()


def supports(model: nn.Module, side: int) -> list[tuple[int, int]]:
    """First and last input row that each output row of the middle depends on, by gradients."""
    x = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    rows = model(x).sum((0, 1, 3))
    found = []
    middle = range(len(rows))[max(0, len(rows) // 2 - 16) :][:32]
    for place in middle:
        (gradient,) = torch.autograd.grad(rows[place], x, retain_graph=True)
        seen = gradient.abs().sum((0, 1, 3)).nonzero().flatten().tolist()
        if seen and seen[0] > 0 and seen[-1] < side - 1:
            found.append((seen[0], seen[-1]))
    return found


def enlarges(layer: nn.Module) -> bool:
    return isinstance(layer, nn.ConvTranspose2d | nn.Upsample)


@settings(max_examples=25)
@given(st.lists(LAYERS, min_size=1, max_size=3).filter(lambda ls: sum(map(enlarges, ls)) <= 1))
def test_a_chain_sees_what_its_gradients_say(layers: list[nn.Module]) -> None:
    model = positive(nn.Sequential(*layers))
    found = supports(model, 64)
    if len(found) < 14:
        return  # the field fills the image, or the border touches too much of it
    field = known_field(model, 1, 1, 64, 64)
    assert field.height == field.width or isinstance(layers[0], nn.ZeroPad2d)
    assert field.height is not None
    # Negative lobes of bicubic resizing may cancel; all others add up.
    sides = [b - a + 1 for a, b in found]
    bicubic = any(getattr(layer, "mode", "") == "bicubic" for layer in layers)
    assert max(sides) <= field.height if bicubic else max(sides) == field.height


class Branching(nn.Module):
    """Ways of different reach that meet, one with a stride of its own kind."""

    def __init__(self) -> None:
        super().__init__()
        self.short = nn.Conv2d(1, 1, 1, 2)
        self.long = nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), nn.Conv2d(1, 1, 3, 1, 2, 2))
        self.up = nn.Conv2d(1, 1, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.short(x) + self.long(x)
        upper = F.interpolate(self.up(y), scale_factor=2.0, mode="nearest")
        return torch.cat([y, upper], 1)


class Sliced(nn.Module):
    """Option A's subsampling, a crop, a roll and channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, 1, 1)
        self.mix = nn.Linear(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.roll(self.conv(x)[:, :, 1::2, ::2], (3, 0), (2, 3))
        return self.conv(self.mix(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)[:, :1])


@pytest.mark.parametrize(
    "make",
    [
        Branching,
        Sliced,
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3, 1, 1), nn.PixelShuffle(2), nn.Conv2d(1, 1, 3)),
        lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 1, 3)),
        lambda: nn.Sequential(nn.AdaptiveAvgPool2d(36), nn.Conv2d(1, 1, 3)),
    ],
)
def test_other_ways_see_what_their_gradients_say(make: type[nn.Module]) -> None:
    model = positive(make())
    found = supports(model, 72)
    field = known_field(model, 1, 1, 72, 72)
    assert max(b - a + 1 for a, b in found) == field.height
    assert not field.whole


def test_centre_and_stride_say_where_a_place_looks() -> None:
    model = positive(
        nn.Sequential(nn.ZeroPad2d(2), nn.Conv2d(1, 1, 7, 2), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3))
    )
    found = supports(model, 96)
    field = known_field(model, 1, 1, 96, 96)
    assert field.height is not None
    steps = {(b - a) for (a, _), (b, _) in pairwise(found)}
    assert steps == {field.stride[0]}
    offsets = {((a + b) / 2 - field.centre[0]) % field.stride[0] for a, b in found}
    assert offsets == {0.0}


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 1, 1)
        self.gate = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))


class Tokens(nn.Module):
    def __init__(self, attends: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True) if attends else None
        self.mlp = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        if self.attention is not None:
            tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return tokens + self.mlp(tokens)


def test_what_mixes_all_places_sees_the_whole() -> None:
    gated = known_field(Gated(), 1, 3, 16, 16)
    assert (gated.height, gated.whole) == (3, True)
    normed = known_field(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), 1, 3, 16, 16)
    assert (normed.height, normed.whole) == (3, True)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_tokens_see_a_patch_until_they_attend(batch: int) -> None:
    before = known_field(Tokens(False), batch, 3, 16, 12)
    assert (before.height, before.width, before.whole) == (4, 4, False)
    assert (before.stride, before.centre) == ((4.0, 4.0), (1.5, 1.5))
    after = known_field(Tokens(True), batch, 3, 16, 12)
    assert (after.height, after.width, after.whole) == (16, 12, True)


class Strange(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, 2)


def test_what_is_not_understood_is_not_guessed() -> None:
    for model in (
        Strange(),
        nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1), nn.Unflatten(2, (4, 4))),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)),
    ):
        graph = traced(model, 1, 3, 16, 16)
        assert field_after(graph, graph.outputs[0].src) is None
