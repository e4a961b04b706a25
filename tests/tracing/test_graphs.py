"""Which tensor comes from where: reuse, in-place writes, views, trees, attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_viz.core.errors import TraceError, UserError
from resnet_viz.core.graph import Ref
from resnet_viz.tracing.tracer import trace_model
from tests.tracing import models as zoo
from tests.tracing.models import kinds, of_kind, producers, reaches

MODES: Any = [("meta",), ("fake",), ("real",)]


def test_two_calls_of_one_module_are_two_ops() -> None:
    graph = trace_model(zoo.Residual(), (torch.randn(1, 4, 8, 8),))
    assert [op.id for op in graph.ops] == [
        "first/conv2d#0",
        "norm/batch_norm#0",
        "relu/relu#0",
        "second/conv2d#0",
        "add#0",
        "relu/relu#1",
    ]
    assert producers(graph, "add#0") == ["second/conv2d#0", "input#0"]
    assert graph.module("relu").calls == 2
    assert graph.outputs[0].src == "relu/relu#1"


def test_in_place_forms_are_named_alike_and_chained() -> None:
    graph = trace_model(zoo.InPlaceForms(), (torch.randn(3), torch.randn(3)))
    assert [(op.id, op.inplace) for op in graph.ops] == [
        ("mul#0", False),
        ("add#0", True),
        ("add#1", True),
        ("add#2", True),
        ("relu#0", True),
        ("relu#1", True),
    ]
    assert producers(graph, "add#0") == ["mul#0", "input#1"]
    assert producers(graph, "add#1") == ["add#0", "input#1"]
    assert producers(graph, "add#2")[:2] == ["add#1", "input#1"]
    assert producers(graph, "relu#1") == ["relu#0"]


@pytest.mark.parametrize("modes", MODES)
def test_a_write_into_part_keeps_both_sides_connected(modes: Any) -> None:
    graph = trace_model(zoo.SliceWrite(), (torch.randn(2, 4),), modes=modes)
    assert producers(graph, "setitem#0") == ["right/linear#0", "left/linear#0"]
    assert producers(graph, "add#0") == ["setitem#0", "input#0"]
    assert reaches(graph, "right/linear#0", "add#0")
    assert reaches(graph, "left/linear#0", "add#0")


@pytest.mark.parametrize("modes", MODES)
def test_a_write_through_a_view_reaches_every_other_view(modes: Any) -> None:
    graph = trace_model(zoo.ViewWrite(), (torch.randn(2, 4),), modes=modes)
    (scaled,) = of_kind(graph, "mul")
    (added,) = of_kind(graph, "add")[:1]
    assert producers(graph, added.id) == [scaled.id, "other/linear#0"]
    assert producers(graph, "sum#0") == [added.id]
    assert producers(graph, "mean#0") == [added.id]


def test_a_view_written_before_it_is_read_and_a_view_of_an_input() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            left = x[:, :2]
            x[:, 2:] = 0
            left.mul_(2)
            return x + 1

    graph = trace_model(Net(), (torch.ones(2, 4),))
    assert producers(graph, "mul#0") == ["setitem#0"]
    assert producers(graph, "add#0") == ["mul#0"]


def test_one_tensor_used_twice_by_one_op() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x

    graph = trace_model(Net(), (torch.ones(2),))
    assert [(e.src, e.in_slot) for e in graph.edges] == [("input#0", 0), ("input#0", 1)]


def test_shared_weights_and_modules_are_counted_once() -> None:
    graph = trace_model(zoo.Shared(), (torch.tensor([[1, 2]]),))
    assert graph.total_params == 7 * 4 + 4 * 4 + 4
    assert graph.parameter("embed.weight").aliases == ("head.weight",)
    assert graph.module("layer").aliases == ("again",)
    assert graph.module("layer").calls == 3
    ids = [op.id for op in graph.ops if op.kind == "linear"]
    assert ids == ["layer/linear#0", "layer/linear#1", "layer/linear#2", "head/linear#0"]
    assert [graph[op].params for op in ids] == [20, 0, 0, 0]
    assert graph["head/linear#0"].parameters == ("embed.weight",)
    assert graph.module("head").parameters == ()


@pytest.mark.parametrize("modes", MODES)
def test_modules_in_a_plain_list_go_by_type_and_number(modes: Any) -> None:
    graph = trace_model(zoo.Hidden(), (torch.ones(2, 4),), modes=modes)
    assert [op.id for op in graph.ops] == [
        "<Linear#0>/linear#0",
        "<Linear#1>/linear#0",
        "<ReLU#0>/relu#0",
    ]
    assert {m.path for m in graph.modules} == {"", "<Linear#0>", "<Linear#1>", "<ReLU#0>"}
    assert graph.total_params == 0
    assert graph.total_macs == 2 * 2 * 16


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ("tensor", [""]),
        ("tuple", ["0", "1.0"]),
        ("list", ["0", "1"]),
        ("dict", ["out", "aux.z"]),
        ("namedtuple", ["mean", "scale"]),
        ("dataclass", ["logits", "past.0", "past.1"]),
        ("none", []),
    ],
)
@pytest.mark.parametrize("modes", MODES)
def test_outputs_go_by_their_place_in_the_result(shape: str, names: list[str], modes: Any) -> None:
    graph = trace_model(zoo.Outputs(shape), (torch.ones(2, 4),), modes=modes)
    assert [o.name for o in graph.outputs] == names
    if names:
        assert graph.outputs[0].src == "linear/linear#0"


def test_a_hugging_face_model_names_its_outputs() -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=11,
        max_position_embeddings=8,
    )
    model = BertModel(config).eval()
    data = {"input_ids": torch.tensor([[1, 2, 3]]), "attention_mask": torch.ones(1, 3).long()}
    graph = trace_model(model, (), data)
    assert [o.name for o in graph.outputs] == ["last_hidden_state", "pooler_output"]
    assert [op.label for op in graph.inputs] == ["input_ids", "attention_mask"]
    assert graph.how.mode != "meta"  # its masking reads a value there
    del data["attention_mask"]
    assert trace_model(model, (), data) == trace_model(model, (), data, modes=("real",))
    assert len(of_kind(graph, "scaled_dot_product_attention")) == 1


@pytest.mark.parametrize("modes", MODES)
def test_inputs_go_by_the_names_of_the_arguments(modes: Any) -> None:
    model = zoo.ManyInputs()
    kwargs = {"extra": {"bias": torch.ones(4)}, "tail": torch.ones(4)}
    graph = trace_model(model, (torch.ones(2, 4), 3, None), kwargs, modes=modes)
    assert [op.label for op in graph.inputs] == ["x", "extra.bias", "tail"]
    assert graph["mul#0"].args == (Ref(kind="in", key=0), 3)
    other = trace_model(model, (torch.ones(2, 4),), {**kwargs, "times": 3, "mask": torch.ones(4)})
    assert sorted(op.label for op in other.inputs) == ["extra.bias", "mask", "tail", "x"]


def test_buffers_parameters_and_constants_are_no_activations() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))
            self.register_buffer("shift", torch.ones(4))
            self.plain = torch.ones(4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x > 0, x * self.scale + self.shift, self.plain)

    for modes in MODES:
        graph = trace_model(Net(), (torch.ones(4),), modes=modes)
        assert graph["mul#0"].args[1] == Ref(kind="param", key="scale")
        assert graph["add#0"].args[1] == Ref(kind="buffer", key="shift")
        assert graph["where#0"].args[2] == Ref(kind="const", key="float32[4]")
        assert producers(graph, "where#0") == ["gt#0", "add#0"]


@pytest.mark.parametrize("modes", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_attention_is_open(modes: Any, dtype: torch.dtype) -> None:
    x = torch.randn(2, 5, 8, dtype=dtype)
    with_weights = kinds(trace_model(zoo.Attention().to(dtype), (x,), modes=modes))
    assert with_weights.count("linear") == 2
    assert with_weights.count("bmm") == 2
    assert "softmax" in with_weights
    without = kinds(trace_model(zoo.Attention(False).to(dtype), (x,), modes=modes))
    assert without.count("linear") == 2
    assert "scaled_dot_product_attention" in without
    assert F.multi_head_attention_forward.__globals__["has_torch_function"]


def test_the_fast_path_of_transformers_hides_nothing() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=True).eval()
    for modes in MODES:
        graph = trace_model(model, (torch.randn(2, 5, 8),), modes=modes)
        assert len(of_kind(graph, "layer_norm")) == 4
        assert len(of_kind(graph, "add")) == 4
        assert not any("fastpath" in k or "transformer" in k for k in kinds(graph))


def test_data_dependent_control_flow_falls_to_the_real_run_and_says_why() -> None:
    model = zoo.Branching()
    up, down = (trace_model(model, (torch.full((2, 4), v),)) for v in (1.0, -1.0))
    assert (up.how.mode, down.how.mode) == ("real", "real")
    assert up.ops[-1].id == "up/linear#0"
    assert down.ops[-1].id == "down/linear#0"
    assert up.how.why.startswith("meta raised ")
    assert "fake" not in up.how.why  # it has no values either
    assert "\n" not in up.how.why


def test_sparse_inputs_and_complex_weights_trace() -> None:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(torch.sparse.mm(x, torch.ones(4, 4)))

    graph = trace_model(Sparse(), (torch.eye(4).to_sparse(),))
    assert graph.how.mode != "meta"
    assert graph.uncounted == ("sparse_mm#0",)

    class Complex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 4, dtype=torch.complex64))

        def forward(self, x: Tensor) -> Tensor:
            return (x.to(torch.complex64) @ self.w).abs()

    graph = trace_model(Complex(), (torch.randn(2, 4),))
    assert graph["matmul#0"].outputs[0].dtype == "complex64"


def test_a_call_that_the_model_catches_leaves_no_trace() -> None:
    class Trying(nn.Module):
        def forward(self, x: Tensor, w: Tensor) -> Tensor:
            try:
                y = x @ w
            except RuntimeError:
                y = x @ w.T
            return y

    for modes in MODES:
        graph = trace_model(Trying(), (torch.ones(2, 3), torch.ones(5, 3)), modes=modes)
        transposed, product = graph.ops
        assert product.id == "matmul#0"
        assert producers(graph, "matmul#0") == ["input#0", transposed.id]


def test_a_model_on_meta_traces_without_values() -> None:
    with torch.device("meta"):
        model = zoo.Residual()
    graph = trace_model(model, (torch.randn(1, 4, 8, 8),))
    assert graph == trace_model(zoo.Residual(), (torch.randn(1, 4, 8, 8),))
    assert all(p.device.type == "meta" for p in model.parameters())


class Moving(nn.Module):
    """Casts and moves that change nothing, and one that does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        grid = torch.arange(4, device="cpu").float().to(x.device)
        x = x.to(x.device).float()
        y = F.linear(x.to(copy=True, dtype=x.dtype), self.linear.weight.to(x.device, copy=True))
        return x + y * grid.type_as(x)


@pytest.mark.parametrize("modes", MODES)
def test_a_cast_that_keeps_the_dtype_is_no_op(modes: Any) -> None:
    graph = trace_model(Moving(), (torch.ones(2, 4),), modes=modes)
    assert [op.id for op in graph.ops] == ["arange#0", "float#0", "linear#0", "mul#0", "add#0"]
    assert producers(graph, "linear#0") == ["input#0"]
    assert graph["linear#0"].parameters == ("linear.weight",)
    assert producers(graph, "mul#0") == ["linear#0", "float#0"]
    assert producers(graph, "add#0") == ["input#0", "mul#0"]


# -- errors --------------------------------------------------------------------------


@pytest.mark.parametrize("given", [True, False])
def test_a_wrong_shape_names_module_shapes_and_line(given: bool) -> None:
    with pytest.raises(TraceError) as caught:
        trace_model(zoo.Broken(), (torch.ones(3, 4),), input_was_given=given)
    error = caught.value
    text = str(error)
    assert "\n" not in text
    assert "linear in body.2 (" in text
    assert "models.py:" in text
    assert "3×6" in text
    assert "2×5" in text
    assert error.exit_code == (2 if given else 3)
    assert (error.module, error.op) == ("body.2", "body.2/linear#0")
    assert error.graph is not None
    ran = ["body.0/linear#0", "body.1/relu#0", "body.2/linear#0"]
    assert [op.id for op in error.graph.ops] == ran
    assert isinstance(error.__cause__, RuntimeError)


def test_an_exception_of_the_models_own_names_the_module() -> None:
    class Picky(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch.relu(x)
            raise KeyError("no such key")

    text = r"^forward raised in 1 \(tests/tracing/test_graphs\.py:\d+\): KeyError: 'no such key'$"
    with pytest.raises(TraceError, match=text) as caught:
        trace_model(nn.Sequential(nn.ReLU(), Picky()), (torch.ones(2),))
    assert caught.value.op is None
    assert caught.value.module == "1"
    assert len(caught.value.graph.ops) == 2  # type: ignore[union-attr]


def test_an_error_in_every_mode_is_told_once_and_logged_nowhere(
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = nn.Sequential(nn.Conv3d(1, 1, 1), nn.AvgPool3d(9))
    with pytest.raises(TraceError, match=r"avg_pool3d in 1 .*1×1×2×2×2"):
        trace_model(model, (torch.ones(1, 1, 2, 2, 2),))
    assert capfd.readouterr() == ("", "")


def test_arguments_that_do_not_bind_are_told() -> None:
    with pytest.raises(TraceError, match="forward raised in the root module: TypeError"):
        trace_model(zoo.Residual(), (torch.ones(2), torch.ones(2)))


def test_a_script_module_is_refused_in_one_line() -> None:
    model = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"^the model is a ScriptModule.*give the nn.Module"):
        trace_model(model, (torch.ones(1, 2),))


def test_a_script_module_inside_a_model_is_refused_by_its_path() -> None:
    inner = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"^0 is a ScriptModule"):
        trace_model(nn.Sequential(inner, nn.ReLU()), (torch.ones(1, 2),))
