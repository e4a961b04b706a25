"""F(x) = 0 gives H(x) = x, and what would be found if it did not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from resnet_viz.core.errors import UserError
from resnet_viz.core.experiments.identity import IdentityMapping
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.experiments.identity.checks import identity_checks
from resnet_viz.experiments.identity.jacobians import jacobian, singular_values
from resnet_viz.experiments.identity.run import Job, compare, run_identity
from resnet_viz.experiments.identity.silencing import How, Pair, Silencer, make_pair, pair_configs
from resnet_viz.sources.family.resnet_config import ResNetConfig
from resnet_viz.sources.variants import build

SMALL = {"widths": (4, 6, 8), "in_channels": 1, "num_classes": 3}


@pytest.fixture(scope="module")
def found() -> IdentityMapping:
    """The experiment as its users run it, once."""
    return run_identity(quick=True, seed=5)


def small_pair(x: Tensor, **changes: Any) -> Pair:
    more, fewer = pair_configs("resnet32", "resnet20")
    torch.manual_seed(0)
    options = {**SMALL, **changes}
    with torch.no_grad():
        return make_pair(more.changed(**options), fewer.changed(**options), x)


def test_a_silent_56_layer_net_is_the_20_layer_net_in_every_bit(found: IdentityMapping) -> None:
    assert found.difference == 0
    silent = [block for block in found.blocks if block.silent]
    assert [(b.stage, b.index) for b in silent] == [(s, i) for s in (1, 2, 3) for i in range(4, 10)]
    for block in silent:
        assert block.difference == 0
        assert block.singular_values
        assert all(abs(value - 1) <= 1e-12 for value in block.singular_values)
    others = [block for block in found.blocks if not block.silent]
    assert [block.path for block in others if block.difference is None] == ["layer2.0", "layer3.0"]
    assert all(max(b.singular_values) - min(b.singular_values) > 0.5 for b in others)
    params = {n: sum(p.numel() for p in build(n, in_channels=1).parameters()) for n in PAIR}
    assert (found.copied, found.copied + found.extra) == (params["resnet20"], params["resnet56"])


PAIR = ("resnet56", "resnet20")


def test_every_check_holds_and_names_its_source(found: IdentityMapping) -> None:
    assert [check.what for check in found.checks if not check.holds] == []
    assert all(check.source for check in found.checks)
    assert from_json(to_json(found)) == found


def test_without_shortcuts_the_same_silent_blocks_let_nothing_through(
    found: IdentityMapping,
) -> None:
    assert found.plain_spread == 0
    assert found.plain_difference is not None
    assert found.plain_difference > 0.01


def test_forms_whose_sum_is_followed_by_a_relu_are_identities_for_positive_inputs_alone(
    found: IdentityMapping,
) -> None:
    assert {form.order for form in found.forms} == {
        *("original", "act_before_add", "act_only_preact", "preact", "norm_after_add")
    }
    assert {form.block for form in found.forms} == {"basic", "bottleneck"}
    for form in found.forms:
        if form.order == "norm_after_add":
            assert form.positive > 0.1
            assert form.difference > 0.01
        else:
            assert (form.difference, form.train_difference, form.positive) == (0, 0, 0)
            assert (form.signed > 1) == (form.order == "original")


def test_the_logits_move_in_proportion_to_small_branches(found: IdentityMapping) -> None:
    scales, changes = zip(*found.perturbed, strict=True)
    assert changes[:5] == tuple(sorted(changes[:5]))
    assert changes[0] > 0
    assert changes[1] / changes[0] == pytest.approx(scales[1] / scales[0], rel=1e-3)


def test_one_seed_gives_one_result_and_touches_no_global_generator() -> None:
    more, fewer = pair_configs("resnet32", "resnet20")
    job = Job(
        more=more.changed(**SMALL),
        fewer=fewer.changed(**SMALL),
        inputs=torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        entries=16,
        seed=3,
    )
    states = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    told: list[int] = []
    first, again = compare(job, "a", told.append), compare(job, "a", told.append)
    assert first == again
    assert compare(replace(job, seed=4), "a", told.append).perturbed != first.perturbed
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]
    assert sum(told) == 3 * (len(first.blocks) + len(first.forms))
    assert all(check.holds for check in identity_checks(first))
    # What is wrong must be seen: one bit, one singular value, one form.
    block = next(block for block in first.blocks if block.silent)
    spoiled = replace(block, singular_values=(*block.singular_values[:-1], 1 - 1e-9))
    blocks = tuple(spoiled if b is block else b for b in first.blocks)
    form = replace(first.forms[0], train_difference=1e-7)
    moved = replace(first.forms[0], positive=1e-7)
    for wrong in (
        replace(first, difference=1e-7),
        replace(first, blocks=blocks),
        replace(first, plain_spread=1e-7),
        replace(first, forms=(form, *first.forms[1:])),
        replace(first, forms=(moved, *first.forms[1:])),
    ):
        assert sum(not check.holds for check in identity_checks(wrong)) == 1


def zero_by_hand(net: nn.Module, paths: tuple[str, ...], names: tuple[str, ...]) -> nn.Module:
    state = net.state_dict()
    for path in paths:
        for name in names:
            state[f"{path}.{name}"].zero_()
    return net


HANDS: dict[str, tuple[dict[str, Any], How, tuple[str, ...]]] = {
    "norm": ({}, "norm", ("bn2.weight", "bn2.bias")),
    "convolution": ({}, "convolution", ("conv2.weight", "bn2.bias", "bn2.running_mean")),
    "pre-activation": ({"order": "preact"}, "norm", ("conv2.weight",)),
    "bottleneck": ({"block": "bottleneck"}, "norm", ("bn3.weight", "bn3.bias")),
    "group norm": ({"norm": "group"}, "norm", ("bn2.weight", "bn2.bias")),
    "no norm": ({"norm": "none"}, "norm", ("conv2.weight", "conv2.bias")),
    "skipinit": ({"norm": "none", "init": "skipinit"}, "norm", ("multiplier.scale",)),
    "squeeze and excitation": ({"attention": "se"}, "norm", ("bn2.weight", "bn2.bias")),
    "projections": ({"shortcut": "B"}, "norm", ("bn2.weight", "bn2.bias")),
}


@pytest.mark.parametrize(("changes", "how", "names"), HANDS.values(), ids=HANDS.keys())
def test_silence_is_what_one_would_set_to_zero_by_hand(
    changes: dict[str, Any], how: How, names: tuple[str, ...]
) -> None:
    x = torch.randn(5, 1, 8, 8)
    pair = small_pair(x, **changes)
    drawn = {key: value.clone() for key, value in pair.deep.state_dict().items()}
    by_hand = build(pair.deep.config).eval()  # type: ignore[arg-type]
    by_hand.load_state_dict(drawn)
    zero_by_hand(by_hand, pair.extra, names)
    silencer = Silencer(pair, how)
    silencer.scale(0)
    with torch.no_grad():
        assert torch.equal(pair.deep(x), by_hand(x))
        assert torch.equal(pair.deep(x), pair.shallow(x))
        silencer.scale(0.5)
        assert not torch.equal(pair.deep(x), pair.shallow(x))


def test_nothing_but_silence_makes_them_equal() -> None:
    x = torch.randn(5, 1, 8, 8)
    pair = small_pair(x)
    with torch.no_grad():
        assert not torch.allclose(pair.deep(x), pair.shallow(x))
    silencer = Silencer(replace(pair, extra=pair.extra[1:]))
    silencer.scale(0)
    with torch.no_grad():
        assert not torch.allclose(pair.deep(x), pair.shallow(x))


def blocks_of(order: str) -> Iterator[tuple[nn.Module, Tensor]]:
    torch.manual_seed(0)
    config = pair_configs(*PAIR)[1].changed(**SMALL, order=order)
    assert isinstance(config, ResNetConfig)
    net = build(config).double().eval()
    yield net.get_submodule("layer1.1"), torch.randn(1, 4, 3, 3, dtype=torch.float64)
    yield net.get_submodule("layer2.0"), torch.randn(1, 4, 4, 4, dtype=torch.float64)


@pytest.mark.parametrize("order", ["original", "preact"])
def test_jacobians_are_those_of_autograd(order: str) -> None:
    for block, x in blocks_of(order):
        kept = x.clone()
        found = jacobian(block, x)
        assert torch.equal(x, kept)
        expected: Any = torch.autograd.functional.jacobian(lambda z, b=block: b(z.clone()), x)
        assert torch.allclose(found, expected.reshape(found.shape), rtol=1e-12, atol=1e-14)
        values = np.linalg.svd(found.numpy(), compute_uv=False)
        assert singular_values(block, x) == pytest.approx(values.tolist(), abs=1e-12)


def test_a_linear_map_is_its_own_jacobian_however_many_rows_it_has() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(7, 300, dtype=torch.float64)  # more rows than one chunk
    assert torch.equal(jacobian(linear, torch.randn(1, 7, dtype=torch.float64)), linear.weight)


def test_a_relu_after_the_sum_cuts_the_spectrum_where_the_input_is_negative() -> None:
    x = torch.randn(5, 1, 8, 8)
    pair = small_pair(x)
    Silencer(pair).scale(0)
    block = pair.deep.double().get_submodule(pair.extra[0])
    z = torch.randn(1, 4, 4, 4, dtype=torch.float64)
    values = singular_values(block, z)
    positive = int((z > 0).sum())
    assert values == (1.0,) * positive + (0.0,) * (z.numel() - positive)


def test_pairs_that_are_none_are_refused_in_one_line() -> None:
    wrong = {
        ("resnet20", "resnet56"): "give the deeper net first",
        ("resnet56", "resnet56"): "give the deeper net first",
        ("plain56", "plain20"): "need shortcuts",
        ("resnet50", "resnet20"): "differ in more than their blocks",
        ("densenet121", "resnet18"): "must both be ResNets",
        ("resnet57", "resnet20"): "unknown variant",
    }
    for (deep, shallow), message in wrong.items():
        with pytest.raises(UserError, match=message) as error:
            run_identity(deep=deep, shallow=shallow)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="2 or more"):
        run_identity(samples=1)
    with pytest.raises(UserError, match="unknown data"):
        run_identity(data="digit")
