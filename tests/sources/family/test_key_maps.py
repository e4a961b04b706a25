"""State dicts of torchvision, timm and transformers give the same outputs here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

from resnet_viz.core.errors import UserError
from resnet_viz.sources.family.key_maps import layout_of, translated
from resnet_viz.sources.loading import ModelSpec, load
from resnet_viz.sources.recognition import recognised
from resnet_viz.sources.variants import VARIANTS, build
from resnet_viz.sources.weights import apply_weights

# One of each kind: block, stem, shortcut, attention, anti-aliasing, norm, order.
TIMM = (
    "resnet10t",
    "resnet18d",
    "seresnet18",
    "ecaresnet26t",
    "resnetblur18",
    "legacy_seresnet18",
    "resnetv2_18",
    "resnetv2_18d",
    "resnetv2_50x1_bit",
)
# These have fewer blocks here: where timm counts them, in one call.
SHORTER = {
    "resnet50s": "layers",
    "resnet50_gn": "layers",
    "resnetaa50d": "layers",
    "resnetrs50": "layers",
    "seresnext50_32x4d": "layers",
    "legacy_seresnet50": "layers",
    "legacy_seresnext26_32x4d": "layers",
    "resnetv2_50": "layers",
    "resnetv2_50t": "layers",
    "nf_resnet50": "depths",
}
TORCHVISION = ("resnext50_32x4d",)  # test_he_nets.py and test_densenet.py have the others
TWINS = [name for name, c in VARIANTS.items() if c.depth <= 50 and timm.is_model(name)]


def randomised(model: nn.Module) -> nn.Module:
    """Weights and statistics as a trained net has them: nothing 0, 1 or equal."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if hasattr(module, "gain"):
            nn.init.uniform_(module.gain, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.1)
    return model.eval()


def assert_same(theirs: nn.Module, ours: nn.Module) -> None:
    # In float32 two runs of one standardised net (BiT) may already differ by 1e-5.
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        assert_close(ours.eval().double()(images), theirs.double()(images))


def assert_close(got: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.isfinite().all()
    assert expected.std() > 0
    assert float((got - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("name", [*TIMM, *SHORTER])
def test_timm_weights_give_timm_outputs(name: str) -> None:
    blocks = (2, 1, 1, 1)
    shorter = {SHORTER[name]: blocks} if name in SHORTER else {}
    theirs = randomised(timm.create_model(name, num_classes=10, **shorter))
    ours = build(name, num_classes=10, **({"blocks": blocks} if shorter else {}))
    apply_weights(ours, theirs.state_dict(), source="timm", name=name)
    assert_same(theirs, ours)


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_in_timm_has_the_same_tensors(name: str) -> None:
    with torch.device("meta"):
        theirs, ours = timm.create_model(name).state_dict(), build(name).state_dict()
    here = translated(VARIANTS[name], theirs)
    assert {k: v.shape for k, v in here.items()} == {k: v.shape for k, v in ours.items()}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_weights_load_as_they_are(name: str) -> None:
    theirs = randomised(torchvision.models.get_model(name, weights=None))
    ours = build(name)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert_same(theirs, ours)


def test_the_names_torchvision_publishes_its_densenets_under_are_known() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.densenet121(weights=None)
    published = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): value
        for key, value in theirs.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in published
    assert list(translated(None, published)) == list(theirs.state_dict())


def test_transformers_weights_give_transformers_outputs() -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], num_labels=10)
    config.layer_type = "basic"
    theirs = randomised(ResNetForImageClassification(config))
    ours = build("resnet18", num_classes=10)
    apply_weights(ours, theirs.state_dict(), source="transformers", name="resnet18")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert_close(ours.eval()(images), theirs(images).logits)


def test_names_used_here_are_nobody_elses() -> None:
    for name in ("resnet20", "resnetv2_18", "resnet10t", "nf_resnet26", "legacy_seresnet50"):
        with torch.device("meta"):
            state = build(name).state_dict()
        assert not layout_of(state)
        assert translated(VARIANTS[name], state).keys() == state.keys()


@pytest.mark.parametrize(
    "name",
    ["resnetv2_18", "resnet26t", "nf_resnet26", "legacy_seresnext26_32x4d", "densenet121"],
)
def test_inspect_recognises_a_net_by_the_names_of_timm(name: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name, num_classes=7)
    shapes = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    assert recognised(shapes) == f"{name} --arg num_classes=7"


def test_a_state_dict_that_fits_several_nets_is_the_best_known() -> None:
    for name in ("resnet50", "resnet20", "wide_resnet50_2"):
        with torch.device("meta"):
            state = build(name).state_dict()
        assert recognised({key: tuple(value.shape) for key, value in state.items()}) == name


def test_a_file_of_timm_is_weights_of_ours(tmp_path: Path) -> None:
    theirs = randomised(timm.create_model("resnetv2_18", num_classes=10))
    file = tmp_path / "trained.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}}, file)
    spec = ModelSpec(text="resnetv2_18", args=(("num_classes", 10),), weights=str(file))
    assert_same(theirs, load(spec).model)


def test_weights_of_another_net_are_still_refused() -> None:
    theirs = timm.create_model("resnetv2_18", num_classes=10)
    with pytest.raises(UserError, match="do not fit resnet18"):
        apply_weights(build("resnet18"), theirs.state_dict(), source="timm", name="resnet18")
