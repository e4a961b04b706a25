"""Runs a forward onto a tape, while the recorder makes a graph of it as in any trace."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from resnet_viz.tracing.proving.census import Census
from resnet_viz.tracing.proving.tape import Call, Tape
from resnet_viz.tracing.recorder import Recorder
from resnet_viz.tracing.walk import Function, Walk


class TapeWalk(Walk):
    """A walk that tells the tape of every question too (``x.shape``)."""

    def __init__(self, model: nn.Module, recorder: TapeRecorder, tape: Tape) -> None:
        super().__init__(model, recorder)
        self._tape = tape

    def __torch_function__(
        self,
        func: Function,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self._tape.asked(func, args)
        return super().__torch_function__(func, types, args, kwargs)


class _Executor:
    """Runs calls for real, onto the tape and under the census; see ``executors``."""

    def __init__(self, tape: Tape, census: Census) -> None:
        self._tape = tape
        self._census = census
        self.last: Call | None = None
        # The graph's own trace counts them; here only data and memory matter.
        self.macs: int | None = 0

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        census = self._census
        with census.paused():
            call = self._tape.begin(func, args, kwargs)
        census.owner = call.kernels
        try:
            result = func(*args, **kwargs)
        finally:
            census.owner = None
        with census.paused():
            self._tape.end(call, result)
        self.last = call
        return result


class TapeRecorder(Recorder):
    """Records ops as a trace does, and beside each the call on the tape that it is."""

    def __init__(self, names: dict[int, tuple[str, str]], tape: Tape, census: Census) -> None:
        self._runner = _Executor(tape, census)
        self._tape = tape
        self._census = census
        super().__init__(self._runner, names)

    def add_input(self, tensor: Tensor, name: str) -> None:
        """The tensor is an argument of ``forward`` called ``name``."""
        super().add_input(tensor, name)
        self._tape.add_input(tensor)

    def record(
        self,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
        written: list[Tensor],
    ) -> None:
        """Adds the op, and tells its call which op it is."""
        call = self._runner.last
        assert call is not None
        with self._census.paused():
            super().record(walk, func, args, kwargs, outputs, written)
            if not self._tape.refusal:
                call.op = self.ops[-1].id
                call.outputs = tuple(self._tape.slot(tensor) for tensor in outputs)

    def passed_on(self, source: Tensor, result: Tensor) -> None:
        """The call is a cast that keeps the dtype."""
        assert self._runner.last is not None
        self._runner.last.cast = True
        super().passed_on(source, result)
