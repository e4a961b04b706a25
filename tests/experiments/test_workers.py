"""Worker processes: they answer in order, end with their task's error, and never outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from resnet_viz.core.errors import UserError
from resnet_viz.experiments import workers
from resnet_viz.experiments.workers import WorkerError, run_tasks

ROOT = Path(__file__).resolve().parents[2]


def work(shared: str, task: str, tell: Callable[[int], None]) -> tuple[str, str, int, int]:
    """What a test asks of a process; begins by telling its number."""
    tell(os.getpid())
    if task == "refuse":
        raise UserError("no such depth")
    if task == "bug":
        raise KeyError("a hole in the code")
    if task == "die":
        os.write(2, b"the last words\n")
        os._exit(7)
    if task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "hang":
        time.sleep(600)
    os.write(1, b"a library that prints\n")
    return shared, task, torch.get_num_threads(), os.getpid()


class Unreadable:
    """Can be written and not read: as a class of a library that one side does not have."""

    def __init__(self, where: int) -> None:
        self.where = where

    def __str__(self) -> str:
        return "unreadable"

    def __reduce__(self) -> tuple[object, ...]:
        return (_read, (self.where,))


def _read(where: int) -> Unreadable:
    if os.getpid() != where:
        raise ImportError("no module named elsewhere")
    return Unreadable(where)


def make_unreadable(_shared: str, _task: object, _tell: object) -> Unreadable:
    return Unreadable(os.getpid())


def _gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_results_come_in_order_from_processes_with_one_thread_each(capfd):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    pids: list[int] = []
    tasks = ["a", "b", "c", "d", "e"]
    results = run_tasks(work, ["x", "x"], tasks, pids.append)
    assert [task for _, task, _, _ in results] == tasks
    assert {ran for _, _, ran, _ in results} == {1}
    assert sorted(pids) == sorted(pid for *_, pid in results)
    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    assert all(map(_gone, pids))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert capfd.readouterr() == ("", "")


def test_what_python_prints_at_startup_is_no_answer(tmp_path, monkeypatch):
    # "B" would begin a pickle of a billion bytes, to be waited for.
    (tmp_path / "sitecustomize.py").write_text("print('Be welcome\\n1', end='', flush=True)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ((_, task, *_),) = run_tasks(work, ["x"], ["a"])
    assert task == "a"


def test_the_first_process_goes_when_the_second_cannot_be_started(monkeypatch):
    started = []

    def popen(*args, **kwargs):
        if started:
            raise OSError("no more processes")
        started.append(subprocess.Popen(*args, **kwargs))
        return started[0]

    monkeypatch.setattr(workers, "subprocess", SimpleNamespace(Popen=popen, PIPE=subprocess.PIPE))
    with pytest.raises(OSError, match="no more processes"):
        run_tasks(work, ["x", "x"], ["hang", "hang"])
    assert started[0].returncode is not None


def test_no_tasks_need_no_process():
    assert run_tasks(work, ["x"], []) == []


@pytest.mark.parametrize(
    ("task", "error", "words"),
    [
        ("refuse", UserError, "^no such depth$"),
        ("bug", WorkerError, "bug: KeyError: 'a hole in the code'"),
        ("die", WorkerError, r"die: its process ended with exit code 7"),
        ("killed", UserError, "killed: its process was killed, most likely because memory"),
    ],
)
def test_an_error_ends_all_processes_and_is_told_once(task, error, words, capfd):
    pids: list[int] = []
    with pytest.raises(error, match=words) as caught:
        # The other process is busy, and has to go too.
        run_tasks(work, ["x", "x"], [task, "hang"] if task == "refuse" else [task], pids.append)
    assert "\n" not in str(caught.value)
    assert all(map(_gone, pids))
    if task == "bug":
        assert 'raise KeyError("a hole in the code")' in caught.value.__notes__[0]
    if task == "die":
        assert caught.value.__notes__ == ["It said:\nthe last words"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("side", ["there", "here"])
def test_what_cannot_be_read_is_not_waited_for(side):
    task = Unreadable(os.getpid()) if side == "there" else "a"
    with pytest.raises(WorkerError) as caught:
        run_tasks(work if side == "there" else make_unreadable, ["x"], [task])
    assert "no module named elsewhere" in "".join([str(caught.value), *caught.value.__notes__])


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from resnet_viz.experiments.workers import run_tasks
from tests.experiments.test_workers import work
print("begun", flush=True)
run_tasks(work, ["x", "x"], ["hang", "hang"], lambda pid: print(pid, flush=True))
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_stopping_the_caller_stops_its_workers(sent, tmp_path):
    # A script without "if __name__", as people write them: it runs once, not once per worker.
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(root=str(ROOT)))
    caller = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert caller.stdout is not None
    assert caller.stdout.readline() == "begun\n"
    pids = [int(caller.stdout.readline()) for _ in range(2)]
    caller.send_signal(sent)
    out, said = caller.communicate(timeout=30)
    assert out == ""
    assert caller.returncode == -sent
    if sent == signal.SIGINT:
        assert said.rstrip().endswith("KeyboardInterrupt")
        assert said.count("Traceback") == 1
    deadline = time.monotonic() + 10
    while not all(map(_gone, pids)):
        assert time.monotonic() < deadline, "a worker outlives its caller"
        time.sleep(0.05)
