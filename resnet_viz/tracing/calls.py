"""Which calls count as ops: shared by the tracer and by measurements.

Both must give the same call the same ``OpId``, so the rule stands here once: a
call is an op if it returns a tensor or writes one, other than the model's own
parameters and buffers (``num_batches_tracked.add_(1)`` is bookkeeping, unless an
activation is written into them: a cache of keys) and other than a cast that keeps
the dtype.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.tracing.functions import kind_of, writes
from resnet_viz.tracing.memory_map import memory_of, version_of
from resnet_viz.tracing.module_tree import ModuleTree
from resnet_viz.tracing.trees import tensors_in
from resnet_viz.tracing.walk import Function, Walk

# A cast to the dtype that a tensor has computes nothing, and a fork must not move to it.
# Whether it moves the tensor depends on devices, and a graph knows none.
_CASTS = frozenset(("to", "type", "type_as", "float", "double", "half", "bfloat16", "cpu", "cuda"))


_SET_DATA: Any = Tensor.__dict__.get("data", torch._C.TensorBase.data).__set__
_SAME = _CASTS | {"requires_grad", "detach"}


def _changes_nothing(kind: str) -> bool:
    if kind != "detach":
        return True
    # ``Parameter(data)`` detaches some kinds of tensors by a call, others silently.
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("resnet_viz."):
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == "torch.nn.parameter"


def state_names(model: nn.Module, tree: ModuleTree | None = None) -> dict[int, tuple[str, str]]:
    """``id`` of each parameter and buffer, to its kind and its first name."""
    tree = tree or ModuleTree(model)
    names: dict[int, tuple[str, str]] = {}
    for key, buffer in tree.buffers():
        names.setdefault(id(buffer), ("buffer", key))
    for key, parameter in tree.parameters():
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
                versions.append((value, version_of(value)))
            elif isinstance(value, tuple | list):
                versions += [(t, version_of(t)) for t in tensors_in(value)]
        return self.run(func, args, kwargs)

    def seen(
        self, walk: Walk, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Tells ``record``, if the call is an op."""
        if func == _SET_DATA:
            self.passed_on(args[1], args[0])
            return
        state = self._state
        written = [
            t
            for t, v in self._versions
            if (t._version != v if v is not None else t is args[0] and writes(func))
            and (id(t) not in state or self._fills(t, func, args, kwargs))
        ]
        if len(written) > 1 and writes(func):
            # Its views share the version of the target, but nobody wrote through them.
            target = memory_of(args[0])
            written = [t for t in written if t is args[0] or memory_of(t) != target]
        outputs = [result] if isinstance(result, Tensor) else list(tensors_in(result))
        if not written and (not outputs or all(id(t) in state for t in outputs)):
            return
        kind = kind_of(func)
        if kind in _SAME and isinstance(result, Tensor):
            source = args[0]
            if not written and result.dtype == source.dtype and _changes_nothing(kind):
                self.passed_on(source, result)
                return
        results = {id(t) for t in outputs}
        outputs += [t for t in written if id(t) not in results]
        self.record(walk, func, args, kwargs, outputs, written)

    def _fills(
        self, target: Tensor, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bool:
        """Whether the call writes an activation into a buffer or parameter."""
        if target is not kwargs.get("out") and not (args and target is args[0] and writes(func)):
            return False
        return any(id(t) not in self._state for t, _ in self._versions if t is not target)

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
