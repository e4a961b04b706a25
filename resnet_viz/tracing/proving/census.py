"""Every kernel of a forward, counted below Python, and the call it ran in.

A function mode sees what Python calls; a dispatch mode sees what really runs. Where the
two disagree (code that hides from the function mode, compiled pieces, Python that reads
values), a trace would be wrong without anybody noticing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from resnet_viz.tracing.proving.bits import Region, region_of, storage_of
from resnet_viz.tracing.proving.randomness import RandomState, is_default, random_state_now
from resnet_viz.tracing.trees import tensors_in


@dataclass(slots=True, eq=False)
class Kernels:
    """What the kernels of one call did.

    Attributes:
        count: How many ran.
        makes: Whether one of them returned a tensor.
        reads: Whether one of them gave a value to the host.
        sized: Whether the size of a result depends on values.
        random: State of all generators before the first random kernel.
        foreign: Whether one of them drew from a generator that is not torch's own.
        written: The memory they wrote.
    """

    count: int = 0
    makes: bool = False
    reads: bool = False
    sized: bool = False
    random: RandomState | None = None
    foreign: bool = False
    written: list[Region] = field(default_factory=list)


class Census(TorchDispatchMode):
    """Counts kernels, and knows in which call each of them ran.

    Attributes:
        counts: How often each kernel ran.
        owner: What the present call's kernels did; ``None`` between calls.
        orphans: Kernels that ran between calls, each with the module it ran in.
        storages: The memory that kernels were given, where that was asked for.
    """

    supports_higher_order_operators = True

    def __init__(self, *, place: Callable[[], str] = str, storages: bool = False) -> None:
        """Starts empty.

        Args:
            place: Tells the path of the module whose ``forward`` is running.
            storages: Whether to note the memory that kernels are given.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._place = place
        self._paused = False
        self.counts: Counter[str] = Counter()
        self.owner: Kernels | None = None
        self.orphans: list[tuple[str, str]] = []
        self.storages: set[Hashable] | None = set() if storages else None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within it nothing is counted: what runs there is ours and not the model's."""
        self._paused = True
        try:
            with torch._C.DisableTorchFunction():
                yield
        finally:
            self._paused = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        owner = self.owner
        # Between calls the function mode is awake, and would take the kernel for a call.
        with torch._C.DisableTorchFunction():
            notes = owner if owner is not None else Kernels()
            self._before(notes, func, args, kwargs)
            out = func(*args, **kwargs)
            notes.count += 1
            notes.makes = notes.makes or any(True for _ in tensors_in(out))
            name = str(func)
            self.counts[name] += 1
            if owner is None:
                self.orphans.append((name, self._place()))
        return out

    def _before(self, notes: Kernels, func: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if self.storages is not None:
            self.storages.update(storage_of(t) for t in tensors_in((args, kwargs)))
        tags = getattr(func, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags and notes.random is None:
            notes.random = random_state_now()
        if torch.Tag.data_dependent_output in tags or "::is_nonzero" in getattr(func, "_name", ""):
            notes.reads = True
        if torch.Tag.dynamic_output_shape in tags:
            notes.sized = notes.sized or _is_sized_by_values(func, args)
        for value in (*args, *kwargs.values()):
            if isinstance(value, torch.Generator) and not is_default(value):
                notes.foreign = True
        schema = getattr(func, "_schema", None)
        if schema is not None and schema.is_mutable:
            notes.written += _written(schema, args, kwargs)


def _is_sized_by_values(func: Any, args: Any) -> bool:
    # ``x[i]`` is as large as ``i``, unless ``i`` is a mask.
    masks = (torch.bool, torch.uint8)
    indexing = func._schema.name == "aten::index"
    return not indexing or any(t.dtype in masks for t in tensors_in(args[1]))


def _written(schema: Any, args: Any, kwargs: dict[str, Any]) -> Iterator[Region]:
    for i, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            for tensor in tensors_in((value,)):
                yield region_of(tensor)
