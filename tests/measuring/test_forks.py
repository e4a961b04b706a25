"""Which gradient comes back over which edge, where autograd and the graph differ."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from resnet_viz.analysis import annotate
from resnet_viz.analysis.flow_graph import flow_of as flow_graph
from resnet_viz.core.batch import Batch
from resnet_viz.core.gradient_flow import GradientFlow
from resnet_viz.measuring.gradients.measure import measure_gradients
from resnet_viz.tracing.tracer import trace_model

WIDTH = 4
Step = tuple[str, int, int]


def flow_of(model: nn.Module, *args: Tensor, **options: Any) -> GradientFlow:
    graph = options.pop("graph", None) or trace_model(model, args)
    return measure_gradients(model, [Batch(args=args)], graph=graph, **options)


def shares_of(flow: GradientFlow) -> dict[tuple[str, str], float]:
    return {(s.src, s.dst): s.share for s in flow.shares}


def refused(flow: GradientFlow) -> dict[str, str]:
    return {r.fork: r.reason for r in flow.not_separable}


class Net(nn.Module):
    """A forward given as a function of the module and its input."""

    def __init__(self, forward: Any, **parts: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *args: Tensor) -> Any:
        return self._forward(self, *args)


def layers(names: str) -> dict[str, nn.Module]:
    return {name: nn.Linear(WIDTH, WIDTH) for name in names}


class Program(nn.Module):
    """Runs a list of steps; each reads values by number, and notes who read what.

    With ``clones`` every read is a clone of its own: the explicit gradient per edge.
    """

    def __init__(self, steps: list[Step]) -> None:
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in steps)
        self.clones = False
        self.reads: list[tuple[tuple[int, int], int, Tensor]] = []
        self.values: dict[tuple[int, int], Tensor] = {}

    def read(self, key: tuple[int, int], op: int) -> Tensor:
        value = self.values[key]
        if self.clones:
            value = value.clone()
            value.retain_grad()
            self.reads.append((key, op, value))
        return value

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.values = {(0, 0): self.layers[0](x)}
        keys, op = [(0, 0)], 0
        for layer, (kind, a, b) in zip(self.layers, self.steps, strict=True):
            left, right = keys[a % len(keys)], keys[b % len(keys)]
            op += 1
            if kind == "linear":
                new = (layer(self.read(left, op)),)
            elif kind == "add":
                new = (self.read(left, op) + self.read(right, op),)
            elif kind == "mul":
                new = (self.read(left, op) * self.read(right, op),)
            elif kind == "view":
                new = (self.read(left, op).view(-1, WIDTH),)
            elif kind == "pass":
                new = (F.dropout(self.read(left, op), training=False),)
            else:
                self.values[op, 0] = torch.cat([self.read(left, op), self.read(right, op)], 1)
                op += 1
                new = self.read((op - 1, 0), op).chunk(2, 1)
            for slot, value in enumerate(new):
                self.values[op, slot] = value
                keys.append((op, slot))
            if kind == "pass":  # the tensor itself: who reads it later reads what passed it on
                keys = [(op, 0) if key == left else key for key in keys]
            if self.clones:
                for value in new:
                    if value.requires_grad and not value.is_leaf:
                        value.retain_grad()
        if self.clones:
            self.values[0, 0].retain_grad()
        return self.read(keys[-1], -1), self.read(keys[len(keys) // 2], -1)


def total_square(outputs: Any, _targets: Any) -> Tensor:
    return sum(out.square().sum() for out in outputs)  # type: ignore[return-value]


KINDS = st.sampled_from(["linear", "linear", "add", "mul", "view", "pass", "chunk"])
STEPS = st.lists(st.tuples(KINDS, st.integers(0, 20), st.integers(0, 20)), min_size=2, max_size=9)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_shares_are_those_of_one_clone_per_edge(steps: list[Step]) -> None:
    torch.manual_seed(0)
    model, x = Program(steps).double(), torch.randn(3, WIDTH).double()
    graph = trace_model(model, (x,))
    flow = flow_of(model, x, graph=graph, loss_fn=total_square)
    model.clones, model.reads = True, []
    with torch.enable_grad():
        total_square(model(x), None).backward()
    sent: dict[int, dict[int, dict[int, Tensor]]] = defaultdict(lambda: defaultdict(dict))
    for (op, slot), reader, clone in model.reads:
        if clone.grad is not None:
            slots = sent[op][reader]
            slots[slot] = slots.get(slot, 0) + clone.grad
        else:
            sent[op].setdefault(reader, {})
    ids = [op.id for op in graph.ops]
    expected = {}
    for op, readers in sent.items():
        whole: dict[int, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))
        for slots in readers.values():
            for slot, gradient in slots.items():
                whole[slot] = whole[slot] + gradient
        square = sum(float((g * g).sum()) for g in whole.values())
        if len(readers) < 2 or square == 0:
            continue
        for reader, slots in readers.items():
            inner = sum(float((g * whole[slot]).sum()) for slot, g in slots.items())
            expected[ids[op], "loss" if reader < 0 else ids[reader]] = inner / square
    assert shares_of(flow) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    totals: dict[str, list[float]] = defaultdict(list)
    for share in flow.shares:
        totals[share.src].append(share.share)
    for values in totals.values():
        assert abs(sum(values) - 1) <= 1e-10 * max(1, sum(map(abs, values)))
    active = flow_graph(graph)
    forks = {active.nodes[i].id for i, succs in enumerate(active.succs) if len(succs) > 1}
    assert forks <= totals.keys() | refused(flow).keys()


# -- ops with several outputs --------------------------------------------------------


def halves(module: Any, x: Tensor) -> Tensor:
    kept, worked = module.a(x).chunk(2, 1)
    return torch.cat([kept, module.b(worked)], 1)


def test_a_split_has_the_shares_its_slices_would_have() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, WIDTH)
    model = Net(halves, a=nn.Linear(WIDTH, WIDTH), b=nn.Linear(2, 2))
    flow = flow_of(model, x)
    sliced = Net(
        lambda m, x: torch.cat([(h := m.a(x))[:, :2], m.b(h[:, 2:])], 1), a=model.a, b=model.b
    )
    expected = shares_of(flow_of(sliced, x))
    shares = shares_of(flow)
    assert shares == pytest.approx(
        {
            ("chunk#0", "cat#0"): expected["a/linear#0", "getitem#0"],
            ("chunk#0", "b/linear#0"): expected["a/linear#0", "getitem#1"],
        }
    )
    (skip,) = annotate(trace_model(model, (x,))).skips
    assert flow.share_of(skip) == shares["chunk#0", "cat#0"]
    for s in flow.shares:
        assert s.norm_ratio == pytest.approx(s.share**0.5)
        assert s.cosine == pytest.approx(s.share**0.5)


def test_only_used_outputs_count() -> None:
    def forward(module: Any, x: Tensor) -> Tensor:
        values, _ = module.l(module.a(x))
        best, places = values.topk(2, dim=1)
        return best + best.sin() + values.gather(1, places)

    torch.manual_seed(0)
    model = Net(forward, l=nn.LSTM(WIDTH, WIDTH, batch_first=True), **layers("a"))
    shares = shares_of(flow_of(model, torch.randn(2, 3, WIDTH)))
    assert shares["topk#0", "gather#0"] == 0  # it reads the places, not the values
    assert shares["topk#0", "add#0"] + shares["topk#0", "sin#0"] == pytest.approx(1)
    assert {dst for src, dst in shares if src == "l/lstm#0"} == {"topk#0", "gather#0"}


# -- consumers -----------------------------------------------------------------------


def test_a_consumer_that_reads_three_times_is_one_edge() -> None:
    def forward(module: Any, x: Tensor) -> Tensor:
        x = module.a(x)
        return F.scaled_dot_product_attention(x, x, x) + x

    torch.manual_seed(0)
    model = Net(forward, **layers("a")).double()
    x = torch.randn(2, 3, WIDTH).double()
    flow = flow_of(model, x, loss_fn=lambda out, _: out.square().sum())
    value = model.a(x).detach()
    read, kept = (value.clone().requires_grad_() for _ in range(2))
    loss = (F.scaled_dot_product_attention(read, read, read) + kept).square().sum()
    attended, skipped = torch.autograd.grad(loss, [read, kept])
    whole = attended + skipped
    assert shares_of(flow) == pytest.approx(
        {
            ("a/linear#0", dst): float((part * whole).sum() / (whole * whole).sum())
            for dst, part in (("scaled_dot_product_attention#0", attended), ("add#0", skipped))
        }
    )


def test_who_sends_nothing_has_a_share_of_zero() -> None:
    def forward(module: Any, x: Tensor) -> Tensor:
        x = module.a(x)
        gate = x.mean(1, keepdim=True).sigmoid().expand_as(x)
        return x * gate + module.b(x).detach()

    torch.manual_seed(0)
    shares = shares_of(flow_of(Net(forward, **layers("ab")), torch.randn(3, WIDTH)))
    assert shares["a/linear#0", "b/linear#0"] == 0
    assert shares["a/linear#0", "expand_as#0"] == 0
    assert shares["a/linear#0", "mul#0"] + shares["a/linear#0", "mean#0"] == pytest.approx(1)


class TwoSteps(torch.autograd.Function):
    """Two calls, one node."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x * 2).exp()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * 2 * (2 * x).exp()


def test_the_edge_of_a_custom_function_goes_to_the_call_that_reads() -> None:
    def forward(module: Any, x: Tensor) -> Tensor:
        x = module.a(x)
        return x + TwoSteps.apply(x) + TwoSteps.apply(x).sin()

    flow = flow_of(Net(forward, **layers("a")), torch.randn(3, WIDTH))
    assert shares_of(flow).keys() == {
        ("a/linear#0", "mul#0"),
        ("a/linear#0", "mul#1"),
        ("a/linear#0", "add#0"),
    }
    assert flow.not_separable == ()


def residual(module: Any, x: Tensor) -> Tensor:
    x = module.a(x)
    inner = lambda h: module.b(h) + module.c(h) + h  # noqa: E731
    if module.reentrant is None:
        return inner(x) + x
    return checkpoint(inner, x, use_reentrant=module.reentrant) + x


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_what_a_checkpoint_hides_is_told() -> None:
    torch.manual_seed(0)
    model, x = Net(residual, **layers("abc")), torch.randn(3, WIDTH)
    model.reentrant = None
    plain = flow_of(model, x)
    model.reentrant = False
    assert shares_of(flow_of(model, x)) == shares_of(plain)
    model.reentrant = True
    flow = flow_of(model, x)
    outside = "a/linear#0", "add#2"
    assert shares_of(flow)[outside] == pytest.approx(shares_of(plain)[outside])
    assert shares_of(flow).keys() == {outside, ("a/linear#0", "b/linear#0")}
    assert refused(flow)["a/linear#0"].startswith("c/linear#0, add#1: ran inside a custom")


# -- writes, modes, hooks, scales ----------------------------------------------------


def test_who_reads_the_whole_after_a_part_was_written_reads_the_write() -> None:
    def forward(module: Any, x: Tensor) -> Tensor:
        x = module.a(x) * 1
        before = module.c(x.clone())
        x[:, :2].mul_(2)
        return module.b(x) + x + before

    torch.manual_seed(0)
    shares = shares_of(flow_of(Net(forward, **layers("abc")), torch.randn(3, WIDTH)))
    assert {src for src, _ in shares} == {"mul#0", "mul#1"}
    assert {dst for src, dst in shares if src == "mul#1"} == {"b/linear#0", "add#0"}
    assert {dst for src, dst in shares if src == "mul#0"} == {"clone#0", "getitem#0"}


@pytest.mark.parametrize("traced", ["train", "eval"])
def test_a_forward_other_than_the_traced_one_is_no_lie(traced: str) -> None:
    def forward(module: Any, x: Tensor) -> Tensor:
        x = module.a(x)
        if module.training:
            x = x + module.b(x)  # add#0 in train mode; in eval mode that is the next one
        x = module.c(x) + x
        return module.d(x) * x

    torch.manual_seed(0)
    model, x = Net(forward, **layers("abcd")), torch.randn(3, WIDTH)
    graph = trace_model(model, (x,), training=traced == "train")
    flow = flow_of(model, x, graph=graph, mode="eval" if traced == "train" else "train")
    assert shares_of(flow) == {}
    assert refused(flow)["a/linear#0"] == "add was not called as often as in the traced forward"
    same = flow_of(model, x, graph=graph, mode=traced)
    assert same.not_separable == ()
    assert shares_of(same)


def test_a_call_that_the_graph_does_not_have() -> None:
    def forward(module: Any, x: Tensor) -> Tensor:
        x = module.a(x)
        if module.training:
            x = module.b(x)
        return x.sin() * x

    torch.manual_seed(0)
    model, x = Net(forward, **layers("ab")), torch.randn(3, WIDTH)
    graph = trace_model(model, (x,), training=False)
    flow = flow_of(model, x, graph=graph, mode="train")
    assert refused(flow) == {
        "a/linear#0": "it went to b/linear#0, which in the traced forward did not read it",
        "b/linear#0": "the traced forward did not run it: another mode or a backward hook does",
    }


def test_a_hook_that_changes_the_gradient_is_found_out() -> None:
    def forward(module: Any, x: Tensor) -> Tensor:
        x = module.a(x)
        x.register_hook(lambda gradient: gradient * 1.001)
        return module.b(x) + x

    flow = flow_of(Net(forward, **layers("ab")), torch.randn(3, WIDTH))
    assert shares_of(flow) == {}
    assert "does a hook change the gradient?" in refused(flow)["a/linear#0"]


def test_frozen_layers_ahead_are_the_reason() -> None:
    model = Net(lambda m, x: m.b(h := m.a(x).relu()) + h, **layers("ab"))
    model.a.requires_grad_(False)
    flow = flow_of(model, torch.randn(3, WIDTH), stats="norms")
    reason = "no gradient is recorded for it: nothing before it is trainable"
    assert refused(flow) == {"relu#0": reason}


@pytest.mark.parametrize("size", [8, 300])
@pytest.mark.parametrize("scale", [1.0, 1e-24])
@pytest.mark.parametrize("rest", [1.0, 1e-4])
def test_ways_that_cancel_and_gradients_that_are_tiny(size: int, scale: float, rest: float) -> None:
    def forward(module: Any, x: Tensor) -> Tensor:
        x = x * module.weight
        return (x * (1 + rest)).sin() - x.sin()

    torch.manual_seed(0)
    model = Net(forward)
    model.weight = nn.Parameter(torch.randn(size, size))
    x = torch.randn(size, size)
    loss = lambda out, _: (out * scale).sum()  # noqa: E731
    flow = flow_of(model, x, loss_fn=loss)
    value = (x * model.weight).detach()
    # What autograd computes in float32 is rounded; its products are to be exact.
    one = ((value * (1 + rest)).cos() * scale * (1 + rest)).double()
    two = -(value.cos() * scale).double()
    whole = (one.float() + two.float()).double()
    square = (whole * whole).sum()
    assert shares_of(flow) == pytest.approx(
        {
            ("mul#0", "mul#1"): float((one * whole).sum() / square),
            ("mul#0", "sin#1"): float((two * whole).sum() / square),
        },
        rel=2e-3 if rest < 1 else 1e-5,
    )
    assert flow.not_separable == ()
