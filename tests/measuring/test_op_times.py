"""Times of ops: every call once, slow ones slow, and the model as it came."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import resnet_viz as rv
from resnet_viz.core.batch import Batch
from resnet_viz.core.errors import InputError, ModelError, NotApplicableError, UserError
from resnet_viz.core.op_times import OpTimes
from resnet_viz.measuring.timing import measure, stopwatch
from resnet_viz.measuring.timing.measure import measure_op_times


class Net(nn.Module):
    """A block with a relu that is called twice, a buffer that counts and a list that grows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout()
        self.register_buffer("calls", torch.zeros(()))
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(x)
        self.calls += 1
        self.seen.append(x)
        y = self.relu(self.norm(self.conv(x)))
        return self.drop(x + y)


def timed(model: nn.Module, *args: torch.Tensor, given: bool = True, **options: Any) -> OpTimes:
    graph = rv.trace(copy.deepcopy(model).eval(), input_data=args)
    batch = Batch(args=args, was_given=given)
    return measure_op_times(model, batch, graph=graph, **{"repeats": 2, **options})


def test_every_call_has_a_time() -> None:
    model, x = Net(), torch.randn(2, 3, 8, 8)
    times = timed(model, x, repeats=3)
    graph = rv.trace(copy.deepcopy(model).eval(), input_data=(x,))
    assert [row.op for row in times.ops] == [op.id for op in graph.ops]
    assert all(row.seconds > 0 and row.spread >= 0 for row in times.ops)
    assert (times.repeats, times.mode, times.device) == (3, "eval", "cpu")
    assert times.total == pytest.approx(sum(times.get(op.id) or 0 for op in graph.ops))
    assert times.forward > 0
    assert times.overhead == pytest.approx(times.watched / times.forward)
    assert times.get("nothing") is None


def test_more_work_takes_longer() -> None:
    class Uneven(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            small = x[:2, :2] + 1
            return (x @ x).sum() * small

    times = timed(Uneven(), torch.randn(700, 700))
    slowest = max(times.ops, key=lambda row: row.seconds)
    assert "matmul" in slowest.op
    # What is measured is the forward: nothing twice, and little that is not in it.
    assert 0.5 * times.watched < times.total <= times.watched * 1.000001


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_model_and_its_input_are_as_they_came(mode: Any) -> None:
    model, x = Net(), torch.randn(2, 3, 8, 8)
    model.conv.train()
    before = copy.deepcopy(model.state_dict())
    kept, versions = x.clone(), [t._version for t in model.state_dict().values()]
    flags = [m.training for m in model.modules()]
    torch.manual_seed(7)
    state = torch.get_rng_state()
    timed(model, x, mode=mode)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [t._version for t in model.state_dict().values()] == versions
    assert [m.training for m in model.modules()] == flags
    assert model.seen == []
    assert torch.equal(x, kept)


def test_a_forward_that_writes_its_parameters_is_put_back() -> None:
    model = nn.Embedding(10, 4, max_norm=0.1)
    before = model.weight.detach().clone()
    times = timed(model, torch.arange(10))
    assert torch.equal(model.weight, before)
    assert len(times.ops) == 1


class Failing(nn.Module):
    """Raises in train mode, when its statistics have been written."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        if self.training:
            raise RuntimeError("enough\nis enough")
        return x


@pytest.mark.parametrize(("given", "kind"), [(True, InputError), (False, ModelError)])
def test_a_forward_that_raises_leaves_nothing(given: bool, kind: type[Exception]) -> None:
    model = Failing().train()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(kind, match=r"^forward raised in [^\n]*enough[^\n]*$"):
        timed(model, torch.randn(3, 4), given=given, mode="train")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not nn.modules.module._global_forward_hooks
    assert model.training


def test_what_cannot_be_timed_is_refused_in_one_line() -> None:
    x = torch.randn(2, 3, 8, 8)
    graph = rv.trace(Net().eval(), input_data=(x,))
    with pytest.raises(NotApplicableError, match="meta device"):
        measure_op_times(Net().to("meta"), Batch(args=(x,)), graph=graph)
    with pytest.raises(UserError, match="repeats=0 was given: give 1 or more"):
        timed(Net(), x, repeats=0)
    with pytest.raises(NotApplicableError, match="no call"):
        measure_op_times(nn.Identity(), Batch(args=(x,)), graph=graph)


class Ticks:
    """A clock that advances by one second per mark, and is read once."""

    def __init__(self) -> None:
        self.marks = self.reads = 0

    def mark(self) -> int:
        self.marks += 1
        return self.marks

    def seconds(self, spans: Any) -> list[float]:
        self.reads += 1
        return [float(end - start) for start, end in spans]


def test_marks_are_read_once_when_all_has_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = Ticks()
    monkeypatch.setattr(measure, "stopwatch_for", lambda device: ticks)
    times = timed(Net(), torch.randn(2, 3, 8, 8), repeats=4)
    assert ticks.reads == 1
    assert {row.seconds for row in times.ops} == {1.0}
    assert {row.spread for row in times.ops} == {0.0}
    assert times.forward == 1.0
    # Two marks for each call, seen as an op or not, and one at each end.
    assert times.watched >= 2 * len(times.ops) + 1


def test_events_wait_for_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[object] = []

    class Event:
        made = 0

        def __init__(self, device: object, *, enable_timing: bool) -> None:
            assert enable_timing
            Event.made += 1
            self.at = Event.made * 10.0

        def record(self) -> None:
            assert not waited

        def elapsed_time(self, end: Event) -> float:
            assert waited, "read before the device was done"
            return end.at - self.at

    monkeypatch.setattr(torch, "Event", Event)
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    watch = stopwatch.stopwatch_for(torch.device("cuda"))
    spans = [(watch.mark(), watch.mark()) for _ in range(5)]
    assert watch.seconds(spans) == [0.01] * 5  # milliseconds, as torch has them
    assert waited == [torch.device("cuda")]
    assert isinstance(stopwatch.stopwatch_for(torch.device("cpu")), stopwatch.Clock)


def test_a_report_has_times_where_they_are_asked_for() -> None:
    report = rv.report(Net(), input_size=(1, 3, 8, 8), sections=(), times=True)
    times = report.op_times
    assert times is not None
    rows = report.to_records("ops")
    assert [row["seconds"] for row in rows] == [times.get(op.id) for op in report.graph.ops]
    assert times.to_records()[0] == {
        "op": times.ops[0].op, "seconds": times.ops[0].seconds, "spread": times.ops[0].spread,
    }  # fmt: skip
    plain = rv.report(Net(), input_size=(1, 3, 8, 8), sections=())
    assert plain.op_times is None
    assert {row["seconds"] for row in plain.to_records("ops")} == {None}
    hollow = rv.report(Net().to("meta"), input_size=(1, 3, 8, 8), sections=(), times=True)
    assert hollow.op_times is None
    assert [m.section for m in hollow.missing] == ["op times"]
