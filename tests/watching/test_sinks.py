"""What sinks write, and that it reads back: whole, cut off, resumed, or hostile."""

from __future__ import annotations

import csv
import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import resnet_viz as rv
from resnet_viz.core.errors import UserError
from resnet_viz.core.history import History, Step, WatchedParameter
from resnet_viz.core.schema import to_json
from resnet_viz.watching.reading import read_run
from tests.watching.loops import small_net, train


def watched(sink: Any, steps: int = 3, **options: Any) -> History:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with rv.watch(model, optimizer, sink=sink, **({"every": 1} | options)) as watch:
        train(model, optimizer, steps, after_step=lambda _, loss: watch.log(loss=loss))
    return watch.history


# -- folders ---------------------------------------------------------------------------


def test_a_folder_reads_back_equal(tmp_path: Path) -> None:
    history = watched(tmp_path / "run", name="mine")
    again = read_run(tmp_path / "run")
    assert again.complete
    assert again.model == "mine"
    assert again == history


def test_a_run_that_is_killed_is_readable_up_to_its_last_whole_line(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = rv.watch(model, optimizer, every=1, sink=str(tmp_path))
    train(model, optimizer, 4)
    # No close: what lies there now is what a killed process leaves.
    lines = (tmp_path / "steps.jsonl").read_text()
    assert lines.count("\n") == 3
    assert [s.step for s in read_run(tmp_path).steps] == [0, 1, 2]
    for cut in (1, len(lines) // 2, len(lines) - 2):
        (tmp_path / "steps.jsonl").write_text(lines[:cut])
        found = read_run(tmp_path)
        assert len(found.steps) == lines[:cut].count("\n")
        assert not found.complete
    watch.close()


def test_an_exception_is_told_as_a_run_that_was_cut_off(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def stop(step: int, loss: object) -> None:
        if step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), rv.watch(model, optimizer, every=1, sink=tmp_path):
        train(model, optimizer, 3, after_step=stop)
    found = read_run(tmp_path)
    assert len(found.steps) == 2
    assert not found.complete


def test_a_resumed_run_goes_on_from_where_its_checkpoint_was(tmp_path: Path) -> None:
    watched(tmp_path, 4)
    text = (tmp_path / "steps.jsonl").read_text()
    (tmp_path / "steps.jsonl").write_text(text[:-30])
    watched(tmp_path, 3, first_step=2)
    steps = read_run(tmp_path).steps
    assert [s.step for s in steps] == [0, 1, 2, 3, 4]
    assert steps[2].parameters[0].l2 == steps[0].parameters[0].l2


@pytest.mark.parametrize("place", ["run", "run.csv", "run.jsonl"])
def test_another_run_is_not_written_over(place: str, tmp_path: Path) -> None:
    watched(tmp_path / place, 1)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    before = [p.read_bytes() for p in files]
    with pytest.raises(UserError, match="already holds a run"):
        watched(tmp_path / place, 1)
    assert [p.read_bytes() for p in files] == before


@pytest.mark.parametrize("place", ["run", "new/run.csv", "run.jsonl", "run/"])
def test_nothing_stays_where_a_sink_is_refused(place: str, tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        rv.watch(model, optimizer, sink=[f"{tmp_path}/{place}", tmp_path / "file" / "run"])
    assert not optimizer._optimizer_step_pre_hooks
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["file"]


def test_a_resumed_run_outlives_a_sink_that_is_refused(tmp_path: Path) -> None:
    before = watched(tmp_path / "run")
    with pytest.raises(UserError, match="no sink writes"):
        watched([tmp_path / "run", "run.parquet"], first_step=3)
    assert read_run(tmp_path / "run").steps == before.steps


# -- files -----------------------------------------------------------------------------


def test_a_table_holds_every_number(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.csv"
    history = watched(path, cosine=True)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    records = history.to_records("parameters")
    assert len(rows) == len(records) == 3 * len(history.steps[0].parameters)
    for row, record in zip(rows, records, strict=True):
        assert row == {k: "" if v is None else str(v) for k, v in record.items()}
    assert {t: len(history.to_records(t)) for t in ("steps", "activations")} == {
        "steps": 3, "activations": 3,
    }  # fmt: skip
    assert len(history.to_records("findings")) == len(history.findings)


def test_lines_of_json_hold_composers_keys(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    history = watched(path)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in path.open()]
    assert [line["step"] for line in lines] == [0, 1, 2]
    for line, step in zip(lines, history.steps, strict=True):
        assert line["l2_norm/grad/global"] == step.l2
        assert line["loss"] == step.loss
        for p in step.parameters:
            assert line[f"l2_norm/grad/{p.name}"] == p.l2
            assert line[f"l2_norm/param/{p.name}"] == p.weight_l2
        assert line["dead/2"] == step.activations[0].dead


def test_numbers_that_json_has_no_word_for_are_null(tmp_path: Path) -> None:
    from resnet_viz.watching.sinks import open_sinks

    path = tmp_path / "run.jsonl"
    history = History(model="m", every=1, optimizers=(), steps=())
    (sink,) = open_sinks(path, history, resume=False)
    sink.write(Step(step=0, l2=math.nan, clipped_l2=math.inf, parameters=()))
    sink.close(history)
    line = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert line["l2_norm/grad/global"] is None


# -- others ----------------------------------------------------------------------------


class FakeWriter:
    """As ``SummaryWriter`` is used."""

    def __init__(self) -> None:
        self.scalars: dict[tuple[str, int], float] = {}
        self.closed = False

    def add_scalar(self, key: str, value: float, step: int) -> None:
        self.scalars[key, step] = value

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_a_writer_gets_scalars_and_stays_open() -> None:
    writer, taken = FakeWriter(), []
    history = watched([writer, taken.append])
    assert tuple(taken) == history.steps
    assert not writer.closed
    for step in history.steps:
        assert writer.scalars["l2_norm/grad/global", step.step] == step.l2
        assert writer.scalars["log10/l2_norm/grad/global", step.step] == math.log10(step.l2)


def test_tensorboard_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = []

    def writer(place: str) -> FakeWriter:
        made.append(place)
        return FakeWriter()

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    watched(f"tensorboard:{tmp_path}/board", 1)
    assert made == [f"{tmp_path}/board"]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard") as told:
        watched("tensorboard:board")
    assert "\n" not in str(told.value)


def test_a_full_disk_ends_a_sink_and_not_the_training(tmp_path: Path) -> None:
    class Full:
        def write(self, step: Step) -> None:
            raise OSError(28, "No space left on device")

        def close(self, history: History) -> None:
            raise AssertionError("dropped, so nobody closes it")

    with pytest.warns(RuntimeWarning, match="No space left on device"):
        history = watched([Full(), tmp_path / "run"])
    assert read_run(tmp_path / "run") == history


@pytest.mark.parametrize(
    ("sink", "words"),
    [("run.parquet", "no sink writes .parquet"), (7, "is no place for steps"), ("", "no place")],
)
def test_an_unknown_sink_is_refused(sink: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        watched(sink)


@pytest.mark.parametrize("place", ["runs/lr0.1", "net.v2/"])
def test_dots_in_names_of_folders(place: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    watched(place, 1)
    assert (tmp_path / place / "run.json").is_file()


# -- hostile folders -------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "run"
    watched(folder)
    return folder


HOSTILE = [
    "not json", "{}", "[]", "null", "7", '"text"', "{" * 5000, "[" * 100_000,
    '{"schema":"resnet-viz","version":1,"value":{"type":"Bar","label":"x","value":3}}',
    '{"schema":"resnet-viz","version":99,"value":{}}',
    '{"schema":"resnet-viz","version":1,"value":{"type":"Step","step":"x","l2":1,'
    '"clipped_l2":1,"parameters":[]}}',
    '{"schema":"resnet-viz","version":1,"value":{"type":"Step","step":1,"l2":1,'
    '"clipped_l2":1,"parameters":[{"type":"WatchedParameter","name":["a"],"l2":1}]}}',
    '{"schema":"resnet-viz","version":1,"value":{"type":"Step","step":1,"l2":1,'
    '"clipped_l2":1,"parameters":[3]}}',
    '{"schema":"resnet-viz","version":1,"value":{"type":"Step","step":1e999,"l2":1,'
    '"clipped_l2":1,"parameters":[]}}',
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("name", ["run.json", "steps.jsonl"])
def test_hostile_contents_are_told_in_one_line(
    name: str, text: str, run: Path, tmp_path: Path
) -> None:
    for file in run.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    whole = (tmp_path / "steps.jsonl").read_text()
    (tmp_path / name).write_text(text if name == "run.json" else f"{text}\n{whole}")
    with pytest.raises(UserError, match=name) as told:
        read_run(tmp_path)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 600 + len(str(tmp_path))


def test_bytes_that_are_no_text(run: Path, tmp_path: Path) -> None:
    for file in run.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    steps = tmp_path / "steps.jsonl"
    whole = steps.read_bytes()
    steps.write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(UserError, match="line 1 cannot be read"):
        read_run(tmp_path)
    steps.write_bytes(whole + '{"name": "é'.encode()[:-1])  # as a reader may find a live run
    assert read_run(tmp_path) == read_run(run)


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no run.json"):
        read_run(tmp_path)


@given(st.text(max_size=8), st.floats())
def test_any_name_and_any_number_survive_a_folder(
    tmp_path_factory: pytest.TempPathFactory, name: str, number: float
) -> None:
    from resnet_viz.watching.files import Folder

    folder = tmp_path_factory.mktemp("any")
    step = Step(
        step=0, l2=number, clipped_l2=number,
        parameters=(WatchedParameter(name=name, l2=number, cosine=number),),
    )  # fmt: skip
    sink = Folder(str(folder), History(model=name, every=1, optimizers=(), steps=()), False)
    sink.write(step)
    sink.close(History(model=name, every=1, optimizers=(name,), steps=()))
    again = read_run(folder)
    assert [to_json(s) for s in again.steps] == [to_json(step)]
    assert again.optimizers == (name,)
