"""Tensors that a run may write, and the bits they had before."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from resnet_viz.tracing.memory_map import set_version, version_of
from resnet_viz.tracing.proving.bits import same_bits


class Kept:
    """Tensors that a run may write, with the bits they had before.

    Attributes:
        tensors: By ``id``; held, so that no ``id`` is used twice.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors: dict[int, Tensor] = {}
        self._before: dict[int, tuple[Tensor, int | None]] = {}
        for tensor in tensors:
            self.keep(tensor)

    def keep(self, tensor: Tensor) -> None:
        """From now on this tensor too."""
        # What some cache holds on meta has no bits, and computes nothing here.
        if id(tensor) not in self.tensors and tensor.device.type != "meta":
            self.tensors[id(tensor)] = tensor
            self._before[id(tensor)] = tensor.detach().clone(), version_of(tensor)

    def changed(self) -> dict[int, Tensor]:
        """Copies of those that have other bits now, by ``id``."""
        return {
            key: tensor.detach().clone()
            for key, tensor in self.tensors.items()
            if not same_bits(tensor, self._before[key][0])
        }

    def restore(self) -> None:
        """Gives back the bits; through ``.data``, which counts as no write."""
        for key in self.changed():
            tensor, (before, _) = self.tensors[key], self._before[key]
            if tensor.shape == before.shape and tensor.dtype == before.dtype:
                tensor.data.copy_(before)
            else:
                tensor.data = before.clone()
        # A backward that the user still has to run asks for the versions it saw.
        for key, (_, known) in self._before.items():
            tensor = self.tensors[key]
            if known is not None and tensor._version != known:
                set_version(tensor, known)
