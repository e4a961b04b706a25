"""What holds for every model: equal traces, exact counts, round trips."""

from __future__ import annotations

import copy
import functools
import linecache
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.tracing.tracer import trace_model
from tests.tracing import models as zoo
from tests.tracing.models import kinds, of_kind

Case = Callable[[], tuple[nn.Module, tuple[Any, ...], dict[str, Any]]]


def image(name: str, size: int = 64, **options: Any) -> Case:
    @functools.cache  # a trace leaves its model as it came, so that all tests may share it
    def make() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
        model = torchvision.models.get_model(name, weights=None, **options).eval()
        return model, (torch.randn(1, 3, size, size),), {}

    return make


def small(build: Callable[[], nn.Module], *args: Any, **kwargs: Any) -> Case:
    return functools.cache(lambda: (build(), args, kwargs))


TORCHVISION: dict[str, Case] = {
    "resnet18": image("resnet18"),
    "resnet50": image("resnet50"),
    "densenet121": image("densenet121"),
    "mobilenet_v2": image("mobilenet_v2"),
    "convnext_tiny": image("convnext_tiny"),
    "efficientnet_b0": image("efficientnet_b0"),
    "swin_t": image("swin_t"),
    "vit_b_16": image("vit_b_16", 32, image_size=32),
    "segmenter": image("lraspp_mobilenet_v3_large", weights_backbone=None),
}
SMALL: dict[str, Case] = {
    "residual": small(zoo.Residual, torch.randn(2, 4, 8, 8)),
    "caching": small(lambda: zoo.Caching().eval(), torch.randn(3, 4)),
    "training": small(lambda: zoo.Caching().train(), torch.randn(3, 4)),
    "slice write": small(zoo.SliceWrite, torch.randn(2, 4)),
    "view write": small(zoo.ViewWrite, torch.randn(2, 4)),
    "in place": small(zoo.InPlaceForms, torch.randn(3), torch.randn(3)),
    "shared": small(zoo.Shared, torch.tensor([[1, 2], [3, 4]])),
    "attention": small(zoo.Attention, torch.randn(2, 5, 8)),
    "lstm": small(lambda: nn.LSTM(4, 8, 2, batch_first=True), torch.randn(2, 5, 4)),
    "gru": small(lambda: nn.GRU(4, 8), torch.randn(5, 2, 4)),
    "encoder": small(
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
        torch.randn(2, 5, 8),
    ),
    "tuple": small(lambda: zoo.Outputs("tuple"), torch.randn(2, 4)),
    "kwargs": small(
        zoo.ManyInputs,
        torch.randn(2, 4),
        3,
        extra={"bias": torch.randn(4)},
        tail=torch.randn(4),
    ),
}
ALL = TORCHVISION | SMALL


@functools.cache
def traced(case: Case) -> ModelGraph:
    model, args, kwargs = case()
    return trace_model(model, args, kwargs)


def params(cases: dict[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


@pytest.mark.parametrize(
    ("name", "ops", "joins"), [("resnet18", 69, 8), ("resnet34", 125, 16), ("resnet50", 175, 16)]
)
def test_ops_and_joins_of_resnets(name: str, ops: int, joins: int) -> None:
    model, args, _ = image(name)()
    graph = trace_model(model, args)
    assert (len(graph.ops), len(of_kind(graph, "add"))) == (ops, joins)
    assert len(graph.inputs) == len(graph.outputs) == 1
    assert graph.how.mode == "meta"


@params(ALL)
def test_tracing_twice_remembering_or_not_is_equal(case: Case) -> None:
    model, args, kwargs = case()
    graph = traced(case)
    assert graph == trace_model(model, args, kwargs)
    assert graph == trace_model(model, args, kwargs, remember=False)
    assert graph.ops


@params(ALL)
def test_meta_fake_and_real_traces_are_equal(case: Case) -> None:
    model, args, kwargs = case()
    assert traced(case).how.mode == "meta"
    for mode in ("fake", "real"):
        graph = trace_model(model, args, kwargs, modes=(mode,))
        assert graph.how.mode == mode
        assert graph == traced(case)


@params(ALL)
def test_params_are_counted_once(case: Case) -> None:
    model, *_ = case()
    graph = traced(case)
    assert graph.total_params == sum(p.numel() for p in model.parameters())
    used = sum(p.spec.numel for p in graph.parameters if p.used)
    assert sum(op.params for op in graph.ops) == used
    assert [p.name for p in graph.parameters] == [n for n, _ in model.named_parameters()]


@params(ALL)
def test_macs_are_half_of_torchs_flops_on_meta(case: Case) -> None:
    model, args, kwargs = case()
    graph = traced(case)
    mode = model.training
    model = copy.deepcopy(model).to("meta").train(mode)
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        model(*_meta(args), **_meta(kwargs))
    assert graph.total_macs * 2 == counter.get_total_flops()
    assert graph.uncounted == ()


def _meta(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to("meta")
    if isinstance(value, dict):
        return {k: _meta(v) for k, v in value.items()}
    return tuple(map(_meta, value)) if isinstance(value, tuple) else value


@params(ALL)
def test_json_round_trip_is_identity(case: Case) -> None:
    graph = traced(case)
    again = from_json(to_json(graph))
    assert again == graph
    assert again.how == graph.how


def test_a_kernel_that_multiplies_without_a_formula_is_listed() -> None:
    class Spectral(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cdist(torch.fft.rfft(x).abs(), torch.ones(3, 3)) @ torch.ones(3)

    for mode in ("meta", "fake", "real"):
        graph = trace_model(Spectral(), (torch.randn(2, 4),), modes=(mode,))
        by_kind = {op.kind: op.macs for op in graph.ops}
        assert by_kind["fft_rfft"] is None
        assert by_kind["cdist"] is None
        assert by_kind["matmul"] is None
        assert by_kind["abs"] == 0
        assert len(graph.uncounted) == 3


def test_kernels_that_only_sound_like_products_cost_nothing() -> None:
    class Resize(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = nn.functional.interpolate(x, size=5, mode="bilinear")
            return torch.nn.functional.group_norm(x, 1).norm(dim=1)

    assert trace_model(Resize(), (torch.randn(1, 2, 3, 3),)).uncounted == ()


def test_every_op_of_a_resnet_knows_where_it_was_written() -> None:
    model, args, _ = image("resnet18")()
    graph = trace_model(model, args)
    home = Path(sys.modules["torchvision"].__file__ or "").parent.parent
    for op in graph.ops:
        match = re.fullmatch(r"(torchvision/models/resnet\.py):(\d+)", op.source_line)
        assert match, op
        line = linecache.getline(str(home / match[1]), int(match[2]))
        leaf = op.module.rpartition(".")[2]
        # A layer is called by the name its parent gave it, inside a Sequential by the
        # Sequential's; a plain function by its own name or operator.
        names = [leaf, op.module.split(".")[0], op.kind, "+=" if op.kind == "add" else op.kind]
        assert any(f"{n}" in line for n in (*names, "downsample")), (op.id, line)
    lines = {op.id: op.source_line for op in graph.ops}
    assert lines["layer1.0/add#0"] == lines["layer1.1/add#0"]
    assert lines["layer1.0.relu/relu#0"] != lines["layer1.0.relu/relu#1"]


def test_source_line_of_a_model_in_a_file_of_its_own() -> None:
    graph = trace_model(zoo.Residual(), (torch.randn(1, 4, 8, 8),))
    (join,) = of_kind(graph, "add")
    file, _, number = join.source_line.partition(":")
    assert file == "tests/tracing/models.py"
    assert "out += x" in linecache.getline(zoo.__file__, int(number))


def test_an_op_has_all_its_facts() -> None:
    model, args, _ = image("resnet18")()
    graph = trace_model(model, args, name="net")
    conv = graph["conv1/conv2d#0"]
    assert graph.name == "net"
    assert (conv.kind, conv.target, conv.module) == ("conv2d", "torch.conv2d", "conv1")
    assert conv.outputs[0].shape == (1, 64, 32, 32)
    assert conv.outputs[0].dtype == "float32"
    assert conv.parameters == ("conv1.weight",)
    assert conv.params == 64 * 3 * 49
    assert conv.macs == 64 * 32 * 32 * 3 * 49
    assert not conv.inplace
    assert graph["relu/relu#0"].inplace
    join = graph["layer1.0/add#0"]
    assert join.inplace
    assert [e.src for e in graph.edges_in(join.id)] == [
        "layer1.0.bn2/batch_norm#0",
        "maxpool/max_pool2d#0",
    ]


# -- renaming ------------------------------------------------------------------------

names = st.text(min_size=1, max_size=12).filter(
    lambda s: "." not in s and s not in ("a", "b") and not hasattr(nn.Sequential, s)
)


def _named(first: str, second: str) -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            block = nn.Module()
            inner = nn.Sequential()
            inner.add_module(second, nn.Linear(4, 4))
            block.add_module(first, inner)
            self.add_module(first, inner)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self._modules[first](x) + x)  # type: ignore[misc]

    return Net()


@settings(max_examples=40)
@given(first=names, second=names)
def test_renaming_modules_changes_only_names_and_ids(first: str, second: str) -> None:
    x = (torch.ones(2, 4),)
    plain = trace_model(_named("first", "second"), x)
    other = trace_model(_named(first, second), x)
    assert from_json(to_json(other)) == other
    assert kinds(other) == kinds(plain)
    prefix = f"{first}.{second}"
    expected = {"first.second/linear#0": f"{prefix}/linear#0"}
    same = {op.id: expected.get(op.id, op.id) for op in (*plain.inputs, *plain.ops)}
    assert [same[op.id] for op in plain.ops] == [op.id for op in other.ops]
    assert [(same[e.src], e.out_slot, same[e.dst], e.in_slot) for e in plain.edges] == [
        (e.src, e.out_slot, e.dst, e.in_slot) for e in other.edges
    ]
    for a, b in zip(plain.ops, other.ops, strict=True):
        assert (a.outputs, a.macs, a.params, a.inplace, a.kwargs, a.source_line) == (
            (b.outputs, b.macs, b.params, b.inplace, b.kwargs, b.source_line)
        )
    assert [m.path for m in other.modules] == ["", first, prefix]


def test_hostile_module_names_are_only_names() -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    graph = trace_model(_named(evil, "%s/#{}\n\x00é"), (torch.ones(2, 4),))
    assert graph.ops[0].module == f"{evil}.%s/#{{}}\n\x00é"
    assert from_json(to_json(graph)) == graph


def test_deep_models_trace() -> None:
    model = nn.Sequential(*[nn.ReLU() for _ in range(3000)])
    graph = trace_model(model, (torch.ones(2),))
    assert len(graph.ops) == 3000
    assert from_json(to_json(graph)) == graph


@pytest.mark.slow
def test_resnet_1202_traces() -> None:
    from resnet_viz.sources.variants import build

    model = build("resnet1202").eval()
    graph = trace_model(model, (torch.randn(1, 3, 32, 32),))
    assert graph.total_params == 19_421_274
    assert len(of_kind(graph, "add")) == 600


def test_deeply_nested_modules_trace_where_the_model_itself_runs() -> None:
    model: nn.Module = nn.Linear(2, 2)
    for _ in range(100):
        model = nn.Sequential(model)
    x = torch.ones(1, 2)
    model(x)
    graph = trace_model(model, (x,))
    assert graph.ops[0].module == ".".join("0" * 100)
