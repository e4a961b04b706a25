"""Refusals: each shown to be right by the number that would have come out."""

from __future__ import annotations

import captum.attr
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import (
    VisionTransformer,
    mobilenet_v3_small,
    resnet18,
    squeezenet1_1,
    vgg11,
)

from resnet_viz.analysis import annotate
from resnet_viz.measuring.attributions.methods import METHODS
from resnet_viz.measuring.attributions.rewriting import one_module_per_call
from resnet_viz.measuring.attributions.validity import refusal
from resnet_viz.tracing.tracer import trace_model
from tests.analysis.nets import NETS
from tests.measuring.attributions.test_rewriting import (
    ELEMENTWISE,
    IMAGE,
    Middle,
    Scores,
    asked,
    by_us,
    missed,
    trained_like,
)

pytestmark = pytest.mark.filterwarnings("ignore:Setting", "ignore:Input Tensor")

SMALL = IMAGE[..., :16, :16]
ROW = torch.randn(2, 6, dtype=torch.float64, generator=torch.manual_seed(3))


def refused(name: str, model: nn.Module, *args: Tensor, layer: str = "") -> str:
    graph = trace_model(model, args, training=False)
    return refusal(METHODS[name], graph, annotate(graph), layer)


def vit() -> nn.Module:
    return VisionTransformer(16, 8, 1, 2, 8, 16, num_classes=3)


class Tiny(nn.Module):
    """A residual net of two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.one, self.two = Block(), Block()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.one(self.stem(x))).mean((2, 3)))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.again, self.act = (
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Conv2d(4, 4, 1),
            nn.ReLU(),
        )
        self.softly = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.softly(self.again(self.act(self.conv(x)))) + x)


# Layers inside a branch.


def gap(model: nn.Module, layer: str, steps: int) -> float:
    """By how much the sum of captum's conductance misses F(x) − F(x′), relative to it."""
    model = model.eval()
    x, start = SMALL[:1], torch.zeros_like(SMALL[:1])
    explainer = captum.attr.LayerConductance(model, model.get_submodule(layer))
    values = explainer.attribute(x, start, target=1, n_steps=steps, internal_batch_size=64)
    with torch.no_grad():
        moved = float((model(x) - model(start))[0, 1])
    return abs(float(values.detach().sum()) - moved) / abs(moved)


def test_conductance_converges_at_a_cut_and_never_inside_a_branch() -> None:
    torch.manual_seed(0)
    model = Tiny().double()
    cut, inside = "one", "one.softly"
    assert refused("layer_conductance", model, SMALL, layer=cut) == ""
    reason = refused("layer_conductance", model, SMALL, layer=inside)
    assert reason == (
        "part of the score goes past 'one.softly' on a skip, so its values cannot sum to "
        "F(x) − F(x′), however many steps; take 'one' around it"
    )
    few, many = gap(model, cut, 20), gap(model, cut, 320)
    assert many < 0.02
    assert many < few / 4
    few, many = gap(model, inside, 20), gap(model, inside, 320)
    assert many > 0.1
    assert many == pytest.approx(few, rel=0.1)


def test_the_layer_named_instead_is_valid() -> None:
    model = resnet18(num_classes=3)
    name = "layer_conductance"
    for layer in ("layer2.0.conv1", "layer2.0.downsample", "layer3.1.bn2"):
        reason = refused(name, model, IMAGE.float(), layer=layer)
        block = layer.rpartition(".")[0]
        assert reason.endswith(f"take {block!r} around it")
        assert refused(name, model, IMAGE.float(), layer=block) == ""
    for layer in ("conv1", "layer4", "avgpool", "fc"):
        assert refused(name, model, IMAGE.float(), layer=layer) == ""
    # No sum is claimed here, so none can fail.
    for free in ("internal_influence", "layer_activation", "layer_grad_cam"):
        assert refused(free, model, IMAGE.float(), layer="layer2.0.conv1") == ""


def test_inside_a_u_net_the_next_cut_is_named() -> None:
    net = NETS["UNet"]
    graph = trace_model(net.build(), net.args, training=False)
    structure = annotate(graph)
    row = METHODS["layer_integrated_gradients"]
    inside = next(op for op in graph.ops if refusal(row, graph, structure, op.module))
    reason = refusal(row, graph, structure, inside.module)
    better = reason.split("take '")[1].partition("'")[0]
    assert refusal(row, graph, structure, better) == ""


def test_a_layer_that_runs_twice_is_refused_by_every_method_that_looks_at_it() -> None:
    model = Tiny()
    for name in ("layer_grad_cam", "layer_activation", "layer_conductance"):
        reason = refused(name, model, SMALL.float(), layer="two.act")
        assert reason.startswith("module 'two.act' runs 2 times")
        assert reason.endswith("take 'two' around it")
    # Captum's answer is of the last call, without a word.
    model.eval()
    (found,) = (captum.attr.LayerActivation(model, model.two.act).attribute(SMALL.float()),)
    assert torch.equal(found, model.two(model.one(model.stem(SMALL.float()))))


# DeepLIFT.


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.gate(x))


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, None]
        return (torch.softmax(x @ x.transpose(1, 2), -1) @ x).squeeze(2)


WITHOUT_RULE = {
    "layer_norm": nn.LayerNorm(6),
    "softmax": nn.Softmax(-1),
    "the product of two activations": Gate(),
    "product of an activation with itself": Attention(),
    "normalize": lambda x: F.normalize(x, dim=-1),
    "a quotient": lambda x: x / (1 + x.abs().sum(1, keepdim=True)),
    "amax": lambda x: x - x.amax(1, keepdim=True),
    "a mask made from the input": lambda x: x * (x > 0),
}


@pytest.mark.parametrize("name", WITHOUT_RULE)
def test_deep_lift_is_refused_where_its_sum_misses(name: str) -> None:
    torch.manual_seed(0)
    model = Middle(WITHOUT_RULE[name]).double()
    assert missed(model, ROW, baselines=-ROW.flip(1)) > 0.01
    reason = refused("deep_lift", model, ROW)
    assert reason.startswith("DeepLIFT has no rule for ")
    assert reason.endswith("use integrated_gradients")
    assert refused("deep_lift_shap", model, ROW) == reason
    assert refused("integrated_gradients", model, ROW) == ""


WITH_RULE = {
    "a mask of its own": lambda x: x * torch.tensor([1.0, 0, 1, 1, 0, 1], dtype=torch.float64),
    "a scale and a shift": lambda x: (x - 0.3) / 0.2,
    "parts put together": lambda x: torch.cat([x[:, 3:], F.gelu(x[:, :3])], 1),
    "a branch": lambda x: x + F.elu(x) - torch.tanh(x),
    "written into": lambda x: x.mul_(2).add_(1),
    "reversed": lambda x: 1 - x.flip(1),
}


@pytest.mark.parametrize("name", WITH_RULE)
def test_deep_lift_is_allowed_where_its_sum_holds(name: str) -> None:
    torch.manual_seed(0)
    model = Middle(WITH_RULE[name]).double()
    assert refused("deep_lift", model, ROW) == ""
    assert missed(model, ROW) < 1e-12


STEPS = {**WITH_RULE, **ELEMENTWISE, **WITHOUT_RULE, "linear": nn.Linear(6, 6)}


@settings(max_examples=40)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4), st.integers(0, 99))
def test_what_is_not_refused_is_complete(names: list[str], seed: int) -> None:
    torch.manual_seed(seed)

    def chain(x: Tensor) -> Tensor:
        for name in names:
            # A step may write into what the one before it keeps for the backward.
            x = STEPS[name](x.clone())
        return x

    model = Middle(chain).double()
    model.steps = nn.ModuleList(STEPS[n].double() for n in names if isinstance(STEPS[n], nn.Module))
    reason = refused("deep_lift", model, ROW)
    assert bool(reason) == any(name in WITHOUT_RULE for name in names)
    if not reason:
        assert missed(model, ROW, baselines=-ROW.flip(1)) < 1e-7


def test_deep_lift_on_whole_models() -> None:
    assert refused("deep_lift", resnet18(), IMAGE.float()) == ""
    assert refused("deep_lift", squeezenet1_1(), IMAGE.float()) == ""
    assert "features.1.block.1" in refused("deep_lift", mobilenet_v3_small(), IMAGE.float())
    reason = refused("deep_lift", vit(), SMALL.float())
    assert "layer_norm" in reason
    assert "scaled_dot_product_attention" in reason


# Guided Backprop and Deconvolution.


@pytest.mark.parametrize("name", ["guided_backprop", "deconvolution", "guided_grad_cam"])
def test_without_a_relu_it_is_the_plain_gradient(name: str) -> None:
    assert refused(name, resnet18(), IMAGE.float()) == ""
    reason = refused(name, vit(), SMALL.float())
    assert reason == (
        "no ReLU lies between input and output (its activations are gelu), so it is the plain "
        "gradient under another name; use saliency"
    )


def test_without_a_relu_captum_gives_the_plain_gradient() -> None:
    torch.manual_seed(0)
    model = Middle(F.gelu).double()
    x = ROW.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    assert torch.equal(by_us(model, "GuidedBackprop", ROW), gradient)


def test_a_relu_beside_the_way_to_the_output_is_none() -> None:
    class Beside(Middle):
        def forward(self, x: Tensor) -> Tensor:
            torch.relu(x)
            return super().forward(x)

    assert "no ReLU" in refused("guided_backprop", Beside(F.gelu).double(), ROW)
    assert refused("guided_backprop", Middle(lambda x: x.clamp(0, 3)).double(), ROW) == ""
    assert "no ReLU" in refused("guided_backprop", Middle(lambda x: x.clamp(-1, 3)).double(), ROW)


# LRP.


def relevance_missed(model: nn.Module, x: Tensor) -> float:
    """By how much the relevance misses F(x), relative to it, with no bias to absorb any."""
    for module in model.modules():
        if isinstance(getattr(module, "bias", None), Tensor):
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.running_mean)
    with asked(model, x) as question, one_module_per_call(question, "LRP") as new:
        (values,) = captum.attr.LRP(Scores(new)).attribute(new.inputs)
        missing = values.detach().flatten(1).sum(1) - question.value
        return float((missing / question.value).abs().max())


class SideBySide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x).relu(), F.relu(self.three(x))], 1)


def test_lrp_is_refused_where_branches_are_added_and_only_there() -> None:
    torch.manual_seed(0)
    residual = trained_like(resnet18(num_classes=3))
    assert relevance_missed(residual, IMAGE) > 10
    reason = refused("lrp", residual, IMAGE)
    assert reason.startswith("branches join at 8 places (layer1.0/add#0, layer1.1/add#0 and 6")
    assert reason.endswith("use deep_lift")
    side_by_side = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), SideBySide(), nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(3)
    ).double()
    side_by_side(SMALL)
    assert refused("lrp", side_by_side, SMALL) == ""
    assert relevance_missed(side_by_side, SMALL) < 1e-4
    assert refused("lrp", vgg11(), IMAGE.float()) == ""
    assert refused("lrp", squeezenet1_1(), IMAGE.float()) == ""


def test_lrp_names_what_it_has_no_rule_for() -> None:
    assert refused("lrp", vit(), SMALL.float()).endswith("use integrated_gradients")
    assert refused("lrp", Middle(torch.sigmoid).double(), ROW) == (
        "captum's LRP has no rule for sigmoid (sigmoid#0); use deep_lift"
    )
    assert refused("lrp", Middle(lambda x: 2 * x).double(), ROW) == (
        "captum's LRP has no rule for a product with a constant (mul#0); use deep_lift"
    )


def test_a_method_that_hooks_nothing_is_valid_everywhere() -> None:
    graph = trace_model(vit(), (SMALL.float(),))
    structure = annotate(graph)
    for name in ("saliency", "integrated_gradients", "occlusion", "gradient_shap"):
        assert refusal(METHODS[name], graph, structure) == ""
