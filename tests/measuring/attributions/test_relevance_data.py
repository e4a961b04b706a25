"""Relevance over whole data sets: what all samples would have given at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from resnet_viz.analysis import annotate
from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import NotApplicableError, UserError
from resnet_viz.core.relevance_groups import relevance_groups
from resnet_viz.measuring import attributions_of
from resnet_viz.measuring.attributions.relevance.datasets import relevance_over
from resnet_viz.measuring.context import MeasureContext
from resnet_viz.tracing.tracer import trace_model
from tests.measuring.attributions.test_relevance import Residual, assert_same, seeded
from tests.measuring.ranks import attributed, make_loader, make_net

WISH = AttributionOptions(n_steps=8, methods=("saliency",), trust="off", stages=False)


def context(*, given: bool, batches: int = 2, wish: AttributionOptions = WISH) -> MeasureContext:
    net, loader = make_net(), make_loader(0)[:batches]
    found = [Batch(args=(x,)) for x, _ in loader]
    first: Tensor = make_loader(0)[0][0]
    graph = trace_model(net, (first,))
    return MeasureContext(
        model=net,
        graph=graph,
        structure=annotate(graph),
        batches=lambda: iter(found),
        samples=Batch(args=(first[:1],)),
        data_given=given,
        attribution=wish,
    )


def test_batches_are_all_samples_at_once() -> None:
    net = seeded(Residual)
    x = torch.randn(7, 3, 5, 5, dtype=torch.float64)
    graph = trace_model(net, (x[:2],))
    structure = annotate(graph)
    whole, parts = (
        relevance_over(
            net, [Batch(args=(b,)) for b in cut], graph=graph, structure=structure, options=WISH
        )
        for cut in ([x], [x[:3], x[3:6], x[6:]])
    )
    assert (whole.samples, whole.batches) == (7, 1)
    assert (parts.samples, parts.batches) == (7, 3)
    assert_same(parts, whole)
    assert parts.difference == pytest.approx(whole.difference)
    assert parts.difference_sd == pytest.approx(whole.difference_sd)
    for group in relevance_groups(structure, parts):
        assert group.amount.samples == 7
        if group.by == "block":
            assert group.shortcut is not None
            assert group.branch is not None
            assert group.shortcut + group.branch == pytest.approx(group.amount.signed)
            assert 0 < (group.branch_share or 0) < 1


def test_of_given_data_relevance_is_of_all_and_maps_of_the_samples() -> None:
    found = attributions_of(context(given=True))
    assert found.relevance is not None
    assert (found.relevance.samples, found.relevance.batches) == (8, 2)
    assert len(found.maps) == 1
    alone = attributions_of(context(given=False)).relevance
    assert alone is not None
    assert (alone.samples, alone.batches) == (1, 1)


def test_relevance_that_nobody_asked_for_is_not_measured() -> None:
    wish = AttributionOptions(methods=("saliency",), trust="off", stages=False, relevance=False)
    assert attributions_of(context(given=True, wish=wish)).relevance is None


def test_without_a_batch_it_is_refused() -> None:
    with pytest.raises(UserError, match="hold no batch"):
        attributions_of(context(given=True, batches=0))


def test_the_rank_of_one_process_is_its_part() -> None:
    """What the other processes are compared with."""
    one = attributed(0).relevance
    assert one is not None
    assert (one.ranks, one.batches) == (1, 2)


def test_an_output_without_gradient_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from resnet_viz.measuring.attributions.relevance import datasets

    def refuse(*_: object, **__: object) -> None:
        raise NotApplicableError("nothing connects input and score")

    monkeypatch.setattr(datasets, "relevance_of", refuse)
    found = attributions_of(context(given=True))
    assert found.relevance is None
    assert "left out: nothing connects input and score." in found.note
