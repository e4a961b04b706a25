"""Stages partition the ops, costs add up, and both match what papers say."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from resnet_viz.analysis import annotate
from resnet_viz.core.structure import Cost
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
    for rows in (costs.ops, costs.blocks, costs.stages):
        assert _column_sums(rows) == _column_sums([costs.total])
    used = sum(p.spec.numel for p in graph.parameters if p.used)
    assert costs.total.params == used
    assert costs.total.macs == graph.total_macs
    assert costs.total.uncounted == len(graph.uncounted)


def _column_sums(rows: object) -> tuple[int, ...]:
    table = [(r.params, r.macs, r.activation_bytes, r.uncounted) for r in rows]  # type: ignore[attr-defined]
    return tuple(map(sum, zip(*table, strict=True)))


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


@pytest.mark.parametrize(
    "name", ["tv:resnet18", "tv:mobilenet_v2", "tv:vgg11_bn", "tv:convnext_tiny"]
)
def test_activation_bytes_are_the_storages_a_forward_makes(name: str) -> None:
    """Against the real thing: distinct storages of the outputs of all torch calls."""
    from torch.overrides import TorchFunctionMode

    made: dict[int, torch.UntypedStorage] = {}

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else (out,):
                if isinstance(tensor, torch.Tensor):
                    storage = tensor.untyped_storage()
                    made[storage.data_ptr()] = storage
            return out

    x = torch.zeros(2, 3, 64, 64)
    known = {x.untyped_storage().data_ptr()}
    known |= {p.untyped_storage().data_ptr() for p in zoo.model(name).parameters()}
    known |= {p.untyped_storage().data_ptr() for p in zoo.model(name).buffers()}
    with torch.no_grad(), Watch():
        zoo.model(name)(x)
    real = sum(s.nbytes() for key, s in made.items() if key not in known)
    assert zoo.structure(name).costs.total.activation_bytes == real
