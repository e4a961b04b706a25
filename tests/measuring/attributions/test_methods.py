"""Every method equals captum called by hand on the same model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from captum.attr import (
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    LayerGradientXActivation,
    Saliency,
)
from torch import Tensor, nn
from torch.nn import functional

from resnet_viz.analysis import annotate
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.attributions.measure import METHODS
from resnet_viz.measuring.attributions.methods import Method
from resnet_viz.measuring.attributions.validity import refusal
from resnet_viz.tracing.tracer import trace_model
from tests.measuring.attributions.explaining import (
    CAM,
    IG,
    SALIENCY,
    Net,
    assert_shows,
    bars,
    explain,
)


def test_equals_captum_on_a_resnet(resnet: nn.Module) -> None:
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    resnet.train()
    found = explain(resnet, x, target=7, n_steps=3)
    assert resnet.training
    resnet.eval()
    gradients = IntegratedGradients(resnet).attribute(x, target=7, n_steps=3)
    saliency = Saliency(resnet).attribute(x.clone().requires_grad_(), target=7).detach()
    cam = LayerGradCam(resnet, resnet.layer4).attribute(x, target=7, relu_attributions=True)
    cam = LayerAttribution.interpolate(cam, (64, 64), "bilinear").detach()
    for i in range(2):
        assert_shows(found[IG][i], gradients[i].sum(0))
        assert_shows(found[SALIENCY][i], saliency[i].amax(0))
        assert_shows(found[CAM][i], cam[i, 0])
        assert {m.target for m in found.maps} == {"class 7"}
    assert [m.layer for m in found[CAM]] == ["layer4", "layer4"]
    assert [m.input for m in found.maps] == [0, 0, 0, 1, 1, 1]


def test_each_sample_is_explained_for_its_own_strongest_class(net: Net, images: Tensor) -> None:
    x = torch.cat([images, images * 3, -images])
    net.eval()
    strongest = net(x.clone()).argmax(1)
    found = explain(net, x, methods=("integrated_gradients",))
    assert [m.target for m in found.maps] == [f"class {c}" for c in strongest.tolist()]
    expected = IntegratedGradients(lambda t: net(t.clone())).attribute(
        x, target=strongest, n_steps=8
    )
    for i, m in enumerate(found.maps):
        assert_shows(m, expected[i].sum(0))


@pytest.mark.parametrize(
    ("target", "words", "score"),
    [
        ("sum", "sum of the outputs", lambda out: out.sum(1)),
        ("mean", "mean of the outputs", lambda out: out.mean(1)),
        ("argmax", None, lambda out: out.max(1).values),
        (2, "class 2", lambda out: out[:, 2]),
        ((0, 3), None, lambda out: out[torch.arange(len(out)), torch.tensor([0, 3])]),
    ],
)
def test_targets(target: Any, words: str | None, score: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model = nn.Linear(6, 4).double()
    x = torch.randn(2, 6).double()
    found = explain(model, x, target=target, methods=("saliency",))
    leaf = x.clone().requires_grad_()
    gradient = torch.autograd.grad(score(model(leaf)).sum(), leaf)[0].abs()
    for i in range(2):
        torch.testing.assert_close(bars(found.maps[i]), gradient[i])
        assert words is None or found.maps[i].target == words


def test_a_new_method_is_one_row(net: Net, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def always(_graph: Any, _structure: Structure) -> str:
        return ""

    row = Method(
        name="layer_gradient_x_activation", title="gradient × activation",
        captum="LayerGradientXActivation", source="captum", says="Says something.",
        signed=True, needs_layer=True, at_layer=True, valid_when=always,
    )  # fmt: skip
    monkeypatch.setitem(METHODS, row.name, row)
    found = explain(net, images, target=1, layer="norm", methods=(row.name,))
    net.eval()
    expected = LayerGradientXActivation(lambda t: net(t.clone()), net.norm).attribute(
        images.clone(), target=1
    )
    torch.testing.assert_close(torch.from_numpy(found.arrays(row.name)["norm"]), expected.detach())
    assert_shows(found[row.title][0], expected[0].sum(0).detach())


# -- every row, against captum on a twin that was built by hand ---------------------


class Tangled(nn.Module):
    """Residual: a ReLU in place that runs twice, and functions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.act = nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.pool, self.head = nn.AvgPool2d(2), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(self.stem(x)))
        z = self.body(y)
        z += y
        z = functional.avg_pool2d(self.act(z), 2)
        return self.head(functional.relu(z.mean((2, 3)) - 0.2))


class Untangled(Tangled):
    """The same function, as captum's hooks want it: a module of its own for every call."""

    def __init__(self, like: Tangled) -> None:
        super().__init__()
        self.load_state_dict(like.state_dict())
        self.a, self.b, self.c = (nn.ReLU() for _ in range(3))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(self.norm(self.stem(x)))
        z = self.b(self.body(y) + y)
        return self.head(self.c(self.pool(z).mean((2, 3)) - 0.2))


class Chain(nn.Module):
    """Without skips: two ReLUs by one module."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)
        self.act, self.pool, self.head = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.second(self.act(self.norm(x))))
        return self.head(self.pool(y).flatten(1))


class Unchained(Chain):
    """The same function, one module per call."""

    def __init__(self, like: Chain) -> None:
        super().__init__()
        self.load_state_dict(like.state_dict())
        self.other = nn.ReLU()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        y = self.other(self.second(self.act(self.norm(x))))
        return self.head(self.pool(y).flatten(1))


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
DRAWN = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
CELLS = torch.arange(16).view(1, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
ASKED: dict[str, Any] = {
    "target": (1, 3),
    "n_steps": 7,
    "n_samples": 6,
    "sliding_window_shapes": (3, 2),
    "strides": 2,
    "feature_mask": CELLS,
    "layer": "norm",
}


def told(captum_class: str, x: Tensor, drawn: Tensor) -> dict[str, Any]:
    """What captum is told by hand; another row of a class that is not here is told nothing."""
    one = drawn.mean(0, keepdim=True).expand_as(x)
    path = {"baselines": one, "n_steps": 7}
    return {
        "NoiseTunnel": {"nt_samples": 6, "stdevs": 0.15 * float(x.max() - x.min())},
        "IntegratedGradients": path,
        "LayerConductance": path,
        "LayerIntegratedGradients": path,
        "InternalInfluence": path,
        "GradientShap": {"baselines": drawn, "n_samples": 6},
        "DeepLift": {"baselines": one},
        "DeepLiftShap": {"baselines": drawn},
        "LayerGradCam": {"relu_attributions": True},
        "Occlusion": {"sliding_window_shapes": (3, 3, 2), "strides": (3, 2, 2), "baselines": one},
        "FeatureAblation": {"feature_mask": CELLS, "baselines": one},
    }.get(captum_class, {})


def by_hand(row: Method, model: nn.Module, x: Tensor, drawn: Tensor) -> Tensor:
    given = (model, model.get_submodule("norm")) if row.needs_layer else (model,)
    explainer = getattr(captum.attr, row.captum)(*given)
    if row.through:
        explainer = getattr(captum.attr, row.through)(explainer)
    target = {} if row.captum == "LayerActivation" else {"target": torch.tensor(ASKED["target"])}
    np.random.seed(0)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = explainer.attribute(
            x.clone().requires_grad_(not row.at_layer),
            **target,
            **told(row.through or row.captum, x, drawn),
        )
    result: Tensor = values.detach()
    return result


@pytest.mark.parametrize(("dtype", "off"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
@pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
def test_every_row_equals_captum_by_hand(row: Method, dtype: torch.dtype, off: float) -> None:
    torch.manual_seed(2)
    tangled, chain = Tangled(), Chain()
    tangled.norm.running_mean.normal_()  # type: ignore[union-attr]
    graph = trace_model(tangled.eval(), (X.float(),))
    refused = refusal(row, graph, annotate(graph), "norm" if row.needs_layer else "")
    model = (chain if refused else tangled).to(dtype)
    twin = (Unchained(chain) if refused else Untangled(tangled)).to(dtype)
    x, drawn = X.to(dtype), DRAWN.to(dtype)
    torch.testing.assert_close(twin(x), model.eval()(x.clone()), rtol=0, atol=0)
    found = explain(model, x, methods=(row.name,), baselines=drawn, **ASKED)
    assert not found[row.name][0].forced
    (values,) = found.arrays(row.name).values()
    expected = by_hand(row, twin, x, drawn)
    largest = float(expected.abs().max())
    assert largest > 0
    assert values.shape == tuple(expected.shape)
    assert float((torch.from_numpy(values) - expected).abs().max()) <= off * largest


@pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
def test_every_row_says_what_it_means(row: Method) -> None:
    torch.manual_seed(0)
    found = explain(Chain(), X.float()[:1], methods=(row.name,), layer="second")
    assert [m.method for m in found.maps] == [row.title]
    (map_,) = found.maps
    assert map_.verdict
    assert map_.heatmap is not None
    assert map_.signed == row.signed
    assert map_.signed or map_.heatmap.low >= 0
    assert (map_.delta is not None) == bool(row.complete)
    assert map_.layer == ("second" if row.needs_layer else "")
    assert map_.source == ("" if row.at_layer else "x")
    assert map_.probability is not None
    assert 0 < map_.probability < 1
    assert row.source
    assert row.valid_on
