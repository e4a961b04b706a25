"""Runs rows in processes of their own, with a limit of time and memory for each.

A row that hangs, crashes the interpreter or eats the memory is a row with its
reason, and the next row gets a fresh process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from tests.gauntlet.checks import Row

_CONTEXT = multiprocessing.get_context("spawn")


def _serve(connection: Connection, memory: int) -> None:
    """A worker: names in, rows out, until there is no name any more."""
    import torch

    from tests.gauntlet.checks import examine
    from tests.gauntlet.lists import find

    torch.set_num_threads(1)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    while (name := connection.recv()) is not None:
        connection.send(examine(find(name)))


@dataclass(slots=True)
class _Worker:
    """One process and what it is busy with."""

    process: Any
    connection: Connection
    name: str = ""
    deadline: float = 0.0

    @classmethod
    def start(cls, memory: int) -> _Worker:
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=_serve, args=(theirs, memory), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def give(self, name: str, seconds: float) -> None:
        self.name, self.deadline = name, time.monotonic() + seconds
        self.connection.send(name)

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


def run(
    names: Sequence[tuple[str, str]], *, jobs: int, seconds: float, gigabytes: float
) -> Iterator[Row]:
    """A row for each ``(name, family)``, as they are done.

    Args:
        names: What to run.
        jobs: How many processes at a time.
        seconds: Wall-clock limit of one row.
        gigabytes: Memory limit of one process (Linux; elsewhere there is none).
    """
    memory = int(gigabytes * 2**30)
    families = dict(names)
    waiting = [name for name, _ in reversed(names)]
    workers: list[_Worker] = []
    while waiting or workers:
        while waiting and len(workers) < jobs:
            worker = _Worker.start(memory)
            worker.give(waiting.pop(), seconds)
            workers.append(worker)
        for worker in _ready(workers):
            row = _result(worker, families[worker.name], seconds)
            yield row
            if worker.process.is_alive() and waiting:
                worker.give(waiting.pop(), seconds)
            else:
                worker.stop()
                workers.remove(worker)


def _ready(workers: list[_Worker]) -> list[_Worker]:
    """The workers that have answered, died or run out of time."""
    first = min(worker.deadline for worker in workers)
    told = wait([w.connection for w in workers], max(0.0, first - time.monotonic()))
    return [w for w in workers if w.connection in told or w.deadline <= time.monotonic()]


def _result(worker: _Worker, family: str, seconds: float) -> Row:
    try:
        if worker.connection.poll():
            row: Row = worker.connection.recv()
            return row
        problem = f"no answer within {seconds:.0f} s"
    except (EOFError, ConnectionResetError):
        worker.process.join()
        problem = f"the process died with exit code {worker.process.exitcode}"
    worker.process.kill()
    worker.process.join()
    return Row(name=worker.name, family=family, problems=[problem])
