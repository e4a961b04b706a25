"""The modules a config describes: what they compute, how they train, that they travel."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from dataclasses import fields
from statistics import median
from time import thread_time
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from resnet_viz.core.errors import UserError
from resnet_viz.sources.family.blocks import Block
from resnet_viz.sources.family.net_config import NetConfig
from resnet_viz.sources.family.parts import (
    ACTIVATIONS,
    ANTIALIASES,
    ATTENTIONS,
    BLOCKS,
    INITS,
    NORMS,
    ORDERS,
    SHORTCUTS,
    STEMS,
)
from resnet_viz.sources.family.resnet import ResNet
from resnet_viz.sources.family.resnet_config import ResNetConfig
from resnet_viz.sources.family.stochastic_depth import StochasticDepth


def small(**options: Any) -> ResNetConfig:
    given: dict[str, Any] = {
        "blocks": (2, 2),
        "widths": (8, 16),
        "stem": "cifar",
        "num_classes": 5,
        **options,
    }
    return ResNetConfig(**given)


def drawn(config: ResNetConfig) -> ResNet:
    """The net with weights and statistics as training leaves them: nothing 0, 1 or equal."""
    torch.manual_seed(0)
    net = ResNet(config)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net


def blocks_of(net: ResNet) -> Iterator[Block]:
    return (module for module in net.modules() if isinstance(module, Block))


@st.composite
def configs(draw: st.DrawFn) -> ResNetConfig:
    """Any valid config of up to four narrow stages."""
    stages = draw(st.integers(1, 4))
    options = draw(
        st.fixed_dictionaries(
            {
                "order": st.sampled_from(sorted(ORDERS)),
                "shortcut": st.sampled_from(sorted(SHORTCUTS)),
                "norm": st.sampled_from(sorted(NORMS)),
                "activation": st.sampled_from(sorted(ACTIVATIONS)),
                "attention": st.sampled_from(ATTENTIONS),
                "antialias": st.sampled_from(ANTIALIASES),
                "stem": st.sampled_from(sorted(STEMS)),
                "block": st.sampled_from(sorted(BLOCKS)),
            },
            optional={
                "init": st.sampled_from(sorted(INITS)),
                "cardinality": st.sampled_from([1, 2]),
                "stride": st.sampled_from(["v1", "v1.5"]),
                "dropout": st.just(0.5),
                "stochastic_depth": st.just(0.5),
                "output_stride": st.sampled_from([1, 2, 4, 8]),
                "zero_gamma": st.booleans(),
            },
        )
    )
    widths = [draw(st.integers(2, 6)) for _ in range(stages)]
    try:
        return ResNetConfig(
            blocks=draw(st.tuples(*[st.integers(1, 2)] * stages)),
            widths=tuple(sorted(widths)),
            stem_width=draw(st.sampled_from([None, 4])),
            num_classes=draw(st.integers(1, 5)),
            in_channels=draw(st.integers(1, 4)),
            **options,
        )
    except UserError:
        assume(False)
        raise


@example(small(order="act_twice", shortcut="none", activation="elu"), 64)
@example(small(antialias="average", shortcut="B"), 67)
@example(small(antialias="average", shortcut="D", block="bottleneck"), 67)
@settings(
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    deadline=None,
    max_examples=50,
)
@given(configs(), st.sampled_from([64, 67]))
def test_any_config_runs_and_trains(config: ResNetConfig, side: int) -> None:
    torch.manual_seed(0)
    net = ResNet(config)
    x = torch.randn(2, config.in_channels, side, side)
    seen = x.clone()
    sides: list[int] = []
    net.avgpool.register_forward_pre_hook(lambda _, args: sides.append(args[0].shape[-1]))
    out = net(x)
    assert out.shape == (2, config.num_classes)
    natural = STEMS[config.stem].stride << (len(config.blocks) - 1)
    # Sides halve rounded up or down as their stem's pool has it; branch and shortcut agree.
    assert side != 64 or sides == [64 // (config.output_stride or natural)]
    assert torch.equal(x, seen)
    out.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    # Dropped branches and nothing else may go without a gradient.
    assert config.stochastic_depth or all(p.grad is not None for p in net.parameters())
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("block", sorted(BLOCKS))
@pytest.mark.parametrize("order", sorted(ORDERS))
def test_an_order_is_the_papers_equation(order: str, block: str) -> None:
    """Figure 4 of He et al. 2016, written out for a block that keeps its shape."""
    net = drawn(small(order=order, block=block)).eval()
    inner = net.get_submodule("layer2.1")
    count = len(BLOCKS[block].kernels)
    convs = [inner.get_submodule(f"conv{i + 1}") for i in range(count)]
    norms = [inner.get_submodule(f"bn{i + 1}") for i in range(count)]
    x = torch.randn(2, 16 * BLOCKS[block].expansion, 6, 6)

    def layers(x: Tensor) -> Tensor:
        for index, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
            last = index == count - 1
            if order == "preact":
                x = conv(F.relu(norm(x)))
            elif order == "act_only_preact":
                x = norm(conv(F.relu(x)))
            elif not last or order in ("act_before_add", "act_twice"):
                x = F.relu(norm(conv(x)))
            else:
                x = conv(x) if order == "norm_after_add" else norm(conv(x))
        return x

    expected = x + layers(x)
    if order == "norm_after_add":
        expected = F.relu(norms[-1](expected))
    elif order in ("original", "act_twice"):
        expected = F.relu(expected)
    with torch.no_grad():
        assert torch.allclose(inner(x.clone()), expected, atol=1e-5)


def test_a_preactivated_shortcut_that_changes_shape_starts_activated() -> None:
    net = drawn(small(order="preact")).eval()
    block = net.get_submodule("layer2.0")
    x = torch.randn(2, 8, 6, 6)
    start = F.relu(block.get_submodule("bn1")(x))
    branch = block.get_submodule("conv1")(start)
    branch = block.get_submodule("conv2")(F.relu(block.get_submodule("bn2")(branch)))
    with torch.no_grad():
        expected = block.get_submodule("downsample.0")(start) + branch
        assert torch.allclose(block(x), expected, atol=1e-5)
        assert len(block.get_submodule("downsample")) == 1  # type: ignore[arg-type]
    assert net.bn1 is None
    assert isinstance(net.norm, nn.BatchNorm2d)


@pytest.mark.parametrize("where", ["layer1.1", "layer2.0"])
@pytest.mark.parametrize("shortcut", ["scaled", "exclusive_gate", "shortcut_gate", "dropout"])
def test_table_1_of_he_2016(shortcut: str, where: str) -> None:
    options = {"scaled": {"shortcut_scale": 0.3, "branch_scale": 0.7}}.get(shortcut, {})
    config = small(shortcut=shortcut, order="act_before_add", **options)
    block = drawn(config).eval().get_submodule(where)
    twin = drawn(small(shortcut="A", order="act_before_add")).eval()
    plain = twin.get_submodule(where)
    plain.load_state_dict(block.state_dict(), strict=False)
    x = torch.randn(2, 8, 6, 6)
    with torch.no_grad():
        identity = x if plain.downsample is None else plain.downsample(x)  # type: ignore[operator]
        branch = plain(x) - identity
        if shortcut == "scaled":
            expected = 0.3 * identity + 0.7 * branch
        elif shortcut == "dropout":
            expected = identity + branch
            trained = block.train().get_submodule("sum.dropout")(torch.ones(4000))
            assert set(trained.tolist()) == {0.0, 2.0}
            block.eval()
        else:
            conv = block.get_submodule("sum.conv")
            assert isinstance(conv, nn.Conv2d)
            assert bool((conv.bias == -6).all())
            nn.init.normal_(conv.bias)  # type: ignore[arg-type]
            gate = torch.sigmoid(conv(x))
            kept = gate * branch if shortcut == "exclusive_gate" else branch
            expected = (1 - gate) * identity + kept
        assert torch.allclose(block(x), expected, atol=1e-5)


def test_option_a_keeps_every_second_pixel_and_appends_zero_channels() -> None:
    shortcut = ResNet(small(shortcut="A")).get_submodule("layer2.0.downsample")
    x = torch.randn(1, 8, 7, 7)
    out = shortcut(x)
    assert out.shape == (1, 16, 4, 4)
    assert torch.equal(out[:, :8], x[:, :, ::2, ::2])
    assert not out[:, 8:].any()


def test_option_d_averages_squares_also_at_an_odd_border() -> None:
    pool = ResNet(small(shortcut="D")).get_submodule("layer2.0.downsample.0")
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert pool(x).flatten().tolist() == [2.0, 3.5, 6.5, 8.0]


@pytest.mark.parametrize("order", ["original", "preact", "act_only_preact", "act_before_add"])
@pytest.mark.parametrize("block", sorted(BLOCKS))
def test_zero_gamma_leaves_the_identity(block: str, order: str) -> None:
    """H(x) = F(x) + x with F = 0 and x ≥ 0 (He et al. 2015, section 3.1)."""
    net = ResNet(small(block=block, order=order, activation="leaky", zero_gamma=True))
    x = torch.rand(2, 16 * BLOCKS[block].expansion, 5, 5)
    assert torch.equal(net.get_submodule("layer2.1")(x.clone()), x)


@pytest.mark.parametrize("options", [{}, {"order": "preact"}, {"block": "bottleneck"}])
def test_a_plain_net_has_the_weights_of_option_a(options: dict[str, str]) -> None:
    states = []
    for shortcut in ("none", "A"):
        torch.manual_seed(4)
        states.append(ResNet(small(shortcut=shortcut, **options)).state_dict())
    plain, residual = states
    assert list(plain) == list(residual)
    assert all(torch.equal(plain[key], residual[key]) for key in plain)


def first_and_last_gradient(**options: str) -> tuple[float, float]:
    torch.manual_seed(0)
    net = ResNet(small(blocks=(9, 9, 9), widths=(16, 32, 64), shortcut="none", **options))
    F.cross_entropy(net(torch.randn(8, 3, 16, 16)), torch.arange(8) % 5).backward()
    convs = [m.weight.grad for m in net.modules() if isinstance(m, nn.Conv2d)]
    return float(convs[0].norm()), float(convs[-1].norm())  # type: ignore[union-attr]


def test_plain_56_with_batch_norm_explodes_backward() -> None:
    first, last = first_and_last_gradient()
    assert first / last > 100


def test_plain_56_with_sigmoid_and_no_norm_vanishes() -> None:
    first, last = first_and_last_gradient(activation="sigmoid", norm="none")
    assert last > 0
    assert first / last < 1e-6


def test_stochastic_depth_falls_linearly_and_keeps_the_mean() -> None:
    net = ResNet(small(stochastic_depth=0.8))
    rates = [block.drop_path.rate for block in blocks_of(net)]  # type: ignore[union-attr]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8])
    torch.manual_seed(0)
    drop = StochasticDepth(0.6)
    x = torch.ones(20_000, 3, 2, 2)
    out = drop(x)
    per_image = out.flatten(1)
    assert bool((per_image == per_image[:, :1]).all())
    assert (per_image[:, 0] == 0).float().mean().item() == pytest.approx(0.6, abs=0.02)
    assert out.mean().item() == pytest.approx(1, abs=0.05)
    assert drop.eval()(x) is x
    assert not StochasticDepth(1.0)(x).any()


def test_dropout_stands_before_the_last_convolution() -> None:
    seen: list[Tensor] = []
    net = ResNet(small(dropout=0.5, order="preact"))
    for block in blocks_of(net):
        block.conv2.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net(torch.randn(4, 3, 16, 16))
    # Half is dropped, half of what stays was negative.
    assert all((x == 0).float().mean().item() == pytest.approx(0.75, abs=0.1) for x in seen)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 16), (24, 8), (9, 1)])
def test_group_norm_has_as_many_groups_as_divide(channels: int, groups: int) -> None:
    net = ResNet(small(widths=(channels, 2 * channels), norm="group"))
    assert isinstance(net.bn1, nn.GroupNorm)
    assert net.bn1.num_groups == groups


def test_layer_norm_is_over_channels_and_positions() -> None:
    norm = ResNet(small(norm="layer")).bn1
    assert norm is not None
    x = torch.randn(3, 8, 4, 4)
    assert torch.allclose(norm(x), F.layer_norm(x, x.shape[1:]), atol=1e-6)


def test_blur_keeps_constants_and_removes_stripes() -> None:
    blur = ResNet(small(antialias="blur")).get_submodule("layer2.0.aa")
    x = torch.ones(1, 16, 6, 6)
    assert torch.allclose(blur(x), torch.ones(1, 16, 3, 3))
    x[..., ::2] = -1
    assert not blur(x).any()


OPTIONS = [
    {},
    {"order": "preact", "block": "bottleneck", "shortcut": "exclusive_gate", "stem": "RS"},
    {"norm": "none", "init": "nf", "order": "preact", "shortcut": "D"},
    {"attention": "cbam", "norm": "group_ws", "antialias": "blur", "stochastic_depth": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_net_copies_pickles_and_exports(options: dict[str, Any]) -> None:
    net = drawn(small(blocks=(1, 1), **options)).eval()
    x = torch.randn(2, 3, 16, 16)
    exported = torch.export.export(net, (x,)).module()
    with torch.no_grad():
        for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert twin.config == net.config
            assert torch.equal(twin(x), net(x))
        assert torch.allclose(exported(x), net(x), atol=1e-5)


@pytest.mark.parametrize("depth", [18, 50])
def test_building_on_meta_costs_no_more_than_torchvision(depth: int) -> None:
    block = "basic" if depth == 18 else "bottleneck"
    blocks = (2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3)
    config = ResNetConfig(blocks=blocks, block=block)
    theirs = getattr(torchvision.models, f"resnet{depth}")
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(5):
        for kept, build in zip(times, (lambda: ResNet(config), theirs), strict=True):
            start = thread_time()
            with torch.device("meta"):
                build()
            kept.append(thread_time() - start)
    assert median(times[0]) < 1.3 * median(times[1])


def test_the_config_says_what_differs() -> None:
    assert str(small(dropout=0.1, attention="se", shortcut="none")) == (
        "plain net of depth 10: basic blocks 2-2, widths 8-16, stem cifar, shortcut none, "
        "attention se, dropout 0.1, 3 channels to 5 classes"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cardinality": 2}, "need a bottleneck"),
        ({"block": "bottleneck", "base_width": 4}, "give at least 8"),
        ({"attention": "se", "attention_reduction": 0}, "above 0"),
        ({"output_stride": 3}, "give one of 1, 2"),
        ({"output_stride": 4}, "give one of 1, 2"),
        ({"shortcut": "A", "widths": (8, 4)}, "let them grow"),
        ({"block": "preact_basic", "order": "act_before_add"}, "give block='basic'"),
        ({"shortcut": "none", "zero_gamma": True}, "give zero_gamma=False"),
        ({"shortcut": "none", "stochastic_depth": 0.1}, "nothing would pass"),
        ({"init": "rezero", "norm": "none", "zero_gamma": True}, "neither would ever learn"),
        ({"order": "act_before_add", "zero_gamma": True}, "no gradient back"),
        ({"stem_width": 0}, "stem_width=0"),
        ({"zero_gamma": "yes"}, "true or false"),
        ({"dropout": 1.5}, "from 0 to 1"),
        ({"shortcut_scale": float("nan")}, "give a number"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        small(**options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_option_without_effect_is_refused_everywhere() -> None:
    table = {**small().to_dict(), "gate_bias": 0}
    for make in (
        lambda: small().changed(gate_bias=0),
        lambda: small(gate_bias=0),
        lambda: ResNetConfig.from_dict(table),
    ):
        with pytest.raises(UserError, match="gate_bias=0 has no effect with shortcut='B'"):
            make()


def test_what_an_option_is_already_may_be_said() -> None:
    config = small()
    for field in fields(config):
        assert config.changed(**{field.name: getattr(config, field.name)}) == config


def test_options_of_what_is_taken_away_go_with_it() -> None:
    net = small(attention="se", attention_divisor=8, shortcut="exclusive_gate", gate_bias=-3)
    assert net.changed(attention=None, shortcut="B") == small()
    assert NetConfig.from_dict(net.changed(attention="none").to_dict()).attention == "none"


def test_preact_is_also_a_kind_of_block() -> None:
    assert small(block="preact_bottleneck") == small(block="bottleneck", order="preact")
