"""``run_depth``: repeatable, alone in its processes, and plain about what it is not given."""

from __future__ import annotations

import math
import re

import pytest
import torch

from resnet_viz.core.errors import UserError
from resnet_viz.core.experiments.common import LayerNorms
from resnet_viz.core.experiments.depth import DepthStudy
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.experiments.depth.checks import closed_forms
from resnet_viz.experiments.depth.run import run_depth


def _tiny(**changes: object) -> DepthStudy:
    options = {
        "depths": (14, 8),
        "activations": ("relu", "sigmoid"),
        "inits": ("he",),
        "norms": ("none",),
        "widths": (2, 2, 4),
        "batch_size": 8,
        "optimizers": ("sgd", "adam"),
        "steps": 2,
    }
    return run_depth(**(options | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def study() -> DepthStudy:
    return _tiny()


def test_everything_that_was_asked_for_is_there_in_order(study: DepthStudy) -> None:
    assert study.depths == (8, 14)
    assert [kind.label for kind in study.kinds] == [
        f"{activation}, he, no norm, {shape}"
        for activation in ("relu", "sigmoid")
        for shape in ("plain", "residual")
    ]
    assert [(run.kind, run.depth) for run in study.runs] == [
        (kind, depth) for kind in study.kinds for depth in study.depths
    ]
    assert all(len(study.of(kind)) == 2 for kind in study.kinds)
    assert {(f.kind.label, f.depth, f.optimizer) for f in study.steps} == {
        ("relu, he, no norm, plain", 14, "sgd"),
        ("relu, he, no norm, plain", 14, "adam"),
    }
    assert len(study.checks) == len(closed_forms()) + 1
    assert all(check.holds for check in study.checks)
    assert "digits" in study.data
    assert study.provenance.seed == 0
    assert study.provenance.weights == "drawn at random"


def test_equal_seeds_give_equal_values_whoever_works(study: DepthStudy) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    assert _tiny(workers=1, depths=(8, 14)) == study
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_values_travel_as_json(study: DepthStudy) -> None:
    assert from_json(to_json(study)) == study


def test_quick_is_less_of_the_same_from_the_first_seed(study: DepthStudy) -> None:
    few = _tiny(
        quick=True,
        depths=(8, 14),
        activations=("relu",),
        residual=(True,),
        inits=("he", "xavier", "normal"),
        seeds=(4, 5),
        steps=0,
    )
    assert few.depths == (8,)
    assert [kind.init for kind in few.kinds] == ["he", "xavier"]
    assert {run.seed for run in few.runs} == {4}
    assert few.steps == ()
    twin = next(run for run in study.of(few.runs[0].kind) if run.depth == 8)
    assert few.runs[0].weights.layers == twin.weights.layers
    assert few.runs[0].exact != twin.exact


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"depths": (8, 9)}, "depths 9: each is 6n + 2"),
        ({"depths": ()}, "depths none"),
        ({"depths": (2,)}, "depths 2"),
        ({"activations": ("rely",)}, "did you mean relu?"),
        ({"inits": ("fixup",)}, "allowed: he, "),
        ({"norms": ("group_ws",)}, "allowed: batch, "),
        ({"residual": ()}, "at least one"),
        ({"widths": (8, 4, 2)}, "never fall"),
        ({"widths": ()}, "widths"),
        ({"batch_size": 1}, "2 samples"),
        ({"batch_size": 2000}, "smaller batch size"),
        ({"seeds": (0, 0)}, "each once"),
        ({"seeds": ()}, "each once"),
        ({"optimizers": ("lion",)}, "allowed: sgd, momentum, adam"),
        ({"steps": -1}, "0 or more"),
        ({"workers": 0}, "1 or more"),
    ],
)
def test_mistakes_are_told_in_one_line(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)) as told:
        _tiny(**wrong)
    assert "\n" not in str(told.value)


def test_nothing_over_nothing_is_no_explosion() -> None:
    norms = LayerNorms(step=0, layers=("a", "b"), norms=(0.0, 0.0))
    assert math.isnan(norms.first_over_last)
