"""Reads back what ``watch`` wrote into a folder, also where the run was cut off.

Nothing in the folder is trusted: it may come from anybody.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from resnet_viz.analysis.rules import Thresholds
from resnet_viz.core.errors import UserError, one_line
from resnet_viz.core.history import History, Step
from resnet_viz.core.schema import field_types, from_json
from resnet_viz.watching.files import RUN, STEPS


def read_run(path: str | Path, thresholds: Thresholds | None = None) -> History:
    """The training that ``watch`` wrote into a folder, with findings.

    A last line that was cut off is left out. Where a run went on from an earlier step
    than the last one there, the later steps count.

    Args:
        path: The folder.
        thresholds: When findings speak; the usual ones where ``None``.

    Raises:
        UserError: If the folder holds no run, or one that cannot be read.
    """
    folder = Path(path)
    if not (folder / RUN).is_file():
        raise UserError(f"{folder} holds no {RUN}: give a folder that rv.watch(sink=…) wrote")
    about = _value(_bytes(folder / RUN), History, folder / RUN)
    steps = _steps(folder / STEPS) if (folder / STEPS).exists() else ()
    return with_findings(replace(about, steps=steps), thresholds)


def with_findings(history: History, thresholds: Thresholds | None = None) -> History:
    """The same history, with what it means."""
    from resnet_viz.analysis.findings.history import diagnose_history

    return replace(history, findings=diagnose_history(history, thresholds))


def _steps(path: Path) -> tuple[Step, ...]:
    lines = _bytes(path).split(b"\n")
    steps: list[Step] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            step = _value(line, Step, path, number)
        except UserError:
            # Writing ends each line: the run was stopped in the middle of this one.
            if number == len(lines):
                break
            raise
        while steps and steps[-1].step >= step.step:
            steps.pop()
        steps.append(step)
    return tuple(steps)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {one_line(error, 120)}") from error


def _value(text: bytes, wanted: type, path: Path, line: int = 0) -> Any:
    place = f"{path}, line {line}" if line else str(path)
    try:
        value = from_json(text.decode("utf-8"))
    except (UserError, RecursionError, UnicodeDecodeError) as error:
        raise UserError(f"{place} cannot be read: {one_line(error, 200)}") from error
    if type(value) is not wanted or not _fits(value, wanted):
        raise UserError(f"{place} holds no {wanted.__name__} as rv.watch writes it")
    return value


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of its field's type all the way down: JSON tells only its own."""
    if is_dataclass(hint) and isinstance(hint, type):
        return type(value) is hint and all(
            _fits(getattr(value, f.name), field_types(hint)[f.name]) for f in fields(hint)
        )
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if get_origin(hint) is UnionType:
        return any(_fits(value, one) for one in get_args(hint))
    if hint is int:
        # Beyond it no float can stand for it on an axis.
        return type(value) is int and abs(value) < 2**53
    if hint is float:
        return type(value) is float
    if isinstance(hint, type):
        return isinstance(value, hint)
    return value in get_args(hint)
