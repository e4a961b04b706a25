"""Which calls count as ops: shared by the tracer and by measurements.

Both must give the same call the same ``OpId``, so the rule stands here once: a
call is an op if it returns a tensor or writes one, other than the model's own
parameters and buffers (``num_batches_tracked.add_(1)`` is bookkeeping) and other
than a cast that keeps the dtype.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from resnet_viz.tracing.functions import kind_of, writes
from resnet_viz.tracing.trees import tensors_in
from resnet_viz.tracing.walk import Function, Walk

# A cast to the dtype that a tensor has computes nothing, and a fork must not move to it.
# Whether it moves the tensor depends on devices, and a graph knows none.
_CASTS = frozenset(("to", "type", "type_as", "float", "double", "half", "bfloat16", "cpu", "cuda"))


def version(tensor: Tensor) -> int | None:
    """How often the tensor's memory was written; ``None`` where nobody counts."""
    return None if tensor.is_inference() else tensor._version


def state_names(model: nn.Module) -> dict[int, tuple[str, str]]:
    """``id`` of each parameter and buffer, to its kind and its first name."""
    names: dict[int, tuple[str, str]] = {}
    for key, buffer in model.named_buffers(remove_duplicate=False):
        names.setdefault(id(buffer), ("buffer", key))
    for key, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), ("param", key))
    return names


class CallObserver(ABC):
    """An observer that is told only of calls that are ops."""

    def __init__(self, state: dict[int, tuple[str, str]]) -> None:
        self._state = state
        self._versions: list[tuple[Tensor, int | None]] = []

    def run(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's result."""
        return func(*args, **kwargs)

    @abstractmethod
    def record(
        self,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: list[Tensor],
        written: list[Tensor],
    ) -> None:
        """An op has run.

        Args:
            walk: Asked exactly once for the op's id.
            func: What was called.
            args: With these arguments.
            kwargs: And these.
            outputs: The tensors it returned, then those it only wrote.
            written: The arguments it wrote into.
        """

    def execute(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs the call, remembering the versions of its arguments."""
        versions = self._versions = []
        for value in (*args, *kwargs.values()) if kwargs else args:
            if isinstance(value, Tensor):
                versions.append((value, version(value)))
            elif isinstance(value, tuple | list):
                versions += [(t, version(t)) for t in tensors_in(value)]
        return self.run(func, args, kwargs)

    def seen(
        self, walk: Walk, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Tells ``record``, if the call is an op."""
        state = self._state
        written = [
            t
            for t, v in self._versions
            if (t._version != v if v is not None else t is args[0] and writes(func))
            and id(t) not in state
        ]
        outputs = [result] if isinstance(result, Tensor) else list(tensors_in(result))
        if not written and (not outputs or all(id(t) in state for t in outputs)):
            return
        if kind_of(func) in _CASTS and isinstance(result, Tensor):
            source = args[0]
            if not written and result.dtype == source.dtype:
                self.passed_on(source, result)
                return
        results = {id(t) for t in outputs}
        outputs += [t for t in written if id(t) not in results]
        self.record(walk, func, args, kwargs, outputs, written)

    def passed_on(self, source: Tensor, result: Tensor) -> None:
        """``result`` is ``source``, maybe elsewhere; whoever wants to know overrides this."""
        return

    def failed(
        self,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        error: BaseException,
    ) -> None:
        """A call has raised; whoever wants to know overrides this."""
        return
