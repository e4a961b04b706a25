"""Layers that are looked at: found, named, refused, in every layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

from resnet_viz.measuring.attributions.looking import Look
from resnet_viz.measuring.layers import find_map, layout_at
from resnet_viz.tracing.tracer import trace_model
from tests.measuring.attributions.explaining import CAM, Net, assert_shows, bars, explain


class Foo(nn.Module):
    """A net whose maps meet in functions of the root module."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.c = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).relu()
        y = (y + self.b(y)).relu()
        out: Tensor = self.c(y.mean((2, 3)))
        return out


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.AvgPool2d(4),
        nn.Flatten(), nn.Linear(4 * 225, 2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "layer"),
    [
        (torchvision.models.resnet18, "layer4"),
        (torchvision.models.mobilenet_v2, "features"),
        (torchvision.models.densenet121, "features"),
        (torchvision.models.squeezenet1_1, "classifier.2"),
        (torchvision.models.convnext_tiny, "features"),
        (plain, "3"),
        (Foo, "b"),
        (Net, "body"),
    ],
)
def test_auto_takes_the_last_map(build: Callable[[], nn.Module], layer: str) -> None:
    graph = trace_model(build(), (torch.zeros(2, 3, 64, 64),))
    assert find_map(graph).modules[0] == layer


def test_a_map_that_is_bypassed_is_told(images: Tensor) -> None:
    assert "goes past" in explain(Foo().double(), images)[CAM][0].verdict
    assert (
        "goes past"
        not in explain(plain().double(), torch.rand(1, 3, 64, 64).double())[CAM][0].verdict
    )


def test_a_layer_of_ones_own(resnet: Any) -> None:
    resnet.eval()
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    found = explain(resnet, x, target=0, layer="layer2.1", methods=("layer_grad_cam",)).maps[0]
    resnet.eval()
    cam = LayerGradCam(resnet, resnet.layer2[1]).attribute(x, target=0, relu_attributions=True)
    assert_shows(found, LayerAttribution.interpolate(cam, (32, 32), "bilinear").detach()[0, 0])
    assert found.layer == "layer2.1"
    assert "4×4 places" in found.verdict


# -- in every layout ----------------------------------------------------------------


def seen_at(net: nn.Module, layer: nn.Module, x: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """What a layer puts out and the score's gradient there, by autograd alone."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, out: Any) -> None:
        tensor = out[0] if isinstance(out, tuple) else out
        tensor.retain_grad()
        seen.append(tensor)

    handle = layer.register_forward_hook(keep)
    net.eval()(x.clone().requires_grad_())[:, target].sum().backward()
    handle.remove()
    (tokens,) = seen
    assert tokens.grad is not None
    return tokens.detach(), tokens.grad


class Tokens(nn.Module):
    """Patches, a class token in front, mixing, and the mean of all tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 6))
        self.mix, self.norm, self.head = nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.patches(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(len(y), -1, -1), y], 1)
        y = y + self.mix(y).tanh()
        out: Tensor = self.head(self.norm(y).square().mean(1))
        return out


def test_grad_cam_of_tokens_leaves_the_class_token_out() -> None:
    torch.manual_seed(0)
    net = Tokens().double().eval()
    x = torch.randn(2, 3, 8, 12).double()
    found = explain(net, x, target=1, layer="norm", methods=("layer_grad_cam",))
    tokens, gradient = seen_at(net, net.norm, x, 1)
    weights = gradient[:, 1:].mean(1, keepdim=True)
    cam = (weights * tokens[:, 1:]).sum(2).relu().view(2, 1, 2, 3)
    assert float(cam.max()) > 0
    torch.testing.assert_close(torch.from_numpy(found.arrays("layer_grad_cam")["norm"]), cam)
    assert "2×3 places" in found.maps[0].verdict
    for i in range(2):
        assert_shows(found.maps[i], LayerAttribution.interpolate(cam, (8, 12), "bilinear")[i, 0])


@pytest.mark.parametrize("first", [True, False])
def test_grad_cam_of_steps_wherever_the_channels_are(first: bool) -> None:
    torch.manual_seed(0)

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv1d(2, 4, 3) if first else nn.Linear(2, 4)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.body(x).tanh()
            out: Tensor = self.head(y.mean(2 if first else 1))
            return out

    net = Steps().double()
    x = torch.randn(2, 2, 9).double() if first else torch.randn(2, 7, 2).double()
    found = explain(net, x, target=0, layer="body", methods=("layer_grad_cam",))
    tensor, gradient = seen_at(net, net.body, x, 0)
    axis = 2 if first else 1
    cam = (gradient.mean(axis, keepdim=True) * tensor).sum(3 - axis).relu()
    torch.testing.assert_close(torch.from_numpy(found.arrays("layer_grad_cam")["body"])[:, 0], cam)
    torch.testing.assert_close(bars(found.maps[1]), cam[1])
    assert [b.label for b in found.maps[0].bars] == [f"step {i}" for i in range(7)]


def test_a_layer_that_puts_out_a_tuple_is_looked_at_by_its_first_tensor() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, int]:
            y = self.body(x)
            return y, len(x)

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair, self.head = Pair(), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y, _ = self.pair(x)
            out: Tensor = self.head(y.relu_().mean((2, 3)))
            return out

    torch.manual_seed(0)
    net, x = Around().double(), torch.rand(2, 3, 8, 8).double()
    for method in ("layer_grad_cam", "layer_integrated_gradients", "layer_activation"):
        a, b = (
            explain(net, x, target=0, layer=layer, methods=(method,)).arrays(method)[layer]
            for layer in ("pair", "pair.body")
        )
        torch.testing.assert_close(torch.from_numpy(a), torch.from_numpy(b))


def test_several_layers_and_targets_are_all_answered(net: Net, images: Tensor) -> None:
    found = explain(
        net, images, target="top2", layer=("norm", "body"), force=True,
        methods=("saliency", "layer_grad_cam", "layer_conductance"),
    )  # fmt: skip
    keys = [(m.input, m.rank, m.name, m.layer) for m in found.maps]
    assert keys == [
        (i, rank, name, layer)
        for i in range(2)
        for rank in range(2)
        for name, layer in [
            ("saliency", ""),
            ("layer_grad_cam", "norm"),
            ("layer_grad_cam", "body"),
            ("layer_conductance", "norm"),
            ("layer_conductance", "body"),
        ]
    ]
    assert set(found.arrays("layer_conductance", rank=1)) == {"norm", "body"}
    first, second = (m for m in found["saliency"] if m.input == 0)
    assert first.score is not None
    assert second.score is not None
    assert first.score > second.score
    assert first.target != second.target


def test_a_branch_is_no_cut_and_says_so_where_it_is_forced(net: Net, images: Tensor) -> None:
    options: dict[str, Any] = {"layer": ("norm", "body"), "methods": ("layer_conductance",)}
    kept = explain(net, images, **options)
    assert {m.layer for m in kept.maps} == {"norm"}
    assert "Layer conductance at body is left out: part of the score goes past" in kept.note
    assert "(or force it)" in kept.note
    forced = explain(net, images, force=True, **options)
    honest, wrong = (m for m in forced.maps if m.input == 0)
    assert honest.delta is not None
    assert not honest.forced
    assert wrong.delta is None
    assert wrong.forced.startswith("part of the score goes past")
    assert wrong.verdict.startswith("Forced, and not to be believed")


def test_what_claims_a_sum_looks_at_a_cut_where_nobody_named_a_layer(
    net: Net, images: Tensor
) -> None:
    found = explain(net, images, methods=("layer_grad_cam", "layer_conductance"), n_steps=50)
    assert [m.layer for m in found.maps[:2]] == ["body", "act"]
    assert found.maps[1].relative_delta is not None
    assert not found.note


def test_without_a_map_the_last_cut_is_taken() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    x = torch.randn(2, 4).double()
    found = explain(net, x, methods=("layer_activation", "layer_grad_cam"))
    assert found.maps[0].layer == "1"
    torch.testing.assert_close(bars(found.maps[1]), net[:2](x)[1].detach())
    assert "Layer Grad-CAM is left out: no layer gives a map" in found.note


@pytest.mark.parametrize("columns", [3, 5])
@pytest.mark.parametrize("layer", ["norm", "mix", "patches"])
def test_a_map_goes_back_to_where_it_came_from(layer: str, columns: int) -> None:
    net = Tokens().double()
    x = torch.randn(2, 3, 8, 4 * columns).double()
    graph = trace_model(net, (x,))
    path = net.get_submodule(layer)
    seen: list[Tensor] = []
    path.register_forward_hook(lambda _m, _a, out: seen.append(out.detach()))
    net(x)
    look = Look(path=layer, shape=tuple(seen[0].shape), layout=layout_at(graph, layer))
    standing = look.standing(seen[0])
    assert standing.shape == (2, 6, 2, columns)
    torch.testing.assert_close(look.lying(standing, seen[0]), seen[0])
    back = look.lying(torch.zeros_like(standing), seen[0])
    assert int((back != seen[0]).sum()) == standing.numel()
