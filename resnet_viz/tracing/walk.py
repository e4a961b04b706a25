"""The walk over a forward: every torch call, with its module and its ``OpId``.

A ``TorchFunctionMode`` sees the calls under the names people wrote (``conv2d``,
``add``) and works on any Python control flow; a stack kept by global module
hooks knows whose ``forward`` is running. What to do with a call is the
observer's business: the tracer builds a graph, ``measuring`` places hooks.
"""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode

from resnet_viz.core.graph import OpId, make_op_id
from resnet_viz.tracing.functions import kind_of
from resnet_viz.tracing.module_tree import ModuleTree
from resnet_viz.tracing.opened import eager, open_attention, scripts_opened

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


# What has no memory answers these wrongly, and raises nothing.
_NEEDING_MEMORY = (
    *(torch.Tensor.data_ptr, torch.quantize_per_tensor, torch.quantize_per_channel),
    torch.quantize_per_tensor_dynamic,
)

# The commonest of them need not even be looked at.
_QUESTIONS = frozenset(
    (
        *(torch.Tensor.dim, torch.Tensor.size, torch.Tensor.stride, torch.Tensor.numel),
        *(torch.Tensor.is_floating_point, torch.Tensor.is_contiguous, torch.Tensor.__len__),
        *(
            getattr(torch.Tensor, name).__get__
            for name in ("shape", "dtype", "ndim", "layout", "requires_grad")
        ),
    )
)
_SPECIAL = _QUESTIONS.union(_NEEDING_MEMORY, (F.multi_head_attention_forward,))


class Walk(TorchFunctionMode):
    """Runs a forward and tells an observer about every call.

    Attributes:
        path: Path of the module whose ``forward`` is running.
        calls: How often each module's ``forward`` ran, by path.
        unseen: What part of the forward could not be seen, one line each.
        has_memory: Whether the tensors of this run are real ones.
    """

    def __init__(
        self, model: nn.Module, observer: Observer, tree: ModuleTree | None = None
    ) -> None:
        super().__init__()
        self._observer = observer
        self._paths: dict[nn.Module, str] = {}
        for path, module in (tree or ModuleTree(model)).entries:
            self._paths.setdefault(module, path)
        self._strangers: dict[str, int] = defaultdict(int)
        self._stack: list[str] = []
        self._ordinals: dict[tuple[str, str], int] = defaultdict(int)
        self.path = ""
        self.calls: dict[str, int] = defaultdict(int)
        self.strangers: dict[str, nn.Module] = {}
        self.unseen: list[str] = []
        self.has_memory = True
        self._thread = threading.get_ident()
        self._lazy: LazyModuleMixin | None = None

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
        if self._lazy is not None and self._is_taking_shape(self._lazy):
            return func(*args, **kwargs)
        if func in _SPECIAL:
            if func in _QUESTIONS:
                return func(*args, **kwargs)
            if func is F.multi_head_attention_forward:
                # One call at this level; a private copy that asks nobody shows its insides.
                with self:
                    return open_attention()(*args, **kwargs)
        try:
            if not self.has_memory and func in _NEEDING_MEMORY:
                raise NotImplementedError(f"{kind_of(func)} of a tensor that has no memory")
            result = self._observer.execute(func, args, kwargs)
        except Exception as error:
            self._observer.failed(self, func, args, kwargs, error)
            raise
        if type(result) not in _NO_TENSOR:
            self._observer.seen(self, func, args, kwargs, result)
        return result

    def _is_taking_shape(self, module: LazyModuleMixin) -> bool:
        """Whether a lazy layer is still making its weights: that is no part of the forward."""
        if module.has_uninitialized_params():  # type: ignore[misc]
            return True
        self._lazy = None
        return False

    def _is_elsewhere(self) -> bool:
        """Whether the present thread is not the one that we watch: modes are per thread."""
        return threading.get_ident() != self._thread

    def _enter_module(self, module: nn.Module, _args: Any) -> None:
        if self._is_elsewhere():
            # Another thread may also run another model, which is no business of ours.
            if (name := self._paths.get(module)) is not None:
                name = name or type(module).__name__
                self.unseen.append(f"{name} ran in another thread, where no call is seen")
            return
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
        if isinstance(module, LazyModuleMixin):
            self._lazy = module

    def _leave_module(self, _module: nn.Module, _args: Any, _out: Any) -> None:
        if self._is_elsewhere():
            return
        self._stack.pop()
        self.path = self._stack[-1] if self._stack else ""

    @contextmanager
    def watching(self) -> Iterator[Walk]:
        """Within it every call of the model is seen; hooks are gone afterwards."""
        before = register_module_forward_pre_hook(self._enter_module)
        after = register_module_forward_hook(self._leave_module, always_call=True)
        # Hooks add a frame to every level of modules; what ran without them must run.
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(2 * limit)
        try:
            with self, eager(), scripts_opened():
                yield self
        finally:
            sys.setrecursionlimit(limit)
            before.remove()
            after.remove()
