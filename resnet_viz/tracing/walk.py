"""The walk over a forward: every torch call, with its module and its ``OpId``.

A ``TorchFunctionMode`` sees the calls under the names people wrote (``conv2d``,
``add``) and works on any Python control flow; a stack kept by global module
hooks knows whose ``forward`` is running. What to do with a call is the
observer's business: the tracer builds a graph, ``measuring`` places hooks.
"""

from __future__ import annotations

import functools
import sys
import types
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode

from resnet_viz.core.graph import OpId, make_op_id
from resnet_viz.tracing.functions import kind_of

Function = Callable[..., Any]


class Observer(Protocol):
    """What happens at a call. ``execute`` runs it; ``seen`` looks at the result."""

    def execute(self, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call's result."""

    def seen(
        self, walk: Walk, func: Function, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """A call has returned a value that may hold tensors."""

    def failed(
        self,
        walk: Walk,
        func: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        error: BaseException,
    ) -> None:
        """A call has raised."""


# What such a call returns can hold no tensor, and it writes none.
_NO_TENSOR = (int, bool, float, str, torch.Size, torch.dtype, torch.device, torch.layout)


class Walk(TorchFunctionMode):
    """Runs a forward and tells an observer about every call.

    Attributes:
        path: Path of the module whose ``forward`` is running.
        calls: How often each module's ``forward`` ran, by path.
        failed_in: Path of the innermost module through which an exception left.
    """

    def __init__(self, model: nn.Module, observer: Observer) -> None:
        super().__init__()
        self._observer = observer
        self._paths: dict[nn.Module, str] = {}
        for path, module in model.named_modules(remove_duplicate=False):
            self._paths.setdefault(module, path)
        self._strangers: dict[str, int] = defaultdict(int)
        self._stack: list[str] = []
        self._ordinals: dict[tuple[str, str], int] = defaultdict(int)
        self.path = ""
        self.calls: dict[str, int] = defaultdict(int)
        self.strangers: dict[str, nn.Module] = {}
        self.failed_in: str | None = None

    def next_id(self, func: Function) -> OpId:
        """The key of the present call; each question counts as one call."""
        id_ = self.present_id(func)
        self._ordinals[self.path, kind_of(func)] += 1
        return id_

    def present_id(self, func: Function) -> OpId:
        """The key that the present call has if it turns out to be an op."""
        kind = kind_of(func)
        return make_op_id(self.path, kind, self._ordinals[self.path, kind])

    def __torch_function__(
        self,
        func: Function,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward:
            # One call at this level; a private copy that asks nobody shows its insides.
            with self:
                return _open_attention()(*args, **kwargs)
        try:
            result = self._observer.execute(func, args, kwargs)
        except Exception as error:
            self._observer.failed(self, func, args, kwargs, error)
            raise
        if type(result) not in _NO_TENSOR:
            self._observer.seen(self, func, args, kwargs, result)
        return result

    def _enter_module(self, module: nn.Module, _args: Any) -> None:
        path = self._paths.get(module)
        if path is None:
            name = type(module).__name__
            path = f"<{name}#{self._strangers[name]}>"
            self._strangers[name] += 1
            self._paths[module] = path
            self.strangers[path] = module
        self._stack.append(path)
        self.path = path
        self.calls[path] += 1

    def _leave_module(self, _module: nn.Module, _args: Any, _out: Any) -> None:
        if self.failed_in is None and sys.exc_info()[1] is not None:
            self.failed_in = self.path
        self._stack.pop()
        self.path = self._stack[-1] if self._stack else ""

    @contextmanager
    def watching(self) -> Iterator[Walk]:
        """Within it every call of the model is seen; hooks are gone afterwards."""
        before = register_module_forward_pre_hook(self._enter_module)
        after = register_module_forward_hook(self._leave_module, always_call=True)
        try:
            with self:
                yield self
        finally:
            before.remove()
            after.remove()


@functools.cache
def _open_attention() -> Function:
    original = F.multi_head_attention_forward
    world = {**F.__dict__, "has_torch_function": lambda *_: False}
    copy = types.FunctionType(
        original.__code__, world, original.__name__, original.__defaults__, original.__closure__
    )
    copy.__kwdefaults__ = original.__kwdefaults__
    return copy
