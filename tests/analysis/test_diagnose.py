"""Findings: on gradients taken with plain torch hooks, and on made-up numbers."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_viz.analysis import annotate
from resnet_viz.analysis.depth import depth_slope, main_chain
from resnet_viz.analysis.diagnose import RULES, Thresholds, diagnose, notes_of
from resnet_viz.analysis.flow_graph import flow_of
from resnet_viz.core.finding import Finding
from resnet_viz.core.gradient_flow import (
    CallGradient,
    EdgeShare,
    GradientFlow,
    GradientStats,
    Loss,
    ParameterGradient,
)
from resnet_viz.core.graph import ModelGraph, OpId, module_of
from resnet_viz.core.structure import Structure
from resnet_viz.sources.variants import build
from resnet_viz.tracing.tracer import trace_model
from tests.analysis.builder import Builder, Value


def stats(gradient: Tensor) -> GradientStats:
    l2 = float(gradient.float().norm())
    return GradientStats(
        numel=gradient.numel(),
        l2=l2,
        rms=l2 / math.sqrt(gradient.numel()),
        low=float(gradient.min()),
        high=float(gradient.max()),
    )


def a_flow(
    calls: tuple[CallGradient, ...] = (),
    parameters: tuple[ParameterGradient, ...] = (),
    shares: tuple[EdgeShare, ...] = (),
) -> GradientFlow:
    return GradientFlow(
        loss=Loss(name="cross entropy", value=2.3),
        mode="train",
        device="cpu",
        batch_size=8,
        data="random",
        calls=calls,
        parameters=parameters,
        shares=shares,
    )


Measured = tuple[ModelGraph, Structure, GradientFlow]


def measured(model: nn.Module, *shape: int) -> Measured:
    """A forward and backward in train mode, watched by tensor hooks on module outputs.

    The gradient at a join ``F(x) + S(x)`` is that at the last module of F.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    graph = trace_model(model, (torch.zeros(shape),))
    structure = annotate(graph)
    at: dict[str, list[OpId]] = {}
    for op in main_chain(flow_of(graph), structure):
        at.setdefault(module_of(op), []).append(op)
    for skip in structure.skips:
        at.setdefault(module_of(skip.branch[-1]), []).append(skip.join)
    seen: dict[OpId, GradientStats] = {}

    def watch(path: str):  # type: ignore[no-untyped-def]
        def on_output(_: nn.Module, __: object, out: Tensor) -> None:
            def on_gradient(g: Tensor) -> None:
                seen.update(dict.fromkeys(at[path], stats(g)))

            out.register_hook(on_gradient)

        return on_output

    hooks = [m.register_forward_hook(watch(p)) for p, m in model.named_modules() if p in at
             and not any(m.children())]  # fmt: skip
    model.train()
    out = model(torch.randn(shape))
    F.cross_entropy(out, torch.randint(0, out.shape[1], (shape[0],))).backward()
    for hook in hooks:
        hook.remove()
    calls = tuple(CallGradient(op=op.id, stats=seen[op.id]) for op in graph.ops if op.id in seen)
    parameters = tuple(
        ParameterGradient(
            name=name,
            stats=None if p.grad is None else stats(p.grad),
            weight_l2=float(p.detach().norm()),
        )
        for name, p in model.named_parameters()
    )
    return graph, structure, a_flow(calls, parameters)


def whats(found: tuple[Finding, ...]) -> list[str]:
    return [f.what for f in found]


def judged(case: Measured) -> tuple[Finding, ...]:
    graph, structure, flow = case
    return diagnose(graph, structure, (flow,))


# --- the slope ----------------------------------------------------------------------------


def cifar(name: str, **changes: str) -> Measured:
    torch.manual_seed(0)
    return measured(build(name, **changes), 8, 3, 32, 32)


def test_plain_56_explodes_at_the_rate_theory_gives() -> None:
    case = cifar("plain56")
    slope = depth_slope(*case)
    assert slope is not None
    # Yang et al. 2019: π/(π−1) in the square, for wide nets and large batches.
    assert slope.factor == pytest.approx(math.sqrt(math.pi / (math.pi - 1)), rel=0.05)
    assert slope.depths[-1] - slope.depths[0] == 54
    (finding,) = [f for f in judged(case) if "exploding" in f.what]
    assert finding.what == "exploding gradient"
    assert finding.severity == "warning"
    assert finding.where[0] == "conv1/conv2d#0"
    assert "1.211" in finding.source


def test_plain_56_with_sigmoids_and_no_norm_vanishes() -> None:
    case = cifar("plain56", activation="sigmoid", norm="none")
    slope = depth_slope(*case)
    assert slope is not None
    # He's gain of √2 times a slope of at most 1/4.
    assert slope.factor < math.sqrt(2) / 4 * 1.05
    assert "vanishing gradient" in whats(judged(case))
    assert "exploding gradient" not in whats(judged(case))


@pytest.mark.parametrize("name", ["plain20", "resnet20", "resnet56"])
def test_shallow_plain_and_deep_residual_nets_are_fine(name: str) -> None:
    assert judged(cifar(name)) == ()


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "mobilenet_v2", "vgg11_bn"])
def test_torchvisions_nets_are_fine_at_their_own_initialisation(name: str) -> None:
    import torchvision

    torch.manual_seed(0)
    kwargs = {"dropout": 0.0} if name == "vgg11_bn" else {}
    model = torchvision.models.get_model(name, weights=None, **kwargs)
    assert judged(measured(model, 8, 3, 64, 64)) == ()


def test_residual_net_without_norm_explodes() -> None:
    # De & Smith 2020: un-normalised He branches double the energy in every block.
    case = cifar("resnet56", norm="none")
    assert "exploding gradient" in whats(judged(case))


def test_depth_counts_layers_not_joins() -> None:
    graph, structure, flow = cifar("resnet20")
    slope = depth_slope(graph, structure, flow)
    assert slope is not None
    assert slope.depths == (1, *range(3, 20, 2))


def chain(norms: list[float]) -> Measured:
    """A plain net of linear layers whose outputs have gradients of these norms."""
    b = Builder()
    x = b.input(4, 8)
    layers = []
    for _ in (*norms, None):  # the last layer is the loss's own
        x = b.linear(x, 8)
        layers.append(x)
        x = b.relu(x)
    graph = b.build(layers[-1])
    calls = tuple(
        CallGradient(op=v.op, stats=made(norm)) for v, norm in zip(layers, norms, strict=False)
    )
    return graph, annotate(graph), a_flow(calls)


def made(l2: float) -> GradientStats:
    return GradientStats(numel=32, l2=l2, rms=l2 / math.sqrt(32), low=-l2, high=l2)


@pytest.mark.parametrize("factor", [1.3, 1.21, 1.0, 0.8])
def test_slope_of_an_exact_geometric_series(factor: float) -> None:
    slope = depth_slope(*chain([factor**-i for i in range(41)]))
    assert slope is not None
    assert slope.factor == pytest.approx(factor)
    assert slope.span == pytest.approx(factor**40)


def test_both_thresholds_have_to_be_passed() -> None:
    steep_but_short = chain([2.0**-i for i in range(6)])
    long_but_gentle = chain([1.08**-i for i in range(200)])
    both = chain([1.2**-i for i in range(60)])
    assert [len(judged(c)) for c in (steep_but_short, long_but_gentle, both)] == [0, 0, 1]
    graph, structure, flow = steep_but_short
    strict = Thresholds(depth_range=10)
    assert whats(diagnose(graph, structure, (flow,), strict)) == ["exploding gradient"]


def test_zeros_from_underflow_do_not_break_the_fit() -> None:
    found = judged(chain([0.0, 0.0, *(1e-3 * 0.25 ** (20 - i) for i in range(20))]))
    assert whats(found) == ["vanishing gradient"]
    assert judged(chain([0.0] * 10)) == ()


def test_mirror_images_are_judged_alike() -> None:
    norms = [1.4**-i for i in range(30)]
    assert whats(judged(chain(norms))) == ["exploding gradient"]
    assert whats(judged(chain(norms[::-1]))) == ["vanishing gradient"]


def test_non_finite_gradients_are_an_error_at_the_place_they_start() -> None:
    found = judged(chain([1.0, math.nan, math.inf, 1.0, 1.0]))
    assert whats(found) == ["non-finite gradient"]
    assert found[0].severity == "error"
    assert found[0].where == ("linear#2",)


# --- parameters -----------------------------------------------------------------------------


class Partly(nn.Module):
    """A used, a frozen, an unused and a cut-off layer."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.unused = nn.Linear(4, 4)
        self.cut = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(self.used(x)) + self.cut(x).detach()


def test_one_finding_per_reason() -> None:
    graph, structure, flow = measured(Partly(), 8, 4)
    reasons = {"frozen": "frozen", "unused": "never used", "cut": "not on a path to the loss"}
    parameters = tuple(
        dataclasses.replace(p, reason=reasons.get(p.name.split(".")[0], ""))
        for p in flow.parameters
    )
    found = diagnose(graph, structure, (dataclasses.replace(flow, parameters=parameters),))
    groups = {f.where: f for f in found}
    assert sorted(whats(found)) == ["frozen", "never called", "not on the loss path"]
    assert set(groups) == {
        ("frozen.weight", "frozen.bias"),
        ("unused.weight", "unused.bias"),
        ("cut.weight", "cut.bias"),
    }
    assert groups["frozen.weight", "frozen.bias"].severity == "note"
    assert groups["cut.weight", "cut.bias"].severity == "warning"
    assert all("2 parameters of 8" in f.evidence for f in groups.values())
    assert found[-1].severity == "note"


class ZeroHead(nn.Module):
    """What torchvision's ViT does: the head starts at zero."""

    def __init__(self, *, dead: bool = False) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.head = nn.Linear(8, 3)
        nn.init.zeros_(self.head.weight)
        if dead:
            nn.init.normal_(self.head.weight)
            nn.init.constant_(self.body.bias, -1e6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)))


def test_zeros_behind_a_zero_weight_are_no_finding_but_said() -> None:
    graph, structure, flow = measured(ZeroHead(), 8, 4)
    assert diagnose(graph, structure, (flow,)) == ()
    (note,) = notes_of(graph, structure, (flow,))
    assert note.startswith("2 parameters get exactly zero gradient now because head.weight")


def test_zeros_behind_a_dead_relu_are_a_warning() -> None:
    (finding,) = judged(measured(ZeroHead(dead=True), 8, 4))
    assert (finding.severity, finding.what) == ("warning", "zero gradient")
    assert set(finding.explains) == {"body.weight", "body.bias", "head.weight"}


class TwoWays(nn.Module):
    """A head that starts at zero, and beside it a way with a dead ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.left = ZeroHead()
        self.right = ZeroHead(dead=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + self.right(x)


def test_a_zero_weight_does_not_excuse_a_dead_relu_elsewhere() -> None:
    graph, structure, flow = measured(TwoWays(), 8, 4)
    (finding,) = diagnose(graph, structure, (flow,))
    assert {n.split(".")[0] for n in finding.explains} == {"right"}
    (note,) = notes_of(graph, structure, (flow,))
    assert note.startswith("2 parameters")
    assert "left.head.weight" in note


@pytest.mark.parametrize("name", ["seresnet18", "nf_resnet26"])
def test_zero_scales_explain_what_lies_around_them(name: str) -> None:
    # timm starts the last norm (or gain) of a branch at zero; a squeeze-and-excitation
    # after it sees zeros, a weight that is standardised meets the gain in ops of its own.
    import timm

    torch.manual_seed(0)
    graph, structure, flow = measured(timm.create_model(name), 4, 3, 64, 64)
    assert diagnose(graph, structure, (flow,)) == ()
    assert "exactly zero gradient" in notes_of(graph, structure, (flow,))[0]


def test_zero_initialised_residual_branches_are_no_finding() -> None:
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None, zero_init_residual=True)
    graph, structure, flow = measured(model, 4, 3, 32, 32)
    assert diagnose(graph, structure, (flow,)) == ()
    (note,) = notes_of(graph, structure, (flow,))
    assert "layer1.0.bn2.weight, layer1.1.bn2.weight" in note


# --- starving -------------------------------------------------------------------------------


def block_with_shares(over_skip: float, over_branch: float, *, moves: bool = True) -> Measured:
    b = Builder()
    x: Value = b.conv(b.input(2, 3, 8, 8), 4)
    f = b.branch(x)
    y = b.add(f, x)
    graph = b.build(y)
    first = graph.edges_out(x.op)[0].dst
    shares = tuple(
        EdgeShare(src=x.op, dst=dst, share=norm**2, norm_ratio=norm, cosine=norm)
        for dst, norm in ((first, over_branch), (y.op, over_skip))
    )
    parameters = tuple(
        ParameterGradient(name=p.name, stats=made(1.0 if moves else 0.0), weight_l2=1.0)
        for p in graph.parameters
    )
    return graph, annotate(graph), a_flow((), parameters, shares)


@pytest.mark.parametrize("skip_norm", [0.7, 0.3, 0.99])
def test_healthy_shares(skip_norm: float) -> None:
    assert judged(block_with_shares(skip_norm, math.sqrt(1 - skip_norm**2))) == ()


def test_a_starved_skip() -> None:
    (finding,) = judged(block_with_shares(0.06, 0.998))
    assert (finding.what, finding.where) == ("skip starved", ("add#0",))
    assert "0.4 %" in finding.evidence
    assert "He et al. 2016" in finding.source


def test_a_dead_branch_is_a_warning_and_one_that_can_wake_up_is_none() -> None:
    waking = block_with_shares(1.0, 0.0)
    assert judged(waking) == ()
    assert "1 residual branch starts at zero" in notes_of(*waking[:2], waking[2:])[0]
    found = judged(block_with_shares(1.0, 0.0, moves=False))
    assert ("branch starved", "warning") in {(f.what, f.severity) for f in found}


def test_layer_scale_does_not_starve_a_branch() -> None:
    # ConvNeXt starts its branches at 1e-6 and trains.
    assert judged(block_with_shares(1.0, 1e-8)) == ()


# --- the frame ------------------------------------------------------------------------------


def test_no_measurement_no_finding() -> None:
    graph, structure, _ = chain([1.0] * 10)
    assert diagnose(graph, structure) == ()
    assert diagnose(graph, structure, ()) == ()


def test_every_finding_says_where_how_much_by_which_rule_and_what_to_do() -> None:
    cases = [
        chain([1.4**-i for i in range(30)]),
        chain([1.0, math.nan, 1.0, 1.0, 1.0]),
        block_with_shares(0.05, 0.998),
        block_with_shares(1.0, 0.0, moves=False),
    ]
    found = [f for case in cases for f in judged(case)]
    assert len({f.what for f in found}) == 5
    for finding in found:
        assert finding.where
        assert all((finding.evidence, finding.threshold, finding.source, finding.remedy))
        assert "\n" not in finding.evidence + finding.threshold + finding.source + finding.remedy


def test_a_rule_that_is_registered_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, structure, flow = chain([1.0] * 10)
    extra = Finding(severity="error", what="x", where=(), evidence="", threshold="", source="",
                    remedy="")  # fmt: skip
    monkeypatch.setitem(RULES, "x", lambda *_: (extra,))
    assert diagnose(graph, structure, (flow,))[0] is extra
