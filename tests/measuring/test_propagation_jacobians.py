"""Jacobian spectra against explicit Jacobians, and against the spectra of random matrices."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

import resnet_viz as rv
from resnet_viz.core.propagation import Spectrum
from resnet_viz.measuring.propagation.jacobians import Jacobian
from resnet_viz.measuring.propagation.lanczos import lanczos
from resnet_viz.measuring.propagation.opened import Spot
from tests.measuring.test_propagation import Overwriting, Tokens, measured


def settled(model: nn.Module) -> nn.Module:
    """In float64 and eval mode, with running statistics that are none of a fresh net's."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.double().eval()


def explicit(model: Any, x: Tensor) -> list[Tensor]:
    """The Jacobian of each sample, row by row."""
    return [
        torch.autograd.functional.jacobian(
            lambda z: model(z.reshape(1, *x.shape[1:])).flatten(), one.flatten()
        )
        for one in x
    ]


def assert_within(spectrum: Spectrum, jacobians: list[Tensor]) -> None:
    values = [torch.linalg.svdvals(j) for j in jacobians]
    second = fmean(float((s**2).sum()) / spectrum.rows for s in values)
    fourth = fmean(float((s**4).sum()) / spectrum.rows for s in values)
    assert abs(spectrum.mean_square - second) <= 4 * spectrum.mean_square_error + 1e-10
    assert abs(spectrum.mean_fourth - fourth) <= 4 * spectrum.mean_fourth_error + 1e-10
    largest = fmean(float(s.max()) for s in values)
    assert spectrum.largest == pytest.approx(largest, rel=1e-10)
    if spectrum.exact:
        smallest = fmean(float(s.min()) for s in values)
        assert spectrum.smallest == pytest.approx(smallest, rel=1e-6, abs=1e-7 * largest)


@pytest.mark.parametrize("probes", [12, 40])
def test_a_cifar_net_from_input_to_output(probes: int) -> None:
    """With fewer probes than rows it is estimated, else every row is computed."""
    torch.manual_seed(0)
    model = settled(rv.build("resnet20", widths=(4, 6, 8), num_classes=20))
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    (found,) = measured(model, x, probes=probes, steps=30, samples=2).spectra
    assert (found.rows, found.columns, found.samples) == (20, 192, 2)
    assert found.exact
    assert (found.mean_square_error == 0) == (probes == 40)
    assert_within(found, explicit(model, x[:2]))


def test_every_block_from_fork_to_join() -> None:
    torch.manual_seed(0)
    model, x = settled(Overwriting()), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    whole, first, second = measured(
        model, x, probes=20, steps=40, samples=2, block_spectra=True
    ).spectra
    assert (first.rows, first.columns) == (6 * 16, 6 * 16)
    assert (second.rows, second.columns) == (8 * 4, 6 * 16)
    assert second.exact
    assert not first.exact
    assert (first.end, second.end) == ("add#0", "add#1")
    assert_within(whole, explicit(model, x))
    with torch.no_grad():
        fork = torch.relu(model.stem(x))

    def block(z: Tensor, convs: Any, shortcut: Any) -> Tensor:
        out: Tensor = convs[1](torch.relu(convs[0](z))) + shortcut(z)
        return out

    assert_within(first, explicit(lambda z: block(z, model.first, lambda s: s), fork))
    with torch.no_grad():
        fork = torch.relu(block(fork, model.first, lambda s: s))
    assert_within(second, explicit(lambda z: block(z, model.second, model.down), fork))


def test_attention_is_differentiated_twice() -> None:
    torch.manual_seed(0)
    model, ids = Tokens().double().eval(), torch.randint(20, (2, 3))
    (found,) = measured(model, ids, probes=24, steps=60, samples=2).spectra
    embedded = model.embedding(ids).detach()
    model.embedding = nn.Identity()
    assert found.exact
    assert_within(found, explicit(model, embedded))


def test_pushing_is_the_adjoint_of_pulling() -> None:
    torch.manual_seed(0)
    model = settled(nn.Sequential(BasicBlock(3, 3), nn.MaxPool2d(2)))
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True).clone()
    jacobian = Jacobian((Spot.of(x),), Spot.of(model(x)))
    u = torch.randn(2, jacobian.columns, dtype=torch.float64)
    v = torch.randn(2, jacobian.rows, dtype=torch.float64)
    left, right = (v * jacobian.push(u)).sum(1), (jacobian.pull(v) * u).sum(1)
    assert torch.allclose(left, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1, 6, 60])
def test_lanczos_against_all_eigenvalues(size: int) -> None:
    torch.manual_seed(size)
    a = torch.randn(3, size, size, dtype=torch.float64)
    a = a @ a.mT
    found = lanczos(
        lambda v: torch.einsum("sij,sj->si", a, v), torch.randn(3, size, dtype=torch.float64), 60
    )
    for matrix, diagonal, beside in zip(a, found.diagonal, found.beside, strict=True):
        ends = found.extremes(diagonal.tolist(), beside.tolist())
        values = torch.linalg.eigvalsh(matrix)
        assert ends.exact
        assert ends.largest == pytest.approx(float(values[-1]), rel=1e-12)
        assert ends.smallest == pytest.approx(float(values[0]), abs=1e-12 * float(values[-1]))


# -- closed forms --------------------------------------------------------------------


def linear(depth: int, width: int, *, orthogonal: bool = False, relu: bool = False) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layer = nn.Linear(width, width, bias=False, dtype=torch.float64)
        if orthogonal:
            nn.init.orthogonal_(layer.weight, gain=math.sqrt(2) if relu else 1)
        else:
            nn.init.normal_(layer.weight, std=math.sqrt((2 if relu else 1) / width))
        layers += [layer, nn.ReLU(inplace=True)] if relu else [layer]
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize(
    ("orthogonal", "relu", "depth", "variance"),
    [(False, False, 1, 1), (False, False, 4, 4), (False, True, 2, 4), (True, True, 4, 4)],
)
def test_the_spectra_of_deep_random_nets(
    orthogonal: bool, relu: bool, depth: int, variance: float
) -> None:
    """Pennington et al. 2017/18: the variance of the eigenvalues of JJᵀ over their mean².

    L for Gaussian weights, 2 L with ReLU, L for orthogonal weights with ReLU; the largest
    eigenvalue of the linear Gaussian net tends to (L + 1)^(L + 1) / L^L.
    """
    torch.manual_seed(0)
    model = linear(depth, 300, orthogonal=orthogonal, relu=relu)
    x = torch.randn(6, 300, dtype=torch.float64)
    (found,) = measured(model, x, probes=32, steps=20, samples=6).spectra
    spread = found.mean_fourth / found.mean_square**2 - 1
    assert spread == pytest.approx(variance, rel=0.12)
    if not relu:
        edge = (depth + 1) ** (depth + 1) / depth**depth
        assert found.largest**2 / found.mean_square == pytest.approx(edge, rel=0.15)


def test_orthogonal_layers_keep_every_direction() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 40, dtype=torch.float64)
    (found,) = measured(linear(6, 40, orthogonal=True), x, probes=8).spectra
    for value in (found.mean_square, found.mean_fourth, found.largest, found.smallest):
        assert value == pytest.approx(1, abs=1e-12)
    assert found.exact


def test_blocks_that_begin_as_the_identity_have_singular_values_of_one() -> None:
    """Zero γ at the end of each branch, and x ≥ 0, so that the ReLUs after it are open."""
    torch.manual_seed(0)
    blocks = [BasicBlock(4, 4) for _ in range(3)]
    for block in blocks:
        nn.init.zeros_(block.bn2.weight)
    model = settled(nn.Sequential(*blocks))
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64).abs()
    for found in measured(model, x, probes=8, block_spectra=True).spectra:
        assert found.exact
        assert found.largest == pytest.approx(1, abs=1e-12)
        assert found.smallest == pytest.approx(1, abs=1e-12)
        assert found.mean_fourth == pytest.approx(1, abs=1e-12)


# -- what has no spectrum ------------------------------------------------------------


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] * x.exp()


class Exponential(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = Once.apply(x)  # type: ignore[no-untyped-call]
        return out


def test_why_there_is_no_spectrum() -> None:
    x = torch.randn(4, 12)
    coupled = nn.Sequential(nn.Linear(12, 9), nn.BatchNorm1d(9, track_running_stats=False))
    found = measured(coupled, x, probes=2)
    assert found.spectra == ()
    assert found.shattering is None
    assert [s.partition(": ")[2] for s in found.skipped] == [
        "in eval mode samples still depend on one another, or are not along the first axis"
    ] * 2
    twice = measured(nn.Sequential(nn.Linear(12, 9), Exponential()), x, probes=2)
    assert twice.shattering is not None
    (reason,) = twice.skipped
    assert "cannot be differentiated twice" in reason
    # Every row by itself needs no product with J.
    assert len(measured(nn.Sequential(nn.Linear(12, 9), Exponential()), x, probes=9).spectra) == 1


class Cache:
    """As language models return beside their logits, for the next call."""

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys


class Cached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"cache": Cache(x.reshape(-1, 2, 2, 2) * 2), "y": self.linear(x)[:, None]}


def test_a_cache_is_no_output() -> None:
    (found,) = measured(Cached(), torch.randn(2, 8), probes=5).spectra
    assert (found.start, found.end, found.rows) == ("x", "y", 5)
