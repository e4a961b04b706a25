"""Exported programs: the graph of the live model, from Python and from a file."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

import resnet_viz as rv
from resnet_viz.core.graph import ModelGraph
from resnet_viz.sources.exported import module_of


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.heads = nn.MultiheadAttention(width, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.heads(y, y, y, need_weights=False)[0]


class TinyViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.layers = nn.Sequential(Attention(8), Attention(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return self.head(self.layers(x)[:, 0])


def facts(graph: ModelGraph) -> dict[str, Any]:
    structure = rv.annotate(graph)
    return {
        "ops": [(op.id, op.outputs, op.macs, op.params, op.parameters) for op in graph.ops],
        "files": [op.source_line.rpartition(":")[0] for op in graph.ops],
        "edges": [(e.src, e.dst) for e in graph.edges],
        "modules": [(m.path, m.type_name, m.calls) for m in graph.modules],
        "parameters": graph.parameters,
        "inputs": [i.label for i in graph.inputs],
        "skips": structure.skips,
        "blocks": structure.blocks,
        "stages": structure.stages,
    }


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: rv.build("resnet20", shortcut="B"), (2, 3, 32, 32)),
        (TinyViT, (2, 3, 8, 8)),
        (lambda: nn.LSTM(3, 4, batch_first=True), (2, 5, 3)),
    ],
)
def test_a_program_has_the_graph_of_its_model(make: Any, size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(size)
    program = export(model, (x,))

    live, exported = rv.trace(model, input_data=x), rv.trace(program)

    expected, found = facts(live), facts(exported)
    # Modules that ran no op are not in a program (an Identity), or without their class.
    silent = [m for m in expected["modules"] if m[0].endswith(("maxpool", "out_proj"))]
    expected["modules"] = [m for m in expected["modules"] if m not in silent]
    found["modules"] = [m for m in found["modules"] if not m[0].endswith("out_proj")]
    assert found == expected
    assert "mode of the export" in exported.warnings[0]


def test_targets_and_lines_are_those_of_the_export() -> None:
    graph = rv.trace(export(TinyViT().eval(), (torch.ones(1, 3, 8, 8),)))

    patch = graph["patches/conv2d#0"]
    assert patch.target == "torch.ops.aten.conv2d.default"
    assert Path(__file__).name in patch.source_line
    line = Path(__file__).read_text().splitlines()[int(patch.source_line.rpartition(":")[2]) - 1]
    assert "self.patches(x)" in line


def test_gradients_flow_as_in_the_model() -> None:
    torch.manual_seed(0)
    model = rv.build("resnet20").eval()
    data = (torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))

    live = rv.gradient_flow(model, data)
    exported = rv.gradient_flow(export(model, (data[0],)), data)

    assert (exported.parameters, exported.shares) == (live.parameters, live.shares)


class Odd(nn.Module):
    """Shared and unused weights, a buffer that counts, no_grad, constants, trees."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused = (nn.Linear(4, 4) for _ in range(3))
        self.second.weight = self.first.weight
        self.register_buffer("count", torch.zeros(1))
        self.offset = torch.randn(4)

    def forward(self, x: Tensor, *, mask: Tensor, more: dict[str, Tensor]) -> dict[str, Any]:
        self.count.add_(1)
        with torch.no_grad():
            y = self.first(x)
        z = self.second(x) + torch.arange(4, device=x.device) + self.offset
        return {"out": self.first(z * mask) + y, "rest": (z, more["a"] * 2)}


def test_trees_shared_weights_and_regions_without_gradient() -> None:
    torch.manual_seed(0)
    model = Odd().eval()
    kwargs = {"mask": torch.ones(2, 4), "more": {"a": torch.ones(3)}}
    x = torch.randn(2, 4)
    program = export(model, (x,), kwargs)
    module = module_of(program)

    graph = rv.trace(program)

    live = facts(rv.trace(model, input_data=(x,), **kwargs))
    found = facts(graph)
    for key in ("ops", "edges", "parameters", "inputs"):
        assert found[key] == live[key]
    assert graph.how.mode == "meta"
    assert [p.name for p in graph.parameters if not p.used] == ["unused.weight", "unused.bias"]
    assert graph.module("first").calls == 2
    for made in (module, copy.deepcopy(module)):
        out, expected = made(x, **kwargs), model(x, **kwargs)
        assert torch.equal(out["out"], expected["out"])
        assert torch.equal(out["rest"][1], expected["rest"][1])
        assert not out["out"].isnan().any()
    assert module(x, more=kwargs["more"], mask=kwargs["mask"]).keys() == {"out", "rest"}
    with pytest.raises(TypeError, match="x, mask, more"):
        module(x)


def test_a_branch_that_depends_on_values_is_the_one_that_runs() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.yes, self.no = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(x.sum() > 0, self.yes, self.no, (x,))

    program = export(Branches(), (torch.ones(1, 3),))

    for sign, name in ((1, "yes"), (-1, "no")):
        graph = rv.trace(program, input_data=sign * torch.ones(1, 3))
        assert graph.how.mode == "real"
        assert graph.ops[-1].parameters == (f"{name}.weight", f"{name}.bias")


def test_batches_of_any_size_where_the_export_allows_them() -> None:
    program = export(
        rv.build("resnet20").eval(),
        (torch.ones(2, 3, 32, 32),),
        dynamic_shapes=({0: Dim("batch")},),
    )

    assert rv.trace(program, input_size=(5, 3, 32, 32)).outputs
    assert rv.trace(program, input_size=(5, 3, 32, 32)).ops[0].shape[0] == 5


def test_a_decomposed_program_keeps_its_structure() -> None:
    model, x = rv.build("resnet20").eval(), torch.randn(1, 3, 32, 32)
    program = export(model, (x,)).run_decompositions()

    live, found = rv.trace(model, input_data=x), rv.trace(program)

    skips = [
        [(s.fork, s.join, s.kind, s.branch) for s in rv.annotate(graph).skips]
        for graph in (live, found)
    ]
    assert skips[0] == skips[1]
    assert (found.total_macs, found.total_params) == (live.total_macs, live.total_params)
    assert torch.equal(module_of(program)(x), program.module()(x))


def test_a_file_is_traced_as_its_program(tmp_path: Path) -> None:
    file = tmp_path / "net.pt2"
    program = export(rv.build("resnet20").eval(), (torch.ones(1, 3, 32, 32),))
    torch.export.save(program, file)

    graph = rv.trace(str(file))

    assert graph == rv.trace(program, name="net")
    assert rv.load(str(file)).source == "net.pt2"


def test_inputs_are_made_where_the_program_holds_none() -> None:
    program = export(
        Odd().eval(),
        (torch.ones(2, 4),),
        {"mask": torch.ones(2, 4).long(), "more": {"a": torch.ones(3)}},
    )
    program._example_inputs = None

    graph = rv.trace(program)

    assert [(i.label, i.shape, i.outputs[0].dtype) for i in graph.inputs] == [
        ("x", (2, 4), "float32"),
        ("mask", (2, 4), "int64"),
        ("more.a", (3,), "float32"),
    ]
