"""The axioms of Sundararajan et al. 2017 (section 2 and 3), by every method that claims them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from resnet_viz.measuring.attributions.measure import METHODS
from resnet_viz.measuring.attributions.methods import Method
from tests.measuring.attributions.explaining import explain

AT_INPUT = [m for m in METHODS.values() if not m.needs_layer]
COMPLETE = [m for m in METHODS.values() if m.complete]
WHAT_MOVES = [m for m in AT_INPUT if m.needs_baseline]


class Residual(nn.Module):
    """Two inputs of one feature, and a third that nothing looks at; smooth, with a skip."""

    def __init__(self, bias: bool = True, skip: bool = True) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 6, bias=bias), nn.Linear(6, 6, bias=bias)
        self.act, self.head = nn.Tanh(), nn.Linear(6, 2, bias=bias)
        self.skip = skip
        with torch.no_grad():
            self.first.weight[:, 2] = 0

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.first(x))
        z = self.act(self.second(y))
        return self.head(z + y if self.skip else z)


def model(**options: Any) -> Residual:
    torch.manual_seed(4)
    return Residual(**options).double().eval()


def values(net: nn.Module, x: Tensor, row: Method, **options: Any) -> Tensor:
    found = explain(net, x, methods=(row.name,), target=0, **options)
    (array,) = found.arrays(row.name).values()
    return torch.from_numpy(array)


X = torch.tensor([[0.7, -1.2, 3.0], [1.5, 0.4, -2.0]], dtype=torch.float64)
START = torch.tensor([[-0.3, 0.5, 0.2]], dtype=torch.float64)


@pytest.mark.parametrize("row", COMPLETE, ids=lambda row: row.name)
def test_completeness(row: Method) -> None:
    """Proposition 1: the values sum to F(x) − F(x′), or to what else the row says."""
    net = model(bias=row.complete != "nothing", skip=row.complete != "nothing")
    layer = "act" if not net.skip else "second"
    options: dict[str, Any] = {"n_steps": 200, "n_samples": 5_000, "baselines": START}
    if row.needs_layer:
        net, layer = nn.Sequential(net.first, net.act, net.second, nn.Tanh(), net.head), "2"
    found = explain(net, X, methods=(row.name,), target=0, layer=layer, **options)
    with torch.no_grad():
        scores, starts = net(X)[:, 0], net(START)[:, 0]
    if row.complete == "nothing":
        starts = torch.zeros(1)
    for i, map_ in enumerate(found[row.name]):
        assert map_.values is not None
        assert map_.delta is not None
        assert map_.relative_delta is not None
        moved = float(scores[i] - starts[0])
        total = float(map_.values.numpy().sum())
        assert map_.delta == pytest.approx(moved - total, abs=1e-9)
        assert map_.relative_delta < (0.04 if row.draws else 0.005)
        assert map_.verdict.startswith("Complete to")


@pytest.mark.parametrize("row", AT_INPUT, ids=lambda row: row.name)
def test_a_dummy_gets_nothing(row: Method) -> None:
    """Section 2.1, sensitivity (b): what the function does not depend on gets zero."""
    net = model(skip=False, bias=False)
    found = values(net, X, row, baselines=START, force=True)
    assert found[:, 2].abs().max() <= 1e-12
    assert found[:, :2].abs().min() > 0


@pytest.mark.parametrize("row", WHAT_MOVES, ids=lambda row: row.name)
def test_what_alone_moves_the_score_gets_something(row: Method) -> None:
    """Section 2.1, sensitivity (a), also where the gradient at the input is gone."""
    net = nn.Sequential(nn.Linear(3, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    with torch.no_grad():
        # F = 1 − relu(1 − x₁), the paper's example, flat at x₁ = 2.
        net[0].weight.copy_(torch.tensor([[-1.0, 0.0, 0.0]]))
        net[0].bias.fill_(1.0)
        net[2].weight.fill_(-1.0)
        net[2].bias.fill_(1.0)
    x = torch.tensor([[2.0, 0.5, 0.5]], dtype=torch.float64)
    start = torch.tensor([[0.0, 0.5, 0.5]], dtype=torch.float64)
    found = values(net, x, row, baselines=start, n_steps=100, n_samples=100)[0]
    assert found[0] == pytest.approx(1.0, abs=0.35 if row.draws else 0.02)
    assert found[1:].abs().max() <= 1e-12
    assert float(values(net, x, METHODS["saliency"])[0, 0]) == 0


def test_two_builds_of_one_function_get_the_same_integrated_gradients() -> None:
    """Section 2.2, implementation invariance."""
    net = model()

    class Doubled(nn.Module):
        """Every hidden unit twice, half as loud, in another order, by functions."""

        def forward(self, x: Tensor) -> Tensor:
            order = torch.tensor([5, 3, 1, 0, 2, 4])
            hidden = torch.sinh(net.first(x)) / torch.cosh(net.first(x))
            y = torch.cat([hidden, hidden], 1)
            weight = torch.cat([net.second.weight, net.second.weight], 1)[order] / 2
            z = 2 * torch.sigmoid(2 * (y @ weight.T + net.second.bias[order])) - 1
            back = z[:, order.argsort()]
            return (back + y[:, :6]) @ net.head.weight.T + net.head.bias

    one, other = net, Doubled()
    torch.testing.assert_close(one(X), other(X))
    row = METHODS["integrated_gradients"]
    a, b = (values(m, X, row, baselines=START) for m in (one, other))
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@settings(max_examples=8, deadline=None)
@given(at=st.floats(-2, 2), start=st.floats(-2, 2), other=st.floats(-2, 2), seed=st.integers(0, 99))
def test_what_is_symmetric_gets_equal_integrated_gradients(
    at: float, start: float, other: float, seed: int
) -> None:
    """Section 4, theorem 1: symmetric variables with equal values and baselines."""
    torch.manual_seed(seed)
    net = Residual().double()
    with torch.no_grad():
        net.first.weight[:, 1] = net.first.weight[:, 0]
        net.first.weight[:, 2] = 1.0
    x = torch.tensor([[at, at, other]], dtype=torch.float64)
    base = torch.tensor([[start, start, 0.0]], dtype=torch.float64)
    found = values(net, x, METHODS["integrated_gradients"], baselines=base)[0]
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)
