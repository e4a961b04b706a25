"""The model leaves as it came: snapshot and restore of all that a run may touch.

``functional_call`` is not enough: a module that caches ``arange(device=x.device)``
or appends to a list keeps what it made under us, and the user's next forward
fails. So what it holds (``snapshots``) and what lies around it (``world``) is
remembered, and put back whatever happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from resnet_viz.tracing.functions import writes
from resnet_viz.tracing.memory_map import memory_of, set_version, version_of
from resnet_viz.tracing.snapshots import ATOMS, CONTAINERS, Snapshot
from resnet_viz.tracing.trees import tensors_in
from resnet_viz.tracing.world import defaults, global_state, random_state


class Pristine:
    """What is being kept.

    Attributes:
        modules: Every module that can be reached from the model.
    """

    def __init__(self, modules: list[nn.Module], *, values: bool) -> None:
        self.modules = modules
        self._snapshot = Snapshot(modules)
        self._copies: list[tuple[Tensor, Tensor, int | None]] = []
        self._grads: list[tuple[Tensor, Tensor | None]] = []
        # ``.data`` of each parameter: ``self.double()`` in a forward puts other data there.
        self._data: list[tuple[Tensor, Tensor]] = []
        self._parameters: dict[int, list[Tensor]] = {}
        self._saved_parameters = False
        if values:
            for tensor in self._snapshot.tensors.values():
                if isinstance(tensor, nn.Parameter):
                    self._grads.append((tensor, tensor.grad))
                    if not is_lazy(tensor):
                        self._data.append((tensor, tensor.data))
                        self._parameters.setdefault(memory_of(tensor), []).append(tensor)
                elif tensor.device.type != "meta" and not is_lazy(tensor):
                    self._copy(tensor)

    def protect(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Keeps the values of the parameters on whose memory a call is about to write."""
        if not self._parameters:
            return
        written: Any = ()
        if kwargs.get("max_norm") is not None:
            # An embedding scales the rows that it reads.
            written = args, kwargs
        elif writes(func) or kwargs.get("out") is not None or kwargs.get("inplace"):
            written = args[:1], kwargs
        for tensor in tensors_in(written) if written else ():
            for parameter in self._parameters.pop(memory_of(tensor), ()):
                self._copy(parameter)
                self._saved_parameters = True

    @property
    def has_saved_parameters(self) -> bool:
        """Whether ``protect`` met a call that writes on the memory of a parameter."""
        return self._saved_parameters

    def protecting(self) -> TorchFunctionMode:
        """Within it ``protect`` is told of every call; for runs that nobody else watches."""
        return _Protecting(self)

    def restore(self) -> None:
        """Everything as it was."""
        self._snapshot.restore()
        for tensor, data in self._data:
            if tensor.dtype != data.dtype or memory_of(tensor) != memory_of(data):
                tensor.data = data
        # Through ``.data``: kernels of batch norm write without a new version, and a
        # version of ours would break a backward that the user still has to run.
        for tensor, value, version in self._copies:
            tensor.data.copy_(value)
            if version is not None and tensor._version != version:
                set_version(tensor, version)
        for parameter, grad in self._grads:
            parameter.grad = grad

    def _copy(self, tensor: Tensor) -> None:
        self._copies.append((tensor, tensor.detach().clone(), version_of(tensor)))


class _Protecting(TorchFunctionMode):
    def __init__(self, kept: Pristine) -> None:
        super().__init__()
        self._kept = kept

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        self._kept.protect(func, args, kwargs)
        return func(*args, **kwargs)


def reachable_modules(model: nn.Module) -> list[nn.Module]:
    """``model.modules()``, and those that only a plain attribute or container holds."""
    found = {model: None}
    todo = [model]
    while todo:
        for value in todo.pop().__dict__.values():
            if type(value) in ATOMS:
                continue
            if isinstance(value, nn.Module) or (isinstance(value, CONTAINERS) and value):
                for module in _held(value):
                    if module not in found:
                        found[module] = None
                        todo.append(module)
    return list(found)


def _held(value: Any) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
        return
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, nn.Module):
            yield item
        elif type(item) in CONTAINERS:
            yield from _held(item)


@contextmanager
def pristine(model: nn.Module, *, values: bool) -> Iterator[Pristine]:
    """Within it anything may happen to the model; afterwards it is as it was.

    Restored: every module's class and attributes (registered tensors by identity, mode,
    hooks, caches, counters, lists), objects they hold, globals of their files, torch's
    defaults and switches, random state.

    Args:
        model: The model.
        values: Also the values of buffers and of plain tensor attributes, of parameters
            whose writers ``protect`` was told of, and each parameter's ``.grad``: needed
            where the run computes with them.
    """
    kept = Pristine(reachable_modules(model), values=values)
    try:
        with random_state(), defaults(), global_state(kept.modules):
            yield kept
    finally:
        kept.restore()


def swap_tensors(modules: Iterable[nn.Module], convert: Callable[[Tensor], Tensor]) -> None:
    """Replaces every tensor the modules hold; only ever called inside ``pristine``.

    Args:
        modules: Those that are kept.
        convert: Gives the stand-in; called once per distinct tensor, so that
            shared weights stay shared.
    """
    done: dict[int, Tensor] = {}

    def stand_in(tensor: Tensor) -> Tensor:
        known = done.get(id(tensor))
        if known is None:
            known = done[id(tensor)] = convert(tensor)
        return known

    def swapped(value: Any) -> Any:
        if isinstance(value, Tensor):
            return stand_in(value)
        if type(value) in (list, tuple) and any(isinstance(v, Tensor) for v in value):
            return type(value)(swapped(v) for v in value)
        if type(value) is dict and any(isinstance(v, Tensor) for v in value.values()):
            return {k: swapped(v) for k, v in value.items()}
        return value

    for module in modules:
        attributes = vars(module)
        for name, value in attributes.items():
            if type(value) in ATOMS:
                continue
            if isinstance(value, Tensor) or (
                type(value) in CONTAINERS and value and name != "_modules"
            ):
                attributes[name] = swapped(value)
