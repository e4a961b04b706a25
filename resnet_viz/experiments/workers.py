"""Tasks in processes of their own, each with one thread.

Nets as small as those of the experiments are up to twenty times slower with many threads
than with one, and the number of threads is a setting of the whole process: the caller's
must not change. The processes are started afresh with ``python -c`` rather than by
``multiprocessing``, whose spawned children import the caller's main script again: a
script without ``if __name__ == "__main__"`` would start the experiment in each.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from multiprocessing.spawn import get_executable
from typing import IO, Any, TypeVar

from resnet_viz.core.errors import UserError, one_line
from resnet_viz.experiments.serving import READY

Task = TypeVar("Task")
Result = TypeVar("Result")

_START = (
    "import sys, pickle; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from resnet_viz.experiments.serving import serve; serve()"
)

_KILLED = 9
"""SIGKILL, which an operating system sends where memory runs out; Windows has no name for it."""


class WorkerError(RuntimeError):
    """A task or its process ended in a way that is no mistake of a user: a bug."""


def run_tasks(
    function: Callable[[Any, Task, Callable[[int], None]], Result],
    shared: Sequence[Any],
    tasks: Sequence[Task],
    on_news: Callable[[int], None] = lambda _: None,
) -> list[Result]:
    """The results of all tasks, in their order.

    Tasks are begun in order, each by the first process that is free. All processes are
    gone when this returns or raises, whatever it raises.

    Args:
        function: Importable by name; gets a process's part of ``shared``, a task, and a
            function that sends a number back at once.
        shared: What each process gets once; there are as many processes as parts, or as
            tasks where these are fewer.
        tasks: What is to be done; can be pickled, like everything else here.
        on_news: Hears the numbers.

    Raises:
        ResnetVizError: That a task raised.
        UserError: If a process is killed.
        WorkerError: If a task raised anything else, with its traceback as a note, or if
            its process died, with what that printed.
    """
    results: dict[int, Result] = {}
    waiting = deque(enumerate(tasks))
    told: queue.SimpleQueue[tuple[_Worker, str, Any]] = queue.SimpleQueue()
    with ExitStack() as stack:
        workers: list[_Worker] = []
        # All are started before the first gets its data: they import torch side by side.
        for _ in shared[: len(tasks)]:
            workers.append(_Worker(told))
            stack.callback(workers[-1].stop)
        for worker, part in zip(workers, shared, strict=False):
            worker.send((function, part))
            worker.give(waiting)
        while len(results) < len(tasks):
            worker, kind, value = _next(told)
            if kind == "news":
                on_news(value)
            elif kind == "done":
                results[worker.index] = value
                worker.give(waiting)
            elif kind == "refused":
                raise value
            elif kind == "broken":
                raise _broken(worker, tasks, *value)
            else:
                raise _died(worker, tasks)
    return [results[index] for index in range(len(tasks))]


def _next(told: queue.SimpleQueue[Any]) -> Any:
    while True:
        # A wait without end cannot be interrupted by Ctrl-C on every system.
        with suppress(queue.Empty):
            return told.get(timeout=0.5)


class _Worker:
    """One process, and the number of the task it works on."""

    def __init__(self, told: queue.SimpleQueue[tuple[_Worker, str, Any]]) -> None:
        self.index = -1
        self.complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in stop)
        self.process = subprocess.Popen(
            # -P: a file random.py where the user stands must not replace the library's.
            [get_executable(), "-P", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            # Ctrl-C in a terminal goes to a whole session: to this process, not to them.
            start_new_session=True,
        )
        self.listener = threading.Thread(target=self._listen, args=(told,), daemon=True)
        self.listener.start()
        self.send(sys.path)

    def send(self, value: object) -> None:
        """Hands a value over; one that has died is found by its listener."""
        assert self.process.stdin is not None
        # Not torch.multiprocessing's pickler: shared memory may be small.
        content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        with suppress(OSError):  # BrokenPipeError; on Windows it may be EINVAL.
            self.process.stdin.write(content)
            self.process.stdin.flush()

    def give(self, waiting: deque[tuple[int, Any]]) -> None:
        """Hands over the next task, if there is one."""
        if waiting:
            self.index, task = waiting.popleft()
            self.send(task)

    def _listen(self, told: queue.SimpleQueue[tuple[_Worker, str, Any]]) -> None:
        assert self.process.stdout is not None
        try:
            # Before it, there may be what a sitecustomize prints, or a .pth file.
            for line in self.process.stdout:
                if line.endswith(READY):
                    break
            while True:
                told.put((self, *pickle.load(self.process.stdout)))
        except (EOFError, pickle.UnpicklingError, OSError):
            told.put((self, "died", None))
        except Exception as error:  # An answer that cannot be read must not be waited for.
            told.put((self, "broken", (one_line(error), traceback.format_exc())))

    def stop(self) -> None:
        """Ends the process now, and waits until it is gone."""
        self.process.kill()
        self.process.wait()
        self.listener.join()
        for stream in (self.process.stdin, self.process.stdout, self.complaints):
            # What was still to be written has nobody left to read it.
            with suppress(OSError):
                if stream is not None:
                    stream.close()


def _broken(worker: _Worker, tasks: Sequence[object], what: str, trace: str) -> WorkerError:
    error = WorkerError(f"{tasks[worker.index]}: {what}")
    error.add_note(f"In its worker process:\n{trace}")
    return error


def _died(worker: _Worker, tasks: Sequence[object]) -> Exception:
    code = worker.process.wait()
    if code == -_KILLED:
        return UserError(
            f"{tasks[worker.index]}: its process was killed, most likely because memory ran out: "
            "try again with fewer workers or smaller batches"
        )
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    error = WorkerError(f"{tasks[worker.index]}: its process {how}")
    length = worker.complaints.seek(0, os.SEEK_END)
    worker.complaints.seek(max(0, length - 4000))
    said = worker.complaints.read().decode("utf-8", "replace").strip()
    if said:
        error.add_note(f"It said:\n{said}")
    return error
