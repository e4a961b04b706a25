"""``rv.measure_costs``, and the same figures in a report and in its exports."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import resnet_viz as rv


def test_costs_of_a_batch() -> None:
    model = rv.build("resnet20")
    one, four = (rv.measure_costs(model, input_size=(n, 3, 32, 32)) for n in (1, 4))
    assert isinstance(one, rv.Costs)
    assert one.total.params == four.total.params == sum(p.numel() for p in model.parameters())
    assert four.total.macs == 4 * one.total.macs
    assert four.total.activation_bytes == 4 * one.total.activation_bytes
    assert one.training_peak is not None
    assert four.training_peak is not None
    assert one.training_peak.total < four.training_peak.total
    assert rv.from_json(rv.to_json(one)) == one


def test_mode_is_the_models_own_unless_given() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    x = torch.zeros(16, 8)
    kept = {}
    for mode in ("train", "eval"):
        costs = rv.measure_costs(model, input_data=x, mode=mode)  # type: ignore[arg-type]
        assert costs.memory is not None
        assert costs.memory.mode == mode
        kept[mode] = costs.memory.saved_bytes
    assert model.training
    assert rv.measure_costs(model, input_data=x).memory.saved_bytes == kept["train"]
    # In train mode the mask is kept too: one byte or one number per element.
    assert kept["train"] > kept["eval"] == 16 * 8 * 4
    assert rv.measure_costs(model.eval(), input_data=x).memory.saved_bytes == kept["eval"]


@pytest.fixture(scope="module")
def report() -> rv.Report:
    model = rv.build("resnet20")
    return rv.report(model, input_size=(2, 3, 32, 32), sections=())


def test_a_report_has_the_same_costs(report: rv.Report) -> None:
    model = rv.build("resnet20")
    assert report.structure.costs == rv.measure_costs(model, input_size=(2, 3, 32, 32))
    assert rv.annotate(report.graph).costs.memory is None
    memory = report.structure.costs.memory
    assert rv.annotate(report.graph, memory) == report.structure


def test_networkx_and_records_carry_them(report: rv.Report) -> None:
    rows = {row.key: row for row in report.structure.costs.ops}
    nodes = report.to_networkx().nodes
    for key, row in rows.items():
        data = nodes[key]
        assert data["activation_bytes"] == row.activation_bytes
        assert data["saved_bytes"] == row.saved_bytes
        assert data["flops"] == 2 * data["macs"] == row.flops
    assert nodes["input#0"]["activation_bytes"] == 0
    assert [r["flops"] for r in report.graph.to_records()] == [row.flops for row in rows.values()]
    bare = rv.Report(graph=report.graph, structure=rv.annotate(report.graph))
    assert {data["saved_bytes"] for _, data in bare.to_networkx().nodes(data=True)} == {-1}
