"""Attributions: equal to captum called by hand, complete, and harmless to the model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from captum.attr import (
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    LayerIntegratedGradients,
    Saliency,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from resnet_viz.analysis import annotate
from resnet_viz.core.attribution import Attribution, Attributions, Heatmap, Picture
from resnet_viz.core.errors import ModelError, NotApplicableError, UserError
from resnet_viz.core.schema import from_json
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.attributions.maps import COMPLETE, MOST_BARS, quantised
from resnet_viz.measuring.attributions.measure import METHODS, attribute_inputs
from resnet_viz.measuring.layers import find_map
from resnet_viz.tracing.tracer import trace_model

IG, SALIENCY, CAM = "integrated gradients", "saliency", "layer Grad-CAM"


def explain(
    model: nn.Module, *args: Any, kwargs: dict[str, Any] | None = None, **options: Any
) -> Attributions:
    graph = trace_model(model, args, kwargs)
    options = {"n_steps": 8, **options}
    return attribute_inputs(model, args, kwargs, graph=graph, structure=annotate(graph), **options)


def unquantised(heatmap: Heatmap) -> Tensor:
    values = torch.tensor(list(heatmap.data), dtype=torch.float64)
    values = heatmap.low + values / 255 * (heatmap.high - heatmap.low)
    return values.view(heatmap.height, heatmap.width)


def assert_shows(found: Attribution, expected: Tensor) -> None:
    """The map is the expected one, its ends exactly and the rest within half a step."""
    heatmap = found.heatmap
    assert heatmap is not None
    torch.testing.assert_close(
        torch.tensor([heatmap.low, heatmap.high], dtype=torch.float64),
        torch.stack([expected.min(), expected.max()]),
        rtol=1e-6,
        atol=1e-12,
    )
    step = (heatmap.high - heatmap.low) / 255
    assert (unquantised(heatmap) - expected).abs().max() <= 0.501 * step


def bars(found: Attribution) -> Tensor:
    return torch.tensor([bar.value for bar in found.bars], dtype=torch.float64)


class Net(nn.Module):
    """Residual, in-place from its very first op on, with batch norm and dropout."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.first = nn.ReLU(inplace=True)
        self.stem = nn.Conv2d(channels, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.body = nn.Conv2d(6, 6, 3, stride=1, padding=1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(self.stem(self.first(x))))
        z = self.body(y)
        z += y
        return self.head(self.drop(z.relu_().mean((2, 3))))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = Net().double()
    net.norm.running_mean.normal_()
    net.norm.running_var.uniform_(0.5, 2)
    return net


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 8, 10, generator=torch.Generator().manual_seed(1)).double() + 0.3


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18().double()


def test_equals_captum_on_a_resnet(resnet: nn.Module) -> None:
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    resnet.train()
    found = explain(resnet, x, target=7, n_steps=5)
    assert resnet.training
    resnet.eval()
    gradients = IntegratedGradients(resnet).attribute(x, target=7, n_steps=5)
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


def test_batching_changes_nothing(net: Net, images: Tensor) -> None:
    whole = explain(net, images, internal_batch_size=1000)[IG]
    for rows in (1, 3, 4):
        parts = explain(net, images, internal_batch_size=rows)[IG]
        for a, b in zip(whole, parts, strict=True):
            assert a.delta == pytest.approx(b.delta, rel=1e-6, abs=1e-12)
            assert a.heatmap is not None
            assert b.heatmap is not None
            assert a.heatmap.high == pytest.approx(b.heatmap.high, rel=1e-6)


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


# -- inputs of other kinds --------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=batch_first).double()

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        result: tuple[Tensor, tuple[Tensor, Tensor]] = self.lstm(x)
        return result


def test_an_lstm_gets_a_bar_per_step_wherever_its_batch_is() -> None:
    torch.manual_seed(0)
    first, second = Recurrent(True), Recurrent(False)
    second.load_state_dict(first.state_dict())
    x = torch.randn(2, 5, 4).double()
    rows = explain(first, x, target=3)
    columns = explain(second, x.transpose(0, 1).contiguous(), target=3)
    expected = IntegratedGradients(lambda t: first(t)[0].mean(1)).attribute(x, target=3, n_steps=8)
    for i in range(2):
        torch.testing.assert_close(
            bars(rows[IG][i]), expected[i].sum(1).detach(), rtol=1e-6, atol=1e-9
        )
        for method in (IG, SALIENCY):
            torch.testing.assert_close(bars(rows[method][i]), bars(columns[method][i]))
            assert rows[method][i].delta == pytest.approx(columns[method][i].delta)
    assert [b.label for b in rows[IG][0].bars] == [f"step {i}" for i in range(5)]
    assert rows[IG][0].target == "channel 3 of output 0, mean over all positions"
    assert "Layer Grad-CAM is left out: no image goes in" in rows.note


def test_a_batch_that_cannot_be_taken_apart_is_explained_as_one() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Linear(3, 2).double()

        def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
            out: Tensor = self.weight(adjacency @ x).sum(0)
            return out

    model, x, edges = Graph(), torch.randn(4, 3).double(), torch.rand(4, 4).double()
    found = explain(model, x, edges, target=1, methods=("integrated_gradients",), n_steps=20)
    assert {m.input for m in found.maps} == {0}
    assert len(found.maps) == 2
    assert all(m.relative_delta < 1e-2 for m in found.maps)
    total = sum(float(bars(m).sum()) for m in found.maps)
    start = model(torch.zeros_like(x), torch.zeros_like(edges))[1]
    assert total == pytest.approx(float((model(x, edges)[1] - start).detach()), rel=1e-2)


def test_a_one_dimensional_convolution_gets_a_bar_per_step() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2))
    found = explain(model, torch.randn(1, 2, 8), methods=("saliency",)).maps[0]
    assert [b.label for b in found.bars] == [f"step {i}" for i in range(8)]


def test_a_one_channel_image_gets_maps() -> None:
    torch.manual_seed(0)
    found = explain(Net(channels=1), torch.rand(1, 1, 8, 8))
    assert [m.method for m in found.maps] == [SALIENCY, IG, CAM]
    assert all(m.heatmap is not None and m.heatmap.width == 8 for m in found.maps)
    assert not found.note


def test_many_channels_are_no_picture() -> None:
    found = explain(Net(channels=9), torch.rand(1, 9, 8, 8), methods=("saliency",)).maps[0]
    assert found.heatmap is None
    assert [b.label for b in found.bars] == [f"channel {i}" for i in range(9)]


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())
        self.up = nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        small = self.up(self.down(x))
        return {
            "positions": torch.arange(3),
            "out": nn.functional.interpolate(small, size=x.shape[2:], mode="bilinear"),
            "aux": small,
        }


def test_a_segmenter_is_explained_for_its_most_frequent_class() -> None:
    torch.manual_seed(0)
    model = Segmenter().double()
    x = torch.randn(2, 3, 8, 8).double()
    found = explain(model, x)
    classes = [int(m.flatten().mode().values) for m in model(x)["out"].argmax(1)]
    for i, c in enumerate(classes):
        gradients = IntegratedGradients(lambda t: model(t)["out"].mean((2, 3))).attribute(
            x[i : i + 1], target=c, n_steps=8
        )
        assert found[IG][i].target == f"class {c} of output out, mean over all positions"
        assert_shows(found[IG][i], gradients[0].sum(0))
        assert found[CAM][i].layer == "down"


def test_torchvision_segmenter() -> None:
    model = torchvision.models.segmentation.fcn_resnet50(
        weights=None, weights_backbone=None, num_classes=4
    )
    found = explain(model, torch.rand(1, 3, 32, 32), methods=("saliency", "layer_grad_cam"))
    assert len(found.maps) == 2
    assert found[CAM][0].layer == "classifier.2"


@pytest.fixture
def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, num_labels=3,
    )  # fmt: skip
    model: nn.Module = BertForSequenceClassification(config).double()
    return model


def test_tokens_are_explained_at_their_embedding(bert: Any) -> None:
    ids = torch.tensor([[5, 9, 30, 2, 7], [1, 1, 3, 38, 39]])
    kinds = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 0, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    kwargs = {"token_type_ids": kinds, "attention_mask": mask, "input_ids": ids}
    found = explain(bert, kwargs=kwargs, target=1)
    bert.eval()
    layer = bert.bert.embeddings.word_embeddings
    expected = LayerIntegratedGradients(
        lambda i, k, m: bert(input_ids=i, token_type_ids=k, attention_mask=m).logits, layer
    ).attribute(ids, baselines=0, target=1, additional_forward_args=(kinds, mask), n_steps=8)
    for i in range(2):
        map_ = found[IG][i]
        torch.testing.assert_close(bars(map_), expected[i].sum(1).detach(), rtol=1e-5, atol=1e-9)
        assert map_.layer == "bert.embeddings.word_embeddings"
        assert map_.relative_delta < 1e-3
        assert "token 0 at every position" in map_.verdict
    assert found[IG][0].bars[2].label == "token 2 (id 30)"
    embedded = layer(ids).detach()
    handle = layer.register_forward_hook(lambda *_: embedded)
    embedded.requires_grad_()
    gradient = torch.autograd.grad(bert(**kwargs).logits[:, 1].sum(), embedded)[0]
    handle.remove()
    torch.testing.assert_close(bars(found[SALIENCY][1]), gradient[1].norm(dim=1))


def test_token_logits_are_explained_at_the_last_position() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=30, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model: Any = GPT2LMHeadModel(config)
    ids = torch.tensor([[3, 1, 29, 4]])
    model.eval()
    best = int(model(ids).logits[0, -1].argmax())
    found = explain(model, ids)
    assert found[IG][0].target.startswith(f"token {best}")
    assert found[IG][0].target.endswith("at the last position")
    assert len(found[IG][0].bars) == 4


def test_a_model_with_nothing_to_attribute_does_not_apply() -> None:
    class Counts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1, keepdim=True)

    with pytest.raises(NotApplicableError, match="no floating input and no token embedding"):
        explain(Counts(), torch.tensor([[1, 2], [3, 4]]))
    with pytest.raises(NotApplicableError, match="no image goes in"):
        explain(nn.Linear(2, 2), torch.rand(1, 2), methods=("layer_grad_cam",))


def test_two_inputs_are_told_apart_and_sum_together() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(3, 2).double(), nn.Linear(4, 2).double()

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            out: Tensor = self.left(left) + self.right(right)
            return out

    model, a, b = Two(), torch.randn(2, 3).double(), torch.randn(2, 4).double()
    found = explain(model, a, kwargs={"right": b}, target=0, methods=("integrated_gradients",))
    for i in range(2):
        left, right = (m for m in found.maps if m.input == i)
        torch.testing.assert_close(
            bars(left), (model.left.weight[0] * a[i]).detach(), rtol=1e-6, atol=1e-9
        )
        torch.testing.assert_close(
            bars(right), (model.right.weight[0] * b[i]).detach(), rtol=1e-6, atol=1e-9
        )
        assert left.verdict.startswith("For the input left.")
        assert right.bars[0].label == "right: feature 0"
        assert left.delta == right.delta == pytest.approx(0, abs=1e-6)


# -- the model and the input stay as they were ------------------------------------


def state_of(model: nn.Module) -> dict[str, Any]:
    return {
        "values": {k: v.clone() for k, v in model.state_dict(keep_vars=False).items()},
        "identities": [id(t) for t in (*model.parameters(), *model.buffers())],
        "needs": [t.requires_grad for t in (*model.parameters(), *model.buffers())],
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in model.modules()
        ],
        "random": torch.get_rng_state(),
    }


def assert_unchanged(model: nn.Module, before: dict[str, Any]) -> None:
    torch.testing.assert_close(state_of(model), before, rtol=0, atol=0)


def half_trained(model: Net) -> Net:
    model.train()
    model.norm.eval()
    model.stem.weight.requires_grad_(False)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    return model


def test_nothing_is_left_behind(net: Net, images: Tensor) -> None:
    half_trained(net)
    graph = trace_model(net, (images,))
    before, copy, version = state_of(net), images.clone(), images._version
    attribute_inputs(net, (images,), graph=graph, structure=annotate(graph), n_steps=4)
    assert_unchanged(net, before)
    assert torch.equal(images, copy)
    assert images._version == version
    assert not images.requires_grad


def test_nothing_is_left_behind_by_an_exception(net: Net, images: Tensor) -> None:
    class Fuse(nn.Module):
        """Passes values on and raises at the n-th call."""

        def __init__(self) -> None:
            super().__init__()
            self.left = 10**9

        def forward(self, x: Tensor) -> Tensor:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("the fuse blew")
            return x

    fuse = Fuse()
    net.drop = nn.Sequential(nn.Dropout(), fuse)
    half_trained(net)
    graph = trace_model(net, (images,))
    structure = annotate(graph)
    for calls in range(4):
        fuse.left = calls
        before = state_of(net)
        with pytest.raises(ModelError, match="the fuse blew") as caught:
            attribute_inputs(
                net, (images,), graph=graph, structure=structure, internal_batch_size=2
            )
        assert "\n" not in str(caught.value)
        assert_unchanged(net, before)
        assert fuse.left == calls
    fuse.left = 0
    with pytest.raises(ModelError, match=r"in drop\.1 "):
        attribute_inputs(net, (images,), graph=graph, structure=structure)


def test_tokens_leave_no_hook(bert: Any) -> None:
    ids = torch.tensor([[5, 9, 30]])
    graph = trace_model(bert, (ids,))
    before = state_of(bert)
    attribute_inputs(bert, (ids,), graph=graph, structure=annotate(graph), n_steps=2)
    assert_unchanged(bert, before)


def test_works_and_repeats_where_gradients_are_off(net: Net, images: Tensor) -> None:
    graph = trace_model(net, (images,))
    options: dict[str, Any] = {"graph": graph, "structure": annotate(graph), "n_steps": 4}
    with torch.inference_mode():
        first = attribute_inputs(net, (images.clone(),), **options)
    torch.manual_seed(99)
    with torch.no_grad():
        second = attribute_inputs(net, (images,), **options)
    assert first == second


def test_no_warning_reaches_the_user(net: Net, images: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(net, images, internal_batch_size=1)


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


# -- where Grad-CAM looks ---------------------------------------------------------


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


def test_a_vision_transformer_has_no_map() -> None:
    model = torchvision.models.VisionTransformer(
        image_size=16, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8
    )
    found = explain(model, torch.rand(1, 3, 16, 16))
    assert [m.method for m in found.maps] == [SALIENCY, IG]
    assert "Layer Grad-CAM is left out: from" in found.note
    assert "works on tokens" in found.note


def test_swin_is_looked_at_only_where_channels_come_first() -> None:
    model = torchvision.models.SwinTransformer(
        patch_size=[4, 4], embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=[2, 2]
    )
    choice = find_map(trace_model(model, (torch.zeros(1, 3, 32, 32),)))
    assert choice.modules == ("permute",)


def test_a_layer_of_ones_own(resnet: Any) -> None:
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    found = explain(resnet, x, target=0, layer="layer2.1", methods=("layer_grad_cam",)).maps[0]
    resnet.eval()
    cam = LayerGradCam(resnet, resnet.layer2[1]).attribute(x, target=0, relu_attributions=True)
    assert_shows(found, LayerAttribution.interpolate(cam, (32, 32), "bilinear").detach()[0, 0])
    assert found.layer == "layer2.1"
    assert "4×4 places" in found.verdict


# -- targets ----------------------------------------------------------------------


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


# -- bad input --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("salience",)}, "unknown attribution method 'salience'.*mean saliency"),
        ({"methods": ("lrp",)}, "known: saliency, integrated_gradients, layer_grad_cam"),
        ({"layer": "bady"}, "no module is called 'bady'.*mean body"),
        ({"layer": "head"}, "'head' gives 2×5, not a map"),
        ({"target": 5}, "target 5 is not there: the output has 5 classes, 0 to 4"),
        ({"target": -1}, "target -1 is not there"),
        ({"target": "cat"}, "target 'cat' is not known"),
        ({"target": 1.5}, "target 1.5 is no class number"),
        ({"target": ["a"]}, "is no class number"),
        ({"target": [1, 2, 3]}, "3 targets for 2 samples"),
        ({"baselines": torch.zeros(7)}, "baseline of shape 7 does not fit the input x"),
        ({"baselines": (0, 1)}, "2 baselines for 1 inputs"),
        ({"n_steps": 0}, "must be 1 or more"),
    ],
)
def test_a_mistake_ends_in_one_line(
    net: Net, images: Tensor, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        explain(net, images, **options)
    assert "\n" not in str(caught.value)


def test_a_module_that_runs_twice_is_no_layer(resnet: nn.Module) -> None:
    with pytest.raises(UserError, match=r"'layer1.0.relu' runs 2 times.*such as layer1.0"):
        explain(resnet.eval(), torch.zeros(1, 3, 32, 32).double(), layer="layer1.0.relu")


def test_values_that_are_not_finite_are_refused(net: Net, images: Tensor) -> None:
    net.head.bias.data[0] = float("nan")
    with pytest.raises(NotApplicableError, match="NaN or infinity"):
        explain(net, images)


def test_a_model_without_gradient_is_refused() -> None:
    class Cut(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.detach())

    with pytest.raises(NotApplicableError, match="anything differentiable") as caught:
        explain(Cut(3, 2), torch.rand(1, 3))
    assert "\n" not in str(caught.value)


def test_a_model_without_values_is_refused() -> None:
    with torch.device("meta"):
        model = nn.Linear(3, 2)
    with pytest.raises(UserError, match="meta"):
        explain(model, torch.rand(1, 3))


def test_other_arguments_than_the_traced_ones_are_refused(net: Net, images: Tensor) -> None:
    graph = trace_model(net, (images,))
    with pytest.raises(UserError, match="2 tensors go in, but the graph was traced with 1"):
        attribute_inputs(net, (images, images + 1), graph=graph, structure=annotate(graph))


# -- while it runs ----------------------------------------------------------------


@pytest.mark.parametrize("rows", [None, 1, 2, 5, 100])
def test_progress_counts_every_forward(net: Net, images: Tensor, rows: int | None) -> None:
    class Counter:
        total, done, finished = 0, 0, False

        def start(self, label: str, total: int | None = None) -> None:
            self.total = total or 0

        def advance(self, parts: int = 1) -> None:
            self.done += parts

        def finish(self) -> None:
            self.finished = True

    counter = Counter()
    explain(net, images, internal_batch_size=rows, n_steps=7, progress=counter)
    assert counter.done == counter.total > 3
    assert counter.finished


def test_fewer_rows_are_tried_where_memory_runs_out(net: Net, images: Tensor) -> None:
    whole = explain(net, images, methods=("integrated_gradients",))
    graph = trace_model(net, (images,))
    sizes: list[int] = []

    def refuse(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        sizes.append(len(args[0]))
        if len(args[0]) > 4:
            raise torch.OutOfMemoryError("too much")

    handle = net.stem.register_forward_pre_hook(refuse)
    parts = attribute_inputs(
        net, (images,), graph=graph, structure=annotate(graph), n_steps=8,
        internal_batch_size=16, methods=("integrated_gradients",),
    )  # fmt: skip
    handle.remove()
    assert sizes[1:4] == [16, 8, 4]
    for a, b in zip(whole.maps, parts.maps, strict=True):
        assert a.delta == pytest.approx(b.delta, rel=1e-6, abs=1e-12)


# -- doors ------------------------------------------------------------------------


def test_a_new_method_is_one_row(net: Net, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    from captum.attr import InputXGradient

    from resnet_viz.measuring.attributions.methods import Method

    def always(_graph: Any, _structure: Structure) -> str:
        return ""

    row = Method(
        name="input_x_gradient", title="input × gradient", captum="InputXGradient",
        source="Shrikumar et al. 2016", says="Says something.", signed=True, valid_when=always,
    )  # fmt: skip
    monkeypatch.setitem(METHODS, row.name, row)
    found = explain(net, images, target=1, methods=("input_x_gradient",))
    net.eval()
    expected = InputXGradient(lambda t: net(t.clone())).attribute(
        images.clone().requires_grad_(), target=1
    )
    assert_shows(found["input × gradient"][0], expected[0].sum(0).detach())


@pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
def test_every_row_runs_and_says_what_it_means(row: Any) -> None:
    torch.manual_seed(0)
    found = explain(Net(), torch.rand(1, 3, 8, 8), methods=(row.name,))
    assert [m.method for m in found.maps] == [row.title]
    assert found.maps[0].verdict
    assert found.maps[0].signed == row.signed
    assert (found.maps[0].delta is not None) == row.complete


@pytest.mark.gpu
def test_an_accelerator_gives_the_same_and_the_model_stays_where_it_is(net: Net) -> None:
    device = torch.accelerator.current_accelerator()
    model = Recurrent(True).float()
    x = torch.randn(2, 5, 4)
    here, there = (explain(model, x, device=d) for d in (torch.device("cpu"), device))
    assert next(model.parameters()).device.type == "cpu"
    assert there.device.startswith(str(device.type))
    for a, b in zip(here.maps, there.maps, strict=True):
        torch.testing.assert_close(bars(a), bars(b), rtol=1e-3, atol=1e-5)
    images = torch.rand(2, 3, 16, 16)
    here, there = (explain(net.float(), images, device=d) for d in (torch.device("cpu"), device))
    for a, b in zip(here.maps, there.maps, strict=True):
        assert a.heatmap is not None
        assert b.heatmap is not None
        assert a.heatmap.high == pytest.approx(b.heatmap.high, rel=1e-2, abs=1e-6)
