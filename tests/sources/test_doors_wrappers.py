"""Wrapped models: what is traced is the model inside, and the wrapper stays as it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import resnet_viz as rv
from resnet_viz.sources.loading import ModelSpec, load
from resnet_viz.sources.unwrapping import unwrap

SIZE = (1, 3, 8, 8)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.conv(x))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(4, 2)
        self.calls = [self.stem]  # a list of modules beside the registered ones

    def forward(self, x: Tensor) -> Tensor:
        x = self.calls[0](x)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of one, without ports or files."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def in_place(model: nn.Module) -> nn.Module:
    model.compile()
    return model


def partly(model: Net) -> nn.Module:
    model.blocks[0] = torch.compile(model.blocks[0])
    model.stem.compile()
    return model


WRAPPERS: dict[str, tuple[Callable[[Any], nn.Module], str]] = {
    "compile": (torch.compile, "torch.compile taken off: Net"),
    "compiled in place": (in_place, "torch.compile in place taken off the model"),
    "compiled inside": (partly, "torch.compile taken off blocks.0"),
    "data parallel": (nn.DataParallel, "DataParallel taken off: Net"),
    "ddp": (DistributedDataParallel, "DistributedDataParallel taken off: Net"),
    "ddp of compile": (
        lambda m: DistributedDataParallel(torch.compile(m)),
        "DistributedDataParallel, torch.compile taken off: Net",
    ),
    "compile of ddp": (
        lambda m: torch.compile(DistributedDataParallel(m)),
        "torch.compile, DistributedDataParallel taken off: Net",
    ),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_model_inside_is_traced_and_measured(name: str, group: None) -> None:
    wrap, note = WRAPPERS[name]
    wrapped = wrap(net())
    state = wrapped.state_dict(keep_vars=True)
    before = {key: (id(v), v.detach().clone()) for key, v in state.items()}
    kinds = [(path, type(m), m._compiled_call_impl) for path, m in wrapped.named_modules()]

    graph = rv.trace(wrapped, input_size=SIZE)
    data = (torch.ones(2, *SIZE[1:]), torch.tensor([0, 1]))
    flow = rv.gradient_flow(wrapped, data)

    assert graph == rv.trace(net(), input_size=SIZE)
    assert graph.warnings[-1 if name != "compiled inside" else 1].startswith(note)
    plain = rv.gradient_flow(net(), data)
    assert (flow.parameters, flow.shares) == (plain.parameters, plain.shares)
    after = wrapped.state_dict(keep_vars=True)
    assert [(key, id(v)) for key, v in after.items()] == [(k, i) for k, (i, _) in before.items()]
    assert all(torch.equal(after[key], value) for key, (_, value) in before.items())
    assert [(p, type(m), m._compiled_call_impl) for p, m in wrapped.named_modules()] == kinds
    assert all(p.grad is None for p in wrapped.parameters())


def test_a_forward_that_is_compiled_where_it_is_written() -> None:
    class Written(nn.Linear):
        forward = torch.compile(nn.Linear.forward)

    graph = rv.trace(Written(3, 2), input_size=(1, 3))

    assert [op.id for op in graph.ops] == ["linear#0"]
    assert graph.warnings == ("torch.compile in place taken off the model: traced as written",)


def test_what_is_not_wrapped_is_given_back_as_it_is() -> None:
    class Disabled(nn.Linear):
        forward = torch._dynamo.disable(nn.Linear.forward)

    for model in (net(), Disabled(2, 2)):
        found = unwrap(model)
        assert found.model is model
        assert found.notes == ()


# -- sharded -----------------------------------------------------------------------


def fsdp2(model: Net) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (1,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def fsdp1(model: Net) -> nn.Module:
    from torch.distributed.fsdp import FullyShardedDataParallel

    cpu = torch.device("cpu")
    model.blocks[1] = FullyShardedDataParallel(model.blocks[1], device_id=cpu)
    return FullyShardedDataParallel(model, device_id=cpu)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shard", [fsdp2, fsdp1])
def test_sharded_parameters_are_shown_whole(shard: Callable[[Net], nn.Module], group: None) -> None:
    wrapped = shard(net())
    kinds = [(p, type(m)) for p, m in wrapped.named_modules()]
    parameters = [(key, id(p), type(p)) for key, p in wrapped.named_parameters()]

    graph = rv.trace(wrapped, input_size=SIZE)

    assert graph == rv.trace(net(), input_size=SIZE)
    assert "whole shapes are shown, no values" in graph.warnings[-1]
    report = rv.report(wrapped, input_size=SIZE)
    if shard is fsdp1:
        with pytest.raises(rv.UserError, match=r"cannot be measured: .*FSDP.*fully_shard"):
            rv.gradient_flow(wrapped, input_size=SIZE)
        assert [m.section for m in report.missing] == ["gradient flow", "attributions"]
    else:
        plain = rv.report(net(), input_size=SIZE).gradient_flow
        assert plain is not None
        assert report.gradient_flow is not None
        assert report.gradient_flow.parameters == plain.parameters
        assert report.gradient_flow.calls == plain.calls
        assert report.gradient_flow.shares == plain.shares
        assert [m.section for m in report.missing] == ["attributions"]
    assert [(p, type(m)) for p, m in wrapped.named_modules()] == kinds
    assert [(key, id(p), type(p)) for key, p in wrapped.named_parameters()] == parameters
    assert wrapped(torch.ones(2, *SIZE[1:])).shape == (2, 2)


# -- adapters ----------------------------------------------------------------------


class Lora(nn.Module):
    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_A = nn.Linear(base.in_features, 1, bias=False)
        self.lora_B = nn.Linear(1, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.lora_B(self.lora_A(x))


class Tuner(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)


class Shell(nn.Module):
    """As PEFT's outermost module: LoRA layers in it, and a tuner between."""

    def __init__(self, model: nn.Module, prompts: int = 0) -> None:
        super().__init__()
        self.base_model = Tuner(model)
        if prompts:
            self.prompt = nn.Parameter(torch.zeros(prompts))

    def get_base_model(self) -> nn.Module:
        return self.base_model.model

    def forward(self, x: Tensor) -> Tensor:
        return self.base_model(x)


def test_an_adapter_keeps_its_layers_and_loses_its_shell() -> None:
    model = net()
    model.head = Lora(model.head)  # type: ignore[assignment]

    graph = rv.trace(Shell(model), input_size=SIZE)

    assert graph == rv.trace(model, input_size=SIZE)
    assert "head.lora_A/linear#0" in graph
    assert graph.warnings == ("Shell taken off: Net inside it is shown",)


def test_a_shell_with_parameters_of_its_own_stays() -> None:
    graph = rv.trace(Shell(net(), prompts=3), input_size=SIZE)

    assert "base_model.model.head/linear#0" in graph
    assert graph.warnings == ()


def test_a_backbone_called_base_model_is_no_shell() -> None:
    class Headed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Linear(3, 4)

        @property
        def base_model(self) -> nn.Module:
            return self.backbone

        def forward(self, x: Tensor) -> Tensor:
            return self.backbone(x).relu()

    graph = rv.trace(Headed(), input_size=(1, 3))

    assert [op.id for op in graph.ops] == ["backbone/linear#0", "relu#0"]


# -- text and refusals -------------------------------------------------------------


def test_a_wrapped_model_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "nets.py"
    file.write_text("from torch import nn\nwrapped = nn.DataParallel(nn.Linear(3, 2))\n")

    loaded = load(ModelSpec(text=f"{file}:wrapped"))

    assert type(loaded.model) is nn.Linear
    assert loaded.notes == ("DataParallel taken off: Linear inside it is shown",)


@pytest.mark.filterwarnings("ignore")
def test_script_modules_and_what_is_no_model_are_refused_in_one_line() -> None:
    for value, words in (
        (torch.jit.script(nn.Linear(2, 2)), "give the Python class it was made from"),
        (torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), "give the Python class"),
        (nn.DataParallel(torch.jit.script(nn.Linear(2, 2))), "give the Python class"),
        (nn.Sequential(torch.jit.script(nn.Linear(2, 2))), "0 is a ScriptModule"),
        (torch.relu, "put it into one"),
        (3, "a int was given"),
    ):
        with pytest.raises(rv.UserError, match=words) as refused:
            rv.trace(value, input_size=(1, 2))  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)
