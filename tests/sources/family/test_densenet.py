"""DenseNet: torchvision's and timm's weights, published counts, and the paper's equation."""

from __future__ import annotations

from collections import Counter

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import resnet_viz as rv
from resnet_viz.core.errors import UserError
from resnet_viz.sources.family.densenet import DenseLayer, DenseNet
from resnet_viz.sources.family.densenet_config import DenseNetConfig

TINY = DenseNetConfig(
    blocks=(2, 3), growth_rate=4, stem="cifar", stem_width=8, num_classes=5, in_channels=2
)


def test_one_seed_gives_torchvisions_weights_and_outputs() -> None:
    torch.manual_seed(3)
    ours = DenseNet(DenseNetConfig(blocks=(6, 12, 24, 16))).eval()
    torch.manual_seed(3)
    theirs = torchvision.models.densenet121().eval()
    expected = theirs.state_dict()
    assert list(ours.state_dict()) == list(expected)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, expected[name]), name
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=1e-5)
        theirs = timm.create_model("densenet121").eval()
        ours.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "growth_rate", "stem_width", "blocks"),
    [
        ("densenet161", 48, 96, (6, 12, 36, 24)),
    ],
)
def test_state_dicts_have_torchvisions_names_and_shapes(
    name: str, growth_rate: int, stem_width: int, blocks: tuple[int, ...]
) -> None:
    config = DenseNetConfig(blocks=blocks, growth_rate=growth_rate, stem_width=stem_width)
    with torch.device("meta"):
        ours, theirs = DenseNet(config), torchvision.models.get_model(name)
    shapes = {key: value.shape for key, value in ours.state_dict().items()}
    assert shapes == {key: value.shape for key, value in theirs.state_dict().items()}
    assert str(config.depth) in name


# Parameters from the table in the authors' README; both counts from a second builder.
CIFAR = [
    (40, 12, False, 1_019_722, 264_812_928),
    (100, 12, True, 769_162, 287_929_692),
]


@pytest.mark.parametrize(("depth", "growth_rate", "bc", "params", "macs"), CIFAR)
def test_cifar_nets_have_the_published_counts(
    depth: int, growth_rate: int, bc: bool, params: int, macs: int
) -> None:
    config = DenseNetConfig(
        blocks=((depth - 4) // (6 if bc else 3),) * 3,
        growth_rate=growth_rate,
        bn_size=4 if bc else 0,
        compression=0.5 if bc else 1.0,
        stem="cifar",
        stem_width=2 * growth_rate if bc else 16,
        num_classes=10,
    )
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = DenseNet(config).eval()
        model(torch.empty(config.input_size))
    assert sum(parameter.numel() for parameter in model.parameters()) == params
    assert counter.get_total_flops() == 2 * macs
    assert config.depth == depth


def _paper(model: DenseNet, x: Tensor) -> Tensor:
    """x_l = H_l([x_0, …, x_{l-1}]), written from the paper; no bottleneck, eval mode."""
    weights = model.state_dict()

    def composite(name: str, index: str, x: Tensor, padding: int) -> Tensor:
        norm = f"{name}.norm{index}"
        x = (x - weights[f"{norm}.running_mean"].view(-1, 1, 1)) / torch.sqrt(
            weights[f"{norm}.running_var"].view(-1, 1, 1) + 1e-5
        )
        x = x * weights[f"{norm}.weight"].view(-1, 1, 1) + weights[f"{norm}.bias"].view(-1, 1, 1)
        if index == "5":
            return F.relu(x)
        return F.conv2d(F.relu(x), weights[f"{name}.conv{index}.weight"], padding=padding)

    x = F.conv2d(x, weights["features.conv0.weight"], padding=1)
    for block, layers in enumerate(model.config.blocks, start=1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            x = torch.cat([x, composite(name, "1", x, 1)], 1)
        if block < len(model.config.blocks):
            x = F.avg_pool2d(composite(f"features.transition{block}", "", x, 0), 2)
    x = composite("features", "5", x, 0).mean((2, 3))
    return x @ weights["classifier.weight"].T + weights["classifier.bias"]


def test_plain_dense_layers_are_the_papers_equation() -> None:
    model = DenseNet(TINY.changed(bn_size=0, compression=1.0)).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    images = torch.randn(2, 2, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(model(images), _paper(model, images))


def test_every_layer_reads_all_before_it() -> None:
    structure = rv.annotate(rv.trace(DenseNet(TINY), input_size=(1, 2, 8, 8)))
    assert Counter(skip.kind for skip in structure.skips) == {"concat": sum(TINY.blocks)}


def test_options_shape_the_net() -> None:
    config = TINY.changed(norm="none", activation="tanh", dropout=0.5, compression=0.25)
    model = DenseNet(config)
    assert config.block_inputs == (8, 4)
    layer = model.get_submodule("features.denseblock1.denselayer1")
    assert isinstance(layer, DenseLayer)
    assert layer.conv1.bias is not None
    images = torch.randn(2, 2, 8, 8)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert model(images).shape == (2, 5)
    assert torch.equal(model(images), model(images))
    assert not any(isinstance(module, nn.ReLU | nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_std": 0.1}, "init_std=0.1 has no effect with init='he'"),
        ({"bn_size": -1}, "bn_size=-1"),
        ({"compression": 1.5}, "compression=1.5"),
        ({"compression": 0.0}, "leaves no channel"),
        ({"init": "fixup"}, "init='fixup' is not known"),
        ({"stem": "T"}, "stem='T' is not known"),
        ({"growth": 3}, "unknown option 'growth'"),
    ],
)
def test_mistakes_are_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        TINY.changed(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_config_says_what_it_is() -> None:
    assert str(TINY.changed(bn_size=0)).startswith("dense net of depth 8: blocks of 2-3 layers")
    assert DenseNetConfig.from_dict(TINY.to_dict()) == TINY
