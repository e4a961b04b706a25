"""Memory: how much a run took, and what to do when there is no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")

# How allocators without an error of their own say it.
_WORDS = ("not enough memory", "can't allocate memory", "out of memory", "failed to allocate")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; the CPU's allocator raises a plain one."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in _WORDS)


@dataclass(slots=True)
class MemoryUse:
    """What a run needed, noted while it goes on.

    Attributes:
        rows: The most rows that went through the model at once and fitted; 0 before any.
        limit: As many or more did not fit; ``None`` where memory never ran out.
        held: Bytes that autograd kept for the backward of one such part, the model's own
            tensors left out; the largest seen.
        before: Bytes that CUDA's allocator held before the run.
    """

    rows: int = 0
    limit: int | None = None
    held: int = 0
    before: int = 0

    @classmethod
    def beginning(cls, device: torch.device) -> MemoryUse:
        """Of a run that begins now; CUDA's peak is counted from here on, for everybody."""
        if device.type != "cuda":
            return cls()
        torch.cuda.reset_peak_memory_stats(device)
        return cls(before=torch.cuda.memory_allocated(device))

    def allowed(self, rows: int) -> int:
        """So many rows, or half of what did not fit before."""
        return rows if self.limit is None else max(1, min(rows, self.limit // 2))

    def fitted(self, rows: int) -> None:
        """Notes that so many rows fitted."""
        self.rows = rows if self.limit is not None else max(self.rows, rows)

    def failed(self, rows: int) -> None:
        """Notes that so many rows did not fit."""
        self.limit = rows if self.limit is None else min(rows, self.limit)
        self.rows = min(self.rows, self.allowed(rows))

    def peak(self, device: torch.device) -> int | None:
        """Bytes beside the model: the most CUDA's allocator held, else ``held`` if known."""
        if device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(device)) - self.before
        return self.held or None

    @contextmanager
    def measuring(self, model: nn.Module) -> Iterator[None]:
        """Within it what autograd keeps for a backward is added up."""
        own = {_storage(t) for t in (*model.parameters(), *model.buffers())}
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> tuple[Tensor, int]:
            place = _storage(tensor)
            if place not in own:
                kept[place] = tensor.untyped_storage().nbytes()
            return tensor, tensor._version

        def unpack(packed: tuple[Tensor, int]) -> Tensor:
            tensor, version = packed
            if tensor._version != version:
                # With hooks autograd leaves this check to them, and would answer wrongly.
                raise RuntimeError(
                    "a tensor needed for the gradient has been modified by an inplace operation"
                )
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            yield
        self.held = max(self.held, sum(kept.values()))


def _storage(tensor: Tensor) -> int:
    if tensor.layout != torch.strided:
        return id(tensor)
    return int(tensor.untyped_storage().data_ptr())


def in_fewer_rows(
    call: Callable[[int], T], rows: int, *, least: int = 1, use: MemoryUse | None = None
) -> T:
    """What ``call(rows)`` returns; half as many rows wherever memory runs out.

    Args:
        call: Told how many rows may go through the model at once.
        rows: To begin with.
        least: Fewer make no sense; with as many, the error is the caller's.
        use: Remembers what did not fit.
    """
    rows = max(least, use.allowed(rows) if use else rows)
    while True:
        try:
            result = call(rows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or rows <= least:
                raise
        else:
            if use is not None:
                use.fitted(rows)
            return result
        # Out here the traceback, which holds every tensor of the failed call, is gone.
        if use is not None:
            use.failed(rows)
        rows = max(rows // 2, least)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()
