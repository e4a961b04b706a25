"""Deletion and insertion: by hand on linear models, and a right map beats a wrong one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from resnet_viz.core.trust import Curve
from resnet_viz.measuring.attributions.question import Question
from resnet_viz.measuring.attributions.trust.curves import curves, lay_ground
from resnet_viz.measuring.attributions.trust.places import Places
from tests.measuring.attributions.claims import Weighted, asked, images, small


def both(question: Question, strengths: Tensor) -> list[tuple[Curve, Curve]]:
    places = Places(question)
    ground = lay_ground(question, places)
    assert ground is not None
    found = []
    for deletion, insertion in curves(question, ground, strengths):
        assert deletion is not None
        assert insertion is not None
        found.append((deletion, insertion))
    return found


def test_a_linear_model_by_hand() -> None:
    weight = torch.tensor([4.0, 1.0, -2.0, 3.0, 0.0, 2.0, 1.0, 1.0]).double()
    x = torch.ones(1, 8).double()
    with asked(Weighted(weight), x) as question:
        ((deletion, insertion),) = both(question, weight[None])
    counts = [0, 1, 2, 4, 6, 7, 8]
    order = [4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 0.0, -2.0]
    inserted = [sum(order[:n]) / 10 for n in counts]
    assert deletion.unit == insertion.unit == "share"
    assert deletion.fractions == insertion.fractions == tuple(n / 8 for n in counts)
    assert insertion.scores == pytest.approx(inserted)
    assert deletion.scores == pytest.approx([1 - s for s in inserted])
    areas = [
        (b - a) / 8 * (s + t) / 2
        for a, b, s, t in zip(counts, counts[1:], inserted, inserted[1:], strict=False)
    ]
    assert insertion.auc == pytest.approx(sum(areas))
    assert deletion.auc == pytest.approx(1 - sum(areas))


def test_the_baseline_is_what_a_deleted_place_holds() -> None:
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
    x = torch.full((1, 4), 3.0).double()
    with asked(Weighted(weight), x, baselines=1.0) as question:
        ((deletion, _),) = both(question, weight[None])
    # Each place adds 2·w over the baseline: 20 in all, 8 of them by the strongest.
    assert deletion.scores[1] == pytest.approx(1 - 8 / 20)


class TwoClasses(nn.Module):
    """The share of one class by logistic regression on the sum of a square."""

    def __init__(self, where: Tensor) -> None:
        super().__init__()
        self.where = nn.Parameter(where)

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.where).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.fixture
def planted() -> tuple[nn.Module, Tensor, Tensor]:
    where = torch.zeros(1, 12, 12)
    where[:, 3:7, 4:8] = 0.3
    x = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0)) + 1
    return TwoClasses(where), x, where.flatten().double().expand(2, -1)


def test_a_right_map_beats_a_random_one_and_a_wrong_one(
    planted: tuple[nn.Module, Tensor, Tensor],
) -> None:
    model, x, right = planted
    noise = torch.rand(2, 144, generator=torch.Generator().manual_seed(5)).double()
    with asked(model, x, target=1) as question:
        good, random, wrong = (both(question, m) for m in (right, noise, -right))
    for i in range(2):
        deleted = [m[i][0].auc for m in (good, random, wrong)]
        inserted = [m[i][1].auc for m in (good, random, wrong)]
        assert deleted == sorted(deleted)
        assert inserted == sorted(inserted, reverse=True)
        assert good[i][0].auc < good[i][0].random_auc < wrong[i][0].auc
        assert good[i][1].auc > good[i][1].random_auc > wrong[i][1].auc


def test_scores_of_classes_are_probabilities(planted: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, x, right = planted
    with asked(model, x, target=1) as question:
        found = both(question, right)
    with torch.no_grad():
        expected = model(x.clone()).double().softmax(1)[:, 1]
    for i, (deletion, insertion) in enumerate(found):
        assert deletion.unit == insertion.unit == "probability"
        assert deletion.scores[0] == insertion.scores[-1] == pytest.approx(float(expected[i]))
        assert deletion.scores[-1] == insertion.scores[0] == pytest.approx(0.5)


def test_a_model_that_gives_probabilities_is_not_squashed_again(
    planted: tuple[nn.Module, Tensor, Tensor],
) -> None:
    model, x, right = planted
    with asked(nn.Sequential(model, nn.Softmax(1)), x, target=1) as question:
        found = both(question, right)
    with asked(model, x, target=1) as question:
        assert [c.scores for pair in both(question, right) for c in pair] == [
            pytest.approx(c.scores, abs=1e-6) for pair in found for c in pair
        ]


def test_a_map_that_ranks_nothing_gets_a_random_order(
    planted: tuple[nn.Module, Tensor, Tensor],
) -> None:
    model, x, _ = planted
    with asked(model, x, target=1) as question:
        places = Places(question)
        ground = lay_ground(question, places)
        assert ground is not None
        random = (-ground.orders[0].argsort().double()).expand(2, -1)
        flat, drawn = both(question, torch.zeros(2, 144).double()), both(question, random)
    assert flat == drawn


def test_a_random_order_deletes_as_it_inserts() -> None:
    with asked(small(), images()) as question:
        for deletion, insertion in both(question, torch.rand(3, 64).double()):
            assert deletion.random_scores == insertion.random_scores[::-1]
            assert deletion.random_auc == pytest.approx(insertion.random_auc)


@pytest.mark.parametrize("rows", [1, 7])
def test_rows_per_forward_do_not_matter(rows: int) -> None:
    strengths = torch.rand(3, 64, generator=torch.Generator().manual_seed(0)).double()
    with asked(small(), images()) as question:
        expected = both(question, strengths)
    with asked(small(), images(), internal_batch_size=rows) as question:
        found = both(question, strengths)
    for a, b in zip(expected, found, strict=True):
        for one, other in zip(a, b, strict=True):
            assert one.scores == pytest.approx(other.scores, rel=1e-9)
            assert one.random_auc == pytest.approx(other.random_auc, rel=1e-9)


def test_out_of_memory_halves_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    strengths = torch.rand(3, 64, generator=torch.Generator().manual_seed(0)).double()
    with asked(small(), images()) as question:
        expected = both(question, strengths)
        call = type(question.subject).__call__

        def tight(subject: object, *tensors: Tensor) -> Tensor:
            if len(tensors[0]) > 6:
                raise torch.OutOfMemoryError("forced")
            return call(question.subject, *tensors)

        monkeypatch.setattr(type(question.subject), "__call__", tight)
        found = both(question, strengths)
    assert [c.auc for p in found for c in p] == pytest.approx([c.auc for p in expected for c in p])


class Log(nn.Module):
    """Minus infinity where nothing is left."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).sum(1).log()


def test_a_score_without_a_number_at_the_baseline_has_no_curve() -> None:
    with asked(Log(), torch.rand(2, 6) + 1) as question:
        ground = lay_ground(question, Places(question))
        assert ground is not None
        assert curves(question, ground, torch.rand(2, 6).double()) == ((None, None),) * 2


def test_too_few_places_have_no_order_worth_a_curve() -> None:
    with asked(Weighted(torch.ones(3)), torch.rand(2, 3)) as question:
        assert lay_ground(question, Places(question)) is None
