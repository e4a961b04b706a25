"""Named variants: their costs in closed form, their weights, and what a typo gets."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from resnet_viz.core.errors import UserError
from resnet_viz.sources.config import (
    ACTIVATIONS,
    BLOCKS,
    NORMS,
    SHORTCUTS,
    STEMS,
    STRIDES,
    ResNetConfig,
)
from resnet_viz.sources.resnet import ResNet
from resnet_viz.sources.variants import VARIANTS, build, closed_form, configure

# Parameters as He et al. 2015 count them (tables 1 and 6, exact here), MACs of one image.
PUBLISHED = {
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    "resnet20": (269_722, 40_551_040),
    "resnet32": (464_154, 68_862_592),
    "resnet44": (658_586, 97_174_144),
    "resnet56": (853_018, 125_485_696),
    "resnet110": (1_727_962, 252_887_680),
    "resnet1202": (19_421_274, 2_829_238_912),
    "plain18": (11_515_688, 1_794_805_760),
    "plain34": (21_623_848, 3_644_493_824),
    "plain20": (269_722, 40_551_040),
    "plain32": (464_154, 68_862_592),
    "plain44": (658_586, 97_174_144),
    "plain56": (853_018, 125_485_696),
    "plain110": (1_727_962, 252_887_680),
}
OTHER_OPTIONS = [
    ("resnet20", {"shortcut": "B"}, (272_474, 40_813_184)),
    ("resnet110", {"shortcut": "B"}, (1_730_714, 253_149_824)),
    ("resnet18", {"shortcut": "A"}, (11_515_688, 1_794_805_760)),
    ("resnet18", {"shortcut": "C"}, (12_043_816, 1_878_298_624)),
    ("resnet34", {"shortcut": "C"}, (22_716_840, 3_830_747_136)),
    ("resnet50", {"stride": "v1"}, (25_557_032, 3_857_973_248)),
    ("resnet152", {"stride": "v1"}, (60_192_808, 11_282_415_616)),
    ("resnet50", {"stride": "v1", "shortcut": "A"}, (22_780_456, 3_498_311_680)),
    ("resnet101", {"stride": "v1", "shortcut": "A"}, (41_772_584, 7_210_532_864)),
]


def measured(model: nn.Module, size: tuple[int, ...]) -> tuple[int, int]:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(size, device="meta"))
    assert counter.get_total_flops() % 2 == 0
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2


def on_meta(config: ResNetConfig) -> ResNet:
    with torch.device("meta"):
        return ResNet(config)


def test_the_table_covers_every_variant() -> None:
    assert set(PUBLISHED) == set(VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_closed_form_is_the_published_number_and_the_built_net(name: str) -> None:
    config = VARIANTS[name]
    assert closed_form(config) == PUBLISHED[name]
    assert measured(on_meta(config), config.input_size) == PUBLISHED[name]


@pytest.mark.parametrize(("name", "changes", "expected"), OTHER_OPTIONS)
def test_closed_form_of_other_shortcuts_and_strides(
    name: str, changes: dict[str, str], expected: tuple[int, int]
) -> None:
    config = configure(name, **changes)
    assert closed_form(config) == expected
    assert measured(on_meta(config), config.input_size) == expected


configs = st.integers(1, 4).flatmap(
    lambda stages: st.builds(
        ResNetConfig,
        blocks=st.tuples(*[st.integers(1, 3)] * stages),
        widths=st.tuples(*[st.integers(1, 9)] * stages).map(lambda w: tuple(sorted(w))),
        block=st.sampled_from(sorted(BLOCKS)),
        stem=st.sampled_from(sorted(STEMS)),
        shortcut=st.sampled_from(sorted(SHORTCUTS)),
        stride=st.sampled_from(STRIDES),
        norm=st.sampled_from(sorted(NORMS)),
        activation=st.sampled_from(sorted(ACTIVATIONS)),
        num_classes=st.integers(1, 5),
        in_channels=st.integers(1, 4),
    )
)


@given(configs)
def test_closed_form_counts_any_config(config: ResNetConfig) -> None:
    assert closed_form(config) == measured(on_meta(config), config.input_size)


@given(configs)
def test_a_config_prints_as_itself(config: ResNetConfig) -> None:
    assert eval(repr(config)) == config
    assert config.changed() == config
    assert hash(config) == hash(config.changed())


@pytest.mark.parametrize("name", VARIANTS)
def test_the_name_is_the_depth(name: str) -> None:
    assert VARIANTS[name].depth == int(name.removeprefix("resnet").removeprefix("plain"))


@pytest.mark.parametrize("name", [n for n in VARIANTS if n.startswith("plain")])
def test_a_plain_net_costs_what_option_a_costs(name: str) -> None:
    config = VARIANTS[name]
    assert closed_form(config) == closed_form(config.changed(shortcut="A"))
    plain, residual = on_meta(config), on_meta(config.changed(shortcut="A"))
    assert {k: v.shape for k, v in plain.state_dict().items()} == {
        k: v.shape for k, v in residual.state_dict().items()
    }


@pytest.mark.parametrize("depth", [18, 50])
def test_torchvision_weights_give_torchvision_outputs(depth: int) -> None:
    torch.manual_seed(1)
    theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    for module in theirs.modules():  # Statistics as a trained net has them.
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    ours = build(f"resnet{depth}")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        for mode in (True, False):
            assert torch.equal(ours.train(mode)(x), theirs.train(mode)(x))


@pytest.mark.parametrize("depth", [18, 50])
def test_the_same_seed_gives_torchvisions_weights(depth: int) -> None:
    torch.manual_seed(3)
    theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None).state_dict()
    torch.manual_seed(3)
    ours = build(f"resnet{depth}").state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_option_a_keeps_every_second_pixel_and_appends_zero_channels() -> None:
    net = build("resnet20").eval()
    block = net.get_submodule("layer2.0")
    assert isinstance(block, nn.Module)
    x = torch.randn(1, 16, 6, 6)
    shortcut = block.downsample(x)  # type: ignore[operator]
    assert shortcut.shape == (1, 32, 3, 3)
    assert torch.equal(shortcut[:, :16], x[:, :, ::2, ::2])
    assert not shortcut[:, 16:].any()


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_a_branch_of_zeros_leaves_the_identity(block: str) -> None:
    """H(x) = F(x) + x with F = 0 and x > 0 (He et al. 2015, section 3.1)."""
    net = ResNet(ResNetConfig(blocks=(2,), widths=(4,), block=block)).eval()
    second = net.get_submodule("layer1.1")
    for name, parameter in second.named_parameters():
        if name.startswith("bn"):
            nn.init.zeros_(parameter)
    x = torch.rand(1, 4 * BLOCKS[block].expansion, 5, 5)
    assert torch.equal(second(x.clone()), x)


@pytest.mark.parametrize("name", ["plain20", "resnet20"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_part_trains(name: str, norm: str, activation: str) -> None:
    torch.manual_seed(0)
    model = build(name, norm=norm, activation=activation)
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert (norm == "none") == any(
        m.bias is not None for m in model.modules() if isinstance(m, nn.Conv2d)
    )


def first_and_last_gradient(**changes: str) -> tuple[float, float]:
    torch.manual_seed(0)
    model = build("plain56", **changes)
    loss = nn.functional.cross_entropy(model(torch.randn(8, 3, 32, 32)), torch.arange(8))
    loss.backward()
    convs = [m.weight.grad for m in model.modules() if isinstance(m, nn.Conv2d)]
    return float(convs[0].norm()), float(convs[-1].norm())


def test_plain_56_with_batch_norm_explodes_backward() -> None:
    first, last = first_and_last_gradient()
    assert first / last > 100


def test_plain_56_with_sigmoid_and_no_norm_vanishes() -> None:
    first, last = first_and_last_gradient(activation="sigmoid", norm="none")
    assert last > 0
    assert first / last < 1e-6


def test_a_model_copies_and_pickles() -> None:
    model = build("resnet20").eval()
    x = torch.randn(1, 3, 32, 32)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.config == model.config
        assert torch.equal(twin(x), model(x))


def test_listing_models_needs_no_torch() -> None:
    code = (
        "import sys; from resnet_viz.sources.variants import VARIANTS, closed_form; "
        "[closed_form(c) for c in VARIANTS.values()]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_none_and_lists_mean_what_python_means() -> None:
    assert configure("resnet20", norm=None, shortcut=None, blocks=[1, 1, 1]) == configure(
        "resnet20", norm="none", shortcut="none", blocks=(1, 1, 1)
    )


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("resnet51", {}, "did you mean"),
        ("xyzzy", {}, "plain110"),
        ("resnet50", {"activaton": "relu"}, "did you mean activation"),
        ("resnet50", {"xyzzy": 1}, "num_classes"),
        ("resnet50", {"activation": "sigmod"}, "did you mean sigmoid"),
        ("resnet50", {"activation": ["relu"]}, "allowed: relu"),
        ("resnet50", {"shortcut": "Z"}, "allowed: A, B, C, none"),
        ("resnet50", {"num_classes": 0}, "num_classes=0"),
        ("resnet50", {"num_classes": "ten"}, "num_classes='ten'"),
        ("resnet50", {"in_channels": True}, "in_channels=True"),
        ("resnet50", {"blocks": (3, 4)}, "one width per stage"),
        ("resnet50", {"blocks": 3}, "one number per stage"),
        ("resnet50", {"blocks": ()}, "one number per stage"),
        ("resnet50", {"widths": (64, 128, 256, -1)}, "widths=-1"),
    ],
)
def test_a_mistake_gets_one_line(name: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        configure(name, **changes)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
