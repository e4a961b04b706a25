"""A graph is proved, found wrong, or refused; never anything in between."""

from __future__ import annotations

import ctypes
import functools
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import resnet_viz as rv
from resnet_viz.core.graph import Edge, ModelGraph, OpId
from resnet_viz.core.schema import from_json, to_json
from resnet_viz.tracing.proving.bits import same_bits
from resnet_viz.tracing.proving.flows import Flows
from resnet_viz.tracing.proving.runs import Runs
from resnet_viz.tracing.proving.steps import prove
from resnet_viz.tracing.proving.sums import OpMacs, wrong_params
from resnet_viz.tracing.tracer import trace_model
from tests.tracing import models as zoo
from tests.tracing.test_pristine import untouched

Forward = Callable[[Any, Tensor], Any]


class Net(nn.Module):
    """One linear layer, a buffer, a counter, and any forward."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lin = nn.Linear(4, 4)
        self.register_buffer("buf", torch.ones(2, 4))
        self.count = 0
        self.rule = forward

    def forward(self, x: Tensor) -> Any:
        return self.rule(self, x)


def batch() -> Tensor:
    return torch.randn(2, 4, generator=torch.Generator().manual_seed(1))


def verified(model: nn.Module, *args: Any, training: bool | None = None, **kwargs: Any) -> rv.Proof:
    """Traced, proved, and the model as it came."""
    graph = trace_model(model, args, kwargs, training=training)
    with untouched(model):
        proof = prove(graph, model, args, kwargs, training=training)
    assert proof.verdict == "verified"
    assert (proof.ops, proof.edges) == (len(graph.ops), len(graph.edges))
    assert proof.kernels > 0
    return proof


def outcome(forward: Forward, *modes: Any) -> str:
    """What is said of a forward that cannot be verified; the model is as it came."""
    model, x = Net(forward), batch()
    modes = modes or ("meta", "fake", "real")
    graph = trace_model(model, (x,), modes=modes)
    with untouched(model), pytest.raises((rv.UnfaithfulError, rv.UnprovableError)) as error:
        prove(graph, model, (x,))
    assert "\n" not in str(error.value)
    return f"{error.type.__name__}: {error.value}"


# -- what is proved --------------------------------------------------------------------------


def test_resnet18_by_its_public_name() -> None:
    model = torchvision.models.resnet18(weights=None).eval()
    x = torch.randn(1, 3, 32, 32)
    graph = rv.trace(model, input_data=x)
    proof = rv.verify(graph, model, input_data=x)
    assert (proof.verdict, proof.mode, proof.ops, proof.outputs) == ("verified", "eval", 69, 1)
    assert (proof.params, proof.macs) == (11_689_512, graph.total_macs)
    assert (proof.scalars, proof.state, proof.macs_by) == (1000, 122, "model")
    assert proof.sentence.startswith("verified in eval mode: ")
    assert from_json(to_json(proof)) == proof


def test_resnet_in_train_mode_with_its_statistics() -> None:
    model = torchvision.models.resnet18(weights=None).eval()
    proof = verified(model, torch.randn(2, 3, 32, 32), training=True)
    # Mean, variance and the count of batches of all 20 norms changed, and are equal.
    assert proof.mode == "train"
    assert proof.scalars == 2 * 1000 + 2 * 4800 + 20


def test_transformers_and_densenet() -> None:
    vit = torchvision.models.VisionTransformer(16, 8, 2, 2, 16, 32, num_classes=5)
    verified(vit.eval(), torch.randn(1, 3, 16, 16))
    dense = torchvision.models.DenseNet(4, (2, 2), 8, 2, num_classes=5)
    verified(dense.eval(), torch.randn(1, 3, 32, 32))


def test_gpt2_from_a_config() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_embd=8, n_layer=2, n_head=2, vocab_size=11, n_positions=16, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config)
    graph = rv.trace(model, input_data={"input_ids": torch.tensor([[1, 2, 3]])}, mode="train")
    # Dropout draws from torch's generator, whose state is recorded.
    proof = rv.verify(
        graph, model, input_data={"input_ids": torch.tensor([[1, 2, 3]])}, mode="train"
    )
    assert proof.verdict == "verified"


SMALL: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]] = {
    "residual in place": (zoo.Residual, (torch.randn(2, 4, 8, 8),)),
    "everything cached": (zoo.Caching, (torch.randn(3, 4),)),
    "partial write": (zoo.SliceWrite, (torch.randn(2, 4),)),
    "write through views": (zoo.ViewWrite, (torch.randn(2, 4),)),
    "five ways in place": (zoo.InPlaceForms, (torch.randn(3), torch.randn(3))),
    "shared": (zoo.Shared, (torch.tensor([[1, 2], [3, 4]]),)),
    "attention": (zoo.Attention, (torch.randn(2, 5, 8),)),
    "lstm": (lambda: nn.LSTM(4, 8, 2, dropout=0.5), (torch.randn(2, 5, 4),)),
    "hidden modules": (zoo.Hidden, (torch.randn(2, 4),)),
    "tree of outputs": (lambda: zoo.Outputs("dataclass"), (torch.randn(2, 4),)),
    "shared norm": (lambda: shared_norm(), (torch.randn(3, 4),)),
}


def shared_norm() -> nn.Module:
    norm = nn.BatchNorm1d(4)
    return nn.Sequential(norm, nn.Linear(4, 4), norm)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", SMALL)
def test_small_models_are_proved(name: str, training: bool) -> None:
    build, args = SMALL[name]
    verified(build(), *args, training=training)


class Reversed(torch.autograd.Function):
    """Returns what it is given, as gradient reversal does."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return -grad


def reseeded(net: Any, x: Tensor) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        noise = torch.rand(4)
    return net.lin(x) + noise + torch.rand(4)


def counting(net: Any, x: Tensor) -> Tensor:
    net.count += 1
    return net.lin(x) * net.count


def with_gradients(net: Any, x: Tensor) -> Tensor:
    with torch.enable_grad():
        y = x.clone().requires_grad_()
        return torch.autograd.grad(net.lin(y).pow(2).sum(), y)[0]


def mixed(net: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return net.lin(net.lin(x))


def inference(net: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        y = net.lin(x).relu_()
    return y + x


def caught(net: Any, x: Tensor) -> Tensor:
    try:
        x @ torch.zeros(7, 7)
    except RuntimeError:
        return net.lin(x)
    raise AssertionError("these do not fit")


def alias(net: Any, x: Tensor) -> Tensor:
    y = net.lin(x)
    y.data.mul_(2)
    return y + x


def sibling(net: Any, x: Tensor) -> Tensor:
    left, right = net.lin(x).unbind(0)
    return left.mul_(2) + right


def cache(net: Any, x: Tensor) -> Tensor:
    net.buf[:, 1:3] = net.lin(x)[:, :2]
    return net.buf + x


def statistics(net: Any, x: Tensor) -> Tensor:
    y = net.lin(x)
    net.buf.mul_(0.9).add_(y)
    net.lin.weight.mul_(0.5)
    return y


FORWARDS: dict[str, Forward] = {
    "noise": lambda net, x: net.lin(x) + torch.rand(4),
    "reseeded": reseeded,
    "python counter": counting,
    "checkpointed": lambda net, x: checkpoint(net.lin, x, use_reentrant=False) + x,
    "custom function": lambda net, x: Reversed.apply(net.lin(x)) + x,
    "gradient inside": with_gradients,
    "autocast": mixed,
    "inference mode": inference,
    "alias": alias,
    "parameter made inside": lambda net, x: F.linear(x, nn.Parameter(net.lin.weight * 2)),
    "layer made inside": lambda net, x: nn.Linear(4, 2)(net.lin(x)),
    "sibling views": sibling,
    "cache": cache,
    "nan": lambda net, x: (net.lin(x) - 9).log(),
    "complex": lambda net, x: torch.fft.fft(net.lin(x)),
    "sparse": lambda net, x: torch.sparse.mm(x.to_sparse(), net.lin.weight),
    "bfloat16": lambda net, x: F.linear(x.bfloat16(), net.lin.weight.bfloat16()),
    "half a chunk": lambda net, x: [a.add_(1) * b for a, b in [net.lin(x).chunk(2, 1)]],
    "indexed by values": lambda net, x: net.lin(x)[x.argmax() % 2],
    "masked": lambda net, x: net.lin(x)[x > 0].sum(),
    "exception inside": caught,
    "statistics and weights written": statistics,
    "the input": lambda net, x: (x, net.buf, net.lin.weight, torch.relu(x)),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_any_python_is_proved(name: str) -> None:
    verified(Net(FORWARDS[name]), batch())


def test_a_global_tensor_is_as_it_was() -> None:
    table = torch.zeros(4)
    model = Net(lambda net, x: net.lin(x) + table.add_(1))
    graph = trace_model(model, (batch(),), modes=("real",))
    before = table.clone()
    assert prove(graph, model, (batch(),)).verdict == "verified"
    assert torch.equal(table, before)


def test_one_tensor_given_twice() -> None:
    x = torch.randn(2, 5, 8)
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    graph = rv.trace(model, input_data=(x, x, x))
    assert rv.verify(graph, model, input_data=(x, x, x)).outputs == 2


# -- what is refused -------------------------------------------------------------------------


def hidden_draw(net: Any, x: Tensor) -> Tensor:
    return net.lin(x).normal_(generator=torch.Generator())


def reads_memory(net: Any, x: Tensor) -> Tensor:
    with torch._C.DisableTorchFunction():
        address = x.data_ptr()
    value = ctypes.c_float.from_address(address).value if address else 1.0
    return net.lin(x) * value


def reads_a_size_later(net: Any, x: Tensor) -> Tensor:
    found = x[x > 0] * 2
    return net.lin(x) * found.shape[0]


REFUSED: dict[str, tuple[Forward, str]] = {
    "item": (lambda net, x: net.lin(x) * x.sum().item(), "item gives values back to Python"),
    "bool": (lambda net, x: net.lin(x) if x.sum() > -99 else x, "bool gives values back"),
    "tolist": (lambda net, x: net.lin(x) + torch.tensor(x.tolist()), "tolist gives values"),
    "numpy": (lambda net, x: net.lin(x) + torch.as_tensor(x.numpy()), "numpy gives values"),
    "array": (lambda net, x: net.lin(x) + torch.as_tensor(np.asarray(x)), "array gives values"),
    "equal": (lambda net, x: net.lin(x) * torch.equal(x, x), "equal gives values"),
    "size": (lambda net, x: net.lin(x) * x.nonzero().shape[0], "reads shape of a tensor sized"),
    "private generator": (
        lambda net, x: net.lin(x) + torch.rand(4, generator=torch.Generator()),
        "rand draws from a generator of the model's own",
    ),
    "private draw in place": (hidden_draw, "normal draws from a generator"),
    "random": (lambda net, x: net.lin(x) * random.random(), "random numbers outside torch"),
    "numpy random": (lambda net, x: net.lin(x) * np.random.rand(), "numbers outside torch"),
    "vmap": (lambda net, x: torch.vmap(net.lin)(x), "inside a torch.func transform"),
    "func.grad": (lambda net, x: torch.func.grad(lambda y: net.lin(y).sum())(x), "torch.func"),
    "callback": (lambda net, x: net.lin(x).apply_(lambda v: v), "apply takes Python code"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_replay_can_follow_is_refused(name: str) -> None:
    forward, message = REFUSED[name]
    said = outcome(forward)
    assert said.startswith("UnprovableError")
    assert message in said
    assert "test_verify.py:" in said or "outside torch" in said


def test_a_model_whose_second_run_differs_is_refused() -> None:
    own = random.Random(0)
    assert "two runs of the same forward differ in the output" in outcome(
        lambda net, x: net.lin(x) * own.random()
    )
    calls = [0]

    def growing(net: Any, x: Tensor) -> Tensor:
        calls[0] += 1
        for _ in range(calls[0]):
            x = torch.zeros_like(x)
        return net.lin(x)

    assert "two runs of the same forward make other calls" in outcome(growing)


def test_no_values_no_proof() -> None:
    model = nn.Linear(4, 4, device="meta")
    graph = trace_model(model, (batch().to("meta"),))
    with pytest.raises(rv.UnprovableError, match="on meta"):
        prove(graph, model, (batch().to("meta"),))
    with pytest.raises(rv.TraceError) as error:
        trace_model(zoo.Broken(), (batch(),))
    partial = error.value.graph
    assert partial is not None
    with pytest.raises(rv.UnprovableError, match="ends early"):
        prove(partial, zoo.Broken(), (batch(),))


@pytest.mark.parametrize("forward", [reads_memory, reads_a_size_later])
def test_values_that_python_reads_unseen_give_themselves_away(forward: Forward) -> None:
    assert "on other values of its inputs a replay differs" in outcome(forward, "real")


# -- what the trace does not see -------------------------------------------------------------


def hidden(net: Any, x: Tensor) -> Tensor:
    y = net.lin(x)
    with torch._C.DisableTorchFunction():
        y = torch.relu(y)
    return y + x


def in_a_thread(net: Any, x: Tensor) -> Tensor:
    made: list[Tensor] = []
    thread = threading.Thread(target=lambda: made.append(net.lin(x)))
    thread.start()
    thread.join()
    return made[0] + x


def written_in_a_thread(net: Any, x: Tensor) -> Tensor:
    y = net.lin(x)
    thread = threading.Thread(target=lambda: y.mul_(2))
    thread.start()
    thread.join()
    return y + x


def written_in_memory(net: Any, x: Tensor) -> Tensor:
    y = net.lin(x)
    with torch._C.DisableTorchFunction():
        address = y.data_ptr()
    if address:
        ctypes.c_float.from_address(address).value = 3.0
    return y + x


def through_a_buffer(net: Any, x: Tensor) -> Tensor:
    torch._foreach_copy_([net.buf], [net.lin(x)])
    return net.buf + x


def through_numpy(net: Any, x: Tensor) -> Tensor:
    with torch._C.DisableTorchFunction():
        table = x.numpy()
    return net.lin(x) + torch.from_numpy(table * 2)


UNSEEN: dict[str, tuple[Forward, str]] = {
    "hidden kernel": (hidden, "aten.relu.default ran in the root module outside every op"),
    "thread": (in_a_thread, "'add#0' reads a tensor that no recorded call made"),
    "write in a thread": (written_in_a_thread, "'add#0' returned other values when replayed"),
    "write in memory": (written_in_memory, "'add#0' returned other values when replayed"),
    "hidden numpy": (through_numpy, "outside every op"),
    "statistics": (through_a_buffer, "'lin/linear#0' reach 'add#0' through buffer buf"),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_a_trace_does_not_see_is_found(name: str) -> None:
    forward, message = UNSEEN[name]
    said = outcome(forward)
    assert said.startswith("UnfaithfulError")
    assert message in said


def test_a_forward_that_knows_it_is_watched() -> None:
    def shy(net: Any, x: Tensor) -> Tensor:
        watched = torch._C._len_torch_function_stack() > 0
        return net.lin(x) if watched else net.lin(x) + 1

    assert "does something else when watched: the output differs" in outcome(shy)


# -- tampered graphs -------------------------------------------------------------------------


class Difference(nn.Module):
    """Two branches, one minus the other."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(self.left(x) - self.right(x), -1.0, 0.2)


@functools.cache
def difference() -> tuple[nn.Module, Tensor, ModelGraph]:
    model, x = Difference(), batch()
    return model, x, trace_model(model, (x,))


def changed(graph: ModelGraph, op: str, **changes: Any) -> ModelGraph:
    ops = tuple(replace(o, **changes) if o.id == op else o for o in graph.ops)
    return replace(graph, ops=ops)


def swapped(graph: ModelGraph) -> ModelGraph:
    flipped = {0: 1, 1: 0}
    edges = [replace(e, in_slot=flipped[e.in_slot]) if e.dst == "sub#0" else e for e in graph.edges]
    return replace(graph, edges=tuple(sorted(edges, key=lambda e: (e.dst, e.in_slot))))


def renamed(graph: ModelGraph) -> ModelGraph:
    ops = tuple(replace(o, id=OpId("minus#0")) if o.id == "sub#0" else o for o in graph.ops)
    name = {"sub#0": OpId("minus#0")}
    edges = tuple(
        replace(e, src=name.get(e.src, e.src), dst=name.get(e.dst, e.dst)) for e in graph.edges
    )
    return replace(graph, ops=ops, edges=edges)


TAMPERED: dict[str, tuple[Callable[[ModelGraph], ModelGraph], str]] = {
    "an argument": (
        lambda g: changed(g, "clamp#0", args=(g["clamp#0"].args[0], -1.0, 0.1)),
        "'clamp#0': args is 0.1 in the graph, 0.2 when traced again",
    ),
    "a dropped edge": (
        lambda g: replace(g, edges=tuple(e for e in g.edges if e.dst != "clamp#0")),
        "'clamp#0': input 0 comes from nowhere in the graph, from 'sub#0'",
    ),
    "an edge too many": (
        lambda g: replace(
            g,
            edges=(*g.edges, Edge(src=g.inputs[0].id, out_slot=0, dst=g.ops[-1].id, in_slot=1)),
        ),
        "'clamp#0': input 1 comes from 'input#0' (output 0) in the graph, from nowhere",
    ),
    "swapped inputs": (
        swapped,
        "'sub#0': input 0 comes from 'right/linear#0' (output 0) in the graph, "
        "from 'left/linear#0' (output 0) when traced again",
    ),
    "macs": (lambda g: changed(g, "sub#0", macs=1), "'sub#0': macs is 1 in the graph, 0"),
    "params": (
        lambda g: changed(g, "left/linear#0", params=0),
        "'left/linear#0': params is 0 in the graph, 20 when",
    ),
    "a name": (renamed, "'minus#0' is in the graph and did not run when traced again"),
    "a missing op": (
        lambda g: replace(g, ops=g.ops[:-1], edges=g.edges[:-1], outputs=()),
        "'clamp#0' ran when traced again and is not in the graph",
    ),
    "an output": (
        lambda g: replace(g, outputs=(replace(g.outputs[0], src=OpId("sub#0")),)),
        "an output is the result from 'sub#0' in the graph",
    ),
    "a module": (
        lambda g: replace(g, modules=(*g.modules[:-1], replace(g.modules[-1], type_name="Conv"))),
        "module 'right': type_name is 'Conv' in the graph, 'Linear' when",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_graph_is_found(name: str) -> None:
    model, x, graph = difference()
    tamper, message = TAMPERED[name]
    with untouched(model), pytest.raises(rv.UnfaithfulError) as error:
        prove(tamper(graph), model, (x,))
    assert message in str(error.value)
    assert error.value.exit_code == 3


def test_the_graph_of_another_input_or_mode_is_found() -> None:
    model, x, graph = difference()
    with pytest.raises(rv.UnfaithfulError, match="outputs is"):
        rv.verify(graph, model, input_data=x[:1])
    drop = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
    graph = rv.trace(drop, input_data=x, mode="train")
    with pytest.raises(
        rv.UnfaithfulError, match="'1/dropout#0': training is True in the graph, False"
    ):
        rv.verify(graph, drop, input_data=x, mode="eval")


def test_sums_and_edges_are_found_again_without_the_books_of_the_recorder() -> None:
    model, x, graph = difference()
    runs = Runs(model, (x,), {}, None)
    taped = runs.taped()

    def flows(edges: Callable[[ModelGraph], ModelGraph]) -> str:
        return Flows(taped.tape, edges(graph), runs.state).check()

    assert flows(lambda g: g) == ""
    assert "input 0 of 'sub#0' comes from 'left/linear#0' (output 0) in memory" in flows(swapped)
    assert "'sub#0' (output 0) in memory, and from nowhere" in flows(TAMPERED["a dropped edge"][0])
    assert "from 'input#0' to 'clamp#0' carries no data" in flows(TAMPERED["an edge too many"][0])

    assert wrong_params(graph, model, taped.tape, 40) == ""
    twice = changed(graph, "left/linear#0", params=40)
    assert "first to read 20 params, not 40" in wrong_params(twice, model, taped.tape, 40)
    other = changed(graph, "left/linear#0", parameters=("right.weight",))
    assert "read the parameters" in wrong_params(other, model, taped.tape, 40)
    assert "40 params, and the model has 42" in wrong_params(graph, model, taped.tape, 42)

    for macs, said in (
        (32, ""),
        (31, "'left/linear#0' has 31 macs, and FlopCounterMode counts 32"),
    ):
        alone = OpMacs(changed(graph, "left/linear#0", macs=macs))
        runs.replayed(taped, each=alone)
        assert alone.wrong == said
    assert runs.macs_on_meta() == graph.total_macs == 64


# -- the model is as it was ------------------------------------------------------------------


def test_everything_is_as_it_was_whatever_happens() -> None:
    torch.manual_seed(3)
    model = zoo.Caching()
    model(torch.randn(5, 4)).sum().backward()
    model.linear.register_forward_hook(lambda *_: None)
    x = torch.randn(3, 4)
    before = x.clone()
    graph = trace_model(model, (x,), training=True)
    with untouched(model):
        prove(graph, model, (x,), training=True)
    with untouched(model), pytest.raises(rv.UnfaithfulError):
        prove(replace(graph, ops=graph.ops[:-1], edges=(), outputs=()), model, (x,), training=True)
    model.fail = True
    with untouched(model), pytest.raises(rv.TraceError, match="half-way"):
        prove(graph, model, (x,), training=True)
    assert torch.equal(x, before)


# -- laws ------------------------------------------------------------------------------------


def test_bits_are_compared_and_nothing_else() -> None:
    nan = torch.tensor([float("nan"), 1.0])
    other = torch.tensor([-float("nan"), 1.0])
    assert same_bits(nan, other)
    assert not same_bits(nan, torch.tensor([1.0, float("nan")]))
    assert not same_bits(torch.tensor(0.0), torch.tensor(-0.0))
    assert not same_bits(torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    assert not same_bits(torch.zeros(2), torch.zeros(1, 2))
    assert same_bits(torch.ones(2, 3).T, torch.ones(3, 2))
    assert same_bits(torch.ones(2, 2).to_sparse(), torch.ones(2, 2).to_sparse())
    assert not same_bits(torch.ones(2, 2).to_sparse(), 2 * torch.ones(2, 2).to_sparse())
    z = torch.tensor([1 + 2j])
    assert same_bits(z.conj(), torch.tensor([1 - 2j]))
    assert not same_bits(z.conj(), z)


class Generated(nn.Module):
    """A small residual net: each step names what to do with the stream."""

    def __init__(self, steps: list[str]) -> None:
        super().__init__()
        torch.manual_seed(len(steps))
        self.steps = steps
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in steps)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        kept = x
        for step, layer in zip(self.steps, self.layers, strict=True):
            if step == "add":
                x = x + layer(x)
            elif step == "add in place":
                x = layer(x).add_(x)
            elif step == "write a part":
                w = layer(x)
                w[:, :2] = x[:, 2:]
                x = w
            elif step == "norm":
                x = self.norm(layer(x))
            elif step == "drop":
                x = self.drop(torch.relu(x))
            elif step == "from far":
                x = torch.cat([x[:, :2], kept[:, :2]], 1)
            else:
                kept = x.view(2, 2, 2).transpose(1, 2).reshape(2, 4)
                kept.mul_(0.5)
        return x + kept


@given(
    st.lists(
        st.sampled_from(
            ["add", "add in place", "write a part", "norm", "drop", "from far", "keep"]
        ),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
@settings(max_examples=25)
def test_replay_equals_forward(steps: list[str], training: bool) -> None:
    model, x = Generated(steps), batch()
    graph = trace_model(model, (x,), training=training)
    assert prove(graph, model, (x,), training=training).ops == len(graph.ops)
