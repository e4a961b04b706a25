"""Nets without normalisation: zero branches are identities, variances follow their law."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch
from timm.layers import ScaledStdConv2d
from torch import Tensor, nn

import resnet_viz as rv
from resnet_viz.core.errors import UserError
from resnet_viz.sources.family.parts import ACTIVATIONS, INITS, NF_ALPHA
from resnet_viz.sources.family.resnet import ResNet
from resnet_viz.sources.family.resnet_config import ResNetConfig
from resnet_viz.sources.family.scaffolds import input_deviations
from resnet_viz.sources.family.standardised_convs import ScaledConv2d

CIFAR = ResNetConfig(
    blocks=(2, 2), widths=(4, 8), stem="cifar", num_classes=3, norm="none", shortcut="A"
)
NF = CIFAR.changed(init="nf", order="preact", shortcut="B")
ZERO_AT_FIRST = {
    "fixup": CIFAR.changed(init="fixup"),
    "fixup_bottleneck": CIFAR.changed(init="fixup", block="bottleneck", shortcut="B"),
    "skipinit": CIFAR.changed(init="skipinit"),
    "skipinit_preact": CIFAR.changed(init="skipinit", order="preact", shortcut="B"),
    "rezero": CIFAR.changed(init="rezero", block="bottleneck"),
    "zero_gamma": CIFAR.changed(norm="batch", zero_gamma=True),
    "zero_gamma_leaky": CIFAR.changed(
        norm="batch", zero_gamma=True, order="act_before_add", activation="leaky"
    ),
    "nf_zero_gamma": NF.changed(zero_gamma=True),
}


@pytest.mark.parametrize("name", ZERO_AT_FIRST)
def test_blocks_are_identities_at_first(name: str) -> None:
    torch.manual_seed(0)
    model = ResNet(ZERO_AT_FIRST[name]).double().eval()
    for stage, width in enumerate(model.config.widths, start=1):
        block = model.get_submodule(f"layer{stage}.1")
        channels = width * (4 if model.config.block == "bottleneck" else 1)
        x = torch.rand(1, channels, 3, 3, dtype=torch.float64) + 0.1
        assert torch.equal(block(x.clone()), x)
        jacobian: Tensor = torch.autograd.functional.jacobian(block, x)  # type: ignore[no-untyped-call]
        singular = torch.linalg.svdvals(jacobian.reshape(x.numel(), x.numel()))
        torch.testing.assert_close(singular, torch.ones_like(singular), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ZERO_AT_FIRST)
def test_every_weight_moves_within_three_steps(name: str) -> None:
    """A branch that begins at 0 must not stay there: gradients reach all in turn."""
    torch.manual_seed(0)
    model = ResNet(ZERO_AT_FIRST[name]).double()
    first = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images, labels = torch.randn(8, 3, 8, 8, dtype=torch.float64), torch.randint(3, (8,))
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    assert not [name for name, value in model.named_parameters() if torch.equal(value, first[name])]


@pytest.mark.parametrize("name", ZERO_AT_FIRST)
def test_scalars_leave_shortcuts_identities(name: str) -> None:
    model = ResNet(ZERO_AT_FIRST[name])
    structure = rv.annotate(rv.trace(model, input_size=(1, 3, 8, 8)))
    projections = sum("downsample.0.weight" in name for name, _ in model.named_parameters())
    kinds = Counter(skip.kind for skip in structure.skips)
    assert kinds == Counter(identity=4 - projections, projection=projections)


def test_fixup_has_the_reference_codes_scalars_and_scales() -> None:
    """Per basic block biases 1a, 1b, 2a, 2b and a multiplier; two more biases in the net."""
    torch.manual_seed(0)
    config = CIFAR.changed(init="fixup", blocks=(8, 8), widths=(32, 64))
    model = ResNet(config)
    scalars = [value for value in model.parameters() if value.numel() == 1]
    assert len(scalars) == 5 * 16 + 2
    assert sum(bool(value == 1) for value in scalars) == 16
    assert all(conv.bias is None for conv in model.modules() if isinstance(conv, nn.Conv2d))
    assert not model.fc.weight.any()
    assert not model.fc.bias.any()
    for stage, width in ((1, 32), (2, 64)):
        for index in range(8):
            block = model.get_submodule(f"layer{stage}.{index}")
            std = math.sqrt(2 / (9 * width)) * 16**-0.5
            weight = block.get_submodule("conv1").get_parameter("weight")
            assert weight.std().item() == pytest.approx(std, rel=0.06)
            assert not block.get_submodule("conv2").get_parameter("weight").any()


def test_fixup_scales_bottlenecks_by_the_fourth_root() -> None:
    torch.manual_seed(0)
    model = ResNet(
        CIFAR.changed(
            init="fixup", block="bottleneck", shortcut="B", widths=(64, 64), blocks=(8, 8)
        )
    )
    block = model.get_submodule("layer1.1")
    for index, taps in ((1, 1), (2, 9)):
        weight = block.get_submodule(f"conv{index}").get_parameter("weight")
        assert weight.std().item() == pytest.approx(math.sqrt(2 / (64 * taps)) / 2, rel=0.06)
    projection = model.get_submodule("layer1.0.downsample.0").get_parameter("weight")
    assert projection.std().item() == pytest.approx(math.sqrt(2 / 256), rel=0.06)


def _fixup_by_hand(model: ResNet, x: Tensor) -> Tensor:
    """The forward pass of Zhang et al. 2019's CIFAR net, written from its figure 1."""
    relu = torch.relu
    value = dict(model.named_parameters())
    strides = [1 if stage == 0 or place else 2 for stage in range(2) for place in range(2)]
    x = relu(nn.functional.conv2d(x, value["conv1.weight"], padding=1) + value["bn1.bias"])
    names = [f"layer{stage}.{place}" for stage in (1, 2) for place in (0, 1)]
    for name, stride in zip(names, strides, strict=True):
        begun = x + value[f"{name}.bias1.bias"]
        out = nn.functional.conv2d(begun, value[f"{name}.conv1.weight"], None, stride, 1)
        out = relu(out + value[f"{name}.bn1.bias"]) + value[f"{name}.bias2.bias"]
        out = nn.functional.conv2d(out, value[f"{name}.conv2.weight"], padding=1)
        out = out * value[f"{name}.bn2.scale"] + value[f"{name}.bn2.bias"]
        if stride == 2:
            x = begun[:, :, ::2, ::2]
            x = torch.cat([x, torch.zeros_like(x)], 1)
        x = relu(out + x)
    return (x.mean((2, 3)) + value["bias.bias"]) @ value["fc.weight"].T + value["fc.bias"]


def test_fixup_is_the_reference_codes_function() -> None:
    torch.manual_seed(0)
    model = ResNet(CIFAR.changed(init="fixup")).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(model(x), _fixup_by_hand(model, x))


def _first_update(depth: int, scaling: float) -> float:
    """How far one small step on the branches moves the logits, over its learning rate."""
    torch.manual_seed(0)
    config = CIFAR.changed(init="fixup", blocks=((depth - 2) // 6,) * 3, widths=(4, 8, 16))
    model = ResNet(config).double()
    # The same stem and last layer at every depth; one of zeros would stop all gradients.
    torch.manual_seed(1)
    nn.init.normal_(model.fc.weight, std=0.25)
    nn.init.kaiming_normal_(model.conv1.get_parameter("weight"))
    branches = [value for name, value in model.named_parameters() if ".conv" in name]
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    labels = torch.arange(4) % 3
    rate = 1e-5
    with torch.no_grad():
        for weight in branches:
            weight *= scaling
    logits = model(images)
    nn.functional.cross_entropy(logits, labels).backward()
    with torch.no_grad():
        for weight in branches:
            weight -= rate * weight.grad  # type: ignore[operator]
        moved: Tensor = model(images) - logits
    return moved.norm().item() / rate


def test_fixups_first_update_does_not_grow_with_depth() -> None:
    """Zhang et al. 2019: Θ(η) whatever the number of blocks L; with He's scale it is Θ(ηL)."""
    fixup = _first_update(110, 1.0) / _first_update(20, 1.0)
    assert 1 / 2 < fixup < 2
    he = _first_update(110, math.sqrt(54)) / _first_update(20, math.sqrt(9))
    assert he == pytest.approx(6 * fixup, rel=1e-3)


def _variances(model: ResNet, x: Tensor) -> list[float]:
    """Variance over ``(N, H, W)`` of what each block puts out, averaged over channels.

    Inner values only: next to the border, padding takes some of the variance away.
    """
    seen: list[float] = []

    def measure(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        margin = (2, 3, 4, 4, 5, 6)[len(seen)]
        inner = out[:, :, margin:-margin, margin:-margin]
        seen.append(inner.var((0, 2, 3)).mean().item())

    for module in model.modules():
        if hasattr(module, "downsample"):
            module.register_forward_hook(measure)
    with torch.no_grad():
        model(x)
    return seen


# β divides what the activation has put out: exact where that is homogeneous, as relu is.
@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_nf_variance_grows_by_alpha_squared_and_resets(activation: str) -> None:
    """Brock et al. 2021: Var_{l+1} = Var_l + α², and 1 + α² behind a transition."""
    torch.manual_seed(0)
    sizes = {"stem_width": 256, "widths": (64, 64), "blocks": (3, 3)}
    config = NF.changed(block="bottleneck", activation=activation, **sizes)
    draws = [_variances(ResNet(config), torch.randn(8, 3, 40, 40)) for _ in range(4)]
    variances = [sum(draw) / len(draws) for draw in zip(*draws, strict=True)]
    expected = [1 + NF_ALPHA**2 * step for step in (1, 2, 3, 1, 2, 3)]
    assert variances == pytest.approx(expected, abs=0.05)
    steps = [b - a for a, b in pairwise(variances)]
    del steps[2]
    assert steps == pytest.approx([NF_ALPHA**2] * 4, abs=0.015)


def test_without_scaffold_variance_doubles_with_each_block() -> None:
    """De & Smith 2020: E x² of an unnormalised residual net doubles in every block."""
    torch.manual_seed(0)
    model = ResNet(CIFAR.changed(order="preact", blocks=(5,), widths=(128,), shortcut="B"))
    seen: list[float] = []
    for module in model.modules():
        if hasattr(module, "downsample"):
            module.register_forward_hook(
                lambda module, given, out: seen.append(out[..., 12:-12, 12:-12].square().mean())
            )
    with torch.no_grad():
        model(torch.randn(4, 3, 32, 32))
    growth = (seen[-1] / seen[0]) ** (1 / 4)
    assert growth == pytest.approx(2, rel=0.15)


def test_nf_divides_by_the_expected_deviation() -> None:
    alpha = NF_ALPHA**2
    squares = [deviation**2 for deviation in input_deviations(NF.changed(blocks=(3, 3)))]
    expected = [1, 1 + alpha, 1 + 2 * alpha, 1 + 3 * alpha, 1 + alpha, 1 + 2 * alpha]
    assert squares == pytest.approx(expected)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gains_are_one_over_the_activations_deviation(name: str) -> None:
    """Published gains are sample estimates: within 0.1 % of the integral."""
    part = ACTIVATIONS[name]
    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2)
    density /= density.sum()
    out = getattr(nn, part.module)(**part.options)(z)
    mean = (out * density).sum()
    deviation = ((out - mean).square() * density).sum().sqrt().item()
    assert part.gain == pytest.approx(1 / deviation, rel=1e-3)
    if name == "relu":
        assert 1 / deviation == pytest.approx(math.sqrt(2 / (1 - 1 / math.pi)), rel=1e-6)


def test_scaled_convolutions_are_timms() -> None:
    torch.manual_seed(0)
    ours = ScaledConv2d(8, 6, 3, gamma=1.7, stride=2, padding=1, groups=2)
    theirs = ScaledStdConv2d(8, 6, 3, gamma=1.7, stride=2, groups=2, eps=1e-5)
    nn.init.normal_(ours.gain)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 8, 9, 9)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)


def test_a_filter_of_one_weight_is_its_own_mean() -> None:
    for norm in ("none", "group_ws"):
        config = NF.changed(widths=(1, 2), norm=norm, init="nf" if norm == "none" else "he")
        assert ResNet(config)(torch.randn(2, 3, 9, 9)).isfinite().all()
    conv = ScaledConv2d(1, 4, 1, gamma=1.7, bias=False)
    assert conv(torch.ones(1, 1, 3, 3)).abs().max() < 1e-3  # 0 but for rounding


@pytest.mark.parametrize("init", [name for name, part in INITS.items() if part.scaffold])
@pytest.mark.parametrize("changes", [{"norm": "batch"}, {"shortcut": "none"}])
def test_scaffolds_say_what_they_need(init: str, changes: dict[str, str]) -> None:
    config = NF if init == "nf" else CIFAR
    with pytest.raises(UserError) as caught:
        config.changed(init=init, **changes)
    ((option, value),) = changes.items()
    assert f"{option}={value!r}" in str(caught.value)
    assert "\n" not in str(caught.value)
