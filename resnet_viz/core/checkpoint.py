"""``Checkpoint``: what a file of weights holds, as names, shapes and dtypes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from resnet_viz.core.graph import TensorSpec

_STATISTICS = re.compile(r"(^|\.)(running_mean|running_var|num_batches_tracked)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """One tensor of a file.

    Attributes:
        name: Its key; dots separate modules.
        spec: Shape and dtype, as the file says them.
        nbytes: Bytes of its values in memory.
        tied_to: Name of an earlier tensor that is the same one; empty for none.
    """

    name: str
    spec: TensorSpec
    nbytes: int
    tied_to: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a file of weights holds.

    Attributes:
        file: Its name, as it was given.
        format: ``safetensors``, ``torch`` or ``torch.export``.
        tensors: In the order of the file, or of their names where the file has none.
        found_under: Keys of the checkpoint that the tensors were found under.
        others: What else it holds, in words.
        advice: How to see the edges: what to say, then a command to try.
    """

    file: str
    format: str
    tensors: tuple[StoredTensor, ...]
    found_under: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    advice: tuple[str, str] = ("", "")

    @property
    def distinct(self) -> tuple[StoredTensor, ...]:
        """The tensors without those tied to an earlier one."""
        return tuple(tensor for tensor in self.tensors if not tensor.tied_to)

    @property
    def total_elements(self) -> int:
        """Scalars over distinct tensors."""
        return sum(tensor.spec.numel for tensor in self.distinct)

    @property
    def total_params(self) -> int:
        """Scalars without the statistics of batch norms, which their names tell."""
        return sum(t.spec.numel for t in self.distinct if not _STATISTICS.search(t.name))

    @property
    def total_bytes(self) -> int:
        """Bytes of the distinct tensors' values."""
        return sum(tensor.nbytes for tensor in self.distinct)
