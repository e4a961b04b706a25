"""State outside the model that a forward may change.

Random numbers, torch's defaults, and what the files of its classes keep globally.
"""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CellType, FunctionType, ModuleType
from typing import Any

import torch
from torch import nn

from resnet_viz.tracing.snapshots import CONTAINERS, Snapshot

_CACHE = functools._lru_cache_wrapper
_EMPTY = CellType()
_WRAPPERS = 3
"""How many decorators deep a cache is looked for."""


@contextmanager
def random_state() -> Iterator[None]:
    """Leaves the generators of torch (CPU, CUDA), Python and NumPy as they were.

    NumPy's only where it is already imported, CUDA's only where it is already running:
    to look must not start either.
    """
    cpu = torch.get_rng_state()
    python = random.getstate()
    numpy = sys.modules.get("numpy")
    numpys = numpy.random.get_state() if numpy is not None else None
    runs = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if runs else []
    try:
        yield
    finally:
        torch.set_rng_state(cpu)
        random.setstate(python)
        if numpy is not None:
            numpy.random.set_state(numpys)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def defaults() -> Iterator[None]:
    """Leaves torch's defaults and switches as they were; fused attention is off within."""
    switches: list[tuple[Callable[[Any], object], Any]] = [
        (torch.set_default_dtype, torch.get_default_dtype()),
        (torch.set_grad_enabled, torch.is_grad_enabled()),
        (torch.set_float32_matmul_precision, torch.get_float32_matmul_precision()),
        (torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled()),
        (torch.set_anomaly_enabled, torch.is_anomaly_enabled()),
        *(
            (functools.partial(setattr, torch.backends.cudnn, name), value)
            for name in ("enabled", "benchmark", "deterministic")
            if (value := getattr(torch.backends.cudnn, name)) is not None
        ),
    ]
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        for put_back, value in switches:
            put_back(value)
        if strict != torch.are_deterministic_algorithms_enabled():
            torch.use_deterministic_algorithms(strict, warn_only=warn_only)


@contextmanager
def global_state(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Leaves the globals of the files of the modules' classes, and the classes, as they were.

    A table that a file keeps for all its models would otherwise keep our meta tensors.
    Containers are put back; an ``lru_cache`` that grew is emptied: who indexes with what
    a meta run has cached gets other numbers, without an exception.
    """
    kinds = {base for kind in {type(m) for m in modules} for base in kind.__mro__}
    kinds = {kind for kind in kinds if not _is_torch(kind.__module__)}
    files = {kind.__module__ for kind in kinds} & set(sys.modules)
    snapshot = Snapshot(())
    for file in files:
        for value in vars(sys.modules[file]).values():
            if type(value) in CONTAINERS:
                snapshot.keep(value)
    owners = (*kinds, *(sys.modules[file] for file in files))
    caches = {id(c): (c, c.cache_info().currsize) for owner in owners for c in _caches(owner)}
    constants: list[tuple[type, str, Any]] = []
    for kind in kinds:
        for name, value in vars(kind).items():
            if type(value) in CONTAINERS:
                snapshot.keep(value)
            if isinstance(value, int | float | torch.Tensor | type(None)) or type(value) in (
                *CONTAINERS,
                str,
            ):
                constants.append((kind, name, value))
    try:
        yield
    finally:
        snapshot.restore()
        for cache, size in caches.values():
            if cache.cache_info().currsize > size:
                cache.cache_clear()
        for kind, name, value in constants:
            if vars(kind).get(name) is not value:
                setattr(kind, name, value)


@functools.cache
def _caches(owner: type | ModuleType) -> tuple[Any, ...]:
    """Every ``lru_cache`` among the functions of a class or file, through wrappers too."""
    found: dict[int, Any] = {}
    todo = [(value, 0) for value in vars(owner).values()]
    while todo:
        value, depth = todo.pop()
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        if isinstance(value, _CACHE):
            found[id(value)] = value
        elif isinstance(value, FunctionType) and depth < _WRAPPERS:
            cells = (cell for cell in value.__closure__ or ())
            todo += [(cell.cell_contents, depth + 1) for cell in cells if cell != _EMPTY]
            todo.append((getattr(value, "__wrapped__", None), depth + 1))
    return tuple(found.values())


@functools.cache
def _is_torch(module: str) -> bool:
    return module.partition(".")[0] in ("torch", "builtins", "typing", "abc", "collections")
