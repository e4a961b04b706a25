"""The chain of gains: against closed forms of scalar nets, and its own algebra on real ones."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import resnet_viz as rv
from resnet_viz.analysis import annotate
from resnet_viz.analysis.chain import chain_of
from resnet_viz.core.chain import Link
from resnet_viz.core.gradient_flow import CallGradient, GradientFlow, GradientStats
from resnet_viz.core.graph import OpId
from resnet_viz.tracing.tracer import trace_model
from tests.analysis.test_diagnose import a_flow


class Scalar(nn.Module):
    """``x + f·x``, or ``f·x`` alone."""

    def __init__(self, factor: float, *, skip: bool) -> None:
        super().__init__()
        self.f = nn.Linear(1, 1, bias=False)
        self.skip = skip
        nn.init.constant_(self.f.weight, factor)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x) if self.skip else self.f(x)


FACTORS = (0.5, -2.0, 0.25, 3.0)


def scalars(*, skip: bool) -> nn.Sequential:
    ends = [Scalar(1.5, skip=False)], [Scalar(0.7, skip=False)]
    return nn.Sequential(*ends[0], *(Scalar(f, skip=skip) for f in FACTORS), *ends[1])


def measured(model: nn.Module, *shape: int) -> GradientFlow:
    torch.manual_seed(0)
    return rv.gradient_flow(model, input_size=shape)


@pytest.mark.parametrize("skip", [False, True])
def test_gains_of_scalar_layers_are_their_derivatives(skip: bool) -> None:
    # He et al. 2016, eq. 5: 1 + f over a block; f without its skip.
    flow = measured(scalars(skip=skip), 4, 1)
    links = [link for link in flow.chain if link.name[:1] in "1234"]
    derivatives = [abs(f + skip) for f in FACTORS]
    assert [link.gain for link in links] == pytest.approx(derivatives)
    assert {link.kind for link in links} == {"block" if skip else "layer"}
    assert flow.chain[-1].gain == pytest.approx(0.7)
    for i, link in enumerate(links):
        assert link.product == pytest.approx(0.7 * math.prod(derivatives[i:]))


def in_order(links: tuple[Link, ...]) -> None:
    for a, b in pairwise(links):
        assert a.end == b.start
        assert a.gradient_out == b.gradient_in
        assert a.depth <= b.depth


@pytest.mark.parametrize("name", ["resnet20", "plain20", "preact_resnet110", "highway19"])
def test_links_follow_each_other_and_their_gains_multiply(name: str) -> None:
    flow = measured(rv.build(name), 2, 3, 16, 16)
    in_order(flow.chain)
    product = 1.0
    for link in reversed(flow.chain):
        product *= link.gain
        assert link.gain == pytest.approx(link.gradient_in / link.gradient_out)
        assert link.product == pytest.approx(product)
        assert flow[link.end].l2 == link.gradient_out


def test_every_block_of_a_resnet_is_one_link() -> None:
    flow = measured(rv.build("resnet20"), 2, 3, 16, 16)
    blocks = [link.name for link in flow.chain if link.kind == "block"]
    assert blocks == [f"layer{s}.{b}" for s in (1, 2, 3) for b in (0, 1, 2)]
    assert [link.depth for link in flow.chain if link.kind == "block"] == [*range(3, 20, 2)]


def test_every_layer_of_a_plain_net_is_one_link() -> None:
    flow = measured(rv.build("plain20"), 2, 3, 16, 16)
    assert {link.kind for link in flow.chain} == {"layer"}
    assert flow.chain[-1].name == "fc"


def chain_with(norms: dict[str, float]) -> tuple[Link, ...]:
    graph = trace_model(scalars(skip=False), (torch.zeros(2, 1),))
    calls = tuple(
        CallGradient(op=OpId(op), stats=GradientStats(numel=2, l2=norm, rms=norm))
        for op, norm in norms.items()
    )
    return chain_of(graph, annotate(graph), dataclasses.replace(a_flow(), calls=calls))


def test_zeros_and_infinities_have_no_gain() -> None:
    norms = dict(zip((f"{i}.f/linear#0" for i in range(6)), (0, 0, 3, math.inf, 2, 1), strict=True))
    gains = [link.gain for link in chain_with(norms)]
    assert math.isnan(gains[0])
    assert gains[1] == 0
    assert math.isnan(gains[2])
    assert gains[3:] == [math.inf, 2.0]


def test_places_that_were_not_measured_are_passed_over() -> None:
    links = chain_with({"0.f/linear#0": 4.0, "3.f/linear#0": 2.0})
    assert [(link.start, link.end, link.gain) for link in links] == [
        ("0.f/linear#0", "3.f/linear#0", 2.0)
    ]
    assert chain_with({"0.f/linear#0": 4.0}) == ()
    assert chain_with({}) == ()
