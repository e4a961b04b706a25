"""Every planted fault is found and nothing else is; healthy nets give no finding at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import resnet_viz as rv
from tests.analysis.faults import FAULTS


@pytest.fixture(autouse=True)
def _one_seed_and_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_and_nothing_else(name: str) -> None:
    planted = FAULTS[name]()
    flow = rv.gradient_flow(planted.model, planted.data, **planted.options)
    assert [f.what for f in flow.findings] == [planted.what]
    (finding,) = flow.findings
    if planted.where[0].endswith("*"):
        assert all(w.startswith(planted.where[0][:-1]) for w in finding.where)
    else:
        assert finding.where == planted.where
    words = (finding.evidence, finding.threshold, finding.source, finding.remedy)
    assert all(words)
    assert not any("\n" in text for text in words)


def torchvisions(name: str, **kwargs: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision

        return torchvision.models.get_model(name, weights=None, **kwargs)

    return build


def timms(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name)

    return build


def ours(name: str, **changes: object) -> Callable[[], nn.Module]:
    return lambda: rv.build(name, **changes)


IMAGENET = {
    "torchvision resnet18": torchvisions("resnet18"),
    "torchvision resnet50": torchvisions("resnet50"),
    "torchvision vit_b_16": torchvisions("vit_b_16", image_size=64),
    "torchvision convnext_tiny": torchvisions("convnext_tiny"),
    "torchvision mobilenet_v2": torchvisions("mobilenet_v2"),
    "torchvision densenet121": torchvisions("densenet121"),
    "timm seresnet18": timms("seresnet18"),
    "resnet18": ours("resnet18"),
    "resnet50": ours("resnet50"),
    "resnet50 with a gamma of zero": ours("resnet50", zero_gamma=True),
}
CIFAR = {
    name: ours(name) for name in ("resnet56", "resnetv2_18", "nf_resnet26", "densenet_40_12")
} | {"pre-activation resnet56": ours("resnet56", order="preact")}


@pytest.mark.parametrize("name", IMAGENET)
def test_nets_for_imagenet_are_healthy_at_their_own_initialisation(name: str) -> None:
    flow = rv.gradient_flow(IMAGENET[name](), input_size=(3, 3, 64, 64))
    assert flow.findings == ()


@pytest.mark.parametrize("name", CIFAR)
def test_nets_for_cifar_are_healthy_at_their_own_initialisation(name: str) -> None:
    flow = rv.gradient_flow(CIFAR[name](), input_size=(4, 3, 32, 32))
    assert flow.findings == ()


@pytest.mark.parametrize("init", ["fixup", "skipinit", "rezero"])
def test_zero_initialised_nets_without_norm_are_healthy(init: str) -> None:
    flow = rv.gradient_flow(
        rv.build("resnet20_b", norm="none", init=init), input_size=(4, 3, 32, 32)
    )
    assert flow.findings == ()


def test_a_small_gpt_2_is_healthy() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_layer=4, n_embd=64, n_head=4, vocab_size=100, n_positions=32,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    ids = torch.randint(0, 100, (2, 16))
    flow = rv.gradient_flow(GPT2LMHeadModel(config), ({"input_ids": ids, "labels": ids}, None))
    assert flow.findings == ()


def test_what_waits_behind_a_zero_head_is_said() -> None:
    model = torchvisions("vit_b_16", image_size=32, num_classes=10)()
    flow = rv.gradient_flow(model, input_size=(2, 3, 32, 32))
    assert flow.findings == ()
    assert flow.notes == (
        "150 parameters get exactly zero gradient now because heads.head.weight is all zeros; it "
        "moves first, the others follow from the second step on.",
    )
