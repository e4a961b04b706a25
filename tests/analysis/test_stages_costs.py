"""Stages partition the ops, costs add up, and both match what papers say."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

import pytest
import torch
from torch import nn

from resnet_viz.analysis import annotate
from resnet_viz.core.structure import Cost
from resnet_viz.tracing.memory import measure_memory
from resnet_viz.tracing.tracer import trace_model
from tests.analysis import zoo
from tests.analysis.builder import Builder

MODELS = [
    "tv:resnet18", "tv:resnet50", "tv:densenet121", "tv:mobilenet_v2", "tv:vgg11_bn", "tv:swin_t",
    "tv:googlenet", "tv:shufflenet_v2_x1_0", "timm:resnetv2_50x1_bit", "hf:gpt2", "hf:bert",
    "ours:plain20", "ours:resnet20", "tv:alexnet", "tv:squeezenet1_0",
]  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_op_is_in_one_stage_and_names_are_unique(name: str) -> None:
    structure, graph = zoo.structure(name), zoo.graph(name)
    assert [op for stage in structure.stages for op in stage.ops] == [op.id for op in graph.ops]
    assert max(Counter(stage.name for stage in structure.stages).values()) == 1
    assert sum(stage.blocks for stage in structure.stages) == len(structure.blocks)


@pytest.mark.parametrize("name", MODELS)
def test_columns_add_up(name: str) -> None:
    costs, graph = zoo.structure(name).costs, zoo.graph(name)
    for rows in (costs.ops, costs.blocks, costs.stages, costs.kinds):
        assert _column_sums(rows) == _column_sums([costs.total])
    used = [p for p in graph.parameters if p.used]
    assert costs.total.params == sum(p.spec.numel for p in used)
    assert costs.total.param_bytes == sum(p.spec.nbytes for p in used)
    assert costs.total.trainable == sum(p.spec.numel for p in used if p.trainable)
    assert costs.total.macs == graph.total_macs
    assert costs.total.flops == graph.total_flops == 2 * graph.total_macs
    assert costs.total.uncounted == len(graph.uncounted)
    assert costs.total.saved_bytes is None


COLUMNS = [field.name for field in dataclasses.fields(Cost) if field.name != "key"]


def _column_sums(rows: Iterable[Cost]) -> tuple[int, ...]:
    table = [[getattr(row, name) or 0 for name in COLUMNS] for row in rows]
    return tuple(map(sum, zip(*table, strict=True)))


@pytest.mark.parametrize("name", ["tv:resnet18", "tv:densenet121", "hf:gpt2", "ours:plain20"])
def test_what_the_backward_keeps_adds_up_too(name: str) -> None:
    args, kwargs = zoo._inputs(name)
    memory = measure_memory(zoo.model(name), args, kwargs)
    costs = annotate(zoo.graph(name), memory).costs
    assert costs.memory == memory
    assert costs.total.saved_bytes == memory.saved_bytes
    assert costs.unplaced_bytes == 0
    for rows in (costs.ops, costs.blocks, costs.stages, costs.kinds):
        assert _column_sums(rows) == _column_sums([costs.total])
    assert {row.key: row for row in costs.modules}[""] == costs.total
    bare = zoo.structure(name).costs
    assert costs.inference_peak == bare.inference_peak
    assert bare.training_peak is None


@pytest.mark.parametrize("name", ["tv:resnet18", "tv:swin_t", "hf:llama"])
def test_buffers_are_counted_where_they_are_read(name: str) -> None:
    graph, model = zoo.graph(name), zoo.model(name)
    buffers = dict(model.named_buffers())
    assert {b.name for b in graph.buffers} == set(buffers)
    assert graph.buffer_bytes == sum(b.nbytes for b in buffers.values())
    assert graph.param_bytes == sum(p.nbytes for p in model.parameters())
    read = {n: b for n, b in buffers.items() if not n.endswith("num_batches_tracked")}
    total = zoo.structure(name).costs.total
    if name == "tv:resnet18":
        assert (total.buffers, total.buffer_bytes) == (
            sum(b.numel() for b in read.values()),
            sum(b.nbytes for b in read.values()),
        )
    assert 0 < total.buffer_bytes <= graph.buffer_bytes


class Tied(nn.Module):
    """One weight read three times, under two names; a frozen one; one never read."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.LayerNorm(4).requires_grad_(False)
        self.spare = nn.Linear(3, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.embed(ids) + self.embed(ids)))


def test_shared_weights_count_once_and_frozen_ones_apart() -> None:
    graph = trace_model(Tied(), (torch.tensor([[1, 2]]),))
    costs = annotate(graph).costs
    rows = {row.key: row for row in costs.ops}
    assert graph.total_params == 40 + 8 + 12
    assert (costs.total.params, costs.total.trainable) == (48, 40)
    assert [rows[f"embed/embedding#{i}"].params for i in (0, 1)] == [40, 0]
    assert rows["head/linear#0"].params == 0
    assert (rows["norm/layer_norm#0"].params, rows["norm/layer_norm#0"].trainable) == (8, 0)
    assert costs.total.param_bytes == 4 * 48


def test_what_has_no_formula_is_in_the_count_of_every_row_above_it() -> None:
    class Distances(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cdist(self.body(x), x)

    graph = trace_model(nn.Sequential(Distances()), (torch.zeros(1, 3, 4),))
    costs = annotate(graph).costs
    assert graph.uncounted == ("0/cdist#0",)
    assert {row.key: row.uncounted for row in costs.modules} == {"": 1, "0": 1, "0.body": 0}
    assert {row.key: row.uncounted for row in costs.kinds} == {"linear": 0, "cdist": 1}
    assert costs.total.macs == 3 * 4 * 4


@pytest.mark.parametrize("name", MODELS)
def test_module_rows_hold_everything_below_them(name: str) -> None:
    costs, model = zoo.structure(name).costs, zoo.model(name)
    rows = {row.key: row for row in costs.modules}
    assert rows[""] == costs.total
    for path, module in model.named_modules():
        children = [rows[f"{path}.{c}" if path else c] for c, _ in module.named_children()]
        whole = rows[path]
        assert sum(c.params for c in children) <= whole.params
        assert sum(c.macs for c in children) <= whole.macs
        assert sum(c.activation_bytes for c in children) <= whole.activation_bytes


@pytest.mark.parametrize("name", ["tv:resnet18", "tv:resnet50", "tv:mobilenet_v2"])
def test_module_params_are_torchs(name: str) -> None:
    rows = {row.key: row for row in zoo.structure(name).costs.modules}
    for path, module in zoo.model(name).named_modules():
        assert rows[path].params == sum(p.numel() for p in module.parameters())


def test_resnet_50_stages_are_the_papers() -> None:
    # He et al. 2015, table 1, at 64 instead of 224 pixels.
    stages = [(s.name, s.resolution, s.blocks) for s in zoo.structure("tv:resnet50").stages]
    assert stages == [
        ("stem", (16, 16), 0),
        ("layer1", (16, 16), 3),
        ("layer2", (8, 8), 4),
        ("layer3", (4, 4), 6),
        ("layer4", (2, 2), 3),
        ("head", (1, 1), 0),
    ]


def test_densenet_121_stages_are_the_papers() -> None:
    stages = {s.name: s.blocks for s in zoo.structure("tv:densenet121").stages}
    found = {name: blocks for name, blocks in stages.items() if blocks}
    assert found == {f"features.denseblock{i}": n for i, n in enumerate((6, 12, 24, 16), 1)}


def test_plain_20_has_the_stages_of_resnet_20() -> None:
    plain, residual = zoo.structure("ours:plain20"), zoo.structure("ours:resnet20")
    assert [s.name for s in plain.stages] == [s.name for s in residual.stages]
    assert [s.resolution for s in plain.stages] == [s.resolution for s in residual.stages]
    assert [s.name for s in plain.stages] == ["stem", "layer1", "layer2", "layer3", "head"]


def test_shufflenets_strided_units_stay_whole() -> None:
    stages = zoo.structure("tv:shufflenet_v2_x1_0").stages
    assert [(s.name, s.blocks) for s in stages if s.blocks] == [
        ("stage2", 3), ("stage3", 7), ("stage4", 3),
    ]  # fmt: skip


def test_a_language_model_has_a_head() -> None:
    stages = zoo.structure("hf:gpt2").stages
    assert [s.name for s in stages] == ["stem", "transformer.h", "head"]
    assert any("lm_head" in op for op in stages[-1].ops)


def test_an_mlp_is_one_stage() -> None:
    b = Builder()
    b.linear(b.relu(b.linear(b.input(4, 8), 8, "0"), "1"), 2, "2")
    (stage,) = annotate(b.build()).stages
    assert (stage.resolution, len(stage.ops)) == ((), 3)


def test_a_graph_without_ops() -> None:
    b = Builder()
    x = b.input(1, 3)
    structure = annotate(b.build(x))
    assert structure.stages == structure.skips == structure.blocks == ()
    assert structure.costs.total == Cost(key="", params=0, macs=0, activation_bytes=0)
    assert structure.costs.inference_peak is not None
    assert structure.costs.inference_peak.total == structure.costs.inference_peak.inputs == 12


# --- activation bytes -------------------------------------------------------------------


def bytes_of(b: Builder) -> dict[str, int]:
    return {row.key: row.activation_bytes for row in annotate(b.build()).costs.ops}


def test_views_and_in_place_ops_allocate_nothing() -> None:
    b = Builder()
    x = b.conv(b.input(2, 3, 8, 8), 4)
    b.op("relu", x, inplace=True)
    flat = b.op("flatten", x, 2, shape=(2, 4, 64))
    moved = b.op("transpose", flat, 1, 2, shape=(2, 64, 4))
    b.op("getitem", moved, (":", 0), shape=(2, 4))
    b.op("contiguous", moved)
    b.op("to", x, "float32")
    b.op("dropout", x, p=0.5, training=False)
    b.op("dropout", x, p=0.5, training=True)
    whole = 2 * 4 * 8 * 8 * 4
    assert bytes_of(b) == {
        "conv2d#0": whole,
        "relu#0": 0,
        "flatten#0": 0,
        "transpose#0": 0,
        "getitem#0": 0,
        "contiguous#0": whole,  # a permuted tensor is copied
        "to#0": 0,
        "dropout#0": 0,
        "dropout#1": whole,
    }
