"""What a worker process runs: tasks from standard input, answers to standard output.

Started by ``workers``, which says why it is no ``multiprocessing`` process. It ends at
once when its standard input closes, so nothing survives the process that asked.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from typing import Any, BinaryIO

from resnet_viz.core.errors import ResnetVizError, one_line

READY = b"\0resnet-viz\n"
"""The end of a line, behind which there is nothing but answers."""


def serve() -> None:
    """Answers tasks until standard input ends; never returns."""
    with contextlib.suppress(ValueError):
        # Ctrl-C reaches every process of a terminal; the one that asked decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    # What libraries print must not get between the answers.
    os.dup2(2, 1)
    answers.write(READY)
    function, shared = pickle.load(sys.stdin.buffer)
    _use_one_thread()
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, tasks), daemon=True).start()
    while True:
        task = tasks.get()
        try:
            _send(answers, "done", function(shared, task, lambda n: _send(answers, "news", n)))
        except ResnetVizError as error:
            _send(answers, "refused", error)
        except Exception as error:  # Told to the process that asked, which raises it.
            _send(answers, "broken", (one_line(error), traceback.format_exc()))


def _use_one_thread() -> None:
    """One thread, and kernels that give the same bits each time."""
    import torch

    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False


def _receive(stream: BinaryIO, tasks: queue.SimpleQueue[Any]) -> None:
    try:
        while True:
            tasks.put(pickle.load(stream))
    except (EOFError, OSError):
        # Whoever asked is satisfied or dead: there is nothing left to be tidy for.
        os._exit(0)
    except Exception:  # A task that cannot be read; nobody would ever answer it.
        traceback.print_exc()
        os._exit(1)


def _send(stream: BinaryIO, kind: str, value: object) -> None:
    buffer = io.BytesIO()
    pickle.dump((kind, value), buffer)
    try:
        stream.write(buffer.getvalue())
        stream.flush()
    except OSError:
        os._exit(0)
