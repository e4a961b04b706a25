"""The model leaves as it came: snapshot and restore of all that a run may touch.

``functional_call`` is not enough: a module that caches ``arange(device=x.device)``
or appends to a list keeps what it made under us, and the user's next forward
fails. So each module's ``__dict__`` is remembered with copies of its containers,
and put back whatever happened.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from resnet_viz.tracing.trees import tensors_in

_CONTAINERS = (list, dict, set, tuple)
_REGISTRIES = ("_parameters", "_buffers", "_modules")


def reachable_modules(model: nn.Module) -> list[nn.Module]:
    """``model.modules()``, and those that only a plain list, tuple or dict holds."""
    found = dict.fromkeys(model.modules())
    todo = list(found)
    while todo:
        for key, value in vars(todo.pop()).items():
            if isinstance(value, _CONTAINERS) and value and key not in _REGISTRIES:
                new = [m for hidden in _held(value) for m in hidden.modules() if m not in found]
                found.update(dict.fromkeys(new))
                todo += new
    return list(found)


def _held(container: Any) -> Iterator[nn.Module]:
    for item in container.values() if isinstance(container, dict) else container:
        if isinstance(item, nn.Module):
            yield item
        elif type(item) in _CONTAINERS:
            yield from _held(item)


class _Snapshot:
    """One module's attributes, and the contents of the containers among them."""

    __slots__ = ("attributes", "contents", "module")

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.attributes = dict(vars(module))
        # ``None`` stands for empty: most containers are, and copies cost.
        self.contents: list[tuple[Any, Any]] = []
        seen: set[int] = set()
        for key, value in self.attributes.items():
            if isinstance(value, _CONTAINERS):
                self._keep(value, key not in _REGISTRIES, seen)

    def _keep(self, container: Any, deeply: bool, seen: set[int]) -> None:
        seen.add(id(container))
        if not isinstance(container, tuple):
            self.contents.append((container, copy(container) if container else None))
        if container and deeply:
            for item in container.values() if isinstance(container, dict) else container:
                if isinstance(item, _CONTAINERS) and id(item) not in seen:
                    self._keep(item, deeply, seen)

    def restore(self) -> None:
        for container, contents in self.contents:
            # Untouched containers stay untouched: their order and iterators too.
            if contents is None:
                if container:
                    container.clear()
            elif not _same(container, contents):
                container.clear()
                (container.extend if isinstance(container, list) else container.update)(contents)
        attributes = vars(self.module)
        attributes.clear()
        attributes.update(self.attributes)


def _same(left: Any, right: Any) -> bool:
    if len(left) != len(right):
        return False
    if isinstance(left, dict):
        return all(a is b and left[a] is right[b] for a, b in zip(left, right, strict=True))
    if isinstance(left, list):
        return all(a is b for a, b in zip(left, right, strict=True))
    return bool(left == right)


@contextmanager
def random_state() -> Iterator[None]:
    """Leaves the generators of torch, Python and NumPy as they were."""
    cpu = torch.get_rng_state()
    python = random.getstate()
    numpy = sys.modules.get("numpy")
    numpys = numpy.random.get_state() if numpy is not None else None
    accelerator = torch.accelerator.current_accelerator() if _accelerator_is_awake() else None
    backend = getattr(torch, accelerator.type) if accelerator is not None else None
    states = (
        [backend.get_rng_state(i) for i in range(backend.device_count())]
        if backend is not None and accelerator is not None and accelerator.type != "mps"
        else []
    )
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        random.setstate(python)
        if numpy is not None:
            numpy.random.set_state(numpys)
        for i, state in enumerate(states):
            backend.set_rng_state(state, i)  # type: ignore[union-attr]


def _accelerator_is_awake() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]


@contextmanager
def pristine(model: nn.Module, *, values: bool) -> Iterator[None]:
    """Within it anything may happen to the model; afterwards it is as it was.

    Restored: every module's attributes (registered tensors by identity, mode,
    hooks, caches, counters, lists), random state, and the fused-attention switch.

    Args:
        model: The model.
        values: Also the values of buffers and of plain tensor attributes, and each
            parameter's ``.grad``: needed where the run computes with them.
    """
    modules = reachable_modules(model)
    snapshots = [_Snapshot(module) for module in modules]
    copies: list[tuple[Tensor, Tensor]] = []
    grads: list[tuple[Tensor, Tensor | None]] = []
    if values:
        parameters = {id(p): p for module in modules for p in module.parameters(recurse=False)}
        seen = {id(t): t for snapshot in snapshots for t in tensors_in(snapshot.attributes)}
        copies = [
            (t, t.detach().clone())
            for key, t in seen.items()
            if key not in parameters and t.device.type != "meta"
        ]
        grads = [(p, p.grad) for p in parameters.values()]
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with random_state():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_attention)
        for snapshot in snapshots:
            snapshot.restore()
        # Through ``.data``: kernels of batch norm write without a new version, and a
        # version of ours would break a backward that the user still has to run.
        for tensor, value in copies:
            tensor.data.copy_(value)
        for parameter, grad in grads:
            parameter.grad = grad


def swap_tensors(model: nn.Module, convert: Callable[[Tensor], Tensor]) -> None:
    """Replaces every tensor of the model; only ever called inside ``pristine``.

    Args:
        model: The model.
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

    for module in reachable_modules(model):
        attributes = vars(module)
        for name, value in attributes.items():
            if name != "_modules":
                attributes[name] = swapped(value)
