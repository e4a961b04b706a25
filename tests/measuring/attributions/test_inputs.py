"""Inputs of every kind: images, features, steps, tokens, graphs, several at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from captum.attr import IntegratedGradients, LayerIntegratedGradients
from torch import Tensor, nn

from resnet_viz.core.errors import NotApplicableError
from resnet_viz.measuring.attributions.measure import METHODS
from resnet_viz.measuring.attributions.methods import Method
from tests.measuring.attributions.explaining import (
    CAM,
    IG,
    SALIENCY,
    Net,
    Recurrent,
    assert_shows,
    bars,
    explain,
)


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
    assert "Layer Grad-CAM is left out: no layer gives a map" in rows.note


def test_an_image_beside_a_table_has_no_guided_grad_cam_of_the_table() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.flat = nn.Conv2d(3, 4, 3), nn.Linear(5, 4)

        def forward(self, image: Tensor, table: Tensor) -> Tensor:
            return self.conv(image).relu().mean((2, 3)) + self.flat(table).relu()

    methods = ("guided_backprop", "guided_grad_cam")
    found = explain(
        Two(), torch.randn(2, 3, 6, 6), torch.randn(2, 5), methods=methods, trust="quick"
    )
    assert {(m.name, m.source) for m in found.maps} == {
        ("guided_backprop", "image"),
        ("guided_backprop", "table"),
    }
    assert "Guided Grad-CAM is left out: no map of 'conv' can be laid over table" in found.note


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_methods_that_draw_run_in_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(6, 4), torch.randn(2, 6)
    weight = model.weight.detach().clone()
    found = explain(model.to(dtype), x.to(dtype), target=1, methods=("smoothgrad",), n_samples=2)
    values = torch.from_numpy(found.arrays("smoothgrad")["input"])
    torch.testing.assert_close(values, weight[[1, 1]].to(dtype).float().abs())


def test_a_score_that_is_no_function_of_its_sample_is_said_to_be_none() -> None:
    class Noisy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(nn.functional.dropout(x, 0.5, training=self.bias is not None))

    x = torch.randn(3, 6)
    meeting = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False))
    for model, said in (
        (Noisy(6, 4), "draws at random in eval mode"),
        (Noisy(6, 4, bias=False), ""),
        (meeting, "without running statistics"),
    ):
        note = explain(model, x, methods=("saliency",)).note
        assert said in note if said else not note


def test_images_compared_with_each_other_are_explained_as_one() -> None:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x).mean((2, 3))
            return y @ y.T

    model, x = Pairs().double(), torch.randn(2, 3, 6, 6).double()
    methods = ("integrated_gradients", "layer_activation")
    found = explain(model, x, target="sum", methods=methods, relevance=True, n_steps=20)
    (one,) = found.maps
    assert one.relative_delta == pytest.approx(0, abs=1e-6)
    assert one.score == pytest.approx(float(model(x).sum().detach()))
    assert "Layer activation is left out: samples are not in front" in found.note


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
    assert [m.method for m in found.maps] == [IG, SALIENCY, CAM]
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
    with pytest.raises(NotApplicableError, match="no layer gives a map"):
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


AT_INPUT = [m for m in METHODS.values() if not m.needs_layer]


@pytest.mark.parametrize("row", AT_INPUT, ids=lambda row: row.name)
def test_every_method_finds_the_samples_wherever_they_are(row: Method) -> None:
    torch.manual_seed(0)

    class Steps(nn.Module):
        """Each sample for itself, along axis 0 or 1."""

        def __init__(self, samples: int) -> None:
            super().__init__()
            self.samples = samples
            self.first, self.act, self.head = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            steps = self.act(self.first(x))
            out: Tensor = self.head(self.act(steps.sum(1 - self.samples) - 1))
            return out

    rows, columns = Steps(0).double(), Steps(1).double()
    columns.load_state_dict(rows.state_dict())
    x = torch.randn(2, 5, 4).double()
    options: dict[str, Any] = {"methods": (row.name,), "target": (0, 2), "force": True}
    if row.in_pairs:
        with pytest.raises(NotApplicableError, match="samples are not in front"):
            explain(columns, x.transpose(0, 1).contiguous(), **options)
        return
    (a,) = explain(rows, x, **options).arrays(row.name).values()
    (b,) = explain(columns, x.transpose(0, 1).contiguous(), **options).arrays(row.name).values()
    assert a.shape == (2, 5, 4)
    assert np.abs(a).max() > 0
    np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("row", AT_INPUT, ids=lambda row: row.name)
def test_an_answer_does_not_depend_on_the_neighbours(row: Method) -> None:
    """Though captum repeats masks in turn for some methods and sample by sample for others."""
    torch.manual_seed(0)

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mix, self.act = nn.Embedding(9, 4), nn.Linear(4, 4), nn.ReLU()
            self.head = nn.Linear(4, 3)

        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
            kept = self.act(self.mix(self.embed(ids))) * mask[:, :, None]
            out: Tensor = self.head(kept.sum(1) / mask.sum(1, keepdim=True))
            return out

    net = Masked().double()
    ids = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8], [2, 4, 6, 8]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0]])
    options: dict[str, Any] = {"methods": (row.name,), "force": True, "baselines": 0}
    if row.draws:
        # Of a linear model every draw says the same.
        net.act = nn.Identity()
    (all_,) = explain(net, ids, mask, target=(0, 1, 2), **options).arrays(row.name).values()
    for i in range(3):
        one = slice(i, i + 1)
        found = explain(net, ids[one], mask[one], target=i, **options)
        (alone,) = found.arrays(row.name).values()
        np.testing.assert_allclose(all_[one], alone, rtol=1e-6, atol=1e-9)
        assert np.abs(alone).max() > 0
