"""Runs a tape: the same calls on the same values, without any of the model's Python.

A call runs as it ran (grad mode, autocast, attention kernels, state of the generators),
on what the calls before it made here. Nothing of the first run's results is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from resnet_viz.tracing.proving.bits import fingerprint
from resnet_viz.tracing.proving.tape import Call, Slot, Tape
from resnet_viz.tracing.trees import tensors_in


class ReplayError(Exception):
    """A call does not do what it did in the forward; ``call`` is it."""

    def __init__(self, call: Call, message: str) -> None:
        super().__init__(message)
        self.call = call


EachCall = Callable[[Call, Any, Any], None]


def replay(
    tape: Tape,
    inputs: Sequence[Tensor],
    wanted: Sequence[int],
    *,
    compare: bool = False,
    each: EachCall | None = None,
) -> dict[int, Tensor]:
    """Runs the tape.

    Args:
        tape: What to run.
        inputs: One tensor per input slot; they may be written.
        wanted: Slots whose tensors are asked for.
        compare: Whether to stop where a call returns other bits than it did at first.
        each: Told of each call with its arguments, before it runs.

    Returns:
        The tensors of the wanted slots.

    Raises:
        ReplayError: If a call raises, returns another number of tensors, or (where asked)
            other bits.
    """
    values = dict(tape.held)
    values.update(zip((read.slot for read in tape.inputs), inputs, strict=True))
    last = _last_uses(tape)
    keep = {*wanted, *(alias.home for alias in tape.aliases.values())}
    for position, call in enumerate(tape.calls):
        for read in call.reads:
            _find_alias(tape, read.slot, values)
        args, kwargs = _thawed(call.args, values), _thawed(call.kwargs, values)
        if each is not None:
            each(call, args, kwargs)
        results = _run(call, args, kwargs)
        if len(results) != len(call.results):
            raise ReplayError(call, f"returned {len(results)} tensors, not {len(call.results)}")
        if compare and tuple(map(fingerprint, results)) != call.prints:
            raise ReplayError(call, "returned other values")
        values.update(zip(call.results, results, strict=True))
        for slot in last.get(position, ()):
            if slot not in keep:
                values.pop(slot, None)
    for slot in wanted:
        _find_alias(tape, slot, values)
    return {slot: values[slot] for slot in wanted}


def _find_alias(tape: Tape, slot: int, values: dict[int, Tensor]) -> None:
    if slot not in values and slot in tape.aliases:
        alias = tape.aliases[slot]
        values[slot] = alias.on(values[alias.home])


def _run(call: Call, args: Any, kwargs: Any) -> list[Tensor]:
    with call.settings.again():
        if call.kernels.random is not None:
            call.kernels.random.restore()
        try:
            result = call.func(*args, **kwargs)
        except Exception as error:  # whatever a call raises where it did not: the answer
            raise ReplayError(call, "raised") from error
    return list(tensors_in(result))


def _last_uses(tape: Tape) -> dict[int, list[int]]:
    """Slots to let go of after each call."""
    last: dict[int, int] = {}
    for position, call in enumerate(tape.calls):
        for slot in (*(read.slot for read in call.reads), *call.results):
            last[slot] = position
    after: dict[int, list[int]] = {}
    for slot, position in last.items():
        if slot not in tape.held:
            after.setdefault(position, []).append(slot)
    return after


def _thawed(value: Any, values: dict[int, Tensor]) -> Any:
    if isinstance(value, Slot):
        return values[value.index]
    if type(value) in (tuple, list):
        return type(value)(_thawed(item, values) for item in value)
    if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        items = [_thawed(item, values) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, Mapping):
        return {key: _thawed(item, values) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(_thawed(part, values) for part in (value.start, value.stop, value.step)))
    return value
