"""Targets: each way of asking gives the number it names, and the gradient of that number."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from resnet_viz.analysis import annotate
from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.errors import NotApplicableError, UserError
from resnet_viz.core.target import MaskTarget
from resnet_viz.measuring.attributions.question import asking
from resnet_viz.measuring.attributions.targets import Score, choose_scores, packed
from resnet_viz.measuring.layers import main_output
from resnet_viz.tracing.tracer import trace_model
from tests.measuring.attributions.explaining import explain

NAMES = ("tabby", "tiger cat", "Cat", "crane bird", "crane", "crane")


def scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def only(output: Tensor, wish: Any, **options: Any) -> Score:
    (score,) = choose_scores(output, wish, **options)
    return score


# -- classes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "columns"),
    [
        (2, [2, 2, 2]),
        ("2", [2, 2, 2]),
        ("tabby", [0, 0, 0]),
        ("TABBY", [0, 0, 0]),
        ("Cat", [2, 2, 2]),
        ("cat", [2, 2, 2]),
        ("tig", [1, 1, 1]),
        ("bird", [3, 3, 3]),
        ("0,1,2", [0, 1, 2]),
        ("tabby, cat, 5", [0, 2, 5]),
        ([0, "cat", 5], [0, 2, 5]),
        (torch.tensor([3, 4, 5]), [3, 4, 5]),
    ],
)
def test_a_class_by_index_or_name(wish: Any, columns: list[int]) -> None:
    output = scores(3, 6)
    score = only(output, wish, labels=NAMES)
    torch.testing.assert_close(score(output), output[torch.arange(3), columns])
    assert score.words == tuple(f"class {c} ({NAMES[c]})" for c in columns)
    expected = output.softmax(1)[torch.arange(3), columns]
    probabilities = score.probabilities(output)
    assert probabilities is not None
    torch.testing.assert_close(probabilities, expected)


def test_rows_come_in_turn() -> None:
    output = scores(3, 6)
    score = only(output, (5, 0, 1))
    more = scores(12, 6, seed=1)
    torch.testing.assert_close(score(more), more[torch.arange(12), [5, 0, 1] * 4])


def test_the_strongest_few_are_one_score_each() -> None:
    output = scores(3, 6)
    found = choose_scores(output, "top3", labels=NAMES)
    values, columns = output.topk(3)
    assert len(found) == 3
    for k, score in enumerate(found):
        torch.testing.assert_close(score(output), values[:, k])
        assert score.words[1] == f"class {columns[1, k]} ({NAMES[int(columns[1, k])]})"
    torch.testing.assert_close(only(output, None)(output), values[:, 0])
    torch.testing.assert_close(only(output, "argmax")(output), values[:, 0])


def test_probabilities_are_taken_as_they_are() -> None:
    output = scores(3, 6).softmax(1)
    found = only(output, 1).probabilities(output)
    assert found is not None
    torch.testing.assert_close(found, output[:, 1])
    assert only(output, "sum").probabilities(output) is None
    assert only(output[:, :1], None).probabilities(output[:, :1]) is None


def test_names_of_other_classes_are_not_used() -> None:
    assert only(scores(1, 4), 1, labels=NAMES).words == ("class 1",)
    with pytest.raises(UserError, match="no names of this model's classes are known"):
        choose_scores(scores(1, 4), "tabby", labels=NAMES)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("crane", r"may be 2 classes: crane \(4\), crane \(5\); give a number"),
        ("ca", r"may be 2 classes: tiger cat \(1\), Cat \(2\)"),
        ("tabbi", "no class is called 'tabbi'; did you mean tabby"),
        ("6", "target 6 is not there: the output has 6 classes, 0 to 5"),
        ("top7", "top1 to top6"),
        ("top0", "top1 to top6"),
        ([True, 1, 1], "is no class number"),
        ([1, 2], "2 targets for 3 samples"),
        ("1,2", "2 targets for 3 samples"),
        ("box:0", "needs a detector"),
        ("token:1", "needs an output of samples × positions × tokens; this one is 3×6"),
        (MaskTarget(mask=[[1]]), "needs a map per class"),
    ],
)
def test_a_wish_that_does_not_fit(wish: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        choose_scores(scores(3, 6), wish, labels=NAMES)
    assert "\n" not in str(caught.value)


# -- maps and tokens ------------------------------------------------------------------


def test_of_maps_the_class_that_wins_most_places() -> None:
    output = scores(2, 4, 5, 6)
    winners = output.argmax(1).flatten(1)
    for i, score in enumerate(choose_scores(output, "top4")):
        counts = [torch.bincount(w, minlength=4) for w in winners]
        for n in range(2):
            column = int(score.columns[n])
            assert int(counts[n][column]) == sorted(counts[n].tolist(), reverse=True)[i]
            assert float(score(output)[n]) == pytest.approx(float(output[n, column].mean()))


def test_a_mask_averages_its_places() -> None:
    output = scores(2, 4, 6, 8)
    mask = torch.zeros(12, 16)
    mask[2:6, 4:12] = 255  # twice as fine as the output
    small = output[:, :, 1:3, 2:6]
    score = only(output, MaskTarget(mask=mask.numpy(), label="cat", name="mask m.png"),
                 labels=("a", "b", "cat", "d"))  # fmt: skip
    torch.testing.assert_close(score(output), small[:, 2].mean((1, 2)))
    assert score.words[0] == "class 2 (cat), mean over mask m.png"
    winner = only(output, MaskTarget(mask=mask))
    for n in range(2):
        counts = torch.bincount(small[n].argmax(0).flatten(), minlength=4)
        assert counts[winner.columns[n]] == counts.max()
    more = scores(6, 4, 6, 8, seed=2)
    torch.testing.assert_close(score(more), more[:, 2, 1:3, 2:6].mean((1, 2)))


def test_one_mask_per_sample() -> None:
    output = scores(2, 3, 4, 4)
    masks = torch.zeros(2, 4, 4)
    masks[0, 0], masks[1, :, 3] = 1, 1
    found = only(output, MaskTarget(mask=masks, label=1))(output)
    torch.testing.assert_close(
        found, torch.stack([output[0, 1, 0].mean(), output[1, 1, :, 3].mean()])
    )
    for wrong, message in (
        (torch.zeros(4, 4), "marks no place"),
        (torch.ones(3, 4, 4), "for each of the 2 samples"),
        ("text", "is no array of numbers"),
    ):
        with pytest.raises(UserError, match=message):
            choose_scores(output, MaskTarget(mask=wrong))


def test_a_token_at_a_position() -> None:
    output = scores(2, 5, 9)
    best = only(output, "token:2", name="logits")
    torch.testing.assert_close(best(output), output[:, 2].max(1).values)
    one = only(output, "7@token:-1", name="logits")
    torch.testing.assert_close(one(output), output[:, 4, 7])
    assert one.words == ("token 7 at position 4",) * 2
    found = one.probabilities(output)
    assert found is not None
    torch.testing.assert_close(found, output[:, 4].softmax(1)[:, 7])
    last = only(output, None, name="logits")
    torch.testing.assert_close(last(output), output[:, -1].max(1).values)
    with pytest.raises(UserError, match="positions 0 to 4"):
        choose_scores(output, "token:5")


# -- boxes ----------------------------------------------------------------------------


def detections(*rows: list[float]) -> dict[str, Tensor]:
    table = torch.tensor(rows, dtype=torch.float64).view(-1, 6)
    return {"boxes": table[:, :4], "labels": table[:, 4].long(), "scores": table[:, 5]}


def test_a_detection_is_followed_by_place_and_class() -> None:
    first = detections([0, 0, 10, 10, 1, 0.9], [20, 20, 30, 30, 2, 0.6])
    output = packed([first, detections([5, 5, 9, 9, 2, 0.8])])
    assert output is not None
    assert output.shape == (2, 2, 6)
    score = only(output, None, name="detections", labels=("bg", "cat", "dog"))
    assert score.words == (
        "box 0 (class 1 (cat) at 0, 0, 10, 10)",
        "box 0 (class 2 (dog) at 5, 5, 9, 9)",
    )
    torch.testing.assert_close(score(output), torch.tensor([0.9, 0.8], dtype=torch.float64))
    # Changed inputs: another order, a box that moved a little, one of another class, none.
    moved = detections([20, 20, 30, 30, 2, 0.7], [1, 0, 11, 10, 1, 0.5])
    lost = detections([0, 0, 10, 10, 2, 0.9])
    other = packed([moved, detections([5, 5, 9, 9, 2, 0.3]), lost, detections()])
    assert other is not None
    torch.testing.assert_close(
        score(other), torch.tensor([0.5, 0.3, 0.0, 0.0], dtype=torch.float64)
    )


def test_boxes_that_are_not_there() -> None:
    output = packed([detections([0, 0, 9, 9, 1, 0.9])])
    assert output is not None
    with pytest.raises(UserError, match="box:1 is not there: sample 0 has 1 detection, 0 to 0"):
        choose_scores(output, "box:1", name="detections")
    with pytest.raises(UserError, match="does not fit a detector: give box:0"):
        choose_scores(output, 3, name="detections")
    with pytest.raises(UserError, match="in place of a list"):
        choose_scores(output[None], None, name="detections")
    empty = packed([detections()])
    assert empty is not None
    with pytest.raises(NotApplicableError, match="detects nothing in sample 0"):
        choose_scores(empty, None, name="detections")
    assert packed({"out": output}) is None
    assert packed([output]) is None


def test_a_detector_of_torchvision() -> None:
    torch.manual_seed(0)
    model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3, score_thresh=0.0, detections_per_img=4
    ).eval()
    x = torch.rand(2, 3, 64, 64)
    graph = trace_model(model, (x,))
    options = AttributionOptions(target="top2", trust="off")
    with asking(model, (x,), graph=graph, structure=annotate(graph), options=options) as questions:
        assert [q.rank for q in questions] == [0, 1]
        with torch.no_grad():
            found = model(x)
        for k, question in enumerate(questions):
            expected = torch.stack([one["scores"].sort(descending=True)[0][k] for one in found])
            torch.testing.assert_close(question.value, expected)
            leaf = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(question.forward(leaf)[0], leaf)
            assert gradient[0].abs().max() > 0
            assert gradient[1].abs().max() == 0


# -- functions ------------------------------------------------------------------------


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> dict[str, Any]:
        out = self.head(x)
        return {"out": out, "deep": {"twice": [out * 2]}}


def test_a_function_of_whatever_forward_returns() -> None:
    torch.manual_seed(0)
    model, x = Several().double(), scores(2, 6)

    def margin(result: dict[str, Any]) -> Any:
        return result["out"][:, 1] - result["deep"]["twice"][0][:, 3]

    found = explain(model, x, target=margin, methods=("integrated_gradients",)).maps
    weight = model.head.weight.detach()
    for i, one in enumerate(found):
        values = torch.tensor([bar.value for bar in one.bars], dtype=torch.float64)
        torch.testing.assert_close(values, (weight[1] - 2 * weight[3]) * x[i])
        assert one.target == "margin of the outputs"
        assert one.score == pytest.approx(float(margin(model(x))[i].detach()))
        assert one.probability is None


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda result: result["out"], "gave 2×4: it must give one floating number per sample"),
        (lambda result: 3, "gave int"),
        (lambda result: result["nothing"], "raised KeyError: 'nothing'"),
    ],
)
def test_a_function_that_gives_no_number_per_sample(function: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        explain(Several().double(), scores(2, 6), target=function, methods=("saliency",))


# -- which output ---------------------------------------------------------------------


class Returns(nn.Module):
    """Gives a tree of tensors of its own making."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 3)
        self.make = make

    def forward(self, x: Tensor) -> Any:
        hidden = self.a(x)
        return self.make(hidden, self.b(hidden.relu()))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda h, y: (h, y), "1"),
        (lambda h, y: (y, h), "0"),
        (lambda h, y: {"features": h, "logits": y}, "logits"),
        (lambda h, y: {"loss": y.sum(), "scores": y[:, None].expand(-1, 5, -1)}, "scores"),
        (lambda h, y: (y[:, None], {"keys": h[:, None, None], "values": h}), "0"),
        (lambda h, y: [[h, h], y], "1"),
        (lambda h, y: (y.argmax(1), y), "1"),
        (lambda h, y: y.sum(), ""),
    ],
)
def test_the_output_that_is_explained(make: Any, name: str) -> None:
    output = main_output(trace_model(Returns(make), (torch.rand(2, 6),)))
    assert output is not None
    assert output.name == name


def test_no_cache_is_taken_for_a_map() -> None:
    from transformers import T5Config, T5Model

    config = T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    ids = torch.arange(4)[None]
    graph = trace_model(T5Model(config).eval(), (), {"input_ids": ids, "decoder_input_ids": ids})
    output = main_output(graph)
    assert output is not None
    assert output.name == "last_hidden_state"
    assert any("past_key_values" in o.name for o in graph.outputs)
