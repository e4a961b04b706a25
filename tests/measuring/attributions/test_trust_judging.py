"""Judging: what each level tests, whom it disturbs, and what it says in words."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resnet_viz.core.errors import ModelError
from resnet_viz.core.trust import CascadeStep, Curve, Trust
from resnet_viz.measuring.attributions.methods import METHODS
from resnet_viz.measuring.attributions.question import Question
from resnet_viz.measuring.attributions.trust.judging import (
    Claim,
    agreements_of,
    judge,
    passes_of_judging,
)
from resnet_viz.measuring.attributions.trust.verdicts import depends_on_weights, verdict_of
from resnet_viz.sources.datasets.load import load_digits
from resnet_viz.sources.loading import ModelSpec, load
from resnet_viz.sources.trained.training import shown_as
from tests.measuring.attributions.claims import Weighted, asked, claimed, fixed, images, small

METHODS_JUDGED = ("saliency", "integrated_gradients")


def judged(model: nn.Module, x: Tensor, **options: Any) -> tuple[tuple[Trust, ...], ...]:
    with asked(model, x, **options) as question:
        return judge(question, [claimed(question, name) for name in METHODS_JUDGED])


def test_nothing_is_tested_where_nothing_is_asked() -> None:
    assert judged(small(), images(), trust="off") == ((), ())
    with asked(small(), images(), trust="off") as question:
        claims = [claimed(question, name) for name in METHODS_JUDGED]
        assert agreements_of(question, claims) == ()
        assert passes_of_judging(question, [METHODS["saliency"]], lambda _q, _m: 1) == 0


def test_quick_asks_no_method_again() -> None:
    with asked(small(), images(), trust="quick") as question:

        def never(_question: Question) -> tuple[Tensor, ...]:
            raise AssertionError("asked again")

        claims = [replace(claimed(question, name), answer=never) for name in METHODS_JUDGED]
        for row in judge(question, claims):
            assert len(row) == 3
            for trust in row:
                assert trust.deletion is not None
                assert trust.insertion is not None
                assert trust.infidelity is None
                assert trust.max_sensitivity is None
                assert trust.cascade == ()
                assert trust.verdict


def test_full_tests_everything() -> None:
    for row in judged(small(), images()):
        for trust in row:
            assert None not in (trust.deletion, trust.insertion, trust.infidelity)
            assert trust.max_sensitivity is not None
            assert trust.depends_on_weights is not None
            assert [s.layer for s in trust.cascade] == ["head", "body", "norm", "stem"] or len(
                trust.cascade
            ) > 1
            assert trust.cascade[-1].share == 1


def test_is_the_same_each_time_and_draws_from_nobody() -> None:
    net, x = small(), images()
    with asked(net, x) as question:
        claims = [claimed(question, name) for name in METHODS_JUDGED]
        state = torch.get_rng_state()
        first = judge(question, claims)
        assert torch.equal(torch.get_rng_state(), state)
        torch.rand(3)
        assert judge(question, claims) == first
    assert first == judged(small(), x)


def test_it_does_not_matter_who_stands_beside_whom() -> None:
    x = images()
    order = [2, 0, 1]
    found = judged(small(), x, target=1)
    for row, moved in zip(found, judged(small(), x[order], target=1), strict=True):
        for i, k in enumerate(order):
            assert_close(moved[i], row[k])


def assert_close(a: Trust, b: Trust) -> None:
    assert a.infidelity == pytest.approx(b.infidelity, abs=1e-6)
    assert a.max_sensitivity == pytest.approx(b.max_sensitivity, rel=1e-6)
    for one, other in ((a.deletion, b.deletion), (a.insertion, b.insertion)):
        assert one is not None
        assert other is not None
        assert one.scores == pytest.approx(other.scores, rel=1e-6)
    for step, same in zip(a.cascade, b.cascade, strict=True):
        assert step.rank_correlation == pytest.approx(same.rank_correlation, abs=1e-3)


def test_a_map_that_forgets_the_weights_is_found_out() -> None:
    with asked(small(), images()) as question:
        edges = fixed("saliency", lambda q: q.inputs[0].abs(), question)
        honest = claimed(question, "saliency")
        row, other = judge(question, [edges, honest])
    assert [t.depends_on_weights for t in row] == [False] * 3
    assert all(s.rank_correlation == pytest.approx(1) for t in row for s in t.cascade)
    assert all(t.verdict.startswith("Hardly depends on the weights") for t in row)
    assert any(t.depends_on_weights for t in other)


def test_a_background_that_is_the_baseline_does_not_speak_for_a_map() -> None:
    x = images(1, 16)
    x[:, :, 4:] = 0
    with asked(small(), x) as question:
        generator = torch.Generator().manual_seed(0)

        def drawn(q: Question) -> Tensor:
            return torch.rand(x.shape, generator=generator).double() * (q.inputs[0] != 0)

        ((trust,),) = judge(question, [fixed("saliency", drawn, question)])
    # Over all pixels the mask alone would make it above 0.7.
    assert abs(mean(s.rank_correlation for s in trust.cascade)) < 0.5


def test_a_map_that_is_the_same_everywhere_ranks_nothing() -> None:
    with asked(small(), images()) as question:
        for value in (0.0, 2.0):
            flat = fixed("saliency", lambda q, v=value: q.inputs[0] * 0 + v, question)
            for trust in judge(question, [flat])[0]:
                assert trust.verdict == "It is the same everywhere: it ranks nothing."
                assert trust.cascade == ()
                assert trust.depends_on_weights is None


def test_a_method_that_refuses_other_weights_is_not_judged_by_them() -> None:
    with asked(small(), images()) as question:

        def refuses(other: Question) -> tuple[Tensor, ...]:
            raise ModelError("only of the weights given")

        claim = replace(claimed(question, "saliency"), answer=refuses)
        for trust in judge(question, [claim])[0]:
            assert trust.depends_on_weights is None
            assert trust.max_sensitivity is None
            assert trust.cascade == ()
            assert trust.infidelity is not None


class Uncopied(nn.Module):
    """Holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(6, 2)
        self.handle = (i for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def test_it_is_said_that_a_model_could_not_be_copied() -> None:
    for trust in judged(Uncopied(), torch.rand(2, 6))[0]:
        assert trust.depends_on_weights is None
        assert "Not all was tested: the model cannot be copied" in trust.verdict
        assert trust.max_sensitivity is not None


class Tokens(nn.Module):
    """Three classes of a sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Embedding(20, 8)
        self.mix = nn.Linear(8, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.mix(self.read(ids)).tanh().mean(1))


def test_tokens_are_taken_away_whole() -> None:
    torch.manual_seed(0)
    ids = torch.randint(1, 20, (2, 12))
    rows = judged(Tokens(), ids)
    for trust in (t for row in rows for t in row):
        assert trust.deletion is not None
        assert trust.deletion.fractions[1] == pytest.approx(1 / 12)
        assert trust.cascade[0].layer == "out"
        assert trust.depends_on_weights is None
        assert "tokens" in trust.verdict


class StepsFirst(nn.Module):
    """(steps, samples, features)."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(3, 5)
        self.out = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(x)[0][-1])


def test_samples_may_be_along_the_second_axis() -> None:
    torch.manual_seed(0)
    x = torch.randn(9, 2, 3)
    with asked(StepsFirst(), x, target=0) as question:
        assert question.subject.axis == 1
        both = judge(question, [claimed(question, "integrated_gradients")])[0]
        net = question.model
        with asked(net, x[:, 1:], target=0) as alone:
            (one,) = judge(alone, [claimed(alone, "integrated_gradients")])[0]
    assert len(both) == 2
    assert_close(both[1], one)


def test_maps_of_layers_are_judged_at_the_size_of_the_image() -> None:
    class Strided(nn.Sequential):
        """Halves the image first."""

    torch.manual_seed(0)
    net = Strided(
        nn.Conv2d(2, 4, 3, 2, 1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(4, 2)
    )
    with asked(net.double(), images()) as question:
        cam = Claim(
            method=METHODS["layer_grad_cam"],
            layer="1",
            values=(torch.rand(3, 1, 4, 4).double(),),
            answer=lambda _: (torch.rand(3, 1, 4, 4).double(),),
        )
        (row,) = judge(question, [cam])
        for trust in row:
            assert trust.deletion is not None
            assert trust.deletion.fractions[1] == 2 / 64
        found = agreements_of(question, [cam, claimed(question, "saliency")])
    assert [(a.a, a.b) for a in found] == [("layer Grad-CAM at 1", "saliency")] * 3


def test_agreement_of_equal_and_of_opposite_maps() -> None:
    with asked(Weighted(torch.ones(2, 8, 8).double()), images()) as question:
        ramp = torch.arange(128.0).double().reshape(1, 2, 8, 8).expand(3, -1, -1, -1)
        up = fixed("integrated_gradients", lambda _: ramp, question)
        down = fixed("input_x_gradient", lambda _: 1000 - ramp, question)
        same = fixed("occlusion", lambda _: -3 * ramp, question)
        found = agreements_of(question, [up, down, same])
    assert [a.input for a in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    by_pair = {(a.a, a.b): a for a in found}
    opposite = by_pair[METHODS["integrated_gradients"].title, METHODS["input_x_gradient"].title]
    assert opposite.rank_correlation == pytest.approx(-1)
    assert opposite.overlap == 0
    # Magnitudes: the sign of a map says against, not elsewhere.
    equal = by_pair[METHODS["integrated_gradients"].title, METHODS["occlusion"].title]
    assert equal.rank_correlation == pytest.approx(1)
    assert equal.overlap == 1
    assert equal.target == question.score.words[0]


def test_progress_is_told_as_often_as_was_announced() -> None:
    told = 0

    def advance(passes: int = 1) -> None:
        nonlocal told
        told += passes

    with asked(small(), images()) as question:
        question = replace(question, advance=advance)
        claim = claimed(question, "saliency")
        each, told = told, 0
        announced = passes_of_judging(question, [claim.method], lambda _q, _m: each)
        judge(question, [claim])
    assert told == announced


def steps(*correlations: float) -> tuple[CascadeStep, ...]:
    return tuple(
        CascadeStep(layer=layer, share=share, rank_correlation=r)
        for layer, share, r in zip(
            ("fc", "stage1", "stem"), (0.1, 0.9, 1.0), correlations, strict=True
        )
    )


def test_the_head_decides() -> None:
    assert depends_on_weights((), 64) is None
    assert depends_on_weights(steps(0.94, 0.3, 0.1), 64) is False
    assert depends_on_weights(steps(0.7, 0.7, 0.7), 64) is True
    # Too few places to tell.
    assert depends_on_weights(steps(0.94, 0.3, 0.1), 8) is None


def curve(auc: float, *, unit: Any = "probability", falls: bool = True) -> Curve:
    scores = (0.93, 0.21, 0.1, 0.02) if falls else (0.02, 0.5, 0.9, 0.93)
    return Curve(
        fractions=(0, 0.1, 0.5, 1),
        scores=scores,
        auc=auc,
        random_auc=0.4,
        random_scores=(0.93, 0.8, 0.4, 0.02),
        unit=unit,
    )


def test_the_worst_is_said_first() -> None:
    trust = Trust(
        deletion=curve(0.2),
        insertion=curve(0.8, falls=False),
        cascade=steps(0.94, 0.9, 0.16),
        depends_on_weights=False,
    )
    assert verdict_of(trust, noun="pixels") == (
        "Hardly depends on the weights that decide (rank correlation 0.94 with fc and all "
        "after it drawn anew, 0.16 with all layers): do not read it as an explanation of what this "
        "model answers. Removing its strongest 10 % of "
        "pixels takes the probability from 0.93 to 0.21 (random order: 0.80); it averages 0.20 "
        "while all go (random order: 0.40)."
    )
    good = replace(trust, cascade=steps(0.2, 0.2, 0.1), depends_on_weights=True)
    words = verdict_of(good, noun="pixels")
    assert words.startswith("It depends on the weights (rank correlation 0.20")
    bad = replace(good, insertion=curve(0.1, falls=False), max_sensitivity=1.4, infidelity=0.97)
    words = verdict_of(bad, noun="tokens")
    assert words.startswith("Finds what matters no better than a random order: the probability")
    assert "changes it by 140 %" in words
    assert "explains 3 %" in words
    assert "It depends" not in words


def test_a_probability_that_does_not_move_is_no_ground_for_a_ranking() -> None:
    still = Curve(fractions=(0, 0.1, 1), scores=(0.001, 0.0011, 0.001), auc=0.001, random_auc=0.001)
    words = verdict_of(Trust(deletion=still, insertion=still), noun="pixels")
    assert words == (
        "Whatever pixels are removed, the probability stays between 0.001 and 0.001: there is "
        "little to explain."
    )


@pytest.fixture(scope="module")
def digits() -> dict[str, tuple[Trust, ...]]:
    """What is found of the net that comes trained, on eight digits it was not trained on."""
    data = load_digits()
    inputs = shown_as(data, data.test, 32)[:8]
    net = load(ModelSpec(text="digits-resnet")).model.eval()
    names = ("saliency", "input_x_gradient", "integrated_gradients", "guided_backprop")
    background = float(inputs.min())
    with asked(net, inputs, n_steps=8, baselines=background) as question:
        rows = judge(question, [claimed(question, name) for name in names])
    return dict(zip(names, rows, strict=True))


def test_adebayo_is_reproduced_saliency_passes(digits: dict[str, tuple[Trust, ...]]) -> None:
    found = digits["saliency"]
    assert [t.depends_on_weights for t in found] == [True] * 8
    means = [mean(t.cascade[k].rank_correlation for t in found) for k in range(5)]
    assert [s.layer for s in found[0].cascade] == ["fc", "layer3", "layer2", "layer1", "conv1"]
    assert means[0] < 0.5
    assert means[-1] < 0.15
    assert means[0] > means[2] > means[-1]


def test_adebayo_is_reproduced_guided_backprop_fails(
    digits: dict[str, tuple[Trust, ...]],
) -> None:
    found = digits["guided_backprop"]
    assert [t.depends_on_weights for t in found] == [False] * 8
    assert mean(t.cascade[0].rank_correlation for t in found) > 0.9
    saliency = digits["saliency"]
    for k in range(3):
        gaps = [
            a.cascade[k].rank_correlation - b.cascade[k].rank_correlation
            for a, b in zip(found, saliency, strict=True)
        ]
        assert mean(gaps) > 0.2
    assert all(t.verdict.startswith("Hardly depends on the weights that decide") for t in found)


def test_a_background_does_not_pass_for_the_model(digits: dict[str, tuple[Trust, ...]]) -> None:
    # Over all pixels integrated gradients would keep 0.93 (zero wherever x = x′).
    for name in ("integrated_gradients", "input_x_gradient"):
        found = digits[name]
        assert [t.depends_on_weights for t in found] == [True] * 8
        assert mean(t.cascade[-1].rank_correlation for t in found) < 0.65


def test_what_was_learned_is_found_sooner_than_by_chance(
    digits: dict[str, tuple[Trust, ...]],
) -> None:
    pairs = [(t.deletion, t.insertion) for t in digits["integrated_gradients"]]
    curves = [(d, i) for d, i in pairs if d is not None and i is not None]
    assert len(curves) == 8
    assert all(d.auc < d.random_auc and d.auc < i.auc for d, i in curves)


class Picky(nn.Module):
    """Takes no zeros."""

    def forward(self, x: Tensor) -> Tensor:
        if bool((x == 0).any()):
            raise ValueError("a zero came in")
        return (x.log() * 3).sum(1, keepdim=True)


def test_a_model_that_refuses_the_baseline_keeps_its_maps() -> None:
    with asked(Picky(), torch.rand(2, 6) + 1) as question:
        (row,) = judge(question, [claimed(question, "saliency")])
    for trust in row:
        assert trust.deletion is None
        assert trust.infidelity is None
        assert "Not all was tested: forward raised where parts of the input" in trust.verdict
        assert "a zero came in" in trust.verdict


class Scalars(nn.Module):
    """A number in, a number out."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square() * 3


def test_a_sample_of_a_single_number() -> None:
    with asked(Scalars(), torch.rand(4) + 1) as question:
        (row,) = judge(question, [claimed(question, "input_x_gradient")])
    for trust in row:
        assert trust.deletion is None
        assert trust.infidelity == pytest.approx(0, abs=1e-6)
        assert trust.max_sensitivity is not None


class TwoInputs(nn.Module):
    """A picture and some numbers beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.out = nn.Linear(3 + 4, 2)

    def forward(self, image: Tensor, numbers: Tensor) -> Tensor:
        seen = self.conv(image).relu().mean((2, 3))
        return self.out(torch.cat([seen, numbers], 1))


def test_inputs_are_taken_away_together() -> None:
    torch.manual_seed(0)
    with asked(TwoInputs(), torch.rand(2, 1, 6, 6), torch.rand(2, 4)) as question:
        claims = [claimed(question, name) for name in METHODS_JUDGED]
        rows = judge(question, claims)
        found = agreements_of(question, claims)
    assert len(found) == 2
    for trust in (t for row in rows for t in row):
        assert trust.deletion is not None
        assert trust.deletion.fractions[1] == pytest.approx(1 / 40)
        assert trust.infidelity is not None
