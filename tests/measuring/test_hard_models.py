"""Models that write their own weights, have none yet, or read what has no one shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import resnet_viz as rv
from resnet_viz.core.errors import NotApplicableError, UserError
from tests.tracing.test_pristine import untouched

MEASURED: dict[str, Callable[..., Any]] = {
    "gradient flow": rv.gradient_flow,
    "path gradients": rv.path_gradients,
    "signal propagation": rv.signal_propagation,
}
every = pytest.mark.parametrize("measure", MEASURED.values(), ids=MEASURED.keys())


class Clips(nn.Module):
    """A critic that clips its weights in ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.layer.weight.data.clamp_(-0.01, 0.01)
        with torch.no_grad():
            self.layer.bias.mul_(0.5)
            torch.add(self.head.bias, 1, out=self.head.bias)
            F.relu(self.head.weight, inplace=True)
        return self.head(x + self.layer(x))  # type: ignore[no-any-return]


class MaxNorm(nn.Module):
    """The embedding scales the rows that it reads, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer = nn.Embedding(9, 4, max_norm=0.1), nn.Linear(4, 4)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        return (x + self.layer(x)).mean(1)  # type: ignore[no-any-return]


@every
@pytest.mark.parametrize("training", [True, False])
def test_weights_that_a_forward_writes_are_put_back(
    measure: Callable[..., Any], training: bool
) -> None:
    torch.manual_seed(0)
    clips, x = Clips().train(training), torch.randn(3, 4)
    with untouched(clips):
        measure(clips, x)
    norm, ids = MaxNorm().train(training), torch.randint(0, 9, (3, 5))
    with untouched(norm):
        measure(norm, ids)


def test_they_are_put_back_after_attributions_and_lesions() -> None:
    torch.manual_seed(0)
    model, x = Clips(), torch.randn(6, 4)
    with untouched(model):
        rv.attribute(model, x, n_steps=2, method="saliency")
    with untouched(model):
        rv.lesion_study(model, (x, torch.tensor([0, 1, 2, 0, 1, 2])), draws=1)


def test_a_write_changes_what_is_measured_as_it_does_in_training() -> None:
    torch.manual_seed(0)
    model, x = Clips(), torch.randn(3, 4)
    flow = rv.gradient_flow(model, x, lambda y, _: y.sum())
    (row,) = [p for p in flow.parameters if p.name == "layer.bias"]
    model(x).sum().backward()
    assert row.stats is not None
    assert model.layer.bias.grad is not None
    assert row.stats.l2 == pytest.approx(float(model.layer.bias.grad.norm()), rel=1e-6)


@every
def test_a_lazy_layer_has_nothing_to_measure_until_it_ran(measure: Callable[..., Any]) -> None:
    class Lazy(nn.Sequential):
        pass

    model, x = Lazy(nn.LazyLinear(4), nn.Linear(4, 4)), torch.randn(3, 5)
    with pytest.raises(NotApplicableError, match=r"^0\.weight has no values .* run the model once"):
        measure(model, x)
    assert type(model[0]) is nn.LazyLinear
    assert rv.report(model, input_data=x).missing
    model(x)
    measure(model, x)


@every
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_a_nested_input_is_refused_in_one_line(
    measure: Callable[..., Any], layout: torch.layout
) -> None:
    rows = torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(3, 4)], layout=layout)
    with pytest.raises(NotApplicableError, match=r"nested tensor.* give a padded batch"):
        measure(nn.Linear(4, 4), (rows, None))


class AsksItself(nn.Module):
    """Asks for the gradient of what a frozen front end reads, as wav2vec 2.0 does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, None]
        rows.requires_grad = True
        return (rows + self.layer(rows)).mean(1)  # type: ignore[no-any-return]


@every
def test_a_model_may_ask_for_the_gradient_of_its_input(measure: Callable[..., Any]) -> None:
    measure(AsksItself(), torch.randn(3, 4))


def test_which_lengths_are_sampled() -> None:
    model, x = Clips(), torch.randn(3, 4)
    found = rv.path_gradients(model, x, draws=1, lengths=[1])
    assert [s.length for s in found.sampled] == [1]
    with pytest.raises(UserError, match=r"no path has length 7: lengths here are 0 to 1"):
        rv.path_gradients(model, x, draws=1, lengths=[1, 7])
    with pytest.raises(UserError, match="draws=0: give how many paths"):
        rv.path_gradients(model, x, lengths=[1])
    with pytest.raises(UserError, match="draws=-1"):
        rv.path_gradients(model, x, draws=-1)


def test_a_spectrum_takes_steps() -> None:
    with pytest.raises(UserError, match="0 Lanczos steps"):
        rv.signal_propagation(Clips(), torch.randn(3, 4), steps=0)


@every
def test_a_batch_without_samples_is_refused(measure: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="holds no sample"):
        measure(Clips(), torch.randn(0, 4))


def test_a_unit_that_is_none_is_refused() -> None:
    graph = rv.trace(Clips(), input_data=torch.randn(3, 4))
    with pytest.raises(UserError, match="unit='blocks': a length counts one of block, layer"):
        rv.path_lengths(graph, unit="blocks")  # type: ignore[arg-type]


def test_two_models_are_compared_on_the_same_batches() -> None:
    model = nn.Linear(4, 3)
    batches = ((torch.randn(2, 4), torch.tensor([0, 1])) for _ in range(4))
    both = rv.compare(model, model, data=batches, batches=2)
    assert both.a.gradient_flow == both.b.gradient_flow
    assert len(list(batches)) == 2
