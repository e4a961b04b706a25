"""Sinks that are files: a run's folder, a table, lines of JSON. Each line is flushed."""

from __future__ import annotations

import csv
import json
import math
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from resnet_viz.core.errors import UserError, one_line
from resnet_viz.core.history import History, Step
from resnet_viz.core.history_records import PARAMETER_COLUMNS, parameter_rows
from resnet_viz.core.schema import to_json

RUN, STEPS = "run.json", "steps.jsonl"
"""Files of a run's folder: what it is (a ``History`` without steps), and its steps."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Folder:
    """A folder that ``resnet-viz gradflow FOLDER`` draws, also while the run still goes on."""

    def __init__(self, place: str, history: History, resume: bool) -> None:
        folder = Path(place)
        self._about = folder / RUN
        if not resume and self._about.exists():
            raise _taken(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._write_about(history)
            self._file = _at_its_end(folder / STEPS, resume)
        except OSError as error:
            raise _unwritable(folder, error) from error
        self._is_new = not resume

    def __str__(self) -> str:
        return str(self._about.parent)

    def write(self, step: Step) -> None:
        """Adds a line."""
        self._file.write(to_json(step) + "\n")
        self._file.flush()

    def close(self, history: History) -> None:
        """Says how the run ended."""
        self._file.close()
        self._write_about(history)

    def discard(self) -> None:
        """Takes away what opening has made: there is no run."""
        self._file.close()
        if self._is_new:
            for name in (RUN, STEPS):
                self._about.with_name(name).unlink()
            with suppress(OSError):  # the folder holds something else
                self._about.parent.rmdir()

    def _write_about(self, history: History) -> None:
        unfinished = self._about.with_name(f"{RUN}.unfinished")
        unfinished.write_text(to_json(history, indent=1), "utf-8")
        unfinished.replace(self._about)


class _OneFile:
    """What sinks of one file have in common."""

    def __init__(self, place: str, history: History, resume: bool) -> None:
        self._path = Path(place)
        self._file = _opened(self._path, resume)
        self._is_new = not resume

    def __str__(self) -> str:
        return str(self._path)

    def close(self, history: History) -> None:
        """Closes the file."""
        self._file.close()

    def discard(self) -> None:
        """Takes away what opening has made: there is no run."""
        self._file.close()
        if self._is_new:
            self._path.unlink()


class Csv(_OneFile):
    """A table with one row for each parameter at each step: table ``parameters``."""

    def __init__(self, place: str, history: History, resume: bool) -> None:
        super().__init__(place, history, resume)
        self._writer = csv.DictWriter(self._file, PARAMETER_COLUMNS, lineterminator="\r\n")
        if not resume or not self._path.stat().st_size:
            self._writer.writeheader()
            self._file.flush()

    def write(self, step: Step) -> None:
        """Adds its rows."""
        for row in parameter_rows(step):
            self._writer.writerow({key: _cell(value) for key, value in row.items()})
        self._file.flush()


class JsonLines(_OneFile):
    """One flat object a step: ``step``, ``seconds`` and ``Step.metrics``.

    Numbers that JSON has no word for are ``null``.
    """

    def write(self, step: Step) -> None:
        """Adds a line."""
        numbers = {"step": step.step, "seconds": step.seconds} | step.metrics()
        finite = {key: x if math.isfinite(x) else None for key, x in numbers.items()}
        self._file.write(json.dumps(finite, allow_nan=False) + "\n")
        self._file.flush()


def _opened(path: Path, resume: bool) -> IO[str]:
    if not resume and path.exists():
        raise _taken(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _at_its_end(path, resume)
    except OSError as error:
        raise _unwritable(path, error) from error


def _at_its_end(path: Path, resume: bool) -> IO[str]:
    """The file, to add lines to; half a line that a killed run has left is cut off."""
    if resume and path.exists():
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    return path.open("a" if resume else "w", encoding="utf-8", newline="")


def _cell(value: object) -> Any:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _taken(path: Path) -> UserError:
    return UserError(
        f"sink {path} already holds a run: give another place, delete it, or go on with it "
        "by first_step=, the steps done before"
    )


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"sink {path} cannot be written: {one_line(error, 120)}")
