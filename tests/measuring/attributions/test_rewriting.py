"""One module per call: captum on a rewritten model says what it says of one unrolled by hand."""

from __future__ import annotations

import copy
import gc
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import captum.attr
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torchvision.models import ResNet, mobilenet_v2, resnet18
from torchvision.models.resnet import BasicBlock

from resnet_viz.analysis import annotate
from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.errors import NotApplicableError
from resnet_viz.measuring.attributions.question import Question, asking
from resnet_viz.measuring.attributions.rewriting import one_module_per_call, reuses, told
from resnet_viz.measuring.attributions.rewriting.kinds import Window
from resnet_viz.tracing.tracer import trace_model

pytestmark = pytest.mark.filterwarnings("ignore:Setting", "ignore:Input Tensor")

HOOKING = ("DeepLift", "GuidedBackprop", "Deconvolution")


class Scores(nn.Module):
    """What captum is given: the score of every row, and the modules it may hook."""

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.model = question.model
        self.scores = question.forward

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.scores(*tensors)


@contextmanager
def asked(model: nn.Module, *args: Tensor, **given: Any) -> Iterator[Question]:
    options = {n: given.pop(n) for n in ("target", "baselines") if n in given}
    graph = trace_model(model, args, given, training=False)
    with asking(
        model,
        args,
        given,
        graph=graph,
        structure=annotate(graph),
        options=AttributionOptions(**{"target": 1, **options}),
    ) as questions:
        yield questions[0]


def explained(question: Question, method: str) -> Tensor:
    """What a captum class says of the first input."""
    explainer = getattr(captum.attr, method)(Scores(question))
    references = {"baselines": question.baseline.tensors} if method == "DeepLift" else {}
    (values, *_) = explainer.attribute(question.inputs, **references)
    return values.detach()


def by_us(model: nn.Module, method: str, *args: Tensor, **given: Any) -> Tensor:
    with asked(model, *args, **given) as question, one_module_per_call(question, method) as new:
        return explained(new, method)


def missed(model: nn.Module, *args: Tensor, rewrite: bool = True, **given: Any) -> float:
    """By how much DeepLIFT misses F(x) − F(x′), relative to it."""
    with asked(model, *args, **given) as question:
        with torch.no_grad():
            moved = question.value - question.forward(*question.baseline.tensors)
        if rewrite:
            with one_module_per_call(question) as new:
                values = explained(new, "DeepLift")
        else:
            values = explained(question, "DeepLift")
        return float(((values.flatten(1).sum(1) - moved) / moved).abs().max())


class Residual(nn.Module):
    """Two layers around a skip; how its activations are called is left open."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(6, 6)
        self.first = nn.Linear(6, 6)
        self.second, self.third = nn.Linear(6, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)
        self.one, self.two, self.three = nn.ReLU(), nn.ReLU(), nn.Sigmoid()
        self.again = nn.ReLU(inplace=True)

    def act(self, x: Tensor, k: int) -> Tensor:
        return (self.one, self.two)[k](x)

    def squash(self, x: Tensor) -> Tensor:
        return self.three(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inside(x)
        y = self.act(self.first(x), 0)
        y = self.second(y)
        y += x
        return self.head(self.squash(self.third(self.act(y, 1))))


class Functional(Residual):
    def act(self, x: Tensor, k: int) -> Tensor:
        return F.relu(x) if k else torch.relu_(x)

    def squash(self, x: Tensor) -> Tensor:
        return x.sigmoid()


class Reused(Residual):
    def act(self, x: Tensor, k: int) -> Tensor:
        return self.again(x)


class ByEffect(Residual):
    """Writes in place and goes on with what it wrote into."""

    def act(self, x: Tensor, k: int) -> Tensor:
        self.again(x) if k else x.relu_()
        return x

    def squash(self, x: Tensor) -> Tensor:
        torch.sigmoid_(x)
        return x


class Oddly(Residual):
    """The same functions by other names."""

    def act(self, x: Tensor, k: int) -> Tensor:
        return x.clamp(min=0) if k else torch.relu(input=x)

    def squash(self, x: Tensor) -> Tensor:
        return torch.ops.aten.sigmoid.default(x)


@pytest.mark.parametrize("method", HOOKING)
@pytest.mark.parametrize("form", [Functional, Reused, ByEffect, Oddly])
def test_equals_captum_on_the_same_net_of_modules(form: type[Residual], method: str) -> None:
    torch.manual_seed(0)
    plain = Residual().double()
    other = form().double()
    other.load_state_dict(plain.state_dict())
    x = torch.randn(2, 6, dtype=torch.float64)
    with asked(plain, x) as question:
        expected = explained(question, method)
    torch.testing.assert_close(by_us(other, method, x), expected, rtol=1e-12, atol=1e-14)


def test_captum_alone_takes_the_gradient_of_a_function_call() -> None:
    torch.manual_seed(0)
    model = Functional().double()
    x = torch.randn(2, 6, dtype=torch.float64)
    assert missed(model, x, rewrite=False) > 0.01
    assert missed(model, x) < 1e-12


class Unrolled(nn.Module):
    """A block of torchvision's with a ReLU of its own for each call."""

    def __init__(self, block: BasicBlock) -> None:
        super().__init__()
        self.block = nn.ModuleList([block.conv1, block.bn1, block.conv2, block.bn2])
        self.downsample = block.downsample or nn.Sequential()
        self.one, self.two = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        conv1, norm1, conv2, norm2 = self.block
        return self.two(norm2(conv2(self.one(norm1(conv1(x))))) + self.downsample(x))


def trained_like(model: nn.Module) -> nn.Module:
    """With statistics that no rounding error passes for."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.double()


def unrolled(model: ResNet) -> ResNet:
    new = copy.deepcopy(model)
    new.relu = nn.ReLU()
    for name in ("layer1", "layer2", "layer3", "layer4"):
        setattr(new, name, nn.Sequential(*map(Unrolled, getattr(new, name))))
    return new


@pytest.fixture(scope="module")
def net() -> ResNet:
    torch.manual_seed(0)
    return trained_like(resnet18(num_classes=3))


IMAGE = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.manual_seed(1))
OTHER = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.manual_seed(2))


def test_a_resnet_that_captum_refuses_is_complete(net: ResNet) -> None:
    with (
        asked(net, IMAGE) as question,
        pytest.raises(RuntimeError, match="used more than once"),
    ):
        explained(question, "DeepLift")
    assert missed(net, IMAGE) < 1e-10
    assert missed(net, IMAGE, baselines=OTHER) < 1e-10


@pytest.mark.parametrize("method", ["GuidedBackprop", "Deconvolution"])
def test_a_resnet_is_as_one_unrolled_by_hand(net: ResNet, method: str) -> None:
    with asked(unrolled(net), IMAGE) as question:
        expected = explained(question, method)
    assert torch.equal(by_us(net, method, IMAGE), expected)


def test_deep_lift_is_as_unrolled_by_hand_where_captums_hooks_stay_apart() -> None:
    torch.manual_seed(0)
    model = trained_like(resnet18(num_classes=3))
    # A hook on the tensor between ReLU and pooling would be set by both.
    model.maxpool = nn.Identity()
    small = IMAGE[..., :16, :16]
    with asked(unrolled(model), small) as question:
        expected = explained(question, "DeepLift")
    found = by_us(model, "DeepLift", small)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_layers_keep_their_paths(net: ResNet) -> None:
    hand = unrolled(net)
    expected = captum.attr.GuidedGradCam(hand.eval(), hand.layer3).attribute(IMAGE, target=1)
    with (
        asked(net, IMAGE) as question,
        one_module_per_call(question, "GuidedGradCam") as new,
    ):
        layer = new.model.get_submodule("layer3")
        assert layer is net.layer3
        (found,) = captum.attr.GuidedGradCam(Scores(new), layer).attribute(new.inputs)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_outputs_are_the_same_bits_and_no_weight_is_copied(net: ResNet) -> None:
    model = copy.deepcopy(net).float()
    x = IMAGE.float()
    with asked(model, x) as question, one_module_per_call(question) as new:
        leaves = tuple(t.requires_grad_() for t in new.inputs)
        assert torch.equal(new.subject(*leaves), question.subject(*question.inputs))
        assert sum(isinstance(m, nn.ReLU) for m in new.model.modules()) == 17
        assert not any(m.inplace for m in new.model.modules() if isinstance(m, nn.ReLU))
        assert not list(new.model.parameters())
        assert len(list(new.model.modules())) == 2 + 18


@pytest.mark.parametrize("method", ["DeepLift", "LRP"])
def test_kernels_see_the_strides_they_are_chosen_by(net: ResNet, method: str) -> None:
    model = copy.deepcopy(net).float()
    x = torch.randn(1, 3, 224, 224)
    with asked(model, x) as question, one_module_per_call(question, method) as new:
        leaves = tuple(t.requires_grad_() for t in new.inputs)
        assert torch.equal(new.subject(*leaves), question.subject(*leaves))


def fingerprint(model: nn.Module) -> list[object]:
    return [
        (name, id(module), type(module), sorted(vars(module)), len(module._forward_hooks))
        for name, module in model.named_modules()
    ] + [
        (name, t.requires_grad, t._version, t.clone().tolist())
        for name, t in model.state_dict(keep_vars=True).items()
    ]


@pytest.mark.parametrize("method", ["DeepLift", "GuidedBackprop", "LRP"])
def test_the_users_model_is_as_it_was_even_after_an_error(method: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)).double()
    before = fingerprint(model)
    x = torch.randn(2, 4, dtype=torch.float64)
    by_us(model, method, x)
    assert fingerprint(model) == before
    seen: list[weakref.ref[nn.Module]] = []

    def fails() -> None:
        with asked(model, x) as question, one_module_per_call(question, method) as new:
            seen.append(weakref.ref(new.model))
            new.subject(*question.inputs)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert fingerprint(model) == before
    gc.collect()
    assert seen[0]() is None


class Middle(nn.Module):
    """A function between two layers."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.function(self.body(x)))


ELEMENTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "silu in place": lambda x: F.silu(x, inplace=True),
    "relu6 module": nn.ReLU6(inplace=True),
    "hardswish": F.hardswish,
    "leaky": lambda x: F.leaky_relu_(x, 0.3),
    "prelu": nn.PReLU(dtype=torch.float64),
    "elu": lambda x: F.elu(x, 0.5),
    "softplus": F.softplus,
    "power": lambda x: x**3,
    "exp in place": lambda x: x.exp_(),
    "threshold": lambda x: F.threshold(x, 0.1, 0.2),
    "read twice": lambda x: x + F.relu(x) * 0.5,
    "chained": lambda x: torch.tanh(F.softplus(torch.sigmoid(x))),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_rescale_rule_reaches_every_elementwise_function(name: str) -> None:
    torch.manual_seed(0)
    model = Middle(ELEMENTWISE[name]).double()
    assert missed(model, torch.randn(2, 6, dtype=torch.float64)) < 1e-12


def test_relu6_counts_as_a_relu_for_guided_backprop() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, dtype=torch.float64)
    model = Middle(F.relu6).double()
    twin = Middle(nn.ReLU()).double()
    twin.load_state_dict(model.state_dict())
    with asked(twin, x) as question:
        expected = explained(question, "GuidedBackprop")
    assert torch.equal(by_us(model, "GuidedBackprop", x), expected)


def test_a_tensor_read_twice_keeps_the_gradient_of_both_readers() -> None:
    torch.manual_seed(0)
    relu = nn.ReLU()
    model = Middle(lambda x: x + relu(x))
    model.relu = relu
    x = torch.randn(2, 6, dtype=torch.float64)
    model.double()
    assert missed(model, x, rewrite=False) > 0.1, "captum bends the gradient of the skip too"
    assert missed(model, x) < 1e-12


@given(
    st.integers(1, 4), st.integers(1, 4), st.integers(0, 2), st.integers(1, 3), st.booleans(),
    st.integers(4, 11), st.sampled_from([1, 2, 3]),
)  # fmt: skip
def test_windows_laid_apart_pool_to_the_same(
    kernel: int, stride: int, padding: int, dilation: int, ceil: bool, size: int, axes: int
) -> None:
    assume(2 * padding <= kernel)
    assume(dilation * (kernel - 1) < size)
    x = torch.randn(2, 2, *(size + k for k in range(axes)))
    pool: Any = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[axes - 1]
    rest = (kernel, stride, padding, dilation)
    window = Window.of(f"max_pool{axes}d", rest, {"ceil_mode": ceil})
    found = pool(window.apart(x), window.kernel)
    assert torch.equal(found, pool(x, *rest, ceil_mode=ceil))


@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2), nn.MaxPool2d(3, 1, dilation=2)]
)
def test_max_pooling_is_complete_against_any_baseline(pool: nn.MaxPool2d) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), pool, nn.Flatten())
    model = nn.Sequential(body, nn.LazyLinear(3)).double()
    model(IMAGE[..., :12, :12])
    x, other = IMAGE[..., :12, :12], OTHER[..., :12, :12]
    if pool.dilation == 1:
        assert missed(model, x, baselines=other, rewrite=False) > 0.01, "captum's hooks collide"
    assert missed(model, x, baselines=other) < 1e-10


def test_relu6_and_depthwise_convolutions_are_complete() -> None:
    torch.manual_seed(0)
    model = trained_like(mobilenet_v2(num_classes=3, width_mult=0.25))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    assert missed(model, IMAGE, baselines=OTHER) < 1e-9


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.body = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True), nn.Linear(6, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = checkpoint(self.body, x, use_reentrant=self.reentrant)
        return self.head(x + y)


def test_checkpoints_work_unless_they_hide_their_calls() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, dtype=torch.float64)
    assert missed(Checkpointed(False).double(), x) < 1e-12
    with pytest.raises(NotApplicableError, match="use_reentrant=False"):
        missed(Checkpointed(True).double(), x)


def leaky(x: Tensor) -> Tensor:
    return torch.relu(x) + 0.5 * x


def test_scripted_functions_and_fused_layers_are_seen_through() -> None:
    torch.manual_seed(0)
    scripted = torch.jit.script(leaky)
    assert missed(Middle(scripted).double(), torch.randn(2, 6, dtype=torch.float64)) < 1e-12
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True).double()
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(18, 3).double())
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    twin = copy.deepcopy(model)
    twin[0].activation = nn.ReLU()
    with asked(twin, x) as question:
        expected = explained(question, "GuidedBackprop")
    found = by_us(model, "GuidedBackprop", x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


class Restless(Residual):
    """Does something else later on."""

    times = 0

    def act(self, x: Tensor, k: int) -> Tensor:
        return F.relu(x) if self.times <= 6 else F.relu(F.relu(x))


def test_a_model_that_changes_its_calls_is_refused() -> None:
    model = Restless()
    with asked(model, torch.randn(2, 6)) as question, one_module_per_call(question) as new:
        model.times = 12
        with pytest.raises(NotApplicableError, match="other calls from one forward to the next"):
            new.forward(*question.inputs)


class Drifting(Residual):
    """Gives something else each time."""

    times = 0

    def squash(self, x: Tensor) -> Tensor:
        self.times += 1
        return x + self.times


class Peeking(Residual):
    """Sees that its calls are routed."""

    def squash(self, x: Tensor) -> Tensor:
        return x + torch._C._len_torch_function_stack()


class Apart(Residual):
    """Nothing that goes in is differentiated."""

    def squash(self, x: Tensor) -> Tensor:
        return x.detach()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Peeking(), "output differs by"),
        (Drifting(), "another one in every run"),
        (Apart(), "use occlusion"),
    ],
)
def test_outputs_that_differ_or_hang_on_nothing_are_refused(model: nn.Module, reason: str) -> None:
    with (
        pytest.raises(NotApplicableError, match=reason),
        asked(model, torch.randn(2, 6)) as question,
        one_module_per_call(question),
    ):
        pass


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 6)
        self.body = Reused()

    def forward(self, ids: Tensor, *, keep: Tensor) -> dict[str, Tensor]:
        x = self.words(ids) * keep[:, :, None]
        return {"logits": self.body(x).mean(1)}


def test_tokens_keywords_and_named_outputs() -> None:
    torch.manual_seed(0)
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    model = Tokens().double()
    with asked(model, ids, keep=ids > 1) as question:
        moved = question.value - question.forward(
            *question.baseline.tensors, *question.subject.extras
        )
        with one_module_per_call(question) as new:
            explainer = captum.attr.DeepLift(Scores(new))
            (values, *_) = explainer.attribute(
                new.inputs, new.baseline.tensors, additional_forward_args=new.subject.extras
            )
    torch.testing.assert_close(values.sum((1, 2)), moved, rtol=1e-10, atol=1e-12)


class Plain(nn.Module):
    def __init__(self, modules: bool) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, bias=False), nn.Linear(4, 3, bias=False)
        self.relu, self.pool, self.mean = nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)
        self.as_modules = modules

    def forward(self, x: Tensor) -> Tensor:
        if self.as_modules:
            x = self.mean(self.pool(self.relu(self.conv(x))))
        else:
            x = F.max_pool2d(torch.relu_(self.conv(x)), 2).mean((2, 3), keepdim=True)
        return self.head(x.flatten(1))


def test_lrp_of_function_calls_is_as_of_modules_and_keeps_the_score() -> None:
    torch.manual_seed(0)
    plain = Plain(True).double().eval()
    functional = Plain(False).double()
    functional.load_state_dict(plain.state_dict())
    x = IMAGE[..., :12, :12]
    found = by_us(functional, "LRP", x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = captum.attr.LRP(copy.deepcopy(plain)).attribute(x, target=1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.sum((1, 2, 3)), plain(x)[:, 1].detach(), rtol=1e-6, atol=1e-9)


def test_what_is_reused_functional_or_in_place_is_known_from_the_trace() -> None:
    x = torch.zeros(1, 6)
    assert reuses(trace_model(Residual(), (x,))) == ()
    found = {r.op: r for r in reuses(trace_model(Functional(), (x,)))}
    assert {op: r.reasons for op, r in found.items()} == {
        "relu#0": ("functional", "in_place"),
        "relu#1": ("functional",),
        "sigmoid#0": ("functional",),
    }
    assert "test_rewriting.py:" in found["relu#0"].source_line
    assert "no hook sees" in str(found["relu#1"])
    assert found["relu#1"].source_line in str(found["relu#1"])
    graph = trace_model(Reused(), (x,))
    assert [r.reasons for r in reuses(graph)] == [("reused", "in_place")] * 2
    assert told(graph) == (
        "Of 3 activations 2 run in modules that run more than once (again), 2 write in place: "
        "each was given a module of its own."
    )
    assert [r.reasons for r in reuses(trace_model(Middle(nn.ReLU6()), (x,)))] == [("unknown",)]
