"""Several batches, their transfers, autocast, checkpoints, compiled models, Ctrl-C."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import UserError
from resnet_viz.core.gradient_flow import GradientFlow, Stats
from resnet_viz.measuring.gradients import measure, products, shares, statistics
from resnet_viz.measuring.gradients.measure import measure_gradients
from resnet_viz.tracing.tracer import trace_model
from tests.tracing.models import Caching, Residual
from tests.tracing.test_pristine import untouched


def squares(outputs: Any, _targets: Any) -> Tensor:
    return outputs.square().mean()


def some_batches(count: int) -> list[Batch]:
    g = torch.Generator().manual_seed(1)
    return [
        Batch(
            args=(torch.randn(2, 4, 8, 8, generator=g),),
            targets=torch.randint(4, (2, 8, 8), generator=g),
        )
        for _ in range(count)
    ]


# -- many batches --------------------------------------------------------------------


@pytest.mark.parametrize("stats", ["norms", "default", "full"])
def test_every_batch_is_measured_from_the_same_state(stats: Stats) -> None:
    model, batches = Residual().train(), some_batches(3)
    graph = trace_model(model, batches[0].args)
    with untouched(model):
        flow = measure_gradients(model, iter(batches), graph=graph, stats=stats)
    alone = [measure_gradients(model, [b], graph=graph, stats=stats) for b in batches]
    assert (flow.batches, flow.stats) == (3, stats)
    losses = torch.tensor([f.loss.value for f in alone], dtype=torch.float64)
    assert flow.loss.value == pytest.approx(losses.mean().item(), rel=1e-12)
    assert flow.loss.spread == pytest.approx(losses.std().item(), rel=1e-9)
    for i, row in enumerate(flow.parameters):
        norms = torch.tensor([f.parameters[i].stats.l2 for f in alone], dtype=torch.float64)
        assert row.stats is not None
        assert row.stats.l2 == pytest.approx(norms.mean().item(), rel=1e-12)
        assert row.stats.spread == pytest.approx(norms.std().item(), rel=1e-9)


def test_cosines_are_between_consecutive_batches() -> None:
    model, batches = Residual().double().eval(), some_batches(4)
    batches = [Batch(args=(b.args[0].double(),)) for b in batches]
    flow = measure_gradients(
        model, batches, graph=trace_model(model, batches[0].args), loss_fn=squares
    )
    gradients = []
    for batch in batches:
        model.zero_grad()
        squares(model(*batch.args), None).backward()
        gradients.append({n: p.grad.flatten() for n, p in model.named_parameters()})
    for row in flow.parameters:
        cosines = [
            F.cosine_similarity(a[row.name], b[row.name], dim=0).item()
            for a, b in pairwise(gradients)
        ]
        assert row.cosine is not None
        assert row.cosine.count == 3
        assert row.cosine.mean == pytest.approx(sum(cosines) / 3, rel=1e-9)
    (first, *_) = measure_gradients(
        model, batches[:1], graph=trace_model(model, batches[0].args)
    ).parameters
    assert first.cosine is None


def test_old_batches_are_let_go() -> None:
    model = Residual()
    graph = trace_model(model, some_batches(1)[0].args)
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def feed() -> Iterator[Batch]:
        nonlocal most
        for _ in range(4):
            (batch,) = some_batches(1)
            alive.append(weakref.ref(batch.args[0]))
            most = max(most, sum(ref() is not None for ref in alive))
            yield batch
            del batch

    assert measure_gradients(model, feed(), graph=graph).batches == 4
    assert most <= 3  # the one that is measured, the next, and this


def test_no_batch_is_told_in_one_line() -> None:
    model = Residual()
    graph = trace_model(model, some_batches(1)[0].args)
    with pytest.raises(UserError, match="the data hold no batch") as caught:
        measure_gradients(model, [], graph=graph)
    assert "\n" not in str(caught.value)


def test_progress_counts_batches_where_there_are_several() -> None:
    class Listener:
        def __init__(self) -> None:
            self.told: list[Any] = []

        def start(self, label: str, total: int | None = None) -> None:
            self.told.append((label, total))

        def advance(self, parts: int = 1) -> None:
            self.told.append(parts)

        def finish(self) -> None:
            self.told.append("done")

    model, batches = Residual(), some_batches(2)
    graph = trace_model(model, batches[0].args)
    several, one = Listener(), Listener()
    measure_gradients(model, batches, graph=graph, progress=several)
    assert several.told == [("measuring batches", 2), 1, 1, "done"]
    measure_gradients(model, batches[:1], graph=graph, progress=one)
    assert one.told == []


# -- one transfer --------------------------------------------------------------------


class Transfers(TorchDispatchMode):
    """Counts what makes an accelerator wait for the host."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "equal"):
            self.waits.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("stats", ["norms", "default", "full"])
@pytest.mark.parametrize("count", [1, 3])
def test_one_transfer_per_batch(monkeypatch: pytest.MonkeyPatch, stats: Stats, count: int) -> None:
    # The CPU looks at values where that is free; here it does as an accelerator does.
    for room in (products, shares, statistics):
        monkeypatch.setattr(room, "reads_freely", lambda _: False)
    model: nn.Module = Residual().train()
    x = torch.randn(2, 4, 8, 8)
    if (stats, count) == ("default", 1):
        model, x = torchvision.models.resnet18().train(), torch.randn(2, 3, 32, 32)
    graph = trace_model(model, (x,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sizes = []
    real = measure.to_host

    def counted(scalars: Any) -> list[float]:
        values = real(scalars)
        sizes.append(len(values))
        return values

    monkeypatch.setattr(measure, "to_host", counted)
    batches = [Batch(args=(x,)) for _ in range(count)]
    with Transfers() as seen:
        measure_gradients(model, batches, graph=graph, stats=stats, optimizer=optimizer)
    assert seen.waits == []
    assert len(sizes) == count
    assert sizes[0] > (1000 if count == 1 and stats == "default" else 20)


# -- autocast ------------------------------------------------------------------------


def test_autocast_is_around_forward_and_loss_alone() -> None:
    model, (batch,) = Residual().eval(), some_batches(1)
    graph = trace_model(model, batch.args)
    dtypes: list[torch.dtype] = []

    def loss(outputs: Tensor, _: Any) -> Tensor:
        dtypes.append(outputs.dtype)
        dtypes.append((outputs.flatten(1) @ outputs.flatten(1).t()).dtype)
        return outputs.float().square().mean()

    with untouched(model):
        flow = measure_gradients(model, [batch], graph=graph, loss_fn=loss, autocast=True)
    assert flow.autocast == "bfloat16"
    assert dtypes[1] == torch.bfloat16
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(model(*batch.args), None)
    value.backward()
    for row in flow.parameters:
        gradient = model.get_parameter(row.name).grad
        assert gradient is not None
        assert row.stats is not None
        assert row.stats.l2 == pytest.approx(gradient.double().norm().item(), rel=1e-6)
    assert flow.not_separable == ()
    assert flow.shares


# -- checkpoints ---------------------------------------------------------------------


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Linear(4, 4)
        self.block = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4))
        self.head = nn.Linear(4, 3)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if self.reentrant is None:
            y = self.block(x)
        else:
            y = checkpoint(self.block, x, use_reentrant=self.reentrant)
        return self.head(x + y)


def of(reentrant: bool | None, **options: Any) -> GradientFlow:
    model = Checkpointed(reentrant).train()
    parameter = model.block[0].weight
    parameter.grad = torch.ones_like(parameter)
    steps: list[Any] = []
    parameter.register_post_accumulate_grad_hook(steps.append)
    args = (torch.linspace(-1, 1, 8).view(2, 4),)
    graph = trace_model(model, args)
    with untouched(model):
        flow = measure_gradients(model, [Batch(args=args)], graph=graph, loss_fn=squares, **options)
    assert steps == []
    return flow


def test_checkpoints_change_no_gradient_of_a_parameter() -> None:
    plain, hidden, open_ = of(None), of(True), of(False)
    for expected, one, other in zip(
        plain.parameters, hidden.parameters, open_.parameters, strict=True
    ):
        assert one.stats == other.stats == expected.stats
    assert {c.op for c in open_.calls} == {c.op for c in plain.calls}
    assert (plain.notes, open_.notes) == ((), ())
    inside = {"block.0/linear#0", "block.1/relu#0", "block.2/dropout#0"}
    assert inside == {c.op for c in plain.calls} - {c.op for c in hidden.calls} - {"input#0"}
    (note,) = hidden.notes
    assert note.startswith("1 reentrant checkpoint: the 3 calls inside")
    assert hidden.detached == ()


def test_a_checkpoint_on_the_input_is_not_healed_by_our_asking() -> None:
    """Reentrant, it gives no gradients unless an input of its asks for one: torch warns."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(4, 4)
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(checkpoint(self.stem, x, use_reentrant=True))

    model, x = Net(), torch.randn(2, 4)
    graph = trace_model(model, (x,))
    with pytest.warns(UserWarning, match="None of the inputs"):
        flow = measure_gradients(model, [Batch(args=(x,))], graph=graph)
    rows = {p.name: p.stats for p in flow.parameters}
    assert rows["stem.weight"] is rows["stem.bias"] is None
    assert rows["head.weight"] is not None


# -- compiled ------------------------------------------------------------------------


def test_what_torch_compile_wraps_is_measured_eagerly() -> None:
    calls: list[str] = []

    def backend(module: Any, _inputs: Any) -> Any:
        calls.append("compiled")
        return module.forward

    model, (batch,) = Residual().eval(), some_batches(1)
    expected = measure_gradients(model, [batch], graph=trace_model(model, batch.args))
    model.compile(backend=backend)
    flow = measure_gradients(model, [batch], graph=trace_model(model, batch.args))
    assert calls == []
    assert flow.parameters == expected.parameters
    assert any("torch.compile" in note for note in flow.notes)


# -- Ctrl-C --------------------------------------------------------------------------


class Interrupted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["forward", "backward", "loss"])
def test_nothing_is_left_behind_after_ctrl_c(where: str) -> None:
    class Net(Caching):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(self.linear(x))
            if where == "forward" and torch.is_grad_enabled():
                raise KeyboardInterrupt
            return Interrupted.apply(y) if where == "backward" else y

    def loss(outputs: Tensor, _: Any) -> Tensor:
        if where == "loss":
            raise KeyboardInterrupt
        return outputs.square().mean()

    model, x = Net().train(), torch.randn(3, 4)
    with torch.no_grad():
        graph = trace_model(model, (x,))
    optimizer = torch.optim.Adam(model.parameters())
    with untouched(model), pytest.raises(KeyboardInterrupt):
        measure_gradients(model, [Batch(args=(x,))], graph=graph, loss_fn=loss, optimizer=optimizer)
    assert not optimizer.state
